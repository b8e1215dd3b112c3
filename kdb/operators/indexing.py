"""Selection of cells: crops, strides, rolled and mirrored maps, nearest neighbours on a finer grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from kdb.geometry import Footprint, IntArray, Spans
from kdb.kernels.base import Array, Backend, Parameters
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


def _shown(cells: Sequence[int]) -> str:
    """A range as such, anything else by its length."""
    if not cells:
        return "none"
    step = cells[1] - cells[0] if len(cells) > 1 else 1
    stop = cells[-1] + 1
    even = step > 0 and tuple(cells) == tuple(range(cells[0], stop, step))
    return (f"{cells[0]}:{stop}" + (f":{step}" if step > 1 else "")) if even else f"{len(cells)} chosen"
