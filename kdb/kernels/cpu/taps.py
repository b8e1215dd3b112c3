"""Sliding windows in plain numpy, a tap at a time: convolution as GEMMs scatter-added, pooling as a running reduction.

A tap reads one strided slice of the input and touches one box of the output; zeros around the input are never
multiplied, they only shorten that box.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from operator import mul
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from kdb.geometry import Margins, Size, Window
from kdb.kernels.base import NO_MARGINS, ConvolutionSpec, Product, Sliding
from kdb.kernels.cpu.boxed import padded
from kdb.kernels.cpu.convolution import CpuConvolution
from kdb.kernels.kernel import ConvolutionShape
from kdb.kernels.work import ELEMENT, Rates, Work

if TYPE_CHECKING:
    from kdb.kernels.cpu.backend import CpuBackend

FloatArray = npt.NDArray[np.float32]

NARROW = 16
"""Up to so many input channels, a tap's GEMM is too thin; the windows are copied out and multiplied at once."""


def output_extent(x: FloatArray, sliding: Sliding, margins: Margins) -> Size:
    """How many windows fit over x [n, h, w, C] with its margins, along each axis."""
    return tuple(map(Window.output_length, sliding.windows(margins), x.shape[1:-1]))


def _axis(tap: int, window: Window, length: int, outputs: int) -> tuple[slice, slice]:
    """Which inputs (of ``length``) a tap reads along one axis, and the outputs it feeds."""
    stride, shift = window.stride, tap * window.dilation - window.before
    first = max(-(shift // stride), 0)
    last = min((length - 1 - shift) // stride, outputs - 1)
    count = max(last - first + 1, 0)
    start = first * stride + shift
    return slice(start, start + max(count - 1, 0) * stride + (count > 0), stride), slice(first, first + count)


def _taps(
    x: FloatArray, sliding: Sliding, margins: Margins, outputs: Size
) -> Iterator[tuple[int, FloatArray, tuple[slice, ...]]]:
    """For each tap: its number, the slice of x it reads, and the box of the output it feeds, as slices of that."""
    each = slice(None)
    by_axis = [
        [_axis(tap, window, length, count) for tap in range(window.kernel)]
        for window, length, count in zip(sliding.windows(margins), x.shape[1:-1], outputs, strict=True)
    ]
    for number, axes in enumerate(itertools.product(*by_axis)):
        read, fed = zip(*axes, strict=True)
        if all(part.stop > part.start for part in fed):
            yield number, x[each, *read], (each, *fed)


def met(sliding: Sliding, x: Size, outputs: Size) -> int:
    """Pairs of a tap and a cell of an input without padding that serve so many outputs, or a few more."""
    axes = zip(x, outputs, sliding.kernel, sliding.stride, strict=True)
    return math.prod(min(taps * count, -(-taps * length // stride)) for length, count, taps, stride in axes)


def _copied_windows(x: FloatArray, sliding: Sliding, outputs: Size) -> FloatArray:
    """[n * h' * w', taps * C]: the windows of a padded x, copied out (im2col)."""
    channels = x.shape[-1]
    first, *steps, last = x.strides
    shape = (len(x), *outputs, *sliding.kernel, channels)
    strides = (first, *map(mul, steps, sliding.stride), *map(mul, steps, sliding.dilation), last)
    return as_strided(x, shape, strides, writeable=False).reshape(-1, sliding.taps * channels)


def _by_tap(weight: FloatArray, groups: int) -> FloatArray:
    """[out, in / g, *kernel] -> [taps, g, in / g, out / g]."""
    out, inner, *_ = weight.shape
    return np.ascontiguousarray(
        weight.reshape(groups, out // groups, inner, -1).transpose(3, 0, 2, 1), dtype=np.float32
    )


def _columns(weight: FloatArray) -> FloatArray:
    """[out, in, *kernel] -> [taps * in, out]."""
    return np.ascontiguousarray(np.moveaxis(weight, (0, 1), (-1, -2)).reshape(-1, len(weight)))


def multiplied(rows: FloatArray, matrix: FloatArray, product: Product) -> FloatArray:
    """``rows @ matrix``: [..., m, in] by [..., in, out]."""
    y = np.empty((*rows.shape[:-1], matrix.shape[-1]), np.float32)
    product(rows, matrix, y)
    return y


def _multiply(x: FloatArray, by_tap: FloatArray, product: Product) -> FloatArray:
    """One tap's products: x [n, h, w, in] by [g, in / g, out / g] -> [n, h, w, out]."""
    *cells, channels = x.shape
    groups, inner, outer = by_tap.shape
    if groups == 1:
        return multiplied(x.reshape(-1, channels), by_tap[0], product).reshape(*cells, outer)
    if inner == outer == 1:
        return x * by_tap[:, 0, 0]
    rows = x.reshape(-1, groups, inner).transpose(1, 0, 2)
    y = multiplied(rows, by_tap, product).transpose(1, 0, 2)
    return np.ascontiguousarray(y).reshape(*cells, groups * outer)


def convolve(x: FloatArray, spec: ConvolutionSpec, product: Product = np.matmul) -> FloatArray:
    """Convolution of x [n, h, w, in], its bias left out: [n, h', w', out]."""
    weight, sliding, groups, margins = spec.weight, spec.sliding, spec.groups, spec.padding
    outputs = output_extent(x, sliding, margins)
    channels = spec.out_channels
    if groups == 1 and x.shape[-1] <= NARROW and sliding.taps > 1:
        columns = _copied_windows(padded(x, margins), sliding, outputs)
        matrix = weight.layout("columns", _columns)
        return multiplied(columns, matrix, product).reshape(len(x), *outputs, channels)
    by_tap = weight.layout(f"taps/{groups}", lambda w: _by_tap(w, groups))
    if sliding.taps == 1 and not any(margins):
        ((_, rows, _),) = _taps(x, sliding, margins, outputs)
        return _multiply(rows, by_tap[0], product)
    out = np.zeros((len(x), *outputs, channels), np.float32)
    for tap, rows, fed in _taps(x, sliding, margins, outputs):
        out[fed] += _multiply(rows, by_tap[tap], product)
    return out


class Taps(CpuConvolution):
    """A GEMM for each tap, by numpy: any convolution."""

    setting = "taps"
    rates: Mapping[str, Rates] = {
        "taps.wide": ((32, 28e9), (64, 37e9), (128, 39e9), (256, 49e9), (512, 54e9)),
        "taps.point": ((32, 32e9), (64, 44e9), (128, 46e9), (512, 50e9)),
        "taps.narrow": ((13, 30e9),),
        "taps.depthwise": ((1, 1.8e9),),
    }

    def applies(self, backend: CpuBackend, sliding: Sliding, groups: int) -> bool:
        """Everywhere, but in three axes only without PyTorch's, which makes three times as many multiply-adds there."""
        return backend.native or sliding.rank < 3

    def work(self, shape: ConvolutionShape, x: Size, outputs: Size) -> Work:
        """Products of the taps that meet a cell of the unpadded input; a call for each tap.

        With a stride, the cells that a tap reads are copied.
        """
        pairs, taps = shape.pairs, shape.sliding.taps
        cells = met(shape.sliding, x, outputs)
        copied = 2 * ELEMENT * cells * shape.inputs if max(shape.sliding.stride) > 1 else 0
        return Work(f"taps.{shape.form}", cells * pairs, copied, taps, shape.width, ELEMENT * taps * pairs)

    def evaluate(self, backend: CpuBackend, x: FloatArray, spec: ConvolutionSpec) -> FloatArray:
        """The convolution of x [n, h, w, in]: [n, h', w', out]."""
        y = convolve(x, spec, backend.product)
        if spec.bias is not None:
            y += spec.bias.array
        return y


TAPS = Taps("taps")


def reduce_windows(function: np.ufunc, x: FloatArray, sliding: Sliding) -> FloatArray:
    """``function`` reduced over each window of x [n, h, w, C] -> [n, h', w', C]."""
    outputs = output_extent(x, sliding, NO_MARGINS)
    taps = _taps(x, sliding, NO_MARGINS, outputs)
    out = np.array(next(taps)[1])
    for _, rows, _ in taps:
        function(out, rows, out=out)
    return out
