"""The verbs as launches.  Deltas are kept as they are multiplied: in bf16 where the query permits it, else in float32.

Views and whole maps are float32 always.  A device does the launching, so that the same verbs run on CUDA, under
emulation, and on nothing at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kdb.kernels.base import Array, Program, Sliding, Tail
from kdb.kernels.gpu.programs import encode
from kdb.kernels.gpu.rounding import rounding
from kdb.kernels.gpu.windows import Windows


class GpuBackend(Windows):
    """Verbs on a device's arrays.  ``native`` leaves torch's convolutions out; ``precision`` is that of deltas.

    ``memory_limit`` is in bytes of the device's memory, None for all there is.
    """

    host = False

    def delta_kernels(self, sliding: Sliding, groups: int) -> tuple[str, ...]:
        """The same at the precision of deltas."""
        kernels = self.convolution_kernels(sliding, groups)
        return kernels if self.precision == "fp32" else tuple(f"{kernel}.{self.precision}" for kernel in kernels)

    def dense_kernels(self) -> tuple[str, ...]:
        """At the precision of deltas."""
        return ("delta",) if self.precision == "fp32" else (self.precision,)

    def fuses(self, kernel: str, program: Program) -> bool:
        """Kernels of our own do, where the program is one that the interpreter takes."""
        return (kernel == "union" or kernel.startswith("gemm")) and encode(program) is not None

    def framework(self, tail: Tail, inputs: Sequence[Array]) -> Array:
        """On the device where torch runs there, otherwise on the host."""
        if self.device.has_torch:
            with rounding(tf32=False):
                y = tail([self.device.tensor(x) for x in inputs])
            return self.device.array(y.float().reshape(len(y), 1, 1, -1))
        y = tail([torch.from_numpy(self.download(x)) for x in inputs])
        return self.upload(y.float().numpy().reshape(len(y), 1, 1, -1))
