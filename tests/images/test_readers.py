"""Files of each kind: what is written comes back, and files that declare, hold or are something else are refused."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import kdb
from kdb.errors import BindError, ExecutionError
from kdb.images import readers
from kdb.images.image import SourceImage, evenly
from kdb.images.orientation import oriented
from kdb.images.readers.base import Options, Reader
from kdb.images.readers.series import Series, in_folder, with_series
from kdb.images.reading import load_image
from tests.support import normal

pytestmark = pytest.mark.volumes

# ---- .npy


@pytest.mark.parametrize("size", [(7,), (5, 6), (3, 4, 5)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_npy_files_are_what_their_arrays_are(tmp_path: Path, size: tuple[int, ...], dtype: type) -> None:
    array = (np.random.default_rng(0).random(size) * 200).astype(dtype)
    np.save(tmp_path / "array.npy", array)
    os.rename(tmp_path / "array.npy", tmp_path / "array.bin")  # told by its content
    found, expected = load_image(tmp_path / "array.bin", len(size)), load_image(array, len(size))
    assert np.array_equal(found.pixels, expected.pixels) and found.floats == expected.floats
    assert found.origin is not None and found.origin.reader == "numpy" and found.name == str(tmp_path / "array.bin")


def test_whole_numbers_below_zero_are_in_units_of_their_own(tmp_path: Path) -> None:
    scan = np.random.default_rng(0).integers(-1000, 2000, (3, 4, 5), dtype=np.int16)
    np.save(tmp_path / "scan.npy", scan)
    image = load_image(tmp_path / "scan.npy", 3)
    assert image.floats and np.array_equal(image.pixels[..., 0], scan)


def test_npy_files_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "array.npy"
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ExecutionError, match="objects of Python"):
        load_image(path, 1)
    np.save(path, np.zeros((2, 3, 4), np.float32))
    with pytest.raises(ExecutionError, match=r"array.npy': an image array is expected to be \[L, C\] or \[L\]"):
        load_image(path, 1)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ExecutionError, match="cannot read"):
        load_image(path, 3)
    path.write_bytes(path.read_bytes().replace(b"(2, 3, 4)", b"(2, 9**9)"))
    with pytest.raises(ExecutionError, match="cannot read"):
        load_image(path, 3)
    declared = b"{'descr': '<f4', 'fortran_order': False, 'shape': (100000, 100000), }"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + declared.ljust(117) + b"\n")
    with pytest.raises(ExecutionError, match="declares 100000 x 100000 numbers; the limit is"):
        load_image(path, 2)


# ---- NIfTI


def nifti(path: Path, values: np.ndarray, affine: np.ndarray | None = None, **header: Any) -> None:
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine)
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)


AFFINE = np.array([[0, -2.0, 0.1, 30], [1.5, 0, 0, -20], [0, 0.1, 3, 5], [0, 0, 0, 1]])


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti_files_are_as_nibabel_has_them(tmp_path: Path, name: str) -> None:
    nibabel = pytest.importorskip("nibabel")
    values = np.random.default_rng(1).integers(-1000, 2000, (4, 5, 6)).astype(np.int16)
    nifti(tmp_path / name, values, AFFINE)
    image = load_image(tmp_path / name, 3)
    opened = nibabel.load(tmp_path / name)
    assert image.floats and np.array_equal(image.pixels[..., 0], opened.get_fdata().astype(np.float32))
    assert image.space is not None and image.axes == "ijk"
    np.testing.assert_allclose(image.space.affine, opened.affine)
    turned, expected = oriented(image, "LPS"), nibabel.as_closest_canonical(opened)
    assert turned.space is not None
    assert np.array_equal(turned.pixels[::-1, ::-1, :, 0], expected.get_fdata().astype(np.float32))
    clipped = load_image(tmp_path / name, 3, {"window": (40, 400)})
    assert clipped.window == (40, 400)


def test_nifti_values_are_scaled(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    values = normal(2, 3, 4, 5)
    image = nibabel.Nifti1Image(values, np.eye(4))
    image.set_data_dtype(np.int16)  # which sets slope and intercept
    nibabel.save(image, tmp_path / "scaled.nii")
    found = load_image(tmp_path / "scaled.nii", 3).pixels[..., 0]
    np.testing.assert_allclose(found, nibabel.load(tmp_path / "scaled.nii").get_fdata(), rtol=1e-6)
    assert np.abs(found - values).max() < 1e-3


def test_a_last_axis_of_nifti_is_channels_and_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    nifti(path, normal(3, 3, 4, 5, 2))
    assert load_image(path, 3).pixels.shape == (3, 4, 5, 2)
    nifti(path, normal(3, 3, 4, 1))
    assert load_image(path, 2).pixels.shape == (3, 4, 3)  # a slice: grey
    nifti(path, normal(3, 3, 4, 5, 2, 2))
    with pytest.raises(ExecutionError, match="3 x 4 x 5 x 2 x 2 values, and the model takes three axes"):
        load_image(path, 3)
    for shape in ((3, 4, 5, 2), (3, 4, 3)):  # three slices are no colours
        nifti(path, normal(3, *shape))
        with pytest.raises(ExecutionError, match=r"it is a volume of 3 x 4 x \d, and the model takes two axes"):
            load_image(path)


def changed(position: int, form: str, value: object) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        return content[:position] + struct.pack(form, value) + content[position + struct.calcsize(form) :]

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed(42, "<q", 0x7FFF7FFF7FFF7FFF), "declares 32767 x"),
        (changed(42, "<h", -3), "empty"),
        (changed(108, "<f", 1e9), "begin at byte 1000000000"),
        (changed(108, "<f", float("nan")), "cannot read"),
        (changed(70, "<h", 128), "its values are of the type"),
        (changed(344, "4s", b"ni1\0"), "in another file"),
        (changed(0, "<i", 7), "cannot read"),
        (lambda content: content[:-3], "truncated"),
        (lambda content: content[:300], "cannot read"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_nifti_files_that_are_refused(
    tmp_path: Path, change: Callable[[bytes], bytes], said: str, compressed: bool
) -> None:
    pytest.importorskip("nibabel")
    nifti(tmp_path / "good.nii", np.full((30, 40, 50), 7, np.int16))
    content = change((tmp_path / "good.nii").read_bytes())
    path = tmp_path / ("bad.nii.gz" if compressed else "bad.nii")
    path.write_bytes(gzip.compress(content) if compressed else content)
    with pytest.raises(ExecutionError, match=said):
        load_image(path, 3)


def test_without_its_package_a_reader_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    (tmp_path / "a.nii").write_bytes(bytes(400))
    with pytest.raises(
        ExecutionError, match=r"NIfTI files need nibabel; pip install nibabel, or 'kdb-occlusion\[nifti\]"
    ):
        load_image(tmp_path / "a.nii", 3)


# ---- DICOM


def dicom(path: Path, values: np.ndarray, preamble: bool = True, **tags: Any) -> Path:
    """A file of ``values``, int16 [H, W] or [frames, H, W]."""
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data = pydicom.dataset.FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SeriesInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.9"
    data.Rows, data.Columns = values.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 1
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    if values.ndim == 3:
        data.NumberOfFrames = len(values)
    data.PixelData = values.astype(np.int16).tobytes()
    for tag, value in tags.items():
        setattr(data, tag, value)
    if preamble:
        data.save_as(path, enforce_file_format=True)
    else:
        data.file_meta, data.preamble = pydicom.dataset.FileMetaDataset(), None
        pydicom.dcmwrite(path, data, implicit_vr=False, little_endian=True)
    return path


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(4).integers(-1000, 1000, (3, 4, 5)).astype(np.int16)


def test_a_frame_or_all_frames(tmp_path: Path, frames: np.ndarray) -> None:
    path = dicom(tmp_path / "several.dcm", frames, RescaleSlope=2, RescaleIntercept=-10)
    with pytest.raises(ExecutionError, match=r"it has 3 frames; .* the option frame = 1 to 3"):
        load_image(path)
    for i, frame in enumerate(frames):
        single = load_image(dicom(tmp_path / "one.dcm", frame, RescaleSlope=2, RescaleIntercept=-10))
        assert np.array_equal(load_image(path, 2, {"frame": i + 1}).pixels, single.pixels)
    volume = load_image(path, 3)
    assert volume.floats and np.array_equal(volume.pixels[..., 0], frames * 2.0 - 10)
    for frame, error in ((4, ExecutionError), (0, BindError), (True, BindError), ("2", BindError)):
        with pytest.raises(error, match="frame"):
            load_image(path, 2, {"frame": frame})
    with pytest.raises(BindError, match="takes all frames"):
        load_image(path, 3, {"frame": 1})
    with pytest.raises(ExecutionError, match="it is an image, and the model takes one axis"):
        load_image(path, 1)


def test_a_window_in_place_of_the_file_s(tmp_path: Path, frames: np.ndarray) -> None:
    own = dicom(tmp_path / "own.dcm", frames[0], WindowCenter=40, WindowWidth=400)
    other = dicom(tmp_path / "other.dcm", frames[0], WindowCenter=500, WindowWidth=50)
    expected = load_image(own)
    found = load_image(other, 2, {"window": (40, 400)})
    assert np.array_equal(found.pixels, expected.pixels) and not found.floats
    assert not np.array_equal(load_image(other).pixels, expected.pixels)
    assert np.array_equal(load_image(other, 2, None, {"window": (40, 400)}).pixels, expected.pixels)  # the model's
    assert np.array_equal(load_image(other, 2, {"window": (40, 400)}, {"window": (0, 1)}).pixels, expected.pixels)


def test_a_file_without_a_preamble(tmp_path: Path, frames: np.ndarray) -> None:
    plain = dicom(tmp_path / "with.dcm", frames[0], WindowCenter=40, WindowWidth=400)
    bare = dicom(tmp_path / "without", frames[0], preamble=False, WindowCenter=40, WindowWidth=400)
    assert np.array_equal(load_image(bare).pixels, load_image(plain).pixels)


def test_compressed_pixels(tmp_path: Path, frames: np.ndarray) -> None:
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("jpeg_ls")
    plain = dicom(tmp_path / "plain.dcm", frames)
    data = pydicom.dcmread(plain)
    data.compress(pydicom.uid.JPEGLSLossless)
    data.save_as(tmp_path / "compressed.dcm")
    assert np.array_equal(load_image(tmp_path / "compressed.dcm", 3).pixels, load_image(plain, 3).pixels)
    frame = {"frame": 2}
    assert np.array_equal(load_image(tmp_path / "compressed.dcm", 2, frame).pixels, load_image(plain, 2, frame).pixels)


@pytest.mark.parametrize("name", ["JPEG2000.dcm", "MR_small_jp2klossless.dcm"])
def test_pixels_compressed_by_others(name: str) -> None:
    """Of the files that pydicom is tested with."""
    data = pytest.importorskip("pydicom.data")
    pytest.importorskip("gdcm")
    path = data.get_testdata_file(name, download=False)
    if path is None:
        pytest.skip("pydicom came without this file")
    assert np.ptp(load_image(path, 3).pixels) > 0


def test_a_decoder_that_is_missing_is_named(
    tmp_path: Path, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("jpeg_ls")
    data = pydicom.dcmread(dicom(tmp_path / "a.dcm", frames[0]))
    data.compress(pydicom.uid.JPEGLSLossless)
    data.save_as(tmp_path / "a.dcm")
    monkeypatch.setattr(pydicom.pixels, "get_decoder", lambda syntax: SimpleNamespace(is_available=False))
    with pytest.raises(ExecutionError, match=r"compressed by JPEG-LS .*; pip install 'kdb-occlusion\[dicom\]'"):
        load_image(tmp_path / "a.dcm")


# ---- series

ORIENTATION = [1, 0, 0, 0, 1, 0]


def series(folder: Path, values: np.ndarray, order: list[int] | None = None, **tags: Any) -> None:
    """A file for each slice of ``values`` [z, y, x], named in another ``order``."""
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(order or range(len(values))):
        position = [-10.0, 20.0, 2.5 * i - 7]
        place = {"ImagePositionPatient": position, "ImageOrientationPatient": ORIENTATION, "PixelSpacing": [0.5, 0.75]}
        own = {"SliceThickness": 2.5, "InstanceNumber": name, "RescaleSlope": 1 + i, "RescaleIntercept": -i}
        dicom(folder / f"{name}.dcm", values[i], **{**place, **own, **tags})


def test_a_series_is_a_volume(tmp_path: Path, frames: np.ndarray) -> None:
    folder = tmp_path / "scan"
    series(folder, frames, [2, 0, 1])
    image = load_image(folder, 3)
    expected = np.stack([frame * (1.0 + i) - i for i, frame in enumerate(frames)])
    assert image.floats and np.array_equal(image.pixels[..., 0], expected) and image.axes == "zyx"
    assert image.origin is not None and image.origin.of == "files" and image.name == str(folder)
    assert image.space is not None
    for z, y, x in np.ndindex(frames.shape):
        left, back, up = -10 + 0.75 * x, 20 + 0.5 * y, 2.5 * z - 7
        np.testing.assert_allclose(image.space.affine @ (z, y, x, 1), (-left, -back, up, 1))
    with pytest.raises(ExecutionError, match="it is a folder"):
        load_image(folder)


def test_slices_that_do_not_say_where_they_lie(tmp_path: Path, frames: np.ndarray) -> None:
    series(tmp_path / "scan", frames, [2, 0, 1], ImagePositionPatient=None, RescaleSlope=1, RescaleIntercept=0)
    image = load_image(tmp_path / "scan", 3)
    assert np.array_equal(image.pixels[..., 0], frames[[1, 2, 0]]) and image.space is None
    assert "in the order of their numbers" in "; ".join(image.notes)


def one_changed(**tags: Any) -> Callable[[Path, np.ndarray], object]:
    def change(folder: Path, frames: np.ndarray) -> object:
        place = {"ImageOrientationPatient": ORIENTATION, "PixelSpacing": [0.5, 0.75], "SliceThickness": 2.5}
        return dicom(folder / "3.dcm", frames[0], **{"ImagePositionPatient": [-10, 20, 0.5], **place, **tags})

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (one_changed(ImagePositionPatient=[-10, 20, -4.5]), "in the same place: '.*dcm' and '.*dcm'"),
        (one_changed(ImagePositionPatient=[-10, 20, 5.5]), "not evenly apart: 7.5 mm between '2.dcm' and '3.dcm'"),
        (one_changed(ImageOrientationPatient=[0, 1, 0, 1, 0, 0]), "different orientations"),
        (one_changed(PixelSpacing=[1, 1]), "different spacings"),
        (lambda folder, frames: one_changed()(folder, frames[:, :3]), "different sizes: 4 x 5 in '0.dcm' and 3 x 5"),
        (one_changed(PhotometricInterpretation="MONOCHROME1"), "different kinds"),
        (one_changed(SeriesInstanceUID="1.2.10"), "a folder with 2 series"),
    ],
)
def test_slices_that_make_no_volume(tmp_path: Path, frames: np.ndarray, change: Callable, said: str) -> None:
    series(tmp_path / "scan", frames)
    change(tmp_path / "scan", frames)
    with pytest.raises(ExecutionError, match=said):
        load_image(tmp_path / "scan", 3)


def test_files_are_grouped_by_series(tmp_path: Path, frames: np.ndarray) -> None:
    series(tmp_path / "one", frames)
    series(tmp_path / "two", frames, SeriesInstanceUID="1.2.10")
    series(tmp_path / "two", frames[:2], [7, 8], SeriesInstanceUID="1.2.11")
    (tmp_path / "two" / "notes.txt").write_text("none of them")
    several = dicom(tmp_path / "several.dcm", frames)
    paths = sorted(map(str, tmp_path.glob("**/*.*")))
    found = with_series([*paths, str(tmp_path / "missing.dcm")])
    volumes = {each.name: len(each.files) for each in found if isinstance(each, Series)}
    two = str(tmp_path / "two")
    assert volumes == {str(tmp_path / "one"): 3, os.path.join(two, "1.2.10"): 3, os.path.join(two, "1.2.11"): 2}
    others = [each for each in found if isinstance(each, str)]
    assert others == [str(several), os.path.join(two, "notes.txt"), str(tmp_path / "missing.dcm")]
    assert len(in_folder(two)) == 2


# ---- the registry


def test_options_are_the_reader_s(tmp_path: Path, frames: np.ndarray) -> None:
    path = dicom(tmp_path / "a.dcm", frames)
    with pytest.raises(BindError, match=r"DICOM files have no option 'frames'; did you mean 'frame'.*window"):
        load_image(path, 2, {"frames": 1})
    np.save(tmp_path / "a.npy", frames)
    with pytest.raises(BindError, match=r"\.npy files have no option 'frame'; their options: window"):
        load_image(tmp_path / "a.npy", 3, {"frame": 1})
    with pytest.raises(BindError, match="window = 3 is no"):
        load_image(path, 3, {"window": 3})
    with pytest.raises(BindError, match="frame is given with an image in memory"):
        load_image(frames.astype(np.float32), 3, {"frame": 1})


def test_readers_of_other_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: str, axes: int, options: Options) -> SourceImage:
        return SourceImage(np.full((2,) * axes + (3,), float(options["level"]), np.float32))

    own = Reader("levels", "levels", read, suffixes=(".level",), options={"level": "of all pixels"})

    class Entry:
        name, value = "level", "levels:READER"

        def __init__(self, loaded: object) -> None:
            self._loaded = loaded

        def load(self) -> object:
            if isinstance(self._loaded, Exception):
                raise self._loaded
            return self._loaded

    monkeypatch.setattr(readers, "entry_points", lambda group: [Entry(ImportError()), Entry("no reader"), Entry(own)])
    readers.readers.cache_clear()
    try:
        path = tmp_path / "a.level"
        path.write_text("7")
        assert (load_image(path, 2, {"level": 7}).pixels == 7).all()
    finally:
        readers.readers.cache_clear()


# ---- queries


def test_a_query_gives_options(tmp_path: Path, frames: np.ndarray) -> None:
    import torch
    from torch import nn

    path = dicom(tmp_path / "several.dcm", frames)
    torch.manual_seed(0)
    db = kdb.connect()
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)).eval()
    db.register_model("flat", net, input_size=(4, 5), mean=0, std=1)
    query = f"OCCLUDE '{path}' (frame = $n, window = (40, 400)) WITH patch(2, 2) STRIDE 1 USING flat"
    hm = db.execute(query, {"n": 2})
    expected = load_image(path, 2, {"frame": 2, "window": (40, 400)})
    assert isinstance(hm, kdb.HeatMap) and np.array_equal(hm.image, expected.pixels)
    assert hm.query.startswith(f"OCCLUDE '{path}' (frame = $n, window = (40, 400)) WITH")
    with pytest.raises(BindError, match="no option 'colour'"):
        db.execute(f"OCCLUDE '{path}' (colour = 1) WITH patch(2, 2) USING flat")
    deep = nn.Sequential(nn.Conv3d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)).eval()
    db.register_model("deep", deep, input_size=(3, 4, 5), mean=0, std=1)
    series(tmp_path / "one", frames)
    series(tmp_path / "two", frames, SeriesInstanceUID="1.2.10")
    maps = db.execute(f"OCCLUDE '{tmp_path}/**/*.dcm' WITH patch(2, 2, 2) STRIDE 1 USING deep")
    assert [hm.values.shape for hm in maps] == [(2, 3, 4)] * 3
    assert [hm.source for hm in maps] == [str(tmp_path / "one"), str(path), str(tmp_path / "two")]
    alone = db.execute(f"OCCLUDE '{tmp_path / 'one'}' WITH patch(2, 2, 2) STRIDE 1 USING deep")
    assert np.array_equal(alone.values, maps[0].values)


def test_under_a_root_no_slice_is_elsewhere(tmp_path: Path, frames: np.ndarray) -> None:
    from torch import nn

    root = tmp_path / "root"
    root.mkdir()
    series(root / "scan", frames)
    db = kdb.connect(root=root)
    deep = nn.Sequential(nn.Conv3d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)).eval()
    db.register_model("deep", deep, input_size=(3, 4, 5), mean=0, std=1, window=(40, 400))
    hm = db.execute("OCCLUDE 'scan' WITH patch(3, 4, 5) USING deep")
    assert isinstance(hm, kdb.HeatMap) and hm.source == "scan" and hm.image.max() <= 240
    (root / "scan" / "1.dcm").rename(tmp_path / "1.dcm")
    (root / "scan" / "1.dcm").symlink_to(tmp_path / "1.dcm")
    for source in ("'scan'", "'scan/*.dcm'", "$folders"):
        with pytest.raises(BindError, match="outside the root"):
            db.execute(f"OCCLUDE {source} WITH patch(3, 4, 5) USING deep", {"folders": ["scan"]})


def test_files_are_registered_for_the_axes_that_they_have(tmp_path: Path, frames: np.ndarray) -> None:
    from torch import nn

    db = kdb.connect()
    series(tmp_path / "scan", frames)
    db.register_image("scan", str(tmp_path / "scan"))
    db.register_image("several", dicom(tmp_path / "several.dcm", frames))
    deep = nn.Sequential(nn.Conv3d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)).eval()
    db.register_model("deep", deep, input_size=(3, 4, 5), mean=0, std=1)
    for name in ("scan", "several"):
        assert db.execute(f"OCCLUDE {name} WITH patch(2) STRIDE 1 USING deep").values.shape == (2, 3, 4)
    with pytest.raises(ExecutionError, match="no such file"):
        db.register_image("none", str(tmp_path / "none.nii"))


# ---- video and signals


def video(path: Path, frames: np.ndarray, codec: str = "mpeg4") -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 10_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@pytest.mark.parametrize("suffix", ["mp4", "avi"])
def test_frames_of_a_video(tmp_path: Path, suffix: str) -> None:
    levels = np.arange(12) * 20
    path = tmp_path / f"clip.{suffix}"
    video(path, np.broadcast_to(levels[:, None, None, None], (12, 32, 48, 3)).astype(np.uint8).copy())
    image = load_image(path, 3)
    assert image.pixels.shape == (12, 32, 48, 3) and not image.floats and image.axes == "tyx" and not image.notes
    assert np.abs(image.pixels.mean(axis=(1, 2, 3)) - levels).max() < 6
    assert np.array_equal(image.pixels, np.rint(image.pixels))
    for n in (1, 5, 12, 20):
        picked = load_image(path, 3, None, {"frames": n})
        assert np.array_equal(picked.pixels, image.pixels[evenly(12, n)])
        assert bool(picked.notes) == (n < 12)
    with pytest.raises(BindError, match="frames = 0"):
        load_image(path, 3, {"frames": 0})
    with pytest.raises(ExecutionError, match="it is a video, and the model takes two axes"):
        load_image(path)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_videos_that_are_refused(tmp_path: Path, name: str) -> None:
    pytest.importorskip("av")
    path = tmp_path / name
    for content in (b"#EXTM3U\n/etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n", b"RIFF1234AVI nothing"):
        path.write_bytes(content)
        with pytest.raises(ExecutionError, match="cannot read"):
            load_image(path, 3)


@pytest.fixture
def leads() -> np.ndarray:
    return np.round(np.cumsum(normal(6, 500, 2), axis=0) / 50, 3).astype(np.float64)


def test_a_wfdb_record(tmp_path: Path, leads: np.ndarray) -> None:
    wfdb = pytest.importorskip("wfdb")
    how: dict[str, Any] = {"fs": 250, "units": ["mV"] * 2, "sig_name": ["I", "II"], "fmt": ["16"] * 2}
    wfdb.wrsamp("ecg", p_signal=leads, write_dir=str(tmp_path), **how)
    image = load_image(tmp_path / "ecg.hea", 1)
    assert image.floats and image.axes == "t" and np.abs(image.pixels - leads).max() < 1e-3
    with pytest.raises(ExecutionError, match="it is a signal, and the model takes two axes"):
        load_image(tmp_path / "ecg.hea")
    header = (tmp_path / "ecg.hea").read_text()
    (tmp_path / "alone.hea").write_text(header)
    os.rename(tmp_path / "ecg.dat", tmp_path / "elsewhere.dat")
    with pytest.raises(ExecutionError, match=r"its signals are in 'ecg\.dat', which is not there"):
        load_image(tmp_path / "alone.hea", 1)
    os.rename(tmp_path / "elsewhere.dat", tmp_path / "ecg.dat")
    outside = tmp_path / "folder"
    outside.mkdir()
    (outside / "ecg.hea").write_text(header)
    (outside / "ecg.dat").symlink_to(tmp_path / "ecg.dat")
    with pytest.raises(ExecutionError, match="which is in another folder"):
        load_image(outside / "ecg.hea", 1)
    (tmp_path / "ecg.hea").write_text(header.replace(" 500\n", " 999999999\n"))
    with pytest.raises(ExecutionError, match="declares 999999999 x 2 numbers"):
        load_image(tmp_path / "ecg.hea", 1)
    (tmp_path / "ecg.hea").write_text("nothing")
    with pytest.raises(ExecutionError, match="cannot read"):
        load_image(tmp_path / "ecg.hea", 1)


def test_an_edf_file(tmp_path: Path, leads: np.ndarray) -> None:
    edfio = pytest.importorskip("edfio")
    signals = [edfio.EdfSignal(leads[:, i], 250, label=name) for i, name in enumerate(("C3", "C4"))]
    edfio.Edf(signals).write(tmp_path / "a.edf")
    image = load_image(tmp_path / "a.edf", 1)
    assert image.floats and image.axes == "t" and np.abs(image.pixels - leads).max() < 1e-3
    turned = load_image(tmp_path / "a.edf", 1, {"signals": ("C4", "C3")})
    assert np.array_equal(turned.pixels, image.pixels[:, ::-1])
    assert np.array_equal(load_image(tmp_path / "a.edf", 1, {"signals": "C4"}).pixels, image.pixels[:, 1:])
    with pytest.raises(BindError, match=r"no signal 'C5'; there are \['C3', 'C4'\]"):
        load_image(tmp_path / "a.edf", 1, {"signals": "C5"})
    for wrong in (5, (), ("C3", 4)):
        with pytest.raises(BindError, match="signals = "):
            load_image(tmp_path / "a.edf", 1, {"signals": wrong})
    slow = edfio.EdfSignal(leads[:200, 0], 100, label="resp")
    edfio.Edf([*signals, slow]).write(tmp_path / "b.edf")
    with pytest.raises(ExecutionError, match="'C3' 250, 'C4' 250, 'resp' 100; choose some by signals"):
        load_image(tmp_path / "b.edf", 1)
    (tmp_path / "c.edf").write_bytes((tmp_path / "a.edf").read_bytes()[:250])
    with pytest.raises(ExecutionError, match="its header is damaged or truncated"):
        load_image(tmp_path / "c.edf", 1)
    whole = (tmp_path / "a.edf").read_bytes()
    (tmp_path / "c.edf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ExecutionError, match=f"it is truncated: {len(whole) // 2} of {len(whole)} bytes"):
        load_image(tmp_path / "c.edf", 1)
    with pytest.raises(ExecutionError, match="it is a signal, and the model takes two axes"):
        load_image(tmp_path / "a.edf")
