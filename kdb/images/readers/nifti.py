"""Volumes in NIfTI files, by nibabel: scaled floats in the file's own order of axes, (i, j, k) and channels.

The numbers are read here, since nibabel would take as much memory as a small compressed file asks for.
"""

from __future__ import annotations

import gzip
import math
from dataclasses import replace
from typing import Any

import numpy as np

from kdb.geometry import Space, spelled
from kdb.images.image import SourceImage
from kdb.images.readers.base import WINDOW, Options, Reader, check_axes, check_size, floats, package

_SIZES = {348: "Nifti1Header", 540: "Nifti2Header"}
"""Headers by their size, the first number of a file."""
_MOST_BEFORE = 1 << 24
"""Bytes before the numbers: the header and its extensions."""


def _read(path: str, axes: int, options: Options) -> SourceImage:
    nibabel = package("nibabel", NIFTI)
    with open(path, "rb") as plain:
        compressed = plain.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if compressed else open(path, "rb") as file:
        header = _header(nibabel, file.read(540))
        shape = tuple(int(n) for n in header.get_data_shape())
        if any(n > 1 for n in shape[axes:3]):
            check_axes(f"a volume of {spelled(shape[:3])}", 3, axes)
        dtype = header.get_data_dtype()
        if dtype.kind not in "iuf":
            raise ValueError(f"its values are of the type {dtype}; integers or floats are expected")
        check_size(shape)
        offset = int(header.get_data_offset())
        if not 0 <= offset <= _MOST_BEFORE:
            raise ValueError(f"its header says that the values begin at byte {offset}")
        file.seek(offset)
        count = math.prod(shape) * dtype.itemsize
        raw = file.read(count)
    if len(raw) < count:
        raise ValueError(f"it is truncated: {len(raw)} of {count} bytes for {spelled(shape)} values")
    slope, intercept = header.get_slope_inter()
    values = np.frombuffer(raw, dtype).reshape(shape, order="F")
    if slope is not None and (slope, intercept) != (1, 0):
        values = values.astype(np.float64) * slope + intercept
    image = floats(values, axes)
    affine = np.asarray(header.get_best_affine(), np.float64)
    if axes != 3 or not np.isfinite(affine).all() or np.linalg.matrix_rank(affine) < 4:
        return image
    return replace(image, axes="ijk", space=Space(affine))


def _header(nibabel: Any, head: bytes) -> Any:
    for order in ("<", ">"):
        kind = _SIZES.get(int(np.frombuffer(head[:4].ljust(4, b"\0"), order + "i4")[0]))
        if kind is not None:
            header = getattr(nibabel, kind)
            size = header.template_dtype.itemsize
            if len(head) < size:
                raise ValueError("it is truncated: its header ends too early")
            found = header(head[:size], endianness=order, check=False)
            if bytes(found["magic"]).startswith((b"n+1", b"n+2")):
                return found
            raise ValueError("its header says that the values are in another file; save both in one .nii file")
    raise ValueError("it is no NIfTI file")


NIFTI = Reader(
    "NIfTI files",
    "nibabel",
    _read,
    extra="nifti",
    suffixes=(".nii", ".nii.gz"),
    magic=lambda head: head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0",
    options=WINDOW,
)
