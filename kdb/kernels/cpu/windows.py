"""Pools, means and resampling, in numpy and by PyTorch's pooling."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kdb.geometry import Boxes, Size
from kdb.kernels.base import Delta, Margins, Sliding, Weight
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
        context = boxed.context(delta, view, boxes.read_in(*sliding.windows(padding)), -np.inf)
        y = self._maximum(context, sliding)
        y -= boxed.gather(result, boxes)
        return y

    def average_pool(self, x: FloatArray, sliding: Sliding, padding: Margins, divisors: Weight) -> FloatArray:
        """Mean over each window [n, h', w', C]."""
        n, height, width, _ = x.shape
        frames = Boxes.whole(n, Size(*divisors.array.shape[:2])).read_in(*sliding.windows(padding))
        y = self._sum(boxed.embed(x, Boxes.whole(n, Size(height, width)), frames), sliding)
        y /= divisors.array
        return y

    def _sum(self, x: FloatArray, sliding: Sliding) -> FloatArray:
        if not self._native and sliding.dilation == (1, 1):
            return library.sum_pool(x, sliding)
        return taps.reduce_windows(np.add, x, sliding)

    def average_pool_delta(
        self, delta: Delta, boxes: Boxes, sliding: Sliding, padding: Margins, divisors: Weight
    ) -> FloatArray:
        """``sum(d) / divisors[B]``, the divisors read at each box's place in the map."""
        frames = boxes.read_in(*sliding.windows(padding))
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
        n, height, width, channels = x.shape
        rows = np.ones((1, height), np.float32) @ x.reshape(n, height, width * channels)
        means = np.ones((1, width), np.float32) @ rows.reshape(n, width, channels)
        means /= np.float32(cells)
        return means.reshape(n, 1, 1, channels)

    def resample(self, x: FloatArray, rows: Weight, columns: Weight) -> FloatArray:
        """``rows x columns^T`` for each channel, by one product for each axis."""
        n, _, width, channels = x.shape
        (height, _), (wide, _) = rows.array.shape, columns.array.shape
        y = (rows.array @ x.reshape(n, -1, width * channels)).reshape(n * height, width, channels)
        resampled: FloatArray = (columns.array @ y).reshape(n, height, wide, channels)
        return resampled


def _margins(x: FloatArray, sliding: Sliding, padding: Margins, size: Size) -> Margins:
    """The margins around x that ``size`` windows need; at the far edges they differ from the padding as sizes round."""
    frames = Boxes.whole(len(x), size).read_in(*sliding.windows(padding))
    top, left, _, _ = padding
    return top, left, frames.extent.height - top - x.shape[1], frames.extent.width - left - x.shape[2]
