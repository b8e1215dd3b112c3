"""Which cells a change reaches: integer geometry of windows, spans and boxes, one axis at a time.

A *map* here is a layer's output, an array of one to three spatial axes and channels: [length, C], [height, width, C] or
[depth, height, width, C]; a *cell* is one location of it.  A *span* is a half-open interval ``[start, stop)`` of cells
along one axis.  A *footprint* is the box of cells that may change in one layer, for every position of the patch.
*Boxes* are what a batch is executed on: an origin for each position and one common extent, shifted so that they lie
inside the map.  Axes are independent, and always in the order of the array's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from operator import add, lt, sub
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


Size = tuple[int, ...]
"""Number of cells (or pixels) along each axis; their product is the number of cells."""
MOST_AXES = 3
"""A network has at least one."""
AXES = {1: "t", 2: "yx", 3: "zyx"}
"""The names of the axes where nobody names them, by their number: a letter each, in the order of the array."""

Margins = tuple[int, ...]
"""Cells around a map: before the first of each axis, then behind the last of each; (top, left, bottom, right)."""


def spelled(size: Size) -> str:
    """A size in words: '224 x 224'."""
    return " x ".join(map(str, size))


def cells(axes: int) -> str:
    """What the cells of an image of so many axes are called."""
    return ("samples", "pixels", "voxels")[axes - 1]


class Window(NamedTuple):
    """A kernel that slides along one axis of a padded input.

    Attributes:
        kernel: number of taps (k in the equations).
        stride: input cells between the windows of neighbouring outputs (s).
        before: padding before the first input cell (p).
        after: padding after the last input cell.
        dilation: input cells between neighbouring taps (g).
    """

    kernel: int
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1

    @property
    def reach(self) -> int:
        """Cells from the first tap to the last inclusive, ``ke = (k - 1) g + 1``."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def is_identity(self) -> bool:
        """Whether output i reads input cell i and no other, for all i."""
        return self == Window(1, dilation=self.dilation)

    def output_length(self, length: int) -> int:
        """Number of outputs for an input of ``length`` cells (equation 9 of the paper, rounded down)."""
        return (length + self.before + self.after - self.reach) // self.stride + 1

    def project(self, spans: Spans, length: int) -> Spans:
        """The outputs, out of ``length``, that read an input cell of the spans.

        ``a' = max(ceil((a + p - ke + 1) / s), 0)`` and ``b' = min(floor((b - 1 + p) / s) + 1, length)``.  The paper's
        equations 15 and 16 are an upper bound of this.  With dilation 1 every output in the result reads such a cell;
        with a larger dilation taps may skip it.
        """
        start = np.maximum(-((self.reach - 1 - self.before - spans.start) // self.stride), 0)
        stop = np.minimum((spans.stop - 1 + self.before) // self.stride + 1, length)
        # An empty span reads nothing, wherever it lies.
        return replace(spans, start=start, stop=np.where(spans.stop > spans.start, stop, start))

    def bound(self, spans: Spans, length: int) -> Spans:
        """The paper's bound of :meth:`project` (equations 15, 16 and 33): spans of equal length get equal length.

        ``W' = min(ceil((W + ke - 1) / s), length)``, shifted inward at the far edge.
        """
        exact = self.project(spans, length)
        lengths = np.minimum(-(-(spans.lengths + self.reach - 1) // self.stride), length)
        start = np.minimum(exact.start, length - lengths)
        return replace(spans, start=start, stop=np.where(spans.lengths > 0, start + lengths, start))

    def enclose(self, spans: Spans) -> Spans:
        """The outputs whose windows lie inside the spans: they read neither other cells nor padding.

        ``a' = ceil((a + p) / s)`` and ``b' = floor((b - ke + p) / s) + 1``.
        """
        start = -(-(spans.start + self.before) // self.stride)
        stop = (spans.stop - self.reach + self.before) // self.stride + 1
        return replace(spans, start=start, stop=np.maximum(stop, start))

    def read_in(self, start: IntArray, extent: int) -> tuple[IntArray, int]:
        """The first input cell and the number of input cells that outputs ``[start, start + extent)`` read.

        Equations 17 and 18 of the paper.  The result may extend beyond either end of the input, into the padding.
        """
        return start * self.stride - self.before, (extent - 1) * self.stride + self.reach


@dataclass(frozen=True, eq=False)
class Spans:
    """Half-open intervals along one axis for n positions of the patch, stored as m distinct spans.

    Attributes:
        start: int64 [m].
        stop: int64 [m]; a span is empty where stop <= start.
        shared: int64 [n], the index of each position's span: the positions of a grid share a few along each axis.
            None if m = n and every position has its own, in order.
    """

    start: IntArray
    stop: IntArray
    shared: IntArray | None = None

    def __len__(self) -> int:
        return len(self.start if self.shared is None else self.shared)

    @cached_property
    def lengths(self) -> IntArray:
        """Lengths of the spans, int64 [m], 0 where empty."""
        lengths: IntArray = np.maximum(self.stop - self.start, 0)
        return lengths

    def of(self, members: IntArray) -> IntArray:
        """Indices of the spans of the positions ``members``, int64."""
        return members if self.shared is None else self.shared[members]

    def spread(self, values: IntArray) -> IntArray:
        """``values`` [m] of the spans, repeated for the positions: [n]."""
        return values if self.shared is None else values[self.shared]

    def covering(self, length: int) -> Spans:
        """Spans that cover a whole axis of ``length`` cells, for the same positions."""
        return replace(self, start=np.zeros_like(self.start), stop=np.full_like(self.stop, length))

    def separate(self) -> Spans:
        """The same spans stored one for each position, without ``shared``."""
        return Spans(self.spread(self.start), self.spread(self.stop))

    def read_by(self, cells: IntArray) -> Spans:
        """The smallest spans over the outputs that read a cell of these, where output i reads the cell ``cells[i]``."""
        reads = (cells >= self.start[:, None]) & (cells < self.stop[:, None])
        start, stop = reads.argmax(axis=1), len(cells) - reads[:, ::-1].argmax(axis=1)
        return replace(self, start=start, stop=np.where(reads.any(axis=1), stop, start))

    def hull(self, other: Spans) -> Spans:
        """For each position the smallest span over both, neither of which may be empty."""
        if self.shared is not other.shared:
            return self.separate().hull(other.separate())
        return Spans(np.minimum(self.start, other.start), np.maximum(self.stop, other.stop), self.shared)

    def shifted(self, by: int) -> Spans:
        """The spans moved by ``by`` cells."""
        return replace(self, start=self.start + by, stop=self.stop + by)

    def scaled(self, by: int) -> Spans:
        """The spans of a map each of whose cells has become ``by`` cells."""
        return replace(self, start=self.start * by, stop=self.stop * by)

    def within(self, start: int, length: int) -> Spans:
        """What of the spans lies in ``[start, start + length)``, counted from ``start``."""
        return replace(self, start=np.clip(self.start - start, 0, length), stop=np.clip(self.stop - start, 0, length))

    def cropped(self, length: int, centres: npt.NDArray[np.float64]) -> Spans:
        """The spans cropped to at most ``length`` cells around ``centres``, float64 [m], in cells.

        Near an end of a span the result is shifted, so that it stays inside the span.
        """
        start = np.clip(np.rint(centres - length / 2).astype(np.int64), self.start, np.maximum(self.stop - length, 0))
        longer = self.lengths > length
        return replace(
            self, start=np.where(longer, start, self.start), stop=np.where(longer, start + length, self.stop)
        )

    def uniform(self, members: IntArray, length: int) -> tuple[IntArray, int]:
        """Spans of one extent that cover those of ``members`` and lie in ``[0, length)``: (origins int64, extent).

        The extent is the length of the longest member, at least 1, so that arrays are never empty.  This is equation
        33 of the paper with exact lengths in place of its bound.
        """
        which = self.of(members)
        extent = max(int(self.lengths[which].max(initial=0)), 1)
        return np.clip(self.start[which], 0, length - extent), extent


@dataclass(frozen=True, eq=False)
class Footprint:
    """For each of n positions of the patch, the box of one layer's cells that may change.

    Boxes are exact; if ``bounded``, they are projected from layer to layer by the paper's upper bound instead.
    """

    spans: tuple[Spans, ...]
    bounded: bool = False

    def __len__(self) -> int:
        return len(self.spans[0])

    def covering(self, size: Size) -> Footprint:
        """The footprint that covers a whole map of ``size`` at the same positions."""
        covering = (spans.covering(length) for spans, length in zip(self.spans, size, strict=True))
        return replace(self, spans=tuple(covering))

    @property
    def areas(self) -> IntArray:
        """Number of cells in each box, int64 [n]."""
        return reduce(np.multiply, (spans.spread(spans.lengths) for spans in self.spans))

    @cached_property
    def _none_empty(self) -> bool:
        """Whether all boxes are non-empty."""
        return all(bool((spans.stop > spans.start).all()) for spans in self.spans)

    def behind(self, windows: Sequence[Window], size: Size) -> Footprint:
        """The footprint in a layer's output of ``size``, if the layer slides ``windows``, one an axis, over this."""
        if all(window.is_identity for window in windows):
            return self
        project = Window.bound if self.bounded else Window.project
        return replace(self, spans=tuple(map(project, windows, self.spans, size)))

    def enclosed(self, windows: Sequence[Window]) -> Footprint:
        """The boxes of outputs whose ``windows``, one an axis, read cells of this footprint alone."""
        return replace(self, spans=tuple(map(Window.enclose, windows, self.spans)))

    def core(self, members: IntArray, boxes: Boxes) -> Part | None:
        """The largest part of a batch's ``boxes`` that lies in the footprint of every one of its ``members``.

        None if there is no such part.
        """
        starts, extent = [], []
        for axis, spans in enumerate(self.spans):
            origins = boxes.origins[:, axis]
            which = spans.of(members)
            start = max(int((spans.start[which] - origins).max()), 0)
            stop = min(int((spans.stop[which] - origins).min()), boxes.extent[axis])
            starts.append(start)
            extent.append(stop - start)
        return Part(tuple(starts), tuple(extent)) if min(extent) > 0 else None

    def shifted(self, by: Sequence[int]) -> Footprint:
        """The footprint moved ``by`` so many cells along each axis."""
        return replace(self, spans=tuple(map(Spans.shifted, self.spans, by)))

    def within(self, part: Part) -> Footprint:
        """What of the footprint lies in ``part`` of the map, counted from where that begins."""
        return replace(self, spans=tuple(map(Spans.within, self.spans, part.start, part.extent)))

    def union(self, *others: Footprint) -> Footprint:
        """For each position the bounding box over all footprints (equation 22 of the paper)."""
        union = self
        for other in others:
            if other is not union:
                known = union._unions
                if other not in known:
                    known[other] = union._joined(other)
                union = known[other]
        return union

    @cached_property
    def _unions(self) -> dict[Footprint, Footprint]:
        """Unions with other footprints, cached: a dense block joins its first layers again and again."""
        return {}

    def _joined(self, other: Footprint) -> Footprint:
        if self._none_empty and other._none_empty:  # no empty box that the union would have to ignore
            return replace(self, spans=tuple(map(Spans.hull, self.spans, other.spans)))
        mine, theirs = self.areas > 0, other.areas > 0
        axes: list[Spans] = []
        for a, b in zip(map(Spans.separate, self.spans), map(Spans.separate, other.spans), strict=True):
            hull = a.hull(b)
            # A box that is empty along one axis is empty: its other axes must not widen the union.
            start = np.where(mine, np.where(theirs, hull.start, a.start), b.start)
            stop = np.where(mine, np.where(theirs, hull.stop, a.stop), b.stop)
            axes.append(Spans(start, stop))
        return replace(self, spans=tuple(axes))

    def boxes(self, members: IntArray, size: Size) -> Boxes:
        """The boxes that a batch is executed on, inside a map of ``size``; ``members`` are indices of positions."""
        origins, extent = zip(
            *(spans.uniform(members, length) for spans, length in zip(self.spans, size, strict=True)), strict=True
        )
        return Boxes(np.stack(origins, axis=1), extent)


class Part(NamedTuple):
    """A box of ``extent`` at the same offset, ``start``, in every box of a batch; or in a map."""

    start: tuple[int, ...]
    extent: Size

    @classmethod
    def whole(cls, size: Size) -> Part:
        """All of a map of ``size``."""
        return cls((0,) * len(size), size)

    @classmethod
    def between(cls, start: Sequence[int], stop: Sequence[int]) -> Part:
        """From ``start`` to before ``stop``."""
        return cls(tuple(start), tuple(after - first for first, after in zip(start, stop, strict=True)))

    @property
    def stop(self) -> tuple[int, ...]:
        """The first cell behind it, along each axis."""
        return tuple(start + n for start, n in zip(self.start, self.extent, strict=True))

    def hull(self, other: Part) -> Part:
        """The smallest part that has both."""
        return Part.between(tuple(map(min, self.start, other.start)), tuple(map(max, self.stop, other.stop)))

    def shifted(self, by: Sequence[int]) -> Part:
        """The part moved ``by`` so many cells along each axis."""
        return Part(tuple(map(add, self.start, by)), self.extent)

    def of(self, other: Part) -> Part:
        """The same cells, counted from where ``other`` begins."""
        return Part(tuple(map(sub, self.start, other.start)), self.extent)

    def read_in(self, windows: Sequence[Window]) -> Part:
        """The cells that ``windows``, one an axis, read for these outputs; it may extend into the padding."""
        start = tuple(first * window.stride - window.before for first, window in zip(self.start, windows, strict=True))
        extent = tuple((n - 1) * window.stride + window.reach for n, window in zip(self.extent, windows, strict=True))
        return Part(start, extent)

    def inside(self, size: Size) -> Part | None:
        """What of it lies in a map of ``size``; None if nothing does."""
        start, stop = tuple(max(first, 0) for first in self.start), tuple(map(min, self.stop, size))
        return Part.between(start, stop) if all(map(lt, start, stop)) else None

    def margins(self, inner: Part) -> Margins:
        """Cells around ``inner``, up to the sides of this part."""
        return *map(sub, inner.start, self.start), *map(sub, self.stop, inner.stop)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Slices that select the part from values [n, ..., C], with as many spatial axes."""
        return slice(None), *(slice(start, start + n) for start, n in zip(self.start, self.extent, strict=True))

    def around(self, extent: Size) -> list[Part]:
        """The rest of a box of ``extent``: up to two slabs an axis, before the part and behind it.

        Along the axes before its own a slab is as long as the part, along those behind as the box.
        """
        slabs = []
        for axis, (start, length) in enumerate(zip(self.start, self.extent, strict=True)):
            stop, behind = start + length, len(extent) - axis - 1
            for first, count in ((0, start), (stop, extent[axis] - stop)):
                at = (*self.start[:axis], first, *(0,) * behind)
                slabs.append(Part(at, (*self.extent[:axis], count, *extent[axis + 1 :])))
        return [slab for slab in slabs if math.prod(slab.extent)]


@dataclass(frozen=True, eq=False)
class Boxes:
    """A batch of n boxes of one extent.

    ``origins`` int64 [n, axes] are their first cells; only read-in contexts have negative ones.
    """

    origins: IntArray
    extent: Size

    def __len__(self) -> int:
        return len(self.origins)

    @cached_property
    def places(self) -> bytes:
        """The origins as bytes, to be used in keys; empty if all are zero."""
        return self.origins.tobytes() if self.origins.any() else b""

    @classmethod
    def whole(cls, n: int, size: Size) -> Boxes:
        """``n`` boxes that each cover a whole map of ``size``."""
        return cls(np.zeros((n, len(size)), np.int64), size)

    def covers(self, size: Size) -> bool:
        """Whether each box covers the whole map of ``size``."""
        return self.extent == size

    def cells(self, size: Size) -> IntArray:
        """The cells of boxes inside a map of ``size``, by their numbers in it, row by row: int64 [n, *extent]."""
        strides = [math.prod(size[axis + 1 :]) for axis in range(len(size))]
        within = sum(step * index for step, index in zip(strides, np.indices(self.extent), strict=True))
        return np.asarray(np.expand_dims(self.origins @ np.array(strides), tuple(range(1, len(size) + 1))) + within)

    def shifted(self, by: Sequence[int]) -> Boxes:
        """The boxes moved ``by`` so many cells along each axis."""
        return Boxes(self.origins + np.array(by), self.extent)

    def part(self, part: Part) -> Boxes:
        """The boxes of ``part`` in each box."""
        return Boxes(self.origins + np.array(part.start), part.extent)

    def meeting(self, frames: Boxes) -> Part | None:
        """The part of each box that lies in its frame; None if it differs between boxes or is empty."""
        starts = frames.origins - self.origins
        low, high = np.maximum(starts[0], 0), np.minimum(starts[0] + frames.extent, self.extent)
        if (starts != starts[0]).any() or (low >= high).any():
            return None
        return Part(tuple(low.tolist()), tuple((high - low).tolist()))

    def read_in(self, windows: Sequence[Window]) -> Boxes:
        """The boxes of input cells that ``windows``, one an axis, read for these outputs (equations 17 and 18)."""
        read = map(Window.read_in, windows, self.origins.T, self.extent)
        origins, extent = zip(*read, strict=True)
        return Boxes(np.stack(origins, axis=1), extent)

    def margins(self, frame: Boxes) -> Margins | None:
        """Distances, in cells, between each frame and the box inside it.

        None if they differ between boxes or a box is not inside its frame.
        """
        offsets = self.origins - frame.origins
        before = offsets[0].tolist()
        after = [whole - start - length for whole, start, length in zip(frame.extent, before, self.extent, strict=True)]
        if min(*before, *after) < 0 or (offsets != offsets[0]).any():
            return None
        return *before, *after


class Segments:
    """The segments of a map, each of any shape: superpixels, organs, waves.

    ``labels`` int64 [*size] says which segment a cell is of; 0 is none.  ``ids`` int64 [n] are the labels above 0 that
    there are, in ascending order, ``places`` int64 [n, axes] a cell of each, by which it is known, and ``starts`` and
    ``stops`` int64 [n, axes] the boxes around them.
    """

    def __init__(self, labels: IntArray) -> None:
        self.labels = labels
        cells = np.argwhere(labels > 0)
        found = labels[tuple(cells.T)]
        order = np.argsort(found, kind="stable")
        cells, found = cells[order], found[order]
        self.ids, first = np.unique(found, return_index=True)
        self.places = cells[first]
        self.starts = np.minimum.reduceat(cells, first, axis=0) if len(first) else cells
        self.stops = 1 + (np.maximum.reduceat(cells, first, axis=0) if len(first) else cells)

    def of(self, places: IntArray) -> IntArray:
        """The labels [n] at ``places`` [n, axes]."""
        labels: IntArray = self.labels[tuple(places.T)]
        return labels

    def footprint(self, places: IntArray) -> Footprint:
        """The boxes around the segments that are known by these places."""
        which = np.searchsorted(self.ids, self.of(places))
        return Footprint(tuple(map(Spans, self.starts[which].T, self.stops[which].T)))


Laid = Size | Segments
"""What is laid over an image: a patch of that extent at each position, or at each place the segment that has it."""


def lattice(size: int, patch: int, stride: int) -> IntArray:
    """The grid of positions along one axis, in pixels: ``0, s, 2s, ...`` while the patch lies inside the image.

    These are ``ceil((size - patch + 1) / s)``, int64; the paper's equations 1 and 2 round down and lose the last one.
    """
    return np.arange(0, size - patch + 1, stride, dtype=np.int64)


_AS_IN_THE_FILE = ((0, False), (1, False), (2, False))


@dataclass(frozen=True, eq=False)
class Space:
    """Where the cells of an array of three axes lie in the world, as files of volumes say it.

    Attributes:
        affine: float64 [4, 4]; takes the indices (i, j, k, 1) of a cell to millimetres (x, y, z, 1) of its centre, in
            RAS+ as NIfTI has them: x to the patient's right, y to the front, z to the head.
        turns: for each axis of the array, the axis of the file that it is, and whether it runs the other way.
    """

    affine: npt.NDArray[np.float64]
    turns: tuple[tuple[int, bool], ...] = _AS_IN_THE_FILE

    def after(self, scale: Sequence[float], offset: Sequence[float]) -> Space:
        """The space of a grid whose cell i lies at ``scale * i + offset`` of this one's cells, axis by axis."""
        step = np.diag([*scale, 1.0])
        step[:3, 3] = offset
        return replace(self, affine=self.affine @ step)
