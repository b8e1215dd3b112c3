"""Measures a machine for the cost model: each kernel on a few layers of several widths, all threads busy, in seconds.

What is timed is the operator's own delta rule, so that a rate means what the operator counts.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from kdb import cache
from kdb.geometry import Boxes, Size
from kdb.kernels.base import Delta, Instruction, Weight
from kdb.kernels.cpu import CpuBackend
from kdb.operators.base import Operator, Shape, Update
from kdb.operators.convolution import RECOMPUTE, Convolution
from kdb.operators.locationwise import Dense, LocationWise
from kdb.planner.cost import CostProfile, Rates
from kdb.threads import computing, limited_pools

FORMAT = 2
"""Of the kept file; raised whenever an operator counts its work differently, or a kernel changes its speed."""

BATCH = 48
WIDTHS = (32, 64, 128, 256, 512)
LEAST_SECONDS, TRIES = 0.02, 5
"""That one try of a measurement takes; the best try counts."""


@dataclass(frozen=True)
class _Layer:
    """A layer to be timed: its operator, the input's channels and the extent of its delta."""

    operator: Operator
    channels: int
    extent: Size


def _layers() -> Iterator[_Layer]:
    """Deltas as they are met in the middle of a network: small boxes, and larger ones where there are few channels."""

    def convolution(inner: int, outer: int, taps: int, groups: int = 1) -> Operator:
        margin = taps // 2
        return Convolution("w", None, outer, (taps, taps), padding=(margin,) * 4, groups=groups)

    for width in WIDTHS:
        extent = Size(12, 12) if width < 256 else Size(9, 9)
        yield _Layer(convolution(width, width, 3), width, extent)
        yield _Layer(convolution(width, width, 1), width, extent)
    yield _Layer(convolution(3, 64, 3), 3, Size(16, 16))
    yield _Layer(convolution(96, 96, 3, groups=96), 96, Size(9, 9))
    for width in (256, 1024, 4096):
        yield _Layer(Dense("w", None, width), width, Size(1, 1))


def busy_seconds(call: Callable[[], object], threads: int, repeats: int = 1) -> float:
    """Of one call on one thread, while ``threads`` workers do the same: they share caches, memory and power."""
    ready = threading.Barrier(threads + 1)

    def work() -> None:
        with computing(1):
            ready.wait()
            for _ in range(repeats):
                call()

    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    ready.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    return (time.perf_counter() - start) / repeats


def _seconds(call: Callable[[], object], threads: int) -> float:
    """The best try, of as many calls as a clock needs."""
    busy_seconds(call, threads)
    repeats = max(math.ceil(LEAST_SECONDS / busy_seconds(call, threads)), 1)
    return min(busy_seconds(call, threads, repeats) for _ in range(TRIES))


def measure(threads: int) -> CostProfile:
    """The profile of this machine with so many worker threads; takes some seconds."""
    with limited_pools(1):
        return _measure(threads)


def _measure(threads: int) -> CostProfile:
    backend, rng = CpuBackend(reduced=True), np.random.default_rng(0)
    small = np.zeros(8, np.float32)
    call = 8 * _seconds(lambda: np.add(small, small), threads)  # with what Python does around it
    bandwidth = _bandwidth(backend, threads)
    points: dict[str, list[tuple[int, float]]] = {}
    derived, deriving = 0, 0.0
    for layer in _layers():
        shape = Shape(layer.channels, *layer.extent)
        out = layer.operator.output_shape([shape])
        weight = _weight(layer.operator, layer.channels, rng)
        boxes, produced = Boxes.whole(BATCH, shape.size), Boxes.whole(BATCH, out.size)
        values = rng.standard_normal((BATCH, *layer.extent, layer.channels)).astype(np.float32)
        for kernel in layer.operator.kernels(backend):
            if kernel == RECOMPUTE:  # the library's, and passes over arrays
                continue
            update = Update([Delta(boxes, values)], [None], None, produced, [shape], kernel)
            work = layer.operator.delta_work(kernel, [shape], [shape.size], out, out.size)
            seconds = _seconds(partial(layer.operator.delta, backend, {"w": weight}, update), threads)
            if work.derived:
                derived += work.derived
                deriving += _deriving(backend, layer.operator, weight, update)
            # What is charged apart is taken off; by half at most, lest noise make a rate of it.
            rate = BATCH * work.macs / max(seconds - work.calls * call - work.weights / bandwidth, seconds / 2)
            points.setdefault(work.kind, []).append((work.width, rate))
    rates: dict[str, Rates] = {kind: tuple(sorted(found)) for kind, found in points.items()}
    default = CostProfile()
    derivation = derived / deriving if deriving else default.derivation
    return CostProfile("measured", {**default.rates, **rates}, bandwidth, derivation, call)


def _bandwidth(backend: CpuBackend, threads: int) -> float:
    """Bytes a second as an activation's delta rule moves them, by its own count."""
    relu = LocationWise((Instruction("maximum", (0, 0.0)),))
    shape, extent = Shape(64, 56, 56), Size(12, 12)
    boxes = Boxes(np.full((BATCH, 2), 7), extent)
    view, values = np.zeros((56, 56, 64), np.float32), np.zeros((BATCH, *extent, 64), np.float32)
    update = Update([Delta(boxes, values, disposable=True)], [view], None, boxes, [shape], "delta")
    work = relu.delta_work("delta", [shape], [extent], shape, extent)
    return BATCH * work.bytes / _seconds(lambda: relu.delta(backend, {}, update), threads)


def _deriving(backend: CpuBackend, operator: Operator, weight: Weight, update: Update) -> float:
    """Seconds that the first call takes with a weight, over those of the second."""
    over = []
    for _ in range(2):
        fresh = {"w": Weight(weight.array)}
        clock = [time.perf_counter()]
        for _ in range(2):
            operator.delta(backend, fresh, update)
            clock.append(time.perf_counter())
        over.append((clock[1] - clock[0]) - (clock[2] - clock[1]))
    return max(min(over), 0.0)


def _weight(operator: Operator, channels: int, rng: np.random.Generator) -> Weight:
    if isinstance(operator, Convolution):
        shape: tuple[int, ...] = (operator.out_channels, channels // operator.groups, *operator.kernel)
    else:
        shape = (channels, channels)
    return Weight(rng.standard_normal(shape).astype(np.float32))


def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def machine(threads: int) -> str:
    """A name for this machine at so many threads: of processor, cores, and the libraries' versions."""
    parts = (FORMAT, platform.machine(), processor(), os.cpu_count(), threads, torch.__version__, np.__version__)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _file(threads: int) -> Path:
    return cache.folder() / f"profile-{machine(threads)}.json"


def keep(profile: CostProfile, threads: int) -> None:
    """Keep the profile for later processes on this machine, where anything can be kept."""
    cache.write(_file(threads), encoded(profile).encode())


def kept(threads: int) -> CostProfile | None:
    """The profile that was measured on this machine with so many threads, if there is one to be trusted."""
    data = cache.read(_file(threads))
    return None if data is None else decoded(data)


def encoded(profile: CostProfile) -> str:
    """A profile as text."""
    return json.dumps(asdict(profile))


def decoded(data: str | bytes) -> CostProfile | None:
    """What :func:`encoded` wrote; None where it is damaged or lacks a kind of work that is costed today."""
    try:
        found = json.loads(data)
        rates = {str(kind): tuple((int(w), float(r)) for w, r in points) for kind, points in found["rates"].items()}
        numbers = [float(found[name]) for name in ("bandwidth", "derivation", "call")]
        sound = all(0 < n < math.inf for n in (*numbers, *(r for points in rates.values() for _, r in points)))
        complete = rates.keys() >= CostProfile().rates.keys() and all(rates.values())
        return CostProfile(str(found["name"]), rates, *numbers) if sound and complete else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
