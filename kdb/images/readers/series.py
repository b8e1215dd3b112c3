"""Series of DICOM files: one slice a file, together a volume [z, y, x] of floats."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kdb.errors import BindError
from kdb.images.image import Origin, SourceImage, of_floats
from kdb.images.readers.base import HEAD, Options, check_size
from kdb.images.readers.dicom import DICOM, check, dataset, rescale, size_of, slice_of
from kdb.images.readers.slices import arranged

_COMPARED = ("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated")


@dataclass(frozen=True)
class Series:
    """The ``files`` of one series, called ``name``: their folder, and where that has several the series' UID in it."""

    name: str
    files: tuple[str, ...]


def is_dicom(path: str) -> bool:
    """Whether a regular file is likely DICOM, by its name or its first bytes."""
    if not os.path.isfile(path):
        return False
    if path.lower().endswith(DICOM.suffixes):
        return True
    try:
        with open(path, "rb") as file:
            return DICOM.magic(file.read(HEAD))
    except OSError:
        return False


def with_series(paths: Sequence[str]) -> list[str | Series]:
    """The paths, with each series of DICOM files in place of its files: of one frame each, and of one UID.

    Others stay what they are: files that cannot be read, that hold no image or all frames of one.
    """
    found: list[str | tuple[str, list[str]]] = []
    by_uid: dict[str, list[str]] = {}
    for path in paths:
        uid = _series_of(path) if is_dicom(path) else None
        if uid is None:
            found.append(path)
        elif uid in by_uid:
            by_uid[uid].append(path)
        else:
            by_uid[uid] = [path]
            found.append((uid, by_uid[uid]))
    folders = [os.path.commonpath([os.path.dirname(file) or "." for file in files]) for files in by_uid.values()]
    names = {
        uid: os.path.join(folder, uid) if folders.count(folder) > 1 else folder
        for uid, folder in zip(by_uid, folders, strict=True)
    }
    return [each if isinstance(each, str) else Series(names[each[0]], tuple(each[1])) for each in found]


def in_folder(folder: str) -> list[Series]:
    """Each series whose files are in a folder, but not in folders inside it; other files are passed over."""
    paths = sorted(entry.path for entry in os.scandir(folder))
    return [each for each in with_series([path for path in paths if is_dicom(path)]) if isinstance(each, Series)]


def _series_of(path: str) -> str | None:
    """The UID of the series of a file of one frame; None of another."""
    try:
        data = dataset(path, pixels=False)
        uid, frames = data.get("SeriesInstanceUID"), int(data.get("NumberOfFrames") or 1)
        return str(uid) if uid and frames == 1 and "Rows" in data else None
    except Exception:  # what is wrong with it is told when it is read
        return None


def read_series(series: Series, options: Options) -> SourceImage:
    """The volume of a series: float32 [z, y, x, 1], rescaled slice by slice, z along the normal of the slices.

    Raises ValueError where the slices make no volume (:func:`kdb.images.readers.slices.arranged`).
    """
    if "frame" in options:
        raise BindError("frame is for a model of two axes; one of three takes all slices")
    slices, before = [], None
    for path in series.files:
        data = dataset(path, pixels=False)
        check(data)
        described = {name: data.get(name) for name in _COMPARED}
        if before is not None and described != before:
            raise ValueError(f"its slices are of different kinds: {before} and, in '{_short(path)}', {described}")
        before = described
        slices.append(slice_of(data, f"'{_short(path)}'"))
    if before is not None and before["SamplesPerPixel"] != 1:
        raise ValueError("its slices are in colour, and a volume of floats is expected")
    order, space = arranged(slices)
    size = (len(order), *slices[0].size)
    check_size(size)
    values = np.empty(size, np.float32)
    digests = []
    for out, i in zip(values, order, strict=True):
        path = series.files[i]
        data = dataset(path)
        check(data)
        if size_of(data) != slices[0].size:
            raise ValueError(f"'{_short(path)}' changed while it was read")
        out[:] = rescale(np.asarray(data.pixel_array), data)
        with open(path, "rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    notes = (
        () if space is not None else ("its slices do not say where they lie: they are in the order of their numbers",)
    )
    files = tuple(os.path.abspath(series.files[i]) for i in order)
    origin = Origin("files", hashlib.sha256("\n".join(digests).encode()).hexdigest(), DICOM.package, files)
    return replace(of_floats(values[..., None]), axes="zyx", space=space, notes=notes, origin=origin)


def _short(path: str) -> str:
    return os.path.basename(path)
