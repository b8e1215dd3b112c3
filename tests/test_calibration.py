"""A machine's own profile: complete, kept for later sessions, and not trusted when damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

import kdb
from kdb import calibration
from kdb.planner.cost import CostProfile


def test_calibrate_measures_every_kind_of_work_and_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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
    assert found is not None and found.name == "measured"
    assert calibration.kept(calibration.machine(2)) is None, "another number of threads is another machine"
    (file,) = tmp_path.iterdir()
    for damaged in (b"", b"{}", file.read_bytes()[:-9], file.read_bytes().replace(b'"direct.wide"', b'"other"')):
        file.write_bytes(damaged)
        assert calibration.kept(calibration.machine(1)) is None


def test_rates_between_two_widths() -> None:
    profile = CostProfile(rates={"k": ((64, 1e9), (256, 3e9))})
    assert [profile.rate("k", width) for width in (1, 64, 128, 256, 999)] == [1e9, 1e9, 2e9, 3e9, 3e9]
