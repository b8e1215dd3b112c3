"""What a kernel's launch costs, in terms that do not depend on the machine; and rates, which do."""

from __future__ import annotations

from typing import NamedTuple

ELEMENT = 4
"""Bytes of a float32."""

Rates = tuple[tuple[int, float], ...]
"""(width, multiply-adds a second) pairs, in ascending order of the widths."""


class Work(NamedTuple):
    """What one launch of a kernel does for a batch: multiply-adds, bytes moved through memory, and calls made.

    ``kind`` names the rate of the cost profile at which its multiply-adds run, ``width`` the geometric mean of a
    group's input and output channels.  ``weights`` are the bytes of weights that a launch reads whatever the batch,
    ``derived`` those of the layout of its weights that this kernel derives, once a query at most, and ``deriving``
    those that it takes beside while it does.
    """

    kind: str
    macs: int = 0
    bytes: int = 0
    calls: int = 1
    width: int = 1
    weights: int = 0
    derived: int = 0
    deriving: int = 0
