"""Whole maps cell by cell, in numpy: pointwise functions, sums and products, selections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from kdb.geometry import IntArray, Size
from kdb.kernels.base import Margins, Parameters, Program
from kdb.kernels.cpu import boxed
from kdb.kernels.programs import evaluate

FloatArray = npt.NDArray[np.float32]


CHUNK = 1 << 20
"""Numbers that a pointwise layer handles at a time: three such arrays stay in a shared cache.

Not fewer, for a core's own: each call hands the interpreter's lock on, and two workers that wait for each other's
microseconds took three times as long with arrays of 256 KB, though one worker alone was faster so.
"""


def chunks(x: FloatArray) -> Iterator[slice]:
    """Slices of whole positions of x, about ``CHUNK`` numbers each."""
    step = max(CHUNK // max(x[0].size, 1), 1) if len(x) else 1
    return (slice(i, i + step) for i in range(0, len(x), step))


class CpuMaps:
    """The family of whole maps, on numpy arrays."""

    def pointwise(self, x: FloatArray, program: Program, parameters: Parameters, donate: bool) -> FloatArray:
        """``f(x)``, a cache-sized chunk at a time."""
        out = x if donate else np.empty_like(x)
        for chunk in chunks(x):
            part = x[chunk]
            evaluate(program, part, parameters, part if donate else out[chunk])
        return out

    def add(self, x: FloatArray, y: FloatArray, donate: bool) -> FloatArray:
        """``x + y``."""
        sums: FloatArray = np.add(x, y, out=x if donate else None)
        return sums

    def multiply(self, x: FloatArray, y: FloatArray, donate: bool) -> FloatArray:
        """``x * y``."""
        products: FloatArray = np.multiply(x, y, out=x if donate else None)
        return products

    def concatenate(self, parts: Sequence[FloatArray]) -> FloatArray:
        """Stack along the channels."""
        return np.concatenate(parts, axis=-1)

    def expand(self, x: FloatArray, extent: Size, channels: int) -> FloatArray:
        """x repeated along axes of length 1, as a read-only view."""
        return np.broadcast_to(x, (len(x), *extent, channels))

    def repeat(self, view: FloatArray, n: int) -> FloatArray:
        """A view for ``n`` positions, in its own memory."""
        return np.broadcast_to(view, (n, *view.shape))

    def pad(self, x: FloatArray, margins: Margins, value: float) -> FloatArray:
        """``value`` around x [n, h, w, C]; a negative margin crops."""
        return boxed.pad(x, margins, value)

    def take_channels(self, x: FloatArray, order: Sequence[int]) -> FloatArray:
        """``x[..., order]``, copied."""
        if tuple(order) == tuple(range(order[0], order[0] + len(order))):
            return x[..., order[0] : order[0] + len(order)].copy()
        return np.take(x, order, axis=-1)

    def take_cells(self, x: FloatArray, rows: IntArray, columns: IntArray) -> FloatArray:
        """``x[i, rows[i]][:, columns[i]]``, copied; zero where an index lies outside of x."""
        (y, y_inside), (x_, x_inside) = (
            (np.clip(cells, 0, length - 1), (cells >= 0) & (cells < length))
            for cells, length in ((rows, x.shape[1]), (columns, x.shape[2]))
        )
        if (rows == rows[0]).all() and (columns == columns[0]).all():  # an axis at a time: runs instead of cells
            taken: FloatArray = np.take(np.take(x, y[0], axis=1), x_[0], axis=2)
        else:
            taken = x[np.arange(len(x))[:, None, None], y[:, :, None], x_[:, None, :]]
        if not (y_inside.all() and x_inside.all()):
            taken[~(y_inside[:, :, None] & x_inside[:, None, :])] = 0
        return taken
