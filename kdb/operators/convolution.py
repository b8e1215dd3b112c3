"""Convolution: linear and local, so its delta rule is itself without bias, on the delta with zeros around it.

Physical operators: the backend's convolutions (``direct``, ``taps``) on the delta, and ``recompute``, the paper's
Algorithm 1: read the context in, superimpose, convolve, subtract the view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from kdb.geometry import Footprint, Size, Window
from kdb.kernels.base import NO_MARGINS, Array, Backend, Margins, Parameters, Sliding
from kdb.kernels.tiling import tiling
from kdb.operators.base import ELEMENT, Operator, Reads, Shape, Update, Work

RECOMPUTE = "recompute"


def windows(sliding: Sliding, padding: Margins) -> tuple[Window, Window]:
    """The (y, x) windows of a sliding kernel with ``padding`` (top, left, bottom, right)."""
    top, left, bottom, right = padding
    (ky, kx), (sy, sx), (gy, gx) = sliding.kernel, sliding.stride, sliding.dilation
    return Window(ky, sy, top, bottom, gy), Window(kx, sx, left, right, gx)


@dataclass(frozen=True, slots=True)
class Convolution(Operator):
    """``y = W * x + b`` with ``weight`` [out, in / groups, kh, kw]; padding is (top, left, bottom, right)."""

    label: ClassVar[str] = "convolution"

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

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Equation 9, per axis."""
        y, x = windows(self.sliding, self.padding)
        return Shape(self.out_channels, y.output_length(inputs[0].height), x.output_length(inputs[0].width))

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """Every output whose window reads a change."""
        return None if inputs[0] is None else inputs[0].behind(*windows(self.sliding, self.padding), shape.size)

    def kernels(self, k: Backend) -> tuple[str, ...]:
        """The backend's own, then Algorithm 1."""
        return (*k.convolution_kernels(self.sliding, self.groups), *k.reduced_kernels(), RECOMPUTE)

    def evaluation_kernels(self, k: Backend) -> tuple[str, ...]:
        """The backend's own."""
        return k.convolution_kernels(self.sliding, self.groups)

    def reads(self, kernel: str, changed: Sequence[bool]) -> Reads:
        """Only Algorithm 1 reads views: the context from its input's, and its own to subtract."""
        return Reads((kernel == RECOMPUTE,), kernel == RECOMPUTE)

    def evaluate(self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: str, reuse: bool) -> Array:
        """Convolution with bias over the padded map."""
        bias = None if self.bias is None else parameters[self.bias]
        return k.convolve(inputs[0], parameters[self.weight], bias, self.sliding, self.groups, self.padding, kernel)

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """``W * d``, or Algorithm 1."""
        (d,) = update.inputs
        assert d is not None
        weight = parameters[self.weight]
        frames = update.boxes.read_in(*windows(self.sliding, self.padding))
        if update.kernel == RECOMPUTE:
            context = k.read_in(update.input_views[0], frames, 0.0)
            k.superimpose(context, frames, d.values, d.boxes)
            bias = None if self.bias is None else parameters[self.bias]
            kernel = k.convolution_kernels(self.sliding, self.groups)[0]
            y = k.convolve(context, weight, bias, self.sliding, self.groups, NO_MARGINS, kernel)
            y -= k.gather(update.view, update.boxes)
            return y
        margins = d.boxes.margins(frames)
        x = d.values if margins is not None else k.embed(d.values, d.boxes, frames)
        return k.convolve(x, weight, None, self.sliding, self.groups, margins or NO_MARGINS, update.kernel)

    def macs(self, shapes: Sequence[Shape], shape: Shape, area: int) -> int:
        """Equation 10: (C_in / g) kh kw for each output."""
        return shapes[0].channels // self.groups * self.sliding.taps * shape.channels * area

    def _kind(self, kernel: str, shapes: Sequence[Shape]) -> str:
        inner = shapes[0].channels // self.groups
        width = "depthwise" if inner == 1 and self.groups > 1 else "narrow" if inner < 16 else "wide"
        return f"{kernel}.{width}"

    def _touched(self, x: Size, outputs: Size) -> int:
        """Window-cell pairs that meet a cell of the unpadded input: what ``taps`` multiplies."""
        per_axis = []
        for length, out, k, s in zip(x, outputs, self.kernel, self.stride, strict=True):
            per_axis.append(min(k * out, -(-k * length // s)))
        return per_axis[0] * per_axis[1]

    def _tiled(self, x: Size, inner: int, outputs: int) -> Work:
        """Minimal filtering of an input: its tiles are written and read once, before and after each product."""
        plan = tiling(x.height, x.width, self.kernel, inner, self.out_channels)
        my, mx = plan.inputs
        tile = 2 * my * mx * inner + plan.points * (2 * inner + 7 * self.out_channels)
        moved = ELEMENT * (plan.counts[0] * plan.counts[1] * tile + outputs)
        return Work("winograd", plan.macs, moved, plan.points)

    def delta_work(
        self, kernel: str, shapes: Sequence[Shape], extents: Sequence[Size | None], shape: Shape, extent: Size
    ) -> Work:
        """Multiply-adds as the kernel makes them; bytes of laying out the input and of the output."""
        inner, cells = shapes[0].channels // self.groups, extent.area * shape.channels
        macs = self.macs(shapes, shape, extent.area)
        context = Size(*(w.read_in(0, e)[1] for w, e in zip(windows(self.sliding, self.padding), extent, strict=True)))  # type: ignore[arg-type]
        moved = ELEMENT * (context.area * shapes[0].channels + cells)
        if kernel == "winograd":
            return self._tiled(extents[0] or extent, inner, cells)
        if kernel == RECOMPUTE:
            return Work(self._kind("direct", shapes), macs, 2 * moved + 2 * ELEMENT * cells, 4)
        if kernel == "taps":
            touched = self._touched(extents[0] or extent, extent) * inner * shape.channels
            return Work(
                self._kind(kernel, shapes), touched, moved + 3 * ELEMENT * cells * self.sliding.taps, self.sliding.taps
            )
        return Work(self._kind(kernel, shapes), macs, moved)

    def full_work(self, kernel: str, shapes: Sequence[Shape], shape: Shape) -> Work:
        """The same over the whole map."""
        if kernel == "winograd":
            return self._tiled(shapes[0].size, shapes[0].channels, shape.elements)
        moved = ELEMENT * (shapes[0].elements + shape.elements)
        passes = self.sliding.taps if kernel == "taps" else 1
        return Work(self._kind(kernel, shapes), self.macs(shapes, shape, shape.size.area), passes * moved, passes)
