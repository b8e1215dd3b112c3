"""What a map is made of is in it: the image as the model saw it, what covered it, and where all came from."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy import ndimage
from torch import nn

import kdb
from kdb.images.preprocessing import Prepared, Preprocessing
from kdb.results.maps import HeatMap

SIZE = (20, 24)
RNG = np.random.default_rng(0)
EIGHT = RNG.integers(0, 256, (*SIZE, 3), np.uint8)
SIXTEEN = RNG.integers(0, 65536, (*SIZE, 3), np.uint16)
PATCH = RNG.integers(0, 256, (6, 4, 3), np.uint8)


@pytest.fixture(scope="module")
def db() -> kdb.Session:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 2))
    session = kdb.connect()
    session.register_model("m", module, input_size=SIZE, mean=0.5, std=0.25, activation="sigmoid", labels=["a", "b"])
    return session


def run(db: kdb.Session, image: Any, fill: str = "black", **given: Any) -> HeatMap:
    query = f"OCCLUDE $image WITH patch(6, 4) FILL {fill} STRIDE 6 USING m"
    found = db.execute(query, {"image": image, "patch": PATCH, **given})
    assert isinstance(found, HeatMap) and found.provenance is not None
    return found


@given(hnp.arrays(np.float32, (2, 3, 3), elements=st.floats(-1, 256, width=32) | st.integers(0, 255).map(float)))
def test_whole_numbers_of_three_channels_are_kept_as_bytes_and_all_else_as_it_is(pixels: np.ndarray) -> None:
    kept = Prepared(pixels, (0, 0, 2, 3), (2, 3)).image
    assert np.array_equal(kept, pixels)
    assert (kept.dtype == np.uint8) == bool(np.isin(pixels, np.arange(256)).all())
    grey = Prepared(pixels[..., :1], (0, 0, 2, 3), (2, 3)).image
    assert grey.dtype == np.float32 and np.array_equal(grey, pixels[..., :1])


def test_the_image_is_the_one_that_the_model_saw(db: kdb.Session) -> None:
    assert run(db, EIGHT).image.dtype == np.uint8 and np.array_equal(run(db, EIGHT).image, EIGHT)
    wide = run(db, SIXTEEN)
    assert np.array_equal(wide.image, SIXTEEN.astype(np.float32) / np.float32(257))
    assert np.array_equal(wide.picture, np.rint(wide.image).astype(np.uint8))


@pytest.mark.parametrize("image", [EIGHT, SIXTEEN], ids=["8 bits", "16 bits"])
def test_what_covered_the_image_is_kept(db: kdb.Session, image: np.ndarray) -> None:
    pixels = run(db, image).image.astype(np.float32)
    expected = {
        "black": np.zeros((1, 1, 3)),
        "rgb(1, 2.5, 3)": np.array([[[1, 2.5, 3]]]),
        "mean": pixels.mean(axis=(0, 1), keepdims=True, dtype=np.float64),
        "$patch": PATCH,
        "blur(2)": ndimage.gaussian_filter(pixels, (2, 2, 0), mode="nearest"),
    }
    for fill, cover in expected.items():
        found = run(db, image, fill).fill
        assert found is not None and found.dtype == np.float32 and np.array_equal(found, cover.astype(np.float32)), fill
    grey = run(db, image, patch=PATCH[..., 0], fill="$patch").fill
    assert grey is not None and np.array_equal(grey, np.repeat(PATCH[..., :1], 3, axis=2))


def test_the_source_is_known_by_its_bytes(db: kdb.Session, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(EIGHT).save(path)
    by_path = run(db, str(path)).provenance
    assert by_path is not None and by_path.source_of == "file"
    assert by_path.source_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for array in (EIGHT, SIXTEEN, EIGHT[::-1], SIXTEEN.astype(">u2")):
        found = run(db, array).provenance
        assert found is not None and found.source_of == "array"
        content = f"{array.dtype} {array.shape};".encode() + array.tobytes()
        assert found.source_sha256 == hashlib.sha256(content).hexdigest()
    picture = run(db, Image.open(path)).provenance
    content = f"float32 {EIGHT.shape};".encode() + EIGHT.astype(np.float32).tobytes()
    assert picture is not None and picture.source_of == "pixels"
    assert picture.source_sha256 == hashlib.sha256(content).hexdigest()


def test_where_a_map_came_from(db: kdb.Session) -> None:
    found = run(db, EIGHT, "blur(1)").provenance
    assert found is not None
    assert {*found.preprocessing} == {each.name for each in fields(Preprocessing)} | {"activation", "layout", "floats"}
    assert (found.preprocessing["scale"], found.floats) == (255, False)
    assert found.preprocessing["mean"] == (0.5,) * 3 and found.preprocessing["activation"] == "sigmoid"
    assert found.versions["torch"] == torch.__version__ and found.versions["numpy"] == np.__version__
    assert {*found.versions} == {"kdb", "python", "torch", "numpy", "pillow", "scipy"}
    assert found.device == "cpu" and found.threads >= 1 and found.rates in ("default", "measured")
    assert all(len(found.parts[part]) == 64 for part in found.parts)
    assert found == type(found)(**asdict(found))


def test_the_parts_of_a_model_change_each_by_itself(db: kdb.Session) -> None:
    torch.manual_seed(0)

    def layers(*last: nn.Module) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), *last)

    def parts(module: nn.Module, **options: Any) -> dict[str, str]:
        session = kdb.connect()
        session.register_model("m", module, input_size=SIZE, **{"labels": ["a", "b", "c", "d"], **options})
        found = run(session, EIGHT).provenance
        assert found is not None
        return dict(found.parts)

    module, other = layers(), layers()
    before = parts(module)
    for part, after in (
        ("labels", parts(module, labels=["b", "a", "c", "d"])),
        ("labels", parts(module, labels=None)),
        ("preprocessing", parts(module, std=0.5)),
        ("weights", parts(other)),
        ("graph", parts(nn.Sequential(*module, nn.Tanh()))),
    ):
        assert [each for each in before if before[each] != after[each]] == [part]
