"""What an operator is: shape, geometry, value rule, delta rule and work, all by one small interface.

Everything that flows between operators is a map of ``Shape(channels, size)``; a vector is a map of one cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, NamedTuple

from kdb.geometry import Boxes, Footprint, Part, Size
from kdb.kernels.base import Array, Backend, Delta, Epilogue, Parameters
from kdb.kernels.kernel import DELTA, FULL, Extents, Kernel
from kdb.kernels.work import ELEMENT, Work


class Shape(NamedTuple):
    """Of one layer's map, without the batch."""

    channels: int
    size: Size

    @property
    def cells(self) -> int:
        """The map's cells."""
        return math.prod(self.size)

    @property
    def elements(self) -> int:
        """Numbers in the map."""
        return self.channels * self.cells

    @property
    def vector(self) -> Shape:
        """One cell of it."""
        return Shape(self.channels, (1,) * len(self.size))

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Channels and cells along each axis, in one tuple."""
        return self.channels, *self.size

    def __repr__(self) -> str:
        """In two axes as the first version wrote it: digests in users' files are of it."""
        if len(self.size) != 2:
            return f"Shape(channels={self.channels}, size={self.size})"
        return "Shape(channels={}, height={}, width={})".format(*self.dimensions)

    def __str__(self) -> str:
        return "x".join(map(str, self.dimensions))


@dataclass(frozen=True, eq=False)
class Update:
    """What a delta rule is given: the inputs' deltas (None: unchanged), views [H, W, C], and the output's boxes.

    Views are None unless the operator asked for them through :meth:`Operator.reads`; ``shapes`` are the inputs'.
    """

    inputs: Sequence[Delta | None]
    input_views: Sequence[Array | None]
    view: Array | None
    boxes: Boxes
    shapes: Sequence[Shape]
    kernel: Kernel
    epilogue: Epilogue | None = None
    """The pointwise layer that the kernel computes in the same pass; None if it fuses none."""


class Reads(NamedTuple):
    """The views that a delta rule reads: which inputs' and whether its own output's."""

    inputs: tuple[bool, ...]
    output: bool = False


@dataclass(frozen=True, slots=True)
class Operator:
    """A frozen description of one layer; subclasses add its parameters as fields, weights by name."""

    label: ClassVar[str] = "operator"
    first_name: ClassVar[str] = ""
    """The class's name in the first version, where that was another: digests in users' files are of it."""
    first_label: ClassVar[str] = ""
    """The label, likewise: layers without a name of their own are called by it."""
    aliases: ClassVar[bool] = False
    """Whether the output may share the input's memory, so that neither may be written over."""
    windowed: ClassVar[bool] = False
    """Whether an output reads a window of the input, so that boxes grow from input to output."""
    takes_epilogue: ClassVar[bool] = False
    """Whether the delta rule may also compute the pointwise layer behind it, where its kernel does."""
    divisible: ClassVar[bool] = False
    """Whether the delta rule also gives any part of the output's boxes, for the work of that part."""
    has_delta_rule: ClassVar[bool] = True
    """Whether there is a delta rule; without one, this layer and all after it are evaluated in full."""
    gathers: ClassVar[bool] = False
    """Whether an output reads cells from all over the map, as a mean does."""
    observed: ClassVar[bool] = False
    """Whether what changes of the only input is told to whoever runs the plan, beside the output."""
    broadcasts: ClassVar[bool] = False
    """Whether the output may repeat one cell of the input all over a map."""
    joined: ClassVar[bool] = False
    """Whether it stands on the same side of the cut as the layer before it."""

    def params(self) -> tuple[tuple[str, str], ...]:
        """Parameters in order, as text, for whoever renders a plan; weights are left out."""
        return tuple(
            (f.name, _text(getattr(self, f.name))) for f in fields(self) if f.name not in self.weights_fields()
        )

    @property
    def signature(self) -> str:
        """What digests of networks are made of: the class and its fields, as the first version wrote them."""
        own = type(self).__qualname__
        return (self.first_name or own) + repr(self).removeprefix(own)

    def weights_fields(self) -> tuple[str, ...]:
        """The fields that name weights."""
        return ()

    def weights(self) -> tuple[str, ...]:
        """The names of the parameters that this operator uses."""
        names = (getattr(self, name) for name in self.weights_fields())
        return tuple(name for name in names if name is not None)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The shape of the output; raises ValueError where the inputs do not fit."""
        raise NotImplementedError

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """Where the output may change, given where the inputs may (None: nowhere).

        This default holds for operators that keep locations: the union of the inputs' boxes.
        """
        changed = [footprint for footprint in inputs if footprint is not None]
        return changed[0].union(*changed[1:]) if changed else None

    def requires(self, part: Part, shapes: Sequence[Shape], shape: Shape) -> tuple[Part | None, ...] | None:
        """The parts of the inputs that this part of the output reads; None if it can only be computed as a whole.

        The inverse of :meth:`project`; None for an input of which nothing is read.  This default holds for operators
        that keep locations.
        """
        return (part,) * len(shapes)

    def cropped(self, part: Part, given: Sequence[Part], shapes: Sequence[Shape]) -> Operator:
        """The operator that gives this part of its output alone, of the ``given`` parts of its inputs.

        These are what it :meth:`requires`, without the inputs of which it reads nothing; ``shapes`` are those of all
        whole inputs.
        """
        return self

    def enclosed(self, inputs: Sequence[Footprint | None]) -> Footprint | None:
        """Where the output reads ``inputs``' footprints alone, so that one value there gives one value here.

        None, as in this default, for operators of which it is not known.
        """
        return None

    def constant(self, k: Backend, parameters: Parameters, value: Array) -> Array:
        """What the output is where it reads ``value`` [1, 1, 1, C] alone: [1, 1, 1, C']; see :meth:`enclosed`."""
        return self.evaluate(k, parameters, [value], self.evaluation_kernels(k)[0], False)

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """The value T(inputs) on maps [n, H, W, C]; ``donate`` grants the memory of the first input."""
        raise NotImplementedError

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """The delta rule: ``T(v + d) - T(v)`` inside ``update.boxes``, [n, h, w, C]."""
        raise NotImplementedError

    def frames(self, kernel: Kernel, boxes: Boxes) -> Boxes | None:
        """Boxes that ``kernel`` derives from the output's, for a device to prepare; None if it derives none."""
        return None

    def kernels(self, k: Backend) -> tuple[Kernel, ...]:
        """The physical operators that compute the delta rule on this backend; they compete by cost."""
        return (DELTA,)

    def suited(self, kernel: Kernel, shapes: Sequence[Shape], extents: Extents) -> Kernel:
        """The ``kernel`` as it is best for a query with these deltas of the first input."""
        return kernel

    def evaluation_kernels(self, k: Backend) -> tuple[Kernel, ...]:
        """The physical operators that compute the value on this backend."""
        return (FULL,)

    def reads(self, kernel: Kernel, changed: Sequence[bool]) -> Reads:
        """The views that ``kernel`` reads where the inputs flagged in ``changed`` carry deltas."""
        return Reads((False,) * len(changed))

    def macs(self, shapes: Sequence[Shape], shape: Shape, cells: int) -> int:
        """Multiply-adds of so many output ``cells``, all channels (eq. 10, 12); convolutions and dense layers only."""
        return 0

    def delta_work(
        self, kernel: Kernel, shapes: Sequence[Shape], extents: Sequence[Size | None], shape: Shape, extent: Size
    ) -> Work:
        """Work of the delta rule, one position: output ``extent``, inputs' ``extents`` (None: unchanged)."""
        cells = math.prod(extent) * shape.channels
        return Work("elementwise", 0, 3 * ELEMENT * cells)

    def full_work(self, kernel: Kernel, shapes: Sequence[Shape], shape: Shape) -> Work:
        """Work of the full evaluation, one position."""
        return Work("elementwise", 0, ELEMENT * (shape.elements + sum(s.elements for s in shapes)))


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return (
            "x".join(map(str, value))
            if all(isinstance(v, int) for v in value) and len(value) < 7
            else f"[{len(value)}]"
        )
    return str(value)


def whole_map(inputs: Sequence[Footprint | None], shape: Shape) -> Footprint | None:
    """The footprint of an operator for which any change may change everything."""
    for footprint in inputs:
        if footprint is not None:
            return footprint.covering(shape.size)
    return None


def materialize(k: Backend, view: Array, delta: Delta, size: Size) -> Array:
    """``v + d`` over the whole map: [n, H, W, C]."""
    return k.deltas.superimposed(view, delta, Boxes.whole(len(delta.boxes), size))
