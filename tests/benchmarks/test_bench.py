"""The benchmark commands on a small network; their counts against those of EXPLAIN and of the statistics."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import kdb
from benchmarks import baselines, bench, experiment, memory, service
from benchmarks.baselines import Naive
from benchmarks.experiment import Experiment, ceiling
from benchmarks.memory import Peak
from benchmarks.service import Explain, Scale
from kdb.language import syntax
from kdb.language.parser import parse_one

SMALL = "squeezenet1_1"
SIZE = (64, 64)


class TestExperiment:
    @given(
        stride=st.integers(1, 9),
        scattered=st.sampled_from([0, 7]),
        patch=st.tuples(st.integers(1, 30), st.integers(1, 30)),
        precision=st.sampled_from(["fp32", "bf16"]),
    )
    def test_the_query_is_what_is_described(
        self, stride: int, scattered: int, patch: tuple[int, int], precision: str
    ) -> None:
        described = Experiment(SMALL, stride, scattered, patch, precision)
        query = parse_one(described.text(SMALL, experiment.TOP))
        assert isinstance(query, syntax.Occlude)
        assert (query.patch.extent, query.precision) == (patch, precision)
        assert query.stride == (None if scattered else (stride,))
        assert isinstance(query.region, syntax.At) == bool(scattered)
        assert ("bf16" in described.what) == (precision == "bf16")
        assert described.count((40, 50)) == (
            scattered or len(range(0, 41 - patch[0], stride)) * len(range(0, 51 - patch[1], stride))
        )

    def test_naive_includes_the_unmodified_image(self, monkeypatch: pytest.MonkeyPatch) -> None:
        setting = object.__new__(experiment.Setting)
        setting.naive = Naive(torch.nn.Flatten())
        setting.normalised = setting.fill = torch.zeros(3)
        clock = [0.0]
        monkeypatch.setattr(Naive, "__call__", lambda *_: clock.append(clock[-1] + 6))
        monkeypatch.setattr(baselines.time, "perf_counter", lambda: clock[-1])
        assert setting.naive_seconds((16, 16), np.zeros((3, 2), np.int64), 10) == 2 * 11


class TestBench:
    @pytest.mark.slow
    def test_a_quick_run(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert bench.main(["--quick", "--threads", "1", "--out", str(tmp_path)]) == 0
        read = json.loads((tmp_path / "cpu.json").read_text())
        whats = ["STRIDE 4", "AT 40 scattered", "STRIDE 4, patch 24 x 24, bf16"]
        assert [result["what"] for result in read["results"]] == whats
        assert [result["positions"] for result in read["results"]] == [13 * 13, 40, 11 * 11]
        assert [result["exactness"]["promised"] for result in read["results"]] == [True, True, False]
        for result, described in zip(read["results"], bench.QUICK.experiments, strict=True):
            assert result["exactness"]["ok"] or not result["exactness"]["promised"]
            assert result["multiply-adds fewer"] == result["naive_macs"] / result["executed_macs"] > 1
            counted = ceiling(described, SIZE, threads=1)
            assert counted.naive_macs == result["naive_macs"]
            materialized = result["naive_macs"] // result["positions"]
            assert counted.planned_macs == result["executed_macs"] - materialized, (
                "the executed multiply-adds are the planned ones"
            )
            for other in ("naive", "captum") if described.captum else ("naive",):
                rounds = [
                    theirs / ours for ours, theirs in zip(*(result[k]["seconds"] for k in ("kdb", other)), strict=True)
                ]
                assert len(rounds) == read["rounds"] == 2
                assert result[f"kdb vs {other}"]["mean"] == pytest.approx(math.prod(rounds) ** (1 / 2))
        assert read["results"][1]["kdb vs captum"] is None
        assert [each["positions"] for each in read["memory"]] == [13 * 13]
        assert all(1e8 < each["bytes"] < memory.PEAK_LIMIT for each in read["memory"])
        page = (tmp_path / "cpu.md").read_text()
        printed = capsys.readouterr().out
        for table in (bench.HEADERS[8], "peak GB", "not promised"):
            assert table in page and table in printed
        assert printed.index("ceiling") < printed.index(bench.HEADERS[3]), "counted before anything is timed"

    def test_the_ceiling_is_that_of_explain(self) -> None:
        db = kdb.connect()
        db.execute("SET threads = 1")
        text = f"OCCLUDE $image STRIDE 4 USING {SMALL} (weights = 'random', input = (64, 64))"
        explained = json.loads(db.explain(text, {"image": np.zeros((64, 64, 3), np.uint8)}, format="json"))
        counted = ceiling(Experiment(SMALL), SIZE, threads=1)
        assert counted.fewer == pytest.approx(explained["naive_macs"] / explained["planned_macs"], rel=1e-6)

    @pytest.mark.parametrize(
        ("peaks", "verdict"),
        [
            ([], True),
            ([(100, 2e9), (400, 2.1e9)], True),
            ([(400, 2.1e9), (100, 2e9)], True),
            ([(100, 2e9), (400, 2.3e9)], False),
            ([(100, 3.1e9), (400, 2.9e9)], False),
        ],
    )
    def test_the_limits_of_memory(self, peaks: list[tuple[int, float]], verdict: bool) -> None:
        assert memory.modest([Peak("", positions, 1.0, int(size)) for positions, size in peaks]) is verdict

    def test_peak_memory_is_no_less_than_what_is_resident(self) -> None:
        block = np.ones(50_000_000, np.uint8)
        status = Path("/proc/self/status")
        if status.exists():
            resident = int(status.read_text().partition("VmRSS:")[2].split()[0]) * 1024
            assert memory.peak_bytes() >= resident > block.nbytes
        assert memory.peak_bytes() > block.nbytes

    @pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--sample", "x"], ["--only", "alexnet"]])
    def test_invalid_arguments_are_refused(self, arguments: list[str]) -> None:
        with pytest.raises(SystemExit):
            bench.main(arguments)

    def test_experiments_are_chosen_by_description(self) -> None:
        (found,) = bench.chosen_experiments(bench.FULL, ["vgg16"], "64 x 64")
        assert found.patch == (64, 64) and found.precision == "fp32"
        with pytest.raises(SystemExit, match=r"bf61.*bf16"):
            bench.main(["--only", "vgg16", "--what", "bf61"])


class TestService:
    @pytest.fixture(autouse=True)
    def threads(self) -> Iterator[None]:
        """Restore torch's number of threads, which the commands set."""
        before = torch.get_num_threads()
        yield
        torch.set_num_threads(before)

    ARGUMENTS = (SMALL, "--size", "64", "64", "--rounds", "2", "--threads", "2")

    def test_explain_is_that_of_a_session(self) -> None:
        scale = Scale(1, 1, SIZE)
        explain = Explain(SMALL, scale)
        db = kdb.connect()
        db.execute("SET threads = 1")
        assert explain() == explain() == db.explain(explain.text, explain.arguments.named)

    @pytest.mark.slow
    def test_the_report(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        started: list[str] = []

        def run(command: Sequence[str], *, env: dict[str, str], **options: Any) -> SimpleNamespace:
            assert env["KDB_CACHE"] != os.environ.get("KDB_CACHE"), "the process has a cache of its own"
            assert options["check"] and command[1:3] == ["-m", "benchmarks.service"]
            started.append(command[-1])
            with redirect_stdout(StringIO()) as printed:
                assert service.main(command[3:]) == 0
            return SimpleNamespace(stdout=printed.getvalue())

        monkeypatch.setattr(service.subprocess, "run", run)
        assert service.main([*self.ARGUMENTS, "--out", str(tmp_path)]) == 0
        assert sorted(started) == ["module"] * 3 + ["query"] * 3, "a warm-up, which leaves a trace, and two rounds"
        read = json.loads((tmp_path / "service.json").read_text())
        assert set(read) >= set(service.PARTS)
        threads, beyond = read["threads"][SMALL], read["process"][SMALL]
        rounds = [one / many for one, many in zip(threads["one"]["seconds"], threads["all"]["seconds"], strict=True)]
        assert threads["ratio"]["mean"] == pytest.approx(math.prod(rounds) ** (1 / 2))
        assert threads["positions"] == 7 * 7
        for difference, *both in zip(
            *(beyond[which]["seconds"] for which in ("beyond", "query", "module")), strict=True
        ):
            assert difference == pytest.approx(both[0] - both[1])
        assert len(read["session"][SMALL]["second"]["seconds"]) == 2
        page = (tmp_path / "service.md").read_text()
        assert [line[3:] for line in page.splitlines() if line.startswith("## ")][1:] == [
            part.title for part in service.PARTS.values()
        ]
        assert all(len(line) <= 120 or line.startswith(("|", "processor")) for line in page.splitlines())

    def test_a_partial_run_writes_nothing(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(service, "DOCS", tmp_path)
        assert service.main([*self.ARGUMENTS, "--part", "explain"]) == 0
        assert list(tmp_path.iterdir()) == []
