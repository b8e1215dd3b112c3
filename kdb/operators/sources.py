"""Operators at the ends of a network: the image, constants, and what is left to the model's own framework."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from kdb.geometry import Footprint, Part, Size
from kdb.kernels.base import Array, Backend, Parameters, Tail
from kdb.kernels.kernel import Kernel
from kdb.kernels.work import ELEMENT, Work
from kdb.operators.base import Operator, Shape, Update, whole_map

FRAMEWORK = Kernel("framework")
"""The kernel of opaque layers: evaluation by the model's own framework."""
WIDTH = 256
"""Of the products that an opaque layer is taken to consist of."""


@dataclass(frozen=True, slots=True)
class Source(Operator):
    """The image: the base relation that each position of the patch updates."""

    label: ClassVar[str] = "source"

    shape: Shape

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The image's."""
        return self.shape

    def requires(self, part: Part, shapes: Sequence[Shape], shape: Shape) -> tuple[Part, ...] | None:
        """Given as a whole."""
        return None


@dataclass(frozen=True, slots=True)
class Constant(Operator):
    """A map that no position changes; ``value`` names a parameter [H, W, C]."""

    label: ClassVar[str] = "constant"

    value: str
    shape: Shape

    def weights_fields(self) -> tuple[str, ...]:
        """The value."""
        return ("value",)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The value's."""
        return self.shape

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """No footprint: it never changes."""
        return None

    def requires(self, part: Part, shapes: Sequence[Shape], shape: Shape) -> tuple[Part, ...] | None:
        """Given as a whole."""
        return None

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """One copy serves every position: [1, H, W, C]."""
        return k.memory.constant(parameters[self.value])


@dataclass(frozen=True, slots=True)
class Opaque(Operator):
    """Everything from the first layer outside the vocabulary on, evaluated in full by the model's own framework.

    ``because`` names what is outside.  ``multiply_adds`` of one position are as the framework counts them: operators
    that it does not know, such as those that a user brings, count none.  ``jumps`` says what in it shows any
    rounding, however small; empty for nothing.
    """

    label: ClassVar[str] = "opaque"
    has_delta_rule: ClassVar[bool] = False

    because: str
    shape: Shape
    tail: Tail = field(repr=False, compare=False)
    multiply_adds: int = field(default=0, repr=False, compare=False)  # the identity is that of the first version
    jumps: str = field(default="", repr=False, compare=False)

    def params(self) -> tuple[tuple[str, str], ...]:
        """What made it opaque."""
        return (("because", self.because),)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The logits'."""
        return self.shape

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """The whole output, if anything changes."""
        return whole_map(inputs, shape)

    def requires(self, part: Part, shapes: Sequence[Shape], shape: Shape) -> tuple[Part, ...] | None:
        """The whole map."""
        return None

    def kernels(self, k: Backend) -> tuple[Kernel, ...]:
        """No delta rule: full evaluation only."""
        return ()

    def evaluation_kernels(self, k: Backend) -> tuple[Kernel, ...]:
        """The framework's own."""
        return (FRAMEWORK,)

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """The tail's logits."""
        return k.framework(self.tail, inputs)

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """There is none; a plan never asks."""
        raise NotImplementedError("an opaque layer has no delta rule")

    def macs(self, shapes: Sequence[Shape], shape: Shape, cells: int) -> int:
        """Those of the framework, of all cells."""
        return self.multiply_adds * cells // shape.cells

    def delta_work(
        self, kernel: Kernel, shapes: Sequence[Shape], extents: Sequence[Size | None], shape: Shape, extent: Size
    ) -> Work:
        """Never asked for, since there is no delta rule."""
        raise NotImplementedError("an opaque layer has no delta rule")

    def full_work(self, kernel: Kernel, shapes: Sequence[Shape], shape: Shape) -> Work:
        """Its multiply-adds at the rate of dense layers, and a pass over its inputs."""
        return Work("dense", self.multiply_adds, ELEMENT * sum(s.elements for s in shapes), width=WIDTH)
