"""The benchmark of dense outputs, on networks small enough for a test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import dense
from benchmarks.dense import Case, Subject
from benchmarks.dense_networks import UNet


def two_axes() -> UNet:
    return UNet(2, 3, 3, (4, 8))


def three_axes() -> UNet:
    return UNet(3, 1, 2, (2, 4), interpolated=True)


SUBJECTS = {
    "small": Subject(two_axes, (3, 32, 32), 8, 8, (8, 8), 1),
    "volume": Subject(three_axes, (1, 16, 16, 16), 8, 8, None, 1),
}


def test_it_measures_and_keeps_the_other_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dense, "SUBJECTS", SUBJECTS)
    monkeypatch.setattr(dense, "peak", lambda *given: 2**20)
    arguments = ["--rounds", "2", "--threads", "1", "--uncalibrated", "--out", str(tmp_path)]
    assert dense.main([*arguments, "--only", "small"]) == 0
    assert dense.main([*arguments, "--only", "volume"]) == 0
    found = {row["network"]: row for row in json.loads((tmp_path / "dense.json").read_text())["results"]}
    assert set(found) == set(SUBJECTS)
    assert found["small"]["positions"] == 16 and found["small"]["macs"] > 1 and found["small"]["error"] <= 1
    text = (tmp_path / "dense.md").read_text()
    assert "| small | 3x32x32 | 8 / 8 | 8x8 | 16 |" in text and "| volume | 1x16x16x16 | 8 / 8 | all | 8 |" in text


def test_captum_is_left_after_some_positions() -> None:
    case = Case(SUBJECTS["small"], threads=1, batch=2)
    images: list[int] = []
    case.module.register_forward_hook(lambda module, given, made: images.append(len(given[0])))
    assert case.captum() > 0
    assert len(case.sample) <= sum(images) <= len(case.sample) + 2 < len(case.positions)


@pytest.mark.parametrize(
    ("network", "shape"), [(two_axes(), (2, 3, 16, 16)), (three_axes(), (1, 1, 8, 8, 8))], ids=["2", "3"]
)
def test_the_networks_give_maps(network: UNet, shape: tuple[int, ...]) -> None:
    with torch.no_grad():
        assert network.eval()(torch.zeros(shape)).shape[2:] == shape[2:]
