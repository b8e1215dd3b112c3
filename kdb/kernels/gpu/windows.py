"""Sliding windows and matrices, of whole maps and of deltas: the verbs of ``convolution.cu`` and ``pool.cu``."""

from __future__ import annotations

from typing import Any

import numpy as np

from kdb.geometry import Boxes, Size
from kdb.kernels.base import (
    Array,
    ConvolutionSpec,
    Delta,
    Epilogue,
    FloatArray,
    Instruction,
    Margins,
    Sliding,
    Weight,
)
from kdb.kernels.gpu.device import MOST_BLOCKS, spread
from kdb.kernels.gpu.laid import LESS, Laid
from kdb.kernels.gpu.memory import MATHS, NO_PROGRAM, Encoding, bits, extent_of, packs_of, stored_as

ROWS, COLUMNS = 128, 64
"""Of the product that a block of ``convolution.cu`` computes."""


class Windows(Laid):
    """Products, pools, means."""

    def gemm(
        self, delta: Delta, boxes: Boxes, spec: ConvolutionSpec, precision: str, epilogue: Epilogue | None
    ) -> Array:
        """The convolution over ``boxes``, its bias or its epilogue added: [n, h, w, out]."""
        weight, bias, groups, padding = spec.weight, spec.bias, spec.groups, spec.padding
        stored, math = MATHS[precision]
        outer, inner, *_ = weight.array.shape
        outer //= groups
        out = self._empty(len(boxes), boxes.extent, groups * outer, stored)
        n, height, width, channels = out.shape
        (kernel_y, kernel_x), (stride_y, stride_x), (dilation_y, dilation_x) = spec.sliding
        encoding: Encoding | None = NO_PROGRAM
        if epilogue is not None:
            encoding = self._encoding(epilogue.program, 1, epilogue.parameters, channels)
        assert encoding is not None, "only what fuses is given"
        common = dict(
            out=out, height=height, width=width, boxes=self._at(boxes), values=delta.values, at=self._at(delta.boxes),
            box_height=delta.boxes.extent.height, box_width=delta.boxes.extent.width,
            bias=None if bias is None else self._form(bias, "bias", lambda b: b),
            kernel_y=kernel_y, kernel_x=kernel_x, stride_y=stride_y, stride_x=stride_x,
            dilation_y=dilation_y, dilation_x=dilation_x, top=padding[0], left=padding[1],
            view=None if epilogue is None else epilogue.view, result=None if epilogue is None else epilogue.result,
            map_width=0 if epilogue is None else epilogue.view.shape[1], **encoding,
        )  # fmt: skip
        if inner == 1 and groups > 1:
            v = packs_of(channels) if outer == 1 else "1"
            weights = self._form(weight, "depthwise", lambda w: w.reshape(len(w), -1).T)
            types = (stored, v)
            self.device.launch(
                "depthwise", types, self._grid(out, v), channels=channels, multiplier=outer, weights=weights, **common
            )
            return out

        def rows(w: FloatArray) -> Any:
            laid = w.transpose(0, 2, 3, 1)
            return bits(laid) if stored == "bf16" else laid

        grid = -(-n * height * width // ROWS), -(-outer // COLUMNS), groups
        self.device.launch(
            "convolve", (stored, math, packs_of(inner)), grid, rows=n * height * width, inner=inner, outer=outer,
            weights=self._form(weight, f"rows/{stored}", rows), **common,
        )  # fmt: skip
        return out

    def less(self, values: Array, boxes: Boxes, view: Array) -> Array:
        """``values - view[B]`` of float32 ``values`` [n, h, w, C], at the precision of deltas."""
        out = self._empty(len(boxes), boxes.extent, values.shape[-1], self._stored)
        if self._stored == "float":
            self._superimpose(out, boxes, [Delta(boxes, values)], view, LESS)
        else:
            self._combine(out, (Instruction("sub", (0, 1)),), [values, self.gather(view, boxes)], {})
        return out

    def max_pool(self, x: Array, sliding: Sliding, padding: Margins, size: Size) -> Array:
        """One launch."""
        n, height, width, _ = x.shape
        whole = Boxes.whole(n, Size(height, width))
        return self._max_pool(Delta(whole, x), Boxes.whole(n, size), Size(height, width), None, None, sliding, padding)

    def max_pool_delta(
        self, delta: Delta, boxes: Boxes, view: Array, result: Array, sliding: Sliding, padding: Margins
    ) -> Array:
        """One launch."""
        return self._max_pool(delta, boxes, Size(*view.shape[:2]), view, result, sliding, padding)

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
            view=view, map_height=map_.height, map_width=map_.width,
            result=result, result_width=0 if result is None else result.shape[1],
        )  # fmt: skip
        return out

    def _like(self, delta: Delta, boxes: Boxes) -> Array:
        """Over other boxes, stored as the delta is."""
        return self.device.empty((len(boxes), *boxes.extent, delta.values.shape[-1]), delta.values.dtype)

    def _pool(
        self, name: str, out: Array, delta: Delta, boxes: Boxes, sliding: Sliding, padding: Margins, **more: Any
    ) -> None:
        (kernel_y, kernel_x), (stride_y, stride_x), (dilation_y, dilation_x) = sliding
        v = packs_of(out.shape[-1])
        self.device.launch(
            name, ("float" if out.dtype == np.float32 else "bf16", v), self._grid(out, v),
            out=out, **extent_of(out), boxes=self._at(boxes), values=delta.values, at=self._at(delta.boxes),
            box_height=delta.boxes.extent.height, box_width=delta.boxes.extent.width,
            kernel_y=kernel_y, kernel_x=kernel_x, stride_y=stride_y, stride_x=stride_x,
            dilation_y=dilation_y, dilation_x=dilation_x, top=padding[0], left=padding[1], **more,
        )  # fmt: skip

    def average_pool(self, x: Array, sliding: Sliding, padding: Margins, divisors: Weight) -> Array:
        """One launch."""
        n, height, width, _ = x.shape
        boxes = Boxes.whole(n, Size(*divisors.array.shape[:2]))
        return self.average_pool_delta(Delta(Boxes.whole(n, Size(height, width)), x), boxes, sliding, padding, divisors)

    def average_pool_delta(
        self, delta: Delta, boxes: Boxes, sliding: Sliding, padding: Margins, divisors: Weight
    ) -> Array:
        """One launch."""
        counts = self._form(divisors, "map", lambda array: array)
        self._pool(
            "average_pool", out := self._like(delta, boxes), delta, boxes, sliding, padding,
            divisors=counts, result_width=counts.shape[1],
        )  # fmt: skip
        return out

    def mean(self, x: Array, cells: int) -> Array:
        """One launch."""
        n, height, width, channels = x.shape
        out = self.device.empty((n, 1, 1, channels), x.dtype)
        grid = -(-channels // 32), n, 1
        self.device.launch(
            "mean", (stored_as(x),), grid, out=out, x=x, cells=height * width, channels=channels, count=cells
        )
        return out

    def resample(self, x: Array, rows: Weight, columns: Weight) -> Array:
        """A launch an axis."""
        n, height, width, channels = x.shape
        (tall, _), (wide, _) = rows.array.shape, columns.array.shape
        between = self.device.empty((n, tall, width, channels), x.dtype)
        out = self.device.empty((n, tall, wide, channels), x.dtype)
        for to, of, matrix, count, length, outer, inner in (
            (between, x, rows, tall, height, n, width * channels),
            (out, between, columns, wide, width, n * tall, channels),
        ):
            self.device.launch(
                "resample", (stored_as(x),), (spread(count * inner), min(outer, MOST_BLOCKS[1]), 1), out=to, x=of,
                matrix=self._form(matrix, "matrix", lambda m: m), outer=outer, count=count, length=length, inner=inner,
            )  # fmt: skip
        return out
