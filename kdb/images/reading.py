"""Reads images as float32 [*size, C] of one to three axes; pictures are RGB, 0 to 255.

Images are files (read by Pillow or, for DICOM, pydicom), ``PIL.Image`` objects, arrays and tensors.  Resizing and
normalisation are in :mod:`kdb.images.preprocessing`.  Colour profiles are not applied.

Files may come from strangers: of Pillow's some forty formats those in ``FORMATS`` are read, whatever a file is called,
and the size that it declares is checked before its pixels are unpacked.
"""

from __future__ import annotations

import glob
import hashlib
import os
import stat
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from kdb.errors import BindError, ExecutionError, looked_in
from kdb.geometry import Space
from kdb.system.locks import ProcessLock

Pixels = npt.NDArray[np.float32]

LAYOUTS = ("L", "H, W", "D, H, W")
"""Shapes of arrays by their number of axes, without channels."""
AXES = ("t", "yx", "zyx")
"""Names of the axes, where nobody names them."""

_COUNTS = ("one axis", "two axes", "three axes")

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM")
"""What Pillow may take a file for: its other formats are rare, and some of them run programs (EPS: Ghostscript)."""
_SAMPLES, _DEPTHS = (1, 3), (1, 8, 16, 32)
"""Numbers a pixel, and bits a number, of DICOM files."""

FEWER_BITS = (8, 10, 12, 14)
"""How many bits values may have that are kept in 16."""
_BITS = 258  # TIFF's tag BitsPerSample
# warnings.catch_warnings swaps a list that the whole process shares: two threads must not interleave
_WARNINGS = ProcessLock()


@dataclass(frozen=True)
class Origin:
    """What an image was read from, by the SHA-256, in hexadecimal, of all its bytes, and the package that read it.

    ``of`` is 'file': the file's bytes; 'array': the array's dtype and shape, as in ``uint8 (64, 96, 3);``, and its
    bytes; 'pixels': the same of the float32 pixels that a ``PIL.Image`` gave.
    """

    of: str
    sha256: str
    reader: str = ""

    @classmethod
    def of_array(cls, array: npt.NDArray[Any], of: str = "array", reader: str = "") -> Origin:
        """The origin of an image that is an array."""
        sha = hashlib.sha256(f"{array.dtype} {array.shape};".encode())
        sha.update(np.ascontiguousarray(array).data)
        return cls(of, sha.hexdigest(), reader)


@dataclass(frozen=True, eq=False)
class SourceImage:
    """An image in its original size: ``pixels`` float32 [*size, C]; ``name`` is its path, if it has one.

    Of two axes C is 3 (RGB), except for arrays with other channels.  Pixels are 0 to 255, or with ``floats`` any
    numbers, in units of their own.  ``notes`` say what was made of the image that its owner might not expect.  ``axes``
    has a letter for each axis, where the source names them.  ``space`` is where a volume lies in the world, where it
    says that.  ``window`` is (centre, width) of the values that floats are to be clipped to, whatever the model says.
    """

    pixels: Pixels
    name: str | None = None
    floats: bool = False
    notes: tuple[str, ...] = ()
    origin: Origin | None = None
    axes: str = ""
    space: Space | None = None
    window: tuple[float, float] | None = None


def as_window(value: object) -> tuple[float, float]:
    """The centre and the width of a window: two finite numbers, the second above 0; raises BindError for others."""
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (2,) or not np.isfinite(numbers).all() or numbers[1] <= 0:
        raise BindError(f"window = {value!r} is no (centre, width) with a width above 0")
    return float(numbers[0]), float(numbers[1])


def load_image(source: str | Path | Image.Image | npt.NDArray[Any] | object, axes: int = 2) -> SourceImage:
    """Read a path, a ``PIL.Image``, or an array or tensor [*size] or [*size, C] of uint8, uint16 or floats.

    ``axes`` are those of the model, one to three.  Of two a single channel is repeated three times.  16-bit values are
    divided by 257, floats are taken as they are, alpha is composited over black, EXIF orientation is applied.  Of
    several frames the first is read, of a ``PIL.Image`` the current one.

    Raises :class:`~kdb.errors.BindError` for an object of a wrong type, dtype or shape, or with NaN or infinity, and
    :class:`~kdb.errors.ExecutionError` for a file that is missing, damaged, not an image of one of ``FORMATS`` or
    DICOM, or implausibly large (``PIL.Image.MAX_IMAGE_PIXELS``).
    """
    if (array := array_of(source)) is not None:
        return replace(_from_array(array, axes), origin=Origin.of_array(array))
    if isinstance(source, Image.Image):
        name = getattr(source, "filename", "") or None
        if 0 in source.size:
            raise BindError(f"the image is empty: {source.height} x {source.width} pixels")
        with _reading(f"the image '{name}'" if name else "the image given"):
            image = _from_picture(source)
            return replace(image, name=name and str(name), origin=Origin.of_array(image.pixels, "pixels", "pillow"))
    if isinstance(source, (str, Path)):
        return replace(_from_file(source), name=str(source))
    raise BindError(f"an image is a path, a PIL.Image or an array [H, W, 3] or [H, W], not {type(source).__name__}")


def array_of(source: object) -> npt.NDArray[Any] | None:
    """``source`` as an array if it is an array or a torch tensor, on any device; None otherwise.

    Raises BindError for a tensor that cannot be converted, such as a sparse one.
    """
    if isinstance(source, np.ndarray):
        return source
    torch = sys.modules.get("torch")  # if it is not imported, there are no tensors
    if torch is None or not isinstance(source, torch.Tensor):
        return None
    try:
        return np.asarray((source.float() if source.is_floating_point() else source).detach().cpu())
    except (RuntimeError, TypeError) as error:  # sparse, quantized, meta, ...
        raise BindError(f"the tensor, {source.dtype} {list(source.shape)}, cannot be converted to an array") from error


def expand_sources(pattern: str) -> list[str] | None:
    """The files that a glob matches, sorted; None if ``pattern`` is not a glob.

    An existing path is not a glob, whatever characters it contains.  ``**`` matches folders at any depth.
    Raises :class:`~kdb.errors.ExecutionError` if nothing matches.
    """
    if os.path.exists(pattern) or not glob.has_magic(pattern):
        return None
    found = glob.glob(pattern, recursive=True)  # for "missing/**" it returns "missing/", which does not exist
    matches = sorted(path for path in found if os.path.lexists(path) and not os.path.isdir(path))
    if not matches:
        raise ExecutionError(f"no file matches '{pattern}'{looked_in(pattern)}")
    return matches


@contextmanager
def _reading(what: str, where: str = "") -> Iterator[None]:
    """Turn the exceptions of decoders into ExecutionError, and suppress their warnings.

    For damaged files decoders raise OSError, SyntaxError, struct.error, KeyError and more, hence the broad catch.
    """
    try:
        with _WARNINGS, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except ExecutionError:
        raise
    except Exception as error:
        raise ExecutionError(f"cannot read {what}: {_reason(error)}{where}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError):
        kinds = ", ".join(FORMATS)
        return f"not an image, or damaged, or of another kind than {kinds} and DICOM; others can be opened by Pillow"
    if isinstance(error, MemoryError):
        return "not enough memory for its pixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def _from_array(array: npt.NDArray[Any], axes: int) -> SourceImage:
    """An array [*size] or [*size, C] of so many ``axes``."""
    given = f"got {array.dtype} {list(array.shape)}"
    expected, hints = [], []
    floats = array.dtype.kind == "f"
    if not floats and (array.dtype.kind != "u" or array.itemsize > 2):
        expected.append("uint8 (0 to 255), uint16 (0 to 65535) or floats")
        if array.dtype.kind in "iu":
            hints.append("as floats, by astype(np.float32), values are taken as they are")
    layout = LAYOUTS[axes - 1]
    channels_first = axes == 2 and array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] > 4
    if array.ndim not in (axes, axes + 1) or channels_first:
        expected.append(f"[{layout}, C] or [{layout}]")
        if axes != 2 or array.ndim == 1:
            hints.append(f"the model takes {_COUNTS[axes - 1]}")
        if array.ndim == axes + 2:
            hints.append("give the images of a batch as a list")
        elif channels_first:
            hints.append("transpose it to channels last, by (1, 2, 0)")
    if expected:
        raise BindError("; ".join([f"an image array is expected to be {' and '.join(expected)}", given, *hints]))
    if 0 in array.shape:
        raise BindError(f"the image array is empty; {given}")
    values = array if array.ndim > axes else array[..., None]
    if floats:
        try:
            return of_floats(values)
        except ValueError as error:
            raise BindError(f"the image array cannot be used: {error}") from None
    if array.itemsize == 1:
        return SourceImage(with_colours(values.astype(np.float32)))
    return SourceImage(with_colours(values.astype(np.float32) / np.float32(257)), notes=_of_fewer_bits(array))


def of_floats(values: npt.NDArray[Any]) -> SourceImage:
    """Values as they are; raises ValueError for some that float32 does not have."""
    with np.errstate(over="ignore"):
        pixels = values.astype(np.float32)
    if not np.isfinite(pixels).all():
        raise ValueError("it has values that are NaN, infinite or out of the range of float32")
    return SourceImage(with_colours(pixels), floats=True)


def _of_fewer_bits(values: npt.NDArray[Any]) -> tuple[str, ...]:
    """A note where 16-bit ``values`` use fewer bits than they have, as those of cameras and scanners do."""
    most = int(values.max())
    bits = next((each for each in FEWER_BITS if most < 2**each), None)
    if bits is None or most == 0:
        return ()
    remedy = "give them as uint8" if bits == 8 else f"give the array divided by {2**bits - 1}, as floats"
    return (f"its 16-bit values reach only {most} of 65535: it is dark; if they are of {bits} bits, {remedy}",)


def _from_file(path: str | Path) -> SourceImage:
    with _reading(f"'{path}'", looked_in(path)):
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ValueError("it is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")  # opening a pipe would wait for ever
        if status.st_size == 0:
            raise ValueError("the file is empty")
        with open(path, "rb") as file:
            preamble = file.read(132)
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # decoders find the bytes in the system's cache
        if preamble[128:] == b"DICM" or str(path).lower().endswith((".dcm", ".dicom")):
            return replace(_from_dicom(path), origin=Origin("file", sha256, "pydicom"))
        return replace(_from_picture_file(path), origin=Origin("file", sha256, "pillow"))


def _from_picture_file(path: str | Path) -> SourceImage:
    with Image.open(path, formats=FORMATS) as picture:
        opposite = _opposite_byte_order(picture)
        if opposite is None:
            image = _from_picture(picture)
        else:
            with Image.open(path, formats=FORMATS) as again:
                again.tile = opposite
                image = _from_wide_picture(picture, again)
        # not of MPO, a camera's JPEG with a preview or the like beside the photograph
        several = getattr(picture, "is_animated", False) and picture.format != "MPO"
        return replace(image, notes=(*(("the first of its frames is taken",) if several else ()), *image.notes))


def _from_picture(picture: Image.Image) -> SourceImage:
    """A Pillow image in any mode."""
    picture.load()  # first: loading applies a TIFF's orientation, and a PNG's EXIF may follow the pixels
    if picture.mode == "F":
        image = of_floats(np.asarray(picture)[..., None])
        return replace(image, pixels=_turned(image.pixels, picture))
    if picture.mode == "I" and 32 in getattr(picture, "tag_v2", {}).get(_BITS, ()):
        raise ValueError("it has 32-bit integer pixels; 8 or 16 bits a channel, or 32-bit floats, are expected")
    notes: tuple[str, ...] = ()
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        values = np.asarray(picture).astype(np.float32)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"its values, {values.min():.0f} to {values.max():.0f}, are not those of 16 bits")
        clear = values == picture.info.get("transparency", -1)
        values[clear] = 0
        pixels = with_colours(values[..., None] / np.float32(257))
        notes = (*_over_black(clear), *_of_fewer_bits(values))
    elif picture.has_transparency_data:
        straight = picture.convert("LA") if picture.mode == "La" else picture
        rgba = np.asarray(straight.convert("RGBA"))
        pixels = rgba[..., :3].astype(np.float32)
        pixels *= rgba[..., 3:] / np.float32(255)
        notes = _over_black(rgba[..., 3] < 255)
    else:
        pixels = np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"), np.float32)
    return SourceImage(_turned(pixels, picture), notes=notes)


def _over_black(clear: npt.NDArray[np.bool_]) -> tuple[str, ...]:
    """A note where pixels are ``clear``, at least in part."""
    return ("it is transparent in part, and composited over black",) if clear.any() else ()


def _opposite_byte_order(picture: ImageFile.ImageFile) -> list[Any] | None:
    """The tiles of 16-bit colour with their byte order swapped; None for any other picture.

    Pillow reads colour with 8 bits: of 16 it keeps the high byte, and with the byte order swapped the low one, so that
    reading twice gives all 16 bits.
    """
    native, swapped = ("L", "B") if sys.byteorder == "little" else ("B", "L")
    orders = {"B": "L", "L": "B", "N": swapped, native: swapped}
    tiles = []
    for codec, extents, offset, args in picture.tile:
        raw = args[0] if isinstance(args, tuple) and args else args
        if codec == "raw" and raw in ("R", "G", "B", "A") and 16 in getattr(picture, "tag_v2", {}).get(_BITS, ()):
            raise ValueError("it has 16-bit colour in separate planes, which Pillow misreads unless compressed")
        if not (isinstance(raw, str) and raw[:-1] in ("RGB;16", "RGBA;16", "RGBX;16") and raw[-1] in orders):
            return None
        other = raw[:-1] + orders[raw[-1]]
        fields = codec, extents, offset, (other, *args[1:]) if isinstance(args, tuple) else other
        tiles.append(getattr(type(picture.tile[0]), "_make", tuple)(fields))  # a named tuple since Pillow 11.1
    return tiles or None


def _from_wide_picture(high: Image.Image, low: Image.Image) -> SourceImage:
    """A picture with 16-bit colour, from its high and its low bytes."""
    values = np.asarray(high).astype(np.float32) * 256 + np.asarray(low)
    key = high.info.get("transparency")
    if values.shape[2] == 4:
        alpha = values[..., 3:] / np.float32(65535)
    elif key is not None:
        alpha = (values != np.asarray(key, np.float32)).any(-1, keepdims=True)
    else:
        alpha = np.ones(1, np.float32)
    pixels = _turned(values[..., :3] / np.float32(257) * alpha, high)
    return SourceImage(pixels, notes=(*_over_black(alpha < 1), *_of_fewer_bits(values[..., :3])))


def _turned(pixels: Pixels, picture: Image.Image) -> Pixels:
    """Pixels with the picture's EXIF orientation applied (the eight values of the EXIF standard, tag 0x0112)."""
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block does not make the pixels unusable
        orientation = 1
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels, np.float32)


def with_colours(pixels: Pixels) -> Pixels:
    """Pixels [*size, C] in memory of their own; of two axes a single channel is repeated three times."""
    grey = pixels.ndim == 3 and pixels.shape[2] == 1
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)) if grey else pixels)


def _from_dicom(path: str | Path) -> SourceImage:
    """A DICOM file of one frame: rescaled, windowed, MONOCHROME1 inverted."""
    try:
        pydicom = import_module("pydicom")
    except ImportError as error:
        raise ExecutionError(f"cannot read '{path}': DICOM files need pydicom; pip install pydicom") from error
    try:
        syntax = pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID")
    except pydicom.errors.InvalidDicomError:
        raise ValueError("it is no DICOM file, or one without the header that says how it is stored") from None
    if syntax == pydicom.uid.DeflatedExplicitVRLittleEndian:  # reading it would unpack it, to any size
        raise ValueError("it is compressed as a whole, by a deflated transfer syntax; save it with another one")
    data = pydicom.dcmread(path)
    _check_dicom(data)
    values = data.pixel_array
    if data.PhotometricInterpretation == "PALETTE COLOR":
        values = pydicom.pixels.apply_color_lut(values, data)
        return SourceImage(np.asarray(values / np.iinfo(values.dtype).max * 255, np.float32))
    if values.ndim == 3:
        return SourceImage(np.asarray(values / (2 ** int(data.BitsStored) - 1) * 255, np.float32))
    rescaled = values * float(data.get("RescaleSlope", 1)) + float(data.get("RescaleIntercept", 0))
    shade = _windowed(rescaled, data)
    if data.PhotometricInterpretation == "MONOCHROME1":
        shade = 1 - shade
    notes = (
        () if _has_window(data) else ("it has no window: black and white are the least and the largest of its values",)
    )
    return SourceImage(with_colours((shade[..., None] * 255).astype(np.float32)), notes=notes)


def _has_window(data: Any) -> bool:
    return data.get("WindowCenter") is not None and data.get("WindowWidth") is not None


def _check_dicom(data: Any) -> None:
    """Raise ValueError for a file without an image, of several frames, or one that declares more than one can have."""
    if "Rows" not in data:
        kind = getattr(data.get("SOPClassUID"), "name", "")
        raise ValueError(f"it has no image{f', but is of the kind {kind}' if kind else ''}")
    if (frames := int(data.get("NumberOfFrames") or 1)) > 1:
        raise ValueError(f"it has {frames} frames; a file with one is expected")
    rows, columns = (int(data.get(side) or 0) for side in ("Rows", "Columns"))
    if Image.MAX_IMAGE_PIXELS is not None and rows * columns > Image.MAX_IMAGE_PIXELS:
        raise ValueError(f"it declares {rows} x {columns} pixels; the limit is {Image.MAX_IMAGE_PIXELS} in all")
    for name, known in (("SamplesPerPixel", _SAMPLES), ("BitsAllocated", _DEPTHS)):
        if int(data.get(name) or 0) not in known:
            raise ValueError(f"its {name} is {data.get(name)}, and none of {', '.join(map(str, known))}")


def _windowed(values: npt.NDArray[np.float64], data: Any) -> npt.NDArray[np.float64]:
    """Values 0 to 1 by the file's first window (DICOM PS3.3, C.11.2.1.2 and .3), or else by their own range."""
    if not _has_window(data):
        low, high = float(values.min()), float(values.max())
        return (values - low) / max(high - low, np.finfo(np.float64).tiny)
    centre, width = (float(np.atleast_1d(data[key].value)[0]) for key in ("WindowCenter", "WindowWidth"))
    function = str(data.get("VOILUTFunction") or "LINEAR")
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(-4 * (values - centre) / width)))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if width <= 1:
        return (values > centre - 0.5).astype(np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
