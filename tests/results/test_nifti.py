"""Volumes as NIfTI files: each voxel lies in the world where the patch that it stands for lies in the source."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from kdb.errors import ExecutionError
from kdb.geometry import Space
from kdb.results import nifti
from kdb.results.files import filled_in
from kdb.results.maps import HeatMap
from tests.results.test_heatmap import heat_map, heat_maps, small, volume

pytestmark = pytest.mark.volumes
nibabel = pytest.importorskip("nibabel")

# The spacing of a file is float32, and so are its coordinates after the source's offset.
WORLD: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-2}


def written(hm: HeatMap, extension: str = "nii", upsample: bool = False) -> Any:
    file = io.BytesIO()
    nifti.write(hm, extension, upsample, file)
    return nibabel.Nifti1Image.from_bytes(file.getvalue())


def world(affine: np.ndarray, cells: np.ndarray) -> np.ndarray:
    return np.asarray(cells @ affine[:3, :3].T + affine[:3, 3])


def affine_of(hm: HeatMap) -> np.ndarray:
    return np.eye(4) if hm.space is None else hm.space.affine


@settings(max_examples=40, deadline=None)
@given(heat_maps(axes=3))
def test_each_voxel_is_the_centre_of_its_patch_in_the_source(hm: HeatMap) -> None:
    if hm.stride is None:
        with pytest.raises(ExecutionError, match="upsample=True"):
            written(hm)
        return
    image = written(hm)
    boxes = hm.to_source()
    centres = boxes[..., :3] + boxes[..., 3:] / 2 - 0.5  # cell i extends from i - .5 to i + .5
    voxels = np.stack(np.indices(hm.positions.shape[:3]), axis=-1)
    np.testing.assert_allclose(world(image.affine, voxels), world(affine_of(hm), centres), **WORLD)
    found = np.asanyarray(image.dataobj)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.moveaxis(found, -1, 0) if hm.has_class_axis else found, hm.values)


@settings(max_examples=40, deadline=None)
@given(heat_maps(axes=3))
def test_upsampled_each_voxel_of_the_source_has_the_mean_of_the_patches_on_its_centre(hm: HeatMap) -> None:
    hm = HeatMap(**vars(hm) | {"source_size": tuple(min(length, 7) for length in hm.source_size)})
    image = written(hm, upsample=True)
    found = np.asanyarray(image.dataobj).reshape(*image.shape[:3], -1)
    inverse = np.linalg.inv(affine_of(hm))
    boxes, values = hm.to_source().reshape(-1, 6), hm.by_class()[0]
    start, extent = np.reshape(hm.source_box, (2, 3))
    turns = Space.turns if hm.space is None else hm.space.turns
    assert [image.shape[of_file] for of_file, _ in turns] == list(hm.source_size), "the file's own order"
    for voxel in np.ndindex(image.shape[:3]):
        cell = np.rint(world(inverse, world(image.affine, np.array(voxel))))
        for axis, (of_file, backwards) in enumerate(turns):
            assert cell[axis] == (hm.source_size[axis] - 1 - voxel[of_file] if backwards else voxel[of_file])
        centre = cell + 0.5
        if not ((start <= centre) & (centre < start + extent)).all():
            assert np.isnan(found[voxel]).all()
            continue
        near = np.abs((centre - boxes[:, :3]) * (centre - boxes[:, :3] - boxes[:, 3:])).min(initial=1) < 1e-9
        covers = ((boxes[:, :3] <= centre) & (centre < boxes[:, :3] + boxes[:, 3:])).all(axis=1)
        for k, row in enumerate(values):
            covering = row[covers & ~np.isnan(row)].astype(np.float64)
            if not near:
                np.testing.assert_allclose(
                    found[(*voxel, k)], covering.mean() if covering.size else np.nan, rtol=1e-5, atol=1e-6
                )


def test_a_map_is_saved_by_extension(tmp_path: Path) -> None:
    """Both extensions hold the same; the same map is the same bytes."""
    hm = volume(space=Space(np.diag([-2.0, 2.0, 3.0, 1.0])))
    for name in ("map.nii", "map.NII.GZ"):
        image = nibabel.Nifti1Image.from_bytes(hm.save(tmp_path / "other.nii").read_bytes())
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), hm.values)
        assert image.header.get_zooms() == (6, 4, 6), "the stride, by the source's spacing"
        path = hm.save(tmp_path / name)
        assert path.read_bytes() == hm.save(tmp_path / name).read_bytes()
    np.testing.assert_array_equal(nibabel.load(tmp_path / "other.nii").get_fdata(dtype=np.float32), hm.values)
    assert nibabel.load(hm.save(tmp_path / "on.nii.gz", upsample=True)).shape == hm.source_size


def test_a_difference_is_a_volume_too(tmp_path: Path) -> None:
    first, second = volume(), volume(model="other")
    difference = first - HeatMap(**vars(second) | {"values": second.values * np.float32(0.5)})
    found = nibabel.load(difference.save(tmp_path / "map.nii")).get_fdata(dtype=np.float32)
    np.testing.assert_array_equal(found, difference.values)
    assert nibabel.load(difference.save(tmp_path / "on.nii", upsample=True)).shape == first.source_size


def test_other_maps_are_no_volumes(tmp_path: Path) -> None:
    signal = heat_map(np.zeros(3), np.arange(3)[:, None], grid=(8,), patch=(3,), stride=(1,))
    for hm in (small(), signal):
        with pytest.raises(ExecutionError, match=r"three axes, and the input of this map is 8.* save it as \.npz"):
            hm.save(tmp_path / "map.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_nibabel_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(ExecutionError, match="pip install nibabel"):
        volume().save(tmp_path / "map.nii")


def test_the_stem_of_a_compressed_file_has_no_extension() -> None:
    assert filled_in("{stem}-map.nii.gz", "scans/a.b.nii.gz") == "a.b-map.nii.gz"
