"""Speed against full inference: whole heat maps with a profile, numbers of positions, and sizes of patches."""

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
from benchmarks.gpu_check.subject import PATCH, IntArray, Subject, clock, load_subject

SHOWN = 8
"""Kernels of a profile that are reported, those that take most time."""


def maps(check: Check, rows: Rows, network: str) -> None:
    """Time whole heat maps at each precision by each choice of kernels, first and later runs, and profile them."""
    subject = load_subject(check, network)
    positions = subject.grid(check.stride)
    for precision in precisions(check):
        naive = _naive(subject, precision, PATCH, positions)
        text = subject.query(f"STRIDE {check.stride}", precision=precision)
        for kernels, shown in OWN.items():
            subject.db.execute(f"SET kernels = {kernels}")
            first = subject.seconds(text)
            plan = subject.run(text).stats.seconds["plan"]
            theirs = partial(naive.seconds, subject.image, subject.fill, PATCH, positions)
            ours, full = _medians(check.rounds, partial(subject.seconds, text), theirs)
            rows(
                "Whole maps", network=network, precision=precision, kernels=shown, positions=len(positions),
                first_s=first, steady_s=ours, plan_s=plan, naive_s=full, naive_by=str(naive), kdb_vs_naive=full / ours,
            )  # fmt: skip
            _profiled(rows, f"{network}, {precision}, {shown}", partial(subject.run, text), check.device)


def _profiled(rows: Rows, what: str, call: Callable[[], object], device: str) -> None:
    """Report the share of time in which the device computes, and the kernels that take most of it."""
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
    """Time random positions, from few to many."""
    subject = load_subject(check, network)
    generator = np.random.default_rng(0)
    for precision in precisions(check):
        for count in check.counts:
            positions = generator.integers(0, np.array(subject.free()) + 1, (count, 2))
            _compare(rows, "By number of positions", subject, precision, PATCH, positions)


def patches(check: Check, rows: Rows, network: str) -> None:
    """Time small to large patches at fp32."""
    subject = load_subject(check, network)
    for side in check.sides:
        positions = subject.grid(2 * check.stride, (side, side))
        _compare(rows, "By size of the patch", subject, "fp32", (side, side), positions)


def _compare(
    rows: Rows, title: str, subject: Subject, precision: str, patch: tuple[int, int], positions: IntArray
) -> None:  # fmt: skip
    text = subject.query("AT $positions", patch, precision)
    naive = _naive(subject, precision, patch, positions)
    ours, theirs = _medians(
        subject.check.rounds,
        partial(subject.seconds, text, positions),
        partial(naive.seconds, subject.image, subject.fill, patch, positions),
    )
    rows(
        title, network=subject.model.name, precision=precision, patch=patch[0], positions=len(positions), kdb_s=ours,
        naive_s=theirs, kdb_vs_naive=theirs / ours,
    )  # fmt: skip


def _naive(subject: Subject, precision: str, patch: tuple[int, int], positions: IntArray) -> FullInference:
    return best(subject.prepared(precision), subject.image, subject.fill, patch, positions)


def _medians(rounds: int, *candidates: Callable[[], float]) -> list[float]:
    """Medians of the seconds that candidates return, taking turns after a warm-up."""
    seconds: list[list[float]] = [[] for _ in candidates]
    for turn in range(-1, rounds):
        for candidate, found in zip(candidates, seconds, strict=True):
            gc.collect()
            value = candidate()
            if turn >= 0:
                found.append(value)
    return [float(np.median(found)) for found in seconds]
