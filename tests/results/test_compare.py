"""Differences of heat maps, and how alike two of them are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from skimage.metrics import structural_similarity

from kdb.errors import ExecutionError
from kdb.results.maps import HeatMap
from kdb.results.pictures.colours import NEUTRAL, RED
from tests.results.test_heatmap import FLOATS, heat_map, heat_maps, lattice, several, small, volume


@st.composite
def pairs(draw: st.DrawFn) -> tuple[HeatMap, HeatMap]:
    """Two maps of the same positions, with NaN anywhere, of different models."""
    first = draw(heat_maps())
    values = draw(hnp.arrays(np.float32, first.values.shape, elements=FLOATS | st.just(np.nan)))
    return first, replace(first, values=values, model="other", evaluated=None, exact=not first.exact)


@given(pairs())
def test_a_difference_is_that_of_the_values(pair: tuple[HeatMap, HeatMap]) -> None:
    first, second = pair
    difference = first - second
    assert difference.values.dtype == np.float32
    np.testing.assert_array_equal(difference.values, first.values - second.values)
    np.testing.assert_array_equal(np.isnan(difference.values), np.isnan(first.values) | np.isnan(second.values))
    np.testing.assert_array_equal(np.asarray(difference), difference.values)
    np.testing.assert_array_equal((second - first).values, -difference.values)
    np.testing.assert_array_equal(difference.positions, first.positions)
    assert difference.upsample().shape == first.upsample().shape
    assert len(repr(difference).splitlines()) == 1


@given(pairs(), st.floats(0, 100))
def test_a_comparison_holds_for_every_cell(pair: tuple[HeatMap, HeatMap], tolerance: float) -> None:
    first, second = pair
    found = first.compare(second, tolerance)
    values = (first - second).values
    known = values[~np.isnan(values)]
    assert found.compared == known.size and len(repr(found).splitlines()) == 1
    if not known.size:
        assert found.where is None and np.isnan(found.largest) and np.isnan(found.agree)
        return
    assert abs(found.largest) == np.abs(known).max()
    assert found.agree == np.mean(np.abs(known) <= tolerance)
    k = first.by_class()[1].index(found.class_index)
    of_class = values.reshape(len(first.by_class()[1]), -1)
    at = np.flatnonzero((first.positions.reshape(-1, len(first.axes)) == found.where).all(-1))
    if len(set(first.by_class()[1])) == len(first.by_class()[1]):
        assert found.largest in of_class[k, at]
    assert np.isnan(found.correlation) or -1 - 1e-9 <= found.correlation <= 1 + 1e-9


@given(heat_maps())
def test_a_map_agrees_with_itself(hm: HeatMap) -> None:
    found = hm.compare(hm)
    assert found.compared == 0 or (found.largest, found.agree) == (0, 1)
    assert np.isnan(found.correlation) or found.correlation == pytest.approx(1)
    assert found.ssim is None or found.ssim == pytest.approx(1)


def square(seed: int = 0, classes: int | None = None, **facts: Any) -> HeatMap:
    values = np.random.default_rng(seed).random((10, 12) if classes is None else (classes, 10, 12))
    return heat_map(values, lattice((13, 15), (4, 4)), grid=(13, 15), patch=(4, 4), stride=(1, 1), **facts)


def test_correlation_and_ssim_are_those_of_the_libraries() -> None:
    a, b = square(0), square(1)
    found = a.compare(b)
    assert found.correlation == pytest.approx(np.corrcoef(a.values.ravel(), b.values.ravel())[0, 1], abs=1e-6)
    expected = structural_similarity(
        a.values.astype(np.float64), b.values.astype(np.float64), data_range=float(np.ptp(b.values))
    )
    assert found.ssim == pytest.approx(expected, abs=1e-6)
    several_classes = square(0, 2).compare(square(1, 2))
    assert several_classes.ssim is not None and several_classes.ssim < 1


def test_ssim_is_of_the_rectangle_that_was_asked_for() -> None:
    a, b = square(0), square(1)
    values = [np.full_like(a.values, np.nan), np.full_like(b.values, np.nan)]
    for each, hm in zip(values, (a, b), strict=True):
        each[1:9, 2:11] = hm.values[1:9, 2:11]
    within = [replace(a, values=each, evaluated=None) for each in values]
    inner = [each[1:9, 2:11].astype(np.float64) for each in values]
    expected = structural_similarity(*inner, data_range=float(np.ptp(inner[1])))
    assert within[0].compare(within[1]).ssim == pytest.approx(expected, abs=1e-6)
    shape = (1, *inner[0].shape)
    volumes = [
        heat_map(each[None], lattice(shape, (1, 1, 1), (1, 1, 1)), grid=shape, patch=(1, 1, 1)) for each in inner
    ]
    assert volumes[0].compare(volumes[1]).ssim == pytest.approx(expected, abs=1e-6)
    values[0][4, 4] = np.nan
    assert replace(a, values=values[0], evaluated=None).compare(within[1]).ssim is None
    assert small().compare(small()).ssim is None


def test_ssim_of_a_volume_is_that_of_the_library() -> None:
    a, b = (np.random.default_rng(seed).random((7, 8, 9)) for seed in (0, 1))
    maps = [
        heat_map(each, lattice((7, 8, 9), (1, 1, 1), (1, 1, 1)), grid=(7, 8, 9), patch=(1, 1, 1), exact=True)
        for each in (a, b)
    ]
    assert maps[0].compare(maps[1]).ssim == pytest.approx(structural_similarity(a, b, data_range=np.ptp(b)), abs=1e-5)


def test_what_may_differ_may_be_compared() -> None:
    other = small(model="other", exact=False, baseline=0.4, query="..", source="b.png", label="cat")
    assert (small() - other).plot().axes[0].get_title().splitlines()[0] == "tabby / cat (281)"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (small(score="drop"), r"score probability and drop; compute both with the same SCORE"),
        (small(class_index=3), r"class 281 and 3; name the classes"),
        (several(2), r"class 281 and \(0, 1\)"),
        (
            heat_map(np.zeros((3, 4)), lattice((7, 9), (3, 3), (2, 2)), grid=(8, 10), patch=(3, 3), stride=(2, 2)),
            "patch",
        ),
        (small(image=np.zeros((9, 10, 3), np.uint8)), r"image size 8 x 10 and 9 x 10"),
        (small(source_box=(0.0, 1.0, 8.0, 10.0)), "source box"),
        (volume(), "axes 2 and 3; both maps"),
        (replace(small(), stride=(1, 1)), r"stride \(2, 2\) and \(1, 1\)"),
        (
            heat_map(np.zeros((1, 4)), lattice((4, 10), (4, 4), (2, 2)), grid=(8, 10), patch=(4, 4), stride=(2, 2)),
            "their positions differ \\(3x4 and 1x4\\)",
        ),
    ],
)
def test_maps_that_are_not_aligned_are_refused_with_the_reason(other: HeatMap, said: str) -> None:
    for call in (lambda: small() - other, lambda: small().compare(other)):
        with pytest.raises(ExecutionError, match=f"cannot be compared: .*{said}|cannot be compared: {said}"):
            call()


@pytest.mark.parametrize("tolerance", [-1, np.nan, "1", True])
def test_a_wrong_tolerance_is_refused(tolerance: Any) -> None:
    with pytest.raises(ExecutionError, match="tolerance must be a number from 0"):
        small().compare(small(), tolerance)


def test_other_things_are_no_heat_maps() -> None:
    with pytest.raises(ExecutionError, match="with another heat map, not with int"):
        small().compare(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        small() - "map"  # type: ignore[operator]
    np.testing.assert_array_equal(small() - small().values, np.where(np.isnan(small().values), np.nan, 0))


@pytest.mark.parametrize("score", ["probability", "drop", "logit", "logit_drop"])
def test_a_difference_is_drawn_symmetric_about_none(score: Any) -> None:
    """Red is where the first map has the stronger effect."""
    sign = 1 if score.endswith("drop") else -1
    first = heat_map([0.5 + sign * 0.25, 0.5], [[0, 0], [4, 4]], grid=(8, 8), patch=(4, 4), score=score)
    second = replace(first, values=np.full(2, 0.5, np.float32))
    overlay = (first - second).plot().axes[0].images[1]
    assert overlay.get_clim() == (-0.25, 0.25)
    colours = overlay.to_rgba(overlay.get_array())
    np.testing.assert_allclose(colours[0, 0, :3], RED, atol=0.02)
    np.testing.assert_allclose(colours[7, 7, :3], NEUTRAL, atol=0.02)
    assert np.isnan(first.upsample()[0, 7]) and overlay.get_array().mask[0, 7]
    tiny = replace(first, values=second.values + np.float32(1e-7))
    assert (tiny - second).plot().axes[0].images[1].get_clim() == pytest.approx(
        (-0.1, 0.1) if score.startswith("logit") else (-0.01, 0.01)
    )


def test_a_difference_of_many_classes_says_how_many_are_drawn() -> None:
    assert "16 of 18 classes" in (several(18) - several(18)).plot().get_suptitle()


def test_a_difference_is_saved_as_a_picture_or_data(tmp_path: Path) -> None:
    first, second = several(2), several(2, model="other", baseline=(0.1, 0.2))
    difference = first - second
    with Image.open(difference.save(tmp_path / "x.png", range=0.5, caption=False)) as picture:
        assert picture.text["Model"] == "mine minus other"  # type: ignore[attr-defined]
    with np.load(difference.save(tmp_path / "x.npz"), allow_pickle=False) as file:
        np.testing.assert_array_equal(file["values"], difference.values)
        np.testing.assert_array_equal(file["baseline"], [[0.5, 0.5], [0.1, 0.2]])
        assert list(file["model"]) == ["mine", "other"]
        page = (Path(__file__).parents[2] / "docs" / "pictures.md").read_text(encoding="utf-8")
        assert [key for key in file.files if f"`{key}`" not in page] == []
    with pytest.raises(ExecutionError, match="extension"):
        difference.save(tmp_path / "x.bmp")
    with pytest.raises(ExecutionError):
        HeatMap.load(tmp_path / "x.npz")
    assert difference._repr_png_().startswith(b"\x89PNG")


@given(pairs())
def test_a_data_frame_of_a_difference_has_both_maps(pair: tuple[HeatMap, HeatMap]) -> None:
    pytest.importorskip("pandas")
    difference = pair[0] - pair[1]
    frame = difference.to_dataframe()
    assert list(frame.columns) == ["image", "class_index", "label", *pair[0].axes, "first", "second", "difference"]
    values = difference.values[~np.isnan(difference.values)]
    np.testing.assert_array_equal(frame["difference"].to_numpy(), values)
    np.testing.assert_array_equal((frame["first"] - frame["second"]).to_numpy(), values)
