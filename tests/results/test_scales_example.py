"""examples/scales.py, in a short form, draws what docs/pictures.md says of it."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from kdb.results.pictures.colours import BLUE, NEUTRAL, RED

SCALES = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "scales.py"))


def test_the_sheet_has_a_box_for_each_layout_and_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCALES["LAYOUTS"], "all of 20 classes", 5)
    figure = SCALES["sheet"](effects=(1e-9, 0.1), scores=("drop",))
    assert len(figure.axes) == 2 * len(SCALES["LAYOUTS"])
    for nothing, much in zip(figure.axes[::2], figure.axes[1::2], strict=True):
        np.testing.assert_allclose(nothing.images[0].get_array()[0], [NEUTRAL] * 3, atol=0.01)
        half = [[(a + b) / 2 for a, b in zip(NEUTRAL, end, strict=True)] for end in (RED, BLUE)]
        np.testing.assert_allclose(much.images[0].get_array()[0], [RED, *half], atol=0.01)
        assert (nothing.get_xlabel(), much.get_xlabel()) == ("-0.01 to 0.01", "-0.1 to 0.1")


@pytest.mark.parametrize("score", SCALES["SCORES"])
def test_every_score_is_on_the_sheet(score: str) -> None:
    colours, _ = SCALES["drawn"](SCALES["with_effect"](score, 0.5, 3))
    np.testing.assert_allclose(colours[0], RED, atol=0.01)
