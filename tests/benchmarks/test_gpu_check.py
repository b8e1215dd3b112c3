"""The GPU check, rehearsed on the CPU: a section that fails does not affect the others."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.gpu_check import __main__ as command
from benchmarks.gpu_check.check import Check, Report
from benchmarks.gpu_check.full_inference import FullInference, Prepared, best
from benchmarks.oracle import float32_logits


def tables(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows of the report by the title of their table."""
    sections = json.loads((folder / "gpu.json").read_text())["sections"].values()
    return {title: rows for section in sections for title, rows in section["tables"].items()}


@pytest.mark.slow
def test_a_rehearsal_writes_the_report_and_a_later_run_keeps_other_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--rehearse", "--only", "counts,exact", "--out", str(tmp_path)]) == 0
    found = tables(tmp_path)
    assert {row["precision"] for row in found["By number of positions"]} == {"fp32", "bf16"}
    assert all(row["kdb vs naive"] > 0 for row in found["By number of positions"])
    assert {row["verdict"] for row in found["Exactness"]} == {"exact"}
    assert command.main(["--rehearse", "--only", "start", "--out", str(tmp_path)]) == 0
    again = tables(tmp_path)
    assert again.pop("Versions") and again.pop("One convolution") and again == found
    assert "By number of positions" in (tmp_path / "gpu.md").read_text()
    assert "squeezenet1_1" in capsys.readouterr().out


@pytest.mark.slow
def test_a_section_that_crashes_hangs_or_raises_ends_only_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check = Check("cpu", ("a", "b"), ("a",), tmp_path, tmp_path, time.time() + 300)
    where = "tests.benchmarks.gpu_check_sections"
    parts = [
        command.Part("crash", f"{where}:crashes", 60),
        command.Part("hang", f"{where}:hangs", 10),
        command.Part("error", f"{where}:raises", 60),
        command.Part("well", f"{where}:well", 60, "others"),
    ]
    assert not command.run(check, parts)
    sections = Report(tmp_path).sections
    assert {name: section.outcome.split(" (")[0] for name, section in sections.items()} == {
        "crash": "failed", "hang": "stopped after 10 s", "error": "failed", "well b": "done",
    }  # fmt: skip
    found = tables(tmp_path)
    assert list(found) == ["Before the crash", "Before the hang", "Before the error", "Well"]
    assert found["Well"][0]["network"] == "b"
    printed = capsys.readouterr().out
    assert "about to hang" in printed and "as an illegal access would" in printed
    log = (tmp_path / "gpu-output.log").read_text()
    assert "about to hang" in log and "ValueError" in log


def test_no_section_begins_when_the_time_is_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--rehearse", "--minutes", "0", "--out", str(tmp_path)]) == 0
    assert "no time left for exact" in capsys.readouterr().out and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rehearse"], "--out"),
        (["--rehearse", "--out", "x", "--only", "map"], "unknown section map"),
        pytest.param(
            [], "no CUDA device", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
        ),
    ],
)
def test_invalid_arguments_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        command.main(arguments)


def test_full_inference_on_the_device_is_full_inference() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(4)
    ).eval()
    image, fill, positions = torch.rand(3, 12, 10), torch.tensor([0.1, 0.2, 0.3]), np.array([(0, 0), (7, 6), (3, 2)])
    module(image[None])
    prepared = Prepared(module, "fp32", "cpu")
    expected = float32_logits(module, image, fill, (5, 4), positions)
    for batch in (1, 2, 8):
        for layout in (torch.channels_last, torch.contiguous_format):
            found = FullInference(prepared, batch, layout)(image, fill, (5, 4), positions)
            np.testing.assert_allclose(found, expected, atol=1e-6)
    assert best(prepared, image, fill, (5, 4), positions).batch == 3
