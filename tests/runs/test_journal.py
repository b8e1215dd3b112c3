"""What journals say, whatever became of those that wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdb.runs import journal
from kdb.runs.journal import Journal
from kdb.runs.state import DONE, FAILED, NONE, State

pytestmark = pytest.mark.law

COUNT = 4
numbers = st.integers(0, COUNT - 1)
events = st.one_of(
    st.builds(lambda n: {"start": n, "at": 0.0}, numbers),
    st.builds(lambda n: {"stopped": n}, numbers),
    st.builds(
        lambda n, status, ends: {"row": {"number": n, "status": status}, "ends": ends},
        numbers,
        st.sampled_from(["done", "failed"]),
        st.integers(1, 3),
    ),
)


def state_of(folder: Path, written: list[bytes]) -> State:
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for i, content in enumerate(written):
        (folder / f"w{i}.jsonl").write_bytes(content)
    return State.of(folder, COUNT)


def text(found: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in found)


@settings(max_examples=60)
@given(st.lists(st.lists(events, max_size=6), max_size=3), st.data())
def test_a_torn_last_line_is_as_if_it_had_not_been_written(
    tmp_path_factory: pytest.TempPathFactory, written: list[list[dict[str, Any]]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "torn"
    whole = state_of(folder, list(map(text, written)))
    rows = whole.rows(np.arange(COUNT))
    torn = []
    for each in written:
        last = text([data.draw(events)])
        torn.append(text(each) + last[: data.draw(st.integers(0, len(last) - 2))])
    found = state_of(folder, torn)
    for name in ("status", "starts", "cut_off"):
        assert np.array_equal(getattr(found, name), getattr(whole, name))
    assert found.rows(np.arange(COUNT)) == rows


@settings(max_examples=60)
@given(st.lists(st.lists(events, max_size=6), max_size=3))
def test_state_is_what_the_events_add_up_to(
    tmp_path_factory: pytest.TempPathFactory, written: list[list[dict[str, Any]]]
) -> None:
    found = state_of(tmp_path_factory.getbasetemp() / "sums", list(map(text, written)))
    every = [event for each in written for event in each]
    for n in range(COUNT):
        rows = [event for event in every if event.get("row", {}).get("number") == n]
        starts = sum(event.get("start") == n for event in every)
        stopped = sum(event.get("stopped") == n for event in every)
        assert found.starts[n] == starts
        assert found.cut_off[n] == starts - stopped - sum(event["ends"] for event in rows)
        best = {event["row"]["status"] for event in rows}
        assert found.status[n] == (DONE if "done" in best else FAILED if best else NONE)
        row = found.rows(np.array([n])).get(n)
        assert (row is None) == (not rows)
        assert row is None or row["status"] == ("done" if "done" in best else "failed")


def test_what_a_journal_writes_is_read_again(tmp_path: Path) -> None:
    written = Journal(tmp_path / "journals", "shard-1-of-2")
    written.start(2)
    written.row({"number": 2, "status": "done", "label": "é\n"})
    written.start(1)
    written.stopped(1)
    written.start(3)
    written.close()
    assert written.path.name.startswith("shard-1-of-2-")
    state = State.of(tmp_path / "journals", COUNT)
    assert state.status.tolist() == [NONE, NONE, DONE, NONE]
    assert state.cut_off.tolist() == [0, 0, 0, 1]
    assert state.rows(np.array([2])) == {2: {"number": 2, "status": "done", "label": "é\n"}}
    assert state.pending().tolist() == [0, 1, 3]  # one that was cut off comes last


def test_lines_that_no_version_wrote_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "w.jsonl").write_bytes(b'[]\n"x"\n{"start": 99}\n{"row": 3}\nnull\n{"start": 1, "at": 1}\n')
    state = State.of(tmp_path, COUNT)
    assert state.starts.tolist() == [0, 1, 0, 0]
    assert [event for _, _, event in journal.lines(tmp_path / "w.jsonl")][-1] == {"start": 1, "at": 1}
