"""The instrument that judges approximate maps: courses on a map that is known, and where queries would stop."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import kdb
from benchmarks.approximate import Costs, Point, followed, sampled_rows, similarity, stop
from kdb.frontends.torch_export import trace
from kdb.heatmap import HeatMap
from kdb.sampling.progressive import Goal, Progressive

IMAGE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8).repeat(4, 0).repeat(4, 1)


def test_a_course_is_followed_to_the_exact_map() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 30 * 30, 3)).eval()
    db = kdb.connect()
    db.register_model("net", module, input_size=64)
    exact = db.execute("OCCLUDE $image STRIDE 4 USING net", {"image": IMAGE})
    assert isinstance(exact, HeatMap)
    costs = Costs(trace(module, (3, 64, 64)))
    points = list(followed(Progressive(13, 13, Goal(), -1), exact, costs))
    assert [point.share for point in points] == sorted({point.share for point in points})
    assert points[-1].achieved == points[-1].expected == points[-1].assured == points[-1].share == 1
    assert costs.network.macs < points[0].macs < points[-1].macs < costs.naive(169)
    (met, *_) = (row[3] for row in sampled_rows({("photo", 0): points}, costs.naive(169), ["photo"], "one"))
    assert met in ("0%", "100%")


def test_where_a_query_stops() -> None:
    points = [Point(0.2, 2, 0.91, 0.89, 0.8), Point(0.4, 4, 0.93, 0.92, 0.88), Point(0.6, 6, 0.97, 0.96, 0.94)]
    assert [stop(points, 0.9, guaranteed).share for guaranteed in (False, True)] == [0.4, 0.6]


def test_similarity_is_by_the_exact_maps_range() -> None:
    exact = np.random.default_rng(0).random((9, 9))
    assert similarity(exact, exact) == 1 and similarity(exact + 0.1, exact) < 1
    assert abs(similarity(10 * exact + 1, 10 * exact) - similarity(exact + 0.1, exact)) < 1e-9
