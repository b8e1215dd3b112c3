"""Damaged queries and files, in processes that are watched: what the guard tells, and short runs of all targets."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import kdb
from benchmarks.robustness import fuzzed
from benchmarks.robustness.hostile import damage, guard
from benchmarks.robustness.hostile.guard import FAULTS, watched
from benchmarks.robustness.hostile.targets import TARGETS
from tests.benchmarks.mischief import broken, mischief


def test_the_guard_tells_of_all_that_there_may_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "SECONDS", 5.0)
    monkeypatch.setattr(guard, "BYTES", 200 << 20)
    found = watched(mischief, 0, 12)
    assert found.outcomes == {"answered": 2, "raw": 2, "forbidden": 5, "crashed": 1, "slow": 1, "large": 1}
    assert any("list index out of range" in each for each in found.details), found.details
    assert any("without a message" in each for each in found.details)
    assert found.growth > 200 << 20


def test_a_target_that_cannot_be_prepared_is_no_result() -> None:
    with pytest.raises(RuntimeError, match="nothing to damage"):
        watched(broken, 0, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("queries", 2000), ("trace", 30)])
def test_what_is_damaged_is_answered_or_refused(name: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process that is watched, since these targets change kdb itself."""
    monkeypatch.setitem(TARGETS, name, replace(TARGETS[name], each=count))
    row = fuzzed.examined(f"{name} 001")
    assert not {*row["outcomes"]} & {*FAULTS}, row["details"]
    assert row["outcomes"]["answered"] > 20
    assert json.loads(json.dumps(row)) == row


SCANS = ("nifti", "video", "wfdb", "edf")
"""Targets that need the extra volumes."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.volumes] if name in SCANS else [])
        for name in TARGETS
        if name not in ("queries", "trace")
    ],
)
def test_a_damaged_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    """A short run of each target, in this process."""
    attempt, outcomes = TARGETS[name].prepare(tmp_path), Counter[str]()
    for number in range(30):
        try:
            outcomes[attempt(random.Random(f"0.{number}"))] += 1
        except kdb.Error as error:
            assert str(error).strip()
            outcomes[type(error).__name__] += 1
    assert outcomes.total() - outcomes["answered"] > 5, "little is damaged"


def test_damage_changes_something_and_repeats_itself() -> None:
    data = bytes(range(256))
    changed = [damage.damaged(data, random.Random(seed)) for seed in range(100)]
    assert sum(each != data for each in changed) > 95
    assert changed == [damage.damaged(data, random.Random(seed)) for seed in range(100)]


def test_faults_are_reported_with_what_repeats_them() -> None:
    row = {
        "case": "png 001",
        "seed": 7,
        "outcomes": {"answered": 3, "raw": 1, "BindError": 2},
        "details": ["raw: 4: x"],
    }
    row |= {"slowest": 0.5, "growth": 3_000_000}
    assert fuzzed.failures([row]) == ["png 001 (seed 7): raw 1; raw: 4: x"]
    assert fuzzed.totals([row]) == {"attempts": 6, "answered": 3, "refused": 2, "faults": 1}
    assert "| png | 6 | 3 | 2 | 1 | 0 |" in fuzzed.report([row])
    assert len(fuzzed.QUERIES.cases()) == 100
