"""Whole numbers, as callers of other libraries give them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any


def is_whole(value: Any) -> bool:
    """Whether it is a whole number of any type, but no bool."""
    try:
        operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool)


def wholes(value: Any) -> tuple[int, ...] | None:
    """The whole numbers of a sequence, or None where it is none."""
    if not isinstance(value, Sequence) or not all(map(is_whole, value)):
        return None
    return tuple(map(operator.index, value))
