"""Threads that compute: how many the libraries beneath may use, in the calling thread and in workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from threadpoolctl import threadpool_limits


def quiet() -> np.errstate:
    """numpy without warnings: an overflow within a network is harmless, as in a sigmoid, or seen in its output."""
    return np.errstate(all="ignore")


@contextmanager
def limited_pools(threads: int, computes: bool = True) -> Iterator[None]:
    """Around workers, in the thread that starts them: BLAS on so many threads; afterwards all as it was found.

    Nothing is done, and no time spent on it, where the host only launches and so ``computes`` nothing.
    """
    if not computes:
        yield
        return
    before = torch.get_num_threads()
    try:
        with threadpool_limits(limits=threads, user_api="blas"):
            yield
    finally:
        # Workers also set what threads that are started later begin with.
        torch.set_num_threads(before)


@contextmanager
def computing(threads: int) -> Iterator[None]:
    """In a worker: torch on so many threads, no gradients, numpy quiet.

    All of these belong to a thread, so each worker asks for itself.
    """
    # A thread takes the process's count over at its first use of torch: asked for, or it would undo the next.
    torch.get_num_threads()
    torch.set_num_threads(threads)
    with torch.inference_mode(), quiet():
        yield
