"""Selection of cells: crops, strides, rolled and mirrored maps, nearest neighbours; and channels that become cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import floordiv, mul
from typing import ClassVar

import numpy as np

from kdb.geometry import Boxes, Footprint, IntArray, Part, Size, Spans, spelled
from kdb.kernels.base import Array, Backend, Delta, Parameters
from kdb.kernels.kernel import Kernel
from kdb.operators.base import Operator, Shape, Update

NAMES = {2: ("rows", "columns")}
"""Of the indices along each axis, by the number of axes."""


@dataclass(frozen=True, slots=True)
class SelectCells(Operator):
    """``x[rows][:, columns]``: output (i, j) is the input at (rows[i], columns[j]), which several outputs may share.

    So in two axes; ``cells`` are the indices along each.
    """

    label: ClassVar[str] = "select_cells"

    cells: tuple[tuple[int, ...], ...]

    def params(self) -> tuple[tuple[str, str], ...]:
        """By axis; a range as such."""
        names = NAMES.get(len(self.cells)) or tuple(f"axis {number}" for number in range(len(self.cells)))
        return tuple(zip(names, map(_shown, self.cells), strict=True))

    @property
    def signature(self) -> str:
        """In two axes as the first version wrote it."""
        if len(self.cells) != 2:
            return super(SelectCells, self).signature
        return "SelectCells(rows={}, columns={})".format(*self.cells)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Channels stay."""
        for cells, length in zip(self.cells, inputs[0].size, strict=True):
            if not cells or min(cells) < 0 or max(cells) >= length:
                raise ValueError(f"cannot select {_shown(cells)} of {length} cells")
        return Shape(inputs[0].channels, tuple(map(len, self.cells)))

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """The hull of the outputs that read a change: of a mirrored map, from its place to that of its image."""
        if inputs[0] is None:
            return None
        read = map(Spans.read_by, inputs[0].spans, map(np.array, self.cells))
        return replace(inputs[0], spans=tuple(read))

    def requires(self, part: Part, shapes: Sequence[Shape], shape: Shape) -> tuple[Part, ...] | None:
        """The hull of the cells that are selected."""
        read = self._read(part)
        return (Part.between(tuple(map(min, read)), tuple(max(cells) + 1 for cells in read)),)

    def cropped(self, part: Part, given: Sequence[Part], shapes: Sequence[Shape]) -> Operator:
        """These of the cells, counted from where the given part begins."""
        pairs = zip(self._read(part), given[0].start, strict=True)
        return SelectCells(tuple(tuple(cell - start for cell in cells) for cells, start in pairs))

    def _read(self, part: Part) -> list[tuple[int, ...]]:
        return [cells[start:stop] for cells, start, stop in zip(self.cells, part.start, part.stop, strict=True)]

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """``x[rows][:, columns]``."""
        n = len(inputs[0])
        return k.maps.take_cells(inputs[0], [np.broadcast_to(np.array(cells), (n, len(cells))) for cells in self.cells])

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """The selection from the delta with zeros around it, since selection is linear."""
        (d,) = update.inputs
        assert d is not None

        def read(axis: int) -> IntArray:
            """The cells of the delta that the box reads."""
            outputs = update.boxes.origins[:, axis, None] + np.arange(update.boxes.extent[axis])
            within: IntArray = np.array(self.cells[axis])[outputs] - d.boxes.origins[:, axis, None]
            return within

        return k.maps.take_cells(d.values, [read(axis) for axis in range(len(self.cells))])


@dataclass(frozen=True, slots=True)
class Crop(Operator):
    """The ``part`` of a map that is read."""

    label: ClassVar[str] = "crop"
    aliases: ClassVar[bool] = True

    part: Part

    def params(self) -> tuple[tuple[str, str], ...]:
        """By axis, as ranges."""
        return (("cells", ", ".join(f"{a}:{b}" for a, b in zip(self.part.start, self.part.stop, strict=True))),)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Channels stay; raises ValueError where the part is not inside the map."""
        if self.part.inside(inputs[0].size) != self.part:
            raise ValueError(f"cannot crop a map of {spelled(inputs[0].size)} cells to {self.part}")
        return Shape(inputs[0].channels, self.part.extent)

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """What of the input's boxes lies in the part; empty where nothing does."""
        return None if inputs[0] is None else inputs[0].within(self.part)

    def enclosed(self, inputs: Sequence[Footprint | None]) -> Footprint | None:
        """As it lies in the part."""
        return None if inputs[0] is None else inputs[0].within(self.part)

    def constant(self, k: Backend, parameters: Parameters, value: Array) -> Array:
        """``value`` itself."""
        return value

    def requires(self, part: Part, shapes: Sequence[Shape], shape: Shape) -> tuple[Part, ...] | None:
        """The part of the part."""
        return (part.shifted(self.part.start),)

    def cropped(self, part: Part, given: Sequence[Part], shapes: Sequence[Shape]) -> Operator:
        """All of what is given."""
        return Crop(Part.whole(part.extent))

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """The part, copied unless it is all."""
        return k.maps.pad(inputs[0], self.part.margins(Part.whole(tuple(inputs[0].shape[1:-1]))), 0.0)

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """The delta, elsewhere; what lies outside the part is dropped."""
        (d,) = update.inputs
        assert d is not None
        shifted = Delta(d.boxes.shifted([-first for first in self.part.start]), d.values)
        return d.own() if shifted.fills(update.boxes) else k.deltas.embed(shifted, update.boxes)


@dataclass(frozen=True, slots=True)
class Interleave(Operator):
    """Each cell becomes ``factors`` cells (depth to space): channel ``(i, c)`` of a cell is channel c of its i-th.

    Of the map that this makes, the ``part`` is given.
    """

    label: ClassVar[str] = "interleave"

    factors: Size
    part: Part

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """A fraction of the channels; raises ValueError where that is none, or the part is not inside the map."""
        channels, rest = divmod(inputs[0].channels, math.prod(self.factors))
        if rest or self.part.inside(self._whole(inputs[0].size)) != self.part:
            raise ValueError(f"cannot make {spelled(self.factors)} cells of each cell of {inputs[0]}")
        return Shape(channels, self.part.extent)

    def _whole(self, size: Size) -> Size:
        return tuple(map(mul, size, self.factors))

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """All cells that a changed cell becomes."""
        if inputs[0] is None:
            return None
        finer = replace(inputs[0], spans=tuple(map(Spans.scaled, inputs[0].spans, self.factors)))
        return finer.within(self.part)

    def requires(self, part: Part, shapes: Sequence[Shape], shape: Shape) -> tuple[Part, ...] | None:
        """The cells that these come from."""
        made = part.shifted(self.part.start)
        start = tuple(map(floordiv, made.start, self.factors))
        return (
            Part.between(
                start, tuple(-(-stop // factor) for stop, factor in zip(made.stop, self.factors, strict=True))
            ),
        )

    def cropped(self, part: Part, given: Sequence[Part], shapes: Sequence[Shape]) -> Operator:
        """The part of what the given cells become."""
        made = part.shifted(self.part.start)
        return Interleave(self.factors, made.of(Part(self._whole(given[0].start), part.extent)))

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """The finer map, and the part of it."""
        finer = k.maps.interleave(inputs[0], self.factors)
        around = self.part.margins(Part.whole(tuple(finer.shape[1:-1])))
        return k.maps.pad(finer, around, 0.0) if any(around) else finer

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """The same of the delta, since it only moves values."""
        (d,) = update.inputs
        assert d is not None
        origins = d.boxes.origins * np.array(self.factors) - np.array(self.part.start)
        finer = Delta(Boxes(origins, self._whole(d.boxes.extent)), k.maps.interleave(d.values, self.factors))
        return finer.values if finer.fills(update.boxes) else k.deltas.embed(finer, update.boxes)


def _shown(cells: Sequence[int]) -> str:
    """A range as such, anything else by its length."""
    if not cells:
        return "none"
    step = cells[1] - cells[0] if len(cells) > 1 else 1
    stop = cells[-1] + 1
    even = step > 0 and tuple(cells) == tuple(range(cells[0], stop, step))
    return (f"{cells[0]}:{stop}" + (f":{step}" if step > 1 else "")) if even else f"{len(cells)} chosen"
