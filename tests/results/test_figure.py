"""Figures of heat maps: panels, titles, axes, and texts that never cover one another."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

import kdb
from kdb.errors import ExecutionError, GlyphWarning
from kdb.results.maps import HeatMap
from kdb.results.pictures import lettering
from kdb.results.pictures.figure import PANEL_INCHES
from kdb.results.pictures.panels import MAX_PANELS, grey_of
from kdb.results.pictures.views import SLIVER_INCHES
from kdb.results.several import HeatMaps
from tests.results.test_heatmap import PROVENANCE, heat_map, photos, several, small


def boxes_of(figure: Figure) -> list[tuple[str, Any]]:
    """Every text that is drawn, with its box in pixels."""
    figure.draw_without_rendering()
    texts = [each for each in figure.findobj(Text) if each.get_visible() and each.get_text().strip()]
    for ax in figure.findobj(lambda artist: hasattr(artist, "xaxis")):
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            unseen = [t for t in axis.get_major_ticks() if not low - 1e-9 <= t.get_loc() <= high + 1e-9]
            texts = [each for each in texts if not any(each in (tick.label1, tick.label2) for tick in unseen)]
    return [(each.get_text(), each.get_window_extent()) for each in texts]


def overprinted(figure: Figure) -> list[str]:
    """Pairs of texts whose boxes overlap by more than a pixel, and texts that leave the figure."""
    boxes = boxes_of(figure)
    width, height = figure.get_size_inches() * figure.dpi
    found = [
        f"{text!r} leaves the figure"
        for text, box in boxes
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1
    ]
    for (text, a), (other, b) in combinations(boxes, 2):
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1:
            found.append(f"{text!r} covers {other!r}")
    return found


def test_texts_that_cover_one_another_are_found() -> None:
    figure = Figure()
    figure.text(0.5, 0.5, "one")
    figure.text(0.51, 0.5, "two")
    figure.text(0.99, 0.1, "three")
    assert overprinted(figure) == ["'three' leaves the figure", "'one' covers 'two'"]


WORDS = st.text("aWil .,", min_size=1, max_size=12) | st.sampled_from(["tiger cat", "W" * 60, "lorem ipsum " * 9])


@settings(max_examples=6, deadline=None)
@given(
    grid=st.sampled_from([(8, 10), (60, 8), (8, 60), (2, 900), (900, 2), (1000, 1000), (3, 3)]),
    classes=st.sampled_from([None, 1, 2, 3, 5, MAX_PANELS]),
    label=WORDS,
    source=WORDS,
    score=st.sampled_from(["probability", "drop", "logit", "logit_drop"]),
    baseline=st.sampled_from([0.0, 1e-9, 0.31415926, 1.0, 17.123, -12345.678]),
    width=st.sampled_from([0.0, 1e-9, 0.02, 0.7, 3e4]),
    exact=st.booleans(),
)
@example((2, 900), 3, "W" * 60, "lorem ipsum " * 40, "probability", 1e-9, 1e-9, False)
@example((900, 2), 7, "W" * 60, "W" * 300, "logit_drop", -12345.678, 3e4, False)
def test_texts_never_overprint(
    grid: tuple[int, int],
    classes: int | None,
    label: str,
    source: str,
    score: Any,
    baseline: float,
    width: float,
    exact: bool,
) -> None:
    shape = (2,) if classes is None else (classes, 2)
    neutral = 0.0 if score.endswith("drop") else baseline
    values = np.full(shape, neutral)
    values[..., 0] -= width
    corner = [grid[0] - 1, grid[1] - 1]
    facts = {"label": label if classes is None else (label,) * classes, "source": source, "model": source}
    facts |= {"baseline": baseline if classes is None else (baseline,) * classes}
    hm = heat_map(values, [[0, 0], corner], grid=grid, patch=(1, 1), score=score, exact=exact, complete=exact, **facts)
    assert overprinted(hm.plot()) == []
    if classes in (None, 1, 2):
        assert overprinted((hm - hm).plot()) == []
        assert overprinted(kdb.plot([hm, small(), hm])) == []


@pytest.mark.parametrize(
    ("values", "extend"),
    [
        ([0.4, 0.6], "neither"),
        ([0.375, 0.625], "neither"),
        ([0.1, 0.5], "min"),
        ([0.5, 0.9], "max"),
        ([0.1, 0.9], "both"),
    ],
)
def test_the_colour_bar_says_that_values_go_beyond_it(values: list[float], extend: str) -> None:
    hm = heat_map(values, [[0, 0], [4, 6]], grid=(8, 10), patch=(4, 4))
    assert hm.plot(colors="krypton").axes[0].images[1].colorbar.extend == extend
    assert hm.plot(range=0.125).axes[0].images[1].colorbar.extend == extend
    assert hm.plot().axes[0].images[1].colorbar.extend == "neither"


@pytest.mark.parametrize("colors", ["effect", "krypton"])
@pytest.mark.parametrize("p", [0.0, 1e-30])
def test_a_class_of_no_probability_can_be_drawn(tmp_path: Path, p: float, colors: Any) -> None:
    assert small(baseline=p).save(tmp_path / "x.png", colors=colors).exists()


def test_pixels_that_no_patch_covers_are_transparent() -> None:
    hm = heat_map([0.2, 0.4], [[0, 0], [4, 6]], grid=(8, 10), patch=(4, 4))
    overlay = hm.plot().axes[0].images[1]
    np.testing.assert_array_equal(np.ma.getmaskarray(overlay.get_array()), np.isnan(hm.upsample()))
    assert overlay.cmap.get_bad()[3] == 0


@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_image_is_shown_as_grey(channels: int, floats: bool) -> None:
    """In whole levels; one of floats from its least to its largest."""
    image = np.arange(80 * channels, dtype=np.float32).reshape(8, 10, channels)
    settings = {**PROVENANCE.preprocessing, "floats": floats}
    provenance = replace(PROVENANCE, preprocessing=settings)
    maps = [small(image=each, provenance=provenance) for each in (image, image - 1000, np.zeros_like(image))]
    grey, below, flat = (grey_of(each.picture) for each in maps)
    assert grey.shape == (8, 10) and grey.dtype == np.float32 and grey.min() >= 0 and grey.max() <= 1
    assert np.all(np.diff(grey.ravel()) >= 0) and np.ptp(grey) > 0.3 and not flat.any()
    if floats:
        np.testing.assert_array_equal(grey, below)
        assert channels == 3 or np.ptp(grey) == 1
    else:
        assert not below.any()


@pytest.mark.parametrize("label", ["a very long label, " * 12, "NoSpaces" * 30])
def test_a_label_that_is_cut_keeps_its_index(label: str) -> None:
    title = small(label=label).plot().axes[0].get_title()
    assert "... (281)\n" in title and title.startswith(label[:10])


def test_a_range_is_a_finite_number() -> None:
    for wrong in (10**400, float("inf"), float("nan"), 0, -1, True, "wide"):
        with pytest.raises(ExecutionError, match="range must be"):
            small().plot(range=wrong)


def test_a_title_tells_label_score_baseline_and_state() -> None:
    title = small(label="costs $5 and $ 6", exact=False, complete=False).plot().axes[0].get_title()
    for part in ("costs $5 and $ 6", "281", "probability", "0.5", "approximate", "partial"):
        assert part in title


@pytest.mark.parametrize("label", [r"$\nonsense{$", "", "a\0b\udc80\n\tc", "x" * 500])
def test_any_label_can_be_drawn(tmp_path: Path, label: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert small(label=label).save(tmp_path / "x.png").exists()


def test_a_map_without_scores_is_drawn_too(tmp_path: Path) -> None:
    nothing = heat_map(np.zeros(0), np.zeros((0, 2)), grid=(8, 10), patch=(4, 4), score="logit")
    assert nothing.save(tmp_path / "x.png").exists()


def titles(figure: Figure) -> list[str]:
    return [ax.get_title() for ax in figure.axes if ax.get_title()]


def test_each_class_has_a_panel() -> None:
    assert [title.splitlines()[0] for title in titles(several(5).plot())] == [f"class {i} ({i})" for i in range(5)]


def test_of_very_many_classes_those_of_highest_baseline_are_drawn() -> None:
    count = MAX_PANELS + 2
    baselines = [0.5] * count
    baselines[0] = baselines[7] = 0.1
    hm = several(count, baseline=tuple(baselines), error=np.zeros((count, 3, 4), np.float32))
    for figure in (hm.plot(), kdb.plot(hm)):
        assert [t.splitlines()[0] for t in titles(figure)] == [
            f"class {i} ({i})" for i in range(count) if i not in (0, 7)
        ]
        assert f"{MAX_PANELS} of {count} classes" in figure.get_suptitle()


def test_as_many_classes_as_there_are_panels_need_no_word() -> None:
    figure = several(MAX_PANELS).plot()
    assert figure.get_suptitle() == ""
    assert len(titles(figure)) == MAX_PANELS


@pytest.mark.parametrize(
    ("count", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 2, 2), (5, 2, 3), (7, 3, 3)]
)
def test_panels_fill_rows_and_are_of_one_size(count: int, rows: int, columns: int) -> None:
    figure = several(count).plot()
    figure.draw_without_rendering()
    panels = [ax.get_window_extent() for ax in figure.axes if ax.get_title()]
    longer = PANEL_INCHES if count == 1 else 0.7 * PANEL_INCHES
    for box in panels:
        assert (box.width, box.height) == pytest.approx((longer * figure.dpi, 0.8 * longer * figure.dpi))  # of 8 x 10
    xs, ys = ([round(getattr(box, side)) for box in panels] for side in ("x0", "y0"))
    assert len(set(xs)) == columns and len(set(ys)) == rows
    assert list(zip([-y for y in ys], xs, strict=True)) == sorted(zip([-y for y in ys], xs, strict=True))


@pytest.mark.parametrize("grid", [(8, 10), (60, 8), (2, 900)])
def test_the_colour_bar_is_a_strip_beside_the_map(grid: tuple[int, int]) -> None:
    figure = heat_map([0.4, 0.6], [[0, 0], [1, 4]], grid=grid, patch=(1, 4)).plot()
    figure.draw_without_rendering()
    panel = figure.axes[0]
    bar = panel.images[1].colorbar.ax
    shown, strip = panel.get_window_extent(), bar.get_window_extent()
    if min(grid) == 2:  # a sliver is stretched, and its bar is longer than it
        assert shown.height == pytest.approx(SLIVER_INCHES * figure.dpi) and strip.height > 2 * shown.height
    else:
        assert shown.width / shown.height == pytest.approx(grid[1] / grid[0], rel=0.02)  # the image's shape
        assert strip.y1 == pytest.approx(shown.y1, abs=2)
    assert strip.y0 == pytest.approx(shown.y0, abs=2)
    assert 0.02 < strip.width / max(shown.width, shown.height) < 0.08
    assert shown.x1 < strip.x0 < shown.x1 + strip.width
    assert bar.get_ylabel() and panel.get_xlabel() == "x (pixels)" and panel.get_ylabel() == "y (pixels)"


def test_plot_draws_on_the_axes_given() -> None:
    figure = Figure()
    axes = figure.subplots(1, 2)
    assert several(2).plot(axes) is figure
    assert all(len(ax.images) == 2 for ax in axes) and not figure.texts
    assert small().plot(Figure().subplots()) is not figure
    inner = Figure().subfigures(1, 2)[1]
    assert small().plot(inner.subplots()) is inner.figure
    with pytest.raises(ExecutionError, match="3 classes need as many axes; 2 given"):
        several(3).plot(axes)


def test_a_caption_says_where_the_map_comes_from() -> None:
    query = "OCCLUDE 'it''s WITH patch(4, 4) FILL white' WITH patch(4, 4) FILL rgb(1, 2, 3) STRIDE 2 USING mine"
    (caption,) = small(query=query).plot().texts
    assert caption.get_text() == "model mine, source photos/cat.png, patch 4 x 4, stride 2, fill rgb(1, 2, 3)"
    assert not small().plot(caption=False).texts
    assert "fill black" in small().plot().texts[0].get_text()


# Several maps


def test_several_maps_share_one_scale_and_say_which_they_are() -> None:
    strong, weak = small(score="drop", baseline=0.9), small(score="drop", model="other", source="b/dog.png")
    weak = HeatMap(**vars(weak) | {"values": weak.values / 10})
    figure = kdb.plot([strong, weak])
    panels = [ax for ax in figure.axes if ax.get_title()]
    assert len({ax.images[1].get_clim() for ax in panels}) == 1
    assert len({ax.images[1].get_clim() for ax in kdb.plot([strong, weak], range="each").axes}) == 2
    assert ["cat.png, mine" in titles(figure)[0], "dog.png, other" in titles(figure)[1]] == [True, True]
    assert [text.get_text() for text in figure.texts] == ["patch 4 x 4, stride 2, fill black"], "what they share"
    mixed = [ax.images[1].get_clim() for ax in kdb.plot([strong, small(score="logit_drop")]).axes]
    assert mixed == [
        strong.plot().axes[0].images[1].get_clim(),
        small(score="logit_drop").plot().axes[0].images[1].get_clim(),
    ]


def test_a_figure_of_several_says_how_many_it_leaves_out() -> None:
    figure = kdb.plot([small()] * 20)
    assert len(titles(figure)) == MAX_PANELS and figure.get_suptitle() == f"{MAX_PANELS} of 20 maps; 4 left out"
    figure = kdb.plot([several(7)] * 3)
    assert len(titles(figure)) == 14 and figure.get_suptitle() == "2 of 3 maps; 1 left out"


def test_a_sequence_is_plotted_as_far_as_there_is_room() -> None:
    maps, computed = photos(20)
    with pytest.warns(kdb.errors.OmissionWarning, match=r"img/2\.png.*left out") as told:
        figure = maps.plot()
    assert told[0].filename == __file__
    assert computed == list(range(MAX_PANELS + 1)), "the others are not computed"
    assert len(titles(figure)) == MAX_PANELS and "4 left out" in figure.get_suptitle()
    with pytest.warns(kdb.errors.OmissionWarning):
        assert len(titles(kdb.plot(photos(4)[0]))) == 3


@pytest.mark.parametrize("wrong", [[], 3, [3], ["a.npz"], HeatMaps([], lambda _: small())])
def test_what_is_no_heat_map_is_refused(wrong: Any) -> None:
    with pytest.raises(ExecutionError, match=r"no heat maps to plot|takes heat maps, not"):
        kdb.plot(wrong)


# Fonts

CAT, DOG = "\N{CJK UNIFIED IDEOGRAPH-732B}", "\N{CJK UNIFIED IDEOGRAPH-72AC}"


@pytest.fixture
def no_other_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nothing but matplotlib's own font were installed."""
    monkeypatch.setattr(lettering, "_installed", list)
    lettering._families.cache_clear()
    yield
    lettering._families.cache_clear()


@pytest.fixture
def font_with_cat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A font is installed that has one Chinese character."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    for corner, move in zip([(0, 0), (0, 900), (900, 900), (900, 0)], ["moveTo", *["lineTo"] * 3], strict=True):
        getattr(pen, move)(corner)
    pen.closePath()
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", "cat"])
    builder.setupCharacterMap({ord(CAT): "cat"})
    builder.setupGlyf({".notdef": pen.glyph(), "cat": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "cat": (1000, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Noto Sans CJK Test", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "cat.ttf")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    font_manager.fontManager.addfont(tmp_path / "cat.ttf")
    lettering._families.cache_clear()
    yield "Noto Sans CJK Test"
    lettering._families.cache_clear()
    font_manager._findfont_cached.cache_clear() if hasattr(font_manager, "_findfont_cached") else None


@pytest.mark.parametrize("format", ["png", "pdf", "svg", "jpg"])
def test_a_label_is_drawn_in_an_installed_font_that_has_its_characters(
    font_with_cat: str, tmp_path: Path, format: str
) -> None:
    hm = small(label=f"tabby {CAT}", source=f"{CAT}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = hm.plot()
        hm.save(tmp_path / f"x.{format}")
    assert f"tabby {CAT} (281)" in figure.axes[0].get_title()
    assert figure.axes[0].title.get_fontfamily()[-1] == font_with_cat
    assert f"source {CAT}.png" in figure.texts[0].get_text()
    assert overprinted(figure) == []


@pytest.mark.usefixtures("no_other_fonts")
@pytest.mark.parametrize(
    ("label", "shown"),
    [
        (CAT, "class 281"),
        (f"{CAT}{DOG}!", "class 281"),
        (f"tabby {CAT}", r"tabby \u732b (281)"),
        ("\U0001f9ff a", r"\U0001f9ff a (281)"),
    ],
)
def test_without_such_a_font_a_warning_says_so_and_the_title_can_be_read(label: str, shown: str) -> None:
    with pytest.warns(GlyphWarning, match="no installed font has") as told:
        figure = small(label=label).plot()
        figure.draw_without_rendering()
    assert len(told) == 1 and "Noto Sans CJK" in str(told[0].message) and len(str(told[0].message).splitlines()) == 1
    assert figure.axes[0].get_title().splitlines()[0] == shown


@given(st.text(max_size=60), st.floats(0.3, 3), st.integers(1, 4))
def test_wrapped_lines_fit_and_lose_nothing_but_their_end(text: str, width: float, lines: int) -> None:
    text = lettering.Lettering((), frozenset(text) - lettering._characters(font_manager.findfont("DejaVu Sans"))).shown(
        text
    )
    made = lettering.wrapped(text, 10, ["DejaVu Sans"], width, lines).split("\n")
    assert len(made) <= lines
    for line in made:
        assert len(line) <= 1 + len(lettering.ELLIPSIS) or lettering.inches(line, 10, ["DejaVu Sans"]) <= width
    kept = "".join("".join(made).split())
    whole = "".join(text.split())
    assert kept == whole or (kept.endswith("...") and whole.startswith(kept[:-3]))
