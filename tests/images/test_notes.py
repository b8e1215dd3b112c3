"""What is made of an image that its owner might not expect is noted, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from kdb.images.image import SourceImage
from kdb.images.preprocessing import Preprocessing
from kdb.images.reading import load_image
from tests.images.test_images import WINDOW, dicom, png16

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)


def notes(source: object) -> str:
    return "; ".join(load_image(source).notes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notes")


def test_images_that_are_taken_as_they_are_have_none(folder: Path) -> None:
    Image.fromarray(COLOUR).save(folder / "plain.png")
    opaque = np.dstack([COLOUR, np.full((6, 5, 1), 255, np.uint8)])
    Image.fromarray(opaque).save(folder / "opaque.png")
    dicom(folder / "windowed.dcm", WINDOW)
    wide = COLOUR.astype(np.uint16) * 257
    dark = np.zeros((3, 3), np.uint16)
    files = [folder / name for name in ("plain.png", "opaque.png", "windowed.dcm")]
    for source in (*files, COLOUR, wide, dark, COLOUR / 255, Image.fromarray(COLOUR).convert("CMYK")):
        assert not notes(source)


@given(hnp.arrays(np.uint16, (3, 4), elements=st.integers(0, 65535)), st.sampled_from([1, 4, 16, 64, 256]))
def test_16_bits_of_which_few_are_used(array: np.ndarray, divisor: int) -> None:
    array //= divisor
    most = int(array.max())
    assert bool(notes(array)) == (0 < most < 2**14)
    if 0 < most < 256:
        assert "8 bits, give them as uint8" in notes(array)
    elif 0 < most < 2**14:
        largest = next(2**bits - 1 for bits in (10, 12, 14) if most < 2**bits)
        assert f"reach only {most} of 65535" in notes(array) and f"divided by {largest}, as floats" in notes(array)


def test_the_remedy_for_12_bits_is_right() -> None:
    """Divided by 4095, as floats, an image is to the model what the same image of all 16 bits is."""
    array = np.random.default_rng(1).integers(0, 4096, (8, 8), np.uint16)
    wanted = Preprocessing((8, 8), mean=0.4, std=0.2)
    floats, whole = (wanted.prepare(load_image(each)) for each in (array / 4095, (array / 4095 * 65535).astype("u2")))
    found, expected = (wanted.normalise(each.pixels, each.floats) for each in (floats, whole))
    assert np.abs(found - expected).max() < 1e-4 and not floats.notes


@pytest.mark.parametrize("mode", ["grey", "colour"])
def test_files_of_16_bits_of_which_few_are_used(folder: Path, mode: str) -> None:
    values = np.random.default_rng(2).integers(0, 4000, (5, 5) if mode == "grey" else (5, 5, 3)).astype(np.uint16)
    path = folder / f"{mode}.png"
    path.write_bytes(png16(values))
    assert "of 12 bits" in notes(path)


def test_several_frames_transparency_and_no_window(folder: Path) -> None:
    frames = [Image.fromarray(np.roll(COLOUR, i, axis=0)) for i in range(3)]
    for kind in ("gif", "tiff", "png", "webp"):
        frames[0].save(folder / f"frames.{kind}", save_all=True, append_images=frames[1:])
        assert notes(folder / f"frames.{kind}") == "the first of its frames is taken", kind
    clear = np.dstack([COLOUR, np.full((6, 5, 1), 100, np.uint8)])
    assert notes(Image.fromarray(clear)) == "it is transparent in part, and composited over black"
    (folder / "clear16.png").write_bytes(png16(np.full((4, 4, 4), 30000, np.uint16)))
    assert notes(folder / "clear16.png") == "it is transparent in part, and composited over black"
    dicom(folder / "plain.dcm", {})
    assert "no window" in notes(folder / "plain.dcm")


# ---- floats


@given(hnp.arrays(np.float32, (5, 4), elements=st.floats(-3000, 3000, width=32)), st.sampled_from((np.float32, float)))
def test_floats_are_taken_as_they_are(array: np.ndarray, dtype: type) -> None:
    image = load_image(array.astype(dtype))
    assert image.floats and np.array_equal(image.pixels, np.repeat(array[..., None], 3, axis=2))
    prepared = Preprocessing((5, 4), mean=10, std=2).prepare(image)
    assert np.array_equal(prepared.pixels, image.pixels)
    found = Preprocessing((5, 4), mean=10, std=2).normalise(prepared.pixels, prepared.floats)
    assert np.allclose(found, (image.pixels - 10) / 2, rtol=1e-6, atol=1e-3)


@given(
    hnp.arrays(np.float32, (7, 6), elements=st.floats(-3000, 3000, width=32)),
    st.sampled_from(("bilinear", "bicubic", "lanczos")),
    st.sampled_from(((3, 4), (13, 11))),
)
def test_resized_floats_keep_their_range(array: np.ndarray, filter_: str, size: tuple[int, int]) -> None:
    prepared = Preprocessing(size, resize="stretch", interpolation=filter_).prepare(load_image(array))
    assert prepared.pixels.shape == (*size, 3)
    assert array.min() <= prepared.pixels.min() and prepared.pixels.max() <= array.max()
    assert np.array_equal(prepared.image, prepared.pixels)


def test_floats_of_whole_numbers_are_resized_as_floats() -> None:
    prepared = Preprocessing((5, 5)).prepare(load_image(COLOUR.astype(np.float32)))
    assert not np.array_equal(prepared.pixels, np.rint(prepared.pixels))


def test_a_tiff_of_floats_is_read(folder: Path) -> None:
    values = np.random.default_rng(3).normal(0, 500, (6, 7)).astype(np.float32)
    Image.fromarray(values).save(folder / "floats.tiff")
    image = load_image(folder / "floats.tiff")
    assert image.floats and np.array_equal(image.pixels[..., 0], values)


@pytest.mark.parametrize(
    ("values", "preprocessing", "said"),
    [
        ((0, 1), {"mean": 0.5, "std": 0.2}, ""),
        ((0, 255), {"mean": 0.5, "std": 0.2}, "reach 255 and are not divided"),
        ((0, 255), {}, "reach 255 and are not divided"),
        ((-2, 3), {"mean": 0.5, "std": 0.2}, "-2 to 3, are taken as they are, and normalised"),
        ((-1000, 2000), {}, ""),
        ((0, 2000), {"mean": 300, "std": 500}, ""),
        ((0, 255), {"scale": 255}, ""),
        ((0, 255), {"scale": 1}, ""),
    ],
)
def test_floats_in_other_units_than_the_model_s(values: tuple[float, float], preprocessing: dict, said: str) -> None:
    image = SourceImage(np.resize(np.float32(values), (4, 4, 3)), floats=True)
    found = "; ".join(Preprocessing((4, 4), **preprocessing).prepare(image).notes)
    assert said in found and bool(said) == bool(found)
