"""Peaks above what is held before: kdb's own batches, and full inference of 128 at a time."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.gpu_check.check import Check, Rows
from benchmarks.gpu_check.full_inference import FullInference
from benchmarks.gpu_check.subject import PATCH, subject


def memory(check: Check, rows: Rows, network: str) -> None:
    """The section; torch's pool is the one that both take from, and a CPU has none."""
    looked_at = subject(check, network)
    positions, text = looked_at.lattice(check.stride), looked_at.query(f"STRIDE {check.stride}")
    naive = FullInference(looked_at.prepared("fp32"), 128, torch.channels_last)
    ours = _peak(check, partial(looked_at.run, text))
    theirs = _peak(check, partial(naive, looked_at.image, looked_at.fill, PATCH, positions[:512]))
    rows("Peak memory above the weights", network=network, kdb_MiB=ours, naive_MiB=theirs)


def _peak(check: Check, call: Callable[[], object]) -> float:
    """MiB, of a second call."""
    call()
    if check.device != "cuda":
        return float("nan")
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    call()
    return float(torch.cuda.max_memory_allocated() - held) / 2**20
