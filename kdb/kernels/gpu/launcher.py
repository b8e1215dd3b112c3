"""What the families of verbs launch with: arrays, origins of boxes, layouts of weights, programs as arguments.

And the two launches that several families make, of ``superimpose.cu`` and of a pointwise program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from kdb.geometry import Boxes, Margins
from kdb.kernels.base import Array, Delta, Epilogue, FloatArray, Parameters, Program, Sliding, Weight
from kdb.kernels.gpu.device import DTYPES, Device, blocks, spread
from kdb.kernels.gpu.programs import encode

MATHS = {"fp32": ("float", "F32"), "tf32": ("float", "TF32"), "bf16": ("bf16", "BF16")}
"""How deltas are stored and multiplied, by the query's precision."""

Encoding = dict[str, Any]
"""The arguments of a launch that stand for a pointwise program."""

NO_PROGRAM: Encoding = {"program": None, "length": 0, "table": None}


def bits(array: FloatArray) -> Any:
    """float32 rounded to bf16, as uint16."""
    return torch.from_numpy(np.ascontiguousarray(array)).bfloat16().view(torch.int16).numpy().view(np.uint16)


def packs_of(*counts: int) -> str:
    """How many numbers a thread takes at a time: a divisor of all the counts."""
    return "1" if any(count % 4 for count in counts) else "4"


def extent_of(out: Array) -> dict[str, int]:
    """The extent of an output [n, h, w, C], as launches name it."""
    _, height, width, channels = out.shape
    return {"height": height, "width": width, "channels": channels}


def window_of(sliding: Sliding, padding: Margins) -> dict[str, int]:
    """A window of two axes and the padding before the map, as launches name them."""
    (kernel_y, kernel_x), (stride_y, stride_x) = sliding.kernel, sliding.stride
    dilation_y, dilation_x = sliding.dilation
    top, left, *_ = sliding.around(padding)
    return {
        "kernel_y": kernel_y, "kernel_x": kernel_x, "stride_y": stride_y, "stride_x": stride_x,
        "dilation_y": dilation_y, "dilation_x": dilation_x, "top": top, "left": left,
    }  # fmt: skip


def stored_as(x: Array) -> str:
    """How an array's numbers are stored, as C++ names it."""
    return "float" if x.dtype == np.float32 else "bf16"


ADD, LESS, EPILOGUE = 0, 1, 2
"""Modes of ``superimpose.cu``."""


class Launcher:
    """Launches on one device, with deltas of one ``precision``, which are ``stored`` accordingly."""

    def __init__(self, device: Device, precision: str) -> None:
        self.device, self.precision = device, precision
        self.stored, _ = MATHS[precision]
        self._origins: dict[bytes, Array] = {}
        self._encodings: dict[tuple[Program, int], tuple[Array, tuple[str, ...]] | None] = {}

    def empty(self, n: int, extent: Sequence[int], channels: int, stored: str = "float") -> Array:
        """An array [n, h, w, C] that is still to be written to."""
        return self.device.empty((n, *extent, channels), DTYPES[stored])

    def empty_delta(self, n: int, extent: Sequence[int], channels: int) -> Array:
        """An array [n, h, w, C] for deltas, stored as the precision says, that is still to be written to."""
        return self.empty(n, extent, channels, self.stored)

    def announce(self, boxes: Iterable[Boxes]) -> None:
        """Upload the origins of a batch's boxes in one copy, and forget those of the batch before.

        They are found again by value, since verbs derive anew what an operator has announced.
        """
        distinct = {each.places: each.origins for each in boxes if each.places}
        self._origins.clear()
        if distinct:
            uploaded = self.device.upload(np.stack(list(distinct.values())).astype(np.int32))
            self._origins.update((places, uploaded[i]) for i, places in enumerate(distinct))

    def origins(self, boxes: Boxes) -> Array | None:
        """Origins int32 [n, 2] on the device; None where all are (0, 0)."""
        if not boxes.places:
            return None
        known = self._origins.get(boxes.places)
        return self.device.upload(boxes.origins.astype(np.int32)) if known is None else known

    def layout(self, weight: Weight, name: str, derive: Callable[[FloatArray], Any]) -> Array:
        """The layout ``name`` of a weight in the device's memory; float32, or uint16 where it is derived as that."""

        def uploaded(array: FloatArray) -> Array:
            laid_out = derive(array)
            return self.device.upload(
                np.ascontiguousarray(laid_out, laid_out.dtype if laid_out.dtype == np.uint16 else np.float32)
            )

        return weight.layout(f"{self.device.name}/{name}", uploaded)

    def encoding(self, program: Program, inputs: int, parameters: Parameters, channels: int) -> Encoding | None:
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

            table = self.layout(first, f"table/{channels}/{'/'.join(names)}", rows)
        return {"program": words, "length": len(program), "table": table}

    @staticmethod
    def grid(out: Array, v: str, channels: int | None = None) -> tuple[int, int, int]:
        """The grid with a thread for each ``v`` channels of a cell and a row of blocks for each position."""
        n, height, width, all_channels = out.shape
        return spread(height * width * ((channels or all_channels) // int(v))), n, 1

    def delta(self, name: str, delta: Delta | None) -> dict[str, Any]:
        """The four arguments of a delta, named after ``name``."""
        if delta is None:
            return {name: None, f"{name}_at": None, f"{name}_height": 0, f"{name}_width": 0}
        height, width = delta.boxes.extent
        return {
            name: delta.values,
            f"{name}_at": self.origins(delta.boxes),
            f"{name}_height": height,
            f"{name}_width": width,
        }

    def superimpose(
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
        """Launch ``superimpose.cu``: at most two deltas over ``frames``, on a view or with an epilogue.

        ``mode`` is ADD or LESS, of the view; cells off it are ``outside``.  ``stored`` says how the deltas are stored
        where that is not as the query's; ``channels`` (first, count) are those of ``out`` that are written.
        """
        pitch = out.shape[-1]
        first, count = channels or (0, pitch)
        encoding: Encoding | None = NO_PROGRAM
        result = None
        if epilogue is not None:
            view, mode, result = epilogue.view, EPILOGUE, epilogue.result
            encoding = self.encoding(epilogue.program, 1, epilogue.parameters, count)
        assert encoding is not None, "only what fuses is given"
        a, b = (*deltas, None, None)[:2]
        v = packs_of(first, count, pitch)
        self.device.launch(
            "superimpose", (stored or self.stored, stored_as(out), v), self.grid(out, v, count),
            out=out, pitch=pitch, first=first, height=out.shape[1], width=out.shape[2], channels=count,
            frames=self.origins(frames), **self.delta("a", a), **self.delta("b", b),
            view=view, map_height=0 if view is None else view.shape[0], map_width=0 if view is None else view.shape[1],
            outside=outside, mode=mode, result=result, **encoding,
        )  # fmt: skip

    def combine(self, out: Array, program: Program, inputs: Sequence[Array], parameters: Parameters) -> None:
        """Launch a pointwise ``program`` of one to three arrays of the shape of ``out``."""
        channels = out.shape[-1]
        encoding = self.encoding(program, max(len(inputs), 1), parameters, channels)
        assert encoding is not None, "only pieces that the interpreter takes are given"
        a, b, c = (*inputs, None, None)[:3]
        assert a is not None, "at least one input"
        v = packs_of(channels)
        self.device.launch(
            "pointwise", (stored_as(a), stored_as(out), v), (blocks(out.size // int(v)), 1, 1),
            out=out, a=a, b=b, c=c, total=out.size, channels=channels, **encoding,
        )  # fmt: skip

    def gather(self, view: Array, boxes: Boxes) -> Array:
        """``view[B]`` float32 [n, h, w, C]."""
        out = self.empty(len(boxes), boxes.extent, view.shape[-1])
        self.superimpose(out, boxes, [], view, stored="float")
        return out

    def converted(self, array: Array) -> Array:
        """The numbers of a bf16 array [n, h, w, C] in float32."""
        out = self.device.empty(array.shape, np.float32)
        whole = Boxes.whole(len(array), tuple(array.shape[1:-1]))
        self.superimpose(out, whole, [Delta(whole, array)], stored="bf16")
        return out
