"""Logits of all classes at scattered and at close positions, against the module in float64 on the device."""

from __future__ import annotations

import copy

import numpy as np
import torch

import kdb
from benchmarks import verify
from benchmarks.gpu_check.backends import OWN
from benchmarks.gpu_check.check import Check, Rows
from benchmarks.gpu_check.full_inference import permitted
from benchmarks.gpu_check.subject import PATCH, IntArray, Subject, clock, subject
from benchmarks.oracle import exactness, full_inference


def exact(check: Check, rows: Rows, network: str) -> None:
    """The section; the truth is computed once a case, whichever kernels are compared with it."""
    try:
        looked_at = subject(check, network)
    except kdb.Error as error:  # the trained network comes with an extra
        rows("Left out", network=network, because=str(error))
        return
    module = copy.deepcopy(looked_at.of.module).eval().to(check.device)
    exact = copy.deepcopy(module).double()
    free = looked_at.free()
    for where, positions in (
        ("scattered", verify.scattered(free, check.judged, 0)),
        ("cluster", verify.cluster(free)),
    ):
        chosen = verify.sample(positions, check.judged)
        truth = [_logits(looked_at, each, positions[chosen]) for each in (exact, module)]
        for kernels, shown in OWN.items():
            looked_at.db.execute(f"SET kernels = {kernels}")
            text = looked_at.query("AT $positions")
            seconds = clock(lambda text=text, at=positions: looked_at.run(text, at))  # type: ignore[misc]
            values = looked_at.run(text, positions).values
            found = exactness(values.reshape(len(values), -1).T[chosen], *truth)
            figures = zip(verify.HEADERS, verify.figures([found], found.ok), strict=True)
            rows(
                "Exactness", network=network, case=where, kernels=shown, compared=len(chosen), **dict(figures),
                first_run_s=seconds,
            )  # fmt: skip


def _logits(looked_at: Subject, module: torch.nn.Module, positions: IntArray) -> np.ndarray:
    """Full inference in the module's own precision, nothing rounded to tf32: [n, K]."""
    like = next(module.parameters())
    with permitted("fp32"):
        logits = full_inference(module, looked_at.image.to(like), looked_at.fill.to(like), PATCH, positions)
    return logits.cpu().numpy()
