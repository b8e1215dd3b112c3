"""Fewer bits, where a query permits them: how far off kernels and maps may be, and that views keep all of theirs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

import kdb
from benchmarks import photos
from kdb.kernels.base import ConvolutionSpec, Sliding, Weight
from kdb.kernels.cpu import library
from kdb.kernels.cpu.backend import CpuBackend
from kdb.kernels.cpu.dense import DENSE_BF16
from kdb.kernels.cpu.direct import BF16
from kdb.models import efficientnet_lite
from tests.problems import on_a_lattice
from tests.support import normal

BITS = 8
"""Of bfloat16's mantissa: a rounding is off by 2**-9 at most, relative to the number."""


@pytest.mark.skipif(not library.multiplies_bf16(), reason="this processor does not multiply in bfloat16")
@settings(max_examples=30)
@given(
    st.sampled_from([((3, 3), (1, 1), 1), ((1, 1), (1, 1), 1), ((3, 3), (2, 2), 1), ((3, 3), (1, 1), 8)]),
    st.tuples(*[st.integers(0, 2)] * 4),
    st.integers(1, 3),
    st.booleans(),
)
def test_convolutions(
    form: tuple[tuple[int, int], tuple[int, int], int], margins: tuple[int, int, int, int], n: int, bias: bool
) -> None:
    kernel, stride, groups = form
    top, left, bottom, right = margins
    x, w, b = normal(0, n, 5, 6, 8), normal(1, 16, 8 // groups, *kernel), normal(2, 16)
    padded = F.pad(torch.tensor(x).permute(0, 3, 1, 2).double(), (left, right, top, bottom))
    shift = torch.tensor(b).double() if bias else None
    wanted = F.conv2d(padded, torch.tensor(w).double(), shift, stride, 0, 1, groups).permute(0, 2, 3, 1).numpy()
    sizes = F.conv2d(padded.abs(), torch.tensor(w).double().abs(), None, stride, 0, 1, groups).permute(0, 2, 3, 1)
    backend = CpuBackend(reduced=True)
    spec = ConvolutionSpec(Weight(w), Weight(b) if bias else None, Sliding(kernel, stride), groups, margins)
    found = BF16.evaluate(backend, x, spec)
    # Two roundings a product, one of the bias, and one or two of the sum.
    allowed = 1.5 * 2.0**-BITS * (sizes.numpy() + np.abs(wanted) + (np.abs(b) if bias else 0)) + 1e-6
    assert found.dtype == np.float32 and (np.abs(found - wanted) <= allowed).all()


def test_dense() -> None:
    x, w, b = normal(0, 2, 1, 3, 64), normal(1, 10, 64), normal(2, 10)
    found = DENSE_BF16.run(CpuBackend(reduced=True), x, Weight(w), Weight(b))
    allowed = 2.0**-BITS * (np.abs(x) @ np.abs(w).T + np.abs(b))
    assert (np.abs(found - (x.astype(np.float64) @ w.T + b)) <= allowed).all()


def test_only_deltas_are_rounded_and_only_where_it_is_permitted() -> None:
    convolution = next(node.operator for node in on_a_lattice().network if node.operator.label == "convolution")
    for backend in (CpuBackend(), CpuBackend(native=True, reduced=True)):
        assert BF16 not in convolution.kernels(backend)
    reduced = CpuBackend(reduced=True)
    assert (BF16 in convolution.kernels(reduced)) == library.multiplies_bf16()
    assert BF16 not in convolution.evaluation_kernels(reduced)


@pytest.mark.skipif("efficientnet_lite0" not in efficientnet_lite.available(), reason="the extra demo is not installed")
def test_a_trained_network_keeps_its_map() -> None:
    query = "OCCLUDE $image WITH patch(32, 32) STRIDE 16 USING efficientnet_lite0"
    db, image = kdb.connect(), {"image": photos.photo("chelsea")}
    exact = db.execute(f"{query} PRECISION fp32", image)
    kernels = {}
    for precision in ("bf16", "tf32"):
        found = db.execute(f"{query} PRECISION {precision}", image)
        kernels[precision] = found.stats.kernels
        assert exact.exact and not found.exact
        spread = float(np.ptp(exact.values))
        assert structural_similarity(exact.values, found.values, data_range=spread) >= 0.999
    assert "bf16" not in kernels["tf32"], "a CPU has no TF32, and a permission for it is none for bf16"
    assert ("bf16" in kernels["bf16"]) == library.multiplies_bf16()
