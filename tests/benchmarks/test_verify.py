"""The exactness matrix on small inputs, and the positions and comparisons that it is made of."""

from __future__ import annotations

import functools
import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmarks import photos, verify
from benchmarks.verify import Case, Subject, Truth
from kdb.geometry import lattice as rows_or_columns
from kdb.session.session import Session

SIZE = (96, 80)
NETWORKS = ("squeezenet1_1", "resnet18", "mobilenet_v2")
POSITIONS = 14
# The patch covers the image, so that all positions are one and the map has no range.
FLAT = Case(SIZE, "gray", "scattered", "chelsea")


@dataclass
class Bench:
    """A network, its float64 truth, and a session that has it."""

    subject: Subject
    truth: Truth
    db: Session

    def check(self, case: Case, count: int = POSITIONS, seed: int = 0) -> verify.Outcome:
        return verify.check(self.db, self.subject, self.truth, case, count, seed)


one_process = pytest.mark.xdist_group("squeezenet")  # which calibrates and traces it once


@functools.cache
def prepared(name: str) -> Bench:
    subject = verify.load(name, SIZE)
    return Bench(subject, Truth(subject.module), subject.connect())


@pytest.fixture
def squeezenet() -> Iterator[Bench]:
    bench = prepared("squeezenet1_1")
    bench.db.execute("SET kernels = auto")
    yield bench


class Remembered(Truth):
    """Caches the truth of each case, so that a second run of it is not computed again."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self._known: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}

    def logits(
        self, image: Tensor, content: Tensor, aligned: bool, patch: tuple[int, int], positions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        key = pickle.dumps((image.numpy(), content.numpy(), aligned, patch, positions))
        if key not in self._known:
            self._known[key] = super().logits(image, content, aligned, patch, positions)
        return self._known[key]


class TestExactness:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", [pytest.param(NETWORKS[0], marks=one_process), *NETWORKS[1:]])
    def test_queries_equal_the_module(self, name: str) -> None:
        """All cases of the matrix by the kernels that the planner chooses, and half of them by numpy's alone.

        The larger networks share the cases, by the planner's; the one with the largest batches is of both.
        """
        network = replace(prepared(name), truth=Remembered(prepared(name).subject.module))
        cases = list(enumerate(verify.cases(SIZE)))
        large = (("auto", cases[1::2] if name == NETWORKS[1] else [cases[3], *cases[::2]]),)
        for kernels, some in (("auto", cases), ("native", cases[1::2])) if name == NETWORKS[0] else large:
            network.db.execute(f"SET kernels = {kernels}")
            outcomes = [network.check(case, seed=seed) for seed, case in some]
            assert all(outcome.ok for outcome in outcomes), f"{kernels}\n" + "\n".join(map(str, outcomes))
            assert sum(outcome.compared for outcome in outcomes) >= len(outcomes) * POSITIONS
            assert max(outcome.evaluated for outcome in outcomes) > 100, "batches as large as those of real maps"


class TestMatrix:
    def test_what_it_covers(self) -> None:
        cases = verify.cases((224, 224))
        assert len(verify.NETWORKS) == 10
        assert len(cases) * verify.COMPARED >= 200
        assert len({case.patch for case in cases}) >= 5
        assert any(height != width for height, width in (case.patch for case in cases))
        assert len({case.fill.partition("(")[0] for case in cases}) == 7, "every kind of fill"

    @one_process
    def test_small_mistakes_are_found(self, squeezenet: Bench) -> None:
        """A weight is changed by a thousandth; the mean and the fill by one of 255 pixel values."""
        case = Case((16, 16), "black", "scattered", "chelsea")
        assert squeezenet.check(case).ok

        tampered = Truth(squeezenet.subject.module)
        with torch.no_grad():
            tampered.exact.get_parameter("features.0.weight").mul_(1.001)
        assert not replace(squeezenet, truth=tampered).check(case).ok

        shifted = replace(squeezenet.subject, mean=tuple(value + 1 / 255 for value in photos.MEAN))
        assert not replace(squeezenet, subject=shifted).check(case).ok

        one = replace(case, fill="rgb(1, 1, 1)")
        assert squeezenet.check(one).ok
        positions = verify.scattered((SIZE[0] - 16, SIZE[1] - 16), POSITIONS, 0)
        parameters = {"image": photos.photo(case.photo, SIZE), "positions": positions}
        black, nearly = (
            verify.occlude(squeezenet.db, "squeezenet1_1", each.patch, each.fill, "AT $positions", "", parameters)
            for each in (case, one)
        )
        assert not np.array_equal(black.values, nearly.values)

    @one_process
    def test_a_flat_map_fails(self, squeezenet: Bench) -> None:
        outcome = squeezenet.check(Case((2, 2), "blur(0.2)", "scattered", "chelsea"))  # hardly changes the image
        assert outcome.found is not None and outcome.found.signal < 1e-3
        assert not outcome.ok and "FAILS" in str(outcome)

    @one_process
    def test_an_error_is_a_failed_case(self, squeezenet: Bench) -> None:
        outcome = squeezenet.check(Case((SIZE[0], 16), "nonsense", "scattered", "chelsea"))
        assert not outcome.ok
        assert "nonsense" in str(outcome)

    @given(free=st.tuples(st.integers(0, 9), st.integers(0, 9)), count=st.integers(1, 30), seed=st.integers(0, 99))
    def test_scattered_positions(self, free: tuple[int, int], count: int, seed: int) -> None:
        points = verify.scattered(free, count, seed)
        assert points.shape == (count, 2)
        assert (points >= 0).all() and (points <= free).all()
        if count >= 4:
            corners = {(0, 0), (0, free[1]), (free[0], 0), free}
            assert corners <= set(map(tuple, points.tolist()))

    @given(free=st.tuples(st.integers(0, 60), st.integers(0, 60)))
    def test_a_cluster_ends_in_the_far_corner(self, free: tuple[int, int]) -> None:
        points = verify.cluster(free)
        assert (points >= 0).all() and (points.max(axis=0) == free).all()

    @given(size=st.integers(4, 40), patch=st.integers(1, 4), stride=st.tuples(st.integers(1, 9), st.integers(1, 9)))
    def test_a_grid_equals_that_of_the_engine(self, size: int, patch: int, stride: tuple[int, int]) -> None:
        """Two independent definitions give the same positions, the last one included."""
        points = verify.grid((size - patch, size - patch), stride)
        ours = [rows_or_columns(size, patch, step) for step in stride]
        assert np.array_equal(points, np.stack(np.meshgrid(*ours, indexing="ij"), -1).reshape(-1, 2))

    @given(count=st.integers(1, 60))
    def test_a_sample_begins_with_the_corners(self, count: int) -> None:
        points = verify.grid((12, 20), (3, 4))
        chosen = verify.sample(points, count)
        assert len(chosen) == min(count, len(points)) == len(set(chosen.tolist()))
        if count >= 4:
            assert {(0, 0), (0, 20), (12, 0), (12, 20)} <= set(map(tuple, points[chosen].tolist()))


@one_process
class TestVerifyCommand:
    def run(self, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
        subject = prepared("squeezenet1_1").subject
        monkeypatch.setattr(verify, "load", lambda name: subject)
        return verify.main(["--only", "squeezenet1_1", "--positions", "6", *arguments])

    def test_the_report(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        some = verify.cases(SIZE)[:3]  # all of them are compared above
        monkeypatch.setattr(verify, "cases", lambda size: some)
        assert self.run(monkeypatch, "--out", str(tmp_path / "new")) == 0
        read = json.loads((tmp_path / "new" / "exactness.json").read_text())
        assert len(read["cases"]) == 3
        for case in read["cases"]:
            assert case["ok"] and case["compared"] == 6 and case["found"]["range_use"] <= 1
        page = (tmp_path / "new" / "exactness.md").read_text()
        assert page.startswith("# Exactness") and page.count("| squeezenet1_1 |") == 4
        assert "3 of 3 cases are exact" in capsys.readouterr().out

    def test_one_failure_fails_it_all(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(verify, "cases", lambda size: (FLAT,))
        monkeypatch.setattr(verify, "write", lambda *_: pytest.fail("a partial run must not overwrite the report"))
        assert self.run(monkeypatch) == 1
        assert "0 of 1 cases are exact" in capsys.readouterr().out

    def test_an_unknown_network_is_refused(self) -> None:
        with pytest.raises(SystemExit, match="vgg61"):
            verify.main(["--only", "resnet18,vgg61"])
