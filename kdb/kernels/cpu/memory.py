"""The memory of the host: arrays are where they are needed, so that most of it is nothing to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from kdb.geometry import Boxes, Size
from kdb.kernels.base import Weight

FloatArray = npt.NDArray[np.float32]


class CpuMemory:
    """The family of memory, on numpy arrays."""

    def upload(self, array: FloatArray) -> FloatArray:
        """The array itself."""
        return array

    def upload_delta(self, array: FloatArray) -> FloatArray:
        """The array itself: deltas are float32."""
        return array

    def download(self, array: FloatArray) -> FloatArray:
        """The array itself."""
        return array

    def fetch(self, array: FloatArray) -> Callable[[], FloatArray]:
        """A function that gives the array itself."""
        return lambda: array

    def announce(self, boxes: Iterable[Boxes]) -> None:
        """Nothing to prepare; the boxes are not even computed."""

    def empty(self, n: int, extent: Size, channels: int) -> FloatArray:
        """An array [n, h, w, C] that is still to be written to."""
        return np.empty((n, *extent, channels), np.float32)

    def all_finite(self, x: FloatArray) -> bool:
        """Whether x holds neither NaN nor infinity."""
        return bool(np.isfinite(x).all())

    def constant(self, value: Weight) -> FloatArray:
        """A parameter [H, W, C] as a map of one position, in its own memory."""
        return value.array[None]
