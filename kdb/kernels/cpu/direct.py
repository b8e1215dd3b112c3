"""PyTorch's convolutions: ``direct`` in float32, and ``bf16`` for deltas, where the query permits fewer bits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kdb.geometry import Size
from kdb.kernels.base import ConvolutionSpec, Sliding
from kdb.kernels.cpu import library
from kdb.kernels.cpu.convolution import CpuConvolution
from kdb.kernels.kernel import ConvolutionShape
from kdb.kernels.work import ELEMENT, Rates, Work

if TYPE_CHECKING:
    from kdb.kernels.cpu.backend import CpuBackend

FloatArray = npt.NDArray[np.float32]


class _OfLibrary(CpuConvolution):
    """Either of them."""

    def work(self, shape: ConvolutionShape, x: Size, outputs: Size) -> Work:
        """As of all kernels, and with a stride what the delta is embedded in, and the library copies of that."""
        work = super().work(shape, x, outputs)
        if max(shape.sliding.stride) == 1:
            return work
        windows = shape.sliding.windows(shape.padding)
        frame = math.prod((n - 1) * window.stride + window.reach for n, window in zip(outputs, windows, strict=True))
        return work._replace(bytes=3 * ELEMENT * frame * shape.inputs)


class Direct(_OfLibrary):
    """The library's convolution in float32."""

    setting = "direct"
    rates: Mapping[str, Rates] = {
        "direct.wide": ((32, 44e9), (64, 56e9), (128, 59e9), (512, 62e9)),
        "direct.point": ((32, 19e9), (64, 45e9), (128, 51e9), (512, 53e9)),
        "direct.narrow": ((13, 38e9),),
        "direct.depthwise": ((1, 16e9),),
    }

    def applies(self, backend: CpuBackend, sliding: Sliding, groups: int) -> bool:
        """Everywhere, unless the backend does without libraries."""
        return not backend.native

    def evaluate(self, backend: CpuBackend, x: FloatArray, spec: ConvolutionSpec) -> FloatArray:
        """The convolution of x [n, h, w, in]: [n, h', w', out]."""
        return library.convolve(x, spec)


class Reduced(_OfLibrary):
    """The library's convolution in bfloat16, of deltas alone."""

    rates: Mapping[str, Rates] = {
        "bf16.wide": ((32, 80e9), (64, 106e9), (128, 115e9), (512, 129e9)),
        "bf16.point": ((32, 24e9), (64, 53e9), (128, 75e9), (512, 94e9)),
        "bf16.narrow": ((13, 39e9),),
        "bf16.depthwise": ((1, 8.5e9),),
    }

    def applies(self, backend: CpuBackend, sliding: Sliding, groups: int) -> bool:
        """Where the query permits it and the processor multiplies in bfloat16."""
        return backend.multiplies_bf16

    def evaluates(self, backend: CpuBackend, sliding: Sliding, groups: int) -> bool:
        """Nowhere: whole maps are computed in float32."""
        return False

    def evaluate(self, backend: CpuBackend, x: FloatArray, spec: ConvolutionSpec) -> FloatArray:
        """The convolution of x [n, h, w, in]: [n, h', w', out], float32 that was rounded to bfloat16."""
        return library.convolve(x, spec, reduced=True)


DIRECT, BF16 = Direct("direct"), Reduced("bf16")
