"""What bounds a statement: its time, its memory, threads, and the callback that is told of its progress."""

from __future__ import annotations

import gc
import json
import os
import signal
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import kdb
from kdb.execution.settings import most_threads
from kdb.kernels.cpu import library

SIDE = 40
IMAGE = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
QUERY = "OCCLUDE $i WITH patch(6, 6) STRIDE 1 USING net"
GIVEN = {"i": IMAGE}
POSITIONS = 35 * 35

pytestmark = pytest.mark.xdist_group("limits")


def network(classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8, classes)).eval()


@pytest.fixture(scope="module")
def session() -> kdb.Session:
    db = kdb.connect()
    db.register_model("net", network(), input_size=SIDE)
    return db


@pytest.fixture
def db(session: kdb.Session) -> Iterator[kdb.Session]:
    """With small batches, so that there are many; by the kernel that can be made slow."""
    session.execute("SET threads = 2; SET batch_size = 8; SET rule.rebatch = off; SET kernels = direct")
    yield session
    session.execute("RESET ALL")
    session.progress = None


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """No test waits for ever."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def late(number: int, frame: Any) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each convolution takes 2 ms more."""
    convolve = library.convolve

    def slowed(*given: Any, **named: Any) -> Any:
        time.sleep(0.002)
        return convolve(*given, **named)

    monkeypatch.setattr(library, "convolve", slowed)


@pytest.fixture(autouse=True)
def of_others() -> None:
    """Threads of other tests, whose results are still there."""
    OTHERS[:] = threading.enumerate()


OTHERS: list[threading.Thread] = []


def workers() -> int:
    return sum(thread.name.startswith("kdb-") for thread in threading.enumerate() if thread not in OTHERS)


class TestStatementTimeout:
    def test_it_takes_seconds_or_a_text_with_a_unit(self, db: kdb.Session) -> None:
        for given, shown in (("30", "30"), ("'30s'", "30"), ("'200ms'", "0.2"), ("'5 min'", "300"), ("0.5", "0.5")):
            assert list(db.execute(f"SET statement_timeout = {given}")) == [("statement_timeout", shown)]
        assert list(db.execute("SET statement_timeout = off")) == [("statement_timeout", "off")]
        for wrong in ("0", "-1", "'soon'", "on", "'5 days'"):
            with pytest.raises(kdb.Error):
                db.execute(f"SET statement_timeout = {wrong}")

    def test_a_query_that_takes_longer_leaves_what_it_has(self, db: kdb.Session, slow: None) -> None:
        db.execute(QUERY, GIVEN)  # traced, and all that is made once
        db.execute("SET statement_timeout = '300ms'")
        start = time.perf_counter()
        with pytest.raises(kdb.Timeout, match=r"longer than statement_timeout, 0\.3 s.* of 1225 positions") as caught:
            db.execute(QUERY, GIVEN)
        assert time.perf_counter() - start < 1.5
        partial = caught.value.partial
        assert isinstance(caught.value, kdb.ExecutionError) and not partial.complete
        assert 0 < partial.evaluated.sum() < POSITIONS
        db.execute("RESET statement_timeout")
        whole, there = db.execute(QUERY, GIVEN), partial.evaluated
        np.testing.assert_array_equal(whole.values[there], partial.values[there])
        assert np.isnan(partial.values[~there]).all() and workers() == 0

    @pytest.mark.parametrize(
        "statement",
        [
            "EXPLAIN {}",
            "EXPLAIN ANALYZE {}",
            "VERIFY {}",
            "SET rule.incremental = off; {}",
            "CALIBRATE",
            "TUNE net ON $i WITH patch(6, 6) STRIDE 1",
        ],
    )
    def test_it_is_of_every_statement(self, db: kdb.Session, statement: str) -> None:
        db.execute("SET statement_timeout = '1ms'")
        with pytest.raises(kdb.Timeout):
            db.execute(statement.format(QUERY), GIVEN)
        assert workers() == 0

    def test_it_is_of_all_images_together_and_passes_while_maps_are_made(self, db: kdb.Session, slow: None) -> None:
        images = {"i": [IMAGE] * 9}
        start = time.perf_counter()
        db.execute(QUERY, GIVEN)
        one = time.perf_counter() - start
        db.execute(f"SET statement_timeout = {3 * one}")
        maps = db.execute(QUERY, images)
        time.sleep(3 * one)
        found = []
        with pytest.raises(kdb.Timeout):
            found.extend(heat_map.complete for heat_map in maps)
        assert 1 <= len(found) < 9 and all(found) and maps.errors == {}

    def test_a_stream_ends_with_it(self, db: kdb.Session, slow: None) -> None:
        db.execute("SET statement_timeout = '400ms'")
        with pytest.raises(kdb.Timeout) as caught:
            list(db.stream(QUERY, GIVEN))
        assert caught.value.partial is None or not caught.value.partial.complete


class TestProgress:
    def test_it_is_of_one_call_alone(self, db: kdb.Session) -> None:
        own: list[int] = []
        others: list[int] = []
        db.progress = lambda done, total: others.append(done)
        db.execute(QUERY, GIVEN, progress=lambda done, total: own.append(done))
        assert own == sorted(own) and own[-1] == POSITIONS and others == []
        db.execute(QUERY, GIVEN)
        assert others[-1] == POSITIONS

    def test_a_cancelled_query_gives_its_partial_map(self, db: kdb.Session, slow: None, tmp_path: Path) -> None:
        def cancel(done: int, total: int) -> None:
            if done:
                raise kdb.Cancel

        found = db.execute(f"{QUERY} INTO '{tmp_path}/map.npz'", GIVEN, progress=cancel)
        assert isinstance(found, kdb.HeatMap) and not found.complete and 0 < found.evaluated.sum() < POSITIONS
        assert list(tmp_path.iterdir()) == [] and workers() == 0
        last = list(db.run(QUERY, GIVEN, progress=cancel))
        assert [each.complete for each in last] == [False]

    def test_a_cancelled_query_of_several_images_ends(self, db: kdb.Session, slow: None, tmp_path: Path) -> None:
        for name in "abc":
            Image.fromarray(IMAGE).save(tmp_path / f"{name}.png")
        calls: list[int] = []

        def cancel(done: int, total: int) -> None:
            calls.append(done)
            if POSITIONS in calls and done < POSITIONS:  # in the second image
                raise kdb.Cancel

        query = QUERY.replace("$i", f"'{tmp_path}/*.png'")
        maps = db.execute(f"{query} INTO '{tmp_path}/{{stem}}.npz'", progress=cancel)
        assert [path.name for path in sorted(tmp_path.glob("*.npz"))] == ["a.npz"]
        assert len(maps) == 3

    def test_statements_without_a_map_raise_it(self, db: kdb.Session) -> None:
        def cancel(done: int, total: int) -> None:
            raise kdb.Cancel

        with pytest.raises(kdb.Cancel, match=r"cancelled after (\d+ of|all) 1225 positions"):
            db.execute(f"VERIFY {QUERY}", GIVEN, progress=cancel)
        with pytest.raises(kdb.Cancel, match="no tuning is kept"):
            db.execute("TUNE net ON $i WITH patch(6, 6) STRIDE 1", GIVEN, progress=cancel)

    def test_whatever_else_it_raises_is_passed_on(self, db: kdb.Session) -> None:
        for error in (ValueError("mine"), SystemExit(3)):

            def fail(done: int, total: int, error: BaseException = error) -> None:
                raise error

            with pytest.raises(type(error)) as caught:
                db.execute(QUERY, GIVEN, progress=fail)
            assert caught.value is error and workers() == 0
        assert db.execute(QUERY, GIVEN).complete

    def test_it_cannot_use_the_session_but_another(self, db: kdb.Session) -> None:
        other = kdb.connect()
        found: list[Any] = []

        def nested(done: int, total: int) -> None:
            found.append(other.execute("SHOW RULES"))
            db.execute("SHOW SETTINGS")

        with pytest.raises(kdb.ExecutionError, match="a progress callback cannot use the session"):
            db.execute(QUERY, GIVEN, progress=nested)
        assert len(found) == 1 and db.execute(QUERY, GIVEN).complete

    def test_it_cannot_use_the_maps_that_the_session_makes(self, db: kdb.Session, slow: None) -> None:
        maps: list[Any] = []
        maps.append(db.execute(QUERY, {"i": [IMAGE, IMAGE]}, progress=lambda done, total: maps[0][1]))
        with pytest.raises(kdb.ExecutionError, match="a progress callback cannot use the session"):
            maps[0][0]
        assert list(maps[0].errors) == [0], "of the map that was being made"

        several = db.execute(QUERY, {"i": [IMAGE, IMAGE]})
        other = threading.Thread(target=lambda: several[0])

        def ask(done: int, total: int) -> None:
            if other.ident is None:
                other.start()
                time.sleep(0.05)  # it waits for its turn by now
            several[1]

        with pytest.raises(kdb.ExecutionError, match="a progress callback cannot use the session"):
            db.execute(QUERY, GIVEN, progress=ask)
        other.join()
        assert several[0].complete and several.errors == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
class TestForks:
    def in_child(self, work: Callable[[], bool]) -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(30)
            try:
                os._exit(0 if work() else 3)
            except BaseException:
                os._exit(4)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)

    def test_after_a_query(self, db: kdb.Session) -> None:
        expected = db.execute(QUERY, GIVEN)
        assert self.in_child(lambda: np.array_equal(db.execute(QUERY, GIVEN).values, expected.values)) == 0

    def test_while_another_thread_runs_one(self, db: kdb.Session, slow: None) -> None:
        expected, begun = db.execute(QUERY, GIVEN), threading.Event()
        other = threading.Thread(
            target=lambda: db.execute(QUERY, GIVEN, progress=lambda done, total: begun.set() if done else None)
        )
        other.start()
        begun.wait(20)
        assert self.in_child(lambda: np.array_equal(db.execute(QUERY, GIVEN).values, expected.values)) == 0
        other.join()

    def test_after_torch_has_used_its_threads(self, db: kdb.Session) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            with torch.no_grad():
                nn.Conv2d(16, 32, 3)(torch.zeros(4, 16, 64, 64))
            assert self.in_child(lambda: db.execute(f"VERIFY {QUERY}", GIVEN).agrees) == 0
        finally:
            torch.set_num_threads(before)


class TestMemory:
    def test_nothing_grows_with_the_number_of_images(self, db: kdb.Session) -> None:
        images = [np.roll(IMAGE, i, axis=1) for i in range(12)]
        query = QUERY.replace("STRIDE 1", "STRIDE 8")
        first = db.execute(query, GIVEN)
        maps = iter(db.execute(query, {"i": images}))
        tracemalloc.start()
        try:
            totals = []
            for heat_map in maps:
                assert heat_map.values.shape == first.values.shape
                gc.collect()  # what is held is counted, and not what was let go
                totals.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
        views = db._engine.views.nbytes
        assert len(totals) == 12 and max(totals[6:]) - min(totals[3:6]) < views / 2, "of one image"

    def test_all_classes_take_little_more_than_their_map(self) -> None:
        db = kdb.connect()
        db.execute("SET threads = 1")
        db.register_model("net", network(400), input_size=SIDE)
        query = f"{QUERY} FOR ALL CLASSES SCORE "
        for score in ("probability", "drop", "logit"):
            db.execute(f"{query} {score}", GIVEN)
            tracemalloc.start()
            try:
                found = db.execute(f"{query} {score}", GIVEN)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert found.values.nbytes == 400 * POSITIONS * 4
            assert peak <= 2 * found.values.nbytes + (4 << 20)  # of 2 MB; the rest is the plan, and a batch

    def test_batches_are_lowered_until_the_plan_fits(self, db: kdb.Session) -> None:
        db.execute("SET batch_size = 400")
        usual, before = db.execute(QUERY, GIVEN), json.loads(db.explain(QUERY, GIVEN, format="json"))
        limit = (before["peak_bytes"] >> 20) - 1
        db.execute(f"SET memory_limit = {limit}")
        after = json.loads(db.explain(QUERY, GIVEN, format="json"))
        assert after["largest_batch"] < before["largest_batch"] and after["peak_bytes"] <= limit << 20
        assert f"{limit} MiB allowed" in db.explain(QUERY, GIVEN)
        np.testing.assert_allclose(db.execute(QUERY, GIVEN).values, usual.values, atol=1e-6)

    def test_what_does_not_fit_is_refused_before_it_is_computed(self, db: kdb.Session) -> None:
        db.execute("SET memory_limit = 3")
        message = r"the query needs \d+ MB \(.*\), and 3 MB is the most that SET memory_limit allows; fewer positions"
        for statement in (QUERY, f"EXPLAIN {QUERY}", f"VERIFY {QUERY}"):
            with pytest.raises(kdb.ExecutionError, match=message):
                db.execute(statement, GIVEN)

    @pytest.mark.parametrize("size", [12_000, 200_000])
    def test_a_map_far_too_large_is_refused_at_once(self, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kdb.system.memory.available", lambda: 8 << 30)
        db = kdb.connect()
        db.register_model("net", network(1000), input_size=size)
        start = time.perf_counter()
        for query in (f"{QUERY} FOR ALL CLASSES", QUERY.replace("STRIDE 1", "STRIDE 9000")):
            with pytest.raises(kdb.ExecutionError, match="MB are available; fewer positions"):
                db.execute(query, GIVEN)
        assert time.perf_counter() - start < 5

    def test_a_wide_model_is_refused_by_what_it_makes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kdb.system.memory.available", lambda: 1 << 30)
        db, ran = kdb.connect(), list[int]()

        class Wide(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.wide = nn.Conv2d(3, 512, 3)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                ran.append(x.shape[-1])
                return self.wide(x).mean((2, 3))

        db.register_model("net", Wide(), input_size=1024)
        with pytest.raises(kdb.ExecutionError, match="the model on an input of 1024 x 1024 pixels takes"):
            db.execute(QUERY.replace("STRIDE 1", "STRIDE 900"), GIVEN)

    def test_no_memory_while_it_runs_is_told(self, db: kdb.Session, monkeypatch: pytest.MonkeyPatch) -> None:
        def none(*given: Any, **named: Any) -> Any:
            return np.empty(1 << 58, np.uint8)

        db.execute(QUERY, GIVEN)
        monkeypatch.setattr(library, "convolve", none)
        with pytest.raises(kdb.ExecutionError, match="not enough memory for an array of 274,877,906,944 MB"):
            db.execute(QUERY, GIVEN)
        assert workers() == 0


def test_threads_are_bounded(db: kdb.Session) -> None:
    db.execute(f"SET threads = {most_threads()}")
    with pytest.raises(kdb.BindError, match=f"threads takes a whole number, 1 to {most_threads()}; not 100000"):
        db.execute("SET threads = 100000")


def test_a_system_with_few_threads_left(db: kdb.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    start, left = threading.Thread.start, [1]

    def limited(thread: threading.Thread) -> None:
        if not left[0] and thread.name.startswith("kdb-"):
            raise RuntimeError("can't start new thread")
        left[0] -= thread.name.startswith("kdb-")
        start(thread)

    expected = db.execute(QUERY, GIVEN)
    monkeypatch.setattr(threading.Thread, "start", limited)
    np.testing.assert_array_equal(db.execute(QUERY, GIVEN).values, expected.values)
    with pytest.raises(kdb.ExecutionError, match="no thread left"):
        db.execute(QUERY, GIVEN)
    with pytest.raises(kdb.ExecutionError, match="no thread left"):
        db.execute("CALIBRATE")
