"""Minimal filtering in C: what :mod:`kdb.kernels.cpu.winograd` does, in tiles that stay in a core's caches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kdb.geometry import Boxes, IntArray, Size
from kdb.kernels.base import ConvolutionSpec, Delta, Epilogue, Sliding, Weight
from kdb.kernels.compiled.generate import TILES
from kdb.kernels.compiled.library import address
from kdb.kernels.cpu.winograd import transformed
from kdb.kernels.kernel import ConvolutionKernel, ConvolutionShape
from kdb.kernels.work import ELEMENT, Rates, Work

if TYPE_CHECKING:
    from kdb.kernels.cpu.backend import CpuBackend

FloatArray = npt.NDArray[np.float32]

TRANSFORM = 12
"""Multiply-adds of a product that take as long as a channel of a tile at a point does in a transform, or so."""


def _planar(size: Size) -> tuple[int, int]:
    """A size, window or extent along two axes: a signal is one row."""
    return (1, size[0]) if len(size) == 1 else (size[0], size[1])


@cache
def _tiling(x: tuple[int, int], kernel: tuple[int, int], inner: int, outer: int) -> tuple[int, int, int]:
    """The tile's inputs along (y, x) that take the fewest multiply-adds for x cells, and how many they are."""
    choices = []
    for m in itertools.product(*(TILES[taps] for taps in kernel)):
        tiles = math.prod(-(-length // each) for length, each in zip(x, m, strict=True))
        points = math.prod(each + taps - 1 for each, taps in zip(m, kernel, strict=True))
        choices.append((tiles * points * (inner * outer + TRANSFORM * (inner + outer)), points, *m))
    macs, _, my, mx = min(choices)
    return my, mx, macs


def _packed(weight: FloatArray, inputs: tuple[int, int], lanes: int) -> FloatArray:
    """[out, in, *kernel] at the points of a tile, in panels of two vectors of outputs, the last perhaps of one.

    [points, panels, in, 2 lanes], flat, with zeros for outputs that there are not.
    """
    outer, inner, *kernel = weight.shape
    values = transformed(weight.reshape(outer, inner, *_planar(tuple(kernel))), inputs)
    values = np.pad(values, ((0, 0), (0, 0), (0, -outer % lanes)))
    whole = outer // (2 * lanes) * 2 * lanes if values.shape[2] % (2 * lanes) else values.shape[2]
    panels = values[:, :, :whole].reshape(len(values), inner, -1, 2 * lanes).transpose(0, 2, 1, 3)
    parts = panels.reshape(len(values), -1), values[:, :, whole:].reshape(len(values), -1)
    return np.concatenate(parts, axis=1)


class CompiledWinograd(ConvolutionKernel):
    """Minimal filtering along one axis or two, of square kernels and of those of one row or column."""

    setting = "compiled"
    optional = True
    rates: Mapping[str, Rates] = {
        "winograd.c": ((13, 20e9), (32, 33e9), (64, 42e9), (128, 56e9), (256, 62e9), (512, 56e9))
    }

    def applies(self, backend: CpuBackend, sliding: Sliding, groups: int) -> bool:
        """Where there is a library, and a tiling for such a kernel."""
        if backend.compiled is None or sliding.rank > 2 or groups > 1 or sliding.taps == 1:
            return False
        kernel = _planar(sliding.kernel)
        alone = sliding.stride == sliding.dilation == (1,) * sliding.rank
        square = kernel[0] == kernel[1] <= 5 or 1 in kernel
        return alone and square and all(taps in TILES for taps in kernel)

    def work(self, shape: ConvolutionShape, x: Size, outputs: Size) -> Work:
        """Products at the points of all tiles and the transforms; the transformed weights are derived once."""
        kernel = _planar(shape.sliding.kernel)
        my, mx, macs = _tiling(_planar(x), kernel, shape.inputs, shape.outputs)
        weights = ELEMENT * (my + kernel[0] - 1) * (mx + kernel[1] - 1) * shape.pairs
        return Work("winograd.c", macs, 0, 1, shape.width, weights, weights)

    def evaluate(self, backend: CpuBackend, x: FloatArray, spec: ConvolutionSpec) -> FloatArray:
        """The convolution of x [n, h, w, in]: [n, h', w', out]."""
        size = x.shape[1:-1]
        windows = spec.windows
        extent = tuple(window.output_length(length) for window, length in zip(windows, size, strict=True))
        offsets = np.tile(np.array([window.before - window.kernel + 1 for window in windows], np.int64), (len(x), 1))
        return _run(backend, x, spec, extent, offsets, spec.bias)

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
        return _run(backend, delta.values, spec, boxes.extent, delta.boxes.origins + reach - boxes.origins, None)


def _run(
    backend: CpuBackend,
    x: FloatArray,
    spec: ConvolutionSpec,
    extent: Size,
    offsets: IntArray,
    bias: Weight | None,
    inputs: tuple[int, int] | None = None,
) -> FloatArray:
    """The whole convolution of each x, which begins at ``offsets`` [n, axes] of boxes of ``extent``.

    By tiles of so many ``inputs``, those that cost least if that is None.
    """
    compiled = backend.compiled
    assert compiled is not None, "it applies where there is a library"
    kernel, size = _planar(spec.sliding.kernel), _planar(x.shape[1:-1])
    inner, outer = x.shape[-1], spec.out_channels
    my, mx = inputs or _tiling(size, kernel, inner, outer)[:2]
    form = my, kernel[0], mx, kernel[1]
    weights = spec.weight.layout(
        f"{compiled.variant}/{my}x{mx}", lambda weight: _packed(weight, (my, mx), compiled.lanes)
    )
    x = np.ascontiguousarray(x)
    out = np.empty((len(x), *extent, outer), np.float32)
    if len(extent) == 1:
        offsets = np.pad(offsets, ((0, 0), (1, 0)))
    compiled.winograd(
        *form, address(x), len(x), *size, inner,
        address(weights), address(None if bias is None else bias.array), address(out), *_planar(extent), outer,
        address(np.ascontiguousarray(offsets)), compiled.scratch(compiled.winograd_scratch(*form, inner, outer)),
    )  # fmt: skip
    return out


WINOGRAD_C = CompiledWinograd("winograd.c")
