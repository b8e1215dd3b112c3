"""What is said of a map in few words: where the effect on each class is largest."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from kdb.results import exports
from tests.results.test_heatmap import STATS, several, volume


@pytest.mark.parametrize("score", ["probability", "drop", "logit", "logit_drop"])
def test_the_strongest_position_of_each_class_is_farthest_from_no_effect(score: str) -> None:
    """From the baseline, or for drops from zero; a cell without a score counts as one without effect."""
    hm = several(2, score=score, baseline=(0.6, 0.2))
    values = hm.values.copy()
    values[:, 2, 1] = np.nan
    found = exports.strongest(replace(hm, values=values, evaluated=None))
    assert [(each.index, each.label, each.baseline) for each in found] == [(0, "class 0", 0.6), (1, "class 1", 0.2)]
    for each, row, baseline in zip(found, values, (0.6, 0.2), strict=True):
        effects = np.abs(row - (0 if score.endswith("drop") else baseline))
        at = np.unravel_index(np.nanargmax(effects), effects.shape)
        assert each.score == pytest.approx(float(row[at])) and [*each.position] == hm.positions[at].tolist()


def test_places_are_named_by_the_axes() -> None:
    hm = volume(axes="kji", stats=replace(STATS, seconds={"total": 1.0}))
    assert exports.as_csv(hm).splitlines()[0] == '"image","class_index","label","k","j","i","score"'
    found = json.loads(exports.as_json(hm))["classes"][0]["strongest"]
    assert list(found) == ["k", "j", "i", "score"] and [found[axis] for axis in "kji"] == hm.positions[0, 0, 0].tolist()
