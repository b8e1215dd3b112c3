"""What is made of a trace of Chromium."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.page import of_trace


def event(name: str, start: float, length: float = 0, *, thread: int = 7, ph: str = "X") -> dict[str, Any]:
    """In milliseconds, as a trace has it in microseconds."""
    return {"name": name, "ph": ph, "pid": 1, "tid": thread, "ts": 1000 * start, "dur": 1000 * length}


def test_script_is_of_the_frame_that_follows_it() -> None:
    main = {"name": "thread_name", "ph": "M", "pid": 1, "args": {"name": "CrRendererMain"}}
    trace = [
        {**main, "tid": 7},
        {**main, "tid": 8, "args": {"name": "CrBrowserMain"}},
        event("RunTask", 0, 60),
        event("v8.callFunction", 1, 4),
        event("FunctionCall", 2, 2),  # within the other one
        event("FunctionCall", 6, 3),
        event("AnimationFrame", 10, ph="e"),
        event("RunTask", 70, 9),
        event("FunctionCall", 71, 1),
        event("FunctionCall", 71, 500, thread=8),
        event("AnimationFrame", 80, ph="e"),
        event("AnimationFrame", 90, ph="e", thread=8),
        event("FunctionCall", 99, 5),  # no frame shows what it did
    ]
    assert of_trace(trace) == {
        "frames": 2,
        "script ms a frame, median": pytest.approx(4),
        "script ms a frame, worst": pytest.approx(7),
        "longest task ms": 60,
        "tasks over 50 ms": 1,
    }
