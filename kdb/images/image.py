"""Images in memory: float32 [*size, C] of one to three axes, made of arrays; what they were read from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kdb.errors import BindError
from kdb.geometry import Space

Pixels = npt.NDArray[np.float32]

SHAPES = ("L", "H, W", "D, H, W")
"""Shapes of arrays by their number of axes, without channels."""
COUNTS = ("one axis", "two axes", "three axes")

FEWER_BITS = (8, 10, 12, 14)
"""How many bits values may have that are kept in 16."""


@dataclass(frozen=True)
class Origin:
    """What an image was read from, by the SHA-256, in hexadecimal, of all its bytes, and the package that read it.

    ``of`` is 'file': the file's bytes; 'files': the SHA-256 of each of several, in their order, a line each; 'array':
    the array's dtype and shape, as in ``uint8 (64, 96, 3);``, and its bytes; 'pixels': the same of the float32 pixels
    that a ``PIL.Image`` gave.  ``files`` are the absolute paths of the files, in their order.
    """

    of: str
    sha256: str
    reader: str = ""
    files: tuple[str, ...] = ()

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


def from_array(array: npt.NDArray[Any], axes: int) -> SourceImage:
    """An array [*size] or [*size, C] of so many ``axes``."""
    given = f"got {array.dtype} {list(array.shape)}"
    expected, hints = [], []
    floats = array.dtype.kind == "f"
    if not floats and (array.dtype.kind != "u" or array.itemsize > 2):
        expected.append("uint8 (0 to 255), uint16 (0 to 65535) or floats")
        if array.dtype.kind in "iu":
            hints.append("as floats, by astype(np.float32), values are taken as they are")
    layout = SHAPES[axes - 1]
    channels_first = axes == 2 and array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] > 4
    if array.ndim not in (axes, axes + 1) or channels_first:
        expected.append(f"[{layout}, C] or [{layout}]")
        if axes != 2 or array.ndim == 1:
            hints.append(f"the model takes {COUNTS[axes - 1]}")
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
    return SourceImage(with_colours(values.astype(np.float32) / np.float32(257)), notes=of_fewer_bits(array))


def of_floats(values: npt.NDArray[Any]) -> SourceImage:
    """Values as they are; raises ValueError for some that float32 does not have."""
    with np.errstate(over="ignore"):
        pixels = values.astype(np.float32)
    if not np.isfinite(pixels).all():
        raise ValueError("it has values that are NaN, infinite or out of the range of float32")
    return SourceImage(with_colours(pixels), floats=True)


def of_fewer_bits(values: npt.NDArray[Any]) -> tuple[str, ...]:
    """A note where 16-bit ``values`` use fewer bits than they have, as those of cameras and scanners do."""
    most = int(values.max())
    bits = next((each for each in FEWER_BITS if most < 2**each), None)
    if bits is None or most == 0:
        return ()
    remedy = "give them as uint8" if bits == 8 else f"give the array divided by {2**bits - 1}, as floats"
    return (f"its 16-bit values reach only {most} of 65535: it is dark; if they are of {bits} bits, {remedy}",)


def with_colours(pixels: Pixels) -> Pixels:
    """Pixels [*size, C] in memory of their own; of two axes a single channel is repeated three times."""
    grey = pixels.ndim == 3 and pixels.shape[2] == 1
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)) if grey else pixels)


def evenly(count: int, picked: int) -> npt.NDArray[np.int64]:
    """The indices of so many of ``count`` frames: the one at the middle of each of as many equal parts."""
    return np.floor((np.arange(picked) + 0.5) * count / picked).astype(np.int64)
