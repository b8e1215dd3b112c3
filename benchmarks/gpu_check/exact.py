"""Exactness: logits of all classes at scattered and at dense positions, against the module in float64 on the device."""

from __future__ import annotations

import copy

import numpy as np
import torch

import kdb
from benchmarks import verify
from benchmarks.gpu_check.backends import OWN
from benchmarks.gpu_check.check import Check, Rows
from benchmarks.gpu_check.full_inference import permitted
from benchmarks.gpu_check.subject import PATCH, IntArray, Subject, clock, load_subject
from benchmarks.oracle import exactness, full_inference


def exact(check: Check, rows: Rows, network: str) -> None:
    """Compare one network by all choices of kernels; the truth is computed once for each case."""
    try:
        subject = load_subject(check, network)
    except kdb.Error as error:  # the trained network needs an optional package
        rows("Left out", network=network, because=str(error))
        return
    module = copy.deepcopy(subject.model.module).eval().to(check.device)
    exact = copy.deepcopy(module).double()
    free = subject.free()
    for where, positions in (
        ("scattered", verify.scattered(free, check.judged, 0)),
        ("cluster", verify.cluster(free)),
    ):
        chosen = verify.sample(positions, check.judged)
        truth = [_logits(subject, each, positions[chosen]) for each in (exact, module)]
        for kernels, shown in OWN.items():
            subject.db.execute(f"SET kernels = {kernels}")
            text = subject.query("AT $positions")
            seconds = clock(lambda text=text, at=positions: subject.run(text, at))  # type: ignore[misc]
            values = subject.run(text, positions).values
            found = exactness(values.reshape(len(values), -1).T[chosen], *truth)
            figures = zip(verify.HEADERS, verify.figures([found], found.ok), strict=True)
            rows(
                "Exactness", network=network, case=where, kernels=shown, compared=len(chosen), **dict(figures),
                first_run_s=seconds,
            )  # fmt: skip


def _logits(subject: Subject, module: torch.nn.Module, positions: IntArray) -> np.ndarray:
    """Logits [n, K] by full inference in the module's own precision, without rounding to tf32."""
    like = next(module.parameters())
    with permitted("fp32"):
        logits = full_inference(module, subject.image.to(like), subject.fill.to(like), PATCH, positions)
    return logits.cpu().numpy()
