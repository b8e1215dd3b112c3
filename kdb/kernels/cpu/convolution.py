"""The delta rule that the CPU's convolution kernels share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kdb.geometry import Boxes
from kdb.kernels.base import NO_MARGINS, ConvolutionSpec, Delta, Epilogue
from kdb.kernels.cpu import boxed
from kdb.kernels.kernel import ConvolutionKernel

if TYPE_CHECKING:
    from kdb.kernels.cpu.backend import CpuBackend

FloatArray = npt.NDArray[np.float32]


class CpuConvolution(ConvolutionKernel):
    """A kernel whose delta rule is its evaluation, of the delta with the zeros around it that the boxes read."""

    def delta(
        self,
        backend: CpuBackend,
        spec: ConvolutionSpec,
        delta: Delta,
        boxes: Boxes,
        view: FloatArray | None = None,
        result: FloatArray | None = None,
        epilogue: Epilogue | None = None,
    ) -> FloatArray:
        """``W * d`` over the boxes."""
        frames = boxes.read_in(spec.windows)
        delta = boxed.within(delta, frames)
        margins = delta.boxes.margins(frames)
        if margins is None:
            return self.scattered(backend, spec, delta, boxes, frames)
        values: FloatArray = self.evaluate(backend, delta.values, spec.linear(margins))
        return values

    def scattered(
        self, backend: CpuBackend, spec: ConvolutionSpec, delta: Delta, boxes: Boxes, frames: Boxes
    ) -> FloatArray:
        """``W * d`` where positions lie differently in the ``frames`` that the boxes read."""
        x = boxed.embed(delta.values, delta.boxes, frames)
        values: FloatArray = self.evaluate(backend, x, spec.linear(NO_MARGINS))
        return values
