"""Pools, means and resampling, of whole maps and of deltas: the verbs of ``pool.cu``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdb.geometry import Boxes, Margins, Size
from kdb.kernels.base import Array, Delta, Sliding, Weight
from kdb.kernels.gpu.device import MOST_BLOCKS, spread
from kdb.kernels.gpu.launcher import Launcher, extent_of, packs_of, stored_as, window_of
from kdb.kernels.gpu.on_host import OnHost


class GpuWindows:
    """The family of windows, on a device's arrays."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher, self._device = launcher, launcher.device
        self._on_host = OnHost(launcher)

    def max_pool(self, x: Array, sliding: Sliding, padding: Margins, size: Size) -> Array:
        """Maximum over each window."""
        map_ = tuple(x.shape[1:-1])
        whole = Delta(Boxes.whole(len(x), map_), x)
        return self._max_pool(whole, Boxes.whole(len(x), size), map_, None, None, sliding, padding)

    def max_pool_delta(
        self, delta: Delta, boxes: Boxes, view: Array, result: Array, sliding: Sliding, padding: Margins
    ) -> Array:
        """``max(view + d) - result[B]``."""
        return self._max_pool(delta, boxes, tuple(view.shape[:-1]), view, result, sliding, padding)

    def _max_pool(
        self,
        delta: Delta,
        boxes: Boxes,
        map_: Size,
        view: Array | None,
        result: Array | None,
        sliding: Sliding,
        padding: Margins,
    ) -> Array:
        self._pool(
            "max_pool", out := self._like(delta, boxes), delta, boxes, sliding, padding,
            view=view, map_height=map_[0], map_width=map_[1],
            result=result, result_width=0 if result is None else result.shape[1],
        )  # fmt: skip
        return out

    def _like(self, delta: Delta, boxes: Boxes) -> Array:
        """An array for values over ``boxes``, stored as the delta is."""
        return self._device.empty((len(boxes), *boxes.extent, delta.values.shape[-1]), delta.values.dtype)

    def _pool(
        self, name: str, out: Array, delta: Delta, boxes: Boxes, sliding: Sliding, padding: Margins, **more: Any
    ) -> None:
        v = packs_of(out.shape[-1])
        self._device.launch(
            name, ("float" if out.dtype == np.float32 else "bf16", v), self._launcher.grid(out, v),
            out=out, **extent_of(out), boxes=self._launcher.origins(boxes),
            values=delta.values, at=self._launcher.origins(delta.boxes),
            box_height=delta.boxes.extent[0], box_width=delta.boxes.extent[1], **window_of(sliding, padding), **more,
        )  # fmt: skip

    def average_pool(self, x: Array, sliding: Sliding, padding: Margins, divisors: Weight) -> Array:
        """Sum over each window, over the divisors."""
        whole = Delta(Boxes.whole(len(x), tuple(x.shape[1:-1])), x)
        boxes = Boxes.whole(len(x), divisors.array.shape[:-1])
        return self.average_pool_delta(whole, boxes, sliding, padding, divisors)

    def average_pool_delta(
        self, delta: Delta, boxes: Boxes, sliding: Sliding, padding: Margins, divisors: Weight
    ) -> Array:
        """``sum(d) / divisors[B]``."""
        counts = self._launcher.layout(divisors, "map", lambda array: array)
        self._pool(
            "average_pool", out := self._like(delta, boxes), delta, boxes, sliding, padding,
            divisors=counts, result_width=counts.shape[1],
        )  # fmt: skip
        return out

    def mean(self, x: Array, cells: int) -> Array:
        """The sum over each map, over ``cells``: [n, 1, 1, C]."""
        n, height, width, channels = x.shape
        out = self._device.empty((n, 1, 1, channels), x.dtype)
        grid = -(-channels // 32), n, 1
        self._device.launch(
            "mean", (stored_as(x),), grid, out=out, x=x, cells=height * width, channels=channels, count=cells
        )
        return out

    def resample(self, x: Array, matrices: Sequence[Weight]) -> Array:
        """The product with a matrix along each axis, by a launch for each."""
        rows, columns = matrices
        n, height, width, channels = x.shape
        (tall, _), (wide, _) = rows.array.shape, columns.array.shape
        between = self._device.empty((n, tall, width, channels), x.dtype)
        out = self._device.empty((n, tall, wide, channels), x.dtype)
        for to, of, matrix, count, length, outer, inner in (
            (between, x, rows, tall, height, n, width * channels),
            (out, between, columns, wide, width, n * tall, channels),
        ):
            self._device.launch(
                "resample", (stored_as(x),), (spread(count * inner), min(outer, MOST_BLOCKS[1]), 1), out=to, x=of,
                matrix=self._launcher.layout(matrix, "matrix", lambda m: m),
                outer=outer, count=count, length=length, inner=inner,
            )  # fmt: skip
        return out

    def resample_delta(self, delta: Delta, boxes: Boxes, matrices: Sequence[Weight]) -> Array:
        """On the host."""
        return self._on_host.of_delta(lambda d: self._on_host.windows.resample_delta(d, boxes, matrices), delta)

    def weighted(self, x: Array, weights: Weight) -> Array:
        """On the host."""
        return self._on_host.of(lambda values: self._on_host.windows.weighted(values, weights), x)

    def weighted_delta(self, delta: Delta, weights: Weight) -> Array:
        """On the host."""
        return self._on_host.of_delta(lambda d: self._on_host.windows.weighted_delta(d, weights), delta)

    def outside(self, delta: Delta, sums: Array) -> Array:
        """On the host."""
        table = self._on_host.download(sums)
        return self._on_host.of_delta(lambda d: self._on_host.windows.outside(d, table), delta)
