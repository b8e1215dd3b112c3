"""The implicit matrix product of ``convolution.cu``, and its kernel for depthwise convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdb.geometry import Boxes, Size
from kdb.kernels.base import Array, ConvolutionSpec, Delta, Epilogue, Program
from kdb.kernels.gpu.convolution import GpuConvolution
from kdb.kernels.gpu.data_sheet import PEAKS
from kdb.kernels.gpu.programs import encode

if TYPE_CHECKING:
    from kdb.kernels.gpu.backend import GpuBackend


class Gemm(GpuConvolution):
    """One launch, with the epilogue if there is one."""

    share = 0.3
    slowdown = 0.5  # thin layers wait for memory, whatever multiplies

    def __init__(self, precision: str) -> None:
        super().__init__("gemm", precision)

    def fuses(self, program: Program) -> bool:
        """Where the program is one that the kernels' interpreter takes."""
        return encode(program) is not None

    def evaluate(self, backend: GpuBackend, x: Array, spec: ConvolutionSpec) -> Array:
        """The convolution of x [n, h, w, in]: [n, h', w', out]."""
        n, height, width, _ = x.shape
        y, x_ = spec.windows
        out = Size(y.output_length(height), x_.output_length(width))
        whole = Delta(Boxes.whole(n, Size(height, width)), x)
        return backend.gemm(whole, Boxes.whole(n, out), spec, self.precision, None)

    def delta(
        self,
        backend: GpuBackend,
        spec: ConvolutionSpec,
        delta: Delta,
        boxes: Boxes,
        view: Array | None = None,
        result: Array | None = None,
        epilogue: Epilogue | None = None,
    ) -> Array:
        """``W * d`` over the boxes, and the epilogue of that."""
        return backend.gemm(delta, boxes, spec.linear(spec.padding), self.precision, epilogue)


GEMM = tuple(map(Gemm, PEAKS))
"""In fp32, tf32 and bf16."""
