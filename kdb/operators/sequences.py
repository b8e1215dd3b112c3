"""Maps as sequences of cells, as detectors make them of their levels: all cells in a row, and maps joined to one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import ClassVar

import numpy as np

from kdb.geometry import Boxes, Footprint, Part, Size, Spans
from kdb.kernels.base import Array, Backend, Delta, Parameters
from kdb.kernels.kernel import Kernel
from kdb.kernels.work import ELEMENT, Work
from kdb.operators.base import Operator, Shape, Update


@dataclass(frozen=True, slots=True)
class Ravel(Operator):
    """The cells of a map in a row along the first axis, in the order of memory; of these the ``part`` is given."""

    label: ClassVar[str] = "ravel"
    aliases: ClassVar[bool] = True

    part: Part

    def params(self) -> tuple[tuple[str, str], ...]:
        """The cells, as a range."""
        return (("cells", f"{self.part.start[0]}:{self.part.stop[0]}"),)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """A row of the part's cells; raises ValueError where there are not so many."""
        if self.part.inside(_row(inputs[0].size)) != self.part:
            raise ValueError(f"{inputs[0]} has no cells {self.part.start[0]} to {self.part.stop[0]}")
        return Shape(inputs[0].channels, self.part.extent)

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """From the first cell that changes to the last."""
        if inputs[0] is None:
            return None
        spans, size = list(map(Spans.separate, inputs[0].spans)), shapes[0].size
        there = (inputs[0].areas > 0).astype(np.int64)
        steps = [math.prod(size[axis + 1 :]) for axis in range(len(size))]
        first = sum(each.start * step for each, step in zip(spans, steps, strict=True))
        last = sum((each.stop - 1) * step for each, step in zip(spans, steps, strict=True))
        along = Spans(first * there, (last + 1) * there)
        others = (Spans(np.zeros_like(there), there),) * (len(size) - 1)
        return replace(inputs[0], spans=(along, *others)).within(self.part)

    def requires(self, part: Part, shapes: Sequence[Shape], shape: Shape) -> tuple[Part, ...] | None:
        """The box around these cells."""
        return (self._read(part, shapes[0].size),)

    def _read(self, part: Part, size: Size) -> Part:
        """Of a map of ``size`` the box around the cells of a part of what is given."""
        made = part.shifted(self.part.start)
        first, last = (np.unravel_index(cell, size) for cell in (made.start[0], made.stop[0] - 1))
        start, extent = [0] * len(size), list(size)
        for axis, (low, high) in enumerate(zip(first, last, strict=True)):
            start[axis], extent[axis] = int(low), int(high - low + 1)
            if low != high:  # from here on the cells run over all of the axes
                break
        return Part(tuple(start), tuple(extent))

    def cropped(self, part: Part, given: Sequence[Part], shapes: Sequence[Shape]) -> Operator:
        """The same cells, counted from the first of the given box."""
        start = int(np.ravel_multi_index(given[0].start, shapes[0].size))
        return Ravel(part.shifted(self.part.start).shifted((-start, *(0 for _ in part.start[1:]))))

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """The cells, copied unless they are all."""
        return k.maps.pad(_raveled(inputs[0]), self.part.margins(Part.whole(_row(inputs[0].shape[1:-1]))), 0.0)

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """The delta with zeros around it to whole rows of the map, in a row."""
        (d,) = update.inputs
        assert d is not None
        rest = update.shapes[0].size[1:]
        origins = d.boxes.origins.copy()
        origins[:, 1:] = 0
        rows = Boxes(origins, (d.boxes.extent[0], *rest))
        values = d.own() if d.fills(rows) else k.deltas.embed(d, rows)
        starts = np.zeros_like(origins)
        starts[:, 0] = origins[:, 0] * math.prod(rest) - self.part.start[0]
        made = Delta(Boxes(starts, _row(rows.extent)), _raveled(values))
        return made.values if made.fills(update.boxes) else k.deltas.embed(made, update.boxes)


def _row(size: Size) -> Size:
    return (math.prod(size), *(1 for _ in size[1:]))


def _raveled(x: Array) -> Array:
    """[n, H, W, C] -> [n, H W, 1, C]."""
    return x.reshape(len(x), *_row(x.shape[1:-1]), x.shape[-1])


@dataclass(frozen=True, slots=True)
class Join(Operator):
    """Maps one behind another along an ``axis``."""

    label: ClassVar[str] = "join"

    axis: int

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The sum of the lengths; raises ValueError for maps that differ along another axis, or in their channels."""
        first = inputs[0]
        if len({shape._replace(size=self._along(shape.size, 0)) for shape in inputs}) != 1:
            raise ValueError(f"cannot join maps of {', '.join(map(str, inputs))}")
        return first._replace(size=self._along(first.size, sum(shape.size[self.axis] for shape in inputs)))

    def _along(self, numbers: Size, value: int) -> Size:
        """``numbers`` with that ``value`` along the axis."""
        return (*numbers[: self.axis], value, *numbers[self.axis + 1 :])

    def _offsets(self, shapes: Sequence[Shape]) -> list[Size]:
        """Where each input begins."""
        lengths = (shape.size[self.axis] for shape in shapes[:-1])
        return [self._along((0,) * len(shapes[0].size), start) for start in accumulate(lengths, initial=0)]

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """The union of the inputs' boxes, each where it lies."""
        pairs = zip(inputs, self._offsets(shapes), strict=True)
        changed = [footprint.shifted(offset) for footprint, offset in pairs if footprint is not None]
        return changed[0].union(*changed[1:]) if changed else None

    def requires(self, part: Part, shapes: Sequence[Shape], shape: Shape) -> tuple[Part | None, ...] | None:
        """Of each input what of it lies in the part; None for those of which nothing does."""
        return tuple(
            part.shifted([-start for start in offset]).inside(each.size)
            for offset, each in zip(self._offsets(shapes), shapes, strict=True)
        )

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """The inputs joined."""
        return k.maps.join(inputs, self.axis)

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """The sum of the deltas, each where it lies: they do not overlap."""
        pairs = zip(update.inputs, self._offsets(update.shapes), strict=True)
        first, *others = (replace(d, boxes=d.boxes.shifted(offset)) for d, offset in pairs if d is not None)
        values = first.own() if first.fills(update.boxes) else k.deltas.embed(first, update.boxes)
        for other in others:  # of a position that one of them does not reach, its box may lie elsewhere
            values = k.maps.add(values, k.deltas.embed(other, update.boxes), True)
        return values

    def delta_work(
        self, kernel: Kernel, shapes: Sequence[Shape], extents: Sequence[Size | None], shape: Shape, extent: Size
    ) -> Work:
        """One pass over the union box."""
        return Work("elementwise", 0, 2 * ELEMENT * math.prod(extent) * shape.channels, len(shapes))
