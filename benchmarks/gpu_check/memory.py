"""Peak GPU memory above that of the weights: kdb in its own batches, and full inference in batches of 128."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.gpu_check.check import Check, Rows
from benchmarks.gpu_check.full_inference import FullInference
from benchmarks.gpu_check.subject import PATCH, load_subject


def memory(check: Check, rows: Rows, network: str) -> None:
    """Report both peaks by torch's allocator, which both use; NaN on a CPU."""
    subject = load_subject(check, network)
    positions, text = subject.grid(check.stride), subject.query(f"STRIDE {check.stride}")
    naive = FullInference(subject.prepared("fp32"), 128, torch.channels_last)
    ours = _peak(check, partial(subject.run, text))
    theirs = _peak(check, partial(naive, subject.image, subject.fill, PATCH, positions[:512]))
    rows("Peak memory above the weights", network=network, kdb_MiB=ours, naive_MiB=theirs)


def _peak(check: Check, call: Callable[[], object]) -> float:
    """Peak of a second call, in MiB above what was allocated before it."""
    call()
    if check.device != "cuda":
        return float("nan")
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return float(torch.cuda.max_memory_allocated() - before) / 2**20
