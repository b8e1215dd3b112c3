"""examples/volume.py, in a short form, makes what docs/volumes.md says."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.volumes
nibabel = pytest.importorskip("nibabel")

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "volume.py"))


def test_the_bodies_are_where_they_are_said_to_be() -> None:
    volumes, classes, middles = EXAMPLE["volumes"](8, seed=0)
    assert volumes.shape == (8, *EXAMPLE["SIZE"], 1) and volumes.dtype == np.float32 and set(classes) == {0, 1}
    for volume, middle in zip(volumes, middles, strict=True):
        inside = volume[tuple(slice(at - 2, at + 3) for at in middle)]
        assert inside.mean() > 0.8 and abs(volume.mean()) < 0.1


def test_the_example_writes_a_picture_and_a_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hm = EXAMPLE["main"](count=16, epochs=1)
    assert (tmp_path / "volume.png").exists()
    of_map, scan = nibabel.load("map.nii.gz"), nibabel.load("scan.nii.gz")
    np.testing.assert_array_equal(of_map.get_fdata(dtype=np.float32), hm.values)
    centre = hm.positions[2, 3, 4] + (np.array(hm.patch) - 1) / 2
    np.testing.assert_allclose(of_map.affine @ [2, 3, 4, 1], scan.affine @ [*centre, 1])
    on_scan = nibabel.load("map-on-scan.nii.gz")
    assert on_scan.shape == scan.shape
    np.testing.assert_allclose(on_scan.affine, scan.affine)
    np.testing.assert_array_equal(on_scan.get_fdata(dtype=np.float32), hm.upsample())
