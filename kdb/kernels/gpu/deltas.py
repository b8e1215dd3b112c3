"""Updates, and deltas over boxes of views: the verbs of ``superimpose.cu``, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence

from kdb.geometry import Boxes
from kdb.kernels.base import Array, Delta, Epilogue, Instruction
from kdb.kernels.gpu.launcher import ADD, LESS, Launcher, extent_of, packs_of
from kdb.kernels.gpu.maps import GpuMaps
from kdb.kernels.gpu.programs import encode


class GpuDeltas:
    """The family of updates and deltas, on a device's arrays; ``maps`` are those of the same launcher."""

    def __init__(self, launcher: Launcher, maps: GpuMaps) -> None:
        self._launcher, self._device, self._maps = launcher, launcher.device, maps

    def occlude(
        self, image: Array, updates: Boxes, replacement: Array, aligned: bool, channels: Array | None, boxes: Boxes
    ) -> Array:
        """The source's delta over ``boxes``."""
        height, width, depth = image.shape
        out = self._launcher.empty_delta(len(boxes), boxes.extent, depth)
        v = packs_of(depth)
        self._device.launch(
            "occlude", (self._launcher.stored, v), self._launcher.grid(out, v),
            out=out, **extent_of(out), boxes=self._launcher.origins(boxes),
            image=image, map_height=height, map_width=width, at=self._launcher.origins(updates),
            patch_height=updates.extent[0], patch_width=updates.extent[1],
            replacement=replacement, replacement_width=replacement.shape[1], aligned=int(aligned), mask=channels,
        )  # fmt: skip
        return out

    def superimposed(self, view: Array, delta: Delta, frames: Boxes, outside: float = 0.0) -> Array:
        """``view + d`` over ``frames``, in float32."""
        out = self._launcher.empty(len(frames), frames.extent, view.shape[-1])
        self._launcher.superimpose(out, frames, [delta], view, ADD, outside)
        return out

    def embed(self, delta: Delta, frames: Boxes) -> Array:
        """The delta over ``frames``, zero where it has none."""
        return self.union([delta], frames)

    def union(self, deltas: Sequence[Delta], boxes: Boxes, epilogue: Epilogue | None = None) -> Array:
        """The sum of one or two deltas over ``boxes``, and the epilogue of that."""
        out = self._launcher.empty_delta(len(boxes), boxes.extent, deltas[0].values.shape[-1])
        self._launcher.superimpose(out, boxes, deltas, epilogue=epilogue)
        return out

    def stack(self, deltas: Sequence[Delta | None], channels: Sequence[int], boxes: Boxes) -> Array:
        """Deltas stacked along the channels, by a launch for each."""
        out, first = self._launcher.empty_delta(len(boxes), boxes.extent, sum(channels)), 0
        for delta, count in zip(deltas, channels, strict=True):
            self._launcher.superimpose(out, boxes, [delta], channels=(first, count))
            first += count
        return out

    def product(self, x: Delta | None, y: Delta | None, view_x: Array, view_y: Array, boxes: Boxes) -> Array:
        """``dx y + x dy + dx dy`` over ``boxes``."""
        changed, view = (x, view_y) if x is not None else (y, view_x)
        assert changed is not None, "one operand changes"
        out = self._launcher.empty_delta(len(boxes), boxes.extent, changed.values.shape[-1])
        v = packs_of(out.shape[-1])
        self._device.launch(
            "product_delta", (self._launcher.stored, v), self._launcher.grid(out, v),
            out=out, **extent_of(out), boxes=self._launcher.origins(boxes),
            **self._launcher.delta("a", x), **self._launcher.delta("b", y),
            view_a=view_x, view_b=view_y, map_width=view.shape[1],
        )  # fmt: skip
        return out

    def pointwise(self, delta: Delta, epilogue: Epilogue) -> Array:
        """The epilogue of a delta: one launch, or some on whole arrays for functions over channels."""
        program, parameters, view, _ = epilogue
        if encode(program) is not None:
            return self.union([delta], delta.boxes, epilogue)
        after = self._maps.pointwise(self.superimposed(view, delta, delta.boxes), program, parameters, True)
        before = self._maps.pointwise(self._launcher.gather(view, delta.boxes), program, parameters, True)
        out = self._launcher.empty_delta(len(after), after.shape[1:3], after.shape[-1])
        self._launcher.combine(out, (Instruction("sub", (0, 1)),), [after, before], {})
        return out

    def replace(self, view: Array, boxes: Boxes, value: Array, out: Array) -> None:
        """``value - view[B]``, copied into the part ``out`` of an array."""
        n, height, width, channels = out.shape
        constant = Delta(boxes, self._maps.expand(value.reshape(1, 1, 1, channels), (height, width), channels, n))
        values = self._launcher.empty_delta(n, boxes.extent, channels)
        self._launcher.superimpose(values, boxes, [constant], view, LESS, stored="float")
        out[...] = values

    def less(self, values: Array, boxes: Boxes, view: Array) -> Array:
        """``values - view[B]`` of float32 ``values`` [n, h, w, C], at the precision of deltas."""
        out = self._launcher.empty_delta(len(boxes), boxes.extent, values.shape[-1])
        if self._launcher.stored == "float":
            self._launcher.superimpose(out, boxes, [Delta(boxes, values)], view, LESS)
        else:
            self._launcher.combine(out, (Instruction("sub", (0, 1)),), [values, self._launcher.gather(view, boxes)], {})
        return out
