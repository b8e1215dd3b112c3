"""Competitors on whole heat maps at fp32: the paper's plan run by kdb, its Algorithm 1 in plain torch, and captum."""

from __future__ import annotations

import copy

from benchmarks.algorithm1 import Algorithm1
from benchmarks.baselines import captum_seconds
from benchmarks.gpu_check.check import Check, Rows
from benchmarks.gpu_check.full_inference import permitted
from benchmarks.gpu_check.subject import PATCH, IntArray, Subject, clock, load_subject
from kdb.execution.engine import Engine, default_settings
from kdb.frontends.torch_export import trace

TIMED = 512
"""Most positions that Algorithm 1 runs on; its time is extrapolated."""


def rivals(check: Check, rows: Rows, network: str) -> None:
    """Time the three on one network."""
    subject = load_subject(check, network)
    text = subject.query(f"STRIDE {check.stride}")
    subject.db.execute("SET preset = krypton")
    subject.run(text)
    krypton = subject.seconds(text)
    subject.db.execute("RESET preset")
    positions = subject.grid(check.stride)
    rows(
        "The paper's plan, its baseline, and captum", network=network, positions=len(positions), krypton_s=krypton,
        **{"Algorithm 1 in torch s": _algorithm_1(check, subject, positions)},
        captum_s=_captum(check, subject, len(positions)),
    )  # fmt: skip


def _algorithm_1(check: Check, subject: Subject, positions: IntArray) -> float:
    """Seconds of the paper's naive incremental inference in batches of 128, extrapolated to all positions."""
    engine, timed = Engine(default_settings()), positions[: min(len(positions), TIMED)]
    engine.settings.set("preset", "krypton")
    engine.settings.set("batch_size", 128)
    network = trace(copy.deepcopy(subject.model.module), (3, *subject.model.size))
    run = Algorithm1(engine, network, subject.image, check.device)
    with permitted("fp32"):
        run(subject.fill, PATCH, timed)  # plans and warms up
        return clock(lambda: run(subject.fill, PATCH, timed)) * len(positions) / len(timed)


def _captum(check: Check, subject: Subject, positions: int) -> object:
    """Seconds of captum, extrapolated to so many positions; a dash if it is not installed."""
    try:
        with permitted("fp32"):
            each = captum_seconds(
                copy.deepcopy(subject.model.module).to(check.device), subject.image.to(check.device), target=0,
                fill=subject.fill, patch=PATCH, stride=(min(check.stride, PATCH[0]), min(check.stride, PATCH[1])),
                batch=128 if check.device == "cuda" else 4, batches=2,
            )  # fmt: skip
        return each * positions
    except ImportError:
        return "-"
