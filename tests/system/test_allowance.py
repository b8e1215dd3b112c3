"""An allowance: seconds pass while it runs, in one thread, and over all that a statement does."""

from __future__ import annotations

import threading
import time

import pytest

from kdb.errors import Timeout
from kdb.system.allowance import Allowance, check_time
from kdb.system.threads import Worker, checkpoint


def test_without_one_or_without_a_limit_nothing_is_too_late() -> None:
    check_time()
    with Allowance().running():
        check_time()


def test_it_is_over_when_its_seconds_have_passed() -> None:
    with Allowance(0.02).running():
        check_time()
        time.sleep(0.03)
        with pytest.raises(Timeout, match=r"longer than statement_timeout, 0\.02 s"):
            checkpoint()
    check_time()


def test_its_seconds_pass_only_while_it_runs() -> None:
    allowance = Allowance(0.1)
    with allowance.running(), allowance.running():
        time.sleep(0.04)
    time.sleep(0.1)
    with allowance.running():
        check_time()
        time.sleep(0.08)
        with pytest.raises(Timeout):
            check_time()
    with allowance.running(), pytest.raises(Timeout):
        check_time()


def test_it_is_of_one_thread_and_workers_stop_for_it() -> None:
    worker, ended = Worker("worker"), list[str]()

    def patient() -> None:
        try:
            while True:
                time.sleep(0.005)
                checkpoint()
        finally:
            ended.append("patient")

    with Allowance(0.05).running():
        time.sleep(0.06)
        other = threading.Thread(target=lambda: [check_time(), ended.append("other")])
        other.start()
        other.join()
        with pytest.raises(Timeout):
            worker.call(patient)
    assert ended == ["other", "patient"]
