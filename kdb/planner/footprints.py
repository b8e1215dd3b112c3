"""Where each layer changes: footprints of a set of positions, and the boxes of their batches; integers alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce

import numpy as np

from kdb.geometry import Boxes, Footprint, IntArray, Laid, Part, Segments, Size, Spans
from kdb.operators.network import Network, Node
from kdb.operators.sources import Source

AT_ONCE = 1 << 18
"""Lengths of spans that are compared in one array: all of a small query, without gigabytes for a large one."""


class Geometry:
    """The footprint of every layer for a set of positions: computed once a plan, without pixels."""

    def __init__(
        self,
        network: Network,
        positions: IntArray,
        patch: Laid,
        bounded: bool = False,
        threshold: float = 1.0,
        frozen: frozenset[str] = frozenset(),
    ) -> None:
        self.network, self.positions, self.patch = network, positions, patch
        self.bounded, self.threshold, self.frozen = bounded, threshold, frozen
        self._batched: Batched | None = None
        self.footprints: dict[str, Footprint | None] = {}
        for node in network:
            if isinstance(node.operator, Source):
                self.footprints[node.name] = _updates(positions, patch, node.shape.size, bounded)
            elif node.name in frozen:
                self.footprints[node.name] = None
            else:
                inputs = [self.footprints[source] for source in node.inputs]
                footprint = node.operator.project(inputs, network.input_shapes(node), node.shape)
                if footprint is not None and node.operator.windowed and threshold < 1:
                    footprint = self._thresholded(footprint, node.shape.size)
                self.footprints[node.name] = footprint

    def _thresholded(self, footprint: Footprint, size: Size) -> Footprint:
        """At most the share ``threshold`` of each axis, at least a cell, about the patch's own centre (eq. 24, 25)."""
        source = self.footprints[self.network.source.name]
        assert source is not None, "the source changes at every position"
        image, axes = self.network.source.shape.size, []
        for spans, own, length, whole in zip(footprint.spans, source.spans, size, image, strict=True):
            centres = (own.start + own.stop) / 2 * (length / whole)
            if spans.shared is not own.shared:  # unions have a span for each position
                centres = centres if own.shared is None else centres[own.shared]
            axes.append(spans.cropped(max(round(self.threshold * length), 1), centres))
        return replace(footprint, spans=tuple(axes))

    def boxes(self, node: Node, members: IntArray) -> Boxes | None:
        """Uniform boxes of a batch in one layer; None where nothing changes."""
        footprint = self.footprints[node.name]
        return None if footprint is None else footprint.boxes(members, node.shape.size)

    @cached_property
    def enclosed(self) -> dict[str, Footprint]:
        """For each layer of which it is known: the cells that read the patch alone, at every position."""
        source = self.network.source.name
        patch = self.footprints[source]
        assert patch is not None, "the source changes at every position"
        inside = {source: patch}
        for node in self.network.nodes[1:]:
            cells = node.operator.enclosed([inside.get(name) for name in node.inputs])
            if cells is not None:
                inside[node.name] = cells
        return inside

    def core(self, node: Node, members: IntArray, boxes: Boxes) -> Part | None:
        """The part of a batch's ``boxes`` that reads the patch alone, whichever of its ``members`` it belongs to."""
        inside = self.enclosed.get(node.name)
        return None if inside is None else inside.core(members, boxes)

    def batched(self, batches: tuple[IntArray, ...]) -> Batched:
        """What ``batches`` make of it; kept until others are asked about."""
        if self._batched is None or self._batched.batches is not batches:
            self._batched = Batched(self, batches)
        return self._batched


class Batched:
    """How large the boxes of each batch are, in every layer."""

    def __init__(self, geometry: Geometry, batches: tuple[IntArray, ...]) -> None:
        self.batches = batches
        self.means: dict[str, Size | None] = {}
        """The extent of a batch's boxes, averaged over the batches and rounded."""
        self.cells: dict[str, int] = {}
        """Cells of the boxes of all positions."""
        self._geometry = geometry
        self._cores: dict[str, tuple[Core, ...]] = {}
        self._lengths: dict[str, list[IntArray]] = {}  # layers with one footprint share a list
        self._extents: dict[int, Counter[Size]] = {}
        self._counts = np.array([len(batch) for batch in batches])
        # Many layers share a footprint (activations, 1x1 kernels), and many footprints their spans along an axis.
        changing = {name: each for name, each in geometry.footprints.items() if each is not None}
        longest = self._longest({id(spans): spans for each in changing.values() for spans in each.spans})
        distinct = {id(each): [longest[id(spans)] for spans in each.spans] for each in changing.values()}
        known: dict[tuple[int, Size], tuple[Size, int]] = {}
        for node in geometry.network:
            footprint = changing.get(node.name)
            if footprint is None:
                self.means[node.name], self.cells[node.name] = None, 0
                continue
            lengths = self._lengths[node.name] = distinct[id(footprint)]
            key = (id(footprint), node.shape.size)
            if key not in known:
                cells = reduce(np.multiply, lengths)
                means = [int(each.sum()) / len(batches) for each in (cells, *lengths)]
                known[key] = _extent(means[0], means[1:], node.shape.size), int(cells @ self._counts)
            self.means[node.name], self.cells[node.name] = known[key]

    def _longest(self, spans: Mapping[int, Spans]) -> dict[int, IntArray]:
        """The length of the longest of the spans in each batch, at least 1, by their own keys."""
        found: dict[int, IntArray] = {}
        batch, members = np.repeat(np.arange(len(self.batches)), self._counts), np.concatenate(self.batches)
        # As a rule all spans are shared in the same way.
        alike: dict[int, list[int]] = {}
        for key, each in spans.items():
            alike.setdefault(id(each.shared), []).append(key)
        for keys in alike.values():
            which, width = spans[keys[0]].of(members), len(spans[keys[0]].start)
            # Each span once a batch, however many of its positions have it.
            batch_of, distinct = np.divmod(np.unique(batch * width + which), width)
            starts = np.searchsorted(batch_of, np.arange(len(self.batches)))
            at_once = max(AT_ONCE // len(distinct), 1)
            for first in range(0, len(keys), at_once):
                some = keys[first : first + at_once]
                lengths = np.stack([spans[key].lengths[distinct] for key in some])
                found.update(zip(some, np.maximum(np.maximum.reduceat(lengths, starts, axis=1), 1), strict=True))
        return found

    def extents(self, name: str) -> Mapping[Size, int]:
        """How many positions have boxes of each extent in a layer that positions change."""
        lengths = self._lengths[name]
        if id(lengths) not in self._extents:
            found = self._extents[id(lengths)] = Counter[Size]()
            for count, *extent in zip(self._counts.tolist(), *(each.tolist() for each in lengths), strict=True):
                found[tuple(extent)] += count
        return self._extents[id(lengths)]

    def cores(self, node: Node) -> tuple[Core, ...]:
        """Of each batch, in a layer that positions change."""
        if node.name not in self._cores:
            cores = []
            for batch in self.batches:
                boxes = self._geometry.boxes(node, batch)
                assert boxes is not None
                cores.append(Core(len(batch), boxes.extent, self._geometry.core(node, batch, boxes)))
            self._cores[node.name] = tuple(cores)
        return self._cores[node.name]


@dataclass(frozen=True, slots=True)
class Core:
    """The part of a batch of ``positions`` boxes of ``extent`` that reads the patch alone; None if none does."""

    positions: int
    extent: Size
    part: Part | None

    @property
    def cells(self) -> int:
        """Cells of all positions."""
        return self.positions * math.prod(self.part.extent) if self.part else 0


def _extent(cells: float, lengths: Sequence[float], size: Size) -> Size:
    """An extent of about so many ``cells``, in the ratio of ``lengths``, within ``size``; whole numbers from 1.

    The number of cells is what counts: what an axis loses by rounding, those after it make up for.
    """
    extent: list[int] = []
    for axis, (length, most) in enumerate(zip(lengths, size, strict=True)):
        rest = lengths[axis + 1 :]
        share = (cells * math.prod(length / other for other in rest)) ** (1 / (len(rest) + 1))
        extent.append(min(max(round(share), 1), most))
        cells /= extent[-1]
    return tuple(extent)


def _updates(positions: IntArray, patch: Laid, image: Size, bounded: bool) -> Footprint:
    """The patch at each position, clipped at the image's far edges; the boxes around segments."""
    if isinstance(patch, Segments):
        return replace(patch.footprint(positions), bounded=bounded)
    spans = []
    for at, length, whole in zip(positions.T, patch, image, strict=True):
        places, shared = np.unique(at, return_inverse=True)
        spans.append(Spans(places, np.minimum(places + length, whole), shared.reshape(-1)))
    return Footprint(tuple(spans), bounded)
