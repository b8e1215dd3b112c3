"""What the verbs share: memory, where boxes are, layouts of weights, programs as arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch

from kdb.geometry import Boxes, Size
from kdb.kernels.base import Array, Delta, FloatArray, Parameters, Program, Weight
from kdb.kernels.gpu.device import DTYPES, Device, spread
from kdb.kernels.gpu.programs import encode
from kdb.system.threads import Threads

MATHS = {"fp32": ("float", "F32"), "tf32": ("float", "TF32"), "bf16": ("bf16", "BF16")}
"""How deltas are kept and multiplied, by the query's precision."""

Encoding = dict[str, Any]
"""A program's arguments of a launch."""

NO_PROGRAM: Encoding = {"program": None, "length": 0, "table": None}


def bits(array: FloatArray) -> Any:
    """float32 rounded to bf16, as uint16."""
    return torch.from_numpy(np.ascontiguousarray(array)).bfloat16().view(torch.int16).numpy().view(np.uint16)


def packs_of(*counts: int) -> str:
    """How many numbers a thread takes at a time, given what they must divide."""
    return "1" if any(count % 4 for count in counts) else "4"


def extent_of(out: Array) -> dict[str, int]:
    """What is written to [n, h, w, C], as kernels call it."""
    _, height, width, channels = out.shape
    return {"height": height, "width": width, "channels": channels}


def stored_as(x: Array) -> str:
    """How an array's numbers are kept, as C++ names it."""
    return "float" if x.dtype == np.float32 else "bf16"


class Memory:
    """Arrays of a device, and the arguments that launches have in common."""

    def __init__(
        self, device: Device, native: bool = False, precision: str = "fp32", memory_limit: int | None = None
    ) -> None:
        self.device, self.precision, self._limit = device, precision, memory_limit
        self.threads: Threads = device.threads
        self.native = native or not device.has_torch
        self.name = f"{'native ' if native else ''}{device.name}"
        self._stored, _ = MATHS[precision]
        self._origins: dict[bytes, Array] = {}
        self._encodings: dict[tuple[Program, int], tuple[Array, tuple[str, ...]] | None] = {}

    def running(self) -> AbstractContextManager[None]:
        """The device's memory pool and stream, the memory limited."""
        self.device.limit_memory(self._limit)
        return self.device.running()

    def synchronize(self) -> None:
        """The device's."""
        self.device.synchronize()

    def upload(self, array: FloatArray) -> Array:
        """In the device's memory."""
        return self.device.upload(np.ascontiguousarray(array, dtype=np.float32))

    def delta(self, array: FloatArray) -> Array:
        """In the device's memory, at the precision of deltas."""
        return self.device.upload(bits(array)) if self._stored == "bf16" else self.upload(array)

    def announce(self, boxes: Iterable[Boxes]) -> None:
        """One copy for all of a batch; those of the batch before are forgotten.

        They are known by their value, since verbs derive anew what an operator has announced.
        """
        distinct = {each.places: each.origins for each in boxes if each.places}
        self._origins.clear()
        if distinct:
            laid = self.device.upload(np.stack(list(distinct.values())).astype(np.int32))
            self._origins.update((places, laid[i]) for i, places in enumerate(distinct))

    def _at(self, boxes: Boxes) -> Array | None:
        """Origins int32 [n, 2] on the device; None where all are (0, 0)."""
        if not boxes.places:
            return None
        known = self._origins.get(boxes.places)
        return self.device.upload(boxes.origins.astype(np.int32)) if known is None else known

    def _empty(self, n: int, extent: Sequence[int], channels: int, stored: str) -> Array:
        return self.device.empty((n, *extent, channels), DTYPES[stored])

    def empty(self, n: int, extent: Size, channels: int) -> Array:
        """float32 [n, h, w, C]."""
        return self._empty(n, extent, channels, "float")

    def constant(self, value: Weight) -> Array:
        """[1, H, W, C], uploaded once."""
        return self._form(value, "map", lambda array: array)[None]

    def _form(self, weight: Weight, layout: str, derive: Callable[[FloatArray], Any]) -> Array:
        """A layout of a weight in the device's memory; uint16 where it was derived so."""

        def uploaded(array: FloatArray) -> Array:
            form = derive(array)
            return self.device.upload(np.ascontiguousarray(form, form.dtype if form.dtype == np.uint16 else np.float32))

        return weight.form(f"{self.device.name}/{layout}", uploaded)

    def _encoding(self, program: Program, inputs: int, parameters: Parameters, channels: int) -> Encoding | None:
        """The arguments that stand for a program; None where the interpreter cannot take it."""
        key = program, inputs
        if key not in self._encodings:
            encoded = encode(program, inputs)
            known = None if encoded is None else (self.device.upload(encoded.words), encoded.parameters)
            self._encodings[key] = known
        entry = self._encodings[key]
        if entry is None:
            return None
        words, names = entry
        table = None
        if names:
            first, *rest = (parameters[name] for name in names)

            def rows(array: FloatArray) -> FloatArray:
                each = (array, *(weight.array for weight in rest))
                return np.stack([np.broadcast_to(row.reshape(-1), channels) for row in each])

            table = self._form(first, f"table/{channels}/{'/'.join(names)}", rows)
        return {"program": words, "length": len(program), "table": table}

    @staticmethod
    def _grid(out: Array, v: str, channels: int | None = None) -> tuple[int, int, int]:
        """A thread for each ``v`` channels of a cell, a row of blocks for each position."""
        n, height, width, all_channels = out.shape
        return spread(height * width * ((channels or all_channels) // int(v))), n, 1

    def _laid(self, name: str, delta: Delta | None) -> dict[str, Any]:
        """A delta as the four arguments called after ``name``."""
        if delta is None:
            return {name: None, f"{name}_at": None, f"{name}_height": 0, f"{name}_width": 0}
        height, width = delta.boxes.extent
        return {
            name: delta.values,
            f"{name}_at": self._at(delta.boxes),
            f"{name}_height": height,
            f"{name}_width": width,
        }
