"""examples/lesion.py, in a short form, makes what docs/lesions.md says."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "lesion.py"))


def test_a_lesion_lies_in_the_organ_and_the_other_spot_beside_it() -> None:
    pictures, structures = EXAMPLE["images"](8, seed=0)
    assert pictures.shape == (8, 64, 64, 1) and pictures.dtype == np.float32
    for picture, structure in zip(pictures, structures, strict=True):
        organ = np.argwhere(np.isin(structure, [1, 2]))
        spot = np.argwhere(structure == 2)
        assert (organ.min(axis=0) <= spot.min(axis=0)).all() and (spot.max(axis=0) <= organ.max(axis=0)).all()
        assert (picture[np.isin(structure, [2, 3])] == 1.5).all()


def test_the_example_writes_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    by_structure, by_patch = EXAMPLE["main"](count=64, epochs=4)
    assert (tmp_path / "lesion.png").exists()
    assert by_structure.segments.tolist() == [1, 2, 3, 4] and by_patch.values.shape == (30, 30)
    assert by_structure.exact and by_patch.exact and by_patch.stats.speedup > 1
