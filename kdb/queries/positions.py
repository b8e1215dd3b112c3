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
from kdb.geometry import IntArray, Segments, Size, cells, lattice, spelled
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.queries.clauses import by_axis
from kdb.sampling import drill_down
from kdb.system.memory import require

NEAR = 1e-9
"""Of the size of a source image: how far over the edge of a box a patch may be."""


@dataclass(frozen=True, eq=False)
class Selection:
    """The positions of a query: the set G of the paper.

    ``grid`` int64 [*cells, axes] holds the first cell of every patch of the whole lattice; with AT, [n, axes] holds the
    given positions.
    ``cells`` int64 [n] are the flat indices of the positions in the grid that the query evaluates.  ``notes`` say what
    was taken otherwise than it is written.  Of ``segments`` the grid [n, axes] has the places by which they are known.
    """

    grid: IntArray
    cells: IntArray
    notes: tuple[str, ...] = ()
    segments: Segments | None = None

    @property
    def positions(self) -> IntArray:
        """Those to evaluate, int64 [n, axes]."""
        return self.grid.reshape(-1, self.grid.shape[-1])[self.cells]

    @property
    def filled(self) -> Size | None:
        """Of a lattice, the number of positions along each axis, if those to evaluate are all of a box; else None.

        So they are without a region, and within a box.
        """
        places = np.unravel_index(self.cells, self.grid.shape[:-1])
        sides = tuple(int(np.ptp(along)) + 1 for along in places)
        return sides if math.prod(sides) == len(self.cells) else None


@dataclass(frozen=True)
class Place:
    """Where in a source image of ``size`` cells its grid lies: ``start`` and ``extent`` along each axis, in cells."""

    start: tuple[float, ...]
    extent: tuple[float, ...]
    size: Size


def select(query: syntax.Occlude, size: Size, arguments: Arguments, place: Place | None = None) -> Selection:
    """The positions that the query, canonical for it, evaluates on an input of ``size`` cells.

    A region in the source image needs the ``place`` of the grid there; without one all positions are selected.

    Raises BindError for a patch larger than the input, positions outside it, a mask of another size, an empty region;
    ExecutionError where there is no memory for so many positions.
    """
    if isinstance(query.patch, syntax.Segments):
        return _segments(query.patch, query.region, size, arguments, place)
    patch = query.patch.extent
    if any(map(gt, patch, size)):
        raise BindError(f"a patch of {spelled(patch)} is larger than the input of {spelled(size)} {cells(len(size))}")
    if isinstance(query.region, syntax.At):
        positions = _points(arguments.array(query.region.parameter), patch, size)
        return Selection(positions, np.arange(len(positions)))
    stride = by_axis("STRIDE", query.stride or syntax.DEFAULT_STRIDE, size)
    # A stride beyond the grid takes one step; cut, so that any whole number fits an int64.
    steps = tuple(map(min, stride, size))
    count = math.prod((n - length) // step + 1 for n, length, step in zip(size, patch, steps, strict=True))
    require(POSITION_BYTES * count, f"a map of {count:,} positions")  # before there is an array of them
    grid = np.stack(np.meshgrid(*map(lattice, size, patch, steps), indexing="ij"), axis=-1)
    notes = _beyond(query, stride, size)
    if query.region is None and query.drill_down is not None:
        drill_down.check(query.drill_down, stride, size)
    if query.region is None or (query.region.in_source and place is None):
        pending = () if query.region is None else (f"{query.region} is of each image; planned for all positions",)
        return Selection(grid, np.arange(count), (*notes, *pending))
    if not query.region.in_source:
        place = Place((0.0,) * len(size), tuple(map(float, size)), size)
    assert place is not None
    inside = _inside(query.region, patch, grid.reshape(count, -1), size, place, arguments)
    if not inside.any():
        if isinstance(query.region, syntax.Box):
            where = f"wholly in the box {_of_axes(query.region.start + query.region.extent)} of {{WITHIN}}"
        else:
            where = f"with its centre {cells(len(size))[:-1]} in the mask of {{WITHIN}}"
        raise ClauseError(f"no position of the {spelled(patch)} patch at {{STRIDE}} {_of_axes(steps)} lies {where}")
    return Selection(grid, np.flatnonzero(inside), notes)


def _segments(
    asked: syntax.Segments, region: syntax.Region | None, size: Size, arguments: Arguments, place: Place | None
) -> Selection:
    """The segments, those of them that lie wholly in the region; of the source image without a place, as its grid."""
    labels = arguments.array(asked.parameter)
    own = place.size if asked.in_source and place is not None else size
    fits = labels.shape == tuple(own) or (asked.in_source and place is None and labels.ndim == len(size))
    if labels.dtype.kind not in "iu" or not fits or (labels.astype(np.int64) < 0).any():
        raise ClauseError(
            "{segments} takes an int array {size}, the {of}, of labels from 0; got {given}",
            size=list(own),
            of="source image's size" if asked.in_source else "model's input",
            given=f"{labels.dtype} {list(labels.shape)}"
            + (f" from {labels.min()}" if fits and labels.size and labels.dtype.kind in "iuf" else ""),
        )
    labels = labels.astype(np.int64)
    if asked.in_source:
        where = place or Place((0.0,) * len(size), tuple(map(float, labels.shape)), labels.shape)
        labels = _on_grid(labels, where, size)
    segments = Segments(labels)
    if not len(segments.ids):
        raise ClauseError("{segments} has no label above 0 on the model's input")
    notes: tuple[str, ...] = ()
    inside = np.ones(len(segments.ids), bool)
    of_source = region is not None and not isinstance(region, syntax.At) and region.in_source
    if of_source and place is None:
        notes = (f"{region} is of each image; planned for all segments",)
    elif isinstance(region, syntax.Box | syntax.Mask):
        within = place if of_source else Place((0.0,) * len(size), tuple(map(float, size)), size)
        assert within is not None
        cells = np.argwhere(labels > 0)
        there = _inside(region, (1,) * len(size), cells, size, within, arguments)
        outside = np.unique(labels[tuple(cells[~there].T)])
        inside = ~np.isin(segments.ids, outside)
        if not inside.any():
            raise ClauseError("no segment lies wholly in the region of {WITHIN}")
    return Selection(segments.places, np.flatnonzero(inside), notes, segments)


def _on_grid(labels: IntArray, place: Place, size: Size) -> IntArray:
    """The labels [*size] of the cells of the grid: those of the source's cells in which their centres lie; else 0."""
    grid = labels
    for axis, (start, extent, length, count) in enumerate(
        zip(place.start, place.extent, place.size, size, strict=True)
    ):
        cells = np.floor((np.arange(count) + 0.5) * (extent / count) + start).astype(np.int64)
        grid = np.take(grid, np.clip(cells, 0, length - 1), axis=axis)
        outside = (cells < 0) | (cells >= length)
        grid = np.where(outside.reshape(-1, *(1,) * (len(size) - axis - 1)), 0, grid)
    return grid


def _inside(
    region: syntax.Box | syntax.Mask, patch: Size, corners: IntArray, size: Size, place: Place, arguments: Arguments
) -> npt.NDArray[np.bool_]:
    """bool [n]: whether each patch, at ``corners`` [n, axes] of the grid, is in the region, which is of ``place``."""
    scale = np.divide(place.extent, size)
    if isinstance(region, syntax.Box):
        low, high = (np.array(tuple(map(min, corner, place.size))) for corner in (region.start, region.stop))
        starts = corners * scale + place.start
        near = NEAR * np.maximum(place.size, 1)  # rounding may not decide where the two touch
        return np.asarray(((starts >= low - near) & (starts + patch * scale <= high + near)).all(axis=1))
    mask = _mask(arguments.array(region.parameter), place.size, region.in_source)
    centres = np.floor((corners + np.array(patch) // 2 + 0.5) * scale + place.start)
    there = ((centres >= 0) & (centres < place.size)).all(axis=1)
    inside = np.zeros(len(corners), bool)
    inside[there] = mask[tuple(centres[there].astype(np.int64).T)]
    return inside


def _beyond(query: syntax.Occlude, stride: Size, size: Size) -> tuple[str, ...]:
    """Notes on a stride and on a box that leave an input of ``size``."""
    notes = []
    extent = f"the input of {spelled(size)}"
    if any(map(gt, stride, size)):
        written = syntax.stride_text(query.stride or syntax.DEFAULT_STRIDE)
        notes.append(f"{written} leaves {extent}: there is one position on that axis")
    region = query.region
    if isinstance(region, syntax.Box) and not region.in_source and any(map(gt, region.stop, size)):
        notes.append(f"{region} leaves {extent}, and is cut off there")
    return tuple(notes)


def _points(points: npt.NDArray[Any], patch: Size, size: Size) -> IntArray:
    axes = len(size)
    if points.ndim != 2 or points.shape[1] != axes or points.dtype.kind not in "iu" or not len(points):
        raise ClauseError(
            "{AT} takes an int array [n, {axes}]{of}, n at least 1; got {given}",
            axes=axes,
            of=" of (y, x)" if axes == 2 else "",
            given=f"{points.dtype} {list(points.shape)}",
        )
    points = points.astype(np.int64)
    outside = ((points < 0) | (points + patch > size)).any(axis=1)
    if outside.any():
        where = _of_axes(tuple(points[outside][0].tolist()))
        raise BindError(f"a patch of {spelled(patch)} at {where} leaves the input of {spelled(size)}")
    return points


def _mask(mask: npt.NDArray[Any], size: Size, in_source: bool) -> npt.NDArray[np.bool_]:
    if mask.dtype != np.bool_ or mask.shape != tuple(size):
        raise ClauseError(
            "the mask of {WITHIN} is a bool array {size}, the {of}; got {given}",
            size=list(size),
            of="source image's size" if in_source else "model's input",
            given=f"{mask.dtype} {list(mask.shape)}",
        )
    return mask


def _of_axes(numbers: Size) -> str:
    return f"({', '.join(map(str, numbers))})" if len(numbers) > 1 else str(numbers[0])
