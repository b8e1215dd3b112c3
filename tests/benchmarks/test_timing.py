"""Timing: coverage of confidence intervals, fair turns, and files that can be read again."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import timing


def test_students_interval() -> None:
    # t(0.975, 2) = 4.3027, from a table, and s = 1.
    got = timing.estimate([1, 2, 3])
    assert got.mean == 2
    assert got.high - got.mean == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)
    assert got.mean - got.low == pytest.approx(got.high - got.mean)


def test_the_interval_covers_the_mean_at_its_confidence_level() -> None:
    samples = np.random.default_rng(0).normal(5, 2, size=(2000, 4))
    estimates = [timing.estimate(list(row)) for row in samples]
    covered = np.mean([each.low <= 5 <= each.high for each in estimates])
    assert covered == pytest.approx(0.95, abs=0.02)


def test_one_sample_has_no_spread_and_none_no_mean() -> None:
    assert timing.estimate([2.0]) == timing.Estimate(2.0, -math.inf, math.inf)
    assert timing.ratio([6.0], [2.0]).mean == pytest.approx(3)
    with pytest.raises(ValueError, match="no sample"):
        timing.estimate([])


@given(drift=st.lists(st.floats(0.1, 10), min_size=2, max_size=8), factor=st.floats(0.1, 10))
def test_drift_that_both_share_cancels_in_the_ratio(drift: list[float], factor: float) -> None:
    got = timing.ratio([factor * each for each in drift], drift)
    assert got.low == pytest.approx(factor) and got.high == pytest.approx(factor)


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=2, max_size=8))
def test_swapping_the_candidates_inverts_the_ratio(pairs: list[tuple[float, float]]) -> None:
    tops, bottoms = zip(*pairs, strict=True)
    one, other = timing.ratio(tops, bottoms), timing.ratio(bottoms, tops)
    assert one.mean == pytest.approx(1 / other.mean)
    assert one.low == pytest.approx(1 / other.high)


def test_candidates_take_turns() -> None:
    order: list[str] = []
    candidates = {name: lambda name=name: order.append(name) for name in "abc"}
    got = timing.interleave(candidates, rounds=3, warmups=1)
    assert "".join(order) == "cab" + "abc" + "bca" + "cab"
    assert list(got) == ["a", "b", "c"]
    assert all(len(each.seconds) == 3 and min(each.seconds) >= 0 for each in got.values())


def test_seconds_that_a_candidate_returns_are_used() -> None:
    got = timing.interleave({"slow": lambda: timing.Seconds(6), "fast": lambda: timing.Seconds(2)}, rounds=2)
    assert got["fast"].seconds == (2, 2)
    assert got["fast"].over(got["slow"]).mean == pytest.approx(3)


@pytest.mark.parametrize("options", [{"rounds": 0}, {"warmups": -1}])
def test_nothing_to_time_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="nothing to time"):
        timing.interleave({"a": lambda: None}, **options)
    with pytest.raises(ValueError, match="nothing to time"):
        timing.interleave({})


def test_the_machine_is_described() -> None:
    described = timing.machine()
    assert described["torch"] == torch.__version__
    assert isinstance(described["cores"], int) and described["cores"] >= 1
    assert described["processor"]


def test_tables() -> None:
    table = timing.markdown_table(["network", "s"], [["vgg|16", 1.23456], ["resnet", timing.Estimate(2, 1, 3)]])
    assert table == "| network | s |\n| --- | ---: |\n| vgg\\|16 | 1.23 |\n| resnet | 2 [1, 3] |\n"
    with pytest.raises(ValueError, match="2 headers"):
        timing.markdown_table(["a", "b"], [["c"]])


def test_files(tmp_path: Path) -> None:
    results = {"a": timing.Timing("a", (1.0, 3.0)), "once": timing.estimate([1.0]), "n": [np.int64(4), math.nan]}
    timing.write_json(tmp_path / "r.json", results)
    read = json.loads((tmp_path / "r.json").read_text())
    assert read["machine"]["torch"] == torch.__version__
    assert read["a"]["seconds"] == [1, 3] and read["a"]["mean"] == 2
    assert read["once"] == {"mean": 1, "low": None, "high": None}
    assert read["n"] == [4, None]
    timing.write_markdown(tmp_path / "r.md", "Title", {"One": timing.markdown_table(["x"], [[1]])})
    page = (tmp_path / "r.md").read_text()
    assert page.startswith("# Title\n\n") and "\n## One\n\n| x |\n| --- |\n| 1 |\n" in page
