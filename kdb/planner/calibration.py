"""Measures the rates of a machine for the cost model, by timing each kernel on a few layers of several widths.

On a CPU all threads are busy meanwhile, on a GPU its queue is full.  What is timed is the operator's own delta rule, so
that a rate means what the kernel counts as its work.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import torch

from kdb.errors import ExecutionError, printable
from kdb.geometry import Boxes, Size
from kdb.kernels.base import Backend, Delta, Instruction, Weight
from kdb.kernels.compiled import library as compiled
from kdb.kernels.cpu.backend import KERNELS, CpuBackend
from kdb.kernels.gpu.backend import GpuBackend
from kdb.kernels.gpu.device import Device
from kdb.kernels.gpu.launcher import MATHS
from kdb.kernels.kernel import declared_rates
from kdb.kernels.work import Rates
from kdb.operators.base import Operator, Shape, Update
from kdb.operators.convolution import Convolution
from kdb.operators.dense import Dense
from kdb.operators.pointwise import Pointwise
from kdb.planner.cost import MEASURED, CostProfile, data_sheet_profile
from kdb.system import cache as files
from kdb.system.interrupts import deferred
from kdb.system.threads import NewThreads, checkpoint, computing, limited_pools, start

log = logging.getLogger(__name__)

FORMAT = 3
"""Version of the stored profile; raise it when an operator counts its work differently or a kernel's speed changes."""

BATCH, MOST_POSITIONS, MOST_BYTES = 48, 1 << 15, 1 << 30
"""Positions that a layer is timed on at first, at most, and the largest size of their deltas."""
LEAST_BATCH_SECONDS = 1e-3
"""The least time of a call that is timed on a GPU; shorter ones measure launching rather than computing."""
WIDTHS, DENSE_WIDTHS = (32, 64, 128, 256, 512), (256, 1024, 4096)
LEAST_SECONDS, TRIES = 0.02, 5
"""The least time of one try of a measurement, and the number of tries, of which the best counts."""


@dataclass(frozen=True)
class _Layer:
    """A layer to time: its operator, the input's channels and the extent of the input's delta."""

    operator: Operator
    channels: int
    extent: Size


def _layers() -> Iterator[_Layer]:
    """Layers with deltas as in the middle of a network: small boxes, and larger ones where there are few channels."""

    def convolution(inner: int, outer: int, taps: int, groups: int = 1) -> Operator:
        margin = taps // 2
        return Convolution("w", None, outer, (taps, taps), padding=(margin,) * 4, groups=groups)

    for width in WIDTHS:
        extent = (12, 12) if width < 256 else (9, 9)
        yield _Layer(convolution(width, width, 3), width, extent)
        yield _Layer(convolution(width, width, 1), width, extent)
    yield _Layer(convolution(3, 64, 3), 3, (16, 16))
    yield _Layer(convolution(96, 96, 3, groups=96), 96, (9, 9))
    for width in DENSE_WIDTHS:
        yield _Layer(Dense("w", None, width), width, (1, 1))


def busy_seconds(call: Callable[[], object], threads: int, repeats: int = 1) -> float:
    """Seconds of one call while ``threads`` workers make the same call, sharing caches, memory and power."""
    ready, stop, ended = threading.Barrier(threads + 1), threading.Event(), threading.Semaphore(0)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with computing(1):
                ready.wait()
                for _ in range(repeats):
                    if stop.is_set():
                        break
                    call()
        except BaseException as error:  # whatever it is, the caller raises it
            errors.append(error)
        finally:
            ended.release()

    workers = [NewThreads().task(work, "kdb-calibration") for _ in range(threads)]
    try:
        if start(workers) < threads:
            raise ExecutionError(f"the system has no {threads} threads left to measure; SET threads to fewer")
        ready.wait()
        begun = time.perf_counter()
        for _ in workers:  # not by joining: a join that Ctrl-C breaks off takes a running thread for an ended one
            ended.acquire()
        seconds = time.perf_counter() - begun
    finally:
        # A process that ends while a worker runs aborts, so that Ctrl-C has to wait for them.
        with deferred():
            stop.set()
            ready.abort()
            for worker in workers:
                worker.end()
    if errors:
        raise errors[0]
    return seconds / repeats


def _seconds(call: Callable[[], object], threads: int) -> float:
    """Seconds of one call, by the best of several tries of as many calls as a clock needs."""
    checkpoint()
    busy_seconds(call, threads)
    repeats = max(math.ceil(LEAST_SECONDS / busy_seconds(call, threads)), 1)
    return min(busy_seconds(call, threads, repeats) for _ in range(TRIES))


Clock = Callable[[Callable[[], object]], float]
"""Measures the seconds of one call by making it several times."""


def measure(threads: int) -> CostProfile:
    """The profile of this machine with so many worker threads; takes some seconds."""
    backend, small = CpuBackend(reduced=True), np.zeros(8, np.float32)
    with limited_pools(1):
        clock = partial(_seconds, threads=threads)
        call = 8 * clock(lambda: np.add(small, small))  # with what Python does around it
        return _measured(MEASURED, [backend], clock, call, CostProfile(), 0.0)


def measure_device(device: Device) -> CostProfile:
    """The profile of a GPU, at every precision; takes some seconds, and more where kernels are still to be compiled."""
    backends = [GpuBackend(device, precision=precision) for precision in MATHS]

    def clock(call: Callable[[], object]) -> float:
        def several(repeats: int) -> float:
            checkpoint()
            start = time.perf_counter()
            for _ in range(repeats):
                call()
            device.synchronize()
            return (time.perf_counter() - start) / repeats

        several(1)
        repeats = max(math.ceil(LEAST_SECONDS / several(1)), 1)
        return min(several(repeats) for _ in range(TRIES))

    def work() -> CostProfile:
        with computing(1), device.running():
            tiny = backends[0].memory.upload(np.zeros((1, 1, 1, 4), np.float32))
            call = clock(lambda: backends[0].maps.add(tiny, tiny, True))
            return _measured(device.title, backends, clock, call, data_sheet_profile(), LEAST_BATCH_SECONDS)

    with limited_pools(1, computes=False):
        return device.threads.call(work)


def _measured(
    name: str, backends: Sequence[Backend], clock: Clock, call: float, default: CostProfile, least: float
) -> CostProfile:
    """A profile of all timed kernels of the ``backends``.

    Batches grow until a call takes ``least`` seconds; ``call`` is the seconds of a call that computes nothing."""
    rng = np.random.default_rng(0)
    bandwidth = _bandwidth(backends[0], clock)
    points: dict[str, list[tuple[int, float]]] = {}
    derived, deriving = 0, 0.0
    for layer, backend in product(_layers(), backends):
        shape = Shape(layer.channels, layer.extent)
        out = layer.operator.output_shape([shape])
        weight = _weight(layer.operator, layer.channels, rng)
        values = rng.standard_normal((BATCH, *layer.extent, layer.channels)).astype(np.float32)
        for kernel in layer.operator.kernels(backend):
            if not kernel.timed:
                continue
            work = layer.operator.delta_work(kernel, [shape], [shape.size], out, out.size)
            n, most = BATCH, min(MOST_POSITIONS, MOST_BYTES * BATCH // values.nbytes)
            while True:
                given = backend.memory.upload_delta(np.resize(values, (n, *values.shape[1:])))
                delta = Delta(Boxes.whole(n, shape.size), given)
                update = Update([delta], [None], None, Boxes.whole(n, out.size), [shape], kernel)
                seconds = clock(partial(layer.operator.delta, backend, {"w": weight}, update))
                if seconds >= least or n >= most:
                    break
                n = min(n * 2 ** math.ceil(math.log2(least / seconds)), most)
            if work.derived:
                derived += work.derived
                deriving += _deriving(backend, layer.operator, weight, update)
            # What is charged apart is taken off; by half at most, lest noise make a rate of it.
            rate = n * work.macs / max(seconds - work.calls * call - work.weights / bandwidth, seconds / 2)
            points.setdefault(work.kind, []).append((work.width, rate))
    rates: dict[str, Rates] = {kind: tuple(sorted(found)) for kind, found in points.items()}
    derivation = derived / deriving if deriving else default.derivation
    return CostProfile(name, {**default.rates, **rates}, bandwidth, derivation, call, date.today().isoformat())


def _bandwidth(backend: Backend, clock: Clock) -> float:
    """Bytes a second that an activation's delta rule moves, by its own count of them."""
    relu = Pointwise((Instruction("maximum", (0, 0.0)),))
    shape, extent = Shape(64, (56, 56)), (12, 12)
    boxes = Boxes(np.full((BATCH, 2), 7), extent)
    view = backend.memory.upload(np.zeros((56, 56, 64), np.float32))
    values = backend.memory.upload_delta(np.zeros((BATCH, *extent, 64), np.float32))
    kernel, *_ = relu.kernels(backend)
    update = Update([Delta(boxes, values, donate=True)], [view], None, boxes, [shape], kernel)
    work = relu.delta_work(kernel, [shape], [extent], shape, extent)
    return BATCH * work.bytes / clock(lambda: relu.delta(backend, {}, update))


def _deriving(backend: Backend, operator: Operator, weight: Weight, update: Update) -> float:
    """Seconds of deriving a weight's layout: what the first call with a weight takes more than the second."""
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


@cache
def processor() -> str:
    """The processor's name according to the operating system."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def machine(threads: int) -> str:
    """An identifier of this machine with ``threads`` workers: a hash of processor, cores, libraries and kernels."""
    library = compiled.found().library
    parts = [FORMAT, platform.machine(), processor(), os.cpu_count(), threads, torch.__version__, np.__version__]
    parts += [] if library is None else [library.variant]
    return hashlib.sha256(repr(tuple(parts)).encode()).hexdigest()[:16]


def machines(most_threads: int) -> list[str]:
    """The identifiers of this machine with any number of workers up to ``most_threads``."""
    return [machine(threads) for threads in range(1, most_threads + 1)]


def device_machine(device: Device) -> str:
    """An identifier of a GPU and the library versions."""
    parts = (FORMAT, device.title, device.has_torch, torch.__version__)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _file(machine: str) -> Path:
    return files.folder() / f"profile-{machine}.json"


def keep(profile: CostProfile, machine: str) -> None:
    """Store the profile of ``machine`` in the cache folder."""
    files.write(_file(machine), encoded(profile).encode())


def kept(machine: str) -> CostProfile | None:
    """The stored profile of ``machine``, or None."""
    data = files.read(_file(machine))
    found = None if data is None else decoded(data)
    if data is not None and found is None:
        log.warning("ignoring the damaged or outdated profile %s", printable(str(_file(machine))))
    return found


def forget(machine: str) -> None:
    """Remove the stored profile of ``machine``, if there is one."""
    files.remove(_file(machine))


def encoded(profile: CostProfile) -> str:
    """A profile as JSON."""
    return json.dumps(asdict(profile))


def decoded(data: str | bytes) -> CostProfile | None:
    """The profile that :func:`encoded` wrote; None if the text is damaged or lacks a kind of work."""
    try:
        found = json.loads(data)
        rates = {str(kind): tuple((int(w), float(r)) for w, r in points) for kind, points in found["rates"].items()}
        optional = declared_rates([kernel for kernel in KERNELS if kernel.optional])
        if rates.keys() >= CostProfile().rates.keys() - optional.keys():
            rates = {**optional, **rates}
        bandwidth, derivation, call = (float(found[name]) for name in ("bandwidth", "derivation", "call"))
        sound = all(
            0 < n < math.inf
            for n in (bandwidth, derivation, call, *(r for points in rates.values() for _, r in points))
        )
        complete = any(rates.keys() >= profile.rates.keys() for profile in (CostProfile(), data_sheet_profile()))
        if not (sound and complete and all(rates.values())):
            return None
        measured = str(found.get("measured", ""))
        return CostProfile(str(found["name"]), rates, bandwidth, derivation, call, measured)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None
