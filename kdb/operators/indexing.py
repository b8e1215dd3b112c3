"""Selection of cells: crops, strides, rolled and mirrored maps, nearest neighbours on a finer grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kdb.geometry import Footprint, IntArray
from kdb.kernels.base import Array, Backend, Parameters
from kdb.kernels.kernel import Kernel
from kdb.operators.base import Operator, Shape, Update


@dataclass(frozen=True, slots=True)
class SelectCells(Operator):
    """``x[rows][:, columns]``: output (i, j) is the input at (rows[i], columns[j]), which several outputs may share."""

    label: ClassVar[str] = "select_cells"

    rows: tuple[int, ...]
    columns: tuple[int, ...]

    def params(self) -> tuple[tuple[str, str], ...]:
        """A range as such."""
        return tuple((name, _shown(cells)) for name, cells in (("rows", self.rows), ("columns", self.columns)))

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Channels stay."""
        for cells, length in zip((self.rows, self.columns), inputs[0].size, strict=True):
            if not cells or min(cells) < 0 or max(cells) >= length:
                raise ValueError(f"cannot select {_shown(cells)} of {length} cells")
        return Shape(inputs[0].channels, len(self.rows), len(self.columns))

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """The hull of the outputs that read a change: of a mirrored map, from its place to that of its image."""
        if inputs[0] is None:
            return None
        y, x = inputs[0].y.read_by(np.array(self.rows)), inputs[0].x.read_by(np.array(self.columns))
        return Footprint(y, x, inputs[0].bounded)

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """``x[rows][:, columns]``."""
        n = len(inputs[0])
        rows, columns = (np.broadcast_to(np.array(cells), (n, len(cells))) for cells in (self.rows, self.columns))
        return k.maps.take_cells(inputs[0], rows, columns)

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """The selection from the delta with zeros around it, since selection is linear."""
        (d,) = update.inputs
        assert d is not None

        def read(axis: int, cells: tuple[int, ...]) -> IntArray:
            """The cells of the delta that the box reads."""
            outputs = update.boxes.origins[:, axis, None] + np.arange(update.boxes.extent[axis])
            within: IntArray = np.array(cells)[outputs] - d.boxes.origins[:, axis, None]
            return within

        return k.maps.take_cells(d.values, read(0, self.rows), read(1, self.columns))


def _shown(cells: Sequence[int]) -> str:
    """A range as such, anything else by its length."""
    if not cells:
        return "none"
    step = cells[1] - cells[0] if len(cells) > 1 else 1
    stop = cells[-1] + 1
    even = step > 0 and tuple(cells) == tuple(range(cells[0], stop, step))
    return (f"{cells[0]}:{stop}" + (f":{step}" if step > 1 else "")) if even else f"{len(cells)} chosen"
