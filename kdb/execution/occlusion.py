"""What is laid over the image at each position: values of its own, or what is under the patch, altered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kdb.geometry import Boxes, IntArray, Laid, Segments
from kdb.kernels.base import Array, Backend, Delta
from kdb.kernels.cpu import boxed

SourceDelta = Callable[[Boxes, Boxes], Array]
"""Takes the patches of n positions, and the boxes that hold them: the change of the image there, [n, h, w, C]."""


class Occlusion(ABC):
    """What is laid over the image, in the units of the network's input."""

    @abstractmethod
    def over(self, under: Array, part: tuple[slice, ...]) -> Array:
        """What takes the place of ``under`` [h, w, C], the ``part`` of the image beneath a patch; of that shape."""

    @abstractmethod
    def delta_on(self, backend: Backend, image: Array) -> SourceDelta:
        """The change that it makes of ``image`` [H, W, C], which lies on the backend's device."""

    def applied(self, image: Array, positions: IntArray, patch: Laid) -> Array:
        """Copies of ``image`` [H, W, C] on the host, with the ``patch`` at each of the ``positions`` int64 [n, axes].

        A patch that reaches beyond the image is cut off, as captum's windows are.
        """
        assert not isinstance(patch, Segments), "an occlusion of its own covers those"
        copies = np.repeat(image[None], len(positions), axis=0)
        for each, position in zip(copies, positions, strict=True):
            part = tuple(map(slice, position, position + patch))
            each[part] = self.over(each[part], part)
        return copies


@dataclass(frozen=True, eq=False)
class Replacement(Occlusion):
    """``values`` in the place of the image's own.

    They are the patch, float32 [h, w, C]; where ``aligned``, an image float32 [H, W, C] of which each position shows
    the part under the patch, such as a blurred copy.  ``channels`` float32 [C] is 1 for the channels that are covered
    and 0 for the others; None covers all.
    """

    values: Array
    aligned: bool = False
    channels: Array | None = None

    def over(self, under: Array, part: tuple[slice, ...]) -> Array:
        """The values, where the channel is covered."""
        over = self.values[part] if self.aligned else self.values
        over = over[tuple(map(slice, under.shape[:-1]))]
        return over if self.channels is None else np.where(self.channels > 0, over, under)

    def delta_on(self, backend: Backend, image: Array) -> SourceDelta:
        """``values - image[B]``; a patch clipped by the far edge keeps what is inside, zero elsewhere in its box."""
        values = backend.memory.upload(self.values)
        channels = None if self.channels is None else backend.memory.upload(self.channels)
        return lambda updates, boxes: backend.deltas.occlude(image, updates, values, self.aligned, channels, boxes)


@dataclass(frozen=True, eq=False)
class SegmentFill(Occlusion):
    """``values`` float32 [H, W, C], those of an image as large, in the place of the image's own, in one segment each.

    ``channels`` float32 [C] is 1 for the channels that are covered and 0 for the others; None covers all.
    """

    segments: Segments
    values: Array
    channels: Array | None = None

    def over(self, under: Array, part: tuple[slice, ...]) -> Array:
        """The values of the whole part, where the channel is covered."""
        over = self.values[part]
        return over if self.channels is None else np.where(self.channels > 0, over, under)

    def delta_on(self, backend: Backend, image: Array) -> SourceDelta:
        """``values - image`` in the segments, zero elsewhere in the boxes; computed on the host."""
        whole = (slice(None),) * (self.values.ndim - 1)
        on_host = backend.memory.download(image)
        change = np.asarray(self.over(on_host, whole) - on_host, np.float32)
        labels: Array = self.segments.labels[..., None]

        def delta(updates: Boxes, boxes: Boxes) -> Array:
            ids = self.segments.of(updates.origins).reshape(-1, *(1,) * self.values.ndim)
            inside = boxed.gather(labels, boxes) == ids
            return backend.memory.upload_delta(np.where(inside, boxed.gather(change, boxes), np.float32(0)))

        return delta

    def applied(self, image: Array, positions: IntArray, patch: Laid) -> Array:
        """Copies of ``image`` [H, W, C] on the host, each with the segment of one of the ``positions`` covered."""
        covered = self.over(image, (slice(None),) * (self.values.ndim - 1))
        ids = self.segments.of(positions).reshape(-1, *(1,) * self.values.ndim)
        return np.where(self.segments.labels[None, ..., None] == ids, covered[None], image[None])


@dataclass(frozen=True, eq=False)
class Alteration(Occlusion):
    """``function`` of what is under the patch: float32 [n, h, w, C] -> the same shape, position by position.

    Patches lie wholly inside the image.  The function is called by several threads.
    """

    function: Callable[[Array], Array]

    def over(self, under: Array, part: tuple[slice, ...]) -> Array:
        """The function's value for one position."""
        return self.function(under[None])[0]

    def delta_on(self, backend: Backend, image: Array) -> SourceDelta:
        """``function(image[B]) - image[B]``, computed on the host."""
        on_host = backend.memory.download(image)

        def delta(updates: Boxes, boxes: Boxes) -> Array:
            under = boxed.gather(on_host, updates)
            values = backend.memory.upload_delta(self.function(under) - under)
            return backend.deltas.embed(Delta(updates, values), boxes)

        return delta
