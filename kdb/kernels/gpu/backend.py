"""The verbs as launches.  Deltas are kept as they are multiplied: in bf16 where the query permits it, else in float32.

Views and whole maps are float32 always.  A device does the launching, so that the same verbs run on CUDA, under
emulation, and on nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch

from kdb.geometry import Boxes, IntArray, Size
from kdb.kernels.base import (
    NO_MARGINS,
    Array,
    Delta,
    Epilogue,
    FloatArray,
    Instruction,
    Margins,
    Parameters,
    Program,
    Sliding,
    Tail,
    Weight,
)
from kdb.kernels.gpu import library
from kdb.kernels.gpu.device import Device, blocks
from kdb.kernels.gpu.programs import OVER_CHANNELS, cut, encode, runs

ADD, LESS, EPILOGUE = 0, 1, 2
"""Modes of ``superimpose.cu``."""
ROWS, COLUMNS = 128, 64
"""Of the product that a block of ``convolution.cu`` computes."""

MATHS = {"fp32": ("float", "F32"), "tf32": ("float", "TF32"), "bf16": ("bf16", "BF16")}
"""How deltas are kept and multiplied, by the query's precision."""

Encoding = dict[str, Any]
"""A program's arguments of a launch."""

NO_PROGRAM: Encoding = {"program": None, "length": 0, "table": None}


def bits(array: FloatArray) -> Any:
    """float32 rounded to bf16, as uint16."""
    return torch.from_numpy(np.ascontiguousarray(array)).bfloat16().view(torch.int16).numpy().view(np.uint16)


def _wide(*counts: int) -> str:
    """How many numbers a thread takes at a time, given what they must divide."""
    return "1" if any(count % 4 for count in counts) else "4"


class GpuBackend:
    """Verbs on a device's arrays.  ``native`` leaves torch's convolutions out; ``precision`` is that of deltas."""

    host = False

    def __init__(self, device: Device, native: bool = False, precision: str = "fp32") -> None:
        self.device, self.precision = device, precision
        self.native = native or not device.has_torch
        self.name = f"{'native ' if native else ''}{device.name}"
        self._stored, self._math = MATHS[precision]
        self._dtype = np.float32 if self._stored == "float" else np.uint16
        self._origins: dict[int, tuple[Boxes, Array]] = {}
        self._encodings: dict[tuple[Program, int], tuple[Array, tuple[str, ...]] | None] = {}

    # What there is, and memory.

    def convolution_kernels(self, sliding: Sliding, groups: int) -> tuple[str, ...]:
        """``direct`` is torch's, of cuDNN; ``gemm`` the implicit matrix product of ``convolution.cu``."""
        return ("gemm",) if self.native else ("direct", "gemm")

    def delta_kernels(self, sliding: Sliding, groups: int) -> tuple[str, ...]:
        """The same at the precision of deltas."""
        kernels = self.convolution_kernels(sliding, groups)
        return kernels if self.precision == "fp32" else tuple(f"{kernel}.{self.precision}" for kernel in kernels)

    def dense_kernels(self) -> tuple[str, ...]:
        """At the precision of deltas."""
        return ("delta",) if self.precision == "fp32" else (self.precision,)

    def fuses(self, kernel: str, program: Program) -> bool:
        """Kernels of our own do, where the program is one that the interpreter takes."""
        return (kernel == "union" or kernel.startswith("gemm")) and encode(program) is not None

    def running(self) -> AbstractContextManager[None]:
        """The device's memory pool and stream."""
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

    def download(self, array: Array) -> FloatArray:
        """In the host's memory, once it is computed; bf16 widened."""
        return self.device.download(self._converted(array) if array.dtype == np.uint16 else array)

    def fetch(self, array: Array) -> Callable[[], FloatArray]:
        """Waits for this array alone: what is launched meanwhile goes on.  bf16 is widened on the device."""
        if array.dtype == np.uint16:
            array = self._converted(array)
        return self.device.fetch(array)

    def _converted(self, array: Array) -> Array:
        """A delta's numbers in float32."""
        out = self.device.empty(array.shape, np.float32)
        whole = Boxes.whole(len(array), Size(*array.shape[1:3]))
        self._superimpose(out, whole, [Delta(whole, array)], stored="bf16")
        return out

    def announce(self, boxes: Sequence[Boxes]) -> None:
        """One copy for all of a batch; those of the batch before are forgotten."""
        distinct = list({id(each): each for each in boxes if each.origins.any()}.values())
        self._origins.clear()
        if distinct:
            laid = self.device.upload(np.stack([each.origins for each in distinct]).astype(np.int32))
            self._origins.update((id(each), (each, laid[i])) for i, each in enumerate(distinct))

    def _at(self, boxes: Boxes) -> Array | None:
        """Origins int32 [n, 2] on the device; None where all are (0, 0)."""
        known = self._origins.get(id(boxes))
        if known is not None:
            return known[1]
        return self.device.upload(boxes.origins.astype(np.int32)) if boxes.origins.any() else None

    def _empty(self, n: int, extent: Sequence[int], channels: int, stored: str) -> Array:
        dtype = np.float32 if stored == "float" else np.uint16
        return self.device.empty((n, *extent, channels), dtype)

    def empty(self, n: int, extent: Size, channels: int) -> Array:
        """float32 [n, h, w, C]."""
        return self._empty(n, extent, channels, "float")

    def all_finite(self, x: Array) -> bool:
        """Looked at by the host."""
        return bool(np.isfinite(self.download(x)).all())

    def constant(self, value: Weight) -> Array:
        """[1, H, W, C], uploaded once."""
        return self._form(value, "map", lambda array: array)[None]

    def _form(self, weight: Weight, layout: str, derive: Callable[[FloatArray], Any]) -> Array:
        """A layout of a weight in the device's memory; uint16 where it was derived so."""

        def uploaded(array: FloatArray) -> Array:
            form = derive(array)
            return self.device.upload(np.ascontiguousarray(form, form.dtype if form.dtype == np.uint16 else np.float32))

        return weight.form(f"{self.device.name}/{layout}", uploaded)

    def framework(self, tail: Tail, inputs: Sequence[Array]) -> Array:
        """On the device where torch runs there, otherwise on the host."""
        if self.device.has_torch:
            y = tail([self.device.tensor(x) for x in inputs])
            return self.device.array(y.float().reshape(len(y), 1, 1, -1))
        y = tail([torch.from_numpy(self.download(x)) for x in inputs])
        return self.upload(y.float().numpy().reshape(len(y), 1, 1, -1))

    # Programs.

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

    # Updates, and deltas laid on views.

    def occlude(
        self, image: Array, updates: Boxes, replacement: Array, aligned: bool, channels: Array | None, boxes: Boxes
    ) -> Array:
        """One launch."""
        height, width, depth = image.shape
        out = self._empty(len(boxes), boxes.extent, depth, self._stored)
        v = _wide(depth)
        self.device.launch(
            "occlude", (self._stored, v), self._grid(out, v), out=out, **_extent(out), boxes=self._at(boxes),
            image=image, map_height=height, map_width=width, at=self._at(updates),
            patch_height=updates.extent.height, patch_width=updates.extent.width,
            replacement=replacement, replacement_width=replacement.shape[1], aligned=int(aligned), mask=channels,
        )  # fmt: skip
        return out

    @staticmethod
    def _grid(out: Array, v: str, channels: int | None = None) -> tuple[int, int, int]:
        """A thread for each ``v`` channels of a cell, a row of blocks for each position."""
        n, height, width, all_channels = out.shape
        return blocks(height * width * ((channels or all_channels) // int(v))), n, 1

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
        written = "float" if out.dtype == np.float32 else "bf16"
        v = _wide(first, count, pitch)
        self.device.launch(
            "superimpose", (stored or self._stored, written, v), self._grid(out, v, count),
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
        v = _wide(out.shape[-1])
        self.device.launch(
            "product_delta", (self._stored, v), self._grid(out, v), out=out, **_extent(out), boxes=self._at(boxes),
            **self._laid("a", x), **self._laid("b", y), view_a=view_x, view_b=view_y, map_width=view.shape[1],
        )  # fmt: skip
        return out

    def location_wise_delta(self, delta: Delta, epilogue: Epilogue) -> Array:
        """One launch; of functions over channels some, on whole arrays."""
        program, parameters, view, _ = epilogue
        if encode(program) is not None:
            return self.union([delta], delta.boxes, epilogue)
        after = self.location_wise(self.superimposed(view, delta, delta.boxes), program, parameters, True)
        before = self.location_wise(self.gather(view, delta.boxes), program, parameters, True)
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

    # Sliding windows and matrices.

    def convolve(
        self,
        x: Array,
        weight: Weight,
        bias: Weight | None,
        sliding: Sliding,
        groups: int,
        margins: Margins,
        kernel: str,
    ) -> Array:
        """In float32, of whole maps."""
        if kernel == "direct":
            return self._direct(x, weight, bias, sliding, groups, margins, "fp32")
        n, height, width, _ = x.shape
        y, x_ = sliding.windows(margins)
        out = Size(y.output_length(height), x_.output_length(width))
        delta = Delta(Boxes.whole(n, Size(height, width)), x)
        return self._gemm(delta, Boxes.whole(n, out), weight, bias, sliding, groups, margins, "fp32", None)

    def convolve_delta(
        self,
        delta: Delta,
        boxes: Boxes,
        weight: Weight,
        sliding: Sliding,
        groups: int,
        padding: Margins,
        kernel: str,
        epilogue: Epilogue | None = None,
    ) -> Array:
        """One launch of ``gemm``, with the epilogue; torch's after another one that lays zeros around, if it must."""
        if kernel.startswith("gemm"):
            return self._gemm(delta, boxes, weight, None, sliding, groups, padding, self.precision, epilogue)
        frames = boxes.read_in(*sliding.windows(padding))
        margins = delta.boxes.margins(frames)
        # cuDNN pads by itself where both sides take as much.
        if margins is not None and margins[:2] == margins[2:]:
            return self._direct(delta.values, weight, None, sliding, groups, margins, self.precision)
        return self._direct(self.embed(delta, frames), weight, None, sliding, groups, NO_MARGINS, self.precision)

    def _direct(
        self,
        x: Array,
        weight: Weight,
        bias: Weight | None,
        sliding: Sliding,
        groups: int,
        margins: Margins,
        precision: str,
    ) -> Array:
        return library.convolve(self.device, x, weight, bias, sliding, groups, margins, precision)

    def _gemm(
        self,
        delta: Delta,
        boxes: Boxes,
        weight: Weight,
        bias: Weight | None,
        sliding: Sliding,
        groups: int,
        padding: Margins,
        precision: str,
        epilogue: Epilogue | None,
    ) -> Array:
        stored, math = MATHS[precision]
        outer, inner, *_ = weight.array.shape
        outer //= groups
        out = self._empty(len(boxes), boxes.extent, groups * outer, stored)
        n, height, width, channels = out.shape
        (kernel_y, kernel_x), (stride_y, stride_x), (dilation_y, dilation_x) = sliding
        encoding: Encoding | None = NO_PROGRAM
        if epilogue is not None:
            encoding = self._encoding(epilogue.program, 1, epilogue.parameters, channels)
        assert encoding is not None, "only what fuses is given"
        common = dict(
            out=out, height=height, width=width, boxes=self._at(boxes), values=delta.values, at=self._at(delta.boxes),
            box_height=delta.boxes.extent.height, box_width=delta.boxes.extent.width,
            bias=None if bias is None else self._form(bias, "bias", lambda b: b),
            kernel_y=kernel_y, kernel_x=kernel_x, stride_y=stride_y, stride_x=stride_x,
            dilation_y=dilation_y, dilation_x=dilation_x, top=padding[0], left=padding[1],
            view=None if epilogue is None else epilogue.view, result=None if epilogue is None else epilogue.result,
            map_width=0 if epilogue is None else epilogue.view.shape[1], **encoding,
        )  # fmt: skip
        if inner == 1 and groups > 1:
            v = _wide(channels) if outer == 1 else "1"
            weights = self._form(weight, "depthwise", lambda w: w.reshape(len(w), -1).T)
            types = (stored, v)
            self.device.launch(
                "depthwise", types, self._grid(out, v), channels=channels, multiplier=outer, weights=weights, **common
            )
            return out

        def rows(w: FloatArray) -> Any:
            laid = w.transpose(0, 2, 3, 1)
            return bits(laid) if stored == "bf16" else laid

        grid = -(-n * height * width // ROWS), -(-outer // COLUMNS), groups
        self.device.launch(
            "convolve", (stored, math, _wide(inner)), grid, n=n, inner=inner, outer=outer,
            weights=self._form(weight, f"rows/{stored}", rows), **common,
        )  # fmt: skip
        return out

    def recompute(
        self,
        delta: Delta,
        boxes: Boxes,
        view: Array,
        result: Array,
        weight: Weight,
        bias: Weight | None,
        sliding: Sliding,
        groups: int,
        padding: Margins,
    ) -> Array:
        """Three launches: the context, the convolution in float32, the view taken off."""
        context = self.superimposed(view, delta, boxes.read_in(*sliding.windows(padding)))
        kernel = self.convolution_kernels(sliding, groups)[0]
        y = self.convolve(context, weight, bias, sliding, groups, NO_MARGINS, kernel)
        out = self._empty(len(boxes), boxes.extent, y.shape[-1], self._stored)
        if self._stored == "float":
            self._superimpose(out, boxes, [Delta(boxes, y)], result, LESS)
        else:
            self._combine(out, (Instruction("sub", (0, 1)),), [y, self.gather(result, boxes)], {})
        return out

    def max_pool(self, x: Array, sliding: Sliding, padding: Margins, size: Size) -> Array:
        """One launch."""
        n, height, width, _ = x.shape
        whole = Boxes.whole(n, Size(height, width))
        return self._max_pool(Delta(whole, x), Boxes.whole(n, size), Size(height, width), None, None, sliding, padding)

    def max_pool_delta(
        self, delta: Delta, boxes: Boxes, view: Array, result: Array, sliding: Sliding, padding: Margins
    ) -> Array:
        """One launch."""
        return self._max_pool(delta, boxes, Size(*view.shape[:2]), view, result, sliding, padding)

    def _max_pool(
        self,
        delta: Delta,
        boxes: Boxes,
        map_: Size,
        view: Array | None,
        result: Array | None,
        sliding: Sliding,
        padding: Margins,
    ) -> Array:
        self._pool(
            "max_pool", out := self._like(delta, boxes), delta, boxes, sliding, padding,
            view=view, map_height=map_.height, map_width=map_.width,
            result=result, result_width=0 if result is None else result.shape[1],
        )  # fmt: skip
        return out

    def _like(self, delta: Delta, boxes: Boxes) -> Array:
        """Over other boxes, stored as the delta is."""
        return self.device.empty((len(boxes), *boxes.extent, delta.values.shape[-1]), delta.values.dtype)

    def _pool(
        self, name: str, out: Array, delta: Delta, boxes: Boxes, sliding: Sliding, padding: Margins, **more: Any
    ) -> None:
        (kernel_y, kernel_x), (stride_y, stride_x), (dilation_y, dilation_x) = sliding
        v = _wide(out.shape[-1])
        self.device.launch(
            name, ("float" if out.dtype == np.float32 else "bf16", v), self._grid(out, v),
            out=out, **_extent(out), boxes=self._at(boxes), values=delta.values, at=self._at(delta.boxes),
            box_height=delta.boxes.extent.height, box_width=delta.boxes.extent.width,
            kernel_y=kernel_y, kernel_x=kernel_x, stride_y=stride_y, stride_x=stride_x,
            dilation_y=dilation_y, dilation_x=dilation_x, top=padding[0], left=padding[1], **more,
        )  # fmt: skip

    def average_pool(self, x: Array, sliding: Sliding, padding: Margins, divisors: Weight) -> Array:
        """One launch."""
        n, height, width, _ = x.shape
        boxes = Boxes.whole(n, Size(*divisors.array.shape[:2]))
        return self.average_pool_delta(Delta(Boxes.whole(n, Size(height, width)), x), boxes, sliding, padding, divisors)

    def average_pool_delta(
        self, delta: Delta, boxes: Boxes, sliding: Sliding, padding: Margins, divisors: Weight
    ) -> Array:
        """One launch."""
        counts = self._form(divisors, "map", lambda array: array)
        self._pool(
            "average_pool", out := self._like(delta, boxes), delta, boxes, sliding, padding,
            divisors=counts, result_width=counts.shape[1],
        )  # fmt: skip
        return out

    def mean(self, x: Array, cells: int) -> Array:
        """One launch."""
        n, height, width, channels = x.shape
        out = self.device.empty((n, 1, 1, channels), x.dtype)
        grid = -(-channels // 32), n, 1
        self.device.launch(
            "mean", (_stored(x),), grid, out=out, x=x, cells=height * width, channels=channels, count=cells
        )
        return out

    def resample(self, x: Array, rows: Weight, columns: Weight) -> Array:
        """A launch an axis."""
        n, height, width, channels = x.shape
        (tall, _), (wide, _) = rows.array.shape, columns.array.shape
        between = self.device.empty((n, tall, width, channels), x.dtype)
        out = self.device.empty((n, tall, wide, channels), x.dtype)
        for to, of, matrix, count, length, outer, inner in (
            (between, x, rows, tall, height, n, width * channels),
            (out, between, columns, wide, width, n * tall, channels),
        ):
            self.device.launch(
                "resample", (_stored(x),), (blocks(count * inner), outer, 1), out=to, x=of,
                matrix=self._form(matrix, "matrix", lambda m: m), count=count, length=length, inner=inner,
            )  # fmt: skip
        return out

    def dense(self, x: Array, weight: Weight, bias: Weight | None, kernel: str = "full") -> Array:
        """cuBLAS's product, or as a convolution of one tap over a map of one row."""
        precision = "fp32" if kernel in ("full", "delta") else kernel
        if not self.native:
            return library.dense(self.device, x, weight, bias, precision)
        *cells, inner = x.shape
        row = Boxes.whole(1, Size(1, int(np.prod(cells))))
        filters = weight.form("as filters", lambda w: Weight(w[:, :, None, None]))
        one = Sliding((1, 1))
        laid = Delta(row, x.reshape(1, 1, -1, inner))
        out = self._gemm(laid, row, filters, bias, one, 1, NO_MARGINS, precision, None)
        return out.reshape(*cells, -1)

    # Cell by cell.

    def _combine(self, out: Array, program: Program, inputs: Sequence[Array], parameters: Parameters) -> None:
        """One launch of ``location_wise``: a program of arrays of one shape."""
        channels = out.shape[-1]
        encoding = self._encoding(program, max(len(inputs), 1), parameters, channels)
        assert encoding is not None, "only pieces that the interpreter takes are given"
        a, b, c = (*inputs, None, None)[:3]
        assert a is not None, "at least one input"
        v = _wide(channels)
        self.device.launch(
            "location_wise", (_stored(a), _stored(out), v), (blocks(out.size // int(v)), 1, 1),
            out=out, a=a, b=b, c=c, total=out.size, channels=channels, **encoding,
        )  # fmt: skip

    def location_wise(self, x: Array, program: Program, parameters: Parameters, overwrite: bool) -> Array:
        """One launch, or one for each piece between functions over channels."""
        if self._encoding(program, 1, parameters, x.shape[-1]) is not None:
            out = x if overwrite else self.device.empty(x.shape, x.dtype)
            self._combine(out, program, [x], parameters)
            return out
        values: dict[int, Array] = {0: x}
        for start, stop in runs(program):
            out = self.device.empty(x.shape, x.dtype)
            if program[start].function in OVER_CHANNELS:
                self._over_channels(out, program[start], values)
            else:
                piece, outer = cut(program, start, stop)
                self._combine(out, piece, [values[i] for i in outer] or [x], parameters)
            values[stop] = out
        return values[len(program)]

    def _over_channels(self, out: Array, instruction: Instruction, values: dict[int, Array]) -> None:
        first, *rest = instruction.operands
        assert isinstance(first, int), "a function over channels is of a map"
        (eps,) = rest or (0.0,)
        cells = out.size // out.shape[-1]
        self.device.launch(
            "over_channels", (instruction.function.upper(),), (cells, 1, 1), 128,
            out=out, x=values[first], channels=out.shape[-1], eps=eps,
        )  # fmt: skip

    def add(self, x: Array, y: Array, overwrite: bool) -> Array:
        """One launch."""
        out = x if overwrite else self.device.empty(x.shape, x.dtype)
        self._combine(out, (Instruction("add", (0, 1)),), [x, y], {})
        return out

    def multiply(self, x: Array, y: Array, overwrite: bool) -> Array:
        """One launch."""
        out = x if overwrite else self.device.empty(x.shape, x.dtype)
        self._combine(out, (Instruction("mul", (0, 1)),), [x, y], {})
        return out

    def concatenate(self, parts: Sequence[Array]) -> Array:
        """A launch for each."""
        n, height, width, _ = parts[0].shape
        whole = Boxes.whole(n, Size(height, width))
        stored = _stored(parts[0])
        out = self._empty(n, whole.extent, sum(part.shape[-1] for part in parts), stored)
        first = 0
        for part in parts:
            self._superimpose(out, whole, [Delta(whole, part)], stored=stored, channels=(first, part.shape[-1]))
            first += part.shape[-1]
        return out

    def expand(self, x: Array, extent: Size, channels: int, n: int | None = None) -> Array:
        """One launch, into memory of its own; ``n`` times where x is of one position."""
        out = self.device.empty((n or len(x), *extent, channels), x.dtype)
        _, height, width, own = x.shape
        self.device.launch(
            "expand", (_stored(x),), self._grid(out, "1"), out=out, **_extent(out), x=x, n=len(x),
            x_height=height, x_width=width, x_channels=own,
        )  # fmt: skip
        return out

    def repeat(self, view: Array, n: int) -> Array:
        """One launch."""
        height, width, channels = view.shape
        return self.expand(view.reshape(1, height, width, channels), Size(height, width), channels, n)

    def pad(self, x: Array, margins: Margins, value: float) -> Array:
        """One launch."""
        n, height, width, channels = x.shape
        top, left, bottom, right = margins
        frames = Boxes(np.tile(np.array([[-top, -left]]), (n, 1)), Size(top + height + bottom, left + width + right))
        out = self._empty(n, frames.extent, channels, _stored(x))
        delta = Delta(Boxes.whole(n, Size(height, width)), x)
        self._superimpose(out, frames, [delta], outside=value, stored=_stored(x))
        return out

    def take_channels(self, x: Array, order: Sequence[int]) -> Array:
        """One launch."""
        n, height, width, channels = x.shape
        out = self.device.empty((n, height, width, len(order)), x.dtype)
        self.device.launch(
            "take_channels", (_stored(x),), (blocks(out.size), 1, 1), out=out, x=x, cells=n * height * width,
            channels=channels, taken=len(order), order=self.device.upload(np.array(order, np.int32)),
        )  # fmt: skip
        return out

    def take_cells(self, x: Array, rows: IntArray, columns: IntArray) -> Array:
        """One launch."""
        n, height, width, channels = x.shape
        out = self.device.empty((n, rows.shape[1], columns.shape[1], channels), x.dtype)
        v = _wide(channels)
        self.device.launch(
            "take_cells", (_stored(x), v), self._grid(out, v), out=out, **_extent(out), x=x, x_height=height,
            x_width=width, rows=self.device.upload(rows.astype(np.int32)),
            columns=self.device.upload(columns.astype(np.int32)),
        )  # fmt: skip
        return out


def _extent(out: Array) -> dict[str, int]:
    _, height, width, channels = out.shape
    return {"height": height, "width": width, "channels": channels}


def _stored(x: Array) -> str:
    """How an array's numbers are kept, as C++ names it."""
    return "float" if x.dtype == np.float32 else "bf16"
