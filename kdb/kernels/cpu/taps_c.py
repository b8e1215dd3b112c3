"""Convolution a tap at a time in C: only cells of the delta are multiplied, wherever they lie in the boxes.

Its gain over the library's convolution is where that would copy cells of which the stride reads few.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kdb.geometry import Boxes, Size
from kdb.kernels.base import ConvolutionSpec, Delta, Epilogue, Sliding, Weight
from kdb.kernels.cpu import gathered
from kdb.kernels.cpu.taps import met, output_extent
from kdb.kernels.kernel import ConvolutionKernel, ConvolutionShape
from kdb.kernels.work import ELEMENT, Rates, Work

if TYPE_CHECKING:
    from kdb.kernels.cpu.backend import CpuBackend

FloatArray = npt.NDArray[np.float32]


class CompiledTaps(ConvolutionKernel):
    """Products of the cells that a tap meets, of all positions at once."""

    setting = "compiled"
    optional = True
    rates: Mapping[str, Rates] = {"taps.c": ((13, 8e9), (32, 20e9), (64, 36e9), (128, 48e9), (256, 54e9), (512, 58e9))}

    def applies(self, backend: CpuBackend, sliding: Sliding, groups: int) -> bool:
        """Where there is a library, to convolutions without groups."""
        return backend.compiled is not None and groups == 1

    def work(self, shape: ConvolutionShape, x: Size, outputs: Size) -> Work:
        """Products of the cells that taps meet, each of which is copied: once from memory, then from a cache."""
        weights = ELEMENT * shape.sliding.taps * shape.pairs
        cells = met(shape.sliding, x, outputs)
        copied = ELEMENT * shape.inputs * (cells + min(cells, math.prod(x)))
        return Work("taps.c", cells * shape.pairs, copied, 2, shape.width, weights, weights)

    def evaluate(self, backend: CpuBackend, x: FloatArray, spec: ConvolutionSpec) -> FloatArray:
        """The convolution of x [n, h, w, in]: [n, h', w', out]."""
        size = x.shape[1:-1]
        extent = output_extent(x, spec.sliding, spec.padding)
        return _convolved(backend, spec, x, Boxes.whole(len(x), size), Boxes.whole(len(x), extent), spec.bias)

    def delta(
        self,
        backend: CpuBackend,
        spec: ConvolutionSpec,
        delta: Delta,
        boxes: Boxes,
        view: FloatArray | None = None,
        result: FloatArray | None = None,
        epilogue: Epilogue | None = None,
    ) -> FloatArray:
        """``W * d`` over the boxes, each of which may lie in its own way."""
        return _convolved(backend, spec, delta.values, delta.boxes, boxes, None)


def _convolved(
    backend: CpuBackend, spec: ConvolutionSpec, x: FloatArray, given: Boxes, boxes: Boxes, bias: Weight | None
) -> FloatArray:
    """The convolution over ``boxes`` of x, which lies in the boxes ``given`` and is zero elsewhere."""
    compiled = backend.compiled
    assert compiled is not None, "it applies where there is a library"
    outer, inner, *_ = spec.weight.array.shape

    def packed(weight: FloatArray) -> FloatArray:
        return gathered.packed(weight.reshape(outer, inner, -1).transpose(2, 1, 0), compiled)

    panels = spec.weight.layout(f"{compiled.variant}/taps", packed)
    count = len(boxes) * math.prod(boxes.extent)
    rows = x.reshape(-1, inner)
    array = None if bias is None else bias.array
    y = gathered.multiplied(compiled, _rows(spec, given, boxes), rows, panels, count, outer, array)
    return y.reshape(len(boxes), *boxes.extent, outer)


def _rows(spec: ConvolutionSpec, given: Boxes, boxes: Boxes) -> gathered.Rows:
    """The cells of ``given`` that each tap meets, and those of ``boxes`` that it adds their products to."""
    n, axes = len(boxes), len(boxes.extent)
    each = np.arange(n).reshape(-1, *(1,) * axes)
    is_met, source, target = np.ones_like(each, bool), each, each
    for axis, window in enumerate(spec.windows):
        output, tap = np.arange(boxes.extent[axis]), np.arange(window.kernel)
        # [tap, n, output]: where it reads, from the beginning of the box that is given.
        read = (output + boxes.origins[:, axis, None]) * window.stride - window.before - given.origins[:, axis, None]
        read = read + tap[:, None, None] * window.dilation
        # All arrays are [taps of each axis, n, outputs of each axis].
        places = [1] * (2 * axes + 1)
        places[axis], places[axes], places[axes + 1 + axis] = read.shape
        read = read.reshape(places)
        is_met = is_met & (read >= 0) & (read < given.extent[axis])
        source = source * given.extent[axis] + read
        target = target * boxes.extent[axis] + output.reshape(-1, *(1,) * (axes - 1 - axis))
    taps = math.prod(spec.sliding.kernel)
    counts = np.count_nonzero(is_met.reshape(taps, -1), axis=1)
    shape = is_met.shape
    met_source, met_target = (np.broadcast_to(each, shape)[is_met] for each in (source, target))
    return gathered.Rows.in_order(counts, met_source, met_target)


TAPS_C = CompiledTaps("taps.c")
