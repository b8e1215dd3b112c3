"""Deltas laid on views and on one another: the verbs of ``superimpose.cu``, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kdb.geometry import Boxes, Size
from kdb.kernels.base import Array, Delta, Epilogue, FloatArray, Instruction, Margins
from kdb.kernels.gpu.cells import Cells
from kdb.kernels.gpu.memory import NO_PROGRAM, Encoding, extent_of, packs_of, stored_as
from kdb.kernels.gpu.programs import encode

ADD, LESS, EPILOGUE = 0, 1, 2
"""Modes of ``superimpose.cu``."""


class Laid(Cells):
    """Updates, and deltas over boxes."""

    def occlude(
        self, image: Array, updates: Boxes, replacement: Array, aligned: bool, channels: Array | None, boxes: Boxes
    ) -> Array:
        """One launch."""
        height, width, depth = image.shape
        out = self._empty(len(boxes), boxes.extent, depth, self._stored)
        v = packs_of(depth)
        self.device.launch(
            "occlude", (self._stored, v), self._grid(out, v), out=out, **extent_of(out), boxes=self._at(boxes),
            image=image, map_height=height, map_width=width, at=self._at(updates),
            patch_height=updates.extent.height, patch_width=updates.extent.width,
            replacement=replacement, replacement_width=replacement.shape[1], aligned=int(aligned), mask=channels,
        )  # fmt: skip
        return out

    def _superimpose(
        self,
        out: Array,
        frames: Boxes,
        deltas: Sequence[Delta | None],
        view: Array | None = None,
        mode: int = ADD,
        outside: float = 0.0,
        epilogue: Epilogue | None = None,
        stored: str | None = None,
        channels: tuple[int, int] | None = None,
    ) -> None:
        """One launch of ``superimpose.cu``, of at most two deltas; into ``channels`` (first, count) of ``out``."""
        pitch = out.shape[-1]
        first, count = channels or (0, pitch)
        encoding: Encoding | None = NO_PROGRAM
        result = None
        if epilogue is not None:
            view, mode, result = epilogue.view, EPILOGUE, epilogue.result
            encoding = self._encoding(epilogue.program, 1, epilogue.parameters, count)
        assert encoding is not None, "only what fuses is given"
        a, b = (*deltas, None, None)[:2]
        v = packs_of(first, count, pitch)
        self.device.launch(
            "superimpose", (stored or self._stored, stored_as(out), v), self._grid(out, v, count),
            out=out, pitch=pitch, first=first, height=out.shape[1], width=out.shape[2], channels=count,
            frames=self._at(frames), **self._laid("a", a), **self._laid("b", b),
            view=view, map_height=0 if view is None else view.shape[0], map_width=0 if view is None else view.shape[1],
            outside=outside, mode=mode, result=result, **encoding,
        )  # fmt: skip

    def superimposed(self, view: Array, delta: Delta, frames: Boxes, outside: float = 0.0) -> Array:
        """One launch, in float32."""
        out = self.empty(len(frames), frames.extent, view.shape[-1])
        self._superimpose(out, frames, [delta], view, ADD, outside)
        return out

    def gather(self, view: Array, boxes: Boxes) -> Array:
        """``view[B]``, one launch."""
        out = self.empty(len(boxes), boxes.extent, view.shape[-1])
        self._superimpose(out, boxes, [], view, stored="float")
        return out

    def embed(self, delta: Delta, frames: Boxes) -> Array:
        """One launch."""
        return self.union([delta], frames)

    def union(self, deltas: Sequence[Delta], boxes: Boxes, epilogue: Epilogue | None = None) -> Array:
        """One launch."""
        out = self._empty(len(boxes), boxes.extent, deltas[0].values.shape[-1], self._stored)
        self._superimpose(out, boxes, deltas, epilogue=epilogue)
        return out

    def stack(self, deltas: Sequence[Delta | None], channels: Sequence[int], boxes: Boxes) -> Array:
        """One launch for each."""
        out, first = self._empty(len(boxes), boxes.extent, sum(channels), self._stored), 0
        for delta, count in zip(deltas, channels, strict=True):
            self._superimpose(out, boxes, [delta], channels=(first, count))
            first += count
        return out

    def product_delta(self, x: Delta | None, y: Delta | None, view_x: Array, view_y: Array, boxes: Boxes) -> Array:
        """One launch."""
        changed, view = (x, view_y) if x is not None else (y, view_x)
        assert changed is not None, "one operand changes"
        out = self._empty(len(boxes), boxes.extent, changed.values.shape[-1], self._stored)
        v = packs_of(out.shape[-1])
        self.device.launch(
            "product_delta", (self._stored, v), self._grid(out, v), out=out, **extent_of(out), boxes=self._at(boxes),
            **self._laid("a", x), **self._laid("b", y), view_a=view_x, view_b=view_y, map_width=view.shape[1],
        )  # fmt: skip
        return out

    def pointwise_delta(self, delta: Delta, epilogue: Epilogue) -> Array:
        """One launch; of functions over channels some, on whole arrays."""
        program, parameters, view, _ = epilogue
        if encode(program) is not None:
            return self.union([delta], delta.boxes, epilogue)
        after = self.pointwise(self.superimposed(view, delta, delta.boxes), program, parameters, True)
        before = self.pointwise(self.gather(view, delta.boxes), program, parameters, True)
        out = self._empty(len(after), after.shape[1:3], after.shape[-1], self._stored)
        self._combine(out, (Instruction("sub", (0, 1)),), [after, before], {})
        return out

    def replace(self, view: Array, boxes: Boxes, value: Array, out: Array) -> None:
        """One launch, and a copy into the part of ``out``."""
        n, height, width, channels = out.shape
        constant = Delta(boxes, self.expand(value.reshape(1, 1, 1, channels), Size(height, width), channels, n))
        values = self._empty(n, boxes.extent, channels, self._stored)
        self._superimpose(values, boxes, [constant], view, LESS, stored="float")
        out[...] = values

    def concatenate(self, parts: Sequence[Array]) -> Array:
        """A launch for each."""
        n, height, width, _ = parts[0].shape
        whole = Boxes.whole(n, Size(height, width))
        stored = stored_as(parts[0])
        out = self._empty(n, whole.extent, sum(part.shape[-1] for part in parts), stored)
        first = 0
        for part in parts:
            self._superimpose(out, whole, [Delta(whole, part)], stored=stored, channels=(first, part.shape[-1]))
            first += part.shape[-1]
        return out

    def pad(self, x: Array, margins: Margins, value: float) -> Array:
        """One launch."""
        n, height, width, channels = x.shape
        top, left, bottom, right = margins
        frames = Boxes(np.tile(np.array([[-top, -left]]), (n, 1)), Size(top + height + bottom, left + width + right))
        out = self._empty(n, frames.extent, channels, stored_as(x))
        delta = Delta(Boxes.whole(n, Size(height, width)), x)
        self._superimpose(out, frames, [delta], outside=value, stored=stored_as(x))
        return out

    def _converted(self, array: Array) -> Array:
        """A delta's numbers in float32."""
        out = self.device.empty(array.shape, np.float32)
        whole = Boxes.whole(len(array), Size(*array.shape[1:3]))
        self._superimpose(out, whole, [Delta(whole, array)], stored="bf16")
        return out

    def download(self, array: Array) -> FloatArray:
        """In the host's memory, once it is computed; bf16 widened."""
        return self.device.download(self._converted(array) if array.dtype == np.uint16 else array)

    def fetch(self, array: Array) -> Callable[[], FloatArray]:
        """Waits for this array alone: what is launched meanwhile goes on.  bf16 is widened on the device."""
        if array.dtype == np.uint16:
            array = self._converted(array)
        return self.device.fetch(array)

    def all_finite(self, x: Array) -> bool:
        """Looked at by the host."""
        return bool(np.isfinite(self.download(x)).all())
