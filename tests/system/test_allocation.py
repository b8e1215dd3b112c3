"""The allocator's thresholds: raised by the first user, put back by the last, whatever happens in between."""

from __future__ import annotations

from typing import Any

import pytest

from kdb.system import allocation


class Library:
    """Keeps what glibc would be told."""

    def __init__(self) -> None:
        self.thresholds: dict[int, int] = {}
        self.trims = 0
        self.free = 1 << 30

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
    allocator._library, allocator._statistics = told, lambda: allocation._Statistics(fordblks=told.free)
    monkeypatch.setattr(allocation, "_allocator", allocator)
    return told


def test_nested_users_share_what_the_last_puts_back(library: Library) -> None:
    with allocation.retained():
        with allocation.retained():
            assert library.thresholds[allocation.M_MMAP_THRESHOLD] == allocation.KEEP
        assert library.thresholds[allocation.M_MMAP_THRESHOLD] == allocation.KEEP
        assert library.trims == 0
    assert library.thresholds[allocation.M_MMAP_THRESHOLD] == allocation.USUAL
    assert library.trims == 1


def test_an_error_puts_them_back(library: Library) -> None:
    with pytest.raises(ValueError, match="broken"), allocation.retained():
        raise ValueError("broken")
    assert library.thresholds[allocation.M_TRIM_THRESHOLD] < allocation.KEEP


def test_what_glibc_would_keep_by_itself_is_kept(library: Library) -> None:
    library.free = allocation.USUAL
    with allocation.retained():
        pass
    assert library.trims == 0


def test_without_statistics_all_is_returned(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation._allocator, "_statistics", None)
    with allocation.retained():
        pass
    assert library.trims == 1
