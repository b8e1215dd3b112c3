"""Minimal filtering in C: what :mod:`kdb.kernels.cpu.winograd` does, in tiles that stay in a core's caches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kdb.geometry import Boxes, IntArray, Size
from kdb.kernels.base import ConvolutionSpec, Delta, Epilogue, Program, Sliding, Weight
from kdb.kernels.compiled.library import Library, address
from kdb.kernels.cpu.pointwise_c import POINTWISE_C, behind
from kdb.kernels.cpu.winograd import MOST, TAPS, tiles, transforms
from kdb.kernels.kernel import ConvolutionKernel, ConvolutionShape, Extents
from kdb.kernels.work import ELEMENT, Rates, Work

if TYPE_CHECKING:
    from kdb.kernels.cpu.backend import CpuBackend

FloatArray = npt.NDArray[np.float32]

WIDE, MOST_WIDE = 256, 9
"""Input channels of a wide layer, and the points of its tiles along an axis, at most, in two dimensions.

Two more than numpy's, since products are summed 64 channels at a time, which rounds less.  Narrow layers come early,
and their rounding passes through all others."""
LAYING = 100
"""Multiply-adds of a product that take as long as a byte of a layout of weights that is made, or so."""
TRANSFORM = 24
"""Multiply-adds of a product that take as long as a channel of a tile at a point does in a transform, or so."""


Planar = tuple[int, int]
"""Along (y, x): the cells of a map, the taps of a kernel, or the inputs of a tile."""


def _planar(size: Size) -> Planar:
    """A size, window or extent along two axes: a signal is one row."""
    return (1, size[0]) if len(size) == 1 else (size[0], size[1])


def _possible(kernel: Planar, inner: int) -> tuple[Planar, ...]:
    """The tiles that a layer of so many input channels may be computed by."""
    return tiles(kernel, MOST_WIDE if inner >= WIDE else MOST)


@cache
def _macs(x: Planar, tile: Planar, kernel: Planar, inner: int, outer: int) -> int:
    """Multiply-adds of one map of x cells by such tiles: products, and transforms as if they were such."""
    count = math.prod(-(-length // each) for length, each in zip(x, tile, strict=True))
    return count * _points(tile, kernel) * (inner * outer + TRANSFORM * (inner + outer))


def _points(tile: Planar, kernel: Planar) -> int:
    """Of a tile, along both axes."""
    return math.prod(each + taps - 1 for each, taps in zip(tile, kernel, strict=True))


@cache
def _tiling(x: Planar, kernel: Planar, inner: int, outer: int, of: tuple[Planar, ...]) -> Planar:
    """Of these tiles the one that takes the fewest multiply-adds for a map of x cells."""
    return min(of, key=lambda tile: (_macs(x, tile, kernel, inner, outer), _points(tile, kernel), tile))


def _bytes(tile: Planar, kernel: Planar, shape: ConvolutionShape) -> int:
    """Of the layout of weights."""
    return ELEMENT * _points(tile, kernel) * shape.pairs


def _packed(weight: FloatArray, inputs: tuple[int, int], compiled: Library) -> FloatArray:
    """[out, in, *kernel] at the points of a tile, in panels of two vectors of outputs, the last perhaps of one.

    [points, panels, in, 2 lanes], flat, with zeros for outputs that there are not.
    """
    outer, inner, *kernel = weight.shape
    ry, rx = _planar(tuple(kernel))
    weight = np.ascontiguousarray(weight)
    gy, gx = (np.ascontiguousarray(transforms(m, taps)[1]) for m, taps in zip(inputs, (ry, rx), strict=True))
    packed = np.empty(len(gy) * len(gx) * inner * (outer + -outer % compiled.lanes), np.float32)
    compiled.winograd_pack(
        len(gy), ry, len(gx), rx, address(weight), outer, inner,
        address(gy), address(gx), address(packed),
    )  # fmt: skip
    return packed


class CompiledWinograd(ConvolutionKernel):
    """Minimal filtering along one axis or two, ``by`` some of the tiles that there are; by any if none is given."""

    setting = "compiled"
    optional = True
    noise = 2.0**-17
    rates: Mapping[str, Rates] = {
        "winograd.c": ((13, 22e9), (32, 31e9), (64, 46e9), (128, 54e9), (256, 60e9), (512, 62e9))
    }

    def __init__(self, name: str, by: tuple[Planar, ...] = ()) -> None:
        super().__init__(name)
        self._by = by

    def applies(self, backend: CpuBackend, sliding: Sliding, groups: int) -> bool:
        """Where there is a library, and a tiling for such a kernel."""
        if backend.compiled is None or sliding.rank > 2 or groups > 1 or sliding.taps == 1:
            return False
        dense = sliding.stride == sliding.dilation == (1,) * sliding.rank
        return dense and all(taps in TAPS for taps in sliding.kernel)

    def work(self, shape: ConvolutionShape, x: Size, outputs: Size) -> Work:
        """Products at the points of all tiles and the transforms; the transformed weights are derived once."""
        kernel, inner, outer = _planar(shape.sliding.kernel), shape.inputs, shape.outputs
        tile = _tiling(_planar(x), kernel, inner, outer, self._by or _possible(kernel, inner))
        macs, read = _macs(_planar(x), tile, kernel, inner, outer), _bytes(tile, kernel, shape)
        derived = sum(_bytes(each, kernel, shape) for each in self._by or (tile,))
        return Work("winograd.c", macs, 0, 1, shape.width, read, derived)

    def suited(self, shape: ConvolutionShape, extents: Extents) -> CompiledWinograd:
        """The kernel ``by`` the few tiles that cost least for all these deltas, with the layout of weights of each."""
        kernel, inner, outer = _planar(shape.sliding.kernel), shape.inputs, shape.outputs
        possible, found = _possible(kernel, inner), extents()

        def cost(by: tuple[Planar, ...]) -> int:
            least = (n * min(_macs(_planar(x), tile, kernel, inner, outer) for tile in by) for x, n in found.items())
            return sum(least) + LAYING * sum(_bytes(tile, kernel, shape) for tile in by)

        by: tuple[Planar, ...] = min(((tile,) for tile in possible), key=cost)
        while more := [(*by, tile) for tile in possible if tile not in by]:
            best = min(more, key=cost)
            if cost(best) >= cost(by):
                break
            by = best
        return CompiledWinograd(self.name, by)

    def fuses(self, backend: CpuBackend, program: Program) -> bool:
        """What the library computes of pointwise layers."""
        return POINTWISE_C.applies(backend, program)

    def evaluate(self, backend: CpuBackend, x: FloatArray, spec: ConvolutionSpec) -> FloatArray:
        """The convolution of x [n, h, w, in]: [n, h', w', out]."""
        size = x.shape[1:-1]
        windows = spec.windows
        extent = tuple(window.output_length(length) for window, length in zip(windows, size, strict=True))
        offsets = np.tile(np.array([window.before - window.kernel + 1 for window in windows], np.int64), (len(x), 1))
        return _run(backend, x, spec, Boxes.whole(len(x), extent), offsets, self._by, bias=spec.bias)

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
        reach = np.array([window.before - window.kernel + 1 for window in spec.windows])
        offsets = delta.boxes.origins + reach - boxes.origins
        return _run(backend, delta.values, spec, boxes, offsets, self._by, epilogue=epilogue)


def _run(
    backend: CpuBackend,
    x: FloatArray,
    spec: ConvolutionSpec,
    boxes: Boxes,
    offsets: IntArray,
    by: tuple[Planar, ...] = (),
    bias: Weight | None = None,
    epilogue: Epilogue | None = None,
) -> FloatArray:
    """The whole convolution of each x, which begins at ``offsets`` [n, axes] of its box, and its epilogue.

    By one of these tiles, or of all that there are: the one that costs least.
    """
    compiled = backend.compiled
    assert compiled is not None, "it applies where there is a library"
    kernel, size = _planar(spec.sliding.kernel), _planar(x.shape[1:-1])
    inner, outer = x.shape[-1], spec.out_channels
    my, mx = _tiling(size, kernel, inner, outer, by or _possible(kernel, inner))
    form = my, kernel[0], mx, kernel[1]
    weights = spec.weight.layout(f"{compiled.variant}/{my}x{mx}", lambda weight: _packed(weight, (my, mx), compiled))
    x = np.ascontiguousarray(x)
    out = np.empty((len(x), *boxes.extent, outer), np.float32)
    needed = compiled.winograd_scratch(*form, inner, outer)
    compiled.scratch(needed)  # before the epilogue asks for less: they share it
    applied = behind(compiled, epilogue, boxes, outer)
    if len(boxes.extent) == 1:
        offsets = np.pad(offsets, ((0, 0), (1, 0)))
    compiled.winograd(
        *form, address(x), len(x), *size, inner,
        address(weights), address(None if bias is None else bias.array), address(out), *_planar(boxes.extent), outer,
        address(np.ascontiguousarray(offsets)), compiled.scratch(needed), *applied.passed,
    )  # fmt: skip
    return out


WINOGRAD_C = CompiledWinograd("winograd.c")
