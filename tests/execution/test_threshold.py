"""The projective field threshold: where boxes are cropped, and what that does to maps; the field's growth besides."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import kdb
from kdb.geometry import Spans
from kdb.operators.base import Shape
from kdb.operators.convolution import Convolution
from kdb.operators.network import Network, ParameterStore
from kdb.operators.sources import Source
from kdb.planner.footprints import Geometry
from kdb.results.maps import HeatMap
from tests.support import heat_map

SIDE = 48
IMAGE = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8).repeat(4, 0).repeat(4, 1)
QUERY = "OCCLUDE $image WITH patch(8, 8) STRIDE 5 USING net SCORE logit"


class Net(nn.Module):
    """Deep enough for boxes to grow to the whole map; a pool, a residual and a stack among its layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 5, 2, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.convolutions = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(4))
        self.pool = nn.AvgPool2d(2, ceil_mode=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of three classes."""
        x = self.stem(x)
        for convolution in self.convolutions:
            x = x + torch.relu(convolution(x))
        return self.head(torch.cat([self.pool(x), -self.pool(x)], 1).mean((2, 3)))


@pytest.fixture(scope="module")
def db() -> kdb.Session:
    session = kdb.connect()
    session.register_model("net", Net(), input_size=SIDE)
    session.execute("SET rule.cut_over = off")  # deltas to the end: all that a threshold drops
    return session


def asked(db: kdb.Session, clauses: str = "") -> HeatMap:
    return heat_map(db, f"{QUERY} {clauses}", image=IMAGE)


class TestSpans:
    @given(
        starts=st.lists(st.integers(0, 30), min_size=1, max_size=6),
        lengths=st.lists(st.integers(0, 30), min_size=6, max_size=6),
        most=st.integers(1, 12),
        centre=st.floats(0, 60),
    )
    def test_they_are_cropped_about_the_centre(
        self, starts: list[int], lengths: list[int], most: int, centre: float
    ) -> None:
        start = np.array(starts)
        spans = Spans(start, start + np.array(lengths[: len(starts)]))
        found = spans.cropped(most, np.full(len(starts), centre))
        assert (found.lengths == np.minimum(spans.lengths, most)).all()
        assert (found.start >= spans.start).all() and (found.stop <= spans.stop).all()
        for a, b, low, high in zip(found.start, found.stop, spans.start, spans.stop, strict=True):
            off = [abs((at + at + most) / 2 - centre) for at in range(low, high - most + 1)]
            if off:  # no other place is nearer to the centre, but for rounding
                assert abs((a + b) / 2 - centre) <= min(off) + 0.51


class TestFigure6:
    """A neuron is changed, four layers of three taps follow; boxes are held to 5 of 7 cells."""

    @staticmethod
    def lengths(threshold: float) -> list[int]:
        weights = ParameterStore().extended({"w": np.ones((1, 1, 1, 3), np.float32)})
        layer = Convolution("w", None, 1, (1, 3), padding=(0, 1, 0, 1))
        names = ["image", "a", "b", "c", "d"]
        layers = [("image", Source(Shape(1, (1, 7))), ())]
        network = Network.build([*layers, *((name, layer, (before,)) for before, name in pairwise(names))], weights)
        geometry = Geometry(network, np.array([[0, 3]]), (1, 1), threshold=threshold)
        found = []
        for name in names:
            footprint = geometry.footprints[name]
            assert footprint is not None
            found.append(int(footprint.spans[1].lengths[0]))
            assert footprint.spans[1].start[0] == 3 - found[-1] // 2, "the change stays in the middle"
        return found

    def test_boxes(self) -> None:
        assert self.lengths(1.0) == [1, 3, 5, 7, 7]
        assert self.lengths(5 / 7) == [1, 3, 5, 5, 5]
        assert self.lengths(0.01) == [1, 1, 1, 1, 1]


class TestAppendixD:
    """Equations 35 to 43: layers of one kernel, non-negative and of sum one, spread an impulse as sums of draws do."""

    @given(weights=st.lists(st.integers(0, 9), min_size=2, max_size=5).filter(any), n=st.integers(1, 24))
    def test_the_effective_field_grows_by_the_root(self, weights: list[int], n: int) -> None:
        kernel = [Fraction(weight, sum(weights)) for weight in weights]

        def moments(signal: list[Fraction]) -> tuple[Fraction, Fraction]:
            mean = sum((t * value for t, value in enumerate(signal)), Fraction(0))
            return mean, sum((t * t * value for t, value in enumerate(signal)), Fraction(0)) - mean**2

        output = [Fraction(1)]
        for _ in range(n):
            output = [
                sum((output[t - m] * w for m, w in enumerate(kernel) if 0 <= t - m < len(output)), Fraction(0))
                for t in range(len(output) + len(kernel) - 1)
            ]
        (mean, variance), (one, spread) = moments(output), moments(kernel)
        assert sum(output) == 1
        assert mean == n * one and variance == n * spread  # (41), (42): and so its root grows as that of n, (43)
        assert len(output) == n * (len(kernel) - 1) + 1  # while the theoretical field grows as n


class TestMaps:
    def test_one_is_exact_to_the_last_bit(self, db: kdb.Session) -> None:
        asked(db)  # once the views are there, counts are of positions alone
        exact, found = asked(db), asked(db, "THRESHOLD 1")
        assert (found.values == exact.values).all() and exact.exact and not found.exact
        assert found.stats.executed_macs == exact.stats.executed_macs

    def test_less_costs_less_and_errs_more(self, db: kdb.Session) -> None:
        asked(db)
        exact = asked(db)
        maps = [asked(db, f"THRESHOLD {tau}") for tau in (0.9, 0.7, 0.5, 0.3)]
        macs = [exact.stats.executed_macs, *(each.stats.executed_macs for each in maps)]
        errors = [float(np.abs(each.values - exact.values).mean() / np.ptp(exact.values)) for each in maps]
        assert macs == sorted(macs, reverse=True) and macs[-1] < 0.7 * macs[0]
        assert 0 < errors[0] < errors[-1] < 0.5 and errors == sorted(errors)

    @pytest.mark.parametrize("kernels", ["auto", "native", "direct", "taps", "winograd", "recompute"])
    def test_every_kernel_crops_alike(self, db: kdb.Session, kernels: str) -> None:
        expected = asked(db, "THRESHOLD 0.5")
        db.execute(f"SET kernels = {kernels}")
        try:
            found = asked(db, "THRESHOLD 0.5")
        finally:
            db.execute("RESET kernels")
        span = float(np.ptp(expected.values))
        if kernels == "recompute":  # reads what was cropped before as unchanged, deltas read nothing there: the same
            np.testing.assert_allclose(found.values, expected.values, atol=1e-3 * span)
        else:
            np.testing.assert_allclose(found.values, expected.values, atol=1e-4 * span)

    def test_the_rule_can_be_switched_off(self, db: kdb.Session) -> None:
        db.execute("SET rule.projective_field = off")
        try:
            assert (asked(db, "THRESHOLD 0.4").values == asked(db).values).all()
        finally:
            db.execute("RESET rule.projective_field")

    def test_it_goes_with_sampling(self, db: kdb.Session) -> None:
        query = f"{QUERY.replace('STRIDE 5', 'STRIDE 2')} THRESHOLD 0.6 APPROXIMATE TO SSIM 0.8"
        found = db.execute(query, {"image": IMAGE})
        assert isinstance(found, HeatMap)
        assert found.ssim_estimate is not None and np.isfinite(found.values).all()

    def test_explain_says_so(self, db: kdb.Session) -> None:
        text = f"{QUERY} THRESHOLD 0.6"
        assert "approximate: boxes take at most 0.6 of a map" in db.explain(text, {"image": None})
        plan = json.loads(db.explain(text, {"image": None}, format="json"))
        rule = next(each for each in plan["rules"] if each["name"] == "projective_field")
        assert rule["fired"] and rule["approximate"] and plan["threshold"] == 0.6
        for layer in plan["layers"]:
            if layer["operator"] in ("convolution", "max_pool", "average_pool") and layer["stage"] == "deltas":
                assert all(b <= max(round(0.6 * n), 1) for b, n in zip(layer["box"], layer["map"], strict=True))
