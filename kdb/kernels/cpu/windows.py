"""Pools, means and resampling, in numpy and by PyTorch's pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from kdb.geometry import Boxes, Margins, Size
from kdb.kernels.base import Delta, Sliding, Weight
from kdb.kernels.cpu import boxed, library, taps

FloatArray = npt.NDArray[np.float32]


class CpuWindows:
    """The family of windows, on numpy arrays; ``native`` does without PyTorch's pooling."""

    def __init__(self, native: bool) -> None:
        self._native = native

    def max_pool(self, x: FloatArray, sliding: Sliding, padding: Margins, size: Size) -> FloatArray:
        """Maximum over each window [n, h', w', C]."""
        return self._maximum(boxed.pad(x, _margins(x, sliding, padding, size), -np.inf), sliding)

    def _maximum(self, x: FloatArray, sliding: Sliding) -> FloatArray:
        return taps.reduce_windows(np.maximum, x, sliding) if self._native else library.max_pool(x, sliding)

    def max_pool_delta(
        self, delta: Delta, boxes: Boxes, view: FloatArray, result: FloatArray, sliding: Sliding, padding: Margins
    ) -> FloatArray:
        """``max(view + d) - result[B]``: the context read in, the delta superimposed, the maximum, less the view."""
        context = boxed.context(delta, view, boxes.read_in(sliding.windows(padding)), -np.inf)
        y = self._maximum(context, sliding)
        y -= boxed.gather(result, boxes)
        return y

    def average_pool(self, x: FloatArray, sliding: Sliding, padding: Margins, divisors: Weight) -> FloatArray:
        """Mean over each window [n, h', w', C]."""
        n, size = len(x), x.shape[1:-1]
        frames = Boxes.whole(n, divisors.array.shape[:-1]).read_in(sliding.windows(padding))
        y = self._sum(boxed.embed(x, Boxes.whole(n, size), frames), sliding)
        y /= divisors.array
        return y

    def _sum(self, x: FloatArray, sliding: Sliding) -> FloatArray:
        if not self._native and sliding.rank == library.SUMMED and max(sliding.dilation) == 1:
            return library.sum_pool(x, sliding)
        return taps.reduce_windows(np.add, x, sliding)

    def average_pool_delta(
        self, delta: Delta, boxes: Boxes, sliding: Sliding, padding: Margins, divisors: Weight
    ) -> FloatArray:
        """``sum(d) / divisors[B]``, the divisors read at each box's place in the map."""
        frames = boxes.read_in(sliding.windows(padding))
        y = self._sum(boxed.embed(delta.values, delta.boxes, frames), sliding)
        counts = divisors.array
        if (counts == counts.flat[0]).all():
            y /= counts.flat[0]
        else:
            y /= boxed.gather(counts, boxes)
        return y

    def mean(self, x: FloatArray, cells: int) -> FloatArray:
        """The sum over each map, over ``cells``: as products with ones, an axis at a time.

        A running sum over all cells is several times slower, and on a map that is nearly constant its rounding errors
        all point one way and grow with the number of cells.
        """
        n, *size, channels = x.shape
        for length in size:
            x = np.ones((1, length), np.float32) @ x.reshape(n, length, -1)
        x /= np.float32(cells)
        return x.reshape(n, *(1 for _ in size), channels)

    def resample(self, x: FloatArray, matrices: Sequence[Weight]) -> FloatArray:
        """The product with a matrix along each axis, one after the other."""
        n, *size, channels = x.shape
        lengths = [len(matrix.array) for matrix in matrices]
        for axis, matrix in enumerate(matrices):
            outer, inner = n * math.prod(lengths[:axis]), math.prod(size[axis + 1 :]) * channels
            x = matrix.array @ x.reshape(outer, size[axis], inner)
        return x.reshape(n, *lengths, channels)

    def resample_delta(self, delta: Delta, boxes: Boxes, matrices: Sequence[Weight]) -> FloatArray:
        """By the part of each matrix that each position's boxes have."""
        x, n, channels = delta.values, len(boxes), delta.values.shape[-1]
        for axis, matrix in enumerate(matrices):
            rows = boxes.origins[:, axis, None] + np.arange(boxes.extent[axis])
            columns = delta.boxes.origins[:, axis, None] + np.arange(delta.boxes.extent[axis])
            parts = matrix.array[rows[:, None, :, None], columns[:, None, None, :]]
            outer, inner = math.prod(boxes.extent[:axis]), math.prod(delta.boxes.extent[axis + 1 :]) * channels
            x = np.matmul(parts, x.reshape(n, outer, delta.boxes.extent[axis], inner))
        resampled: FloatArray = x.reshape(n, *boxes.extent, channels)
        return resampled

    def weighted(self, x: FloatArray, weights: Weight) -> FloatArray:
        """The sum of x times ``weights``."""
        return self.mean(x * weights.array, 1)

    def weighted_delta(self, delta: Delta, weights: Weight) -> FloatArray:
        """The same of a delta."""
        return self.mean(delta.values * boxed.gather(weights.array, delta.boxes), 1)

    def outside(self, delta: Delta, sums: FloatArray) -> FloatArray:
        """By the corners of each box in the table of ``sums``."""
        n, *extent, channels = delta.values.shape
        start, stop = delta.boxes.origins, delta.boxes.origins + np.array(extent)
        weights = np.repeat(sums[(-1,) * len(extent)][None].astype(np.float64), n, axis=0)
        for ends in product((0, 1), repeat=len(extent)):  # inclusion and exclusion
            corner = np.where(np.array(ends) == 1, stop, start)
            weights -= (-1.0) ** (len(extent) - sum(ends)) * sums[tuple(corner.T)]
        change = delta.values[:, *(0 for _ in extent)]
        found = np.einsum("nkc,nc->nk", weights.reshape(n, -1, channels), change)
        return np.asarray(found.reshape(n, *(1 for _ in extent), -1), np.float32)


def _margins(x: FloatArray, sliding: Sliding, padding: Margins, size: Size) -> Margins:
    """The margins around x that ``size`` windows need; at the far edges they differ from the padding as sizes round."""
    windows = sliding.windows(padding)
    before = tuple(window.before for window in windows)
    extent = Boxes.whole(len(x), size).read_in(windows).extent
    return *before, *(
        whole - start - length for whole, start, length in zip(extent, before, x.shape[1:-1], strict=True)
    )
