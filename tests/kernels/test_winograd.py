"""Minimal filtering: the transforms multiply polynomials, the kernel convolves, and the tiling is the cheapest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from kdb.kernels.base import ConvolutionSpec, Sliding, Weight
from kdb.kernels.cpu import winograd
from kdb.kernels.cpu.backend import CpuBackend


@pytest.mark.parametrize(
    ("taps", "m"), [(taps, m) for taps in winograd.TAPS for m in winograd.sizes(taps, winograd.MOST_ALONE)]
)
def test_the_transforms_multiply_polynomials(taps: int, m: int) -> None:
    draw = np.random.default_rng(0)
    x, g = draw.normal(size=m), draw.normal(size=taps)
    evaluate, weigh, interpolate = winograd.transforms(m, taps)
    np.testing.assert_allclose(interpolate @ ((weigh @ g) * (evaluate @ x)), np.convolve(x, g), atol=1e-12)
    assert max(np.abs(evaluate).max(), np.abs(interpolate).max()) <= 2


kernels = st.tuples(*[st.sampled_from(winograd.TAPS)] * 2).filter(lambda kernel: kernel != (1, 1))


@given(
    kernel=kernels,
    size=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    margins=st.tuples(*[st.integers(0, 8)] * 4),
    n=st.integers(1, 6),
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 99),
)
def test_it_convolves(
    kernel: tuple[int, int],
    size: tuple[int, int],
    margins: tuple[int, int, int, int],
    n: int,
    channels: tuple[int, int],
    seed: int,
) -> None:
    top, left, bottom, right = margins
    assume(size[0] + top + bottom >= kernel[0] and size[1] + left + right >= kernel[1])
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, *size, channels[0])).astype(np.float32)
    w = draw.normal(size=(channels[1], channels[0], *kernel)).astype(np.float32)
    framed = torch.nn.functional.pad(torch.tensor(x).double().permute(0, 3, 1, 2), (left, right, top, bottom))
    wanted = torch.nn.functional.conv2d(framed, torch.tensor(w).double()).permute(0, 2, 3, 1).numpy()
    found = winograd.convolve(x, ConvolutionSpec(Weight(w), None, Sliding(kernel), 1, margins))
    assert found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_allclose(found, wanted, atol=2e-4 * np.abs(w).sum(axis=(1, 2, 3)).max())


def test_its_rounding_is_that_of_few_points() -> None:
    """What the choice of points is worth: against float64, relative to the output's deviation."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(8, 12, 12, 64)).astype(np.float32)
    for kernel, bound in (((3, 3), 6e-5), ((1, 7), 8e-5), ((5, 5), 2e-4)):
        w = draw.normal(size=(32, 64, *kernel)).astype(np.float32)
        margins = (kernel[0] - 1, kernel[1] - 1) * 2
        found = winograd.convolve(x, ConvolutionSpec(Weight(w), None, Sliding(kernel), 1, margins))
        planes = torch.tensor(x).double().permute(0, 3, 1, 2)
        wanted = torch.nn.functional.conv2d(planes, torch.tensor(w).double(), padding=margins[:2])
        error = np.abs(found - wanted.permute(0, 2, 3, 1).numpy()).max() / wanted.std().item()
        assert error < bound, (kernel, error)


@given(x=st.integers(1, 30), y=st.integers(1, 30), kernel=kernels)
def test_the_tiling_covers_the_input_and_none_is_cheaper(x: int, y: int, kernel: tuple[int, int]) -> None:
    found = winograd.tiling(y, x, kernel, 64, 32)
    for count, inputs, length in zip(found.counts, found.inputs, (y, x), strict=True):
        assert (count - 1) * inputs < length <= count * inputs
    for my, mx in winograd.tiles(kernel):
        points = (my + kernel[0] - 1) * (mx + kernel[1] - 1)
        assert found.macs <= -(-y // my) * -(-x // mx) * points * (64 * 32 + my * mx * 64 + points * 32)


def test_it_is_offered_where_it_applies() -> None:
    backend = CpuBackend()
    assert winograd.WINOGRAD in backend.kernels.convolution(Sliding((3, 3)), 1)
    for sliding, groups in (
        (Sliding((3, 3), stride=(2, 2)), 1),
        (Sliding((3, 3), dilation=(2, 2)), 1),
        (Sliding((3, 3)), 2),
        (Sliding((1, 1)), 1),
        (Sliding((2, 2)), 1),
        (Sliding((11, 11)), 1),
    ):
        assert winograd.WINOGRAD not in backend.kernels.convolution(sliding, groups)
