"""Whole maps cell by cell: the verbs of ``cells.cu`` and ``channels.cu``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from kdb.geometry import Boxes, IntArray, Margins, Size
from kdb.kernels.base import Array, Delta, Instruction, Parameters, Program
from kdb.kernels.gpu.device import blocks
from kdb.kernels.gpu.launcher import Launcher, extent_of, packs_of, stored_as
from kdb.kernels.gpu.on_host import OnHost
from kdb.kernels.gpu.programs import OVER_CHANNELS, cut, runs


class GpuMaps:
    """The family of whole maps, on a device's arrays."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher, self._device = launcher, launcher.device
        self._on_host = OnHost(launcher)

    def pointwise(self, x: Array, program: Program, parameters: Parameters, donate: bool) -> Array:
        """``f(x)``, by one launch, or one for each piece between functions over channels."""
        if self._launcher.encoding(program, 1, parameters, x.shape[-1]) is not None:
            out = x if donate else self._device.empty(x.shape, x.dtype)
            self._launcher.combine(out, program, [x], parameters)
            return out
        values: dict[int, Array] = {0: x}
        for start, stop in runs(program):
            out = self._device.empty(x.shape, x.dtype)
            if program[start].function in OVER_CHANNELS:
                self._over_channels(out, program[start], values)
            else:
                piece, outer = cut(program, start, stop)
                self._launcher.combine(out, piece, [values[i] for i in outer] or [x], parameters)
            values[stop] = out
        return values[len(program)]

    def _over_channels(self, out: Array, instruction: Instruction, values: dict[int, Array]) -> None:
        first, *rest = instruction.operands
        assert isinstance(first, int), "a function over channels is of a map"
        (eps,) = rest or (0.0,)
        cells = out.size // out.shape[-1]
        self._device.launch(
            "over_channels", (instruction.function.upper(),), (cells, 1, 1), 128,
            out=out, x=values[first], channels=out.shape[-1], eps=eps,
        )  # fmt: skip

    def add(self, x: Array, y: Array, donate: bool) -> Array:
        """``x + y``."""
        out = x if donate else self._device.empty(x.shape, x.dtype)
        self._launcher.combine(out, (Instruction("add", (0, 1)),), [x, y], {})
        return out

    def multiply(self, x: Array, y: Array, donate: bool) -> Array:
        """``x * y``."""
        out = x if donate else self._device.empty(x.shape, x.dtype)
        self._launcher.combine(out, (Instruction("mul", (0, 1)),), [x, y], {})
        return out

    def mixed(self, x: Array, matrix: Array) -> Array:
        """On the host."""
        rows = self._on_host.download(matrix)
        return self._on_host.of(lambda values: self._on_host.maps.mixed(values, rows), x)

    def concatenate(self, parts: Sequence[Array]) -> Array:
        """The parts stacked along the channels, by a launch for each."""
        n, *size, _ = parts[0].shape
        whole = Boxes.whole(n, tuple(size))
        stored = stored_as(parts[0])
        out = self._launcher.empty(n, whole.extent, sum(part.shape[-1] for part in parts), stored)
        first = 0
        for part in parts:
            self._launcher.superimpose(
                out, whole, [Delta(whole, part)], stored=stored, channels=(first, part.shape[-1])
            )
            first += part.shape[-1]
        return out

    def join(self, parts: Sequence[Array], axis: int) -> Array:
        """The sum of the parts, each with zeros where the others are."""
        behind, before = sum(part.shape[1 + axis] for part in parts), 0
        padded = []
        for part in parts:
            behind -= part.shape[1 + axis]
            margins = [0] * 4
            margins[axis], margins[2 + axis] = before, behind
            padded.append(self.pad(part, tuple(margins), 0.0))
            before += part.shape[1 + axis]
        return reduce(lambda x, y: self.add(x, y, True), padded)

    def expand(self, x: Array, extent: Size, channels: int, n: int | None = None) -> Array:
        """x repeated along axes of length 1, copied; to ``n`` positions where it has one."""
        out = self._device.empty((n or len(x), *extent, channels), x.dtype)
        _, height, width, own = x.shape
        self._device.launch(
            "expand", (stored_as(x),), self._launcher.grid(out, "1"), out=out, **extent_of(out), x=x, n=len(x),
            x_height=height, x_width=width, x_channels=own,
        )  # fmt: skip
        return out

    def repeat(self, view: Array, n: int) -> Array:
        """A view as the map of ``n`` positions, copied."""
        *size, channels = view.shape
        return self.expand(view.reshape(1, *view.shape), tuple(size), channels, n)

    def pad(self, x: Array, margins: Margins, value: float) -> Array:
        """``value`` around x; a negative margin crops."""
        n, height, width, channels = x.shape
        top, left, bottom, right = margins
        frames = Boxes(np.tile(np.array([[-top, -left]]), (n, 1)), (top + height + bottom, left + width + right))
        out = self._launcher.empty(n, frames.extent, channels, stored_as(x))
        delta = Delta(Boxes.whole(n, (height, width)), x)
        self._launcher.superimpose(out, frames, [delta], outside=value, stored=stored_as(x))
        return out

    def take_channels(self, x: Array, order: Sequence[int]) -> Array:
        """``x[..., order]``, copied."""
        n, height, width, channels = x.shape
        out = self._device.empty((n, height, width, len(order)), x.dtype)
        self._device.launch(
            "take_channels", (stored_as(x),), (blocks(out.size), 1, 1), out=out, x=x, cells=n * height * width,
            channels=channels, taken=len(order), order=self._device.upload(np.array(order, np.int32)),
        )  # fmt: skip
        return out

    def take_cells(self, x: Array, cells: Sequence[IntArray]) -> Array:
        """``x[i, rows[i]][:, columns[i]]``, copied; zero where an index lies outside of x."""
        rows, columns = cells
        n, height, width, channels = x.shape
        out = self._device.empty((n, rows.shape[1], columns.shape[1], channels), x.dtype)
        v = packs_of(channels)
        self._device.launch(
            "take_cells", (stored_as(x), v), self._launcher.grid(out, v), out=out, **extent_of(out),
            x=x, x_height=height, x_width=width, rows=self._device.upload(rows.astype(np.int32)),
            columns=self._device.upload(columns.astype(np.int32)),
        )  # fmt: skip
        return out

    def interleave(self, x: Array, factors: Size) -> Array:
        """On the host."""
        return self._on_host.of(lambda values: self._on_host.maps.interleave(values, factors), x)
