"""The parts of the examination that watch a process's memory, in small: a long-lived process, and large results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.robustness import memory, soak, soaking

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


def sample(**facts: Any) -> dict[str, Any]:
    return {"seconds": 60, "memory": 500e6, "threads": 6, "files": 8, "objects": 9, "maps": 5, "raw": {}, **facts}


def row(*samples: dict[str, Any], status: int = 0) -> dict[str, Any]:
    return {"case": "60 minutes", "samples": list(samples), "status": status}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_step_can_be_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soaking, "NETWORKS", 2)
    with soaking.soaking(tmp_path, 0) as soak_:
        for step in soaking.STEPS:
            before = soak_.maps
            getattr(soak_, step)()
            quiet = {"described", "explained", "tuned", "mistakes"}
            assert (soak_.maps > before) is (step not in quiet), step
    assert len(soaking.STEPS) >= 20


@pytest.mark.filterwarnings("ignore")
def test_every_mistake_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soaking, "NETWORKS", 1)
    with soaking.soaking(tmp_path, 0) as soak_:
        for text in soaking.MISTAKES:
            monkeypatch.setattr(
                soak_, "_any", lambda choices, text=text: text if choices is soaking.MISTAKES else choices[0]
            )
            soak_.mistakes()


@pytest.mark.slow
def test_a_process_says_what_it_holds() -> None:
    found = soak.examined("0.01 minutes")
    assert found["status"] == 0
    (said,) = found["samples"]
    assert said["raw"] == {} and said["steps"] >= 1
    assert said["memory"] > 50e6 and said["threads"] >= 1 and said["files"] >= 3


def test_growth_is_counted_once_caches_are_full() -> None:
    filling = [sample(memory=100e6 + 40e6 * i, threads=1) for i in range(9)]
    flat = [sample(memory=500e6 + i % 3 * 60e6) for i in range(50)]
    assert not soak.failures([row(*filling, *flat)])
    leaking = [sample(memory=500e6 + 1e6 * i) for i in range(51)]
    assert [text.split(" grew")[0] for text in soak.failures([row(*filling, *leaking)])] == ["60 minutes: memory"]
    assert "memory changed by +" in soak.report([row(*filling, *leaking)])
    for key in ("threads", "files"):
        growing = [sample(**{key: 8 + i // 40}) for i in range(51)]
        assert [text.split(" grew")[0] for text in soak.failures([row(*growing)])] == [f"60 minutes: {key}"]


def test_whatever_else_goes_wrong_is_told() -> None:
    assert soak.failures([row(sample(raw={"globs": "KeyError: 'x'"}))]) == ["60 minutes: globs: KeyError: 'x'"]
    assert soak.failures([row(status=-9)]) == ["60 minutes: the process ended with -9"]
    assert soak.report([row(status=-9)]) and soak.totals([row(status=-9)]) == {"maps": 0}


def test_large_results_in_small() -> None:
    found = memory.of_classes("FOR ALL CLASSES", classes=3, side=27)
    assert found["result"] == 3 * 24 * 24 * 4 and 0 < found["before"] <= found["after"]
    found = memory.of_images(count=4, first=2, side=24)
    assert found["result"] == 2 * (11 * 11 * (4 + 16) + 24 * 24 * 3) and found["before"] > 0


def test_what_takes_too_much_is_told() -> None:
    one = {"case": memory.ONE, "before": 300e6, "after": 330e6, "result": 160e3}
    every = {"case": memory.ALL, "before": 300e6, "after": 640e6, "result": 160e6}
    many = {"case": memory.MANY, "before": 300e6, "after": 302e6, "result": 50e6}
    assert memory.failures([one, every, many]) == []
    (said,) = memory.failures([one, {**every, "after": 700e6}, many])
    assert "370 MB more than one, 2.3 times the result of 160 MB" in said
    (said,) = memory.failures([one, every, {**many, "after": 330e6}])
    assert "grows by 30 MB with maps of 50 MB" in said
    assert "| all classes | 300 MB | 340 MB | 160 MB |" in memory.report([one, every])
