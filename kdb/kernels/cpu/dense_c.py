"""Dense layers in C, by weights that are packed once; of a delta's box in a whole map only its cells are multiplied."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kdb.geometry import Size
from kdb.kernels.base import Delta, Weight
from kdb.kernels.cpu import gathered
from kdb.kernels.kernel import DenseKernel
from kdb.kernels.work import ELEMENT, Rates, Work

if TYPE_CHECKING:
    from kdb.kernels.cpu.backend import CpuBackend

FloatArray = npt.NDArray[np.float32]


class CompiledDense(DenseKernel):
    """The product, of the cells of a map one after the other."""

    setting = "compiled"
    optional = True
    rates: Mapping[str, Rates] = {"dense.c": ((64, 40e9), (256, 60e9), (1024, 64e9), (4096, 64e9))}

    def applies(self, backend: CpuBackend) -> bool:
        """Where there is a library."""
        return backend.compiled is not None

    def evaluates(self, backend: CpuBackend) -> bool:
        """Where there is a library."""
        return backend.compiled is not None

    def work(self, inputs: int, outputs: int, cells: int) -> Work:
        """Its work for ``cells`` of one position; the weights are packed once."""
        weights = ELEMENT * inputs * outputs
        return Work("dense.c", inputs * outputs * cells, 0, 1, math.isqrt(inputs * outputs), weights, weights)

    def run(self, backend: CpuBackend, x: FloatArray, weight: Weight, bias: Weight | None) -> FloatArray:
        """``x W^T + b`` over the channels of x [n, h, w, in]: [n, h, w, out]."""
        rows = x.reshape(-1, x.shape[-1])
        y = self._multiplied(backend, gathered.Rows.all_in_one(len(rows)), rows, weight, len(rows), bias)
        return y.reshape(*x.shape[:-1], -1)

    def map_work(self, channels: int, size: Size, extent: Size, outputs: int) -> Work:
        """The products of the cells of the delta, by the weights of all."""
        pairs, cells = channels * outputs, math.prod(size)
        weights = ELEMENT * pairs * cells
        return Work("dense.c", pairs * math.prod(extent), 0, 1, math.isqrt(pairs * cells), weights, weights)

    def map_delta(self, backend: CpuBackend, delta: Delta, size: Size, weight: Weight) -> FloatArray:
        """``d W^T`` of deltas in a map of ``size``, by a weight [out, H W in] of all its numbers: [n, 1, 1, out]."""
        n, channels = len(delta.boxes), delta.values.shape[-1]
        cells = delta.boxes.cells(size).reshape(n, -1)
        position = np.repeat(np.arange(n), cells.shape[1])
        rows = gathered.Rows.by_group(math.prod(size), cells.reshape(-1), position)
        y = self._multiplied(backend, rows, delta.values.reshape(-1, channels), weight, n, None)
        return y.reshape(n, *(1 for _ in size), -1)

    def _multiplied(
        self,
        backend: CpuBackend,
        rows: gathered.Rows,
        x: FloatArray,
        weight: Weight,
        count: int,
        bias: Weight | None,
    ) -> FloatArray:
        """As ``gathered`` does it; the weight [out, groups * in] has as many groups as ``rows``."""
        compiled = backend.compiled
        assert compiled is not None, "it applies where there is a library"
        inner, outer = x.shape[-1], len(weight.array)

        def packed(array: FloatArray) -> FloatArray:
            return gathered.packed(array.reshape(outer, -1, inner).transpose(1, 2, 0), compiled)

        panels = weight.layout(f"{compiled.variant}/dense/{inner}", packed)
        return gathered.multiplied(compiled, rows, x, panels, count, outer, None if bias is None else bias.array)


DENSE_C = CompiledDense("dense.c")
