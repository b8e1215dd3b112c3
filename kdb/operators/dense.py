"""Dense layers, of each cell or of a whole map, and the flattening that makes a vector of a map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from kdb.geometry import Boxes, Footprint, Part, Size
from kdb.kernels.base import Array, Backend, Parameters
from kdb.kernels.kernel import DenseKernel, Kernel, flat
from kdb.kernels.work import Work
from kdb.operators.base import Operator, Shape, Update, whole_map


@dataclass(frozen=True, slots=True)
class Flatten(Operator):
    """A map as one vector, in the order of memory: axis by axis, channels last."""

    label: ClassVar[str] = "flatten"
    gathers: ClassVar[bool] = True
    aliases: ClassVar[bool] = True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """One cell of all numbers."""
        return Shape(inputs[0].elements, inputs[0].vector.size)

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """The one cell."""
        return whole_map(inputs, shape)

    def requires(self, part: Part, shapes: Sequence[Shape], shape: Shape) -> tuple[Part, ...] | None:
        """The whole map."""
        return None

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """The input's memory, seen as vectors."""
        return flat(inputs[0])

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """The delta on the whole map, flattened."""
        (d,) = update.inputs
        assert d is not None
        whole = k.deltas.embed(d, Boxes.whole(len(d.boxes), update.shapes[0].size))
        return flat(whole)


@dataclass(frozen=True, slots=True)
class _Dense(Operator):
    """What both kinds have: weights, and kernels that multiply by them."""

    label: ClassVar[str] = "dense"

    weight: str
    bias: str | None
    out_channels: int

    def weights_fields(self) -> tuple[str, ...]:
        """Weight and bias."""
        return ("weight", "bias")

    def kernels(self, k: Backend) -> tuple[Kernel, ...]:
        """The backend's for deltas, in float32 or in fewer bits."""
        return k.kernels.dense_deltas

    def evaluation_kernels(self, k: Backend) -> tuple[Kernel, ...]:
        """The backend's for whole maps."""
        return k.kernels.dense


@dataclass(frozen=True, slots=True)
class Dense(_Dense):
    """``y = W x + b`` over the channels, location by location; ``weight`` is [out, in]."""

    def enclosed(self, inputs: Sequence[Footprint | None]) -> Footprint | None:
        """The input's."""
        return inputs[0]

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """``out_channels`` at each location."""
        return Shape(self.out_channels, inputs[0].size)

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """``x W^T + b``."""
        bias = None if self.bias is None else parameters[self.bias]
        return _own(kernel).run(k, inputs[0], parameters[self.weight], bias)

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """``d W^T``."""
        (d,) = update.inputs
        assert d is not None
        return _own(update.kernel).run(k, d.values, parameters[self.weight], None)

    def macs(self, shapes: Sequence[Shape], shape: Shape, cells: int) -> int:
        """in x out at each location."""
        return shapes[0].channels * shape.channels * cells

    def delta_work(
        self, kernel: Kernel, shapes: Sequence[Shape], extents: Sequence[Size | None], shape: Shape, extent: Size
    ) -> Work:
        """The kernel's."""
        return _own(kernel).work(shapes[0].channels, shape.channels, math.prod(extent))

    def full_work(self, kernel: Kernel, shapes: Sequence[Shape], shape: Shape) -> Work:
        """The kernel's, of all cells."""
        return self.delta_work(kernel, shapes, (), shape, shape.size)


@dataclass(frozen=True, slots=True)
class DenseMap(_Dense):
    """``y = W x + b`` of all numbers of a map, axis by axis, channels last; ``weight`` is [out, H W C]."""

    gathers: ClassVar[bool] = True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """One cell of ``out_channels``."""
        return Shape(self.out_channels, inputs[0].vector.size)

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """The one cell."""
        return whole_map(inputs, shape)

    def requires(self, part: Part, shapes: Sequence[Shape], shape: Shape) -> tuple[Part, ...] | None:
        """The whole map."""
        return None

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """``x W^T + b``."""
        bias = None if self.bias is None else parameters[self.bias]
        return _own(kernel).run(k, flat(inputs[0]), parameters[self.weight], bias)

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """``d W^T``, of which some kernels multiply the cells of the box alone."""
        (d,) = update.inputs
        assert d is not None
        return _own(update.kernel).map_delta(k, d, update.shapes[0].size, parameters[self.weight])

    def macs(self, shapes: Sequence[Shape], shape: Shape, cells: int) -> int:
        """in x out, all numbers of the map."""
        return shapes[0].elements * shape.channels * cells

    def delta_work(
        self, kernel: Kernel, shapes: Sequence[Shape], extents: Sequence[Size | None], shape: Shape, extent: Size
    ) -> Work:
        """The kernel's."""
        return _own(kernel).map_work(shapes[0].channels, shapes[0].size, extents[0] or shapes[0].size, shape.channels)

    def full_work(self, kernel: Kernel, shapes: Sequence[Shape], shape: Shape) -> Work:
        """The kernel's, of all cells."""
        return _own(kernel).work(shapes[0].elements, shape.channels, 1)


def _own(kernel: Kernel) -> DenseKernel:
    """A kernel, which is one for dense layers, as that."""
    assert isinstance(kernel, DenseKernel), "dense layers have kernels of their own"
    return kernel
