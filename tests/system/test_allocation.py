"""The allocator's thresholds: raised by the first user, put back by the last, whatever happens in between."""

from __future__ import annotations

import time
from typing import Any

import pytest

from kdb.system import allocation


class Library:
    """Keeps what glibc would be told."""

    def __init__(self) -> None:
        self.thresholds: dict[int, int] = {}
        self.trims = 0

    def mallopt(self, parameter: int, value: int) -> int:
        self.thresholds[parameter] = value
        return 1

    def malloc_trim(self, pad: int) -> int:
        self.trims += 1
        return 1


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    told = Library()
    allocator: Any = allocation._Allocator()
    allocator._library = told
    monkeypatch.setattr(allocation, "_allocator", allocator)
    monkeypatch.setattr(allocation, "IDLE", 0.05)
    return told


def idle() -> None:
    """Until free memory would have been returned."""
    allocator: Any = allocation._allocator
    if (waiting := allocator._waiting) is not None:
        waiting.join()


def test_nested_users_share_what_the_last_puts_back(library: Library) -> None:
    with allocation.retained():
        with allocation.retained():
            assert library.thresholds[allocation.M_MMAP_THRESHOLD] == allocation.KEEP
        assert library.thresholds[allocation.M_MMAP_THRESHOLD] == allocation.KEEP
        assert library.trims == 0
    assert library.thresholds[allocation.M_MMAP_THRESHOLD] == allocation.USUAL
    idle()
    assert library.trims == 1


def test_queries_that_follow_one_another_find_their_memory(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "IDLE", 0.3)
    for _ in range(5):
        with allocation.retained():
            pass
        time.sleep(0.1)
        assert library.trims == 0
    idle()
    assert library.trims == 1


def test_nothing_is_returned_while_a_query_computes(library: Library) -> None:
    with allocation.retained():
        pass
    with allocation.retained():
        time.sleep(0.1)
        assert library.trims == 0
    idle()
    assert library.trims == 1


def test_an_error_puts_them_back(library: Library) -> None:
    with pytest.raises(ValueError, match="broken"), allocation.retained():
        raise ValueError("broken")
    assert library.thresholds[allocation.M_TRIM_THRESHOLD] < allocation.KEEP
