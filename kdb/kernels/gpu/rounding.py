"""torch's permission for cuDNN and cuBLAS to round float32 operands to tf32: read, given, and left as it was found.

torch has two ways to say it.  From 2.9 on an operation has its ``fp32_precision``, and one that says nothing follows
that of CUDA, which follows that of all devices.  The older ``allow_tf32`` raises there where the two disagree.  So the
newer one alone is used where there is one: it can be read whatever was used before, and the older one's own state stays
as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

NEWER = hasattr(torch.backends.cudnn, "conv")
"""Whether this torch has ``fp32_precision``."""

_EVERYWHERE: Any = torch.backends
_CUDA: Any = torch.backends.cudnn
_OPERATIONS: tuple[Any, ...] = (_CUDA.conv, _CUDA.rnn, torch.backends.cuda.matmul) if NEWER else ()
"""What holds for all devices, for CUDA, and for each of its operations."""


def permitted() -> tuple[bool, bool, bool]:
    """Whether convolutions, recurrent layers and matrix products may round now."""
    if NEWER:
        conv, rnn, product = _OPERATIONS
        return conv.fp32_precision == "tf32", rnn.fp32_precision == "tf32", product.fp32_precision == "tf32"
    cudnn = torch.backends.cudnn.allow_tf32
    return cudnn, cudnn, torch.backends.cuda.matmul.allow_tf32


def permit(tf32: bool) -> None:
    """Let all of them round, or none; nothing is written where it is so already.  For :func:`kept` to set back."""
    if permitted() == (tf32, tf32, tf32):
        return
    if not NEWER:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        return
    wanted = "tf32" if tf32 else "ieee"
    _CUDA.fp32_precision = wanted
    for operation in _OPERATIONS:
        if operation.fp32_precision != wanted:  # it has one of its own
            operation.fp32_precision = wanted


@contextmanager
def kept() -> Iterator[None]:
    """Around what permits: afterwards all is as it was found, in every thread, by both of torch's ways."""
    if not NEWER:
        before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
        try:
            yield
        finally:
            torch.backends.cudnn.allow_tf32 = before[0]
            torch.set_float32_matmul_precision(before[1])
        return
    above = _own(_CUDA, _EVERYWHERE, _EVERYWHERE.fp32_precision)
    own = [_own(operation, _CUDA, above) for operation in _OPERATIONS]
    try:
        yield
    finally:
        _CUDA.fp32_precision = above
        for operation, value in zip(_OPERATIONS, own, strict=True):
            if value != "none":  # otherwise it follows CUDA's, and was never written to
                operation.fp32_precision = value


def _own(level: Any, above: Any, kept: str) -> str:
    """A level's own precision: none where it follows the one above, whose own is ``kept``.

    torch tells what holds, not whose it is.  Where it may be either's, the one above is changed for a moment.  Written
    back as its own, a precision would no longer follow, torch's default of tf32 for cuDNN among them.
    """
    holds: str = level.fp32_precision
    if holds == "none" or holds not in ("tf32", above.fp32_precision):
        return holds
    other = "ieee" if holds == "tf32" else "tf32"
    try:
        above.fp32_precision = other
        return "none" if level.fp32_precision == other else holds
    finally:
        above.fp32_precision = kept
