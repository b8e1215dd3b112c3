"""captum's Occlusion by kdb: the same attributions as captum's own, fast where it says so, refused where it must be."""

from __future__ import annotations

import copy
import itertools
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import Occlusion as Reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import kdb
from kdb.captum import Occlusion
from kdb.captum.arguments import Windows
from kdb.errors import BindError, FullInferenceWarning, Interrupted, ModelError
from kdb.system.progress import ProgressBar
from tests.networks import Branches, Residual, modules
from tests.support import examples

Call = tuple[nn.Module, Tensor, dict[str, Any]]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network(channels: int = 3, outputs: int = 4) -> nn.Sequential:
    """Small, but with every way to join and pool."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        parts = [nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), Residual(body)]
        parts += [Branches(nn.Conv2d(8, 4, 1)), nn.Conv2d(12, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
        return nn.Sequential(*parts, nn.Flatten(), nn.Linear(8, outputs)).eval()


@pytest.fixture
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FullInferenceWarning)
        yield


def compared(model: Callable[..., Any], inputs: Any, windows: Any, **asked: Any) -> Occlusion:
    """Ours and captum's on the same call agree in type, shape, dtype and value; what computed ours."""
    occlusion = Occlusion(model)
    ours = occlusion.attribute(inputs, windows, **asked)
    theirs = Reference(model).attribute(inputs, windows, **asked)
    assert isinstance(ours, tuple) == isinstance(theirs, tuple) == isinstance(inputs, tuple)
    pairs = zip(ours, theirs, strict=True) if isinstance(ours, tuple) else [(ours, theirs)]
    for mine, reference in pairs:
        assert mine.dtype == reference.dtype and not mine.requires_grad
        finite = reference[reference.isfinite()]
        span = float(finite.max() - finite.min()) if len(finite) else 0.0
        torch.testing.assert_close(mine, reference, rtol=1e-5, atol=1e-4 * span + 1e-7)
    return occlusion


# --- windows -----------------------------------------------------------------------------------------------------


@st.composite
def window_sets(draw: st.DrawFn) -> Windows:
    size = tuple(draw(st.lists(st.integers(1, 7), max_size=3)))
    shape = tuple(draw(st.integers(1, n)) for n in size)
    strides = tuple(draw(st.integers(1, w if w < n else 9)) for w, n in zip(shape, size, strict=True))
    return Windows(shape, strides, size)


@given(window_sets())
def test_the_mean_is_over_the_windows_that_cover_an_element(windows: Windows) -> None:
    values = np.random.default_rng(0).normal(size=(2, *windows.counts))
    flat = values.reshape((2, -1), order="F")
    total, count = np.zeros((2, *windows.size)), np.zeros(windows.size)
    for number in range(len(windows)):
        place = windows.place(number)
        total[(slice(None), *place)] += flat[:, number].reshape(2, *([1] * len(windows.size)))
        count[place] += 1
    assert (count > 0).all()
    np.testing.assert_allclose(windows.mean(values), total / count, rtol=1e-12, atol=1e-12)


@given(window_sets())
def test_windows_begin_at_the_corner_and_end_at_the_far_edge(windows: Windows) -> None:
    for starts, length, step, n in zip(windows.starts, windows.shape, windows.strides, windows.size, strict=True):
        assert starts[0] == 0 and (np.diff(starts) == step).all()
        assert starts[-1] < n <= starts[-1] + length
        assert len(starts) == 1 or starts[-2] + length < n


# --- the engine's attributions -----------------------------------------------------------------------------------


@st.composite
def calls(draw: st.DrawFn) -> Call:
    size = (draw(st.integers(6, 20)), draw(st.integers(6, 20)))
    module = draw(modules(size)).eval()
    count = draw(st.integers(1, 3))
    images = drawn(count, 3, *size, seed=draw(st.integers(0, 9)))
    window = (draw(st.integers(1, 3)), draw(st.integers(2, size[0])), draw(st.integers(2, size[1])))
    strides = tuple(
        draw(st.integers((w + 1) // 2, w if w < n else 2 * n)) for w, n in zip(window, (3, *size), strict=True)
    )
    plain, whole = drawn(1, 3, 1, 1, seed=1), drawn(1, 3, *size, seed=2)
    baseline = draw(st.sampled_from([None, 0.7, 2, plain, whole, drawn(count, 3, *size, seed=3), images]))
    classes = st.integers(0, 3)
    each = draw(st.lists(classes, min_size=count, max_size=count))
    target = draw(st.sampled_from([None, each[0], (each[0],), each, [(k,) for k in each], torch.tensor(each)]))
    asked = {"sliding_window_shapes": window, "strides": strides, "baselines": baseline, "target": target}
    return module, images, asked


@pytest.mark.slow
@settings(max_examples=examples(5, 12), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(calls(), st.integers(1, 2))
def test_random_networks_have_captums_attributions(call: Call, threads: int) -> None:
    module, images, asked = call
    occlusion = Occlusion(module)
    occlusion.settings.set("threads", threads)
    ours = occlusion.attribute(images, **asked)
    assert occlusion.report is not None and occlusion.report.incremental, occlusion.report
    double = copy.deepcopy(module).double()
    widened = asked["baselines"].double() if isinstance(asked["baselines"], Tensor) else asked["baselines"]
    truth = Reference(double).attribute(images.double(), **(asked | {"baselines": widened}), perturbations_per_eval=32)
    plain = Reference(module).attribute(images, **asked, perturbations_per_eval=32)
    assert ours.shape == plain.shape and ours.dtype == plain.dtype
    with torch.no_grad():
        scale = float(module(images).abs().max())
    bound = max(1e-4 * float(truth.max() - truth.min()), 4 * float((plain - truth).abs().max()), 1e-6 * scale)
    assert float((ours - truth).abs().max()) <= bound


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("window", [1, 2, 5])
def test_any_number_of_channels_and_windows_over_some_of_them(channels: int, window: int) -> None:
    covered = min(window, channels)
    occlusion = compared(network(channels), drawn(2, channels, 20, 23), (covered, 6, 5), strides=(1, 4, 3), target=2)
    assert occlusion.report is not None and occlusion.report.incremental
    assert occlusion.report.windows == 2 * (channels - covered + 1) * 5 * 7


def test_outputs_of_one_number_an_image_need_no_target() -> None:
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)[:, 1]

    for model in (Single().eval(), network(outputs=1)):
        occlusion = compared(model, drawn(2, 3, 16, 17), (3, 5, 4), strides=(1, 3, 2))
        assert occlusion.report is not None and occlusion.report.incremental


@pytest.mark.parametrize("target", [(2, 1, 2), (2, slice(0, 2)), 2, [(2, 1, 2), (0, 0, 0)], [(1, 1), (3, 0)]])
def test_outputs_of_more_axes_take_tuples(target: Any) -> None:
    occlusion = compared(network()[:6].eval(), drawn(2, 3, 12, 14), (3, 4, 4), strides=(3, 4, 4), target=target)
    assert occlusion.report is not None and occlusion.report.incremental


def test_the_engine_is_used_and_saves_work() -> None:
    model, images, calls_ = network(), drawn(1, 3, 48, 64), []
    model[0].register_forward_hook(lambda *_: calls_.append(1))
    occlusion = Occlusion(model)
    first = occlusion.attribute(images, (3, 8, 8), (3, 4, 4), target=1)
    calls_.clear()  # tracing calls the model too
    again = occlusion.attribute(images, (3, 8, 8), (3, 4, 4), target=1)
    report = occlusion.report
    assert report is not None and report.incremental and report.why_not is None and report.windows == 11 * 15
    assert report.work is not None and report.work.executed_macs < report.work.naive_macs / 2
    assert len(calls_) == 1  # the unmodified image
    assert torch.equal(first, again)
    assert "incremental" in str(report) and str(report.windows) in str(report)


def test_several_targets_come_from_one_run() -> None:
    model, images = network(), drawn(1, 3, 20, 20)
    occlusion = Occlusion(model)
    every = occlusion.attribute(images, (3, 6, 6), (3, 3, 3))
    macs = occlusion.report.work.executed_macs  # type: ignore[union-attr]
    assert every.shape == (4, 3, 20, 20)
    for k in range(4):
        alone = Occlusion(model)
        torch.testing.assert_close(alone.attribute(images, (3, 6, 6), (3, 3, 3), target=k)[0], every[k])
        assert alone.report.work.executed_macs == macs  # type: ignore[union-attr]


def test_weights_and_layers_changed_between_calls_are_noticed() -> None:
    model, images = network(), drawn(2, 3, 16, 16)
    occlusion = Occlusion(model)

    def ours() -> Tensor:
        found = occlusion.attribute(images, (3, 5, 5), (3, 3, 3), target=0)
        assert occlusion.report is not None and occlusion.report.incremental
        return found

    def theirs() -> Tensor:
        return Reference(model).attribute(images, (3, 5, 5), (3, 3, 3), target=0)

    before = ours()
    with torch.no_grad():
        model[0].weight.mul_(-1.5)
    torch.testing.assert_close(ours(), theirs(), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(ours(), before, atol=1e-4)
    model[1] = nn.Tanh().eval()
    torch.testing.assert_close(ours(), theirs(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("images", [drawn(2, 3, 12, 14).requires_grad_(), drawn(2, 3, 14, 12).transpose(2, 3)])
def test_any_tensor_will_do_with_gradients_or_without(images: Tensor) -> None:
    compared(network(), images, (3, 4, 5), strides=(3, 2, 3), target=1)
    with torch.no_grad():
        compared(network(), images, (3, 4, 5), strides=(3, 2, 3), target=1)


def test_inputs_of_several_sizes_and_more_than_are_kept() -> None:
    model = network()
    occlusion = Occlusion(model)
    for size in (12, 13, 14, 15, 16, 12):
        images = drawn(1, 3, size, size)
        theirs = Reference(model).attribute(images, (3, 4, 4), (3, 4, 4), target=0)
        ours = occlusion.attribute(images, (3, 4, 4), (3, 4, 4), target=0)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
        assert occlusion.report is not None and occlusion.report.incremental


# --- full inference ----------------------------------------------------------------------------------------------


class Dense(nn.Module):
    """A model of vectors, of one input or several, and of an additional number."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor, y: Tensor | None = None, shift: Any = 0.0, times: float = 1.0) -> Tensor:
        return self.second(torch.relu(self.first(x if y is None else x + 2 * y.flatten(1)) + shift)) * times


class TwoImages(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, a: Tensor, b: Tensor, add: float = 0.0) -> Tensor:
        return self.net(a + b.mean((2, 3), keepdim=True) + add)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("batch", [1, 2, 3, 50])
@pytest.mark.parametrize(
    ("window", "asked"),
    [
        ((1,), {"target": 0}),
        ((2,), {"target": [1, 0, 1], "baselines": 0.5}),
        ((2,), {"target": torch.tensor([1, 0, 1]), "strides": 2}),
        ((2,), {"target": torch.tensor(1), "strides": (2,)}),
        ((3,), {"target": torch.tensor([1]), "strides": (9,), "baselines": drawn(3, 3, seed=5)}),
        ((2,), {"baselines": drawn(1, 3, seed=5)}),
        (((2,),), {"strides": ((1,),), "baselines": drawn(3, seed=5)}),
        ((1,), {"additional_forward_args": (None, drawn(3, 4, seed=6), 0.5)}),
        ((1,), {"additional_forward_args": (None, drawn(4, seed=6)[:1].reshape(())), "target": 1}),
    ],
)
def test_vectors(window: Any, asked: dict[str, Any], batch: int) -> None:
    occlusion = compared(Dense(), drawn(3, 3), window, **asked, perturbations_per_eval=batch)
    assert occlusion.report is not None and not occlusion.report.incremental


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("windows", "asked"),
    [
        (((2,), (1, 2)), {"target": 1}),
        (((1,), (1, 3)), {"strides": (1, 2), "target": [0, 1], "baselines": (0.5, drawn(2, 1, 3, seed=4))}),
        (((2,), (1, 2)), {"strides": (2, (1, 1)), "additional_forward_args": 0.3, "target": 0}),
    ],
)
def test_several_inputs(windows: Any, asked: dict[str, Any], batch: int) -> None:
    inputs = (drawn(2, 3), drawn(2, 1, 3, seed=1))
    compared(Dense(), inputs, windows, **asked, perturbations_per_eval=batch)


@pytest.mark.usefixtures("quiet")
def test_three_inputs_and_a_tuple_of_one() -> None:
    def model(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return (a * b).sum(1) + (c**2).sum((1, 2)) * a[:, 0]

    inputs = (drawn(2, 3), drawn(2, 3, seed=1), drawn(2, 2, 4, seed=2))
    compared(model, inputs, ((2,), (1,), (1, 3)), perturbations_per_eval=2)
    compared(network(), (drawn(1, 3, 9, 9),), ((3, 4, 4),), strides=((3, 2, 2),), target=1)
    compared(model=lambda x: x**2, inputs=drawn(4), windows=((),))


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("result", [lambda x: x.sum(), lambda x: float(x.sum()), lambda x: x.sum((0, 2, 3))])
def test_one_output_for_a_whole_batch(result: Callable[[Tensor], Any]) -> None:
    model = lambda x: result(torch.relu(x))  # noqa: E731
    compared(model, drawn(2, 3, 5, 5), (3, 2, 3), strides=(1, 2, 2))
    with pytest.raises(BindError, match="perturbations_per_eval has to be 1"):
        Occlusion(model).attribute(drawn(2, 3, 5, 5), (3, 2, 3), perturbations_per_eval=2)


class Choosing(nn.Module):
    """Goes another way for other values, which no trace can tell."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if x[0, 0, 0, 0] > 0 else -x.flatten(1)


class Logarithm(nn.Module):
    """Minus infinity where all is covered."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(1, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(self.mix(x).abs().sum((2, 3)))


def partly_training() -> nn.Module:
    model = nn.Sequential(network(), nn.Flatten()).eval()
    model[1].train()
    return model


def widened(output: str) -> nn.Module:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: Tensor) -> Tensor:
            y = self.net(x)
            return y.double() if output == "double" else y.repeat(1, 1 << 15)

    return Wide().eval()


IMAGES = drawn(1, 3, 12, 12)
FULL: dict[str, tuple[Callable[..., Any], Any, Any, dict[str, Any], str]] = {
    "several inputs": (TwoImages().eval(), (IMAGES, IMAGES), ((3, 6, 6), (3, 6, 6)), {"target": 0}, "several inputs"),
    "arguments": (
        TwoImages().eval(),
        IMAGES,
        (3, 6, 6),
        {"target": 0, "additional_forward_args": IMAGES},
        "additional arguments",
    ),
    "a function": (network().forward, IMAGES, (3, 6, 6), {"target": 0}, "only a plain torch.nn.Module"),
    "training": (network().train(), drawn(2, 3, 12, 12), (3, 6, 6), {"target": 0}, "training mode"),
    "part in training": (
        partly_training(),
        IMAGES,
        (3, 6, 6),
        {"target": 0},
        "training mode",
    ),
    "vectors": (Dense().eval(), drawn(2, 3), (2,), {"target": 0}, "no batch of images"),
    "four axes": (nn.Flatten().eval(), drawn(1, 1, 2, 2, 3, 3), (1, 2, 2, 2, 2), {"target": 0}, "no batch of images"),
    "doubles": (network().double(), IMAGES.double(), (3, 6, 6), {"target": 0}, "float64"),
    "whole numbers": (nn.Flatten().eval(), torch.arange(9).reshape(1, 1, 3, 3), (1, 2, 2), {"target": 0}, "int64"),
    "a double output": (widened("double"), IMAGES, (3, 6, 6), {"target": 0}, "not float32"),
    "a large output": (widened("large"), IMAGES, (3, 6, 6), {"target": 0}, "131072 numbers"),
    "no trace": (Choosing().eval(), IMAGES, (3, 6, 6), {"target": 0}, "cannot be traced"),
    "no image": (nn.Sequential(nn.Flatten()).eval(), drawn(0, 1, 4, 4), (1, 2, 2), {"target": 0}, "no batch"),
    "infinity": (Logarithm().eval(), drawn(1, 1, 4, 4), (1, 4, 4), {"target": 0}, "not finite"),
    "infinite image": (Logarithm().eval(), torch.zeros(1, 1, 4, 4), (1, 4, 4), {"target": 0, "baselines": 1}, "finite"),
}


@pytest.mark.parametrize("case", FULL)
def test_full_inference_takes_over_and_says_why(case: str) -> None:
    model, inputs, windows, asked, why = FULL[case]
    if case == "training":
        model = copy.deepcopy(model)  # type: ignore[arg-type]
    with pytest.warns(FullInferenceWarning, match=why) as warned:
        occlusion = compared(model, inputs, windows, **asked)
    report = occlusion.report
    assert report is not None and not report.incremental and report.work is None
    assert re.search(why, report.why_not or "") and "full inference" in str(report)
    assert warned[0].filename == __file__  # the caller's line
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        occlusion.attribute(inputs, windows, **asked)  # warned of once


def test_a_model_that_changed_where_nobody_looks_is_not_taken_for_its_trace() -> None:
    hidden = threading.local()
    hidden.factor = 1.0

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x) * hidden.factor  # where no fingerprint reaches

    model = Scaled().eval()
    occlusion = Occlusion(model)
    occlusion.attribute(IMAGES, (3, 6, 6), target=0)
    assert occlusion.report is not None and occlusion.report.incremental
    for factor in (-2.0, 1.001):
        hidden.factor = factor
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ours = occlusion.attribute(IMAGES, (3, 6, 6), target=0)
        assert occlusion.report.incremental  # traced anew
        torch.testing.assert_close(ours, Reference(model).attribute(IMAGES, (3, 6, 6), target=0))


def test_why_not_says_it_beforehand() -> None:
    assert Occlusion(network()).why_not(IMAGES) is None
    assert "training mode" in (Occlusion(network().train()).why_not(IMAGES) or "")
    assert "additional" in (Occlusion(TwoImages().eval()).why_not(IMAGES, IMAGES) or "")
    assert "cannot be traced" in (Occlusion(Choosing().eval()).why_not(IMAGES) or "")


# --- progress ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("fast", [True, False])
def test_progress_is_shown_where_it_is_asked_for(fast: bool, capsys: pytest.CaptureFixture[str]) -> None:
    model = network()
    occlusion = Occlusion(model if fast else model.forward)
    occlusion.attribute(IMAGES, (3, 6, 6), (3, 3, 3), target=0, perturbations_per_eval=2)
    assert capsys.readouterr().err == ""
    occlusion.attribute(IMAGES, (3, 6, 6), (3, 3, 3), target=0, perturbations_per_eval=2, show_progress=True)
    shown = capsys.readouterr().err
    assert "| 0/9 " in shown and "| 9/9 " in shown and shown.endswith("windows/s]\n") and shown.count("\n") == 1


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("fast", [True, False])
def test_ctrl_c_leaves_it_usable(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(bar: ProgressBar, done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    model = network()
    occlusion = Occlusion(model if fast else model.forward)
    with monkeypatch.context() as patch:
        patch.setattr(ProgressBar, "__call__", pressed)
        with pytest.raises(Interrupted):
            occlusion.attribute(IMAGES, (3, 6, 6), (3, 3, 3), target=0, show_progress=True)
    theirs = Reference(model).attribute(IMAGES, (3, 6, 6), (3, 3, 3), target=0)
    torch.testing.assert_close(
        occlusion.attribute(IMAGES, (3, 6, 6), (3, 3, 3), target=0), theirs, rtol=1e-4, atol=1e-6
    )


# --- mistakes ----------------------------------------------------------------------------------------------------

SOUND: dict[str, Any] = {"inputs": drawn(2, 3, 8, 8), "sliding_window_shapes": (3, 4, 4), "target": 0}


@pytest.mark.parametrize(
    "mistake",
    [
        *({"sliding_window_shapes": each} for each in [(3, 9, 4), (4, 4), (3, 4, 4, 4), (0, 4, 4), (3.0, 4, 4), 4]),
        *({"sliding_window_shapes": each} for each in ["abc", (), ((3, 4, 4), (3, 4, 4)), (True, 4, 4), None]),
        *({"strides": each} for each in [(1, 5, 1), 5, 0, (1, 1), "2", 1.5, (1, 1, -1), ((1, 1, 1), (1, 1, 1)), ()]),
        *({"baselines": each} for each in ["x", torch.zeros(2, 5), (0, 0), torch.zeros(5, 3, 8, 8), [0]]),
        *({"target": each} for each in [4, -5, (0, 0), [0], [0, 1, 2], [], 1.5, True, "0", [0, (1,)], [0, 9]]),
        *({"target": each} for each in [torch.tensor([0.5, 1]), torch.tensor([[0, 1]]), torch.tensor([0, 1, 2])]),
        *({"perturbations_per_eval": each} for each in [0, 1.5, True, None]),
        *({"inputs": each} for each in [[[1.0]], np.zeros((1, 3, 8, 8), np.float32), torch.tensor(1.0), (), None]),
        {"inputs": (torch.zeros(1, 3, 8, 8), torch.zeros(2, 3, 8, 8)), "sliding_window_shapes": ((3, 4, 4),) * 2},
    ],
    ids=str,
)
def test_a_mistake_is_a_bind_error_that_names_the_argument(mistake: dict[str, Any]) -> None:
    with pytest.raises(BindError, match=next(iter(mistake))):
        Occlusion(network()).attribute(**(SOUND | mistake))


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(BindError, match="function"):
        Occlusion("resnet18")  # type: ignore[arg-type]
    with pytest.raises(BindError, match="gives NoneType"):
        Occlusion(lambda x: None).attribute(**SOUND)
    with pytest.raises(BindError, match="more indices"):
        Occlusion(lambda x: x.sum()).attribute(**SOUND)


def test_a_model_that_fails_is_a_model_error_with_its_cause() -> None:
    with pytest.raises(ModelError, match=r"\[2, 4, 8, 8\]") as caught:
        Occlusion(network()).attribute(drawn(2, 4, 8, 8), (4, 4, 4), target=0)
    assert isinstance(caught.value.__cause__, RuntimeError)


# --- the module --------------------------------------------------------------------------------------------------


def test_it_is_found_by_name_and_loads_neither_torch_nor_captum_before_it_must() -> None:
    code = "import sys, kdb; assert 'torch' not in sys.modules; kdb.captum.Occlusion"
    code += "; assert 'captum' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert kdb.captum.Occlusion is Occlusion


class OneCell(nn.Module):
    """One number of a dense output, which most windows do not reach."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)[:, 3, 20, 9][:, None]


@pytest.mark.parametrize("window", [4, 8], ids=["checked", "too few to be checked"])
def test_windows_that_do_not_reach_what_is_scored_change_nothing(window: int) -> None:
    """Each has the value of its own place: those that are not evaluated, too."""
    torch.manual_seed(0)
    model, x = OneCell().eval(), torch.randn(2, 3, 32, 40)
    occlusion = Occlusion(model)
    shapes = {"sliding_window_shapes": (3, window, window), "strides": (3, window, window)}
    found = occlusion.attribute(x, target=0, **shapes)
    assert occlusion.report.incremental
    with torch.no_grad():
        for y, left in itertools.product(range(0, 32, window), range(0, 40, window)):
            hidden = x.clone()
            hidden[:, :, y : y + window, left : left + window] = 0
            expected = (model(x) - model(hidden))[:, 0]
            torch.testing.assert_close(found[:, 0, y, left].float(), expected, rtol=1e-4, atol=1e-5)
