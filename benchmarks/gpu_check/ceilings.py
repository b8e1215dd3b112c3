"""Limits of the device: memory bandwidth, matrix products, launches, and the first convolution of a new shape."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.gpu_check.backends import backends
from benchmarks.gpu_check.check import Check, Rows
from benchmarks.gpu_check.full_inference import permitted
from benchmarks.gpu_check.subject import clock
from kdb.geometry import Size
from kdb.kernels.base import ConvolutionSpec, Sliding, Weight

REPEATS = 20


def ceilings(check: Check, rows: Rows, network: str) -> None:
    """Report the limits of the device; they do not depend on ``network``."""
    large = check.device == "cuda"
    with torch.inference_mode():
        _copy(check, rows, 2**30 if large else 2**26)
        for precision in ("fp32", "tf32", "bf16") if large else ("fp32", "bf16"):
            _product(check, rows, precision, 8192 if large else 512)
    label, backend = next(backends(check))
    with backend.running(), torch.inference_mode():
        tiny = backend.memory.upload(np.zeros((1, 1, 1, 4), np.float32))
        rows(
            "Launches", what=f"a sum of four numbers ({label})",
            us_each=_queued(lambda: backend.maps.add(tiny, tiny, True), backend.synchronize) * 1e6,
        )  # fmt: skip
        x = backend.memory.upload(np.random.default_rng(0).standard_normal((8, 14, 14, 32)).astype(np.float32))
        spec = ConvolutionSpec(Weight(np.ones((32, 32, 3, 3), np.float32)), None, Sliding((3, 3)), 1, (1, 1, 1, 1))
        kernel = backend.kernels.convolution(spec.sliding, 1)[0]

        def ours() -> object:
            return kernel.evaluate(backend, x, spec)

        rows(
            "Launches",
            what=f"a convolution through kdb ({kernel.name})",
            us_each=_queued(ours, backend.synchronize) * 1e6,
        )
        channels_last = torch.randn(8, 32, 14, 14, device=check.device).contiguous(memory_format=torch.channels_last)
        filters = torch.ones(32, 32, 3, 3, device=check.device).contiguous(memory_format=torch.channels_last)
        theirs = _queued(lambda: F.conv2d(channels_last, filters, padding=1), lambda: _synchronize(check))
        rows("Launches", what="the same by torch alone", us_each=theirs * 1e6)
    _new_shapes(check, rows, (13, 17))


def _synchronize(check: Check) -> None:
    if check.device == "cuda":
        torch.cuda.synchronize()


def _steady(check: Check, call: Callable[[], object]) -> float:
    """Median seconds of single calls, with synchronisation after each."""

    def waited() -> None:
        call()
        _synchronize(check)

    waited()
    return float(np.median([clock(waited) for _ in range(REPEATS)]))


def _queued(call: Callable[[], object], synchronize: Callable[[], None], count: int = 500) -> float:
    """Mean seconds of ``count`` calls, with synchronisation after the last one only."""
    for _ in range(10):
        call()
    synchronize()
    start = time.perf_counter()
    for _ in range(count):
        call()
    synchronize()
    return (time.perf_counter() - start) / count


def _copy(check: Check, rows: Rows, count: int) -> None:
    """Report the bandwidth of a copy of ``count`` bytes; bytes read and written both count."""
    x = torch.randint(0, 255, (count,), dtype=torch.uint8, device=check.device)
    y = torch.empty_like(x)
    rows("Ceilings", what="copy, GB/s", value=2 * count / _steady(check, lambda: y.copy_(x)) / 1e9)


def _product(check: Check, rows: Rows, precision: str, side: int) -> None:
    """Report the rate of a product of two square matrices."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=check.device).to(dtype) for _ in range(2))
    with permitted(precision):
        seconds = _steady(check, lambda: a @ b)
    rows("Ceilings", what=f"product of {side}^2 in {precision}, TFLOP/s", value=2 * side**3 / seconds / 1e12)


def _new_shapes(check: Check, rows: Rows, extent: Size) -> None:
    """Report the time of a shape's first convolution, of its second, and of its first in another thread."""
    filters = torch.ones(32, 32, 3, 3, device=check.device)
    seconds: dict[str, list[float]] = {}

    def timed(what: str, n: int) -> None:
        x = torch.randn(n, 32, *extent, device=check.device)
        _synchronize(check)
        begun = time.perf_counter()
        with torch.inference_mode():
            F.conv2d(x, filters, padding=1)
        _synchronize(check)
        seconds.setdefault(what, []).append(time.perf_counter() - begun)

    timed("warm-up", 2)
    for n in range(3, 3 + REPEATS):
        timed("a new shape", n)
        timed("the same again", n)

    def another() -> None:
        for n in range(3, 3 + REPEATS):
            timed("the same, in a new thread", n)

    thread = threading.Thread(target=another)
    thread.start()
    thread.join()
    for what, each in seconds.items():
        if what != "warm-up":
            rows("New shapes of a convolution", what=what, median_ms=float(np.median(each)) * 1e3)
