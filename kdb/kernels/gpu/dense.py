"""Dense layers: cuBLAS's product, or the implicit one of ``convolution.cu``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kdb.geometry import Boxes
from kdb.kernels.base import Array, ConvolutionSpec, Delta, Sliding, Weight
from kdb.kernels.gpu import library
from kdb.kernels.gpu.data_sheet import dense_rates
from kdb.kernels.gpu.gemm import product
from kdb.kernels.kernel import DenseKernel
from kdb.kernels.work import Work

if TYPE_CHECKING:
    from kdb.kernels.gpu.backend import GpuBackend


class Product(DenseKernel):
    """The product at a precision: on whole maps in fp32, or on deltas, by names of their own."""

    def __init__(self, name: str, precision: str, whole: bool = False) -> None:
        super().__init__(name)
        self.precision, self._whole = precision, whole
        self.rates = dense_rates("dense" if precision == "fp32" else f"{precision}.dense", precision)

    def applies(self, backend: GpuBackend) -> bool:
        """At the precision that the query permits for deltas."""
        return not self._whole and self.precision == backend.precision

    def evaluates(self, backend: GpuBackend) -> bool:
        """Whether this is the one for whole maps."""
        return self._whole

    def work(self, inputs: int, outputs: int, cells: int) -> Work:
        """Its work for ``cells`` of one position; in bf16, weights are half as many bytes."""
        work = super().work(inputs, outputs, cells)
        if self.precision != "bf16":  # the work of tf32 is costed as that of fp32
            return work
        return Work("bf16.dense", work.macs, width=math.isqrt(inputs * outputs), weights=work.weights // 2)

    def run(self, backend: GpuBackend, x: Array, weight: Weight, bias: Weight | None) -> Array:
        """``x W^T + b`` over the channels of x [n, h, w, in]: [n, h, w, out]."""
        if not backend.native:
            return library.dense(backend.device, x, weight, bias, self.precision)
        # A convolution of one tap over a map of one row.
        *cells, inner = x.shape
        row = Boxes.whole(1, (1, math.prod(cells)))
        filters = weight.layout("as filters", lambda w: Weight(w[:, :, None, None]))
        spec = ConvolutionSpec(filters, bias, Sliding((1, 1)))
        out = product(backend.launcher, Delta(row, x.reshape(1, 1, -1, inner)), row, spec, self.precision)
        return out.reshape(*cells, -1)


DENSE = (
    Product("full", "fp32", whole=True),
    Product("delta", "fp32"),
    Product("tf32", "tf32"),
    Product("bf16", "bf16"),
)
