"""torch's convolutions on the device: cuDNN."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdb.geometry import Boxes
from kdb.kernels.base import NO_MARGINS, Array, ConvolutionSpec, Delta, Epilogue
from kdb.kernels.gpu import library
from kdb.kernels.gpu.convolution import GpuConvolution
from kdb.kernels.gpu.data_sheet import PEAKS

if TYPE_CHECKING:
    from kdb.kernels.gpu.backend import GpuBackend


class Direct(GpuConvolution):
    """The library's convolution, after a launch that lays zeros around a delta where cuDNN cannot pad by itself."""

    derives_frames = True
    share = 0.5

    def __init__(self, precision: str) -> None:
        super().__init__("direct", precision)

    def available(self, backend: GpuBackend) -> bool:
        """Where torch computes on the device, unless the backend does without libraries."""
        return not backend.native

    def evaluate(self, backend: GpuBackend, x: Array, spec: ConvolutionSpec) -> Array:
        """The convolution of x [n, h, w, in], stored as x is: [n, h', w', out]."""
        return library.convolve(backend.device, x, spec, self.precision)

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
        """``W * d`` over the boxes."""
        frames = boxes.read_in(spec.windows)
        margins = delta.boxes.margins(frames)
        x = delta.values
        if margins is None or margins[:2] != margins[2:]:  # cuDNN pads by itself where both sides take as much
            x, margins = backend.deltas.embed(delta, frames), NO_MARGINS
        return self.evaluate(backend, x, spec.linear(margins))


DIRECT = tuple(map(Direct, PEAKS))
"""In fp32, tf32 and bf16."""
