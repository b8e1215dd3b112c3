"""Speed against full inference: whole maps with a profile, few positions, other patches."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_check.backends import OWN, precisions
from benchmarks.gpu_check.check import Check, Rows
from benchmarks.gpu_check.full_inference import FullInference, best
from benchmarks.gpu_check.subject import PATCH, IntArray, Subject, clock, subject

SHOWN = 8
"""Kernels of a profile that have a row, those that take most."""


def maps(check: Check, rows: Rows, network: str) -> None:
    """Whole maps at each precision, by all kernels and by kdb's own, first and steady, and where the time goes."""
    looked_at = subject(check, network)
    positions = looked_at.lattice(check.stride)
    for precision in precisions(check):
        naive = _naive(looked_at, precision, PATCH, positions)
        text = looked_at.query(f"STRIDE {check.stride}", precision=precision)
        for kernels, shown in OWN.items():
            looked_at.db.execute(f"SET kernels = {kernels}")
            first = looked_at.seconds(text)
            plan = looked_at.run(text).stats.seconds["plan"]
            theirs = partial(naive.seconds, looked_at.image, looked_at.fill, PATCH, positions)
            ours, full = _medians(check.rounds, partial(looked_at.seconds, text), theirs)
            rows(
                "Whole maps", network=network, precision=precision, kernels=shown, positions=len(positions),
                first_s=first, steady_s=ours, plan_s=plan, naive_s=full, naive_by=str(naive), kdb_vs_naive=full / ours,
            )  # fmt: skip
            _profiled(rows, f"{network}, {precision}, {shown}", partial(looked_at.run, text), check.device)


def _profiled(rows: Rows, what: str, call: Callable[[], object], device: str) -> None:
    """The share of the time that the device computes, and the kernels that take most of it."""
    with profile(activities=[ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU]) as seen:
        wall = clock(call)
    seconds: Counter[str] = Counter()
    launches: Counter[str] = Counter()
    for event in seen.events() or ():
        if event.device_type.name.lower() == device:
            seconds[event.name] += event.time_range.elapsed_us() / 1e6
            launches[event.name] += 1
    total = sum(seconds.values())
    rows("Busy share", map=what, wall_ms=wall * 1e3, busy_ms=total * 1e3, share=total / wall, launches=launches.total())
    for name, spent in seconds.most_common(SHOWN):
        rows(
            "Where a map's time goes", map=what, kernel=name[:80], launches=launches[name], ms=spent * 1e3,
            share=spent / total if total else 0.0,
        )  # fmt: skip


def counts(check: Check, rows: Rows, network: str) -> None:
    """Few positions to many, scattered."""
    looked_at = subject(check, network)
    generator = np.random.default_rng(0)
    for precision in precisions(check):
        for count in check.counts:
            positions = generator.integers(0, np.array(looked_at.free()) + 1, (count, 2))
            _compare(rows, "By number of positions", looked_at, precision, PATCH, positions)


def patches(check: Check, rows: Rows, network: str) -> None:
    """Small patches to large ones, at fp32."""
    looked_at = subject(check, network)
    for side in check.sides:
        positions = looked_at.lattice(2 * check.stride, (side, side))
        _compare(rows, "By size of the patch", looked_at, "fp32", (side, side), positions)


def _compare(
    rows: Rows, title: str, looked_at: Subject, precision: str, patch: tuple[int, int], positions: IntArray
) -> None:  # fmt: skip
    text = looked_at.query("AT $positions", patch, precision)
    naive = _naive(looked_at, precision, patch, positions)
    ours, theirs = _medians(
        looked_at.check.rounds,
        partial(looked_at.seconds, text, positions),
        partial(naive.seconds, looked_at.image, looked_at.fill, patch, positions),
    )
    rows(
        title, network=looked_at.of.name, precision=precision, patch=patch[0], positions=len(positions), kdb_s=ours,
        naive_s=theirs, kdb_vs_naive=theirs / ours,
    )  # fmt: skip


def _naive(looked_at: Subject, precision: str, patch: tuple[int, int], positions: IntArray) -> FullInference:
    return best(looked_at.prepared(precision), looked_at.image, looked_at.fill, patch, positions)


def _medians(rounds: int, *candidates: Callable[[], float]) -> list[float]:
    """Of the seconds that candidates report, taking turns after a warm-up."""
    seconds: list[list[float]] = [[] for _ in candidates]
    for turn in range(-1, rounds):
        for candidate, found in zip(candidates, seconds, strict=True):
            gc.collect()
            value = candidate()
            if turn >= 0:
                found.append(value)
    return [float(np.median(found)) for found in seconds]
