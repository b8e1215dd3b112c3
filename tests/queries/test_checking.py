"""Every map is compared with the model itself while it is made; where it differs it is evaluated in full, and right."""

from __future__ import annotations

import copy
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import kdb
from benchmarks.oracle import RANGE_BOUND, SCALE_BOUND
from kdb.captum import Occlusion
from kdb.execution.engine import Engine, default_settings
from kdb.execution.verification import FLAT, allowed, chosen, worst
from kdb.frontends import trace_cache
from kdb.kernels.cpu.deltas import CpuDeltas
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.models import catalog
from kdb.models.reference import ModuleReference
from kdb.operators.convolution import Convolution
from kdb.operators.pointwise import Pointwise
from kdb.operators.pooling import GlobalMean, MaxPool
from kdb.planner.rules import fold_batch_norm
from kdb.results.maps import HeatMap
from kdb.session.session import Session
from tests.problems import scattered
from tests.support import heat_map, normal

SIDE = 32
QUERY = "OCCLUDE $i WITH patch(8, 8) FILL gray STRIDE 3 USING m FOR ALL CLASSES SCORE logit"
FEW = "OCCLUDE $i WITH patch(8, 8) FILL gray STRIDE 12 USING m FOR ALL CLASSES SCORE logit"
IMAGE = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)


def network(*end: nn.Module) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = [nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
        head = [nn.Conv2d(8, 16, 3, padding=1), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)]
        net = nn.Sequential(*body, *head, *end).eval()
        nn.init.uniform_(net[1].running_var, 0.5, 2)
        return net


def session(module: nn.Module, **options: Any) -> Session:
    db = kdb.connect()
    db.execute("SET rule.few_positions = off")  # the model itself would evaluate the small maps
    db.register_model("m", module, input_size=(SIDE, SIDE), **options)
    return db


def truth(module: nn.Module, hm: HeatMap, fill: float = 128 / 255) -> np.ndarray:
    """What the module gives in float64 at each position of a map: [n, K]."""
    image = torch.from_numpy(hm.image / 255).permute(2, 0, 1)
    occluded = []
    for y, x in hm.positions.reshape(-1, 2):
        occluded.append(image.clone())
        occluded[-1][:, y : y + hm.patch[0], x : x + hm.patch[1]] = fill
    with torch.no_grad():
        found: np.ndarray = copy.deepcopy(module).double()(torch.stack(occluded)).numpy()
    return found


def assert_right(module: nn.Module, hm: HeatMap) -> None:
    expected = truth(module, hm)
    error = np.abs(hm.values.reshape(len(hm.values), -1).T - expected).max(axis=0)
    assert (error <= SCALE_BOUND * np.abs(expected).max(axis=0)).all()
    assert (error <= RANGE_BOUND * np.ptp(expected, axis=0)).all()


@contextmanager
def alarmed() -> Iterator[list[str]]:
    """Collects what VerificationWarnings say; there must be one."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield said
    said += [str(each.message) for each in caught if each.category is kdb.VerificationWarning]
    assert said, "no warning"


@pytest.fixture
def inferences(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images the model itself was given, call by call."""
    calls: list[int] = []
    logits = ModuleReference.logits

    def counted(reference: ModuleReference, images: np.ndarray) -> np.ndarray:
        calls.append(len(images))
        return logits(reference, images)

    monkeypatch.setattr(ModuleReference, "logits", counted)
    return calls


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module is exported each time that it is traced, as where no test keeps traces."""
    monkeypatch.setattr(catalog, "trace", trace_cache.trace)


# ---- what is compared


def test_a_map_is_compared_at_six_positions_and_as_it_is_in_one_batch(inferences: list[int]) -> None:
    hm = heat_map(session(network()), QUERY, i=IMAGE)
    assert hm.checked is not None and hm.checked[0] == 6 and 0 < hm.checked[1] < 0.5
    assert inferences == [7]


def test_of_a_small_map_the_unmodified_image_is_compared(inferences: list[int]) -> None:
    hm = heat_map(session(network()), FEW, i=IMAGE)
    assert hm.checked is not None and hm.checked[0] == 0 and 0 < hm.checked[1] < 0.5
    assert inferences == [1]


def test_an_image_is_compared_again_only_where_python_holds_the_module(inferences: list[int]) -> None:
    db = session(network())
    small = "OCCLUDE $i WITH patch(8, 8) AT $at USING "
    at = np.array([[3, 5], [20, 9]])
    for model, expected in (("efficientnet_lite0", [1]), ("m", [1, 1])):
        inferences.clear()
        first, second = (heat_map(db, small + model, i=IMAGE, at=at) for _ in range(2))
        assert inferences == expected and first.checked == second.checked


@pytest.mark.parametrize(("setting", "expected"), [("off", None), ("9", 9), ("auto", 6)])
def test_the_setting_says_at_how_many(setting: str, expected: int | None, inferences: list[int]) -> None:
    db = session(network())
    db.execute(f"SET verify = {setting}")
    checked = heat_map(db, QUERY, i=IMAGE).checked
    assert (None if checked is None else checked[0]) == expected
    assert sum(inferences) == (0 if expected is None else expected + 1)


def test_a_naive_plan_runs_the_model_itself(inferences: list[int]) -> None:
    db, module = session(network()), network()
    db.execute("SET rule.incremental = off")
    hm = heat_map(db, QUERY, i=IMAGE)
    assert hm.checked == (hm.values[0].size, 0.0) and sum(inferences) == 1 + hm.values[0].size
    assert_right(module, hm)
    assert "by the model itself" in db.explain(QUERY, {"i": IMAGE})


def test_of_an_approximate_map_only_exact_positions_are_compared(inferences: list[int]) -> None:
    db = session(network())
    sampled = heat_map(db, "OCCLUDE $i WITH patch(8, 8) FILL gray STRIDE 1 USING m APPROXIMATE TO SSIM 0.8", i=IMAGE)
    assert inferences == [7]
    assert sampled.checked is not None and sampled.checked[0] == 6 and sampled.checked[1] < 0.5
    limited = heat_map(db, QUERY + " THRESHOLD 0.5", i=IMAGE)
    assert limited.checked is not None and limited.checked[0] == 0
    coarse = heat_map(db, QUERY + " PRECISION bf16", i=IMAGE)
    assert coarse.checked is not None and coarse.checked[0] == 0


def test_a_round_of_few_positions_plans_for_the_check_of_the_whole_map() -> None:
    problem, engine = scattered(), Engine(default_settings())
    alone = engine.plan(problem.network, problem.positions, problem.patch)
    of_many = engine.plan(problem.network, problem.positions, problem.patch, asked=2000)
    assert alone.memory.checked == 1 and of_many.memory.checked == 7


def test_every_map_of_a_stream_is_compared() -> None:
    query = "OCCLUDE $i WITH patch(8, 8) FILL gray STRIDE 1 USING m SCORE logit"
    maps = list(session(network()).stream(query, {"i": IMAGE}))
    assert len(maps) > 1 and all(hm.checked is not None and hm.checked[1] < 0.5 for hm in maps)


def test_explain_says_what_is_compared_and_what_was_found() -> None:
    db = session(network())
    assert "6 positions and the unmodified image are compared" in db.explain(QUERY, {"i": IMAGE})
    assert "6 positions compared with the model itself: at worst" in db.explain(QUERY, {"i": IMAGE}, analyze=True)
    assert "the unmodified image is compared" in db.explain(FEW, {"i": IMAGE})


@given(st.integers(0, 99), st.integers(1, 30), st.integers(1, 9), st.booleans())
def test_positions_are_chosen_once_each_extremes_first(seed: int, n: int, count: int, placed: bool) -> None:
    rng = np.random.default_rng(seed)
    rows, doubts = rng.normal(size=(2, n)), rng.random(n) * (rng.random(n) < 0.3)
    rows[1] *= 5
    rows[:, rng.random(n) < 0.2] = np.nan
    there = np.flatnonzero(np.isfinite(rows[0]))
    places = rng.integers(0, 9, (n, 2)) if placed else None
    compared = rng.permutation(there)[:2].tolist()
    found = chosen(rows, doubts, count, seed, places, compared)
    assert len({*found}) == len(found) == min(count, len(there)) and {*found} <= {*there}
    if len(found) >= 2:
        assert {np.nanargmin(rows[1]), np.nanargmax(rows[1])} <= {*found}
    if len(found) >= 5 and doubts[there].any():
        assert there[doubts[there].argmax()] in found
    if len(found) >= 8:
        assert {*compared} <= {*found}


@given(st.integers(0, 99), st.integers(0, 79))
def test_a_single_wrong_value_of_a_smooth_map_is_chosen(seed: int, wrong: int) -> None:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:8, :10] / 10
    values = np.sin(3 * y + rng.random()) + np.cos(2 * x)
    values.reshape(-1)[wrong] += 0.7 * rng.choice([-1, 1])
    places = np.argwhere(np.ones((8, 10), bool))
    order = rng.permutation(80)
    for steps in ((1, 1), (1, 9), (16, 2)):  # whatever the strides are, and in whatever order
        found = chosen(values.reshape(1, -1)[:, order], np.zeros(80), 6, seed, (places * steps)[order])
        assert wrong in order[found]


def test_values_of_a_flat_map_that_are_not_flat_are_chosen() -> None:
    values = np.zeros((1, 200))
    values[0, [20, 77, 150]] = 0.3, 0.5, 0.4
    found = chosen(values, np.zeros(200), 6, 0, np.argwhere(np.ones((10, 20), bool)))
    assert {77, 150} <= {*found.tolist()}


@given(st.integers(0, 99))
def test_what_is_allowed_is_what_exact_promises(seed: int) -> None:
    rows = np.random.default_rng(seed).normal(3, 1, (4, 9))
    expected = np.minimum(SCALE_BOUND * np.abs(rows).max(axis=1), RANGE_BOUND * np.ptp(rows, axis=1))
    np.testing.assert_allclose(allowed(rows), expected)
    np.testing.assert_allclose(allowed(np.full((1, 5), 7.0)), FLAT * 7)


def test_before_a_check_fails_the_models_own_error_is_looked_for_elsewhere() -> None:
    """The model is off at some images alone, which are not among those that are compared."""
    coarse, exact = np.array([5.0, 5.0, 5.01]), np.full(3, 5.0)
    images = np.arange(3.0, dtype=np.float32).reshape(3, 1, 1, 1)
    asked = []

    def others() -> np.ndarray:
        asked.append(1)
        return images[1:]

    def of(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        return lambda given: values[given.reshape(-1).astype(int)][:, None]

    reference = SimpleNamespace(logits=of(coarse), in_float64=of(exact), several=nullcontext)

    def ratio(off: float) -> float:
        most, found = np.array([1e-3]), exact[None, :2] + off
        return float(worst(reference, lambda z: z.T, images[:2], found, most, 1, others).max())  # type: ignore[arg-type]

    assert ratio(0.9e-3) == pytest.approx(0.9) and not asked
    assert ratio(0.019) == pytest.approx(0.95) and asked
    assert ratio(0.021) == pytest.approx(1.05)


@pytest.mark.parametrize("in_float64", [True, False])
def test_in_doubt_twice_the_models_own_error_is_allowed(in_float64: bool) -> None:
    """The model is off by ``own`` in float32; what is found may be off by twice as much, and no more."""
    right, own = np.full((3, 1), 5.0), 1e-2
    calls: list[int] = []

    def logits(images: np.ndarray) -> np.ndarray:
        calls.append(len(images))
        return right[: len(images)] + (own if in_float64 or len(calls) == 1 else 0)

    reference = SimpleNamespace(
        logits=logits, in_float64=lambda images: right if in_float64 else None, several=nullcontext
    )
    images, most = np.zeros((3, 1, 1, 3), np.float32), np.array([1e-5])
    base = right if in_float64 else right + own

    def ratio(off: float) -> float:
        calls.clear()
        return float(worst(reference, lambda z: z.T, images, (base + off).T, most, 1).max())  # type: ignore[arg-type]

    assert ratio(1.9 * own) == pytest.approx(0.95)
    assert ratio(2.1 * own) == pytest.approx(1.05)


# ---- a fault is caught


def _delta(operator: type, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[pytest.MonkeyPatch], None]:
    def sabotage(patch: pytest.MonkeyPatch) -> None:
        delta = operator.delta  # type: ignore[attr-defined]
        patch.setattr(operator, "delta", lambda self, k, p, u: change(delta(self, k, p, u)))

    return sabotage


def _evaluated(operator: type, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[pytest.MonkeyPatch], None]:
    def sabotage(patch: pytest.MonkeyPatch) -> None:
        run = operator.evaluate  # type: ignore[attr-defined]
        patch.setattr(operator, "evaluate", lambda self, k, p, i, kernel, d: change(run(self, k, p, i, kernel, d)))

    return sabotage


def _one_channel(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values[..., 0] *= 1.2
    return values


def _one_row(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values[:, :1] = 0
    return values


def _folding(patch: pytest.MonkeyPatch) -> None:
    scaled = fold_batch_norm._scaled
    patch.setattr(fold_batch_norm, "_scaled", lambda weight, scale: scaled(weight, scale) * np.float32(1.02))


def _superimposed(patch: pytest.MonkeyPatch) -> None:
    whole = CpuDeltas.superimposed
    patch.setattr(CpuDeltas, "superimposed", lambda self, view, delta, boxes: whole(self, view, delta, boxes) * 1.01)


def traced(module: nn.Module) -> Session:
    """A session in which the module is traced already: a trace is compared with its module before it is used."""
    db = session(module)
    heat_map(db, FEW, i=IMAGE[::-1])
    return db


FAULTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "a channel of a mean": (_delta(GlobalMean, _one_channel), "the delta of layer 6 (global_mean"),
    "a row of a pool": (_delta(MaxPool, _one_row), "the delta of layer 3 (max_pool"),
    "an activation": (_delta(Pointwise, lambda values: values * 1.01), ""),
    "a rule": (_folding, "the rule fold_batch_norm"),
    "what crosses the cut": (_superimposed, ""),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_caught_named_and_the_map_is_right(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage, named = FAULTS[name]
    module = network()
    right = heat_map(session(module), QUERY, i=IMAGE)
    db = session(module) if name == "a rule" else traced(module)  # what rules made of a network is kept with it
    sabotage(monkeypatch)
    with alarmed() as said:
        hm = heat_map(db, QUERY, i=IMAGE)
    assert hm.checked is not None and hm.checked[1] > 1
    assert named in said[0] and "evaluated in full by the model" in said[0]
    assert hm.evaluated.all() and hm.exact
    assert_right(module, hm)
    np.testing.assert_allclose(hm.values, right.values, rtol=0, atol=1e-4 * np.abs(right.values).max())
    monkeypatch.undo()
    after = heat_map(session(module), QUERY, i=IMAGE)
    assert after.checked is not None and after.checked[1] < 1


@pytest.mark.usefixtures("anew")
def test_traced_anew_a_cosine_is_still_with_the_other_image(monkeypatch: pytest.MonkeyPatch) -> None:
    query = QUERY.partition(" FOR ")[0].partition(" SCORE ")[0] + " SCORE cosine TO $j"
    module, parameters = network(), {"i": IMAGE, "j": IMAGE[::-1].copy()}
    right = heat_map(session(module), query, **parameters)
    db = traced(module)
    _evaluated(Convolution, _one_channel)(monkeypatch)
    hm = heat_map(db, query, **parameters)
    assert hm.label == right.label == "cosine" and hm.checked is not None and hm.checked[1] < 1
    assert "its translation gives other values" in db.explain(query, parameters)
    np.testing.assert_allclose(hm.values, right.values, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize("query", [QUERY, FEW], ids=["map", "small map"])
def test_a_model_that_differs_from_its_trace_is_traced_anew(query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it had been changed; the new trace leaves to PyTorch what the fault is in."""
    module = network()
    db = traced(module)
    _evaluated(Convolution, _one_channel)(monkeypatch)
    hm = heat_map(db, query, i=IMAGE)
    assert hm.checked is not None and hm.checked[1] < 1
    assert_right(module, hm)
    assert "its translation gives other values" in db.explain(query, {"i": IMAGE})


@pytest.mark.parametrize("query", [QUERY, FEW], ids=["map", "small map"])
def test_a_fault_shows_in_the_unmodified_image(query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model that is not traced anew, since kdb alone holds it."""
    module = network()
    db = traced(module)
    db._catalog.find(syntax.ModelRef("m"), Arguments()).shared = False
    _evaluated(GlobalMean, _one_channel)(monkeypatch)
    with alarmed() as said:
        hm = heat_map(db, query, i=IMAGE)
    assert hm.checked is not None and hm.checked[1] > 1 and "layer 6 (global_mean)" in said[0]
    assert_right(module, hm)


def test_an_approximate_map_with_a_fault_is_evaluated_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    module = network()
    db = session(module)
    _delta(GlobalMean, _one_channel)(monkeypatch)
    with alarmed():
        hm = heat_map(db, QUERY.replace("STRIDE 3", "STRIDE 1") + " APPROXIMATE TO SSIM 0.8", i=IMAGE)
    assert hm.evaluated.all() and not hm.exact
    assert_right(module, hm)


class CopiedSoftmax(nn.Softmax):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).clone()


@pytest.mark.parametrize("end", [nn.Softmax(1), CopiedSoftmax(1), nn.LogSoftmax(1), nn.Sigmoid()])
def test_a_module_that_ends_with_its_activation_is_compared_before_it(
    end: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = session(network(end))
    assert (heat_map(db, QUERY, i=IMAGE).checked or (0, 9))[1] < 0.5
    _delta(GlobalMean, _one_channel)(monkeypatch)
    with alarmed():
        assert_right(network(), heat_map(db, QUERY, i=IMAGE))
    with alarmed():
        hm = heat_map(db, QUERY.replace("logit", "probability"), i=IMAGE)
    ending = nn.Softmax(1) if isinstance(end, nn.LogSoftmax) else end
    expected = ending(torch.from_numpy(truth(network(), hm))).numpy()
    np.testing.assert_allclose(hm.values.reshape(5, -1).T, expected, rtol=0, atol=1e-5)


class InFloat32Alone(nn.Module):
    """Does not run in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network()

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float64:
            raise TypeError("float32 alone")
        found: Tensor = self.body(x)
        return found


def test_a_module_that_does_not_run_in_float64_is_compared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    db = session(InFloat32Alone())
    assert (heat_map(db, QUERY, i=IMAGE).checked or (0, 9))[1] < 0.5
    _delta(GlobalMean, _one_channel)(monkeypatch)
    with alarmed():
        assert_right(network(), heat_map(db, QUERY, i=IMAGE))


class Hidden(nn.Module):
    """Reads something where no fingerprint looks."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.body(x * getattr(sys, "_kdb_test_scale"))  # noqa: B009
        return found


@pytest.mark.usefixtures("anew")
def test_a_change_that_no_fingerprint_shows_is_seen_in_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_kdb_test_scale", 1.0, raising=False)
    module = Hidden()
    db = session(module)
    before = heat_map(db, QUERY, i=IMAGE)
    monkeypatch.setattr(sys, "_kdb_test_scale", 0.5)
    after = heat_map(db, QUERY, i=IMAGE)
    assert after.checked is not None and after.checked[1] < 0.5  # traced anew, not evaluated in full
    assert after.model_identity != before.model_identity
    assert_right(module, after)
    small = heat_map(db, FEW, i=IMAGE)
    assert_right(module, small)


class Unpooled(nn.Module):
    """Puts values back to the places of the largest: of equal ones, as under a patch of one colour, to the first."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
            self.last = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        largest, places = F.max_pool2d(F.relu(self.first(x)), 2, return_indices=True)
        x = F.max_unpool2d(F.relu(self.second(largest)), places, 2)
        found: Tensor = self.last((x * torch.linspace(0, 1, x.shape[-1], dtype=x.dtype)).mean((2, 3)))
        return found


def test_what_picks_among_equal_values_is_evaluated_by_the_model() -> None:
    module = Unpooled()
    db = session(module)
    assert "takes the first of equal values" in db.explain(QUERY, {"i": IMAGE})
    hm = heat_map(db, QUERY, i=IMAGE)
    assert hm.checked == (hm.values[0].size, 0.0)
    assert_right(module, hm)


# ---- captum


def test_captums_attributions_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    module, images = network(), torch.from_numpy(normal(0, 2, 3, SIDE, SIDE))
    asked: dict[str, Any] = {"sliding_window_shapes": (1, 8, 8), "strides": (1, 4, 4), "target": 1}
    occlusion = Occlusion(module)
    right = occlusion.attribute(images, **asked)
    assert occlusion.report is not None and occlusion.report.checked is not None
    assert occlusion.report.checked[0] == 12 and occlusion.report.checked[1] < 0.5
    _delta(GlobalMean, _one_channel)(monkeypatch)
    with alarmed() as said:
        found = occlusion.attribute(images, **asked)
    assert "global_mean" in said[0]
    torch.testing.assert_close(found, right, rtol=0, atol=1e-5)
    assert not occlusion.report.incremental and (occlusion.report.checked or (0, 0))[1] > 1


# ---- the model itself


def test_the_reference_gives_what_the_module_gives() -> None:
    module, images = network(nn.Softmax(1)), normal(0, 4, 9, 9, 3)
    expected = module(torch.from_numpy(images).permute(0, 3, 1, 2)).detach().numpy()
    np.testing.assert_allclose(ModuleReference(module).logits(images), expected, rtol=1e-6)
    before = module[:-1](torch.from_numpy(images).permute(0, 3, 1, 2)).detach().numpy()
    np.testing.assert_allclose(ModuleReference(module, True).logits(images), before, rtol=1e-5, atol=1e-6)
    exact = ModuleReference(module).in_float64(images)
    assert exact is not None and np.abs(exact - expected).max() < 1e-6
    assert next(module.parameters()).dtype == torch.float32


def test_a_head_that_may_cancel_is_watched_and_others_are_not() -> None:
    class Cosine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = network()[:-1]

        def forward(self, x: Tensor) -> Tensor:
            return F.normalize(self.body(x)) @ F.normalize(torch.ones(16, 3), dim=0)

    assert "that nearly cancel what" not in session(network()).explain(QUERY, {"i": IMAGE})
    assert "that nearly cancel what" in session(Cosine()).explain(QUERY, {"i": IMAGE})


def test_what_stands_out_is_found_among_repeated_positions() -> None:
    places = np.stack(np.divmod(np.arange(400), 20), axis=1)
    values = np.hypot(*places.T)
    values[137] += 30
    rng = np.random.default_rng(0)
    picked = rng.permutation(np.concatenate([np.arange(400), rng.integers(0, 400, 2000)]))
    inside = np.sin(values)  # another row, of a smaller range
    found = chosen([values[picked], inside[picked]], np.zeros(len(picked)), 4, 0, places[picked])
    assert 137 in picked[found]
    wrong = np.zeros(len(picked))
    at = np.flatnonzero(picked == picked[0])[-1]
    wrong[at] = 30  # one of several at a position
    assert at in chosen([np.hypot(*places[picked].T) + wrong], np.zeros(len(picked)), 4, 0, places[picked])


def test_many_repeats_of_one_position_are_checked_in_no_time() -> None:
    begun = time.process_time()
    count = 60_000
    places = np.concatenate([np.zeros((count, 2), np.int64), [[0, 4], [4, 0], [4, 4], [8, 8], [8, 0], [0, 8]]])
    chosen([np.arange(len(places), dtype=float)], np.zeros(len(places)), 6, 0, places)
    assert time.process_time() - begun < 5  # by the nearest neighbours of each, two minutes
