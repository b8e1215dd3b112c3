"""What a reader of files is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from kdb.errors import BindError, did_you_mean
from kdb.geometry import spelled
from kdb.images.image import COUNTS, SourceImage, of_floats
from kdb.system.limits import IMAGE_NUMBERS
from kdb.system.memory import require

HEAD = 352
"""Bytes at the beginning of a file that readers are told by: those of NIfTI are the last, at 344."""
WINDOW = {"window": "the (centre, width) that its values are clipped to"}
"""The option of all that give floats."""

Options = Mapping[str, Any]


def _no_magic(head: bytes) -> bool:
    return False


@dataclass(frozen=True)
class Reader:
    """Reads one kind of files.

    Attributes:
        name: of these files, in the plural and in words: "DICOM files".
        package: the package that reads them, as it is called on PyPI.
        read: takes a path, the number of axes of the model and the reader's options, and returns the image.  Whatever
            it raises becomes an ExecutionError that names the file, but for the errors of kdb itself.  It looks at what
            the file declares before it takes memory for it, and runs nothing that the file holds.
        extra: of kdb's, which installs the package; empty where kdb always has it.
        suffixes: of the names of these files, in lower case, each with its dot.
        magic: whether the first ``HEAD`` bytes of a file are those of one of these.
        options: the options that a query may give, each with its meaning.
    """

    name: str
    package: str
    read: Callable[[str, int, Options], SourceImage]
    extra: str = ""
    suffixes: tuple[str, ...] = ()
    magic: Callable[[bytes], bool] = _no_magic
    options: Mapping[str, str] = field(default_factory=dict)

    def check(self, options: Options) -> None:
        """Raise BindError for an option that these files do not have."""
        for key in options:
            if key not in self.options:
                known = ", ".join(f"{name} ({meaning})" for name, meaning in self.options.items())
                hint = did_you_mean(key, self.options)
                raise BindError(f"{self.name} have no option '{key}'{hint}; their options: {known or 'none'}")


def package(name: str, reader: Reader) -> Any:
    """The package ``name`` of a reader; raises ValueError with what to install where it is missing."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ValueError(
            f"{reader.name} need {reader.package}; pip install {reader.package}, or 'kdb-occlusion[{reader.extra}]'"
        ) from error


def check_size(size: Sequence[int], what: str = "it") -> None:
    """Raise an error for what declares more numbers than an image may have, or than there is memory for."""
    count = math.prod(size)
    if min(size, default=0) <= 0:
        raise ValueError(f"{what} is empty: {spelled(tuple(size))}")
    if count > IMAGE_NUMBERS:
        raise ValueError(f"{what} declares {spelled(tuple(size))} numbers; the limit is {IMAGE_NUMBERS} in all")
    require(2 * count * np.dtype(np.float32).itemsize, f"an image of {spelled(tuple(size))} numbers")


def check_axes(what: str, has: int, axes: int) -> None:
    """Raise ValueError where ``what``, of so many axes as it ``has``, is given to a model of other ``axes``."""
    if has != axes:
        raise ValueError(f"it is {what}, and the model takes {COUNTS[axes - 1]}")


def as_whole(name: str, value: object) -> int:
    """An option that is a whole number from 1; raises BindError for another."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BindError(f"{name} = {value!r} is no whole number from 1")
    return value


def floats(values: npt.NDArray[Any], axes: int) -> SourceImage:
    """An image of floats, of ``values`` [*size] or [*size, C]; raises ValueError where the model has other ``axes``."""
    while values.ndim > axes + 1 and values.shape[-2] == 1:  # as in [i, j, k, 1, C], and in slices [i, j, 1]
        values = values.squeeze(-2)
    if values.ndim == axes + 1 or values.ndim == axes:
        return of_floats(values if values.ndim > axes else values[..., None])
    raise ValueError(f"it is of {spelled(values.shape)} values, and the model takes {COUNTS[axes - 1]}")
