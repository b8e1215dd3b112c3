"""From a scan in a file to a map that lies over it, by queries alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import kdb
from kdb.errors import ExecutionError

pytestmark = pytest.mark.volumes
nibabel = pytest.importorskip("nibabel")

AFFINE = np.array([[-2, 0, 0, 40], [0, 0, 3, -20], [0, 1.5, 0, 5], [0, 0, 0, 1.0]])


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 4, 3, stride=2), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2)).eval()


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).normal(-300, 200, (20, 24, 28)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), "scan.nii.gz")
    return "scan.nii.gz"


@pytest.mark.parametrize("options", ["", "orientation = 'RAS'", "orientation = 'LPI', resize = 'crop'"])
def test_the_map_lies_where_the_patches_do(net: nn.Module, scan: str, options: str) -> None:
    """Each voxel of the map is at the centre of its patch, which is where hm.to_source() says, in the file's world."""
    options = f"input = (10, 12, 14){options and ', ' + options}"
    query = f"OCCLUDE '{scan}' WITH patch(4, 3, 4) FILL -1000 STRIDE (2, 3, 2) USING $m ({options})"
    hm = kdb.connect().execute(f"{query} INTO '{{stem}}-map.nii.gz'", {"m": net})
    saved = nibabel.load("scan-map.nii.gz")
    np.testing.assert_array_equal(saved.get_fdata(dtype=np.float32), hm.values)
    boxes = hm.to_source()
    centres = boxes[..., :3] + boxes[..., 3:] / 2 - 0.5  # in cells of the source, as the model takes it
    for cell in np.ndindex(hm.values.shape):
        expected = hm.space.affine @ [*centres[cell], 1]
        np.testing.assert_allclose(saved.affine @ [*cell, 1], expected, atol=1e-6)
    corner = hm.space.affine @ [0, 0, 0, 1]  # of the turned array: one of the corners of the file's
    corners = [AFFINE @ [i, j, k, 1] for i in (0, 19) for j in (0, 23) for k in (0, 27)]
    assert any(np.allclose(corner, each) for each in corners)
    on_scan = nibabel.load(hm.save("on-scan.nii", upsample=True))
    np.testing.assert_allclose(on_scan.affine, AFFINE, atol=1e-6)
    assert on_scan.shape == (20, 24, 28)


def test_what_cannot_be_written_is_told_before_anything_is_computed(
    net: nn.Module, scan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdb.frontends.torch_export.trace", lambda *_, **__: pytest.fail("it is traced"))
    flat = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    cases = (
        (flat, "$i", "input = (8, 8)", "WITH patch(4)", "NIfTI files are of three axes"),
        (net, f"'{scan}'", "input = (10, 12, 14)", "WITH patch(4) AT $p", "the positions of AT are no lattice"),
    )
    for module, source, options, clauses, message in cases:
        parameters = {"m": module, "i": np.zeros((8, 8, 3), np.uint8), "p": np.zeros((1, 3), int)}
        with pytest.raises(ExecutionError, match=message):
            kdb.connect().execute(f"OCCLUDE {source} {clauses} USING $m ({options}) INTO 'a.nii'", parameters)


def test_a_saved_map_of_a_scan_verifies(net: nn.Module, scan: str) -> None:
    db = kdb.connect()
    db.register_model("net", net, input_size=(10, 12, 14), window=(-300, 400), orientation="RAS")
    db.execute(f"OCCLUDE '{scan}' (window = (-200, 300)) WITH patch(4) STRIDE 2 USING net INTO 'map.npz'")
    found = db.execute("VERIFY 'map.npz'")
    assert found.agrees and all(row[-1] is not False for row in found.rows)
