"""OcclusionSensitivity by kdb, as far as it can be told without MONAI: windows, modes, mistakes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import kdb
from kdb.errors import BindError, ExecutionError, FullInferenceWarning, ModelError
from kdb.monai import OcclusionSensitivity
from kdb.monai.modes import gaussian_dip
from kdb.monai.windows import Windows, bind_windows, central, even


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def classifier() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = [nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2), nn.ReLU()]
        return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).eval()


# --- windows -----------------------------------------------------------------------------------------------------


@st.composite
def window_sets(draw: st.DrawFn) -> Windows:
    size = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    overlap = tuple(draw(st.sampled_from([0, 0.25, 0.6])) for _ in size)
    if draw(st.booleans()):
        return bind_windows(tuple(draw(st.integers(1, n)) for n in size), overlap, None, size)
    b_box = []
    for n in size:
        first = draw(st.integers(-2, n - 1))
        b_box += [first, draw(st.sampled_from([-1, *range(max(first, 0) + 1, n + 3)]))]
    return bind_windows(draw(st.integers(1, 9)), overlap, b_box, size)


@given(window_sets())
def test_windows_lie_in_their_region_and_cover_the_box(windows: Windows) -> None:
    first, end = (np.array([getattr(part, side) for part in windows.region]) for side in ("start", "stop"))
    assert (windows.positions >= first).all() and (windows.positions + windows.mask <= end).all()
    assert len(np.unique(windows.positions, axis=0)) == len(windows)
    covered = np.zeros(end, bool)
    for at in windows.positions:
        covered[tuple(map(slice, at, at + windows.mask))] = True
    assert covered[windows.box].all()


@given(window_sets(), st.sampled_from([even, central]))
def test_the_mean_is_over_the_windows_that_cover_a_cell(windows: Windows, weighted: Any) -> None:
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(len(windows), 2)))
    weights = weighted(windows).double()
    size = [part.stop for part in windows.region]
    total, weight = np.zeros((2, *size)), np.zeros(size)
    for value, at in zip(values.numpy(), windows.positions, strict=True):
        for inside in np.ndindex(windows.mask):
            total[:, *(at + inside)] += value * float(weights[inside])
            weight[*(at + inside)] += float(weights[inside])
    with np.errstate(invalid="ignore"):
        truth = (total / weight)[:, *windows.box]
    np.testing.assert_allclose(windows.blended(values, weights)[0], truth, rtol=1e-9)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=3))
def test_the_dip_hides_the_centre_and_leaves_the_farthest_edge(mask: list[int]) -> None:
    dip = gaussian_dip(tuple(mask))
    assert dip.shape == tuple(mask) and float(dip[*(n // 2 for n in mask)]) == 0
    assert float(dip.min()) >= 0 and float(dip.max()) == (1 if max(mask) > 1 else 0)


# --- modes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [True, False])
def test_a_function_of_the_image_and_the_part(fast: bool) -> None:
    def halved(image: Tensor, part: Tensor) -> Tensor:
        assert image.shape == (1, 2, 12, 15) and part.shape == (1, 2, 4, 6)
        return part / 2 + image.max()

    model, image = classifier(), drawn(1, 2, 12, 15)
    occlusion = OcclusionSensitivity(
        model if fast else model.forward, (4, 6), mode=halved, overlap=0, activate=False, verbose=False
    )
    if fast:
        found, most = occlusion(image)
    else:
        with pytest.warns(FullInferenceWarning, match="plain"):
            found, most = occlusion(image)
    assert occlusion.report is not None and occlusion.report.incremental == fast
    hidden = image.clone()
    hidden[..., 4:8, 6:12] = hidden[..., 4:8, 6:12] / 2 + image.max()
    torch.testing.assert_close(found[0, :, 5, 7], model(hidden)[0].detach(), rtol=1e-4, atol=1e-6)
    assert torch.equal(most, found.argmax(1, keepdim=True))


@pytest.mark.parametrize("function", ["mode", "activate"])
def test_a_function_that_fails_is_told_from_the_model(function: str) -> None:
    def failing(*given: Tensor) -> Tensor:
        raise ValueError("no such part")

    with pytest.raises(ExecutionError, match=f"{function} fails on .*no such part"), pytest.warns():
        OcclusionSensitivity(lambda x: x.mean((2, 3)), 4, verbose=False, **{function: failing})(drawn(1, 2, 8, 8))


# --- the call ----------------------------------------------------------------------------------------------------


def test_progress_is_shown_unless_it_is_not_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    model, image = classifier(), drawn(1, 2, 12, 15)
    OcclusionSensitivity(model, 4, overlap=0, verbose=False)(image)
    assert capsys.readouterr().err == ""
    OcclusionSensitivity(model, 4, overlap=0)(image)
    assert "| 12/12 " in capsys.readouterr().err


def test_why_not_says_it_beforehand() -> None:
    model, image = classifier(), drawn(1, 2, 12, 15)
    assert OcclusionSensitivity(model.train(), 4).why_not(image) is None, "it is put into eval mode"
    assert model.training
    assert "float64" in str(OcclusionSensitivity(classifier().double(), 4).why_not(image.double()))


@pytest.mark.parametrize(
    "mistake",
    [
        *({"mask_size": each} for each in [0, -1, (4,), (4, 4, 4), 4.5, "4", None, 9]),
        *({"overlap": each} for each in [1, -0.1, "x", (0.5,), None, True]),
        *({"mode": each} for each in ["median", None, True, [0]]),
        *({"n_batch": each} for each in [0, 1.5, True, None]),
        *(
            {"b_box": each}
            for each in [[0, 4], [0, 4, 0, 4, 0, 4], [4, 4, 0, 4], [0, 0, 0, 4], [9, -1, 0, 4], "abcd", 4]
        ),
        *(
            {"x": each}
            for each in [drawn(2, 2, 8, 8), drawn(2, 8), torch.zeros(1, 2, 8, 8, dtype=torch.int64), [[1.0]]]
        ),
    ],
    ids=str,
)
def test_a_mistake_is_a_bind_error_that_names_the_argument(mistake: dict[str, Any]) -> None:
    (name,) = mistake
    called = {key: value for key, value in mistake.items() if key in ("x", "b_box")}
    made = {key: value for key, value in mistake.items() if key not in called}
    with pytest.raises(BindError, match=rf"\b{name}\b"):
        OcclusionSensitivity(classifier(), **({"mask_size": 4, "verbose": False} | made))(
            **({"x": drawn(1, 2, 8, 8)} | called)
        )


def test_what_is_no_classifier_is_refused() -> None:
    with pytest.raises(BindError, match="function"):
        OcclusionSensitivity("resnet18")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"\[1, K\].*\[1, 2, 8, 8\]"):
        OcclusionSensitivity(nn.Identity(), 4)(drawn(1, 2, 8, 8))
    with pytest.raises(ModelError, match=r"\[1, 3, 8, 8\]") as caught:
        OcclusionSensitivity(classifier(), 4)(drawn(1, 3, 8, 8))
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_it_is_found_by_name_and_loads_neither_torch_nor_monai_before_it_must() -> None:
    code = "import sys, kdb; assert 'torch' not in sys.modules; kdb.monai.OcclusionSensitivity"
    code += "; assert 'monai' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert kdb.monai.OcclusionSensitivity is OcclusionSensitivity
