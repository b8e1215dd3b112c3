"""DICOM files, by pydicom: of two axes a picture, windowed to 0 to 255; of three all frames, as floats."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from kdb.errors import BindError
from kdb.images.image import COUNTS, Pixels, SourceImage, as_window, of_floats, with_colours
from kdb.images.readers.base import Options, Reader, as_whole, check_size, package
from kdb.images.readers.slices import Slice, arranged

_SAMPLES, _DEPTHS = (1, 3), (1, 8, 16, 32)
"""Numbers a pixel, and bits a number, of DICOM files."""
_FIRST_GROUP = b"\x08\x00"
_FIRST_TYPES = (b"UI", b"UL", b"CS", b"SH", b"DA")
"""How files without a header begin: by a group, and behind the element the type of its value."""


def _read(path: str, axes: int, options: Options) -> SourceImage:
    if axes == 1:
        raise ValueError(f"it is an image, and the model takes {COUNTS[0]}")
    data = dataset(path)
    check(data)
    return _picture(data, options) if axes == 2 else _volume(data, options)


def dataset(path: str, pixels: bool = True) -> Any:
    """The file's data, with or without its pixels.

    Raises ValueError for what is no DICOM file, or one that could unpack to any size.
    """
    pydicom = package("pydicom", DICOM)
    try:
        syntax = pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID")
    except pydicom.errors.InvalidDicomError:
        syntax = None
        with open(path, "rb") as file:
            if file.read(2) != _FIRST_GROUP:
                raise ValueError("it is no DICOM file, or one without the header that says how it is stored") from None
    if syntax == pydicom.uid.DeflatedExplicitVRLittleEndian:  # reading it would unpack it, to any size
        raise ValueError("it is compressed as a whole, by a deflated transfer syntax; save it with another one")
    data = pydicom.dcmread(path, stop_before_pixels=not pixels, force=syntax is None)
    if syntax is None:  # as some archives store files: the values themselves show how they are written
        if "SOPClassUID" not in data:
            raise ValueError("it is no DICOM file, or one without the header that says how it is stored")
        implicit, little = data.original_encoding
        kind = f"{'Implicit' if implicit else 'Explicit'}VR{'Little' if little else 'Big'}Endian"
        data.file_meta.TransferSyntaxUID = getattr(pydicom.uid, kind)
    return data


def check(data: Any) -> None:
    """Raise ValueError for a file without an image, or one that declares more than one can have or can be decoded."""
    if "Rows" not in data:
        kind = getattr(data.get("SOPClassUID"), "name", "")
        raise ValueError(f"it has no image{f', but is of the kind {kind}' if kind else ''}")
    rows, columns = size_of(data)
    if Image.MAX_IMAGE_PIXELS is not None and rows * columns > Image.MAX_IMAGE_PIXELS:
        raise ValueError(f"it declares {rows} x {columns} pixels; the limit is {Image.MAX_IMAGE_PIXELS} in all")
    for name, known in (("SamplesPerPixel", _SAMPLES), ("BitsAllocated", _DEPTHS)):
        if int(data.get(name) or 0) not in known:
            raise ValueError(f"its {name} is {data.get(name)}, and none of {', '.join(map(str, known))}")
    syntax = data.file_meta.TransferSyntaxUID
    if syntax.is_compressed:
        decoder = package("pydicom", DICOM).pixels.get_decoder(syntax)
        if not decoder.is_available:
            raise ValueError(f"its pixels are compressed by {syntax.name}; pip install 'kdb-occlusion[dicom]'")


def size_of(data: Any) -> tuple[int, int]:
    """Rows and columns, as the file declares them."""
    return int(data.get("Rows") or 0), int(data.get("Columns") or 0)


def frames_of(data: Any) -> int:
    """How many frames there are, as the file declares it."""
    return int(data.get("NumberOfFrames") or 1)


def _picture(data: Any, options: Options) -> SourceImage:
    """One frame: rescaled, windowed, MONOCHROME1 inverted."""
    frame = _frame(options.get("frame"), frames_of(data))
    values = _decoded(data, frame)
    if (coloured := _colours(values, data)) is not None:
        return SourceImage(coloured)
    rescaled = rescale(values, data, frame)
    window = as_window(options["window"]) if "window" in options else _own_window(data)
    function = str(data.get("VOILUTFunction") or "LINEAR")
    shade = _windowed(rescaled, window, function)
    if data.PhotometricInterpretation == "MONOCHROME1":
        shade = 1 - shade
    notes = () if window else ("it has no window: black and white are the least and the largest of its values",)
    return SourceImage(with_colours((shade[..., None] * 255).astype(np.float32)), notes=notes)


def _frame(asked: object, frames: int) -> int:
    """The index of the frame that is asked for, by a number from 1; of None the only one.

    Raises ValueError where there is no such frame, or several.
    """
    if asked is None:
        if frames > 1:
            raise ValueError(
                f"it has {frames} frames; a file with one is expected, or the option frame = 1 to {frames}"
            )
        return 0
    number = as_whole("frame", asked)
    if number > frames:
        raise ValueError(f"it has {frames} frame{'s'[: frames > 1]}, and none of the number {number}")
    return number - 1


def _volume(data: Any, options: Options) -> SourceImage:
    """All frames: colours as pixels, others as floats, rescaled, by their positions where these are known."""
    if "frame" in options:
        raise BindError("frame is for a model of two axes; one of three takes all frames")
    frames = frames_of(data)
    check_size((frames, *size_of(data), int(data.SamplesPerPixel)))
    axes = "tyx" if "FrameTime" in data or "FrameTimeVector" in data else "zyx"
    decoded = _decoded(data, None)
    if (coloured := _colours(decoded, data)) is not None:
        return SourceImage(coloured if coloured.ndim == 4 else coloured[None], axes=axes)
    stack = decoded if frames > 1 else decoded[None]
    order, space = list(range(frames)), None
    if axes == "zyx":
        order, space = arranged([slice_of(data, f"frame {i + 1}", i) for i in range(frames)])
    values = np.stack([rescale(stack[i], data, i).astype(np.float32) for i in order])
    return replace(of_floats(values[..., None]), axes=axes, space=space)


def _decoded(data: Any, frame: int | None) -> npt.NDArray[Any]:
    """The stored values of one frame, or of all for None."""
    if frame is None or frames_of(data) == 1:
        return np.asarray(data.pixel_array)
    return np.asarray(package("pydicom", DICOM).pixels.pixel_array(data, index=frame))


def _colours(values: npt.NDArray[Any], data: Any) -> Pixels | None:
    """Pixels [..., H, W, 3] of colours, 0 to 255; None of values that are none."""
    if data.PhotometricInterpretation == "PALETTE COLOR":
        values = package("pydicom", DICOM).pixels.apply_color_lut(values, data)
        return np.asarray(values / np.iinfo(values.dtype).max * 255, np.float32)
    if int(data.SamplesPerPixel) > 1:
        return np.asarray(values / (2 ** int(data.BitsStored) - 1) * 255, np.float32)
    return None


def rescale(values: npt.NDArray[Any], data: Any, frame: int = 0) -> npt.NDArray[np.float64]:
    """Stored values in the units of the file, such as Hounsfield units (DICOM PS3.3, C.11.1.1.2)."""
    own = _group(data, frame, "PixelValueTransformationSequence") or data
    return values * float(own.get("RescaleSlope", 1)) + float(own.get("RescaleIntercept", 0))


def slice_of(data: Any, name: str, frame: int = 0) -> Slice:
    """Where a frame lies, as the file or one of its functional groups says it (DICOM PS3.3, C.7.6.16)."""
    position = _numbers(_group(data, frame, "PlanePositionSequence") or data, "ImagePositionPatient", 3)
    orientation = _numbers(_group(data, frame, "PlaneOrientationSequence") or data, "ImageOrientationPatient", 6)
    measures = _group(data, frame, "PixelMeasuresSequence") or data
    spacing = _numbers(measures, "PixelSpacing", 2)
    thickness = measures.get("SliceThickness") or 1
    if frames_of(data) > 1 and "PerFrameFunctionalGroupsSequence" not in data:
        position = None  # of all frames together
    return Slice(
        name,
        size_of(data),
        orientation,
        position,
        (1.0, 1.0) if spacing is None else (float(spacing[0]), float(spacing[1])),
        float(thickness),
        int(data.get("InstanceNumber") or 0) if frames_of(data) == 1 else frame,
    )


def _group(data: Any, frame: int, sequence: str) -> Any:
    """The item of a functional group of a frame: its own, else the one that all share; None without."""
    for groups, index in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        items = data.get(groups)
        if items and index < len(items) and items[index].get(sequence):
            return items[index].get(sequence)[0]
    return None


def _numbers(data: Any, name: str, count: int) -> npt.NDArray[np.float64] | None:
    values = data.get(name)
    numbers = np.array([] if values is None else values, np.float64)
    return numbers if numbers.shape == (count,) else None


def _own_window(data: Any) -> tuple[float, float] | None:
    """The file's first window."""
    if data.get("WindowCenter") is None or data.get("WindowWidth") is None:
        return None
    centre, width = (float(np.atleast_1d(data[key].value)[0]) for key in ("WindowCenter", "WindowWidth"))
    return centre, width


def _windowed(
    values: npt.NDArray[np.float64], window: tuple[float, float] | None, function: str
) -> npt.NDArray[np.float64]:
    """Values 0 to 1 by a window (DICOM PS3.3, C.11.2.1.2 and .3), or else by their own range."""
    if window is None:
        low, high = float(values.min()), float(values.max())
        return (values - low) / max(high - low, np.finfo(np.float64).tiny)
    centre, width = window
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(-4 * (values - centre) / width)))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if width <= 1:
        return (values > centre - 0.5).astype(np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def _is_dicom(head: bytes) -> bool:
    return head[128:132] == b"DICM" or (head[:2] == _FIRST_GROUP and head[4:6] in _FIRST_TYPES)


DICOM = Reader(
    "DICOM files",
    "pydicom",
    _read,
    extra="dicom",
    suffixes=(".dcm", ".dicom"),
    magic=_is_dicom,
    options={
        "frame": "which one, from 1, for a model of two axes",
        "window": "the (centre, width) in place of the file's own; of three axes, that values are clipped to",
    },
)
