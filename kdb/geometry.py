"""Where a change is: integer geometry of windows, spans and boxes, one axis at a time.

Nothing here touches pixels.  A *span* is a half-open interval ``[start, stop)`` of cells along one axis; a
*footprint* is, for every position of the patch, the exact box of cells that may change in one layer; *boxes* are
what a batch is executed on: one common extent, shifted into the map, an origin each.  Axes are independent and
always in the order (y, x).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


class Size(NamedTuple):
    """Cells along (y, x)."""

    height: int
    width: int

    @property
    def area(self) -> int:
        """Number of cells."""
        return self.height * self.width


class Window(NamedTuple):
    """A kernel sliding along one axis: ``kernel`` taps ``dilation`` apart, each ``stride`` cells, over padded input."""

    kernel: int
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1

    @property
    def reach(self) -> int:
        """Input cells from the first tap to the last, ``ke = (k - 1) g + 1``."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def is_identity(self) -> bool:
        """Whether each output reads the input cell of its own place and no other."""
        return self == Window(1, dilation=self.dilation)

    def output_length(self, length: int) -> int:
        """Length of the output over an input of ``length`` cells (equation 9 of the paper, rounded down)."""
        return (length + self.before + self.after - self.reach) // self.stride + 1

    def project(self, spans: Spans, length: int) -> Spans:
        """Outputs (of ``length`` in all) that read a changed input cell.

        ``a' = max(ceil((a + p - ke + 1) / s), 0)`` and ``b' = min(floor((b - 1 + p) / s) + 1, length)``.  The paper's
        equations 15 and 16 are an upper bound of this.  With dilation 1 every cell of the result reads a change.
        """
        start = np.maximum(-((self.reach - 1 - self.before - spans.start) // self.stride), 0)
        stop = np.minimum((spans.stop - 1 + self.before) // self.stride + 1, length)
        # An empty span reads nothing, wherever it lies.
        return replace(spans, start=start, stop=np.where(spans.stop > spans.start, stop, start))

    def bound(self, spans: Spans, length: int) -> Spans:
        """Outputs that equations 15, 16 and 33 of the paper give: one length for all spans of one length.

        ``W' = min(ceil((W + ke - 1) / s), length)``, shifted inward at the far edge; covers what :meth:`project` gives.
        """
        exact = self.project(spans, length)
        lengths = np.minimum(-(-(spans.lengths + self.reach - 1) // self.stride), length)
        start = np.minimum(exact.start, length - lengths)
        return replace(spans, start=start, stop=np.where(spans.lengths > 0, start + lengths, start))

    def enclose(self, spans: Spans) -> Spans:
        """Outputs that read cells of the span alone: neither a cell beside it nor padding.

        ``a' = ceil((a + p) / s)`` and ``b' = floor((b - ke + p) / s) + 1``.
        """
        start = -(-(spans.start + self.before) // self.stride)
        stop = (spans.stop - self.reach + self.before) // self.stride + 1
        return replace(spans, start=start, stop=np.maximum(stop, start))

    def read_in(self, start: IntArray, extent: int) -> tuple[IntArray, int]:
        """First input cell and number of input cells that outputs ``[start, start + extent)`` read (eq. 17, 18).

        The result may hang over either end of the input, by the padding.
        """
        return start * self.stride - self.before, (extent - 1) * self.stride + self.reach


@dataclass(frozen=True, eq=False)
class Spans:
    """Half-open intervals along one axis for n positions: ``start``, ``stop`` int64 [m]; empty where stop <= start.

    ``shared`` int64 [n] says which of them each position has, since a grid's positions have few places along an axis;
    where it is None, each has its own, in order.
    """

    start: IntArray
    stop: IntArray
    shared: IntArray | None = None

    def __len__(self) -> int:
        return len(self.start if self.shared is None else self.shared)

    @cached_property
    def lengths(self) -> IntArray:
        """int64 [m], never negative."""
        lengths: IntArray = np.maximum(self.stop - self.start, 0)
        return lengths

    def of(self, members: IntArray) -> IntArray:
        """Which spans the positions ``members`` have."""
        return members if self.shared is None else self.shared[members]

    def spread(self, values: IntArray) -> IntArray:
        """``values`` [m] of the spans, as the positions have them: [n]."""
        return values if self.shared is None else values[self.shared]

    def covering(self, length: int) -> Spans:
        """For the same positions, spans that cover an axis of ``length`` cells."""
        return replace(self, start=np.zeros_like(self.start), stop=np.full_like(self.stop, length))

    def separate(self) -> Spans:
        """One for each position."""
        return Spans(self.spread(self.start), self.spread(self.stop))

    def read_by(self, cells: IntArray) -> Spans:
        """Outputs that read a cell of the span, where output i reads the cell ``cells[i]``: the hull of them all."""
        reads = (cells >= self.start[:, None]) & (cells < self.stop[:, None])
        start, stop = reads.argmax(axis=1), len(cells) - reads[:, ::-1].argmax(axis=1)
        return replace(self, start=start, stop=np.where(reads.any(axis=1), stop, start))

    def hull(self, other: Spans) -> Spans:
        """Smallest span over both, neither of which is empty."""
        if self.shared is not other.shared:
            return self.separate().hull(other.separate())
        return Spans(np.minimum(self.start, other.start), np.maximum(self.stop, other.stop), self.shared)

    def shifted(self, by: int) -> Spans:
        """Moved by ``by`` cells."""
        return replace(self, start=self.start + by, stop=self.stop + by)

    def cropped(self, length: int, centres: npt.NDArray[np.float64]) -> Spans:
        """At most ``length`` cells of each, about its centre ([m], in cells) as far as the span goes on both sides."""
        start = np.clip(np.rint(centres - length / 2).astype(np.int64), self.start, np.maximum(self.stop - length, 0))
        longer = self.lengths > length
        return replace(
            self, start=np.where(longer, start, self.start), stop=np.where(longer, start + length, self.stop)
        )

    def uniform(self, members: IntArray, length: int) -> tuple[IntArray, int]:
        """One extent for the spans of ``members`` and an origin each, shifted into ``[0, length)``.

        The extent is the longest member's, so that each shifted span still covers its own; this is equation 33 of
        the paper with the exact lengths in place of its bound.  At least one cell, so that arrays are never empty.
        """
        which = self.of(members)
        extent = max(int(self.lengths[which].max(initial=0)), 1)
        return np.clip(self.start[which], 0, length - extent), extent


@dataclass(frozen=True, eq=False)
class Footprint:
    """For each of n positions, the box of one layer's cells that may change.

    Exact; or, where ``bounded``, carried on from layer to layer by the paper's upper bound.
    """

    y: Spans
    x: Spans
    bounded: bool = False

    def __len__(self) -> int:
        return len(self.y)

    def covering(self, size: Size) -> Footprint:
        """For the same positions, every cell of a map."""
        return replace(self, y=self.y.covering(size.height), x=self.x.covering(size.width))

    @property
    def areas(self) -> IntArray:
        """Changed cells, int64 [n]."""
        return self.y.spread(self.y.lengths) * self.x.spread(self.x.lengths)

    @cached_property
    def _everywhere(self) -> bool:
        """Whether no box is empty."""
        return all(bool((spans.stop > spans.start).all()) for spans in (self.y, self.x))

    def behind(self, y: Window, x: Window, size: Size) -> Footprint:
        """The footprint in the output, of ``size``, of these sliding windows."""
        if y.is_identity and x.is_identity:
            return self
        project = Window.bound if self.bounded else Window.project
        return Footprint(project(y, self.y, size.height), project(x, self.x, size.width), self.bounded)

    def enclosed(self, y: Window, x: Window) -> Footprint:
        """Where these sliding windows read cells of the footprint alone."""
        return Footprint(y.enclose(self.y), x.enclose(self.x), self.bounded)

    def core(self, members: IntArray, boxes: Boxes) -> Part | None:
        """The largest part of the batch's ``boxes`` that lies in the footprint of each of its ``members``, if any."""
        ends = []
        for axis, spans in enumerate((self.y, self.x)):
            origins = boxes.origins[:, axis]
            which = spans.of(members)
            start = max(int((spans.start[which] - origins).max()), 0)
            stop = min(int((spans.stop[which] - origins).min()), boxes.extent[axis])
            ends.append((start, stop - start))
        (top, height), (left, width) = ends
        return Part(top, left, Size(height, width)) if height > 0 and width > 0 else None

    def shifted(self, y: int, x: int) -> Footprint:
        """Moved by so many cells."""
        return Footprint(self.y.shifted(y), self.x.shifted(x), self.bounded)

    def union(self, *others: Footprint) -> Footprint:
        """Bounding boxes of all (equation 22 of the paper)."""
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
        """Those with others, kept: a dense block joins its first layers again and again."""
        return {}

    def _joined(self, other: Footprint) -> Footprint:
        if self._everywhere and other._everywhere:  # nothing to ignore
            return Footprint(self.y.hull(other.y), self.x.hull(other.x), self.bounded)
        mine, theirs = self.areas > 0, other.areas > 0
        axes: list[Spans] = []
        for a, b in ((self.y.separate(), other.y.separate()), (self.x.separate(), other.x.separate())):
            hull = a.hull(b)
            # A box that is empty along one axis is empty: its other axis must not widen the union.
            start = np.where(mine, np.where(theirs, hull.start, a.start), b.start)
            stop = np.where(mine, np.where(theirs, hull.stop, a.stop), b.stop)
            axes.append(Spans(start, stop))
        y, x = axes
        return Footprint(y, x, self.bounded)

    def boxes(self, members: IntArray, size: Size) -> Boxes:
        """The boxes that a batch of ``members`` (int64 indices into the n positions) is executed on."""
        y, height = self.y.uniform(members, size.height)
        x, width = self.x.uniform(members, size.width)
        return Boxes(np.stack([y, x], axis=1), Size(height, width))


class Part(NamedTuple):
    """A rectangle at one place in every box of a batch."""

    top: int
    left: int
    extent: Size

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The part of values [n, h, w, C]."""
        (height, width), top, left = self.extent, self.top, self.left
        return slice(None), slice(top, top + height), slice(left, left + width)

    def around(self, extent: Size) -> list[Part]:
        """What is left of boxes of ``extent``: up to four strips, those above and below over the full width."""
        height, below, right = self.extent.height, self.top + self.extent.height, self.left + self.extent.width
        strips = [
            Part(0, 0, Size(self.top, extent.width)),
            Part(below, 0, Size(extent.height - below, extent.width)),
            Part(self.top, 0, Size(height, self.left)),
            Part(self.top, right, Size(height, extent.width - right)),
        ]
        return [strip for strip in strips if strip.extent.area]


@dataclass(frozen=True, eq=False)
class Boxes:
    """A batch of boxes of one extent: ``origins`` int64 [n, 2] of (y, x), negative ones only for a read-in context."""

    origins: IntArray
    extent: Size

    def __len__(self) -> int:
        return len(self.origins)

    @cached_property
    def places(self) -> bytes:
        """The origins as a value, equal where they are; empty where all are (0, 0)."""
        return self.origins.tobytes() if self.origins.any() else b""

    @classmethod
    def whole(cls, n: int, size: Size) -> Boxes:
        """``n`` boxes that cover a map of ``size``."""
        return cls(np.zeros((n, 2), np.int64), size)

    def covers(self, size: Size) -> bool:
        """Whether each box is the whole map."""
        return self.extent == size

    def part(self, part: Part) -> Boxes:
        """That part of each box."""
        return Boxes(self.origins + np.array([part.top, part.left]), part.extent)

    def meeting(self, frames: Boxes) -> Part | None:
        """The part that lies in the ``frames``; None unless it is the same for all, or where it is empty."""
        starts = frames.origins - self.origins
        low, high = np.maximum(starts[0], 0), np.minimum(starts[0] + frames.extent, self.extent)
        if (starts != starts[0]).any() or (low >= high).any():
            return None
        (top, left), (height, width) = low.tolist(), (high - low).tolist()
        return Part(top, left, Size(height, width))

    def read_in(self, y: Window, x: Window) -> Boxes:
        """The read-in context of these output boxes (equations 17 and 18)."""
        top, height = y.read_in(self.origins[:, 0], self.extent.height)
        left, width = x.read_in(self.origins[:, 1], self.extent.width)
        return Boxes(np.stack([top, left], axis=1), Size(height, width))

    def margins(self, frame: Boxes) -> tuple[int, int, int, int] | None:
        """Cells (top, left, bottom, right) from each ``frame`` to the box inside it.

        None unless all agree and none is negative.
        """
        offsets = self.origins - frame.origins
        top, left = (int(v) for v in offsets[0])
        bottom = frame.extent.height - top - self.extent.height
        right = frame.extent.width - left - self.extent.width
        if min(top, left, bottom, right) < 0 or (offsets != offsets[0]).any():
            return None
        return top, left, bottom, right


def lattice(size: int, patch: int, stride: int) -> IntArray:
    """Starts ``0, s, 2s, ...`` while the patch fits wholly: ``ceil((size - patch + 1) / s)`` of them.

    The paper's equations 1 and 2 round down and lose the last one.
    """
    return np.arange(0, size - patch + 1, stride, dtype=np.int64)
