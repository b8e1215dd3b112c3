"""The check for a machine with a GPU, rehearsed on the CPU: that it runs to its end and writes what it promises."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import gpu_check
from benchmarks.gpu_baselines import GpuNaive, best
from benchmarks.oracle import float32_logits


def test_a_rehearsal_writes_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main(["--rehearse", "--only", "counts,exact", "--out", str(tmp_path)]) == 0
    figures = json.loads((tmp_path / "gpu.json").read_text())
    assert {row["precision"] for row in figures["By number of positions"]} == {"fp32", "bf16"}
    assert all(row["kdb vs naive"] > 0 for row in figures["By number of positions"])
    assert {row["verdict"] for row in figures["Exactness"]} == {"exact"}
    assert "By number of positions" in (tmp_path / "gpu.md").read_text()
    assert "squeezenet1_1" in capsys.readouterr().out


def test_no_section_begins_when_the_time_is_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main(["--rehearse", "--minutes", "0", "--out", str(tmp_path)]) == 0
    assert "no time left for exact" in capsys.readouterr().out and not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    with pytest.raises(SystemExit, match="no CUDA device"):
        gpu_check.main([])


def test_full_inference_on_the_device_is_full_inference() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(4)
    ).eval()
    image, fill, positions = torch.rand(3, 12, 10), torch.tensor([0.1, 0.2, 0.3]), np.array([(0, 0), (7, 6), (3, 2)])
    module(image[None])
    for batch in (1, 2, 8):
        found = GpuNaive(module, "fp32", batch, False, "cpu")(image, fill, (5, 4), positions)
        np.testing.assert_allclose(found, float32_logits(module, image, fill, (5, 4), positions), atol=1e-6)
    assert best(module, "fp32", image, fill, (5, 4), positions, device="cpu").batch == 3
