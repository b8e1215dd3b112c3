"""Two checkouts compared in speed: they take turns, and the confidence interval is that of the median."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import old_and_new

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_whole_maps_of_this_checkout_beside_itself(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    command = f"{ROOT} {ROOT} --networks squeezenet1_1 --stride 64 --pairs 3 --out {out}"
    assert old_and_new.main(command.split()) == 0
    (found,) = json.loads(out.read_text())["networks"]
    assert len(found["old"]) == len(found["new"]) == 3 and all(0 < each < 60 for each in found["old"])
    assert found["same_bits"] and found["interval"] == [None, None], "three pairs are too few for an interval"
    assert found["median"] == np.median(np.divide(found["new"], found["old"]))


def test_they_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []

    class Recorder(nullcontext):
        def __init__(self, path: str, script: str) -> None:
            super().__init__(self)
            self.path = path

        def ask(self, request: object) -> dict[str, object]:
            turns.append(self.path)
            return {"seconds": float(len(turns)), "digest": self.path}

    monkeypatch.setattr(old_and_new, "Checkout", Recorder)
    found = old_and_new.compare("A", "B", "alexnet", 8, 3)
    assert "".join(turns) == "BA" + "AB" + "BA" + "AB", "a warm-up and three pairs"
    assert found.old == (3, 6, 7) and found.new == (4, 5, 8) and not found.same_bits


def test_the_interval_of_a_median() -> None:
    assert old_and_new.median_interval([5.0, 1, 3, 2, 4]) == (-math.inf, math.inf)
    assert old_and_new.median_interval([5.0, 1, 3, 2, 4, 6]) == (1, 6)
    # From tables of the sign test.
    assert old_and_new.median_interval([float(i) for i in range(1, 16)]) == (4, 12)


@given(st.lists(st.floats(0.1, 10), min_size=6))
def test_a_median_lies_in_its_interval(samples: list[float]) -> None:
    low, high = old_and_new.median_interval(samples)
    assert low <= np.median(samples) <= high
