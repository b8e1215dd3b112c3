"""Images: every kind comes out as float32 RGB, 0 to 255, and what is no image gets the error promised."""

from __future__ import annotations

import os
import struct
import sys
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFile, ImageOps
from pydicom.data import get_testdata_file

from kdb.errors import BindError, ExecutionError
from kdb.images.image import SourceImage
from kdb.images.readers.pictures import FORMATS
from kdb.images.reading import expand_sources, load_image

sides = st.integers(1, 17)
colour8 = st.tuples(sides, sides).flatmap(lambda size: hnp.arrays(np.uint8, (*size, 3)))
grey8 = st.tuples(sides, sides).flatmap(lambda size: hnp.arrays(np.uint8, size))
grey16 = st.tuples(sides, sides).flatmap(lambda size: hnp.arrays(np.uint16, size))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


def png16(values: np.ndarray, key: tuple[int, ...] = (), size: tuple[int, int] | None = None) -> bytes:
    """A 16-bit PNG of uint16 [H, W], [H, W, 3] or [H, W, 4], which Pillow cannot write.

    ``key`` is its transparent colour; ``size`` is what the header says in place of the truth.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = size or values.shape[:2]
    colour_type = {2: 0, 3: 2 if values.shape[-1] == 3 else 6}[values.ndim]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    transparent = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)) if key else b""
    body = chunk(b"IHDR", header) + transparent + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def assert_pixels(image: SourceImage, expected: np.ndarray, atol: float = 1e-4) -> None:
    assert image.pixels.dtype == np.float32
    assert image.pixels.flags.c_contiguous
    np.testing.assert_allclose(image.pixels, expected, rtol=0, atol=atol)


@given(colour8)
def test_uint8_arrays_and_png_files_keep_every_value(folder: Path, array: np.ndarray) -> None:
    path = folder / "colour.png"
    Image.fromarray(array).save(path)
    assert_pixels(load_image(array), array, atol=0)
    assert_pixels(load_image(path), array, atol=0)
    assert_pixels(load_image(Image.fromarray(array)), array, atol=0)


@given(st.one_of(grey8, grey16))
def test_grey_is_three_equal_channels_and_16_bits_are_divided_by_257(folder: Path, array: np.ndarray) -> None:
    expected = np.repeat(array[..., None].astype(float) / (1 if array.dtype == np.uint8 else 257), 3, axis=2)
    for suffix in ("png", "tif"):
        path = folder / f"grey.{suffix}"
        Image.fromarray(array).save(path)
        assert_pixels(load_image(path), expected)
    assert_pixels(load_image(array), expected)
    assert_pixels(load_image(Image.fromarray(array)), expected)
    assert_pixels(load_image(Image.fromarray(array.astype(np.int32))), np.repeat(array[..., None], 3, axis=2) / 257)


@given(hnp.arrays(np.uint16, st.tuples(sides, sides, st.sampled_from((3, 4)))))
def test_16_bit_colour_keeps_all_16_bits(folder: Path, array: np.ndarray) -> None:
    path = folder / "wide.png"
    path.write_bytes(png16(array))
    alpha = array[..., 3:] / 65535 if array.shape[2] == 4 else 1
    assert_pixels(load_image(path), array[..., :3] / 257 * alpha)
    if array.shape[2] == 3:
        assert_pixels(load_image(array), array / 257)


def test_the_transparent_colour_of_a_16_bit_png_is_black(folder: Path) -> None:
    colour = np.array([[[300, 5, 65535], [300, 6, 65535]]], np.uint16)
    path = folder / "key.png"
    path.write_bytes(png16(colour, key=(300, 5, 65535)))
    assert_pixels(load_image(path), np.array([[[0, 0, 0], colour[0, 1] / 257]]))
    grey = np.array([[300, 301]], np.uint16)
    path.write_bytes(png16(grey, key=(300,)))
    assert_pixels(load_image(path), np.array([[[0] * 3, [301 / 257] * 3]]))


@given(hnp.arrays(np.uint8, st.tuples(sides, sides, st.just(4))))
def test_alpha_is_composited_over_black(array: np.ndarray) -> None:
    expected = array[..., :3] * (array[..., 3:] / 255)
    assert_pixels(load_image(Image.fromarray(array)), expected)
    grey = Image.merge("LA", (Image.fromarray(array[..., 0]), Image.fromarray(array[..., 3])))
    assert_pixels(load_image(grey), np.repeat(expected[..., :1], 3, axis=2))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "RGB"])
def test_other_modes_are_what_pillow_converts_them_to(mode: str) -> None:
    gradient = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3) * 2
    picture = Image.fromarray(gradient).convert(mode)
    assert_pixels(load_image(picture), np.asarray(picture.convert("RGB")), atol=0)


def test_a_palette_may_be_transparent(folder: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((1, 0), 1)
    picture.save(folder / "palette.png", transparency=b"\xff\x33")
    assert_pixels(load_image(folder / "palette.png"), np.array([[[10, 20, 30], [8, 10, 12]]]))


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(folder: Path, orientation: int, suffix: str) -> None:
    picture = Image.fromarray(np.arange(4 * 7 * 3, dtype=np.uint8).reshape(4, 7, 3))
    exif = picture.getexif()
    exif[0x0112] = orientation
    path = folder / f"turned.{suffix}"
    picture.save(path, exif=exif)
    with Image.open(path) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    assert expected.shape[:2] == ((4, 7) if orientation < 5 else (7, 4))
    assert_pixels(load_image(path), expected, atol=0)
    with Image.open(path) as opened:
        assert_pixels(load_image(opened), expected, atol=0)


def test_a_damaged_exif_block_does_not_spoil_the_pixels(folder: Path) -> None:
    path = folder / "exif.png"
    Image.new("RGB", (2, 2), (1, 2, 3)).save(path, exif=b"Exif\0\0not a header")
    assert_pixels(load_image(path), np.full((2, 2, 3), (1, 2, 3)), atol=0)


def test_the_pixels_are_a_copy() -> None:
    array = np.zeros((2, 2, 3), np.uint8)
    image = load_image(array)
    array[:] = 9
    assert not image.pixels.any()


def test_the_name_is_the_path(folder: Path) -> None:
    path = folder / "named.png"
    Image.new("L", (1, 1)).save(path)
    assert load_image(str(path)).name == load_image(path).name == str(path)
    assert load_image(Image.new("L", (1, 1))).name is None


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        (np.zeros((4, 4), bool), "uint8"),
        (np.zeros((4, 4, 3), np.int64), r"uint8 .* as floats, by astype\(np.float32\), values are taken as they are"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.full((4, 4, 3), np.inf, np.float32), "infinite"),
        (np.full((4, 4), 1e39), "range of float32"),
        (torch.full((4, 4), float("nan")).bfloat16(), "NaN"),
        (np.zeros((3, 8, 9), np.uint8), "channels last"),
        (np.zeros(4, np.uint8), r"\[H, W, C\]"),
        (np.zeros((4, 4, 3, 1), np.uint8), r"\[H, W, C\]"),
        (torch.zeros(3, 8, 9, dtype=torch.uint8), r"uint8 \[3, 8, 9\]; transpose it to channels last, by \(1, 2, 0\)$"),
        (torch.zeros(3, 8, 9), r"got float32 \[3, 8, 9\]; transpose it to channels last"),
        (torch.zeros(1, 3, 8, 9), r"\[H, W, C\].* got float32 \[1, 3, 8, 9\].* batch as a list"),
        (torch.zeros(8, 9, 3, dtype=torch.uint8, device="meta"), "cannot be converted to an array"),
        (torch.eye(3, dtype=torch.uint8).to_sparse(), "cannot be converted to an array"),
        (np.zeros((0, 4, 3), np.uint8), "empty"),
        (Image.new("RGB", (0, 3)), "empty"),
        (None, "NoneType"),
        (7, "int"),
    ],
)
def test_objects_that_are_no_images_are_refused(given_: object, said: str) -> None:
    with pytest.raises(BindError, match=said):
        load_image(given_)


def _a_png() -> bytes:
    return png16(np.random.default_rng(0).integers(0, 65536, (40, 40, 3)).astype(np.uint16))


BROKEN = {
    "empty.png": (b"", "empty"),
    "text.png": (b"not an image at all", "not an image"),
    "truncated.png": (_a_png()[:2000], "truncated"),
    "header.png": (_a_png()[:20], "(?i)truncated"),
    "garbled.png": (_a_png()[:60] + bytes(range(256)), "truncated"),
    "bomb.png": (png16(np.zeros((1, 1, 3), np.uint16), size=(60000, 60000)), "more than"),
    "no.dcm": (b"no DICOM", "DICOM"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_say_which_and_why(folder: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    content, reason = BROKEN[name]
    path = folder / name
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ExecutionError, match=reason) as caught:
            load_image(path)
    assert str(path) in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_decompression_bomb_is_refused_before_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "large.png"
    Image.new("L", (40, 40)).save(path)
    for limit in (1599, 799):  # Pillow warns above its limit and refuses above twice that
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ExecutionError, match=f"more than {limit:,} pixels"):
            load_image(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1600)
    assert load_image(path).pixels.shape == (40, 40, 3)


def test_missing_files_and_folders(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(ExecutionError, match=r"'nowhere\.png': no such file") as caught:
        load_image("nowhere.png")
    assert str(folder) in str(caught.value)
    with pytest.raises(ExecutionError, match="folder"):
        load_image(folder)
    for path in ("", "nul\0byte.png", "x" * 5000):
        with pytest.raises(ExecutionError, match="cannot read"):
            load_image(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ExecutionError, match="regular file"):
        load_image(tmp_path / "pipe.png")


def test_a_truncated_image_object(folder: Path) -> None:
    path = folder / "cut.png"
    path.write_bytes(_a_png()[:2000])
    with Image.open(path) as opened, pytest.raises(ExecutionError, match="truncated"):
        load_image(opened)
    opened.close()
    with pytest.raises(ExecutionError, match="cannot read"):
        load_image(opened)


@pytest.mark.parametrize("values", [-1, 65536])
def test_32_bit_values_are_refused(values: int) -> None:
    with pytest.raises(ExecutionError, match="16 bits"):
        load_image(Image.new("I", (2, 2), values))
    assert_pixels(load_image(Image.new("F", (2, 2), values)), np.full((2, 2, 3), values), atol=0)


def test_dicom_without_pydicom_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    path = folder / "scan"  # recognised by its content
    path.write_bytes(bytes(128) + b"DICM")
    with pytest.raises(ExecutionError, match="pip install pydicom"):
        load_image(path)


def dicom(path: Path, tags: Mapping[str, object], syntax: str = "ExplicitVRLittleEndian") -> None:
    """A file of 2 x 2 pixels, signed 16-bit, with the ``tags`` in place of what is true."""
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    data = pydicom.dataset.FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    layout = {"Rows": 2, "Columns": 2, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"}
    depth = {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1}
    data.PixelData = np.array([0, 100, 200, 300], np.int16).tobytes()
    for tag, value in {**layout, **depth, **tags}.items():
        setattr(data, tag, value)
    data.save_as(path, enforce_file_format=True)


WINDOW = {"WindowCenter": 100, "WindowWidth": 201}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, [0, 85, 170, 255]),
        ({"PhotometricInterpretation": "MONOCHROME1"}, [255, 170, 85, 0]),
        (WINDOW, [255 * 0.0025, 255 * 0.5025, 255, 255]),
        ({**WINDOW, "RescaleSlope": 2, "RescaleIntercept": -100}, [0, 255 * 0.5025, 255, 255]),
        ({**WINDOW, "WindowWidth": 1}, [0, 255, 255, 255]),
        ({"WindowCenter": 100.5, "WindowWidth": 1}, [0, 0, 255, 255]),  # up to the centre less a half all is black
        ({"WindowCenter": [100, 7], "WindowWidth": [200, 7], "VOILUTFunction": "LINEAR_EXACT"}, [0, 127.5, 255, 255]),
        ({**WINDOW, "WindowWidth": 400, "VOILUTFunction": "SIGMOID"}, [68.58, 127.5, 186.42, 224.60]),
    ],
)
def test_dicom_is_rescaled_and_windowed(folder: Path, tags: dict[str, object], expected: list[float]) -> None:
    dicom(folder / "scan.dcm", tags)
    pixels = np.repeat(np.reshape(expected, (2, 2, 1)), 3, axis=2)
    assert_pixels(load_image(folder / "scan.dcm"), pixels, atol=0.01)


def test_globs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a.png", "c.jpg", "[x].png", "deep/d.png", "folder.png/e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert expand_sources("a.png") is None
    assert expand_sources("missing.png") is None
    assert expand_sources("[x].png") is None  # the file exists, so this is its name
    assert expand_sources("?.png") == ["a.png", "b.png"]
    assert expand_sources("*.png") == ["[x].png", "a.png", "b.png"]  # files only
    assert expand_sources("**/d.png") == [os.path.join("deep", "d.png")]
    assert expand_sources(str(tmp_path / "[ab].png")) == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    with pytest.raises(ExecutionError, match=r"'z\*'") as caught:
        expand_sources("z*")
    assert str(tmp_path) in str(caught.value)


@given(st.text(alphabet="ab.*?[]", max_size=6))
@settings(max_examples=50)
def test_only_patterns_are_globs(folder: Path, text: str) -> None:
    try:
        matches = expand_sources(str(folder / "none" / text))
    except ExecutionError:
        assert set(text) & set("*?[")
    else:
        assert matches is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (4, 5, 1), (4, 5, 7)])
def test_tensors_are_the_arrays_of_their_values(dtype: type, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)
    image = load_image(torch.from_numpy(array))
    assert_pixels(image, load_image(array).pixels, atol=0)
    flipped = torch.from_numpy(np.moveaxis(array, 0, 1).copy()).transpose(0, 1)  # not contiguous
    assert_pixels(load_image(flipped), image.pixels, atol=0)


@given(hnp.arrays(np.uint8, st.tuples(sides, sides, st.sampled_from((1, 2, 4)))))
def test_arrays_keep_other_channels_and_one_becomes_three(array: np.ndarray) -> None:
    assert_pixels(load_image(array), np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array)


def test_32_bit_integers_are_refused(folder: Path) -> None:
    path = folder / "wide.tiff"
    Image.fromarray(np.arange(12, dtype=np.int32).reshape(3, 4)).save(path)
    with pytest.raises(ExecutionError, match="32-bit integer"):
        load_image(path)


# --- files from strangers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_is_read_whatever_the_file_is_called(folder: Path, kind: str) -> None:
    path = folder / f"{kind}.anything"
    Image.new("RGB", (4, 3), (200, 100, 50)).save(path, format=kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert_pixels(load_image(path), np.full((3, 4, 3), (200, 100, 50)), atol=3 if kind in ("JPEG", "GIF") else 0)


@pytest.mark.parametrize("name", ["drawing.eps", "drawing.png"])
def test_postscript_starts_nothing(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    for function in ("Popen", "call", "check_call", "run"):
        monkeypatch.setattr(f"subprocess.{function}", started)
    path = folder / name
    Image.new("RGB", (4, 4)).save(path, format="EPS")
    with pytest.raises(ExecutionError, match="not an image, or damaged, or of another kind than PNG, JPEG"):
        load_image(path)


@pytest.mark.parametrize("kind", ["JPEG2000", "ICO", "TGA", "PCX", "SGI"])
def test_formats_that_the_documentation_does_not_name_are_refused(folder: Path, kind: str) -> None:
    path = folder / "other.png"
    Image.new("RGB", (16, 16)).save(path, format=kind)
    with pytest.raises(ExecutionError, match="not an image"):
        load_image(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_declared_size_is_refused_before_pixels_are_unpacked(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / f"large.{kind}"
    Image.new("RGB", (40, 40)).save(path, format=kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1599)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("the pixels are read"))
    with pytest.raises(ExecutionError, match="more than 1,599 pixels"):
        load_image(path)


@pytest.mark.parametrize("size", [(100_000, 100_000), (2**31 - 1, 2**31 - 1)])
def test_a_png_that_declares_too_much(folder: Path, size: tuple[int, int]) -> None:
    path = folder / "declares.png"
    path.write_bytes(png16(np.zeros((1, 1, 3), np.uint16), size=size))
    with pytest.raises(ExecutionError, match="cannot read"):
        load_image(path)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"Rows": 65535, "Columns": 65535}, "65535 x 65535 pixels; the limit is 89478485"),
        ({"SamplesPerPixel": 60000}, "SamplesPerPixel is 60000"),
        ({"BitsAllocated": 64}, "BitsAllocated is 64"),
        ({"Rows": 9000, "Columns": 9000}, "cannot read"),
        ({"NumberOfFrames": 2**31 - 1}, "frames"),
        ({"Rows": None}, "cannot read"),
    ],
)
def test_dicom_that_declares_too_much(folder: Path, tags: dict[str, object], said: str) -> None:
    dicom(folder / "declares.dcm", tags)
    with pytest.raises(ExecutionError, match=said):
        load_image(folder / "declares.dcm")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rtplan.dcm", "no image, but is of the kind RT Plan Storage"),
        ("test-SR.dcm", "no image, but is of the kind .* SR Storage"),
        ("no_meta.dcm", "no DICOM file, or one without the header"),
    ],
)
def test_dicom_that_is_no_image(name: str, said: str) -> None:
    """Of the files that pydicom is tested with."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    with pytest.raises(ExecutionError, match=said):
        load_image(path)


def test_dicom_that_unpacks_to_anything(folder: Path) -> None:
    dicom(folder / "small.dcm", {}, "DeflatedExplicitVRLittleEndian")
    with pytest.raises(ExecutionError, match="deflated transfer syntax"):
        load_image(folder / "small.dcm")


def test_a_name_does_not_steer_the_terminal(folder: Path) -> None:
    path = folder / "a\x1b[2J\nb\u202ec.png"
    path.write_bytes(b"no image")
    with pytest.raises(ExecutionError) as caught:
        load_image(path)
    assert r"a\u001b[2J b\u202ec.png" in str(caught.value) and str(caught.value).isprintable()
