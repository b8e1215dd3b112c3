"""SSIM of maps with one to three axes: scikit-image's, slice by slice along axes shorter than its window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from kdb.results.similarity import ssim, windows

seeds = st.integers(0, 2**16)
long = st.integers(7, 10)


def pair(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    exact = draw.normal(size=shape)
    return exact + 0.3 * draw.normal(size=shape), exact


@given(shape=st.lists(long, min_size=1, max_size=3).map(tuple), seed=seeds)
def test_it_is_scikit_images(shape: tuple[int, ...], seed: int) -> None:
    found, exact = pair(shape, seed)
    assert ssim(found, exact, len(shape)) == structural_similarity(found, exact, data_range=float(np.ptp(exact)))
    assert ssim(exact, exact, len(shape)) == 1


@given(short=st.integers(1, 6), at=st.integers(0, 2), shape=st.tuples(long, long), seed=seeds)
def test_along_a_short_axis_it_is_the_mean_of_slices(short: int, at: int, shape: tuple[int, int], seed: int) -> None:
    whole = (*shape[:at], short, *shape[at:])
    assert windows(whole) == (*[7] * at, 1, *[7] * (2 - at))
    found, exact = pair(whole, seed)
    slices = [
        structural_similarity(a, b, data_range=float(np.ptp(exact)))
        for a, b in zip(np.moveaxis(found, at, 0), np.moveaxis(exact, at, 0), strict=True)
    ]
    assert ssim(found, exact, 3) == pytest.approx(np.mean(slices), abs=1e-12)


@pytest.mark.parametrize("shape", [(20,), (9, 8), (7, 8, 9)])
def test_of_several_classes_the_lowest_counts(shape: tuple[int, ...]) -> None:
    found, exact = pair((3, *shape), 0)
    each = [ssim(a, b, len(shape)) for a, b in zip(found, exact, strict=True)]
    assert ssim(found, exact, len(shape)) == min(each) < max(each)


@pytest.mark.parametrize("shape", [(6,), (6, 6), (1, 6, 2)])
def test_maps_without_an_axis_as_long_as_the_window_have_none(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="7"):
        ssim(*pair(shape, 0), len(shape))
