"""The paper's Algorithm 1 as a delta rule of convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kdb.geometry import Boxes
from kdb.kernels.base import NO_MARGINS, ConvolutionSpec, Delta, Epilogue
from kdb.kernels.cpu import boxed
from kdb.kernels.kernel import Recompute

if TYPE_CHECKING:
    from kdb.kernels.cpu.backend import CpuBackend

FloatArray = npt.NDArray[np.float32]


class CpuRecompute(Recompute):
    """Algorithm 1 on numpy arrays."""

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
        """The context read in, the delta superimposed, both convolved, less the view."""
        assert view is not None and result is not None, "it reads views"
        context = boxed.context(delta, view, boxes.read_in(spec.windows), 0.0)
        y: FloatArray = self.by.evaluate(backend, context, spec.padded(NO_MARGINS))
        y -= boxed.gather(result, boxes)
        return y
