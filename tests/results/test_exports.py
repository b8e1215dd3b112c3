"""What is said of a map in few words: where the effect on each class is largest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kdb.results import exports
from tests.results.test_heatmap import several


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
        assert each.score == pytest.approx(float(row[at])) and [each.y, each.x] == hm.positions[at].tolist()
