"""The rounds of positions that fill no grid."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

import kdb
from kdb.sampling.scattered import LEAST, STEPS, Scattered
from tests.networks import modules
from tests.support import examples

pytestmark = pytest.mark.hypothesis


@st.composite
def places(draw: st.DrawFn) -> NDArray[np.int64]:
    axes, count = draw(st.integers(1, 3)), draw(st.integers(1, 700))
    seed = draw(st.integers(0, 1000))
    return np.random.default_rng(seed).integers(0, draw(st.integers(1, 400)), (count, axes))


@given(places())
def test_each_position_is_proposed_once(places: NDArray[np.int64]) -> None:
    strategy, seen, rounds = Scattered(places), np.zeros(len(places), int), []
    while len(cells := strategy.propose()):
        seen[cells] += 1
        rounds.append(len(cells))
        strategy.take(cells, np.zeros((2, len(cells))))
    assert (seen == 1).all() and len(rounds) <= len(STEPS)
    assert min(rounds[0], len(places)) >= min(LEAST, len(places))


@given(places())
def test_an_estimate_is_the_nearest_score(places: NDArray[np.int64]) -> None:
    scores = np.random.default_rng(1).normal(size=(2, len(places)))
    strategy = Scattered(places)
    assert not strategy.estimate().evaluated.any()
    done = np.zeros(len(places), bool)
    while len(cells := strategy.propose()):
        strategy.take(cells, scores[:, cells])
        done[cells] = True
        found = strategy.estimate()
        assert np.array_equal(found.evaluated, done) and np.array_equal(found.values[:, done], scores[:, done])
        for cell in np.flatnonzero(~done)[:20]:
            distances = ((places[done] - places[cell]) ** 2).sum(axis=1)
            nearest = scores[:, done][:, distances == distances.min()]
            assert (nearest == found.values[:, cell, None]).all(axis=0).any()
        assert (found.ssim == 1) if done.all() else (found.ssim is None)
    assert np.array_equal(strategy.estimate().values, scores)


@given(st.sampled_from([(256,), (512,), (16, 16), (32, 16), (16, 64)]), st.randoms(use_true_random=False))
def test_each_round_is_spread_over_all(shape: tuple[int, ...], random: Random) -> None:
    """Of a grid a first round has one position in each block of sixteen, and two rounds one in each of four."""
    places = np.stack(np.unravel_index(np.arange(np.prod(shape)), shape), axis=1)
    random.shuffle(order := [*range(len(places))])
    places = places[order]
    strategy, seen = Scattered(places), np.zeros(0, int)
    for cells in (16, 4):
        seen = np.concatenate([seen, strategy.propose()])
        side = cells if len(shape) == 1 else round(cells**0.5)
        blocks = np.unique(places[seen] // side, axis=0)
        assert len(blocks) == len(seen) == len(places) // cells


def _last(db: kdb.Session, text: str, parameters: dict[str, Any]) -> tuple[kdb.HeatMap, int]:
    maps = list(db.stream(text, parameters))
    counts = [int(each.evaluated.sum()) for each in maps]
    assert counts == sorted(counts)  # not always more: a round of low fidelity evaluates nothing exactly
    return maps[-1], len(maps)


CLAUSES = ("", "WITHIN box(3, 4, 36, 30)", "WITHIN mask($mask)", "AT $at", "WITH segments($segments)")


@settings(max_examples=examples(8, 15))
@given(modules((48, 48)), st.sampled_from(CLAUSES), st.sampled_from(["", "APPROXIMATE", "SCORE drop"]))
def test_a_stream_ends_with_the_querys_map(network: nn.Module, region: str, more: str) -> None:
    db, random = kdb.connect(), np.random.default_rng(0)
    db.register_model("m", network, input_size=(48, 48))
    parameters = {
        "i": random.integers(0, 255, (48, 48, 3), np.uint8),
        "mask": random.random((48, 48)) < 0.8,
        "at": random.integers(0, 40, (70, 2)),
        "segments": np.arange(48 * 48).reshape(48, 48) // 30,
    }
    laid = "" if "segments" in region else "WITH patch(6, 6)" + ("" if "AT" in region else " STRIDE 2")
    text = f"OCCLUDE $i {laid} USING m {region} {more}"
    found, count = _last(db, text, parameters)
    asked = db.execute(text, parameters)
    assert isinstance(asked, kdb.HeatMap) and found.exact == asked.exact and found.complete
    if not more.startswith("APPROXIMATE"):
        assert count >= 2, "it is seen growing"
        scale = np.abs(asked.values[np.isfinite(asked.values)]).max() + 1e-6
        np.testing.assert_allclose(found.values, asked.values, atol=1e-4 * scale)
        assert found.evaluated.sum() == asked.evaluated.sum() and found.ssim_estimate is None
