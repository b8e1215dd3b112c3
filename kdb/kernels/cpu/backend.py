"""The CPU backend: numpy, and PyTorch's convolution as a declared competitor of the numpy ones.

Written to be read: it is the oracle of the other backends.  Threads are the executor's business; everything here runs
in the calling thread, on as many threads as that thread's BLAS is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kdb.kernels.base import Product, Tail
from kdb.kernels.compiled import library as compiled
from kdb.kernels.cpu import library
from kdb.kernels.cpu.deltas import CpuDeltas
from kdb.kernels.cpu.dense import DENSE, DENSE_BF16, DENSE_DELTA
from kdb.kernels.cpu.dense_c import DENSE_C
from kdb.kernels.cpu.depthwise_c import DEPTHWISE_C
from kdb.kernels.cpu.direct import BF16, DIRECT
from kdb.kernels.cpu.maps import CpuMaps
from kdb.kernels.cpu.max_pool_c import MAX_POOL_C
from kdb.kernels.cpu.memory import CpuMemory
from kdb.kernels.cpu.pointwise_c import POINTWISE_C
from kdb.kernels.cpu.recompute import CpuRecompute
from kdb.kernels.cpu.taps import TAPS
from kdb.kernels.cpu.taps_c import TAPS_C
from kdb.kernels.cpu.union_c import UNION_C
from kdb.kernels.cpu.windows import CpuWindows
from kdb.kernels.cpu.winograd import WINOGRAD
from kdb.kernels.cpu.winograd_c import WINOGRAD_C
from kdb.kernels.kernel import Kernel, Kernels, MaxPoolKernel, PointwiseVerb, SumKernel
from kdb.kernels.programs import PASSES
from kdb.kernels.traits import DeviceTraits
from kdb.system.threads import NewThreads, Threads

FloatArray = npt.NDArray[np.float32]

KERNELS: tuple[Kernel, ...] = (
    DIRECT,
    TAPS,
    WINOGRAD,
    WINOGRAD_C,
    TAPS_C,
    DEPTHWISE_C,
    BF16,
    CpuRecompute(DIRECT),
    CpuRecompute(TAPS),
    DENSE,
    DENSE_DELTA,
    DENSE_C,
    DENSE_BF16,
    PointwiseVerb("full", whole=True, passes=PASSES),
    PointwiseVerb("delta", whole=False, passes=PASSES),
    POINTWISE_C,
    SumKernel("union"),
    UNION_C,
    MaxPoolKernel("recompute"),
    MAX_POOL_C,
)
"""All kernels of the CPU, the most general of a kind first."""

TRAITS = DeviceTraits(
    computes_on_host=True,
    fuses_epilogues=True,
    workers=None,
    groups_in_flight=0,
    # Far fewer lose to calls where layers are thin, far more to memory and longer extents; where the extents of boxes
    # differ from position to position, as those that a scored region cuts off, fewer share less.
    batch_sizes=(8, 16, 48),
    usual_batch=48,
    most_positions=None,
    buffer_bytes=512 << 20,
    buffer_positions=256,
    full_batch_bytes=48 << 20,  # beyond, arrays cost more to move than batching saves
    full_batch=64,
)


class CpuBackend:
    """Kernels and verbs on numpy arrays.

    ``native`` leaves PyTorch out altogether; ``reduced`` permits bf16 for deltas.  Unless native, matrices are
    multiplied by PyTorch's BLAS, which on x86 is MKL: a fifth to a half faster on these shapes than numpy's.
    """

    traits = TRAITS

    def __init__(self, native: bool = False, reduced: bool = False) -> None:
        self.name = "numpy" if native else "cpu"
        self.native = native
        self.threads: Threads = NewThreads()
        self.product: Product = np.matmul if native else library.multiply
        self.multiplies_bf16 = reduced and not native and library.multiplies_bf16()
        """Whether deltas may be rounded to bfloat16, and the processor multiplies it faster than float32."""
        self.memory, self.deltas = CpuMemory(), CpuDeltas()
        self.windows, self.maps = CpuWindows(native), CpuMaps()
        self.kernels = Kernels(self, KERNELS)

    @property
    def title(self) -> str:
        """The name, and the instructions that kernels were compiled for."""
        return self.name if self.compiled is None else f"{self.name} with kernels for {self.compiled.variant}"

    @cached_property
    def compiled(self) -> compiled.Library | None:
        """The compiled kernels, if there are any; raises BindError where they are asked for wrongly."""
        return None if self.native else compiled.found().library

    def running(self) -> AbstractContextManager[None]:
        """Nothing to enter: threads are the executor's."""
        return nullcontext()

    def synchronize(self) -> None:
        """Nothing to wait for: every call has computed its result when it returns."""

    def framework(self, tail: Tail, inputs: Sequence[FloatArray]) -> FloatArray:
        """``tail`` of maps [n, H, W, C], by PyTorch: [n, 1, 1, K]."""
        return library.framework(tail, inputs)
