"""The positions that a query evaluates: the lattice of its stride, a part of that, or those of AT."""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import gt
from typing import Any

import numpy as np
import numpy.typing as npt

from kdb.errors import BindError, ClauseError
from kdb.execution.engine import POSITION_BYTES
from kdb.geometry import IntArray, Size, lattice, spelled
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.sampling import drill_down
from kdb.system.memory import require


@dataclass(frozen=True, eq=False)
class Selection:
    """The positions of a query: the set G of the paper.

    ``grid`` int64 [rows, cols, 2] holds the (y, x) of the whole lattice; with AT, [n, 2] holds the given positions.
    ``cells`` int64 [n] are the flat indices of the positions in the grid that the query evaluates.  ``notes`` say what
    was taken otherwise than it is written.
    """

    grid: IntArray
    cells: IntArray
    notes: tuple[str, ...] = ()

    @property
    def positions(self) -> IntArray:
        """The (y, x) to evaluate, int64 [n, 2]."""
        return self.grid.reshape(-1, self.grid.shape[-1])[self.cells]


def select(query: syntax.Occlude, size: Size, arguments: Arguments) -> Selection:
    """The positions that the query evaluates on an input of ``size`` pixels.

    Raises BindError for a patch larger than the input, positions outside it, a mask of another size, an empty region;
    ExecutionError where there is no memory for so many positions.
    """
    patch = query.patch.height, query.patch.width
    if any(map(gt, patch, size)):
        raise BindError(f"a patch of {spelled(patch)} is larger than the input of {spelled(size)} pixels")
    if isinstance(query.region, syntax.At):
        positions = _points(arguments.array(query.region.parameter), patch, size)
        return Selection(positions, np.arange(len(positions)))
    stride = query.stride or syntax.DEFAULT_STRIDE
    notes = _beyond(query, stride, size)
    # A stride beyond the grid takes one step; cut, so that any whole number fits an int64.
    steps = tuple(map(min, stride, size))
    count = math.prod((n - length) // step + 1 for n, length, step in zip(size, patch, steps, strict=True))
    require(POSITION_BYTES * count, f"a map of {count:,} positions")  # before there is an array of them
    grid = np.stack(np.meshgrid(*map(lattice, size, patch, steps), indexing="ij"), axis=-1)
    corners = grid.reshape(count, -1)
    if isinstance(query.region, syntax.Box):
        box = query.region
        low = np.array(tuple(map(min, (box.y, box.x), size)))
        high = np.array(tuple(map(min, (box.y + box.height, box.x + box.width), size)))
        inside = ((corners >= low) & (corners + patch <= high)).all(axis=1)
        where = f"wholly in the box ({box.y}, {box.x}, {box.height}, {box.width}) of {{WITHIN}}"
    elif isinstance(query.region, syntax.Mask):
        mask = _mask(arguments.array(query.region.parameter), size)
        centres = corners + np.array(patch) // 2
        inside = mask[tuple(centres.T)]
        where = "with its centre pixel in the mask of {WITHIN}"
    else:
        if query.drill_down is not None:
            drill_down.check(query.drill_down, stride, size)
        return Selection(grid, np.arange(len(corners)), notes)
    if not inside.any():
        raise ClauseError(f"no position of the {spelled(patch)} patch at {{STRIDE}} {steps} lies {where}")
    return Selection(grid, np.flatnonzero(inside), notes)


def _beyond(query: syntax.Occlude, stride: tuple[int, int], size: Size) -> tuple[str, ...]:
    """Notes on a stride and on a box that leave an input of ``size``."""
    notes = []
    extent = f"the input of {spelled(size)}"
    if any(map(gt, stride, size)):
        notes.append(f"{syntax.stride_text(stride)} leaves {extent}: there is one position on that axis")
    box = query.region
    if isinstance(box, syntax.Box) and any(map(gt, (box.y + box.height, box.x + box.width), size)):
        notes.append(f"{box} leaves {extent}, and is cut off there")
    return tuple(notes)


def _points(points: npt.NDArray[Any], patch: Size, size: Size) -> IntArray:
    if points.ndim != 2 or points.shape[1] != 2 or points.dtype.kind not in "iu" or not len(points):
        raise ClauseError(
            "{AT} takes an int array [n, 2] of (y, x), n at least 1; got {given}",
            given=f"{points.dtype} {list(points.shape)}",
        )
    points = points.astype(np.int64)
    outside = ((points < 0) | (points + patch > size)).any(axis=1)
    if outside.any():
        y, x = points[outside][0]
        raise BindError(f"a patch of {spelled(patch)} at ({y}, {x}) leaves the input of {spelled(size)}")
    return points


def _mask(mask: npt.NDArray[Any], size: Size) -> npt.NDArray[np.bool_]:
    if mask.dtype != np.bool_ or mask.shape != tuple(size):
        raise ClauseError(
            "the mask of {WITHIN} is a bool array [{size[0]}, {size[1]}], the model's input; got {given}",
            size=size,
            given=f"{mask.dtype} {list(mask.shape)}",
        )
    return mask
