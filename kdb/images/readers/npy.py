"""Arrays in files of numpy's format, which may not hold objects."""

from __future__ import annotations

import numpy as np

from kdb.errors import BindError
from kdb.images.image import SourceImage, from_array
from kdb.images.readers.base import WINDOW, Options, Reader, check_size


def _read(path: str, axes: int, options: Options) -> SourceImage:
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
    if dtype.hasobject:
        raise ValueError("it holds objects of Python, and unpickling them could run code; save an array of numbers")
    check_size(shape)
    array = np.load(path, allow_pickle=False)
    if array.dtype.kind == "i" or (array.dtype.kind == "u" and array.itemsize > 2):
        array = array.astype(np.float64)  # in units of their own, as Hounsfield's are
    try:
        return from_array(array, axes)
    except BindError as error:
        raise ValueError(str(error)) from None


NPY = Reader(
    ".npy files", "numpy", _read, suffixes=(".npy",), magic=lambda head: head.startswith(b"\x93NUMPY"), options=WINDOW
)
