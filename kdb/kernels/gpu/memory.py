"""A device's memory, and the way from the host and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from kdb.geometry import Boxes, Size
from kdb.kernels.base import Array, FloatArray, Weight
from kdb.kernels.gpu.launcher import Launcher, bits


class GpuMemory:
    """The family of memory, on a device's arrays; views and whole maps are float32."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher, self._device = launcher, launcher.device

    def upload(self, array: FloatArray) -> Array:
        """A float32 array of the host in the device's memory."""
        return self._device.upload(np.ascontiguousarray(array, dtype=np.float32))

    def upload_delta(self, array: FloatArray) -> Array:
        """A float32 array of the host in the device's memory, rounded to bf16 where deltas are stored in it."""
        return self._device.upload(bits(array)) if self._launcher.stored == "bf16" else self.upload(array)

    def download(self, array: Array) -> FloatArray:
        """An array in the host's memory, once it is computed; bf16 becomes float32."""
        return self._device.download(self._launcher.converted(array) if array.dtype == np.uint16 else array)

    def fetch(self, array: Array) -> Callable[[], FloatArray]:
        """Begin a download, which waits for this array alone: what is launched meanwhile goes on."""
        if array.dtype == np.uint16:
            array = self._launcher.converted(array)
        return self._device.fetch(array)

    def announce(self, boxes: Iterable[Boxes]) -> None:
        """Upload the origins of all boxes of a batch in one copy."""
        self._launcher.announce(boxes)

    def empty(self, n: int, extent: Size, channels: int) -> Array:
        """A float32 array [n, h, w, C] that is still to be written to."""
        return self._launcher.empty(n, extent, channels)

    def all_finite(self, x: Array) -> bool:
        """Whether x holds neither NaN nor infinity, as the host sees after a download."""
        return bool(np.isfinite(self.download(x)).all())

    def constant(self, value: Weight) -> Array:
        """A parameter [H, W, C] as a map of one position, uploaded once."""
        return self._launcher.layout(value, "map", lambda array: array)[None]
