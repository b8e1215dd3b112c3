"""What the device of CuPy asks of CuPy and torch, both played: streams, failures, memory freed at the end."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kdb.errors import DeviceError, ExecutionError
from kdb.kernels.gpu.device import CupyDevice


class RuntimeFailure(RuntimeError):
    """CuPy's CUDARuntimeError."""


class DriverFailure(RuntimeError):
    """CuPy's CUDADriverError."""


class Stream:
    def __init__(self, name: str, events: list[str]) -> None:
        self.name, self.events = name, events

    def wait_stream(self, other: Stream) -> None:
        self.events.append(f"{self.name} waits for {other.name}")


class Null:
    """``cupy.cuda.Stream``, whose ``null`` may be entered again and again."""

    def __init__(self, played: Played) -> None:
        self._played = played

    @property
    def null(self) -> AbstractContextManager[None]:
        return self._played.entered("CuPy on null")


class Played:
    """CuPy and torch.cuda; ``events`` in order, the caller's thread on ``stream``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        self.lost = False
        self.freed: list[int] = []
        self.default, self.side = Stream("default", self.events), Stream("side", self.events)
        self.streams = {threading.get_ident(): self.default}
        self.allocator: tuple[Callable[..., int], Callable[..., None]] | None = None

        def synchronize() -> None:
            if self.lost:
                raise RuntimeFailure("again")

        def allocator(*functions: Any) -> SimpleNamespace:
            self.allocator = functions  # type: ignore[assignment]
            return SimpleNamespace(malloc="torch's pool")

        runtime = SimpleNamespace(
            CUDARuntimeError=RuntimeFailure,
            getDevice=lambda: 0,
            getDeviceProperties=lambda index: {"name": b"H100"},
            deviceSynchronize=synchronize,
        )
        cuda = SimpleNamespace(
            runtime=runtime,
            driver=SimpleNamespace(CUDADriverError=DriverFailure),
            Device=lambda index: self.entered(f"device {index}"),
            using_allocator=lambda malloc: self.entered(f"allocator {malloc}"),
            Stream=Null(self),
            PythonFunctionAllocator=allocator,
        )
        monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
        monkeypatch.setitem(sys.modules, "cupyx", SimpleNamespace(empty_pinned=None))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "default_stream", lambda index: self.default)
        monkeypatch.setattr(
            torch.cuda, "current_stream", lambda index: self.streams.get(threading.get_ident(), self.default)
        )
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: self.entered(f"torch on {stream.name}"))
        monkeypatch.setattr(torch.cuda, "caching_allocator_delete", self.freed.append)

    def entered(self, what: str) -> AbstractContextManager[None]:
        @contextmanager
        def context() -> Iterator[None]:
            self.events.append(what)
            yield
            self.events.append(f"no more {what}")

        return context()


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    return Played(monkeypatch)


def test_both_libraries_are_on_one_stream_and_the_callers_keeps_its_order(played: Played) -> None:
    device = CupyDevice()
    played.streams[threading.get_ident()] = played.side
    with device.running():
        played.events.append("work")
    assert played.events == [
        "device 0",
        "allocator torch's pool",
        "default waits for side",
        "CuPy on null",
        "torch on default",
        "work",
        "no more torch on default",
        "no more CuPy on null",
        "side waits for default",
        "no more allocator torch's pool",
        "no more device 0",
    ]


def test_work_in_the_devices_thread_is_ordered_with_the_callers_stream(played: Played) -> None:
    device = CupyDevice()
    played.streams[threading.get_ident()] = played.side
    device.threads.call(lambda: played.events.append("work"))
    assert played.events == ["default waits for side", "work", "side waits for default"]
    played.events.clear()
    played.streams.clear()
    device.threads.call(lambda: played.events.append("work"))
    assert played.events == ["work"], "the default stream itself"


@pytest.mark.parametrize("failure", [RuntimeFailure, DriverFailure])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_failure_of_cuda_says_whether_the_process_can_go_on(
    played: Played, failure: type[Exception], wrapped: bool
) -> None:
    def fail() -> None:
        with CupyDevice().running():
            try:
                raise failure("an illegal memory access was encountered\nand more about it")
            except failure as error:
                if wrapped:
                    raise ExecutionError("layer conv fails") from error
                raise

    with pytest.raises(DeviceError, match=r"^H100 failed: an illegal memory access was encountered$"):
        fail()
    played.lost = True
    with pytest.raises(DeviceError, match=r"H100 failed: an illegal memory access.*has to be started anew") as caught:
        fail()
    assert caught.value.__cause__ is not None


def test_other_errors_stay_what_they_are(played: Played) -> None:
    for error in (ValueError("wrong"), ExecutionError("wrong"), torch.cuda.OutOfMemoryError("wrong")):
        device = CupyDevice()
        with pytest.raises(type(error), match="wrong"), device.running():
            raise error


def test_nothing_is_freed_as_the_interpreter_ends(played: Played) -> None:
    CupyDevice()
    assert played.allocator is not None
    _, free = played.allocator
    free(64, 0)
    assert played.freed == [64]
    free(128, 0, lambda: True)
    assert played.freed == [64]
