"""The benchmark of signals, volumes and video, on networks small enough for a test."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import axes
from benchmarks.axes_case import Case
from benchmarks.axes_roster import Subject
from benchmarks.signal_networks import Electrocardiogram, InceptionTime


def volumes() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.MaxPool3d(2),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip


def missing() -> nn.Module:
    return nn.Module(import_module("no_such_package"))


SUBJECTS = {
    "volumes": Subject(volumes, (1, 12, 12, 12), (4,) * 3, (4,) * 3),
    "missing": Subject(missing, (1, 12), (4,), (4,)),
}


def test_it_measures_what_it_can_says_what_not_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"WHOLE_MAPS": SUBJECTS, "COVERED": SUBJECTS, "CACHE": tmp_path}.items():
        monkeypatch.setattr(axes, name, value)
    monkeypatch.setattr(axes, "peak", lambda *given: 2**20)
    monkeypatch.setattr(axes, "find_spec", lambda name: None)
    monkeypatch.setattr(axes, "code", lambda: "this")
    arguments = ["--rounds", "2", "--threads", "1", "--out", str(tmp_path)]
    assert axes.main([*arguments, "--only", "vol*", "--part", "maps"]) == 0
    measured = axes.measured
    monkeypatch.setattr(axes, "measured", lambda name, *given: measured(name, *given) if name != "volumes" else None)
    assert axes.main(arguments) == 0
    results = json.loads((tmp_path / "axes.json").read_text())
    (found,), (coverage,) = results["results"], results["coverage"]
    assert found["windows"] == found["measured"] == 27 and found["error"] <= 1 and found["macs"] > 1
    assert found["times"]["full"][0] > 0 and found["planned"] > 0
    assert coverage["error"] <= 1 and coverage["opaque"] == 0 and 0 < coverage["share"] <= 1
    text = (tmp_path / "axes.md").read_text()
    assert "| volumes | 1x12x12x12 | 4x4x4 / 4x4x4 | 27 |" in text and "incremental, exact" in text
    assert "Not measured: missing: No module named" in text and "Not measured: coverage of missing" in text


@pytest.mark.parametrize("rival", ["captum", "monai"])
def test_others_are_left_after_some_windows(rival: str) -> None:
    pytest.importorskip(rival)
    case = Case(SUBJECTS["volumes"], threads=1, batch=2)
    images: list[int] = []
    case.module.register_forward_hook(lambda module, given, made: images.append(len(given[0])))
    assert getattr(case, rival)() > 0
    assert len(case.sample) <= sum(images) <= len(case.sample) + 2 < len(case.grid)


@pytest.mark.parametrize(("network", "leads"), [(InceptionTime(3, 5), 3), (Electrocardiogram(2, 5), 2)])
def test_the_networks_for_signals_give_logits(network: nn.Module, leads: int) -> None:
    with torch.no_grad():
        assert network.eval()(torch.zeros(2, leads, 256)).shape == (2, 5)
