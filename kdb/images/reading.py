"""Reads images as float32 [*size, C] of one to three axes; pictures are RGB, 0 to 255.

Images are files (:mod:`kdb.images.readers`), folders of DICOM files, ``PIL.Image`` objects, arrays and tensors.
Resizing and normalisation are in :mod:`kdb.images.preprocessing`.  Colour profiles are not applied.

Files may come from strangers: those of the readers' kinds are read, whatever a file is called, and the size that it
declares is checked before its pixels are unpacked.
"""

from __future__ import annotations

import glob
import hashlib
import os
import stat
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from kdb.errors import BindError, Error, ExecutionError, looked_in
from kdb.images.image import SHAPES, Origin, SourceImage, as_window, from_array
from kdb.images.readers import reader_of, readers
from kdb.images.readers.base import HEAD, Reader
from kdb.images.readers.dicom import DICOM
from kdb.images.readers.pictures import FORMATS, PICTURES, from_picture
from kdb.images.readers.series import Series, in_folder, read_series
from kdb.system.locks import WARNINGS


def load_image(
    source: str | Path | Series | Image.Image | npt.NDArray[Any] | object,
    axes: int = 2,
    options: Mapping[str, Any] | None = None,
    wanted: Mapping[str, Any] | None = None,
) -> SourceImage:
    """Read a path, a ``PIL.Image``, or an array or tensor [*size] or [*size, C] of uint8, uint16 or floats.

    ``axes`` are those of the model, one to three.  Of two a single channel is repeated three times.  16-bit values are
    divided by 257, floats are taken as they are, alpha is composited over black, EXIF orientation is applied.  Of
    several frames the first is read, of a ``PIL.Image`` the current one.  Of three axes a folder is the series of the
    DICOM files in it.

    ``options`` are those of the file's reader; those of ``wanted`` that it has count where they do not say otherwise.

    Raises :class:`~kdb.errors.BindError` for an object of a wrong type, dtype or shape, or with NaN or infinity, and
    for options that the reader does not have; :class:`~kdb.errors.ExecutionError` for a file that is missing, damaged,
    of no reader's kind, or implausibly large (``PIL.Image.MAX_IMAGE_PIXELS``, and for other than pictures
    :data:`kdb.system.limits.IMAGE_NUMBERS`).
    """
    options, wanted = options or {}, wanted or {}
    if isinstance(source, str | Path | Series):
        name = source.name if isinstance(source, Series) else os.fspath(source)
        with _reading(f"'{name}'", looked_in(name)):
            series = source if isinstance(source, Series) else _series_at(name, axes)
            if series is None:
                return _from_file(name, axes, options, wanted)
            return _with_options(DICOM, options, wanted, lambda chosen: read_series(series, chosen), name)
    if options:
        raise BindError(f"options are of files; {next(iter(options))} is given with an image in memory")
    if (array := array_of(source)) is not None:
        return replace(from_array(array, axes), origin=Origin.of_array(array))
    if isinstance(source, Image.Image):
        filename = getattr(source, "filename", "") or None
        if 0 in source.size:
            raise BindError(f"the image is empty: {source.height} x {source.width} pixels")
        with _reading(f"the image '{filename}'" if filename else "the image given"):
            image = from_picture(source)
            named = filename if filename is None else str(filename)
            return replace(image, name=named, origin=Origin.of_array(image.pixels, "pixels", "pillow"))
    expected = "[H, W, 3] or [H, W]" if axes == 2 else f"[{SHAPES[axes - 1]}, C] or [{SHAPES[axes - 1]}]"
    raise BindError(f"an image is a path, a PIL.Image or an array {expected}, not {type(source).__name__}")


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
        folders = "; it matches folders, whose files are matched by " + repr(pattern + "/*") if found else ""
        raise ExecutionError(f"no file matches '{pattern}'{folders or looked_in(pattern)}")
    return matches


@contextmanager
def _reading(what: str, where: str = "") -> Iterator[None]:
    """Turn the exceptions of decoders into ExecutionError, and suppress their warnings.

    For damaged files decoders raise OSError, SyntaxError, struct.error, KeyError and more, hence the broad catch.
    """
    try:
        with WARNINGS, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except Error:
        raise
    except Exception as error:
        where = where if isinstance(error, FileNotFoundError) else ""
        raise ExecutionError(f"cannot read {what}: {_reason(error)}{where}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError):
        kinds = ", ".join(FORMATS)
        others = " and ".join(reader.name for reader in readers() if reader is not PICTURES)
        return f"not an image, or damaged, or of another kind than {kinds}, {others}; others can be opened by Pillow"
    if isinstance(error, MemoryError):
        return "not enough memory for its pixels"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it has more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels, which Pillow refuses to unpack"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def _from_file(path: str, axes: int, options: Mapping[str, Any], wanted: Mapping[str, Any]) -> SourceImage:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is not a regular file")  # opening a pipe would wait for ever
    if status.st_size == 0:
        raise ValueError("the file is empty")
    with open(path, "rb") as file:
        head = file.read(HEAD)
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # decoders find the bytes in the system's cache
    reader = reader_of(path, head)
    image = _with_options(reader, options, wanted, lambda chosen: reader.read(path, axes, chosen), path)
    return replace(image, origin=Origin("file", sha256, reader.package, (os.path.abspath(path),)))


def _series_at(path: str, axes: int) -> Series | None:
    """The series of the DICOM files in a folder; None for what is no folder.

    Raises ValueError unless there is one, for a model of three ``axes``.
    """
    if not os.path.isdir(path):
        return None
    if axes != 3:
        raise ValueError("it is a folder")
    found = in_folder(path)
    if len(found) != 1:
        raise ValueError(f"it is a folder with {len(found) or 'no'} series of DICOM files; one is expected")
    return found[0]


def _with_options(
    reader: Reader,
    options: Mapping[str, Any],
    wanted: Mapping[str, Any],
    read: Callable[[Mapping[str, Any]], SourceImage],
    name: str,
) -> SourceImage:
    """What ``read`` makes of the options that are given, and for the rest of those that the model wants."""
    reader.check(options)
    image = read({**{key: value for key, value in wanted.items() if key in reader.options}, **options})
    window = as_window(options["window"]) if "window" in options else None
    return replace(image, name=name, window=window)
