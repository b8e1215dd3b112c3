"""Strategies: the cells they propose and the estimates of all others.  Laws on synthetic maps first, then queries."""

from __future__ import annotations

import math
from itertools import product
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
from kdb.language.parser import parse_one
from kdb.results.maps import HeatMap
from kdb.results.similarity import ssim as similarity
from kdb.sampling import drill_down, kriging, lattice, progressive
from kdb.sampling.choose import strategy_of
from kdb.sampling.drill_down import DrillDown, coarse_steps
from kdb.sampling.multi_fidelity import MultiFidelity
from kdb.sampling.progressive import JUDGES, Goal, Progressive
from kdb.sampling.quality import expected_ssim
from kdb.sampling.strategy import Estimate, Everything, Fidelity, Strategy
from tests import support

sides = st.integers(7, 24)
shapes = st.one_of(
    st.tuples(st.integers(20, 120)),
    st.tuples(sides, sides),
    st.tuples(*[st.integers(7, 8)] * 3),
    st.tuples(st.integers(2, 5), st.integers(7, 9), st.integers(3, 9)),
)
"""Of grids with one to three axes, one of them perhaps shorter than SSIM's window."""
seeds = st.integers(0, 2**16)


def smooth(shape: tuple[int, ...], seed: int, sigma: float = 1.5, classes: int = 1) -> NDArray[np.float64]:
    """Smoothed noise, float64 [classes, cells], like heat maps of patches that overlap."""
    noise = np.random.default_rng(seed).normal(size=(classes, *shape))
    return gaussian_filter(noise, (0, *[sigma] * len(shape)), mode="nearest").reshape(classes, -1)


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
    @given(shapes)
    def test_each_level_is_a_finer_lattice(self, shape: tuple[int, ...]) -> None:
        levels, step = lattice.levels(shape), lattice.STEP[len(shape)]
        cells = np.indices(shape).reshape(len(shape), -1).T
        last = np.array(shape) - 1
        coarsest = ((cells % step == 0) | (cells == last)).all(axis=1)
        np.testing.assert_array_equal(levels.reshape(-1) == 0, coarsest)
        assert all(levels[corner] == 0 for corner in product((0, -1), repeat=len(shape)))
        depth = int(np.log2(step))
        for halved in range(depth + 1):  # the cubic lattices are those up to the even levels
            cubic = (cells % (step >> halved) == 0).all(axis=1)
            assert (levels.reshape(-1)[cubic] <= 2 * halved).all()
            centred = (cells % (step >> halved) == (step >> halved) // 2).all(axis=1)
            assert (levels.reshape(-1)[centred] <= 2 * halved + 1).all()
        assert levels.max() <= 2 * depth

    def test_with_two_axes_each_level_halves_the_area(self) -> None:
        _, counts = np.unique(lattice.levels((401, 401)), return_counts=True)
        np.testing.assert_allclose(np.cumsum(counts) / 401**2, [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1], rtol=0.02)


def scattered(axes: int, side: int, seed: int) -> NDArray[np.int64]:
    """All cells of a cube in a random order, int64 [side^axes, axes]."""
    return np.random.default_rng(seed).permutation(np.indices((side,) * axes).reshape(axes, -1).T)


class TestKriging:
    @settings(deadline=None)
    @given(axes=st.integers(1, 3), seed=seeds, count=st.integers(6, 3 * kriging.NEIGHBOURS))
    def test_a_linear_trend_is_predicted_exactly(self, axes: int, seed: int, count: int) -> None:
        cells = scattered(axes, {1: 60, 2: 12, 3: 6}[axes], seed)
        known, wanted = cells[:count], cells[count:]
        assume(np.linalg.matrix_rank(known - known.mean(axis=0)) == axes)  # else there is no trend to tell
        prediction = kriging.predict(known, wanted)
        slope = np.array([2.0, -3.0, 1.5])[:axes]
        np.testing.assert_allclose(prediction.apply((known @ slope + 1)[None])[0], wanted @ slope + 1, atol=1e-6)
        assert (prediction.variance >= 0).all()

    @settings(deadline=None)
    @given(axes=st.integers(1, 3), seed=seeds)
    def test_it_is_the_cubic_radial_basis_function(self, axes: int, seed: int) -> None:
        cells = scattered(axes, {1: 60, 2: 15, 3: 6}[axes], seed)
        known, wanted = np.split(cells, [kriging.NEIGHBOURS * axes])
        values = np.random.default_rng(seed).normal(size=len(known))
        expected = RBFInterpolator(known.astype(float), values, kernel="cubic")(wanted.astype(float))
        np.testing.assert_allclose(
            kriging.predict(known, wanted).apply(values[None])[0], expected, rtol=1e-6, atol=1e-6
        )

    @pytest.mark.parametrize("flat", [(1, 8, 8), (1, 1, 30), (1, 30)])
    def test_neighbours_in_one_plane_or_on_one_line_are_not_all(self, flat: tuple[int, ...]) -> None:
        near = np.indices(flat).reshape(len(flat), -1).T
        wanted = near[len(near) // 2][None]
        known = np.concatenate([np.delete(near, len(near) // 2, axis=0), 20 * (1 - np.eye(len(flat), dtype=np.int64))])
        prediction = kriging.predict(known, wanted)
        assert prediction.sources.shape[1] > kriging.NEIGHBOURS * len(flat)
        slope = np.array([2.0, -3.0, 1.5])[: len(flat)]
        np.testing.assert_allclose(prediction.apply((known @ slope)[None])[0], wanted @ slope, atol=1e-6)

    def test_many_cells_are_predicted_a_part_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cells = scattered(3, 8, 0)
        known, wanted = cells[:100], cells[100:]
        whole = kriging.predict(known, wanted)
        monkeypatch.setattr(kriging, "AT_ONCE", 10_000)
        parts = kriging.predict(known, wanted)
        np.testing.assert_array_equal(parts.weights, whole.weights)
        np.testing.assert_array_equal(parts.variance, whole.variance)

    def test_the_variance_grows_with_the_distance(self) -> None:
        known = np.argwhere(lattice.levels((21, 21)) == 0)
        near, far = kriging.predict(known, np.array([[8, 9], [10, 10]])).variance
        assert 0 < near < far


class TestQuality:
    @settings(max_examples=20)
    @given(seed=seeds, level=st.floats(0.01, 0.3))
    def test_it_is_the_mean_similarity_to_maps_with_such_errors(self, seed: int, level: float) -> None:
        values = smooth((30, 30), seed).reshape(30, 30)
        values /= np.ptp(values)
        deviation = level * np.abs(smooth((30, 30), seed + 1, 3).reshape(30, 30))
        draw = np.random.default_rng(seed)
        found = [
            structural_similarity(values + draw.normal(size=values.shape) * deviation, values, data_range=1.0)
            for _ in range(30)
        ]
        assert expected_ssim(values, deviation**2, 1.0) == pytest.approx(np.mean(found), abs=0.03)

    def test_without_an_error_it_is_one(self) -> None:
        assert expected_ssim(smooth((9, 9), 0).reshape(9, 9), np.zeros((9, 9)), 1.0) == 1.0
        assert expected_ssim(np.ones((9, 9)), np.zeros((9, 9)), 0.0) == 1.0


class TestEverything:
    def test_all_at_once(self) -> None:
        truth = smooth((5, 4), 0, classes=2)
        (only,) = followed(Everything(20), truth)
        assert only.ssim is None and only.error is None and only.evaluated.all()


class TestProgressive:
    @settings(max_examples=15, deadline=None)
    @given(shape=shapes, seed=seeds, classes=st.integers(1, 3))
    def test_it_ends_with_the_map_itself(self, shape: tuple[int, ...], seed: int, classes: int) -> None:
        truth = smooth(shape, seed, classes=classes)
        maps = followed(Progressive(shape, Goal(), 1, seed), truth)
        assert (maps[-1].values == truth).all() and maps[-1].evaluated.all() and maps[-1].ssim == 1
        for each in maps:
            assert np.isfinite(each.values).all()
            assert each.error is None or ((each.error[:, each.evaluated] == 0).all() and (each.error >= 0).all())

    @settings(max_examples=25, deadline=None)
    @given(shape=shapes, seed=seeds, ssim=st.floats(0.5, 0.98), guaranteed=st.booleans())
    def test_it_stops_at_the_expected_ssim(
        self, shape: tuple[int, ...], seed: int, ssim: float, guaranteed: bool
    ) -> None:
        maps = followed(Progressive(shape, Goal(ssim, guaranteed), -1, seed), smooth(shape, seed))
        assert maps[-1].ssim is not None and maps[-1].ssim >= ssim
        if not guaranteed:
            assert all(each.ssim is None or each.ssim < ssim for each in maps[:-1])

    def test_the_goal_holds_for_every_class_where_few_are_looked_at_in_each_round(self) -> None:
        truth = smooth((24, 24), 0, sigma=4, classes=JUDGES * 4)
        truth[1] = smooth((24, 24), 1, sigma=0.8)  # no judge at first, and far rougher
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
        truth = smooth((24, 24), 0, classes=JUDGES * 8)
        strategy = Progressive((24, 24), Goal(0.9), 1)
        while len(cells := strategy.propose()):
            strategy.take(cells, truth[:, cells])
        assert judged[-1] == len(truth) and judged.count(len(truth)) <= 4 and judged.count(JUDGES) >= 2
        assert set(judged) == {JUDGES, len(truth)}

    @settings(max_examples=20)
    @given(
        together=st.integers(2, 70), seed=st.integers(0, 99), goal=st.sampled_from([Goal(), Goal(0.9), Goal(0.8, True)])
    )
    def test_rounds_are_full_batches(self, together: int, seed: int, goal: Goal) -> None:
        """But for the first and the last, and where batches are so large that there would be few rounds."""
        strategy, truth = Progressive((24, 26), goal, 1, seed, together), smooth((24, 26), seed)
        counts = []
        while len(cells := strategy.propose()):
            counts.append(len(cells))
            strategy.take(cells, truth[:, cells])
        assert all(count % together == 0 for count in counts[1:-1])

    @settings(max_examples=15)
    @given(seed=st.integers(0, 99), target=st.floats(0.7, 0.98))
    def test_far_from_the_goal_rounds_are_large(self, seed: int, target: float) -> None:
        """So there are few of them, and hardly more cells are evaluated in the end than in many small ones."""
        truth = smooth((30, 30), seed)

        def proposed() -> list[int]:
            strategy, found = Progressive((30, 30), Goal(target), 1, seed), []
            while len(cells := strategy.propose()):
                found.append(len(cells))
                strategy.take(cells, truth[:, cells])
            return found

        large = proposed()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(progressive, "HASTE", 0)
            small = proposed()
        assert len(large) <= 9 and len(large) <= len(small) and sum(large) <= sum(small) + 0.15 * 900

    def test_a_map_without_contrast(self) -> None:
        maps = followed(Progressive((12, 12), Goal(0.9), 1), np.ones((1, 144)))
        np.testing.assert_allclose(maps[-1].values, 1, atol=1e-9)

    def test_the_most_important_cells_are_evaluated(self) -> None:
        truth = smooth((40, 40), 3)
        plain, refined = (
            followed(Progressive((40, 40), Goal(0.8, refine=refine), -1), truth)[-1] for refine in (0.0, 0.1)
        )
        best = np.argsort(truth[0])[:160]  # the smallest, as important is -1
        assert refined.evaluated[best].mean() > 0.95 > plain.evaluated[best].mean()

    def test_cells_that_were_not_evaluated_stay_unknown(self) -> None:
        strategy, truth = Progressive((20, 20), Goal(), 1), smooth((20, 20), 1)
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
        strategy, truth = Progressive((30, 30), Goal(0.9), 1), smooth((30, 30), 1)
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
            truth = smooth((40, 40), seed, 1.0 + seed % 3 * 0.5)
            last = followed(Progressive((40, 40), Goal(0.9, True), -1, seed), truth)[-1]
            maps = (each.reshape(40, 40) for each in (last.values[0], truth[0]))
            met.append(structural_similarity(*maps, data_range=float(np.ptp(truth))) >= 0.9)
        assert np.mean(met) >= 0.95


BEFORE = [
    (
        (24, 31),
        0,
        "refined",
        (100, 37, 90, 14, 2),
        121.18918290556309,
        26.23524701547673,
        0.9422675972430454,
        0.9112209,
    ),
    (
        (24, 31),
        0,
        "guaranteed",
        (100, 37),
        119.72741389431533,
        32.36223744726988,
        0.9380789444637438,
        0.8964103,
    ),
    (
        (24, 31),
        0,
        "two",
        (100, 58, 37, 69),
        121.23468672929266,
        30.234480700944477,
        0.943725457222933,
        0.9064658317,
    ),
    ((24, 31), 0, "drilled", (128, 157), 120.22167351166091, None, None, None),
    (
        (40, 22),
        2,
        "refined",
        (121, 44, 237, 22, 163, 10, 1, 1),
        590.5074129457158,
        89.90814040679041,
        0.9563336243554387,
        0.9307277887,
    ),
    (
        (40, 22),
        2,
        "guaranteed",
        (121, 44, 221, 41),
        581.8609133365181,
        175.01949283807298,
        0.9067219402777785,
        0.8534237582,
    ),
    (
        (40, 22),
        2,
        "two",
        (121, 59, 44, 222, 38, 220),
        583.6339516113453,
        152.55168197814612,
        0.925890371770599,
        0.8811969374,
    ),
    ((40, 22), 2, "drilled", (154, 175), 558.3106948184256, None, None, None),
    (
        (7, 40),
        4,
        "refined",
        (65, 14, 27, 1),
        56.53382809430945,
        7.71091129251862,
        0.9762855219900475,
        0.9560149047,
    ),
    (
        (7, 40),
        4,
        "guaranteed",
        (65, 14),
        56.181674712752,
        13.589674189532083,
        0.9422287691336995,
        0.902664432,
    ),
    ((7, 40), 4, "two", (65, 52, 14, 26), 57.22183654799976, 12.30016087845118, 0.9497027717227141, 0.914626002),
    ((7, 40), 4, "drilled", (60, 35), 51.491060363131446, None, None, None),
]
"""Of maps with two axes: how many cells each round takes, the sums of magnitudes of the values and of the errors, the
expected SSIM and its lower bound. Which cell of a round comes first depends on the last bits."""


class TestTwoAxes:
    @pytest.mark.parametrize(("shape", "seed", "what", "rounds", "total", "error", "ssim", "assured"), BEFORE)
    def test_they_are_sampled_as_is_written_down(
        self,
        shape: tuple[int, int],
        seed: int,
        what: str,
        rounds: tuple[int, ...],
        total: float,
        error: float | None,
        ssim: float | None,
        assured: float | None,
    ) -> None:
        strategy: Strategy = {
            "refined": lambda: Progressive(shape, Goal(0.9, False, 0.1), 1, seed),
            "guaranteed": lambda: Progressive(shape, Goal(0.85, True), -1, seed),
            "two": lambda: MultiFidelity(shape, Goal(0.85, True, 0.05), -1, seed),
            "drilled": lambda: DrillDown(shape, (3, 2), 0.25, 1),
        }[what]()
        sigma, classes = {0: (1.5, 1), 2: (1.0, 3), 4: (1.5, 1)}[seed]
        exact = smooth(shape, seed, sigma, classes)
        low = 1.2 * exact + 0.1 * np.ptp(exact) * smooth(shape, seed + 100, 4, classes)
        proposed = []
        while len(cells := strategy.propose()):
            proposed.append(len(cells))
            strategy.take(cells, (exact if strategy.fidelity is Fidelity.EXACT else low)[:, cells])
        found = strategy.estimate()
        assert tuple(proposed) == rounds
        assert np.abs(found.values).sum() == pytest.approx(total, rel=1e-9)
        assert (None if found.error is None else found.error.sum()) == pytest.approx(error, rel=1e-6)
        assert (found.ssim, found.assured) == (pytest.approx(ssim, rel=1e-6), pytest.approx(assured, rel=1e-6))


def chosen(clauses: str, shape: tuple[int, ...], gain: float = 1, live: float = 0) -> Strategy:
    """The strategy on a whole grid where frozen gates are ``gain`` times as fast, and live ones ``live`` times."""
    query = parse_one(f"OCCLUDE image USING net {clauses}")
    assert isinstance(query, syntax.Occlude)
    return strategy_of(
        query,
        shape,
        (4,) * len(shape),
        math.prod(shape),
        0,
        gain={Fidelity.FROZEN: gain, Fidelity.LIVE: live}.__getitem__,
    )


class TestChoice:
    @pytest.mark.parametrize("shape", [(300,), (1, 300), (20, 20), (1, 20, 20), (8, 8, 8), (1, 1, 300)])
    def test_maps_are_sampled_over_the_axes_longer_than_one(self, shape: tuple[int, ...]) -> None:
        strategy, truth = chosen("APPROXIMATE TO SSIM 0.8", shape), smooth(shape, 0, 2)
        last = followed(strategy, truth)[-1]
        assert last.ssim is not None and last.ssim >= 0.8 and last.evaluated.sum() < truth.size
        assert similarity(last.values.reshape(shape), truth.reshape(shape), len(shape)) > 0.6

    @pytest.mark.parametrize("shape", [(255,), (15, 15), (6, 6, 7), (6, 60), (60, 6), (4, 13, 13), (13, 13, 2)])
    @pytest.mark.parametrize("clauses", ["APPROXIMATE TO SSIM 0.8", "APPROXIMATE TO SSIM 0.8 GUARANTEED"])
    def test_small_maps_and_short_axes_are_evaluated_in_full(self, shape: tuple[int, ...], clauses: str) -> None:
        assert isinstance(chosen(clauses, shape), Everything)

    def test_guarantees_and_low_fidelity_are_of_two_axes(self) -> None:
        for shape in ((1, 300), (300,), (8, 8, 8)):
            assert isinstance(chosen("APPROXIMATE TO SSIM 0.9 GUARANTEED", shape), Everything)
            assert isinstance(chosen("APPROXIMATE TO SSIM 0.9", shape, gain=9), Progressive)
        for shape in ((20, 20), (1, 20, 20)):
            assert isinstance(chosen("APPROXIMATE TO SSIM 0.9 GUARANTEED", shape, gain=9), MultiFidelity)

    @pytest.mark.parametrize(
        ("live", "frozen", "first"),
        [
            (0, 9, Fidelity.FROZEN),  # no gates can be live
            (0, 1.1, None),
            (1.1, 9, None),  # some can: what frozen ones leave out counts
            (3, 9, Fidelity.LIVE),
            (3, 1, Fidelity.LIVE),
        ],
    )
    def test_frozen_gates_are_tried_where_none_can_be_live_or_these_gain(
        self, live: float, frozen: float, first: Fidelity | None
    ) -> None:
        strategy = chosen("APPROXIMATE", (20, 20), frozen, live)
        assert (strategy.fidelity if isinstance(strategy, MultiFidelity) else None) is first

    @pytest.mark.parametrize("size", [(64,), (4, 4, 4)])
    def test_a_guarantee_of_other_axes_is_refused(self, size: tuple[int, ...]) -> None:
        db = kdb.connect()
        db.register_model("net", nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), input_size=size, n_channels=1)
        with pytest.raises(BindError, match="GUARANTEED is for images: of the maps of signals and volumes"):
            db.execute(
                "OCCLUDE $x WITH patch(2) STRIDE 1 USING net APPROXIMATE TO SSIM 0.9 GUARANTEED",
                {"x": np.zeros((*size, 1), np.float32)},
            )

    def test_explain_spells_the_steps_of_all_axes(self) -> None:
        assert "every 2 x 2 x 2 positions first" in chosen("DRILL DOWN", (8, 9, 10)).note
        assert "every 12 positions first" in chosen("DRILL DOWN", (60,)).note


class TestDrillDown:
    @given(shape=shapes, step=st.integers(1, 6), seed=seeds)
    def test_all_regions_are_the_whole_map(self, shape: tuple[int, ...], step: int, seed: int) -> None:
        truth = smooth(shape, seed)
        last = followed(DrillDown(shape, (step,) * len(shape), 1.0, 1), truth)[-1]
        assert (last.values == truth).all() and last.evaluated.all()

    @given(shape=shapes, each=st.lists(st.integers(1, 6), min_size=3, max_size=3), seed=seeds)
    def test_the_rest_takes_its_coarse_cells_score(self, shape: tuple[int, ...], each: list[int], seed: int) -> None:
        truth, steps = smooth(shape, seed), tuple(each[: len(shape)])
        last = followed(DrillDown(shape, steps, 0.25, -1), truth)[-1]
        cells = np.unravel_index(np.arange(truth.size), shape)
        first = tuple(axis // step * step for axis, step in zip(cells, steps, strict=True))
        corner = np.ravel_multi_index(first, shape)
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

    @pytest.mark.parametrize(("axes", "steps"), [(1, 12), (2, 3), (3, 2)])
    def test_equation_31_by_axes(self, axes: int, steps: int) -> None:
        assert coarse_steps(syntax.DrillDown(0.25, 3), (4,) * axes) == (steps,) * axes

    def test_a_coarse_stride_is_one_for_all_axes(self) -> None:
        clause = syntax.DrillDown(0.25, coarse_stride=16)
        assert coarse_steps(clause, (2, 8, 8)) == (8, 2, 2)
        assert coarse_steps(clause, (4,)) == (4,)
        with pytest.raises(BindError, match=r"a multiple of STRIDE \(2, 8, 6\); not 16"):
            coarse_steps(clause, (2, 8, 6))
        with pytest.raises(BindError, match="as large as the input, 16 x 40 x 40"):
            drill_down.check(clause, (2, 8, 8), (16, 40, 40))

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
