"""Convolution: linear and local, so its delta rule is itself without bias, on the delta with zeros around it.

Physical operators: the backend's convolutions (``direct``, ``taps``) on the delta, and ``recompute``, the paper's
Algorithm 1: read the context in, superimpose, convolve, subtract the view.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from kdb.geometry import Boxes, Footprint, Size
from kdb.kernels.base import NO_MARGINS, Array, Backend, ConvolutionSpec, Margins, Parameters, Sliding
from kdb.kernels.tiling import tiling
from kdb.operators.base import ELEMENT, Operator, Reads, Shape, Update, Work

RECOMPUTE = "recompute"


@dataclass(frozen=True, slots=True)
class Convolution(Operator):
    """``y = W * x + b`` with ``weight`` [out, in / groups, kh, kw]; padding is (top, left, bottom, right)."""

    label: ClassVar[str] = "convolution"
    windowed: ClassVar[bool] = True
    divisible: ClassVar[bool] = True
    takes_epilogue: ClassVar[bool] = True

    weight: str
    bias: str | None
    out_channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: Margins = NO_MARGINS
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def weights_fields(self) -> tuple[str, ...]:
        """Weight and bias."""
        return ("weight", "bias")

    @property
    def sliding(self) -> Sliding:
        """The kernel as the backend takes it."""
        return Sliding(self.kernel, self.stride, self.dilation)

    def spec(self, parameters: Parameters) -> ConvolutionSpec:
        """The convolution with its weights, as kernels take it."""
        bias = None if self.bias is None else parameters[self.bias]
        return ConvolutionSpec(parameters[self.weight], bias, self.sliding, self.groups, self.padding)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Equation 9, per axis."""
        y, x = self.sliding.windows(self.padding)
        return Shape(self.out_channels, y.output_length(inputs[0].height), x.output_length(inputs[0].width))

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """Every output whose window reads a change."""
        return None if inputs[0] is None else inputs[0].behind(*self.sliding.windows(self.padding), shape.size)

    def enclosed(self, inputs: Sequence[Footprint | None]) -> Footprint | None:
        """Every output whose window lies in the input's footprint."""
        return None if inputs[0] is None else inputs[0].enclosed(*self.sliding.windows(self.padding))

    def constant(self, k: Backend, parameters: Parameters, value: Array) -> Array:
        """One window of ``value``, unpadded."""
        y, x = self.sliding.windows(NO_MARGINS)
        window = k.expand(value, Size(y.reach, x.reach), value.shape[-1])
        unpadded = replace(self, padding=NO_MARGINS)
        return unpadded.evaluate(k, parameters, [window], self.evaluation_kernels(k)[0], False)

    def kernels(self, k: Backend) -> tuple[str, ...]:
        """The backend's own, then Algorithm 1."""
        return (*k.delta_kernels(self.sliding, self.groups), RECOMPUTE)

    def frames(self, kernel: str, boxes: Boxes) -> Boxes | None:
        """The read-in context, where zeros are laid around the delta or it is laid on the view."""
        derives = kernel == RECOMPUTE or kernel.startswith("direct")
        return boxes.read_in(*self.sliding.windows(self.padding)) if derives else None

    def evaluation_kernels(self, k: Backend) -> tuple[str, ...]:
        """The backend's own."""
        return k.convolution_kernels(self.sliding, self.groups)

    def reads(self, kernel: str, changed: Sequence[bool]) -> Reads:
        """Only Algorithm 1 reads views: the context from its input's, and its own to subtract."""
        return Reads((kernel == RECOMPUTE,), kernel == RECOMPUTE)

    def evaluate(self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: str, donate: bool) -> Array:
        """Convolution with bias over the padded map."""
        return k.convolve(inputs[0], self.spec(parameters), kernel)

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """``W * d``, or Algorithm 1."""
        (d,) = update.inputs
        assert d is not None
        spec = self.spec(parameters)
        if update.kernel == RECOMPUTE:
            (view,) = update.input_views
            return k.recompute(d, update.boxes, view, update.view, spec)
        return k.convolve_delta(d, update.boxes, spec, update.kernel, update.epilogue)

    def macs(self, shapes: Sequence[Shape], shape: Shape, area: int) -> int:
        """Equation 10: (C_in / g) kh kw for each output."""
        return shapes[0].channels // self.groups * self.sliding.taps * shape.channels * area

    def _width(self, channels: int) -> int:
        """The geometric mean of a group's channels, in and out, given those of the input."""
        return math.isqrt(channels * self.out_channels) // self.groups

    def _kind(self, kernel: str, channels: int) -> str:
        inner = channels // self.groups
        if inner == 1 and self.groups > 1:
            return f"{kernel}.depthwise"
        return f"{kernel}.{'narrow' if inner < 16 else 'point' if self.sliding.taps == 1 else 'wide'}"

    def _touched(self, x: Size, outputs: Size) -> int:
        """Window-cell pairs that meet a cell of the unpadded input: what ``taps`` multiplies."""
        per_axis = []
        for length, out, k, s in zip(x, outputs, self.kernel, self.stride, strict=True):
            per_axis.append(min(k * out, -(-k * length // s)))
        return per_axis[0] * per_axis[1]

    def _work(self, kernel: str, channels: int, x: Size, outputs: Size) -> Work:
        """Multiply-adds as the kernel makes them, for an input of ``x`` cells; what it moves is in its rate."""
        inner, width = channels // self.groups, self._width(channels)
        pairs = inner * self.out_channels
        if kernel == "winograd":
            plan = tiling(x.height, x.width, self.kernel, inner, self.out_channels)
            form = ELEMENT * plan.points * pairs
            return Work("winograd", plan.macs, 0, plan.points, width, form, form)
        taps, weights = self.sliding.taps, ELEMENT * self.sliding.taps * pairs
        cells = self._touched(x, outputs) if kernel == "taps" else taps * outputs.area
        calls = taps if kernel == "taps" else 1
        return Work(self._kind(kernel, channels), cells * pairs, 0, calls, width, weights)

    def delta_work(
        self, kernel: str, shapes: Sequence[Shape], extents: Sequence[Size | None], shape: Shape, extent: Size
    ) -> Work:
        """The kernel's on the delta; Algorithm 1 also reads the context, superimposes, and subtracts the view."""
        channels = shapes[0].channels
        if kernel != RECOMPUTE:
            return self._work(kernel, channels, extents[0] or extent, extent)
        context = Size(*(w.read_in(0, e)[1] for w, e in zip(self.sliding.windows(self.padding), extent, strict=True)))  # type: ignore[arg-type]
        moved = ELEMENT * (2 * context.area * channels + 3 * extent.area * shape.channels)
        return self._work("direct", channels, context, extent)._replace(bytes=moved, calls=4)

    def full_work(self, kernel: str, shapes: Sequence[Shape], shape: Shape) -> Work:
        """The same over the whole map."""
        return self._work(kernel, shapes[0].channels, shapes[0].size, shape.size)
