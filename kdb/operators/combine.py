"""Operators that join maps of one size: sum, product, concatenation; and the expansion of one cell to a map.

A joined delta is zero outside its operand's box, so sums and stacks need no context; a product does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from kdb.geometry import Boxes, Footprint, Part, Size
from kdb.kernels.base import Array, Backend, Parameters
from kdb.kernels.kernel import Kernel, SumKernel
from kdb.kernels.work import ELEMENT, Work
from kdb.operators.base import Operator, Reads, Shape, Update, whole_map


def _same_shape(inputs: Sequence[Shape]) -> Shape:
    if len(set(inputs)) != 1:
        raise ValueError(f"cannot combine {' with '.join(map(str, inputs))}")
    return inputs[0]


@dataclass(frozen=True, slots=True)
class Add(Operator):
    """``x + y`` of two maps of one shape."""

    label: ClassVar[str] = "add"
    takes_epilogue: ClassVar[bool] = True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The shape of both inputs."""
        return _same_shape(inputs)

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """``x + y``."""
        x, y = inputs
        return k.maps.add(x, y, donate)

    def kernels(self, k: Backend) -> tuple[Kernel, ...]:
        """The backend's, which may fuse."""
        return k.kernels.sums

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """``dx + dy``, laid into the union box."""
        assert isinstance(update.kernel, SumKernel), "sums have kernels of their own"
        return update.kernel.run(k, [d for d in update.inputs if d is not None], update.boxes, update.epilogue)

    def delta_work(
        self, kernel: Kernel, shapes: Sequence[Shape], extents: Sequence[Size | None], shape: Shape, extent: Size
    ) -> Work:
        """The kernel's."""
        assert isinstance(kernel, SumKernel), "sums have kernels of their own"
        return kernel.work(math.prod(extent) * shape.channels)


@dataclass(frozen=True, slots=True)
class Multiply(Operator):
    """``x * y`` of two maps of one shape."""

    label: ClassVar[str] = "multiply"

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The shape of both inputs."""
        return _same_shape(inputs)

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """``x * y``."""
        x, y = inputs
        return k.maps.multiply(x, y, donate)

    def reads(self, kernel: Kernel, changed: Sequence[bool]) -> Reads:
        """Each operand's view, where the other one changes."""
        return Reads((changed[1], changed[0]))

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """``dx y + x dy + dx dy``."""
        (x, y), (view_x, view_y) = update.inputs, update.input_views
        return k.deltas.product(x, y, view_x, view_y, update.boxes)

    def delta_work(
        self, kernel: Kernel, shapes: Sequence[Shape], extents: Sequence[Size | None], shape: Shape, extent: Size
    ) -> Work:
        """Two gathers and the products."""
        return Work("elementwise", 0, 8 * ELEMENT * math.prod(extent) * shape.channels, 5)


@dataclass(frozen=True, slots=True)
class Concatenate(Operator):
    """Maps stacked along the channels."""

    label: ClassVar[str] = "concatenate"

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The channels' sum."""
        if len({shape.size for shape in inputs}) != 1:
            raise ValueError(f"cannot stack maps of {', '.join(map(str, inputs))}")
        return Shape(sum(shape.channels for shape in inputs), inputs[0].size)

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """The inputs stacked."""
        return k.maps.concatenate(inputs)

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """The stack of the deltas in the union box; zero for operands that do not change."""
        return k.deltas.stack(update.inputs, [shape.channels for shape in update.shapes], update.boxes)

    def delta_work(
        self, kernel: Kernel, shapes: Sequence[Shape], extents: Sequence[Size | None], shape: Shape, extent: Size
    ) -> Work:
        """Lay out where they are stacked."""
        return Work("elementwise", 0, 3 * ELEMENT * math.prod(extent) * shape.channels, 2 * len(shapes))


@dataclass(frozen=True, slots=True)
class Expand(Operator):
    """A map repeated over the cells or channels of which it has one, up to ``shape``; takes no memory."""

    label: ClassVar[str] = "expand"
    broadcasts: ClassVar[bool] = True
    aliases: ClassVar[bool] = True

    shape: Shape

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """``shape``."""
        given, wanted = inputs[0].dimensions, self.shape.dimensions
        if any(mine not in (1, theirs) for mine, theirs in zip(given, wanted, strict=True)):
            raise ValueError(f"cannot expand {inputs[0]} to {self.shape}")
        return self.shape

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """The whole map, unless only channels are repeated."""
        return inputs[0] if shapes[0].size == shape.size else whole_map(inputs, shape)

    def requires(self, part: Part, shapes: Sequence[Shape], shape: Shape) -> tuple[Part, ...] | None:
        """The part, but of an axis that is repeated the one cell that there is."""
        repeated = [own < wanted for own, wanted in zip(shapes[0].size, shape.size, strict=True)]
        start = (0 if all_ else first for all_, first in zip(repeated, part.start, strict=True))
        extent = (1 if all_ else n for all_, n in zip(repeated, part.extent, strict=True))
        return (Part(tuple(start), tuple(extent)),)

    def cropped(self, part: Part, given: Sequence[Part], shapes: Sequence[Shape]) -> Operator:
        """Up to the part's size."""
        return Expand(Shape(self.shape.channels, part.extent))

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """The input repeated up to the shape."""
        return k.maps.expand(inputs[0], self.shape.size, self.shape.channels)

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """The delta, repeated alike."""
        (d,) = update.inputs
        assert d is not None
        values = d.values
        if update.shapes[0].size != self.shape.size:  # a map of one row, say, of which only some columns change
            values = k.deltas.embed(d, Boxes.whole(len(d.boxes), update.shapes[0].size))
        return k.maps.expand(values, update.boxes.extent, self.shape.channels)
