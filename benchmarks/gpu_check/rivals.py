"""The paper's plan through kdb, its Algorithm 1 in plain torch, and captum, on whole maps at fp32."""

from __future__ import annotations

import copy

from benchmarks.algorithm1 import Algorithm1
from benchmarks.baselines import captum_seconds
from benchmarks.gpu_check.check import Check, Rows
from benchmarks.gpu_check.full_inference import permitted
from benchmarks.gpu_check.subject import PATCH, IntArray, Subject, clock, subject
from kdb.execution.engine import Engine, default_settings
from kdb.frontends.torch_export import trace

TIMED = 512
"""Positions of Algorithm 1 that are run; the rest is extrapolated."""


def rivals(check: Check, rows: Rows, network: str) -> None:
    """The section."""
    looked_at = subject(check, network)
    text = looked_at.query(f"STRIDE {check.stride}")
    looked_at.db.execute("SET preset = krypton")
    looked_at.run(text)
    krypton = looked_at.seconds(text)
    looked_at.db.execute("RESET preset")
    positions = looked_at.lattice(check.stride)
    rows(
        "The paper's plan, its baseline, and captum", network=network, positions=len(positions), krypton_s=krypton,
        **{"Algorithm 1 in torch s": _algorithm_1(check, looked_at, positions)},
        captum_s=_captum(check, looked_at, len(positions)),
    )  # fmt: skip


def _algorithm_1(check: Check, looked_at: Subject, positions: IntArray) -> float:
    """Seconds of the paper's naive incremental inference, in batches of 128."""
    engine, timed = Engine(default_settings()), positions[: min(len(positions), TIMED)]
    engine.settings.set("preset", "krypton")
    engine.settings.set("batch_size", 128)
    network = trace(copy.deepcopy(looked_at.of.module), (3, *looked_at.of.size))
    run = Algorithm1(engine, network, looked_at.image, check.device)
    with permitted("fp32"):
        run(looked_at.fill, PATCH, timed)  # plans and warms up
        return clock(lambda: run(looked_at.fill, PATCH, timed)) * len(positions) / len(timed)


def _captum(check: Check, looked_at: Subject, positions: int) -> object:
    """Seconds of as many positions; a dash where captum is not installed."""
    try:
        with permitted("fp32"):
            each = captum_seconds(
                copy.deepcopy(looked_at.of.module).to(check.device), looked_at.image.to(check.device), target=0,
                fill=looked_at.fill, patch=PATCH, stride=(min(check.stride, PATCH[0]), min(check.stride, PATCH[1])),
                batch=128 if check.device == "cuda" else 4, batches=2,
            )  # fmt: skip
        return each * positions
    except ImportError:
        return "-"
