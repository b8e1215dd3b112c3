"""The backends that are checked: every precision, with all kernels and with kdb's own alone."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.gpu_check.check import Check
from benchmarks.gpu_check.full_inference import PRECISIONS
from kdb.kernels.base import Backend
from kdb.kernels.cpu.backend import CpuBackend
from kdb.kernels.gpu import device as gpu
from kdb.kernels.gpu.backend import GpuBackend

OWN = {"auto": "all", "native": "own"}
"""Values of ``SET kernels``, and their names in the report."""


def precisions(check: Check) -> tuple[str, ...]:
    """The precisions that the device has: all but tf32 on a CPU."""
    return tuple(each for each in PRECISIONS if check.device == "cuda" or each != "tf32")


def backends(check: Check) -> Iterator[tuple[str, Backend]]:
    """The backends, each with its name for the report."""
    for precision in precisions(check):
        for kernels, shown in OWN.items():
            native = kernels == "native"
            backend: Backend
            if check.device == "cuda":
                backend = GpuBackend(gpu.opened(), native, precision)
            else:
                backend = CpuBackend(native, reduced=precision == "bf16")
            yield f"{precision}, {shown}", backend
