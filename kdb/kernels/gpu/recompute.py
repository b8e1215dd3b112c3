"""The paper's Algorithm 1 as a delta rule of convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdb.geometry import Boxes
from kdb.kernels.base import NO_MARGINS, Array, ConvolutionSpec, Delta, Epilogue
from kdb.kernels.kernel import Recompute

if TYPE_CHECKING:
    from kdb.kernels.gpu.backend import GpuBackend


class GpuRecompute(Recompute):
    """Algorithm 1 by launches: context, convolution in float32, view subtracted."""

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
        """``W * (view + d) + b - result[B]``."""
        assert view is not None and result is not None, "it reads views"
        context = backend.deltas.superimposed(view, delta, boxes.read_in(spec.windows))
        y = self.by.evaluate(backend, context, spec.padded(NO_MARGINS))
        return backend.deltas.less(y, boxes, result)
