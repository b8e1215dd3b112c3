"""Verbs that no kernel of a device computes yet: the host's, of copies, and what they give copied back.

They are right and slow, and the planner does not know that: networks that have many of them are better off on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kdb.kernels.base import Array, Delta, FloatArray
from kdb.kernels.cpu.maps import CpuMaps
from kdb.kernels.cpu.windows import CpuWindows
from kdb.kernels.gpu.launcher import Launcher
from kdb.kernels.gpu.memory import GpuMemory


class OnHost:
    """The host's verbs, for the arrays of a device."""

    def __init__(self, launcher: Launcher) -> None:
        self._memory = GpuMemory(launcher)
        self.maps, self.windows = CpuMaps(), CpuWindows(native=True)

    def download(self, view: Array) -> FloatArray:
        """A view that a verb reads."""
        return self._memory.download(view)

    def of(self, verb: Callable[[FloatArray], FloatArray], x: Array) -> Array:
        """``verb`` of x, stored as x is."""
        found = verb(self._memory.download(x))
        return self._memory.upload_delta(found) if x.dtype == np.uint16 else self._memory.upload(found)

    def of_delta(self, verb: Callable[[Delta], FloatArray], delta: Delta) -> Array:
        """The same of a delta."""
        return self.of(lambda values: verb(replace(delta, values=values)), delta.values)
