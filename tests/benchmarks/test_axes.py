"""The benchmark of signals, volumes and video, on networks small enough for a test."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import axes
from benchmarks.axes import Subject
from benchmarks.signal_networks import Electrocardiogram, InceptionTime


def volumes() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.MaxPool3d(2),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip


def missing() -> nn.Module:
    return nn.Module(import_module("no_such_package"))


def test_it_measures_what_it_can_and_says_what_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subjects = {
        "volumes": Subject(volumes, (1, 12, 12, 12), (4,) * 3, (4,) * 3, 1),
        "missing": Subject(missing, (1, 12), (4,), (4,), 1),
    }
    monkeypatch.setattr(axes, "SUBJECTS", subjects)
    arguments = ["--networks", "volumes,missing", "--rounds", "2", "--threads", "1", "--out", str(tmp_path)]
    assert axes.main(arguments) == 0
    (found,) = json.loads((tmp_path / "axes.json").read_text())["results"]
    assert found["windows"] == found["measured"] == 27 and found["error"] <= 1 and found["macs"] > 1
    assert found["speedup"] > 0 and found["memory"] > 0
    text = (tmp_path / "axes.md").read_text()
    assert "| volumes | 1x12x12x12 | 4x4x4 / 4x4x4 | 27 |" in text and "Not measured: missing: No module named" in text


@pytest.mark.parametrize(("network", "leads"), [(InceptionTime(3, 5), 3), (Electrocardiogram(2, 5), 2)])
def test_the_networks_for_signals_give_logits(network: nn.Module, leads: int) -> None:
    with torch.no_grad():
        assert network.eval()(torch.zeros(2, leads, 256)).shape == (2, 5)
