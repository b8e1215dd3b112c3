"""Benchmarks trace networks themselves too, and the same ones again and again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.figures import patches, threshold
from tests.kept_traces import kept


@pytest.fixture(scope="module", autouse=True)
def traces_of_figures(cache: object) -> Iterator[None]:
    with kept(patches, threshold):
        yield
