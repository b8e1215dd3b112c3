"""The GPU backend.  Deltas are stored as they are multiplied: in bf16 where the query permits it, else in float32.

Views and whole maps are float32 always.  A device does the launching, so that the same backend runs on CUDA, under
emulation, and on nothing at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch

from kdb.kernels.base import Array, Program, Tail
from kdb.kernels.gpu.deltas import GpuDeltas
from kdb.kernels.gpu.dense import DENSE
from kdb.kernels.gpu.device import MOST_POSITIONS, Device
from kdb.kernels.gpu.direct import DIRECT
from kdb.kernels.gpu.gemm import GEMM
from kdb.kernels.gpu.launcher import Launcher
from kdb.kernels.gpu.maps import GpuMaps
from kdb.kernels.gpu.memory import GpuMemory
from kdb.kernels.gpu.programs import encode
from kdb.kernels.gpu.recompute import GpuRecompute
from kdb.kernels.gpu.rounding import rounding
from kdb.kernels.gpu.windows import GpuWindows
from kdb.kernels.kernel import Kernel, Kernels, MaxPoolKernel, PointwiseVerb, SumKernel
from kdb.kernels.traits import DeviceTraits
from kdb.system.threads import Threads


class Union(SumKernel):
    """One launch of ``superimpose.cu``, with the epilogue if there is one."""

    def fuses(self, backend: Any, program: Program) -> bool:
        """Where the program is one that the kernels' interpreter takes."""
        return encode(program) is not None


KERNELS: tuple[Kernel, ...] = (
    *DIRECT,
    *GEMM,
    GpuRecompute(DIRECT[0]),
    GpuRecompute(GEMM[0]),
    *DENSE,
    PointwiseVerb("full", whole=True),
    PointwiseVerb("delta", whole=False),
    Union("union"),
    MaxPoolKernel("recompute"),
)
"""All kernels of a GPU, the most general of a kind first."""

TRAITS = DeviceTraits(
    computes_on_host=False,
    fuses_epilogues=True,
    workers=1,
    groups_in_flight=1,
    batch_sizes=(64, 128, 256, 512),
    usual_batch=None,
    most_positions=MOST_POSITIONS,
    buffer_bytes=512 << 20,
    buffer_positions=1024,  # the one worker wants few, large batches
    full_batch_bytes=256 << 20,
    full_batch=256,
)
"""Of a GPU whose memory is not limited; one that is lends an eighth of it to buffers."""


class GpuBackend:
    """Kernels and verbs on a device's arrays.

    ``native`` leaves PyTorch's convolutions out; ``precision`` is that of deltas: fp32, tf32 or bf16.
    ``memory_limit`` is in bytes of the device's memory, None for all there is.
    """

    def __init__(
        self, device: Device, native: bool = False, precision: str = "fp32", memory_limit: int | None = None
    ) -> None:
        self.device, self.precision, self._limit = device, precision, memory_limit
        self.native = native or not device.has_torch
        self.name = f"{'native ' if native else ''}{device.name}"
        self.threads: Threads = device.threads
        self.launcher = Launcher(device, precision)
        self.memory, self.maps = GpuMemory(self.launcher), GpuMaps(self.launcher)
        self.deltas, self.windows = GpuDeltas(self.launcher, self.maps), GpuWindows(self.launcher)
        self.kernels = Kernels(self, KERNELS)
        room = TRAITS.buffer_bytes if memory_limit is None else min(TRAITS.buffer_bytes, memory_limit // 8)
        self.traits = replace(TRAITS, buffer_bytes=room)

    @property
    def title(self) -> str:
        """The name."""
        return self.name

    def running(self) -> AbstractContextManager[None]:
        """The device's memory pool, limited, and its stream."""
        self.device.limit_memory(self._limit)
        return self.device.running()

    def synchronize(self) -> None:
        """Wait for all that was launched."""
        self.device.synchronize()

    def framework(self, tail: Tail, inputs: Sequence[Array]) -> Array:
        """On the device where torch runs there, otherwise on the host."""
        if self.device.has_torch:
            with rounding(tf32=False):
                y = tail([self.device.tensor(x) for x in inputs])
            return self.device.array(y.float().reshape(len(y), 1, 1, -1))
        y = tail([torch.from_numpy(self.memory.download(x)) for x in inputs])
        return self.memory.upload(y.float().numpy().reshape(len(y), 1, 1, -1))
