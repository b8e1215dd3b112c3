"""Sums of deltas in C, and the pointwise layer behind them in the same pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kdb.geometry import Boxes
from kdb.kernels.base import Delta, Epilogue, Program
from kdb.kernels.compiled.library import address
from kdb.kernels.cpu.pointwise_c import POINTWISE_C, behind, lines
from kdb.kernels.kernel import SumKernel
from kdb.kernels.work import ELEMENT, Work

if TYPE_CHECKING:
    from kdb.kernels.cpu.backend import CpuBackend

FloatArray = npt.NDArray[np.float32]


class CompiledUnion(SumKernel):
    """The sum over a union of boxes, a row at a time."""

    setting = "compiled"
    optional = True

    def applies(self, backend: CpuBackend) -> bool:
        """Where there is a library."""
        return backend.compiled is not None

    def fuses(self, backend: CpuBackend, program: Program) -> bool:
        """What the library computes of pointwise layers."""
        return POINTWISE_C.applies(backend, program)

    def work(self, numbers: int) -> Work:
        """Nearly one pass: rows stay in a cache."""
        return Work("elementwise", 0, 3 * ELEMENT * numbers // 2)

    def run(self, backend: CpuBackend, deltas: Sequence[Delta], boxes: Boxes, epilogue: Epilogue | None) -> FloatArray:
        """The sum of one or two deltas over ``boxes``, which cover all of theirs, and its epilogue."""
        compiled = backend.compiled
        assert compiled is not None, "it applies where there is a library"
        channels = deltas[0].values.shape[-1]
        first, *rest = sorted(deltas, key=lambda d: not (d.donate and d.fills(boxes) and _plain(d.values)))
        taken = first.donate and first.fills(boxes) and _plain(first.values)
        out = first.values if taken else np.empty((len(boxes), *boxes.extent, channels), np.float32)
        sources = [] if taken else [first], rest
        passed: list[int | None] = []
        held: list[npt.NDArray[np.generic]] = []
        for source in sources:
            for delta in source:
                values = np.ascontiguousarray(delta.values)
                _, planes, rows, numbers = lines(delta.boxes, channels)
                at = delta.boxes.origins - boxes.origins
                at = np.pad(at, ((0, 0), (3 - at.shape[1], 0))) * (1, 1, channels)
                held += [values, at]
                passed += [address(values), address(at), planes, rows, numbers]
            if not source:
                passed += [None, None, 0, 0, 0]
        applied = behind(compiled, epilogue, boxes, channels)
        compiled.sum(*lines(boxes, channels), *passed, *applied.passed, address(out))
        return out


def _plain(values: FloatArray) -> bool:
    """Whether its memory may be written over, row by row."""
    return bool(values.flags.c_contiguous and values.flags.writeable)


UNION_C = CompiledUnion("union.c")
