"""Cell by cell: pointwise functions, sums and products of maps, selections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kdb.geometry import IntArray, Size
from kdb.kernels.base import Array, Instruction, Parameters, Program
from kdb.kernels.gpu.device import blocks
from kdb.kernels.gpu.memory import Memory, extent_of, packs_of, stored_as
from kdb.kernels.gpu.programs import OVER_CHANNELS, cut, runs


class Cells(Memory):
    """The verbs of ``cells.cu`` and ``channels.cu`` on whole arrays."""

    def _combine(self, out: Array, program: Program, inputs: Sequence[Array], parameters: Parameters) -> None:
        """One launch of ``pointwise``: a program of arrays of one shape."""
        channels = out.shape[-1]
        encoding = self._encoding(program, max(len(inputs), 1), parameters, channels)
        assert encoding is not None, "only pieces that the interpreter takes are given"
        a, b, c = (*inputs, None, None)[:3]
        assert a is not None, "at least one input"
        v = packs_of(channels)
        self.device.launch(
            "pointwise", (stored_as(a), stored_as(out), v), (blocks(out.size // int(v)), 1, 1),
            out=out, a=a, b=b, c=c, total=out.size, channels=channels, **encoding,
        )  # fmt: skip

    def pointwise(self, x: Array, program: Program, parameters: Parameters, donate: bool) -> Array:
        """One launch, or one for each piece between functions over channels."""
        if self._encoding(program, 1, parameters, x.shape[-1]) is not None:
            out = x if donate else self.device.empty(x.shape, x.dtype)
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

    def add(self, x: Array, y: Array, donate: bool) -> Array:
        """One launch."""
        out = x if donate else self.device.empty(x.shape, x.dtype)
        self._combine(out, (Instruction("add", (0, 1)),), [x, y], {})
        return out

    def multiply(self, x: Array, y: Array, donate: bool) -> Array:
        """One launch."""
        out = x if donate else self.device.empty(x.shape, x.dtype)
        self._combine(out, (Instruction("mul", (0, 1)),), [x, y], {})
        return out

    def expand(self, x: Array, extent: Size, channels: int, n: int | None = None) -> Array:
        """One launch, into memory of its own; ``n`` times where x is of one position."""
        out = self.device.empty((n or len(x), *extent, channels), x.dtype)
        _, height, width, own = x.shape
        self.device.launch(
            "expand", (stored_as(x),), self._grid(out, "1"), out=out, **extent_of(out), x=x, n=len(x),
            x_height=height, x_width=width, x_channels=own,
        )  # fmt: skip
        return out

    def repeat(self, view: Array, n: int) -> Array:
        """One launch."""
        height, width, channels = view.shape
        return self.expand(view.reshape(1, height, width, channels), Size(height, width), channels, n)

    def take_channels(self, x: Array, order: Sequence[int]) -> Array:
        """One launch."""
        n, height, width, channels = x.shape
        out = self.device.empty((n, height, width, len(order)), x.dtype)
        self.device.launch(
            "take_channels", (stored_as(x),), (blocks(out.size), 1, 1), out=out, x=x, cells=n * height * width,
            channels=channels, taken=len(order), order=self.device.upload(np.array(order, np.int32)),
        )  # fmt: skip
        return out

    def take_cells(self, x: Array, rows: IntArray, columns: IntArray) -> Array:
        """One launch."""
        n, height, width, channels = x.shape
        out = self.device.empty((n, rows.shape[1], columns.shape[1], channels), x.dtype)
        v = packs_of(channels)
        self.device.launch(
            "take_cells", (stored_as(x), v), self._grid(out, v), out=out, **extent_of(out), x=x, x_height=height,
            x_width=width, rows=self.device.upload(rows.astype(np.int32)),
            columns=self.device.upload(columns.astype(np.int32)),
        )  # fmt: skip
        return out
