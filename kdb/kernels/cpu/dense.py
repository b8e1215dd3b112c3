"""Dense layers: one product of matrices, in float32 or, for deltas, in bfloat16."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kdb.kernels.base import Weight
from kdb.kernels.cpu import library
from kdb.kernels.cpu.taps import multiplied
from kdb.kernels.kernel import DenseKernel
from kdb.kernels.work import ELEMENT, Rates, Work

if TYPE_CHECKING:
    from kdb.kernels.cpu.backend import CpuBackend

FloatArray = npt.NDArray[np.float32]


class Product(DenseKernel):
    """The product in float32, by one name on whole maps and by another on deltas."""

    rates: Mapping[str, Rates] = {"dense": ((256, 50e9), (1024, 45e9), (4096, 41e9))}

    def __init__(self, name: str, whole: bool) -> None:
        super().__init__(name)
        self._whole = whole

    def applies(self, backend: CpuBackend) -> bool:
        """Whether this is the one for deltas."""
        return not self._whole

    def evaluates(self, backend: CpuBackend) -> bool:
        """Whether this is the one for whole maps."""
        return self._whole

    def run(self, backend: CpuBackend, x: FloatArray, weight: Weight, bias: Weight | None) -> FloatArray:
        """``x W^T + b`` over the channels of x [n, h, w, in]: [n, h, w, out]."""
        # One GEMM: numpy would take the leading axes of [n, 1, 1, in] for a stack of products, each of one row.
        rows = x.reshape(-1, x.shape[-1])
        y: FloatArray = multiplied(rows, weight.array.T, backend.product).reshape(*x.shape[:-1], -1)
        if bias is not None:
            y += bias.array
        return y


class Reduced(DenseKernel):
    """The library's product in bfloat16, of deltas alone."""

    rates: Mapping[str, Rates] = {"bf16.dense": ((256, 76e9), (1024, 140e9))}

    def applies(self, backend: CpuBackend) -> bool:
        """Where the query permits it and the processor multiplies in bfloat16."""
        return backend.multiplies_bf16

    def evaluates(self, backend: CpuBackend) -> bool:
        """Nowhere: whole maps are computed in float32."""
        return False

    def work(self, inputs: int, outputs: int, cells: int) -> Work:
        """Its work for ``cells`` of one position; weights are half as many bytes."""
        pairs = inputs * outputs
        return Work("bf16.dense", pairs * cells, width=math.isqrt(pairs), weights=ELEMENT * pairs // 2)

    def run(self, backend: CpuBackend, x: FloatArray, weight: Weight, bias: Weight | None) -> FloatArray:
        """``x W^T + b`` over the channels of x [n, h, w, in]: [n, h, w, out], float32 that was rounded to bfloat16."""
        return library.dense(x, weight, bias)


DENSE, DENSE_DELTA, DENSE_BF16 = Product("full", whole=True), Product("delta", whole=False), Reduced("bf16")
