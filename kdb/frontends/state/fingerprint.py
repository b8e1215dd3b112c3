"""A digest of all that the forward of a module can read, by which a module that was changed is told from before."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from xxhash import xxh3_128

from kdb.frontends.state.reach import Reached, content


def fingerprint(root: object, new: Callable[[], Any] = xxh3_128) -> str:
    """The digest, in hexadecimal, of what is reached from ``root``: a module, or a function.

    Tensors and arrays are hashed in full: 528 MB take some 20 ms.  What is equal has the same digest, wherever it lies
    in memory.  The mode, training or not, has no part in it, nor has what :mod:`kdb.frontends.state.reach` leaves out.
    ``new`` makes another kind of hash, as those of hashlib.
    """
    return digest(Reached(root), new)


def digest(reached: Iterable[tuple[object, str]], new: Callable[[], Any] = xxh3_128) -> str:
    """The fingerprint of objects with the texts that tell their content."""
    hashed = new()
    for value, text in reached:
        hashed.update(text.encode(errors="backslashreplace"))
        if isinstance(value, torch.Tensor | np.ndarray):
            with suppress(Exception):  # a tensor of a kind that can neither be read nor saved
                hashed.update(content(value))
    hexadecimal: str = hashed.hexdigest()
    return hexadecimal
