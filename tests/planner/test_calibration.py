"""A machine's own profile: complete, kept for later sessions, and not trusted when damaged."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from datetime import date
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import kdb
from kdb.kernels.cpu.backend import CpuBackend
from kdb.planner import calibration
from kdb.planner.cost import CostProfile


def test_calibrate_measures_every_kind_of_work_and_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KDB_CACHE", str(tmp_path))
    monkeypatch.setattr(calibration, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(calibration, "TRIES", 1)
    monkeypatch.setattr(calibration, "WIDTHS", (32, 64))
    db = kdb.connect()
    db.execute("SET threads = 1")
    table = db.execute("CALIBRATE")
    assert {row[0] for row in table.rows} == set(CostProfile().rates)
    assert all(row[2] > 0 for row in table.rows)
    found = calibration.kept(calibration.machine(1))
    assert found is not None and found.name == "measured" and date.fromisoformat(found.measured) <= date.today()
    assert calibration.kept(calibration.machine(2)) is None, "another number of threads is another machine"
    (file,) = tmp_path.iterdir()
    for damaged in (b"", b"{}", file.read_bytes()[:-9], file.read_bytes().replace(b'"direct.wide"', b'"other"')):
        file.write_bytes(damaged)
        caplog.clear()
        assert calibration.kept(calibration.machine(1)) is None
        assert [(each.levelname, each.args) for each in caplog.records] == [("WARNING", (str(file),))]


def test_rates_between_two_widths() -> None:
    profile = CostProfile(rates={"k": ((64, 1e9), (256, 3e9))})
    assert [profile.rate("k", width) for width in (1, 64, 128, 256, 999)] == [1e9, 1e9, 2e9, 3e9, 3e9]


def test_a_device_is_timed_on_batches_that_take_a_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which a position of any convolution takes five microseconds, after ten of launching."""
    monkeypatch.setattr(calibration, "WIDTHS", (32,))
    monkeypatch.setattr(calibration, "DENSE_WIDTHS", (32,))
    timed: list[tuple[int, float]] = []

    def clock(call: Any) -> float:
        if not isinstance(call, partial):  # the bandwidth's
            return 1e-3
        positions = len(call.args[2].boxes)
        timed.append((positions, 1e-5 + 5e-6 * positions))
        return timed[-1][1]

    profile = calibration._measured("m", [CpuBackend(native=True)], clock, 1e-5, CostProfile(), 1e-3)
    assert all(seconds <= 4e-3 for _, seconds in timed)
    # Whatever was too short is followed by a larger batch.
    assert all(later > n for (n, seconds), (later, _) in pairwise(timed) if seconds < 1e-3)
    assert timed[-1][1] >= 1e-3
    assert profile.rate("taps.wide", 32) == pytest.approx(12 * 12 * 9 * 32 * 32 / 5e-6, rel=0.05)


def test_a_profile_of_an_earlier_version_has_no_date() -> None:
    record = json.loads(calibration.encoded(CostProfile("measured", measured="2025-12-31")))
    assert calibration.decoded(json.dumps(record)) == CostProfile("measured", measured="2025-12-31")
    del record["measured"]
    assert calibration.decoded(json.dumps(record)) == CostProfile("measured")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"rates": {"direct.wide": [[Infinity, 1]]}}',
        '{"rates": {"direct.wide": [[1, "x"]]}}',
        '{"rates": []}',
        "[]",
        "1" * 5000,
        b"\xff\xfe\x00",
    ],
)
def test_text_of_any_kind_is_no_profile(text: str | bytes) -> None:
    assert calibration.decoded(text) is None


def test_an_interrupted_measurement_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends while a thread computes aborts."""
    before, calls = threading.active_count(), list[int]()

    def press() -> None:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        calibration.busy_seconds(lambda: [time.sleep(0.01), calls.append(1)], 2, 1000)
    presser.join()
    assert threading.active_count() == before and 0 < len(calls) < 500


def test_what_a_measured_call_raises_is_raised() -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        calibration.busy_seconds(lambda: 1 / 0, 2)
    assert threading.active_count() == before
