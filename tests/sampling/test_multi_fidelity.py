"""Frozen context: plans whose gates keep the unmodified image's values, and strategies that measure the error of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

import kdb
from kdb.execution.engine import Engine, default_settings
from kdb.execution.occlusion import Replacement
from kdb.frontends.torch_export import trace
from kdb.kernels.base import Array
from kdb.planner.permissions import Permissions
from kdb.planner.rules.aggregates import gates
from kdb.results.maps import HeatMap
from kdb.results.similarity import ssim
from kdb.sampling.multi_fidelity import MOST_PAIRS, PAIRS, MultiFidelity
from kdb.sampling.progressive import Goal, Progressive
from kdb.sampling.strategy import Fidelity
from tests.support import examples

SIDE = 40


class Gate(nn.Module):
    """Squeeze and excitation; ``frozen``, if set, is used as the gate."""

    def __init__(self, channels: int, strength: float = 1.0) -> None:
        super().__init__()
        self.inner, self.strength = nn.Conv2d(channels, channels, 1), strength
        self.frozen: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = torch.sigmoid(self.strength * self.inner(x.mean((2, 3), keepdim=True)))
        return x * (gate if self.frozen is None else self.frozen)

    def freeze(self, x: torch.Tensor) -> None:
        self.frozen = torch.sigmoid(self.strength * self.inner(x.mean((2, 3), keepdim=True)))


class Spread(nn.Module):
    """Expands the mean of the input over an 8 x 8 map."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3), keepdim=True).expand(-1, -1, 8, 8)


def network(strength: float = 1.0, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), Gate(8, strength)]
    layers += [nn.Conv2d(8, 8, 3, padding=1), nn.Hardswish(), Gate(8, strength), nn.Conv2d(8, 8, 3)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()


def frozen_at(module: nn.Sequential, image: torch.Tensor) -> nn.Sequential:
    """The module with its gates frozen at their values on ``image``."""
    x = image
    with torch.no_grad():
        for layer in module:
            if isinstance(layer, Gate):
                layer.freeze(x)
            x = layer(x)
    return module


class TestTheRule:
    @settings(max_examples=examples(4, 10))
    @given(seed=st.integers(0, 99), strength=st.floats(0.5, 4), patch=st.tuples(st.integers(1, 12), st.integers(1, 12)))
    @example(seed=60, strength=1.0, patch=(1, 1))
    def test_plans_equal_the_module_with_frozen_gates(self, seed: int, strength: float, patch: tuple[int, int]) -> None:
        module, rng = network(strength, seed), np.random.default_rng(seed)
        image = rng.standard_normal((SIDE, SIDE, 3)).astype(np.float32)
        positions = rng.integers(0, SIDE - max(patch) + 1, (9, 2))
        traced = trace(module, (3, SIDE, SIDE))
        engine = Engine(default_settings())
        planned = engine.plan(traced, positions, tuple(patch), Permissions(freeze_context=True))
        plan = planned.physical
        assert plan.logical.frozen
        views, _ = engine.materialize(planned, "net", image)
        found = np.full((len(plan.logical.positions), 4), np.nan)

        def take(members: np.ndarray, logits: Array) -> None:
            found[members] = logits

        engine.execute(planned, views, Replacement(np.ones((*patch, 3), np.float32)), take)
        if plan.logical.duplicates is not None:  # a position drawn twice is evaluated once
            found = found[plan.logical.duplicates]
        occluded = np.repeat(image[None], 9, axis=0).astype(np.float64)
        for each, (y, x) in zip(occluded, positions, strict=True):
            each[y : y + patch[0], x : x + patch[1]] = 1
        frozen = frozen_at(module.double(), torch.tensor(image[None]).double().permute(0, 3, 1, 2))
        with torch.no_grad():
            truth = frozen(torch.tensor(occluded).permute(0, 3, 1, 2)).numpy()
        np.testing.assert_allclose(found, truth, atol=1e-5 * np.abs(truth).max())

    def test_layers_that_feed_gates_alone_are_frozen_too(self) -> None:
        traced = trace(network(), (3, SIDE, SIDE))
        frozen = gates(traced)
        labels = [traced[name].operator.label for name in frozen]
        assert labels.count("expand") == 2 and "global_mean" in labels
        assert not frozen & {node.name for node in traced if node.operator.label == "multiply"}

    @pytest.mark.parametrize(
        ("module", "why"),
        [
            (nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), "no layer multiplies"),
            (
                nn.Sequential(Spread(), nn.Conv2d(3, 4, 3), nn.Flatten()),
                "no change would reach",
            ),
        ],
    )
    def test_where_it_does_not_fire(self, module: nn.Module, why: str) -> None:
        planned = Engine(default_settings()).plan(
            trace(module.eval(), (3, 16, 16)), np.array([[0, 0]]), (4, 4), Permissions(freeze_context=True)
        )
        assert not planned.physical.logical.frozen
        (reason,) = (each.reason for each in planned.history if each.rule.name == "freeze_context")
        assert why in reason


# ---- the strategy


def smooth(seed: int, rows: int = 30, columns: int = 31) -> np.ndarray:
    """A heat map of twelve Gaussian bumps, float64 [rows * columns]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    bumps = [
        rng.normal() * np.exp(-((y - rng.uniform(0, rows)) ** 2 + (x - rng.uniform(0, columns)) ** 2) / (2 * s**2))
        for s in rng.uniform(2, 6, 12)
    ]
    return np.asarray(sum(bumps)).ravel()


def followed(strategy: MultiFidelity, exact: np.ndarray, cheap: np.ndarray) -> dict[str, int]:
    """Run a strategy to its end; the number of cells it evaluated at ``low`` fidelity and ``exact``.

    No cell is evaluated twice at one fidelity.
    """
    seen = {True: np.zeros(exact.shape[1], bool), False: np.zeros(exact.shape[1], bool)}
    while len(cells := strategy.propose()):
        low = strategy.fidelity is not Fidelity.EXACT
        assert not seen[low][cells].any()
        seen[low][cells] = True
        strategy.take(cells, (cheap if low else exact)[:, cells])
        found = strategy.estimate()
        np.testing.assert_array_equal(found.evaluated, seen[False])
        np.testing.assert_array_equal(found.values[:, seen[False]], exact[:, seen[False]])
        if found.error is not None:
            assert (found.error[:, seen[False]] == 0).all()
    return {"low": int(seen[True].sum()), "exact": int(seen[False].sum())}


class TestTheStrategy:
    @settings(max_examples=10)
    @given(seed=st.integers(0, 99), slope=st.floats(0.3, 3), offset=st.floats(-2, 2))
    def test_a_linear_relation_is_corrected(self, seed: int, slope: float, offset: float) -> None:
        exact = smooth(seed)[None]
        strategy = MultiFidelity((30, 31), Goal(0.9), -1, seed)
        counts = followed(strategy, exact, (exact - offset) / slope)
        assert counts["exact"] <= 2 * PAIRS and counts["low"] < 930
        found = strategy.estimate()
        assert found.ssim is not None and found.ssim >= 0.9
        assert ssim(found.values.reshape(30, 31), exact.reshape(30, 31), 2) > 0.8

    def test_the_error_of_low_fidelity_is_in_the_estimate(self) -> None:
        expected, achieved = [], []
        for seed in range(10):
            exact, noise = smooth(seed)[None], np.random.default_rng(seed).normal(size=(1, 930))
            strategy = MultiFidelity((30, 31), Goal(0.75), -1, seed)
            cheap = exact + 0.05 * np.ptp(exact) * noise
            followed(strategy, exact, cheap)
            found = strategy.estimate()
            assert found.ssim is not None and found.ssim >= 0.75
            expected.append(found.ssim)
            achieved.append(ssim(found.values.reshape(30, 31), exact.reshape(30, 31), 2))
        assert abs(np.mean(expected) - np.mean(achieved)) < 0.1

    def test_where_pairs_say_too_little_there_are_more(self) -> None:
        """Rather than exact sampling, which evaluates most cells, where low fidelity is expected to reach the goal."""
        more = 0
        for seed in range(20):
            exact, noise = smooth(seed)[None], np.random.default_rng(seed).standard_t(3, (1, 930))
            strategy = MultiFidelity((30, 31), Goal(0.9, True), -1, seed)
            counts = followed(strategy, exact, exact + 0.03 * np.ptp(exact) * noise)
            more += 2 * PAIRS < counts["exact"] <= 2 * MOST_PAIRS * 930
        assert more >= 3

    def test_unrelated_low_scores_are_given_up(self) -> None:
        exact, cheap = smooth(0)[None], smooth(1)[None]
        strategy, plain = MultiFidelity((30, 31), Goal(0.9), -1, 0), Progressive((30, 31), Goal(0.9), -1, 0)
        counts = followed(strategy, exact, cheap)
        while len(cells := plain.propose()):
            plain.take(cells, exact[:, cells])
        assert counts["exact"] == plain.estimate().evaluated.sum(), "as many as without low fidelity"
        np.testing.assert_array_equal(strategy.estimate().values, plain.estimate().values)

    def test_the_most_important_cells_are_exact(self) -> None:
        exact = smooth(3)[None]
        strategy = MultiFidelity((30, 31), Goal(0.8, refine=0.1), -1, 0)
        followed(strategy, exact, 2 * exact)
        lowest = np.argsort(exact[0])[:93]
        assert strategy.estimate().evaluated[lowest].mean() > 0.9

    def test_interrupted_rounds_leave_an_estimate(self) -> None:
        exact = smooth(3)[None]
        strategy = MultiFidelity((30, 31), Goal(0.9), -1, 0)
        for low, share in ((True, 1.0), (False, 0.05)):
            cells = strategy.propose()
            assert (strategy.fidelity is not Fidelity.EXACT) == low
            scores = exact[:, cells].copy()
            scores[:, int(share * len(cells)) :] = np.nan
            strategy.take(cells, scores)
            found = strategy.estimate()
            assert np.isfinite(found.values).all() and found.ssim is None and found.error is None


@pytest.fixture(scope="module")
def db() -> kdb.Session:
    session = kdb.connect()
    session.register_model("gated", network(0.1), input_size=SIDE)
    session.register_model(
        "plain", nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), input=SIDE
    )
    return session


class TestQueries:
    IMAGE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8).repeat(5, 0).repeat(5, 1)
    QUERY = "OCCLUDE $image WITH patch(6, 6) STRIDE 1 USING gated SCORE logit "

    def heat_map(self, db: kdb.Session, clauses: str) -> HeatMap:
        found = db.execute(self.QUERY + clauses, {"image": self.IMAGE})
        assert isinstance(found, HeatMap)
        return found

    def test_a_sampled_map_is_cheaper_at_two_fidelities(self, db: kdb.Session, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kdb.sampling.choose.MIN_GAIN", np.inf)
        exact, plain = self.heat_map(db, ""), self.heat_map(db, "APPROXIMATE TO SSIM 0.85")
        monkeypatch.setattr("kdb.sampling.choose.MIN_GAIN", 0.0)  # low fidelity gains nothing on so small a network
        low = self.heat_map(db, "APPROXIMATE TO SSIM 0.85")
        assert low.evaluated.sum() <= 2 * PAIRS < plain.evaluated.sum()
        assert low.stats.executed_macs < plain.stats.executed_macs < exact.stats.executed_macs
        np.testing.assert_array_equal(low.values[low.evaluated], exact.values[low.evaluated])
        assert ssim(low.values, exact.values, 2) > 0.75

    def test_explain_shows_both_approximations(self, db: kdb.Session, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kdb.sampling.choose.MIN_GAIN", 0.01)
        plan = db.explain(self.QUERY + "APPROXIMATE", {"image": self.IMAGE})
        assert "approximate: 2 gates by the whole map follow it in the boxes, and to first order outside" in plan
        assert "at most" not in plan.partition("\n\nrule")[0]
        db.execute("SET rule.gates_live = off")
        plan = db.explain(self.QUERY + "APPROXIMATE", {"image": self.IMAGE})
        assert "approximate: 2 gates by the whole map keep the unmodified image's values" in plan
        assert "boxes take at most 0.8 of a map" in plan
        assert "evaluated approximately as below" in plan and "positions exactly too" in plan
        db.execute("SET rule.freeze_context = off; SET rule.projective_field = off")
        assert "at most" not in db.explain(self.QUERY + "APPROXIMATE", {"image": self.IMAGE}).partition("\n\nrule")[0]
        db.execute("RESET rule.gates_live; RESET rule.freeze_context; RESET rule.projective_field")
        for other in (
            self.QUERY,
            self.QUERY.replace("gated", "plain") + "APPROXIMATE",
            self.QUERY + "BUDGET 1 SECONDS",
        ):
            assert "gates" not in db.explain(other, {"image": self.IMAGE}).partition("\n\nrule")[0]
