"""What is shown of volumes, videos and signals: the right slices, the right way round, and no text over another."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

import kdb
from kdb.errors import ExecutionError, GlyphWarning
from kdb.geometry import Space
from kdb.results.maps import HeatMap
from kdb.results.pictures import panels
from kdb.results.pictures.panels import MAX_ROWS
from kdb.results.pictures.views import CHANNELS, FRAMES, Flat, Trace
from tests.results.test_figure import overprinted
from tests.results.test_heatmap import heat_map, heat_maps, lattice, small, spaces, volume


def signal(channels: int = 3, **facts: Any) -> HeatMap:
    image = np.random.default_rng(0).random((40, channels), np.float32) - 0.5
    values = np.linspace(0.5, 0.1, 8)
    return heat_map(
        values, lattice((40,), (5,), (5,)), grid=(40,), patch=(5,), stride=(5,), **{"image": image, **facts}
    )


def flats(hm: HeatMap) -> list[Flat]:
    return [view for view in panels.of_map(hm)[0].views.together if isinstance(view, Flat)]


def strong_at(cell: tuple[int, ...], **facts: Any) -> HeatMap:
    """A map of 6 x 8 x 10 cells, patch by patch of one cell, whose only effect is at one cell."""
    size = (6, 8, 10)
    values = np.full(size, 0.5, np.float32)
    values[cell] = 0.1
    image = np.random.default_rng(0).random((*size, 1)).astype(np.float32)
    shapes: dict[str, Any] = {"grid": size, "patch": (1, 1, 1), "stride": (1, 1, 1)}
    return heat_map(values, lattice(*shapes.values()), **shapes, image=image, **facts)


CELL = st.tuples(st.integers(0, 5), st.integers(0, 7), st.integers(0, 9))


@settings(max_examples=25, deadline=None)
@given(CELL, st.none() | spaces())
def test_each_slice_goes_through_the_strongest_cell(cell: tuple[int, ...], space: Space | None) -> None:
    """The slice's values are the volume's, and the mark is where the effect is."""
    hm = strong_at(cell, space=space)
    *slices, projection = flats(hm)
    across = {view.title.split(" = ")[0]: int(view.title.split(" = ")[1]) for view in slices}
    assert across == dict(zip("zyx", cell, strict=True))
    for view in slices:
        kept = ["zyx".index(name) for name in view.names]
        expected = hm.upsample()[tuple(slice(None) if axis in kept else cell[axis] for axis in range(3))]
        np.testing.assert_array_equal(view.values, expected if kept[0] < kept[1] else expected.T)
    for view in (*slices, projection):
        assert view.mark is not None
        place = tuple(start for start, _ in view.mark)
        assert place == tuple(cell["zyx".index(name)] for name in view.names)
        assert view.values[place] == np.float32(0.1) and np.sum(view.values != np.float32(0.5)) == 1


@settings(max_examples=25, deadline=None)
@given(CELL, spaces())
def test_with_a_space_the_head_the_front_and_the_right_come_first(cell: tuple[int, ...], space: Space) -> None:
    """What is at the top, or at the left, lies more towards the side that its letter names than what is opposite."""
    side = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    views = flats(strong_at(cell, space=space))
    assert len({view.names for view in views[:3]}) == 3
    for view in views:
        assert view.ends[0] in "SA" and view.ends[1] in "AR" and view.ends[0] != view.ends[1]
        for name, end, turned, spacing in zip(view.names, view.ends, view.turned, view.spacing, strict=True):
            column = space.affine[:3, "zyx".index(name)]
            assert spacing == pytest.approx(np.linalg.norm(column))
            world, sign = side[end]
            # The first cell is at the top or left unless the axis is turned.
            assert (-column[world] if not turned else column[world]) * sign > 0


def test_a_projection_is_of_the_strongest_effects_to_either_side() -> None:
    values = np.full((2, 1, 2), 0.5, np.float32)
    values[0, 0, 0], values[1, 0, 0], values[1, 0, 1] = 0.4, 0.8, np.nan
    shapes: dict[str, Any] = {"grid": (2, 1, 2), "patch": (1, 1, 1), "stride": (1, 1, 1)}
    hm = heat_map(values, lattice(*shapes.values()), **shapes)
    np.testing.assert_array_equal(flats(hm)[-1].values, np.float32([[0.8, 0.5]]))


def test_of_a_video_the_strongest_frame_is_shown_and_others() -> None:
    hm = replace(strong_at((4, 1, 2)), axes="tyx")
    views = flats(hm)
    assert [view.title for view in views] == ["t = 0", "t = 1", "t = 2", "t = 4, strongest", "t = 5"]
    assert [view.mark is None for view in views] == [True, True, True, False, True] and len(views) == FRAMES
    assert panels.of_map(hm)[0].views.alone.title == "t = 4, strongest"
    np.testing.assert_array_equal(views[3].values, hm.upsample()[4])


@pytest.mark.parametrize("channels", [1, 3, CHANNELS + 2])
def test_of_a_signal_the_channels_are_apart(channels: int) -> None:
    """Each in a lane of its own, whose ticks tell its values."""
    hm = signal(channels)
    (panel,) = panels.of_map(hm)
    assert isinstance(panel.views.alone, Trace)
    ax = hm.plot().axes[0]
    traces = [line for line in ax.lines if len(line.get_ydata()) == 40]
    assert len(traces) == min(channels, CHANNELS)
    assert ("channels 0 to 11 of 14" in ax.get_title()) == (channels == CHANNELS + 2)
    labels = [float(tick.get_text()) for tick in ax.get_yticklabels()]
    ticks = dict(zip(map(float, ax.get_yticks()), labels, strict=True))
    for lane, line in enumerate(traces):
        drawn, values = np.asarray(line.get_ydata(), float), hm.image[:, lane].astype(float)
        assert lane < drawn.min() < drawn.max() < lane + 1
        slope, intercept = np.polyfit(values, drawn, 1)
        assert slope < 0, "upwards"
        inside = {place: value for place, value in ticks.items() if lane < place < lane + 1}
        assert inside and all(
            slope * value + intercept == pytest.approx(place, abs=1e-4) for place, value in inside.items()
        )


@settings(max_examples=8, deadline=None, phases=[Phase.generate])  # a figure takes too long to look for the least
@given(heat_maps(axes=3) | heat_maps(axes=1))
def test_texts_never_overprint(hm: HeatMap) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GlyphWarning)
        assert overprinted(hm.plot()) == []


def test_flat_and_long_volumes_are_drawn_too() -> None:
    for grid in ((3, 60, 60), (60, 3, 60), (2, 3, 200)):
        hm = heat_map(np.full((1, 1, 1), 0.3), np.zeros((1, 1, 1, 3)), grid=grid, patch=(1, 2, 3))
        for each in (hm, replace(hm, axes="tyx"), replace(hm, space=Space(np.diag([5.0, 1.0, 0.5, 1.0])))):
            assert overprinted(each.plot()) == []


def test_classes_stand_below_one_another_on_one_scale() -> None:
    values = np.random.default_rng(0).random((MAX_ROWS + 1, 2, 3, 4))
    hm = replace(
        volume(), **vars(heat_map(values, volume().positions, grid=(6, 8, 10), patch=(3, 4, 4), stride=(3, 2, 2)))
    )
    figure = hm.plot()
    assert f"{MAX_ROWS} of {MAX_ROWS + 1} classes" in figure.get_suptitle()
    assert len(figure.axes) == 4 * MAX_ROWS and overprinted(figure) == []
    widths = {round(np.ptp(ax.images[1].get_clim()), 5) for ax in replace(hm, score="drop").plot().axes}
    assert len(widths) == 1


def test_on_given_axes_there_is_one_view_a_class() -> None:
    axes: Any = Figure().subplots(1, 2)
    assert strong_at((4, 1, 2)).plot(axes[0]) is axes[0].figure
    assert axes[0].get_title().endswith("z = 4") and len(axes[0].images) == 2
    with pytest.raises(ExecutionError, match="1 classes need as many axes; 2 given"):
        volume().plot(axes)


def test_maps_of_other_axes_stand_beside_one_another() -> None:
    figure = kdb.plot([volume(), small(), signal()])
    assert len(figure.axes) == 6 and overprinted(figure) == []


def test_a_difference_is_drawn_in_the_same_views() -> None:
    first = strong_at((4, 1, 2))
    second = strong_at((1, 1, 2))
    figure = (first - second).plot()
    assert [ax.get_title() for ax in figure.axes] == ["z = 1", "y = 1", "x = 2", "strongest along z"]
    assert overprinted(figure) == [] and overprinted((signal() - signal(label="other")).plot()) == []
