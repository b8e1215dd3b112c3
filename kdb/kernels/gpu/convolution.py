"""What the GPU's convolution kernels share: one object for each precision of deltas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdb.kernels.base import Sliding
from kdb.kernels.gpu.data_sheet import PEAKS, convolution_rates
from kdb.kernels.kernel import ConvolutionKernel

if TYPE_CHECKING:
    from kdb.kernels.gpu.backend import GpuBackend


class GpuConvolution(ConvolutionKernel):
    """A kernel that rounds operands to ``precision``: fp32, tf32 or bf16; whole maps are computed in fp32 alone."""

    share: float
    """The share of a data sheet's peak that it reaches on wide layers in fp32."""
    slowdown = 1.0
    """What is left of that share at fewer bits."""

    def __init__(self, setting: str, precision: str) -> None:
        super().__init__(setting if precision == "fp32" else f"{setting}.{precision}")
        self.setting, self.precision = setting, precision
        full = PEAKS[precision] * self.share * (1.0 if precision == "fp32" else self.slowdown)
        self.rates = convolution_rates(self.name, full)

    def available(self, backend: GpuBackend) -> bool:
        """Whether the backend can run it at all."""
        return True

    def applies(self, backend: GpuBackend, sliding: Sliding, groups: int) -> bool:
        """At the precision that the query permits for deltas."""
        return self.precision == backend.precision and self.available(backend)

    def evaluates(self, backend: GpuBackend, sliding: Sliding, groups: int) -> bool:
        """In fp32."""
        return self.precision == "fp32" and self.available(backend)
