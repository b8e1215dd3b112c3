"""The progress bar: shown for slow work alone, with the time left, and wiped afterwards."""

from __future__ import annotations

import io
import time

from kdb.system.progress import ProgressBar


def test_fast_work_shows_nothing() -> None:
    stream = io.StringIO()
    bar = ProgressBar("positions", stream)
    for done in range(11):
        bar(done, 10)
    bar(10, 10)
    bar.close()
    assert stream.getvalue() == ""


def test_slow_work_shows_a_bar_that_vanishes() -> None:
    stream = io.StringIO()
    bar = ProgressBar("positions", stream, delay=0.1)
    bar(0, 4)
    time.sleep(0.2)
    bar(2, 4)
    assert " 50%|" in stream.getvalue() and "| 2/4 [00:00<00:00" in stream.getvalue()
    bar(4, 4)
    assert stream.getvalue().endswith(" \r")
    shown = stream.getvalue()
    bar(4, 4)
    bar.close()
    assert stream.getvalue() == shown


def test_another_map_begins_another_bar() -> None:
    stream = io.StringIO()
    bar = ProgressBar("positions", stream, delay=0.0)
    bar(3, 4)
    bar(1, 4)
    assert "| 0/4 " in stream.getvalue().rpartition("   \r")[2]
    bar(1, 9)
    assert "| 0/9 " in stream.getvalue().rpartition("   \r")[2]


def test_a_finished_bar_may_stay() -> None:
    stream = io.StringIO()
    bar = ProgressBar("windows", stream, delay=0.0, leave=True)
    bar(0, 4)
    bar(4, 4)
    assert "| 4/4 " in stream.getvalue() and stream.getvalue().endswith("windows/s]\n")
