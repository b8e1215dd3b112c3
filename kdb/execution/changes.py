"""Which outputs change: of a dense output the mean and the largest |change| of each cell, over all positions.

Two maps take it all in, whatever the number of positions; workers share them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kdb.geometry import Size
from kdb.kernels.base import Delta


class Changes:
    """Accumulates deltas of a map of ``size``, of these ``channels`` alone.

    count   the positions so far, which whoever runs them counts: those that change nothing bring no delta
    total   float64 [channels, *size]: the sum of |delta| over the positions
    most    float32 [channels, *size]: the largest
    """

    def __init__(self, size: Size, channels: Sequence[int]) -> None:
        self._channels, self._lock = list(channels), threading.Lock()
        self.count = 0
        self.total = np.zeros((len(channels), *size))
        self.most = np.zeros((len(channels), *size), np.float32)

    def take(self, delta: Delta, sure: npt.NDArray[np.bool_]) -> None:
        """Add a batch's delta, but of positions that are not ``sure`` [n], which come again, evaluated in full."""
        sure = sure & np.isfinite(delta.values).all(axis=tuple(range(1, delta.values.ndim)))
        for index in np.flatnonzero(sure).tolist():
            values = np.abs(np.moveaxis(delta.values[index][..., self._channels], -1, 0))
            starts = delta.boxes.origins[index].tolist()
            place = (slice(None), *map(slice, starts, np.add(starts, delta.boxes.extent).tolist()))
            with self._lock:
                self.total[place] += values
                np.maximum(self.most[place], values, out=self.most[place])

    @property
    def mean(self) -> npt.NDArray[np.float32]:
        """float32 [channels, *size]."""
        return (self.total / max(self.count, 1)).astype(np.float32)
