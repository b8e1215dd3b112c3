"""Runtimes that full inference is timed by: a file each, and one line here."""

from benchmarks.runtimes.base import Run, Runtime
from benchmarks.runtimes.eager import CHANNELS_FIRST, CHANNELS_LAST
from benchmarks.runtimes.inductor import INDUCTOR
from benchmarks.runtimes.onnx_runtime import ONNX_RUNTIME
from benchmarks.runtimes.open_vino import OPEN_VINO

RUNTIMES: tuple[Runtime, ...] = (
    CHANNELS_FIRST,
    CHANNELS_LAST,
    INDUCTOR,
    ONNX_RUNTIME,
    OPEN_VINO,
)

__all__ = ["RUNTIMES", "Run", "Runtime"]
