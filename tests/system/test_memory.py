"""What memory there is, and what is said where there is not enough."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from kdb.errors import ExecutionError, ModelError
from kdb.system import memory

MEGABYTE = 1 << 20


def test_what_is_available_is_some_of_the_machine() -> None:
    there = memory.available()
    assert there is None or 0 <= there < 1 << 50


def test_more_than_there_is_is_refused() -> None:
    memory.within(99, "a map", 100, False)
    with pytest.raises(ExecutionError, match="a map takes 3 MB, and 2 MB is the most that SET memory_limit allows"):
        memory.within(3 * MEGABYTE, "a map", 2 * MEGABYTE, False)
    with pytest.raises(ExecutionError, match="MB are available"):
        memory.require(1 << 60, "a map")


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_the_processs_own_limit_counts() -> None:
    code = (
        "import resource; from kdb.system import memory; free = memory.available();"
        "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30)); assert memory.available() < min(free, 2 << 30)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def numpys() -> None:
    np.empty(1 << 58, np.uint8)


def torchs() -> None:
    torch.empty(1 << 58, dtype=torch.uint8)


def wrapped() -> None:
    try:
        torchs()
    except RuntimeError as error:
        raise ModelError("the model fails") from error


@pytest.mark.parametrize("work", [numpys, torchs, wrapped])
def test_a_library_without_memory_is_told_with_the_size(work: object) -> None:
    assert callable(work)
    message = r"not enough memory for an array of 274,877,906,944 MB; fewer positions"
    with pytest.raises(ExecutionError, match=message), memory.told():
        work()


def test_what_is_about_something_else_is_left_alone() -> None:
    for error in (ValueError("no"), RuntimeError("shapes do not fit"), ModelError("no")):
        with pytest.raises(type(error)) as caught, memory.told():
            raise error
        assert caught.value is error
    with pytest.raises(ExecutionError, match="not enough memory for the next array"), memory.told():
        raise MemoryError
