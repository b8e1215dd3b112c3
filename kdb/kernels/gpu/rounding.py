"""torch's permission for cuDNN and cuBLAS to round float32 operands to tf32: read, given, and left as it was found.

A convolution takes its permission as an argument (see ``library``), so that this is about matrix products, and about
models' own layers.

torch has two ways to say it.  From 2.9 on an operation has its ``fp32_precision``, and one that says nothing follows
that of CUDA, which follows that of all devices.  The older ``allow_tf32`` raises there while the two disagree.  So the
newer one alone is used where there is one: it can be read whatever was used before, and the older one's own state stays
as it is.  The permission is the process's, so that nothing is written which holds already, and nothing for longer than
it must: torch.export, in another thread, reads the older one.
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
_PRODUCTS: Any = torch.backends.cuda.matmul
_OPERATIONS: tuple[Any, ...] = (_CUDA.conv, _CUDA.rnn, _PRODUCTS) if NEWER else ()
"""What holds for all devices, for CUDA, and for each of its operations."""


def permitted() -> tuple[bool, bool]:
    """Whether (cuDNN, in convolutions and recurrent layers, cuBLAS, in matrix products) may round now.

    Where convolutions and recurrent layers differ, it is the convolutions'.
    """
    if NEWER:
        conv, _, products = _OPERATIONS
        return conv.fp32_precision == "tf32", products.fp32_precision == "tf32"
    return torch.backends.cudnn.allow_tf32, _PRODUCTS.allow_tf32


def permit_products(tf32: bool) -> None:
    """Let matrix products round, or not; nothing is written where it is so already.  Inside of ``products_kept``."""
    if not NEWER:
        if _PRODUCTS.allow_tf32 != tf32:
            _PRODUCTS.allow_tf32 = tf32
    elif (_PRODUCTS.fp32_precision == "tf32") != tf32:
        _PRODUCTS.fp32_precision = "tf32" if tf32 else "ieee"


@contextmanager
def products_kept() -> Iterator[None]:
    """Around ``permit_products``: afterwards products may do what they might before."""
    if not NEWER:
        before = torch.get_float32_matmul_precision()
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
        return
    own = _own(_PRODUCTS, _CUDA, _own(_CUDA, _EVERYWHERE, _EVERYWHERE.fp32_precision))
    try:
        yield
    finally:
        _PRODUCTS.fp32_precision = own


@contextmanager
def rounding(tf32: bool) -> Iterator[None]:
    """Inside, convolutions, recurrent layers and products may all round, or none; afterwards all is as it was found."""
    with products_kept():
        if not NEWER:
            cudnn = torch.backends.cudnn.allow_tf32
            torch.backends.cudnn.allow_tf32 = _PRODUCTS.allow_tf32 = tf32
            try:
                yield
            finally:
                torch.backends.cudnn.allow_tf32 = cudnn
            return
        above = _own(_CUDA, _EVERYWHERE, _EVERYWHERE.fp32_precision)
        own = [_own(operation, _CUDA, above) for operation in _OPERATIONS]
        wanted = "tf32" if tf32 else "ieee"
        try:
            _CUDA.fp32_precision = wanted
            for operation in _OPERATIONS:
                if operation.fp32_precision != wanted:  # it has one of its own
                    operation.fp32_precision = wanted
            yield
        finally:
            _CUDA.fp32_precision = above
            for operation, value in zip(_OPERATIONS, own, strict=True):
                if value != "none":  # otherwise it follows CUDA's, and was not written to
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
