"""Binding: everything that a query names is looked up and checked, once, before any image is read."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain

import numpy as np

from kdb.errors import BindError
from kdb.execution.occlusion import Occlusion, Replacement, SegmentFill
from kdb.frontends.state.snapshot import Snapshot
from kdb.geometry import Laid, Segments, Size
from kdb.images.image import Origin, Pixels, SourceImage
from kdb.images.preprocessing import Prepared
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.models.catalog import Catalog, TracedModel
from kdb.models.detection import Detections
from kdb.models.reference import Logits
from kdb.planner.permissions import Permissions
from kdb.queries import clauses
from kdb.queries.dense import Reading, reading
from kdb.queries.fill import Cover, check_channels, check_fill, check_units, cover, covered, far_off, is_uniform
from kdb.queries.positions import Place, Selection, select
from kdb.results.files import format_of
from kdb.system.threads import checkpoint

Tuned = tuple[float, str]
"""A projective field threshold, and in words where it comes from."""


@dataclass(frozen=True, eq=False)
class BoundQuery:
    """An OCCLUDE query with its model traced, its positions selected and its threshold known; no image yet.

    query       as written, but canonical for the model's axes, and THRESHOLD AUTO replaced by the tuned threshold
    retrace     traces the model as it is now, whatever is known of it
    reading     of a dense output, what is scored: the head that ``traced`` has is of each image; None for vectors
    to          reads the image that a cosine is with; None for other scores
    tuned       where a tuned threshold comes from, in words; empty for others
    seconds     the time that binding took, most of which is to load and trace the model
    snapshot    of a module that others hold; as long as the query does, none is taken where nothing has changed
    """

    query: syntax.Occlude
    arguments: Arguments
    traced: TracedModel
    selection: Selection
    retrace: Callable[[], TracedModel]
    reading: Reading | None = None
    to: Callable[[], SourceImage] | None = None
    tuned: str = ""
    seconds: float = 0.0
    snapshot: Snapshot | None = field(default=None, repr=False)
    _directions: dict[str, Logits] = field(default_factory=dict, repr=False)
    """By the model's identity, that of the image that a cosine is with: read once for all images of a query."""

    @property
    def patch(self) -> Laid:
        """The patch's extent in cells, or the segments."""
        if isinstance(self.query.patch, syntax.Patch):
            return self.query.patch.extent
        assert self.selection.segments is not None, "they were selected"
        return self.selection.segments

    @property
    def size(self) -> Size:
        """The size of the model's input."""
        return self.traced.model.input_shape[1:]

    @property
    def stride(self) -> Size | None:
        """Cells between neighbouring positions, along each axis; None after AT."""
        if isinstance(self.query.region, syntax.At) or isinstance(self.query.patch, syntax.Segments):
            return None
        return clauses.by_axis("STRIDE", self.query.stride or syntax.DEFAULT_STRIDE, self.size)

    @property
    def uniform(self) -> bool:
        """Whether the patch is of one colour for every image."""
        patch = self.query.patch
        return isinstance(patch, syntax.Patch) and is_uniform(patch.fill) and patch.channels is None

    @property
    def notes(self) -> tuple[str, ...]:
        """What is assumed, or not as written, for every image: of the model, and of the positions."""
        unknown = (self.reading.unknown,) if self.reading is not None and self.reading.unknown else ()
        return _once(self.traced.model.notes, self.selection.notes, unknown)

    @property
    def permissions(self) -> Permissions:
        """What the query permits the planner."""
        threshold = None if self.query.threshold is None else self.query.threshold.tau
        approximate = self.query.approximate is not None
        device = "cpu" if self.reading is not None else self.query.device  # ON gpu was refused
        return Permissions(self.query.precision, threshold, device=device, approximate=approximate)

    def by(self, traced: TracedModel) -> BoundQuery:
        """This query by its model as it is ``traced``."""
        read = reading(self.query, traced, self.arguments)
        return replace(self, traced=traced if read is None else read.planned(), reading=read)

    def with_threshold(self, tau: float) -> BoundQuery:
        """This query with another projective field threshold."""
        return replace(self, query=replace(self.query, threshold=syntax.Threshold(tau)))

    def on(self, image: SourceImage, name: str | None = None) -> ImageQuery:
        """This query on one image, called ``name``; the image is brought onto the model's grid.

        Raises BindError where it has other channels than the model takes, or the fill is not in its units, and
        ExecutionError where INTO names a file that no map of such an image can be written to.
        """
        if self.query.into is not None:
            format_of(self.query.into).check_source("" if image.origin is None else image.origin.reader)
        check_units(self.query.patch.fill, image.floats, self.arguments)
        return self.on_prepared(self.traced.model.preprocessing.prepare(image), name, image.origin)

    def on_prepared(self, prepared: Prepared, name: str | None, origin: Origin | None = None) -> ImageQuery:
        """This query on an image that is on the model's grid, whose positions are those of a region in its source.

        Raises BindError where the region has none.
        """
        region, bound, axes = self.query.region, self, len(self.size)
        in_source = isinstance(region, syntax.Box | syntax.Mask) and region.in_source
        if in_source or (isinstance(self.query.patch, syntax.Segments) and self.query.patch.in_source):
            place = Place(prepared.source_box[:axes], prepared.source_box[axes:], prepared.source_size)
            bound = replace(self, selection=select(self.query, self.size, self.arguments, place))
        if self._direction is not None:
            bound = replace(bound, traced=replace(self.traced, direction=self._direction))
        return ImageQuery(bound, prepared, name, origin)._over_its_region()

    @property
    def _direction(self) -> Logits | None:
        """That of the output for the image that cosines are with, the same for all images; None for other scores.

        Raises BindError where that is zero.
        """
        if self.to is None:
            return None
        if self.traced.identity not in self._directions:
            self._directions[self.traced.identity] = self._read(self.to)
        return self._directions[self.traced.identity]

    def _read(self, to: Callable[[], SourceImage]) -> Logits:
        """The direction of the output for an image."""
        preprocessing = self.traced.model.preprocessing
        prepared = preprocessing.prepare(to())
        (output,) = self.traced.reference.logits(preprocessing.normalise(prepared.pixels, prepared.floats)[None])
        length = float(np.linalg.norm(output))
        if not 0 < length < math.inf:
            raise BindError(f"the output for {self.query.to} has the length {length:g}, so there is no cosine with it")
        return np.asarray(output / length)


@dataclass(frozen=True, eq=False)
class ImageQuery:
    """A bound query on one image, ``prepared`` for the model and called ``name``: all that evaluation needs.

    ``origin`` is what the image was read from; None for the copy in the file of a map.  ``detections`` are a detector's
    boxes on it.
    """

    bound: BoundQuery
    prepared: Prepared
    name: str | None
    origin: Origin | None = None
    detections: Detections | None = None

    def by(self, traced: TracedModel) -> ImageQuery:
        """This query by its model as it is ``traced``: what that decides of the image is found again."""
        return self.bound.by(traced).on_prepared(self.prepared, self.name, self.origin)

    def _over_its_region(self) -> ImageQuery:
        """The query that scores what it reads of a dense output on this image; itself of any other model.

        Raises BindError where there is nothing on it that the query names.
        """
        if self.bound.reading is None:
            return self
        scored, found = self.bound.reading.on_image(self.input())
        return replace(self, bound=replace(self.bound, traced=scored), detections=found)

    @cached_property
    def cover(self) -> Cover:
        """What is laid over the image, in pixels."""
        return cover(self.bound.query.patch.fill, self.prepared.pixels, self.bound.arguments)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is assumed, or not as written: of the model, of the image, and of the query, each once."""
        fill = far_off(self.cover, self.prepared.pixels) if self.prepared.floats else ()
        return _once(self.bound.traced.model.notes, self.prepared.notes, self.bound.selection.notes, fill)

    def input(self) -> Pixels:
        """The network's input, float32 [*size, C]."""
        return self._normalised(self.prepared.pixels)

    def _normalised(self, pixels: Pixels) -> Pixels:
        return self.bound.traced.model.preprocessing.normalise(pixels, self.prepared.floats)

    def occlusion(self) -> Occlusion:
        """What is laid over the image, in the units of the network's input."""
        channels = covered(self.bound.query.patch.channels, self.bound.traced.model.preprocessing)
        laid = self.bound.patch
        if isinstance(laid, Segments):
            return SegmentFill(laid, self._normalised(self.cover.of_size(self.bound.size)), channels)
        return Replacement(self._normalised(self.cover.of_size(laid)), self.cover.aligned, channels)


def bind(
    query: syntax.Occlude,
    arguments: Arguments,
    catalog: Catalog,
    tuned: Callable[[syntax.Occlude, TracedModel, Arguments], Tuned] | None = None,
    to: Callable[[], SourceImage] | None = None,
) -> BoundQuery:
    """Look up and check all that the query names but its images; the model is traced.

    ``tuned`` finds the threshold that THRESHOLD AUTO stands for, and is called for such queries alone; ``to`` reads the
    image that a cosine is with.

    Raises BindError for clauses that contradict one another or do not fit the model, ExecutionError where INTO names a
    file that no map of it can be written to, and what finding and tracing the model raises.
    """
    start = time.perf_counter()
    clauses.check(query)
    model = catalog.find(query.model, arguments)
    query = clauses.on_axes(query, model.input_shape[1:])
    selection = select(query, model.input_shape[1:], arguments)
    check_channels(query.patch.channels, model.preprocessing)
    covers, whose = model.input_shape[1:], "the input's"
    if isinstance(query.patch, syntax.Patch):
        covers, whose = query.patch.extent, "the patch's"
    check_fill(query.patch.fill, covers, model.preprocessing.image_channels, arguments, whose)
    if query.into is not None:
        format_of(query.into).check(model.input_shape[1:], not isinstance(query.region, syntax.At))
    checkpoint()
    snapshot = model.snapshot() if model.shared else None
    traced, origin = catalog.traced(model, None if snapshot is None else snapshot.fingerprint), ""
    checkpoint()
    if query.threshold is not None and query.threshold.auto:
        assert tuned is not None, "whoever takes THRESHOLD AUTO knows tunings"
        tau, origin = tuned(query, traced, arguments)
        query = replace(query, threshold=syntax.Threshold(tau))
    retrace = partial(catalog.retraced, model)
    read = reading(query, traced, arguments)
    if read is not None:
        query, traced = read.query, read.planned()
    seconds = time.perf_counter() - start
    return BoundQuery(query, arguments, traced, selection, retrace, read, to, origin, seconds, snapshot)


def _once(*notes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(chain.from_iterable(notes)))
