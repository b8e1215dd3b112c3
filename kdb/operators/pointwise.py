"""Operators that keep locations apart: activations, affine maps, channel selection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from kdb.geometry import Footprint, Size
from kdb.kernels.base import Array, Backend, Epilogue, Instruction, Parameters, Program
from kdb.kernels.kernel import Kernel, PointwiseKernel
from kdb.kernels.work import ELEMENT, Work
from kdb.operators.base import Operator, Reads, Shape, Update


@dataclass(frozen=True, slots=True)
class CellByCell(Operator):
    """Each output reads the input at its own location alone."""

    def enclosed(self, inputs: Sequence[Footprint | None]) -> Footprint | None:
        """The input's."""
        return inputs[0]


@dataclass(frozen=True, slots=True)
class Pointwise(CellByCell):
    """``f`` at each location, as a program over its channels: activations, layer norm or softmax over channels."""

    label: ClassVar[str] = "pointwise"
    first_name: ClassVar[str] = "LocationWise"
    first_label: ClassVar[str] = "location_wise"

    program: Program

    def params(self) -> tuple[tuple[str, str], ...]:
        """The functions, in order."""
        return (("f", " ".join(instruction.function for instruction in self.program)),)

    def weights(self) -> tuple[str, ...]:
        """Parameters that the program names."""
        return tuple(o for instruction in self.program for o in instruction.operands if isinstance(o, str))

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's shape."""
        return inputs[0]

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """``f(x)``."""
        assert isinstance(kernel, PointwiseKernel), "pointwise layers have kernels of their own"
        return kernel.evaluate(k, inputs[0], self.program, parameters, donate)

    def kernels(self, k: Backend) -> tuple[Kernel, ...]:
        """The backend's for deltas by such a program."""
        return k.kernels.pointwise_deltas(self.program)

    def evaluation_kernels(self, k: Backend) -> tuple[Kernel, ...]:
        """The backend's for such a program on whole maps."""
        return k.kernels.pointwise(self.program)

    def reads(self, kernel: Kernel, changed: Sequence[bool]) -> Reads:
        """The input's view, and its own where that saves computing it."""
        assert isinstance(kernel, PointwiseKernel), "pointwise layers have kernels of their own"
        return Reads((True,), kernel.reads_result(self.program))

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """``f(v[B] + d) - f(v[B])``."""
        (d,) = update.inputs
        assert d is not None
        (view,) = update.input_views
        assert isinstance(update.kernel, PointwiseKernel), "pointwise layers have kernels of their own"
        return update.kernel.delta(k, d, Epilogue(self.program, parameters, view, update.view))

    def delta_work(
        self, kernel: Kernel, shapes: Sequence[Shape], extents: Sequence[Size | None], shape: Shape, extent: Size
    ) -> Work:
        """The kernel's."""
        assert isinstance(kernel, PointwiseKernel), "pointwise layers have kernels of their own"
        return kernel.work(self.program, math.prod(extent) * shape.channels, incremental=True)

    def full_work(self, kernel: Kernel, shapes: Sequence[Shape], shape: Shape) -> Work:
        """The kernel's, of all numbers."""
        assert isinstance(kernel, PointwiseKernel), "pointwise layers have kernels of their own"
        return kernel.work(self.program, shape.elements, incremental=False)


@dataclass(frozen=True, slots=True)
class Affine(CellByCell):
    """``a x + b``, channel by channel: batch normalization in inference."""

    label: ClassVar[str] = "affine"

    scale: str
    shift: str

    def weights_fields(self) -> tuple[str, ...]:
        """Scale and shift."""
        return ("scale", "shift")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The input's shape."""
        return inputs[0]

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """``a x + b``."""
        program = Instruction("mul", (0, self.scale)), Instruction("add", (1, self.shift))
        return k.maps.pointwise(inputs[0], program, parameters, donate)

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """``a d``."""
        (d,) = update.inputs
        assert d is not None
        return k.maps.pointwise(d.values, (Instruction("mul", (0, self.scale)),), parameters, d.donate)

    def delta_work(
        self, kernel: Kernel, shapes: Sequence[Shape], extents: Sequence[Size | None], shape: Shape, extent: Size
    ) -> Work:
        """One pass over the delta."""
        return Work("elementwise", 0, 2 * ELEMENT * math.prod(extent) * shape.channels)


@dataclass(frozen=True, slots=True)
class SelectChannels(CellByCell):
    """``x[order]``: a slice of the channels, or a permutation of them (channel shuffle)."""

    label: ClassVar[str] = "select_channels"

    order: tuple[int, ...]

    def params(self) -> tuple[tuple[str, str], ...]:
        """A range as such."""
        first, last = self.order[0], self.order[-1]
        contiguous = self.order == tuple(range(first, last + 1))
        return (("order", f"{first}:{last + 1}" if contiguous else f"{len(self.order)} permuted"),)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """As many channels as are selected."""
        return Shape(len(self.order), inputs[0].size)

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """``x[order]``."""
        return k.maps.take_channels(inputs[0], self.order)

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """``d[order]``."""
        (d,) = update.inputs
        assert d is not None
        return k.maps.take_channels(d.values, self.order)
