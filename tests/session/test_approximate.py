"""The instrument that judges approximate maps: strategies on maps that are known, and what they cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.approximate import DRILL_DOWNS, Costs, Maps, drilled, followed, sampled, sampled_rows
from kdb.frontends.torch_export import trace
from kdb.sampling.strategy import Everything


@pytest.fixture(scope="module")
def costs() -> Costs:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 38 * 38, 3)).eval()
    return Costs(trace(module, (3, 80, 80)))


@pytest.fixture(scope="module")
def maps() -> Maps:
    """Of 17 x 17 positions."""
    y, x = np.mgrid[:17, :17]
    exact = np.exp(-((y - 6) ** 2 + (x - 9) ** 2) / 20) + 0.01 * np.random.default_rng(0).normal(size=(17, 17))
    positions = np.stack([y, x], axis=-1).reshape(-1, 2) * 4
    return Maps(exact, exact + 0.005 * np.sin(y), positions)


def test_all_cells_cost_what_their_plan_does(costs: Costs, maps: Maps) -> None:
    estimate, cells, macs = followed(Everything(289), maps, costs)
    np.testing.assert_array_equal(estimate.values[0], maps.exact.ravel())
    assert cells == {False: 289, True: 0}
    assert macs == costs.network.macs + costs.of(maps.positions) < costs.naive(289)


def test_a_course_is_followed_until_it_is_good_enough(costs: Costs, maps: Maps) -> None:
    runs = [sampled("photo", maps, costs, seed, 0.85, guaranteed) for seed in range(3) for guaranteed in (False, True)]
    for run in runs:
        assert 0 < run.exact < 1 and 0 < run.low < 1 and run.expected >= 0.85
        assert costs.network.macs < run.macs < costs.naive(289)
    plain, z_score = (np.mean([run.exact + run.low for run in runs[i::2]]) for i in (0, 1))
    assert plain <= z_score
    row = sampled_rows(runs, costs.naive(289), ["photo"], "one")[0]
    assert row[:3] == ["one", "TO SSIM 0.85", 3]
    assert row[3] == f"{np.mean([run.achieved >= 0.85 for run in runs[::2]]):.1%}"


def test_drill_downs_evaluate_their_share(costs: Costs, maps: Maps) -> None:
    rows = drilled({"photo": maps}, costs, ["photo"], "one")
    assert [row[1] for row in rows] == [f"DRILL DOWN {r:g} SPEEDUP {t:g}" for r, t in DRILL_DOWNS]
