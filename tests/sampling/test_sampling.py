"""Strategies: the cells they propose and the estimates of all others.  Laws on synthetic maps first, then queries."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from torch import nn

import kdb
from kdb.errors import BindError
from kdb.language import syntax
from kdb.results.maps import HeatMap
from kdb.sampling import kriging, lattice, progressive
from kdb.sampling.drill_down import DrillDown, coarse_steps
from kdb.sampling.progressive import JUDGES, Goal, Progressive
from kdb.sampling.quality import expected_ssim
from kdb.sampling.strategy import Estimate, Everything, Strategy
from tests import support

sides = st.integers(7, 24)
seeds = st.integers(0, 2**16)


def smooth(rows: int, columns: int, seed: int, sigma: float = 1.5, classes: int = 1) -> NDArray[np.float64]:
    """Smoothed noise, float64 [classes, rows * columns], like heat maps of patches that overlap."""
    noise = np.random.default_rng(seed).normal(size=(classes, rows, columns))
    return gaussian_filter(noise, (0, sigma, sigma), mode="nearest").reshape(classes, -1)


def followed(strategy: Strategy, truth: NDArray[np.float64]) -> list[Estimate]:
    """The estimates after each round of a strategy on the scores ``truth`` [classes, n]; no cell is proposed twice."""
    seen, maps = np.zeros(truth.shape[1], bool), []
    while len(cells := strategy.propose()):
        assert not seen[cells].any() and len(np.unique(cells)) == len(cells)
        seen[cells] = True
        strategy.take(cells, truth[:, cells])
        maps.append(strategy.estimate())
        assert (maps[-1].evaluated == seen).all()
        assert (maps[-1].values[:, seen] == truth[:, seen]).all()
    return maps


class TestLattice:
    @given(rows=sides, columns=sides)
    def test_each_level_is_a_finer_lattice(self, rows: int, columns: int) -> None:
        levels = lattice.levels(rows, columns)
        assert levels.min() == 0 and levels.max() < lattice.LEVELS
        for y, x in np.argwhere(levels == 0):
            assert (y % 4 == 0 or y == rows - 1) and (x % 4 == 0 or x == columns - 1)
        assert (levels[::2, ::2] <= 2).all() and (levels[::4, ::4] == 0).all()
        assert {levels[0, 0], levels[-1, -1], levels[0, -1], levels[-1, 0]} == {0}


class TestKriging:
    @given(seed=seeds, count=st.integers(6, kriging.NEIGHBOURS))
    def test_a_linear_trend_is_predicted_exactly(self, seed: int, count: int) -> None:
        draw = np.random.default_rng(seed)
        cells = np.stack(np.divmod(draw.permutation(12 * 12), 12), axis=1)
        known, wanted = cells[:count], cells[count:]
        assume(np.linalg.matrix_rank(known - known.mean(axis=0)) == 2)  # on a line, there is no trend to tell
        prediction = kriging.predict(known, wanted)
        plane = np.array([2.0, -3.0])
        np.testing.assert_allclose(prediction.apply((known @ plane + 1)[None])[0], wanted @ plane + 1, atol=1e-6)
        assert (prediction.variance >= 0).all()

    @given(seed=seeds)
    def test_it_is_the_cubic_radial_basis_function(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        cells = np.stack(np.divmod(draw.permutation(15 * 15), 15), axis=1)
        known, wanted = cells[: kriging.NEIGHBOURS], cells[kriging.NEIGHBOURS :]
        values = draw.normal(size=len(known))
        expected = RBFInterpolator(known.astype(float), values, kernel="cubic")(wanted.astype(float))
        np.testing.assert_allclose(
            kriging.predict(known, wanted).apply(values[None])[0], expected, rtol=1e-6, atol=1e-6
        )

    def test_the_variance_grows_with_the_distance(self) -> None:
        known = np.argwhere(lattice.levels(21, 21) == 0)
        near, far = kriging.predict(known, np.array([[8, 9], [10, 10]])).variance
        assert 0 < near < far


class TestQuality:
    @settings(max_examples=20)
    @given(seed=seeds, level=st.floats(0.01, 0.3))
    def test_it_is_the_mean_similarity_to_maps_with_such_errors(self, seed: int, level: float) -> None:
        values = smooth(30, 30, seed).reshape(30, 30)
        values /= np.ptp(values)
        deviation = level * np.abs(smooth(30, 30, seed + 1, 3).reshape(30, 30))
        draw = np.random.default_rng(seed)
        found = [
            structural_similarity(values + draw.normal(size=values.shape) * deviation, values, data_range=1.0)
            for _ in range(30)
        ]
        assert expected_ssim(values, deviation**2, 1.0) == pytest.approx(np.mean(found), abs=0.03)

    def test_without_an_error_it_is_one(self) -> None:
        assert expected_ssim(smooth(9, 9, 0).reshape(9, 9), np.zeros((9, 9)), 1.0) == 1.0
        assert expected_ssim(np.ones((9, 9)), np.zeros((9, 9)), 0.0) == 1.0


class TestEverything:
    def test_all_at_once(self) -> None:
        truth = smooth(5, 4, 0, classes=2)
        (only,) = followed(Everything(20), truth)
        assert only.ssim is None and only.error is None and only.evaluated.all()


class TestProgressive:
    @settings(max_examples=25, deadline=None)
    @given(rows=sides, columns=sides, seed=seeds, classes=st.integers(1, 3))
    def test_it_ends_with_the_map_itself(self, rows: int, columns: int, seed: int, classes: int) -> None:
        truth = smooth(rows, columns, seed, classes=classes)
        maps = followed(Progressive((rows, columns), Goal(), 1, seed), truth)
        assert (maps[-1].values == truth).all() and maps[-1].evaluated.all() and maps[-1].ssim == 1
        for each in maps:
            assert np.isfinite(each.values).all()
            assert each.error is None or ((each.error[:, each.evaluated] == 0).all() and (each.error >= 0).all())

    @settings(max_examples=25, deadline=None)
    @given(rows=sides, columns=sides, seed=seeds, ssim=st.floats(0.5, 0.98), guaranteed=st.booleans())
    def test_it_stops_at_the_expected_ssim(
        self, rows: int, columns: int, seed: int, ssim: float, guaranteed: bool
    ) -> None:
        maps = followed(Progressive((rows, columns), Goal(ssim, guaranteed), -1, seed), smooth(rows, columns, seed))
        assert maps[-1].ssim is not None and maps[-1].ssim >= ssim
        if not guaranteed:
            assert all(each.ssim is None or each.ssim < ssim for each in maps[:-1])

    def test_the_goal_holds_for_every_class_where_few_are_looked_at_in_each_round(self) -> None:
        truth = smooth(24, 24, 0, sigma=4, classes=JUDGES * 4)
        truth[1] = smooth(24, 24, 1, sigma=0.8)  # no judge at first, and far rougher
        alone = followed(Progressive((24, 24), Goal(0.9), 1), truth[1:2])[-1]
        last = followed(Progressive((24, 24), Goal(0.9), 1), truth)[-1]
        assert last.ssim is not None and last.ssim >= 0.9
        assert last.evaluated.sum() >= 0.7 * alone.evaluated.sum()
        smooth_ones = followed(Progressive((24, 24), Goal(0.9), 1), np.delete(truth, 1, axis=0))[-1]
        assert smooth_ones.evaluated.sum() < last.evaluated.sum()

    def test_rounds_cost_the_same_for_any_number_of_classes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        judged: list[int] = []
        whole = progressive.expected_ssims

        def counted(values: NDArray[np.float64], *rest: Any) -> NDArray[np.float64]:
            judged.append(len(values))
            return whole(values, *rest)

        monkeypatch.setattr(progressive, "expected_ssims", counted)
        truth = smooth(24, 24, 0, classes=JUDGES * 8)
        strategy = Progressive((24, 24), Goal(0.9), 1)
        while len(cells := strategy.propose()):
            strategy.take(cells, truth[:, cells])
        assert judged[-1] == len(truth) and judged.count(len(truth)) <= 4 and judged.count(JUDGES) >= 3
        assert set(judged) == {JUDGES, len(truth)}

    def test_a_map_without_contrast(self) -> None:
        maps = followed(Progressive((12, 12), Goal(0.9), 1), np.ones((1, 144)))
        np.testing.assert_allclose(maps[-1].values, 1, atol=1e-9)

    def test_the_most_important_cells_are_evaluated(self) -> None:
        truth = smooth(40, 40, 3)
        plain, refined = (
            followed(Progressive((40, 40), Goal(0.8, refine=refine), -1), truth)[-1] for refine in (0.0, 0.1)
        )
        best = np.argsort(truth[0])[:160]  # the smallest, as important is -1
        assert refined.evaluated[best].mean() > 0.95 > plain.evaluated[best].mean()

    def test_cells_that_were_not_evaluated_stay_unknown(self) -> None:
        strategy, truth = Progressive((20, 20), Goal(), 1), smooth(20, 20, 1)
        for _ in range(3):
            cells = strategy.propose()
            strategy.take(cells, truth[:, cells])
        cells = strategy.propose()
        scores = truth[:, cells].copy()
        scores[:, 5:] = np.nan
        strategy.take(cells, scores)
        found = strategy.estimate()
        assert found.evaluated[cells[:5]].all() and not found.evaluated[cells[5:]].any()
        assert np.isfinite(found.values).all()

    @pytest.mark.parametrize("reached", [0, 1, 5, 60])
    def test_nothing_is_predicted_before_the_coarsest_lattice_is_complete(self, reached: int) -> None:
        strategy, truth = Progressive((30, 30), Goal(0.9), 1), smooth(30, 30, 1)
        cells = strategy.propose()
        scores = truth[:, cells].copy()
        scores[:, reached:] = np.nan
        strategy.take(cells, scores)
        found = strategy.estimate()
        assert found.evaluated.sum() == reached and (np.isfinite(found.values[0]) == found.evaluated).all()
        assert found.ssim is None and found.error is None

    def test_a_guaranteed_estimate_holds_on_nineteen_of_twenty_maps(self) -> None:
        met = []
        for seed in range(40):
            truth = smooth(40, 40, seed, 1.0 + seed % 3 * 0.5)
            last = followed(Progressive((40, 40), Goal(0.9, True), -1, seed), truth)[-1]
            maps = (each.reshape(40, 40) for each in (last.values[0], truth[0]))
            met.append(structural_similarity(*maps, data_range=float(np.ptp(truth))) >= 0.9)
        assert np.mean(met) >= 0.95


class TestDrillDown:
    @given(rows=sides, columns=sides, step=st.integers(1, 6), seed=seeds)
    def test_all_regions_are_the_whole_map(self, rows: int, columns: int, step: int, seed: int) -> None:
        truth = smooth(rows, columns, seed)
        last = followed(DrillDown((rows, columns), (step, step), 1.0, 1), truth)[-1]
        assert (last.values == truth).all() and last.evaluated.all()

    @given(rows=sides, columns=sides, steps=st.tuples(st.integers(1, 6), st.integers(1, 6)), seed=seeds)
    def test_the_rest_takes_its_coarse_cells_score(
        self, rows: int, columns: int, steps: tuple[int, int], seed: int
    ) -> None:
        truth = smooth(rows, columns, seed)
        last = followed(DrillDown((rows, columns), steps, 0.25, -1), truth)[-1]
        y, x = np.divmod(np.arange(rows * columns), columns)
        corner = y // steps[0] * steps[0] * columns + x // steps[1] * steps[1]
        rest = ~last.evaluated
        assert (last.values[0, rest] == truth[0, corner[rest]]).all()
        chosen = np.unique(corner[last.evaluated & (corner != np.arange(len(corner)))])
        others = np.setdiff1d(np.unique(corner[rest]), chosen)
        # The important ones are the smallest.
        assert truth[0, chosen].max(initial=-np.inf) <= truth[0, others].min(initial=np.inf)

    @pytest.mark.parametrize(("ratio", "speedup", "steps"), [(0.25, 3, 3), (0.1, 5, 3), (0.4, 2, 3), (0.1, 9, 9)])
    def test_equation_31(self, ratio: float, speedup: float, steps: int) -> None:
        assert coarse_steps(syntax.DrillDown(ratio, speedup), (4, 4)) == (steps, steps)
        assert steps == round(math.sqrt(speedup / (1 - ratio * speedup)))

    def test_equation_32(self) -> None:
        with pytest.raises(BindError, match="at most 4 times"):
            coarse_steps(syntax.DrillDown(0.25, 4), (4, 4))


class Net(nn.Module):
    """Two convolutions and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 8, 5, 2, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(8 * 16 * 16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [n, 3]."""
        return self.head(self.features(x).flatten(1))


IMAGE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
QUERY = "OCCLUDE $image WITH patch(12, 12) STRIDE 2 USING net"


def heat_map(clauses: str, db: kdb.Session) -> HeatMap:
    return support.heat_map(db, f"{QUERY} {clauses}", image=IMAGE)


@pytest.fixture(scope="module")
def db() -> kdb.Session:
    session = kdb.connect()
    session.register_model("net", Net(), input_size=64)
    return session


class TestQueries:
    def test_sampled_maps_report_their_error(self, db: kdb.Session, tmp_path: Path) -> None:
        exact, found = heat_map("", db), heat_map("APPROXIMATE TO SSIM 0.9", db)
        assert exact.exact and exact.evaluated.all() and exact.error is None and exact.ssim_estimate is None
        assert not found.exact and found.complete and "SSIM about" in repr(found)
        assert found.ssim_estimate is not None and found.error is not None and found.ssim_estimate >= 0.9
        assert found.stats.evaluated == found.evaluated.sum() < found.values.size
        np.testing.assert_allclose(found.values[found.evaluated], exact.values[found.evaluated], atol=1e-5)
        span = float(np.ptp(exact.values))
        assert structural_similarity(found.values, exact.values, data_range=span) > 0.8
        found.save(tmp_path / "map.npz")
        again = HeatMap.load(tmp_path / "map.npz")
        assert (again.evaluated == found.evaluated).all() and again.error is not None
        assert (again.error == found.error).all() and again.ssim_estimate == found.ssim_estimate

    def test_one_seed_gives_one_map(self, db: kdb.Session) -> None:
        first, again = heat_map("APPROXIMATE", db), heat_map("APPROXIMATE", db)
        assert (first.values == again.values).all()
        db.execute("SET seed = 1")
        try:
            assert (heat_map("APPROXIMATE", db).evaluated != first.evaluated).any()
        finally:
            db.execute("RESET seed")

    def test_guaranteed_costs_more(self, db: kdb.Session) -> None:
        plain, guaranteed = heat_map("APPROXIMATE TO SSIM 0.9", db), heat_map("APPROXIMATE TO SSIM 0.9 GUARANTEED", db)
        assert plain.stats.evaluated <= guaranteed.stats.evaluated

    @pytest.mark.parametrize(
        "clauses", ["APPROXIMATE TO SSIM 0.995", "DRILL DOWN 1 COARSE STRIDE 6", "BUDGET 600 SECONDS"]
    )
    def test_queries_that_evaluate_all_cells_give_exact_values(self, db: kdb.Session, clauses: str) -> None:
        found = heat_map(clauses, db)
        assert found.evaluated.all() and not found.exact
        np.testing.assert_allclose(found.values, heat_map("", db).values, atol=1e-6)

    @pytest.mark.parametrize("region", ["WITHIN box(0, 0, 64, 64)", "AT $positions"])
    def test_parts_of_a_grid_are_evaluated_in_full(self, db: kdb.Session, region: str) -> None:
        text = f"OCCLUDE $image WITH patch(12, 12) USING net {region} APPROXIMATE"
        found = db.execute(text, {"image": IMAGE, "positions": np.array([[0, 0], [7, 9]])})
        assert isinstance(found, HeatMap) and found.evaluated.all()

    def test_a_budget_that_is_up_leaves_the_first_round(self, db: kdb.Session) -> None:
        found = heat_map("BUDGET 0.000001 SECONDS", db)
        assert np.isfinite(found.values).all() and 0 < found.evaluated.mean() < 0.5

    def test_drill_down(self, db: kdb.Session) -> None:
        exact, found = heat_map("SCORE drop", db), heat_map("SCORE drop DRILL DOWN 0.25 COARSE STRIDE 6", db)
        rest = ~found.evaluated
        assert 0.2 < found.evaluated.mean() < 0.5
        np.testing.assert_allclose(found.values[~rest], exact.values[~rest], atol=1e-6)
        assert found.ssim_estimate is None and (found.evaluated[::3, ::3]).all()

    @pytest.mark.parametrize("clauses", ["", "FOR ALL CLASSES APPROXIMATE TO SSIM 0.8", "DRILL DOWN"])
    def test_a_streams_last_map_is_the_querys(self, db: kdb.Session, clauses: str) -> None:
        maps = list(db.stream(f"{QUERY} {clauses}", {"image": IMAGE}))
        assert len(maps) > 1
        counts = [int(each.evaluated.sum()) for each in maps]
        assert counts == sorted(set(counts))
        assert all(np.isfinite(each.values).all() for each in maps)
        np.testing.assert_allclose(maps[-1].values, heat_map(clauses, db).values, atol=1e-6)
        assert [each.exact for each in maps] == [False] * (len(maps) - 1) + [clauses == ""]

    def test_statements_run_between_the_maps_of_a_stream(self, db: kdb.Session, tmp_path: Path) -> None:
        path = tmp_path / "last.npz"
        for each in db.stream(f"{QUERY} APPROXIMATE INTO '{path}'", {"image": IMAGE}):
            db.execute("SHOW RULES")
            assert not path.exists()
            last = each
        assert (HeatMap.load(path).values == last.values).all()

    def test_what_cannot_be_streamed(self, db: kdb.Session) -> None:
        with pytest.raises(BindError, match="only OCCLUDE"):
            db.stream("SHOW RULES")
        with pytest.raises(BindError, match="of one image; 2"):
            next(db.stream(QUERY, {"image": [IMAGE, IMAGE]}))

    @pytest.mark.parametrize(
        ("clauses", "note"),
        [
            ("APPROXIMATE TO SSIM 0.95 REFINE TOP 10 PERCENT", "until an SSIM of 0.95 is expected; then the top 10%"),
            ("BUDGET 2 SECONDS", "or the time is up"),
            ("DRILL DOWN", "drill-down, every 3 x 3 positions first, 81 of 729 as below"),
        ],
    )
    def test_explain_describes_the_strategy(self, db: kdb.Session, clauses: str, note: str) -> None:
        explained = db.explain(f"{QUERY} {clauses}", {"image": IMAGE})
        assert "\napproximate: " in explained and note in explained
        assert "\napproximate: " not in db.explain(QUERY, {"image": IMAGE})
        assert note in db.explain(f"{QUERY} {clauses}", {"image": IMAGE}, analyze=True)
