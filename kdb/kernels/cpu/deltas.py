"""Updates, and deltas over boxes of views, in numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kdb.geometry import Boxes
from kdb.kernels.base import Delta, Epilogue
from kdb.kernels.cpu import boxed
from kdb.kernels.cpu.maps import chunks
from kdb.kernels.programs import evaluate

FloatArray = npt.NDArray[np.float32]


class CpuDeltas:
    """The family of updates and deltas, on numpy arrays."""

    def occlude(
        self,
        image: FloatArray,
        updates: Boxes,
        replacement: FloatArray,
        aligned: bool,
        channels: FloatArray | None,
        boxes: Boxes,
    ) -> FloatArray:
        """``(replacement - image[B]) * channels`` in the updates, zero elsewhere in the boxes."""
        if updates.extent == boxes.extent and (updates.origins == boxes.origins).all():
            before = boxed.gather(image, boxes)
            after = boxed.gather(replacement, boxes) if aligned else replacement[tuple(map(slice, boxes.extent))]
            values = after - before
            return values if channels is None else values * channels
        # Clipped by an edge, each in its own way.
        clipped = []
        for i, origin in enumerate(updates.origins):
            left = np.minimum(updates.extent, image.shape[:-1] - origin)
            single = Boxes(origin[None], tuple(left.tolist()))
            values = self.occlude(image, single, replacement, aligned, channels, single)
            clipped.append(boxed.embed(values, single, Boxes(boxes.origins[i : i + 1], boxes.extent)))
        return np.concatenate(clipped)

    def superimposed(self, view: FloatArray, delta: Delta, frames: Boxes, outside: float = 0.0) -> FloatArray:
        """``view + d`` over the frames."""
        values: FloatArray
        if delta.donate and delta.boxes.covers(view.shape[:-1]) and delta.fills(frames):
            values = delta.values
            values += view
            return values
        values = boxed.read_in(view, frames, outside)
        boxed.superimpose(values, frames, delta.values, delta.boxes)
        return values

    def embed(self, delta: Delta, frames: Boxes) -> FloatArray:
        """The delta with zeros around it; where there are none, its own memory."""
        return boxed.embed(delta.values, delta.boxes, frames)

    def union(self, deltas: Sequence[Delta], boxes: Boxes, epilogue: Epilogue | None = None) -> FloatArray:
        """The sum of deltas over ``boxes``, which cover all of theirs."""
        assert epilogue is None, "nothing fuses here"
        # Begin with one that fills the union and whose memory may be taken; the others are added where they lie.
        first, *rest = sorted(deltas, key=lambda d: (not d.fills(boxes), not d.donate))
        values = first.own() if first.fills(boxes) else boxed.embed(first.values, first.boxes, boxes)
        for other in rest:
            boxed.superimpose(values, boxes, other.values, other.boxes)
        return values

    def stack(self, deltas: Sequence[Delta | None], channels: Sequence[int], boxes: Boxes) -> FloatArray:
        """Deltas over ``boxes``, stacked along the channels; None stands for zeros."""
        values, first = np.empty((len(boxes), *boxes.extent, sum(channels)), np.float32), 0
        for delta, count in zip(deltas, channels, strict=True):
            part = values[..., first : first + count]
            if delta is None:
                part[...] = 0
            else:
                boxed.embed(delta.values, delta.boxes, boxes, part)
            first += count
        return values

    def product(
        self, x: Delta | None, y: Delta | None, view_x: FloatArray, view_y: FloatArray, boxes: Boxes
    ) -> FloatArray:
        """``dx y + (x + dx) dy`` over ``boxes``."""
        values: FloatArray | None = None
        if x is not None:
            values = boxed.embed(x.values, x.boxes, boxes) * boxed.gather(view_y, boxes)
        if y is not None:
            factor = boxed.gather(view_x, boxes)
            if x is not None:
                boxed.superimpose(factor, boxes, x.values, x.boxes)
            factor *= boxed.embed(y.values, y.boxes, boxes)
            values = factor if values is None else values + factor
        assert values is not None, "one operand changes"
        return values

    def pointwise(self, delta: Delta, epilogue: Epilogue) -> FloatArray:
        """``f(view[B] + d) - f(view[B])``, a cache-sized chunk at a time.

        Without the result both by one kernel on one layout, so that zero stays zero.
        """
        program, parameters, view, result = epilogue
        values, boxes = delta.values, delta.boxes
        out: FloatArray = values if delta.donate else np.empty_like(values)
        for chunk in chunks(values):
            after, part = out[chunk], Boxes(boxes.origins[chunk], boxes.extent)
            before = boxed.gather(view, part)
            np.add(values[chunk], before, out=after)
            evaluate(program, after, parameters, after)
            if result is None:
                evaluate(program, before, parameters, before)
            else:
                before = boxed.gather(result, part)
            after -= before
        return out

    def replace(self, view: FloatArray, boxes: Boxes, value: FloatArray, out: FloatArray) -> None:
        """``value - view[B]`` into ``out`` [n, h, w, C]."""
        boxed.replace(view, boxes, value, out)
