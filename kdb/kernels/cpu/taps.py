"""Sliding windows in plain numpy, a tap at a time: convolution as GEMMs scatter-added, pooling as a running reduction.

A tap reads one strided slice of the input and touches one rectangle of the output; zeros around the input are never
multiplied, they only shorten that rectangle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from kdb.geometry import Size
from kdb.kernels.base import NO_MARGINS, ConvolutionSpec, Margins, Product, Sliding
from kdb.kernels.cpu.boxed import padded
from kdb.kernels.cpu.convolution import CpuConvolution
from kdb.kernels.kernel import ConvolutionShape
from kdb.kernels.work import ELEMENT, Rates, Work

if TYPE_CHECKING:
    from kdb.kernels.cpu.backend import CpuBackend

FloatArray = npt.NDArray[np.float32]

NARROW = 16
"""Up to so many input channels, a tap's GEMM is too thin; the windows are copied out and multiplied at once."""


def output_extent(x: FloatArray, sliding: Sliding, margins: Margins) -> tuple[int, int]:
    """How many windows fit over x [n, h, w, C] with its margins, along (y, x)."""
    top, left, bottom, right = margins
    reach = [(k - 1) * g + 1 for k, g in zip(sliding.kernel, sliding.dilation, strict=True)]
    height = (x.shape[1] + top + bottom - reach[0]) // sliding.stride[0] + 1
    width = (x.shape[2] + left + right - reach[1]) // sliding.stride[1] + 1
    return height, width


def _axis(tap: int, before: int, stride: int, dilation: int, length: int, outputs: int) -> tuple[slice, slice]:
    """Which inputs (of ``length``) a tap reads along one axis, and the outputs it feeds."""
    shift = tap * dilation - before
    first = max(-(shift // stride), 0)
    last = min((length - 1 - shift) // stride, outputs - 1)
    count = max(last - first + 1, 0)
    start = first * stride + shift
    return slice(start, start + max(count - 1, 0) * stride + (count > 0), stride), slice(first, first + count)


def _taps(
    x: FloatArray, sliding: Sliding, margins: Margins, outputs: tuple[int, int]
) -> Iterator[tuple[int, FloatArray, tuple[slice, slice]]]:
    """For each tap: its number, the slice of x it reads, and the (y, x) rectangle of the output it feeds."""
    ky, kx = sliding.kernel
    for i, j in np.ndindex(ky, kx):
        in_y, out_y = _axis(i, margins[0], sliding.stride[0], sliding.dilation[0], x.shape[1], outputs[0])
        in_x, out_x = _axis(j, margins[1], sliding.stride[1], sliding.dilation[1], x.shape[2], outputs[1])
        if out_y.stop > out_y.start and out_x.stop > out_x.start:
            yield i * kx + j, x[:, in_y, in_x], (out_y, out_x)


def _copied_windows(x: FloatArray, sliding: Sliding, outputs: tuple[int, int]) -> FloatArray:
    """[n * h' * w', taps * C]: the windows of a padded x, copied out (im2col)."""
    n, _, _, channels = x.shape
    sn, sy, sx, sc = x.strides
    shape = (n, *outputs, *sliding.kernel, channels)
    strides = (
        sn,
        sy * sliding.stride[0],
        sx * sliding.stride[1],
        sy * sliding.dilation[0],
        sx * sliding.dilation[1],
        sc,
    )
    return as_strided(x, shape, strides, writeable=False).reshape(-1, sliding.taps * channels)


def _by_tap(weight: FloatArray, groups: int) -> FloatArray:
    """[out, in / g, kh, kw] -> [taps, g, in / g, out / g]."""
    out, inner, kh, kw = weight.shape
    return np.ascontiguousarray(
        weight.reshape(groups, out // groups, inner, kh * kw).transpose(3, 0, 2, 1), dtype=np.float32
    )


def multiplied(rows: FloatArray, matrix: FloatArray, product: Product) -> FloatArray:
    """``rows @ matrix``: [..., m, in] by [..., in, out]."""
    y = np.empty((*rows.shape[:-1], matrix.shape[-1]), np.float32)
    product(rows, matrix, y)
    return y


def _multiply(x: FloatArray, by_tap: FloatArray, product: Product) -> FloatArray:
    """One tap's products: x [n, h, w, in] by [g, in / g, out / g] -> [n, h, w, out]."""
    n, height, width, channels = x.shape
    groups, inner, outer = by_tap.shape
    if groups == 1:
        return multiplied(x.reshape(-1, channels), by_tap[0], product).reshape(n, height, width, outer)
    if inner == outer == 1:
        return x * by_tap[:, 0, 0]
    rows = x.reshape(-1, groups, inner).transpose(1, 0, 2)
    return multiplied(rows, by_tap, product).transpose(1, 0, 2).reshape(n, height, width, groups * outer)


def convolve(x: FloatArray, spec: ConvolutionSpec, product: Product = np.matmul) -> FloatArray:
    """Convolution of x [n, h, w, in], its bias left out: [n, h', w', out]."""
    weight, sliding, groups, margins = spec.weight, spec.sliding, spec.groups, spec.padding
    outputs = output_extent(x, sliding, margins)
    channels = spec.out_channels
    if groups == 1 and x.shape[-1] <= NARROW and sliding.taps > 1:
        columns = _copied_windows(padded(x, margins), sliding, outputs)
        matrix = weight.layout("columns", lambda w: np.ascontiguousarray(w.transpose(2, 3, 1, 0).reshape(-1, len(w))))
        return multiplied(columns, matrix, product).reshape(len(x), *outputs, channels)
    by_tap = weight.layout(f"taps/{groups}", lambda w: _by_tap(w, groups))
    if sliding.taps == 1 and not any(margins):
        ((_, rows, _),) = _taps(x, sliding, margins, outputs)
        return _multiply(rows, by_tap[0], product)
    out = np.zeros((len(x), *outputs, channels), np.float32)
    for tap, rows, (y_range, x_range) in _taps(x, sliding, margins, outputs):
        out[:, y_range, x_range] += _multiply(rows, by_tap[tap], product)
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
        """Everywhere."""
        return True

    def work(self, shape: ConvolutionShape, x: Size, outputs: Size) -> Work:
        """Products of the taps that meet a cell of the unpadded input; a call for each tap."""
        pairs, taps = shape.pairs, shape.sliding.taps
        met = 1
        for length, out, k, s in zip(x, outputs, shape.sliding.kernel, shape.sliding.stride, strict=True):
            met *= min(k * out, -(-k * length // s))
        return Work(f"taps.{shape.form}", met * pairs, 0, taps, shape.width, ELEMENT * taps * pairs)

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
