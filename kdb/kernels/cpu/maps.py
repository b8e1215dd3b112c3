"""Whole maps cell by cell, in numpy: pointwise functions, sums and products, selections."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import mul

import numpy as np
import numpy.typing as npt

from kdb.geometry import IntArray, Margins, Size
from kdb.kernels.base import Parameters, Program
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

    def mixed(self, x: FloatArray, matrix: FloatArray) -> FloatArray:
        """The channels of x times a matrix."""
        products: FloatArray = x @ matrix.reshape(x.shape[-1], -1)
        return products

    def concatenate(self, parts: Sequence[FloatArray]) -> FloatArray:
        """Stack along the channels."""
        return np.concatenate(parts, axis=-1)

    def join(self, parts: Sequence[FloatArray], axis: int) -> FloatArray:
        """One behind another along an axis of the map."""
        return np.concatenate(parts, axis=1 + axis)

    def expand(self, x: FloatArray, extent: Size, channels: int) -> FloatArray:
        """x repeated along axes of length 1, as a read-only view."""
        return np.broadcast_to(x, (len(x), *extent, channels))

    def repeat(self, view: FloatArray, n: int) -> FloatArray:
        """A view for ``n`` positions, in its own memory."""
        return np.broadcast_to(view, (n, *view.shape))

    def pad(self, x: FloatArray, margins: Margins, value: float) -> FloatArray:
        """``value`` around x [n, h, w, C]; a negative margin crops."""
        return boxed.pad(x, margins, value)

    def interleave(self, x: FloatArray, factors: Size) -> FloatArray:
        """Each cell as ``factors`` cells."""
        n, *size, channels = x.shape
        rank, inner = len(size), channels // math.prod(factors)
        # [n, h, w, i, j, C] -> [n, h, i, w, j, C]
        pairs = [axis for each in range(rank) for axis in (1 + each, 1 + rank + each)]
        parts = x.reshape(n, *size, *factors, inner).transpose(0, *pairs, 1 + 2 * rank)
        return parts.copy().reshape(n, *map(mul, size, factors), inner)

    def take_channels(self, x: FloatArray, order: Sequence[int]) -> FloatArray:
        """``x[..., order]``, copied."""
        if tuple(order) == tuple(range(order[0], order[0] + len(order))):
            return x[..., order[0] : order[0] + len(order)].copy()
        return np.take(x, order, axis=-1)

    def take_cells(self, x: FloatArray, cells: Sequence[IntArray]) -> FloatArray:
        """The cells of each map at these indices along each axis, copied; zero where one lies outside of x."""
        indices, inside = zip(*map(boxed.held, cells, x.shape[1:-1]), strict=True)
        if all((each == each[0]).all() for each in cells):  # an axis at a time: runs instead of cells
            taken = x
            for axis, each in enumerate(indices, start=1):
                taken = np.take(taken, each[0], axis=axis)
        else:
            maps = np.arange(len(x)).reshape(-1, *(1 for _ in cells))
            taken = x[maps, *boxed.crossed(indices)]
        if not all(each.all() for each in inside):
            taken[~reduce(np.logical_and, boxed.crossed(inside))] = 0
        return taken
