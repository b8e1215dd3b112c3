"""What tests of several folders need: random arrays, what counts as equal, the map of a query."""

from __future__ import annotations

import os

import numpy as np

from kdb.results.maps import HeatMap
from kdb.session.session import Session


def examples(usual: int, fuzzed: int) -> int:
    """How many networks a law draws: an export takes most of its time, and `make fuzz` has more of that."""
    return fuzzed if os.environ.get("HYPOTHESIS_PROFILE") == "fuzz" else usual


def normal(source: int | np.random.Generator, *shape: int) -> np.ndarray:
    """Standard normal numbers, float32, by a seed or the next ones of a generator."""
    return np.random.default_rng(source).standard_normal(shape).astype(np.float32)


def close(found: np.ndarray, expected: np.ndarray, tolerance: float, scale: float = 1e-3) -> None:
    """Equal up to ``tolerance``, relative to the largest number expected, or to ``scale`` where that is larger."""
    assert found.shape == expected.shape
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=scale)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * largest)


def heat_map(db: Session, query: str, **parameters: object) -> HeatMap:
    """The map of a query that makes one."""
    found = db.execute(query, parameters)
    assert isinstance(found, HeatMap)
    return found
