"""Colours of heat maps: one colour means one thing, in every score, and in the figure as in the function."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib import colormaps

import kdb
from kdb.errors import ExecutionError
from kdb.results.maps import HeatMap
from kdb.results.pictures.colours import BLUE, FLOORS, NEUTRAL, RED, coloured, effect, krypton, unit
from kdb.results.pictures.style import Style
from tests.results.test_heatmap import FLOATS, heat_map

SCORES = ("probability", "drop", "logit", "logit_drop")
CELLS = [[0, 0], [0, 4], [4, 0], [4, 4]]


def distance(a: Any, b: Any) -> float:
    """The largest difference of a channel, of colours from 0 to 1."""
    return float(np.max(np.abs(np.asarray(a)[..., :3] - np.asarray(b)[..., :3])))


def value(score: str, baseline: float, lowered: float) -> float:
    """The value of a score whose class the patch has ``lowered`` by that much."""
    return lowered if score.endswith("drop") else baseline - lowered


def with_effects(score: str, baselines: tuple[float, ...], effects: np.ndarray, **facts: Any) -> HeatMap:
    """A heat map whose classes are lowered by ``effects`` [classes, 4]; one class has no axis."""
    values = np.array([[value(score, p, each) for each in row] for p, row in zip(baselines, effects, strict=True)])
    one = len(baselines) == 1
    given = {"score": score, "baseline": baselines[0] if one else baselines} | facts
    return heat_map(values[0] if one else values, CELLS, grid=(8, 8), patch=(4, 4), **given)


def drawn(hm: HeatMap, **options: Any) -> list[np.ndarray]:
    """What ``plot`` draws of each class, [4, 3] from 0 to 1, a colour for each cell: read from the figure."""
    panels = [ax for ax in hm.plot(**options).axes if len(ax.images) == 2]
    assert len(panels) == len(hm.by_class()[0])
    found = []
    for ax in panels:
        overlay = ax.images[1]
        rgba = overlay.to_rgba(overlay.get_array())
        assert overlay.norm(overlay.get_array()).min() >= -1e-9, "the overlay is not on its scale"
        found.append(np.array([rgba[y, x, :3] for y, x in CELLS]))
    return found


@st.composite
def layouts(draw: st.DrawFn, classes: st.SearchStrategy[int] = st.sampled_from([1, 3, 6])) -> HeatMap:  # noqa: B008
    """Maps of every score and class layout; of each class, one cell without effect and one with an effect of 1e-9."""
    score, count = draw(st.sampled_from(SCORES)), draw(classes)
    probabilities = unit(score) == "probability"
    baseline = st.floats(0, 1) | st.sampled_from([0.0, 1e-9, 1.0]) if probabilities else st.floats(-30, 30)
    baselines = tuple(draw(baseline) for _ in range(count))
    effects = np.zeros((count, 4))
    for row, p in zip(effects, baselines, strict=True):
        low, high = (p - 1, p) if probabilities else (-20.0, 20.0)
        row[1], row[2:] = min(1e-9, high), [draw(st.floats(low, high)) * draw(st.sampled_from([1, 1e-6])) for _ in "ab"]
    return with_effects(score, baselines, effects)


@settings(max_examples=12, deadline=None)
@given(layouts(), st.sampled_from(["shared", "each"]))
def test_no_effect_is_neutral_and_so_is_next_to_none(hm: HeatMap, how: str) -> None:
    for colours in drawn(hm, range=how):
        assert distance(colours[:2], NEUTRAL) <= 0.02


@given(
    st.sampled_from(SCORES),
    st.floats(0, 1) | st.floats(-30, 30),
    st.floats(1e-3, 20),
    st.lists(st.floats(-25, 25), min_size=2, max_size=8),
)
def test_a_larger_effect_is_never_less_red(score: str, baseline: float, half: float, effects: list[float]) -> None:
    limits = (0.0, 1.0) if score == "probability" and 0 <= baseline <= 1 else (-np.inf, np.inf)
    values = np.array([value(score, baseline, each) for each in sorted(effects)])
    neutral = value(score, baseline, 0.0)
    colours = coloured(values, effect(score, neutral, half, limits)).astype(int)
    redness = colours[:, 0] - colours[:, 2]
    assert np.all(np.diff(redness) >= 0)
    assert np.all(np.diff(colours[:, 0] - np.maximum(colours[:, 1], colours[:, 2])) >= 0)
    assert np.all((redness > 2) <= (np.sort(effects) > 0)) and np.all((redness < -2) <= (np.sort(effects) < 0))


@settings(max_examples=8, deadline=None)
@given(layouts(st.just(3)))
def test_the_figure_has_the_colours_of_one_scale(hm: HeatMap) -> None:
    """A colour is that of the effect over the widest of all classes, whatever the class, the score and the baseline."""
    effects = []
    for row, baseline in zip(hm.by_class()[0].astype(np.float64), np.ravel(hm.baseline), strict=True):
        effects.append(row if hm.score.endswith("drop") else baseline - row)
    half = max(FLOORS[unit(hm.score)], np.abs(effects).max())
    for colours, lowered in zip(drawn(hm), effects, strict=True):
        for colour, each in zip(colours, lowered, strict=True):
            end = np.array(RED if each > 0 else BLUE)
            expected = NEUTRAL + abs(each) / half * (end - NEUTRAL)
            assert distance(colour, expected) <= 0.02


@given(layouts())
def test_a_probability_scale_claims_nothing_beyond_0_and_1(hm: HeatMap) -> None:
    baselines = np.ravel(hm.baseline)
    for p in baselines[(baselines >= 0) & (baselines <= 1)]:
        for half in (0.01, 0.3, 7.0):
            scale = effect("probability", float(p), half, (0.0, 1.0))
            assert 0 <= scale.lowest <= p <= scale.highest <= 1
            assert scale.lowest == 0 or scale.highest == 1 or scale.highest + scale.lowest == pytest.approx(2 * p)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(("size", "floored"), [(7.5e-9, True), (0.0, True), (0.5, False)])
def test_the_bar_says_where_the_floor_acts_and_marks_the_unmodified_value(
    score: str, size: float, floored: bool
) -> None:
    panel = with_effects(score, (0.625,), np.array([[0, size, -size / 2, 0]])).plot().axes[0]
    bar = panel.images[1].colorbar
    neutral = 0.0 if score.endswith("drop") else 0.625
    floor = FLOORS[unit(score)]
    assert (f"scale floored at ±{floor:g}" in bar.ax.get_ylabel()) == floored
    assert "line: unmodified" in bar.ax.get_ylabel()
    (line,) = (each for each in bar.ax.lines if np.ptp(each.get_ydata()) == 0)
    assert line.get_ydata()[0] == neutral and neutral in bar.ax.get_yticks()
    labels = {float(each.get_text().replace("\N{MINUS SIGN}", "-")) for each in bar.ax.get_yticklabels()}
    assert neutral in labels, "with its number"
    low, high = panel.images[1].get_clim()
    assert high - neutral == pytest.approx(min(max(size, floor), 1 - neutral if score == "probability" else 9))
    assert (min(labels), max(labels)) == pytest.approx((low, high), abs=0.01 * (high - low)), "ticks tell the range"


def test_a_number_is_half_the_width_and_beats_the_floor() -> None:
    hm = with_effects("logit_drop", (1.0, 2.0), np.array([[0, 1e-3, 0, 0], [0, 2, 0, 0]]))
    assert [ax.images[1].get_clim() for ax in hm.plot(range=0.002).axes] == [(-0.002, 0.002)] * 2
    assert [ax.images[1].colorbar.extend for ax in hm.plot(range=0.002).axes] == ["neither", "max"]
    assert [ax.images[1].get_clim() for ax in hm.plot(range="each").axes] == [(-0.1, 0.1), (-2, 2)]
    assert [ax.images[1].get_clim() for ax in hm.plot().axes] == [(-2, 2)] * 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"range": "all"}, "'shared', 'each', or a number above 0"),
        ({"range": 0}, "a number above 0"),
        ({"range": -0.1}, "a number above 0"),
        ({"range": math.nan}, "a number above 0"),
        ({"range": math.inf}, "a number above 0"),
        ({"range": True}, "a number above 0"),
        ({"range": (0, 1)}, "a number above 0"),
        ({"range": None}, "a number above 0"),
        ({"colors": "jet"}, "'effect' or 'krypton'"),
        ({"colors": ["effect"]}, "'effect' or 'krypton'"),
        ({"colors": "krypton", "range": 0.5}, "a range of its own"),
        ({"caption": "yes"}, "True or False"),
    ],
)
def test_other_options_are_refused_before_anything_is_drawn(options: dict[str, Any], said: str, tmp_path: Any) -> None:
    hm = with_effects("drop", (0.5,), np.zeros((1, 4)))
    for call in (
        hm.plot,
        lambda **k: hm.save(tmp_path / "x.png", **k),
        lambda **k: kdb.plot([hm], **k),
        (hm - hm).plot,
    ):
        with pytest.raises(ExecutionError, match=said):
            call(**options)
    assert not list(tmp_path.iterdir())
    assert Style(range=np.float32(0.5)).range == 0.5


# The paper's colours


@given(st.floats(1e-6, 1.0), hnp.arrays(np.float32, 5, elements=FLOATS | st.just(math.nan)))
def test_probability_has_the_colours_of_the_paper(p: float, scores: np.ndarray) -> None:
    scale = krypton("probability", p, scores)
    assert (scale.colours, scale.lowest, scale.highest) == ("jet_r", 0.75 * p, min(1.0, 1.25 * p))


@given(
    st.sampled_from(SCORES),
    st.floats(-20, 20) | st.just(0.0),
    hnp.arrays(np.float32, 5, elements=FLOATS | st.just(math.nan)),
)
def test_the_important_side_is_red_and_the_other_blue(score: str, baseline: float, scores: np.ndarray) -> None:
    for scale in (krypton(score, baseline, scores), effect(score, baseline, 0.5)):
        assert scale.lowest < scale.highest
        low, high = scale.colormap()(0.1), scale.colormap()(0.9)
        important, other = (high, low) if score.endswith("drop") else (low, high)
        assert important[0] > important[2]
        assert other[2] > other[0]


@given(
    st.sampled_from(["drop", "logit", "logit_drop"]),
    st.floats(-20, 20),
    hnp.arrays(np.float32, 5, elements=FLOATS | st.just(math.nan)),
)
def test_other_scores_have_a_range_symmetric_about_no_change(score: str, baseline: float, scores: np.ndarray) -> None:
    scale = krypton(score, baseline, scores)
    middle = (scale.lowest + scale.highest) / 2
    assert middle == pytest.approx(baseline if score == "logit" else 0.0, abs=1e-9)
    known = scores[~np.isnan(scores)]
    assert np.all((known >= scale.lowest - 1e-3) & (known <= scale.highest + 1e-3))


def test_a_probability_of_one_that_rounded_up_is_still_one() -> None:
    above = float(np.nextafter(np.float32(1), np.float32(2)))
    scale = krypton("probability", above, np.zeros(1, np.float32))
    assert (scale.colours, scale.lowest, scale.highest) == ("jet_r", 0.75 * above, 1.0)
    hm = with_effects("probability", (above,), np.array([[0, 0.25, 0, 0]]))
    assert hm.plot().axes[0].images[1].colorbar.extend == "neither"
    assert krypton("probability", 1 + 1e-6, np.zeros(1, np.float32)).colours == "jet_r"
    assert krypton("probability", 1 + 2e-6, np.zeros(1, np.float32)).colours != "jet_r"


@pytest.mark.parametrize("score", SCORES)
def test_krypton_draws_the_paper_s_colours(score: str) -> None:
    hm = with_effects(score, (0.5, 0.25), np.array([[0, 0.1, -0.2, 0], [0, 0.02, 0, 0]]))
    for ax, baseline, colours in zip(
        hm.plot(colors="krypton").axes, (0.5, 0.25), drawn(hm, colors="krypton"), strict=True
    ):
        overlay = ax.images[1]
        if score == "probability":
            assert overlay.cmap.name == "jet_r" and overlay.get_clim() == (0.75 * baseline, 1.25 * baseline)
            assert distance(colours[0], colormaps["jet_r"](0.5)) < 0.03
        else:
            neutral = 0.0 if score.endswith("drop") else baseline
            assert overlay.cmap.name.startswith("coolwarm") and np.mean(overlay.get_clim()) == pytest.approx(neutral)
            assert distance(colours[0], colormaps["coolwarm"](0.5)) < 0.03
