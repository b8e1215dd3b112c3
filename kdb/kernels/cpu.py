"""The CPU backend: numpy, and torch's convolution as a declared competitor of the numpy ones.

Written to be read: it is the oracle of the other backends.  Threads are the executor's business; every verb here runs
in the calling thread, on as many threads as that thread's BLAS is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from kdb.geometry import Boxes, IntArray, Size
from kdb.kernels import library, taps, tiling, winograd
from kdb.kernels.base import NO_MARGINS, Margins, Parameters, Product, Program, Sliding, Weight
from kdb.kernels.programs import evaluate

FloatArray = npt.NDArray[np.float32]

CHUNK = 1 << 20
"""Numbers that a location-wise layer handles at a time: three such arrays stay in a shared cache.

Not fewer, for a core's own: each call hands the interpreter's lock on, and two workers that wait for each other's
microseconds took three times as long with arrays of 256 KB, though one worker alone was faster so.
"""


def _windows(x: FloatArray, extent: Size, writeable: bool = False) -> FloatArray:
    """Every box of ``extent`` in x [..., H, W, C], as a view: [..., H - h + 1, W - w + 1, h, w, C]."""
    *lead, height, width, channels = x.shape
    *lead_strides, sy, sx, sc = x.strides
    shape = (*lead, height - extent.height + 1, width - extent.width + 1, extent.height, extent.width, channels)
    return as_strided(x, shape, (*lead_strides, sy, sx, sy, sx, sc), writeable=writeable)


def _cells(start: IntArray, count: int, length: int) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Indices [n, count] from each start, held inside ``[0, length)``, and which of them were inside before."""
    indices = start[:, None] + np.arange(count)
    return np.clip(indices, 0, length - 1), (indices >= 0) & (indices < length)


def _chunks(x: FloatArray) -> Iterator[slice]:
    """Slices of whole positions, about ``CHUNK`` numbers each."""
    step = max(CHUNK // max(x[0].size, 1), 1) if len(x) else 1
    return (slice(i, i + step) for i in range(0, len(x), step))


class CpuBackend:
    """Verbs on numpy arrays.  ``native`` leaves torch out altogether; ``reduced`` permits bf16 for deltas.

    Matrices are multiplied by torch's BLAS, which on x86 is MKL: a fifth to a half faster on these shapes than numpy's.
    """

    def __init__(self, native: bool = False, reduced: bool = False) -> None:
        self.name = "numpy" if native else "cpu"
        self.native = native
        self.reduced = reduced
        self._product: Product = np.matmul if native else library.multiply

    def convolution_kernels(self, sliding: Sliding, groups: int) -> tuple[str, ...]:
        """``direct`` is torch's convolution; ``taps`` and, where there is a tiling, ``winograd`` are numpy's GEMMs."""
        own = ("taps", "winograd") if tiling.applies(sliding, groups) else ("taps",)
        return own if self.native else ("direct", *own)

    def reduced_kernels(self) -> tuple[str, ...]:
        """``bf16`` is torch's, on processors that multiply in bf16."""
        if self.native or not self.reduced:
            return ()
        return ("bf16",) if library.multiplies_bf16() else ()

    def gather(self, view: FloatArray, boxes: Boxes) -> FloatArray:
        """``view[B]`` [n, h, w, C]; the boxes lie inside the view."""
        return _windows(view, boxes.extent)[boxes.origins[:, 0], boxes.origins[:, 1]]

    def replace(self, view: FloatArray, boxes: Boxes, value: FloatArray, out: FloatArray) -> None:
        """``value - view[B]`` into ``out`` [n, h, w, C]."""
        # A position at a time: so large an array in between costs more in page faults than the subtraction itself.
        for target, (y, x) in zip(out, boxes.origins.tolist(), strict=True):
            np.subtract(value, view[y : y + boxes.extent.height, x : x + boxes.extent.width], out=target)

    def read_in(self, view: FloatArray, boxes: Boxes, outside: float) -> FloatArray:
        """``view[B]`` [n, h, w, C]; cells off the map are ``outside``."""
        height, width = view.shape[:2]
        ends = boxes.origins + boxes.extent
        if boxes.origins.min() >= 0 and (ends <= (height, width)).all():
            return self.gather(view, boxes)
        rows, rows_inside = _cells(boxes.origins[:, 0], boxes.extent.height, height)
        columns, columns_inside = _cells(boxes.origins[:, 1], boxes.extent.width, width)
        context = view[rows[:, :, None], columns[:, None, :]]
        context[~(rows_inside[:, :, None] & columns_inside[:, None, :])] = outside
        return context

    def pad(self, x: FloatArray, margins: Margins, value: float) -> FloatArray:
        """``value`` around x [n, h, w, C]; a negative margin crops."""
        top, left, bottom, right = margins
        crop = [
            slice(max(-before, 0), length - max(-after, 0))
            for before, after, length in ((top, bottom, x.shape[1]), (left, right, x.shape[2]))
        ]
        x = x[:, crop[0], crop[1]]
        width = [(0, 0), (max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0)), (0, 0)]
        return np.pad(x, width, constant_values=value) if max(margins) > 0 else x

    def embed(self, values: FloatArray, boxes: Boxes, frames: Boxes, out: FloatArray | None = None) -> FloatArray:
        """Zeros over ``frames`` with ``values`` at ``boxes``; what falls outside a frame is dropped."""
        margins = boxes.margins(frames)
        if margins is not None:
            return taps.padded(values, margins, out)
        embedded = np.empty((len(values), *frames.extent, values.shape[-1]), np.float32) if out is None else out
        embedded[...] = 0
        offsets = boxes.origins - frames.origins
        starts, stops = np.maximum(offsets, 0), np.minimum(offsets + boxes.extent, frames.extent)
        # A slice each: one pass over the values, where indexing all at once takes two and a canvas around the frames.
        for frame, value, offset, start, stop in zip(
            embedded, values, offsets.tolist(), starts.tolist(), stops.tolist(), strict=True
        ):
            (top, left), (bottom, right), (y, x) = start, stop, offset
            if top < bottom and left < right:
                frame[top:bottom, left:right] = value[top - y : bottom - y, left - x : right - x]
        return embedded

    def superimpose(self, target: FloatArray, frames: Boxes, values: FloatArray, boxes: Boxes) -> None:
        """``target[B] += values``, in place."""
        margins = boxes.margins(frames)
        if margins is None:
            target += self.embed(values, boxes, frames)
        else:
            top, left = margins[:2]
            target[:, top : top + boxes.extent.height, left : left + boxes.extent.width] += values

    def convolve(
        self,
        x: FloatArray,
        weight: Weight,
        bias: Weight | None,
        sliding: Sliding,
        groups: int,
        margins: Margins = NO_MARGINS,
        kernel: str = "taps",
    ) -> FloatArray:
        """Convolution [n, h, w, in] -> [n, h', w', out] with zeros around x."""
        if kernel in ("direct", "bf16"):
            return library.convolve(x, weight, bias, sliding, groups, margins, reduced=kernel == "bf16")
        if kernel == "winograd":
            y = winograd.convolve(x, weight, sliding, margins, self._product)
        else:
            y = taps.convolve(x, weight, sliding, groups, margins, self._product)
        if bias is not None:
            y += bias.array
        return y

    def max_pool(self, x: FloatArray, sliding: Sliding) -> FloatArray:
        """Maximum over each window [n, h', w', C]."""
        if not self.native:
            return library.max_pool(x, sliding)
        return taps.reduce_windows(np.maximum, x, sliding)

    def sum_pool(self, x: FloatArray, sliding: Sliding) -> FloatArray:
        """Sum over each window [n, h', w', C]."""
        if not self.native and sliding.dilation == (1, 1):
            return library.sum_pool(x, sliding)
        return taps.reduce_windows(np.add, x, sliding)

    def dense(self, x: FloatArray, weight: Weight, bias: Weight | None, kernel: str = "full") -> FloatArray:
        """``x W^T + b`` over the channels."""
        if kernel == "bf16":
            return library.dense(x, weight, bias)
        # One GEMM: numpy would take the leading axes of [n, 1, 1, in] for a stack of products, each of one row.
        y = taps.multiplied(x.reshape(-1, x.shape[-1]), weight.array.T, self._product).reshape(*x.shape[:-1], -1)
        if bias is not None:
            y += bias.array
        return y

    def location_wise(self, x: FloatArray, program: Program, parameters: Parameters, overwrite: bool) -> FloatArray:
        """``f(x)``, a cache-sized chunk at a time."""
        out = x if overwrite else np.empty_like(x)
        for chunk in _chunks(x):
            part = x[chunk]
            evaluate(program, part, parameters, part if overwrite else out[chunk])
        return out

    def location_wise_delta(
        self,
        values: FloatArray,
        view: FloatArray,
        result: FloatArray | None,
        boxes: Boxes,
        program: Program,
        parameters: Parameters,
        overwrite: bool,
    ) -> FloatArray:
        """``f(view[B] + values) - f(view[B])``, a cache-sized chunk at a time.

        Without ``result`` both by one kernel on one layout, so that zero stays zero.
        """
        out = values if overwrite else np.empty_like(values)
        for chunk in _chunks(values):
            after, part = out[chunk], Boxes(boxes.origins[chunk], boxes.extent)
            before = self.gather(view, part)
            np.add(values[chunk], before, out=after)
            evaluate(program, after, parameters, after)
            if result is None:
                evaluate(program, before, parameters, before)
            else:
                before = self.gather(result, part)
            after -= before
        return out

    def empty(self, n: int, extent: Size, channels: int) -> FloatArray:
        """[n, h, w, C], to be written to."""
        return np.empty((n, *extent, channels), np.float32)

    def all_finite(self, x: FloatArray) -> bool:
        """Whether x holds neither NaN nor infinity."""
        return bool(np.isfinite(x).all())

    def concatenate(self, parts: Sequence[FloatArray]) -> FloatArray:
        """Stack along the channels."""
        return np.concatenate(parts, axis=-1)

    def expand(self, x: FloatArray, extent: Size, channels: int) -> FloatArray:
        """x repeated along axes of length 1, as a read-only view."""
        return np.broadcast_to(x, (len(x), *extent, channels))

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
