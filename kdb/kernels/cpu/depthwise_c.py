"""Depthwise convolutions in C: every channel by weights of its own, from boxes to boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kdb.geometry import Boxes, IntArray, Size
from kdb.kernels.base import ConvolutionSpec, Delta, Epilogue, Program, Sliding, Weight
from kdb.kernels.compiled.library import address
from kdb.kernels.cpu.direct import DIRECT
from kdb.kernels.cpu.pointwise_c import NOTHING, POINTWISE_C, Arguments, behind
from kdb.kernels.kernel import ConvolutionKernel, ConvolutionShape
from kdb.kernels.work import Rates, Work

if TYPE_CHECKING:
    from kdb.kernels.cpu.backend import CpuBackend

FloatArray = npt.NDArray[np.float32]


class CompiledDepthwise(ConvolutionKernel):
    """Depthwise convolutions of a square kernel; those of groups of several channels are ``direct``'s, and cost that.

    Which of the two a convolution is, its weights tell.
    """

    setting = "compiled"
    optional = True
    rates: Mapping[str, Rates] = {"depthwise.c.depthwise": ((1, 24e9),)}

    def applies(self, backend: CpuBackend, sliding: Sliding, groups: int) -> bool:
        """Where there is a library, which has such a kernel."""
        compiled = backend.compiled
        if compiled is None or groups == 1 or sliding.rank != 2 or max(sliding.dilation) > 1:
            return False
        square = len({*sliding.kernel}) == len({*sliding.stride}) == 1
        return square and bool(compiled.depthwise_applies(sliding.kernel[0], sliding.stride[0]))

    def work(self, shape: ConvolutionShape, x: Size, outputs: Size) -> Work:
        """A product for every tap, and for zeros beside the delta too."""
        if shape.inputs == shape.outputs == shape.groups:
            return super().work(shape, x, outputs)
        return DIRECT.work(shape, x, outputs)

    def fuses(self, backend: CpuBackend, program: Program) -> bool:
        """What the library computes of pointwise layers."""
        return POINTWISE_C.applies(backend, program)

    def evaluate(self, backend: CpuBackend, x: FloatArray, spec: ConvolutionSpec) -> FloatArray:
        """The convolution of x [n, h, w, in]: [n, h', w', out]."""
        if not _alone(spec):
            return DIRECT.evaluate(backend, x, spec)
        windows, size = spec.windows, x.shape[1:-1]
        extent = tuple(window.output_length(length) for window, length in zip(windows, size, strict=True))
        before = [-window.before for window in windows]
        offsets = np.tile(np.array(before, np.int64), (len(x), 1))
        return _run(backend, x, spec, extent, offsets, spec.bias, NOTHING)

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
        if not _alone(spec):
            values = DIRECT.delta(backend, spec, delta, boxes)
            return values if epilogue is None else POINTWISE_C.delta(backend, Delta(boxes, values, True), epilogue)
        offsets = boxes.read_in(spec.windows).origins - delta.boxes.origins
        assert backend.compiled is not None, "it applies where there is a library"
        applied = behind(backend.compiled, epilogue, boxes, spec.out_channels)
        return _run(backend, delta.values, spec, boxes.extent, offsets, None, applied)


def _alone(spec: ConvolutionSpec) -> bool:
    """Whether every channel is a group, of one input and one output."""
    return spec.weight.array.shape[1] == 1 and spec.out_channels == spec.groups


def _taps_first(weight: FloatArray) -> FloatArray:
    """[channels, 1, kh, kw] as [kh, kw, channels]."""
    return np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0))


def _run(
    backend: CpuBackend,
    x: FloatArray,
    spec: ConvolutionSpec,
    extent: Size,
    offsets: IntArray,
    bias: Weight | None,
    applied: Arguments,
) -> FloatArray:
    """Boxes of ``extent`` whose first outputs read x from ``offsets`` [n, axes] on, and what is ``applied`` to them."""
    compiled = backend.compiled
    assert compiled is not None, "it applies where there is a library"
    weights, x = spec.weight.layout("depthwise", _taps_first), np.ascontiguousarray(x)
    n, *size, channels = x.shape
    out, zeros = np.empty((n, *extent, channels), np.float32), np.zeros(channels, np.float32)
    compiled.depthwise(
        spec.sliding.kernel[0], spec.sliding.stride[0], address(x), n, *size, channels, address(weights),
        address(None if bias is None else bias.array), address(out), *extent,
        address(np.ascontiguousarray(offsets)), address(zeros), *applied.passed,
    )  # fmt: skip
    return out


DEPTHWISE_C = CompiledDepthwise("depthwise.c")
