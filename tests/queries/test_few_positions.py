"""A few positions are left to the model itself: the values of an incremental plan, one batch, nothing to compare."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import kdb
from kdb.models.reference import ModuleReference
from kdb.results.maps import HeatMap
from kdb.session.session import Session
from tests.networks import modules
from tests.support import close, examples, heat_map

SIZE = (22, 26)
QUERY = "OCCLUDE $i WITH patch(5, 7) FILL white AT $at USING m FOR ALL CLASSES SCORE logit"
IMAGE = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)


def session(module: nn.Module) -> Session:
    db = kdb.connect()
    db.register_model("m", module, input_size=SIZE, mean=0, std=1)
    return db


def body(*rest: nn.Module) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), *rest).eval()


def head() -> Sequence[nn.Module]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)


def by_model(hm: HeatMap) -> bool:
    """Whether all positions were evaluated by the model itself, as the map says."""
    return hm.checked == (hm.evaluated.sum(), 0.0)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images the model itself was given, call by call."""
    calls: list[int] = []
    logits = ModuleReference.logits

    def counted(reference: ModuleReference, images: np.ndarray) -> np.ndarray:
        calls.append(len(images))
        return logits(reference, images)

    monkeypatch.setattr(ModuleReference, "logits", counted)
    return calls


@settings(max_examples=examples(6, 60))
@given(st.data())
def test_values_are_those_of_deltas_and_of_the_model_in_float64(data: st.DataObject) -> None:
    module = data.draw(modules(SIZE)).eval()
    n = data.draw(st.integers(1, 4))
    at = np.array(data.draw(st.lists(st.tuples(st.integers(0, 17), st.integers(0, 19)), min_size=n, max_size=n)))
    db = session(module)
    first = heat_map(db, QUERY, i=IMAGE, at=at)
    db.execute("SET rule.few_positions = off")
    other = heat_map(db, QUERY, i=IMAGE, at=at)
    pixels = torch.from_numpy(IMAGE / 255).permute(2, 0, 1)
    images = pixels.repeat(n, 1, 1, 1)
    for image, (y, x) in zip(images, at, strict=True):
        image[:, y : y + 5, x : x + 7] = 1
    with torch.no_grad():
        exact = copy.deepcopy(module).double()
        expected, unmodified = exact(images).T.numpy(), exact(pixels[None])[0].numpy()
    for hm in (first, other):
        close(hm.values, expected, 1e-4)
        close(np.array(hm.baseline), unmodified, 1e-4)
    assert first.exact and (n > 1 or by_model(first))


def test_all_go_through_the_model_in_one_batch(batches: list[int]) -> None:
    db, at = session(body(*head())), np.array([[3, 5]])
    first, again = (heat_map(db, QUERY, i=IMAGE, at=at) for _ in range(2))
    assert batches == [2, 2], "a module that others hold may have changed where nothing looks"
    assert by_model(first) and np.array_equal(first.values, again.values)
    assert first.stats.evaluated == 1 and len(db._environment.engine.views) == 0


def test_of_an_image_that_is_known_only_the_positions(batches: list[int]) -> None:
    db = kdb.connect()
    query = "OCCLUDE $i AT $at USING efficientnet_lite0"
    first = heat_map(db, query, i=IMAGE, at=np.array([[3, 5]]))
    second = heat_map(db, query, i=IMAGE, at=np.array([[30, 50]]))
    assert batches == [2, 1] and first.baseline == second.baseline
    heat_map(db, query, i=IMAGE[::-1].copy(), at=np.array([[3, 5]]))
    db.execute("SET view_budget = 0")
    heat_map(db, query, i=IMAGE, at=np.array([[3, 5]]))
    assert batches == [2, 1, 2, 2], "it is kept within the budget of views"


def test_explain_says_who_evaluates_and_why() -> None:
    db = session(body(*head()))
    said = db.explain(QUERY, {"i": IMAGE, "at": np.array([[3, 5]])})
    assert "every position is evaluated by the model itself, so that nothing is left to compare" in said
    assert "the model itself evaluates all positions: " in said and "or more of views, deltas and check" in said
    db.execute("SET rule.few_positions = off")
    assert "the unmodified image is compared" in db.explain(QUERY, {"i": IMAGE, "at": np.array([[3, 5]])})


@pytest.mark.parametrize("clauses", ["THRESHOLD 0.5", "PRECISION bf16"])
def test_not_where_the_query_permits_an_approximation(clauses: str, batches: list[int]) -> None:
    hm = heat_map(session(body(*head())), f"{QUERY} {clauses}", i=IMAGE, at=np.array([[3, 5]]))
    assert not by_model(hm) and batches == [1]


def test_parts_of_a_map_that_grows_are_deltas_over_the_same_views() -> None:
    """Where a query has several rounds, none of them is left to the model alone."""
    at = np.stack(np.meshgrid(np.arange(0, 16, 3), np.arange(0, 18, 3)), -1).reshape(-1, 2)
    maps = list(session(body(*head())).stream(QUERY, {"i": IMAGE, "at": at}))
    assert len(maps) > 1 and not any(map(by_model, maps))


def test_positions_asked_for_twice_are_evaluated_once(batches: list[int]) -> None:
    hm = heat_map(session(body(*head())), QUERY, i=IMAGE, at=np.array([[3, 5], [3, 5], [3, 5]]))
    assert batches == [2] and np.ptp(hm.values, axis=1).max() == 0


class Brittle(nn.Module):
    """Gives infinity for an image with a white corner, or for any."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.body, self.always = body(*head()), always

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        white = torch.relu(x[:, :, :2, :2].amin((1, 2, 3)) - 0.999)[:, None] * 1000
        return self.body(x) + torch.exp(1000 * white + 1000 * self.always)


@pytest.mark.parametrize(("always", "said"), [(True, "unmodified image"), (False, r"patch at \(0, 0\)")])
def test_an_output_that_is_not_finite_is_the_usual_error(always: bool, said: str) -> None:
    for switch in ("on", "off"):
        db = session(Brittle(always))
        db.execute(f"SET rule.few_positions = {switch}")
        with pytest.raises(kdb.Error, match=f"output for the {said} is not finite"):
            db.execute(QUERY, {"i": IMAGE, "at": np.array([[0, 0]])})


def test_it_can_be_cancelled() -> None:
    def stop(done: int, total: int) -> None:
        assert (done, total) == (1, 1)
        raise kdb.Cancel

    found = session(body(*head())).execute(QUERY, {"i": IMAGE, "at": np.array([[3, 5]])}, progress=stop)
    assert isinstance(found, HeatMap) and not found.complete and found.checked is None and found.evaluated.all()


class Viewing(nn.Module):
    """Takes maps as they usually lie in memory, and no other way."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.dense, self.calls = nn.Conv2d(3, 4, 3), nn.Linear(4 * 20 * 24, 3), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.convolution(x)
        return self.dense(x.view(x.shape[0], -1))


def test_a_module_that_takes_one_memory_layout_alone_has_it() -> None:
    module = Viewing().eval()
    at = np.array([[3, 5]])
    found = [heat_map(session(module), QUERY, i=IMAGE, at=at).values for _ in range(2)]
    image = torch.from_numpy(IMAGE / 255).float().permute(2, 0, 1)[None].clone()
    image[:, :, 3:8, 5:12] = 1
    with torch.no_grad():
        close(found[0], module(image).T.numpy(), 1e-5)
    assert np.array_equal(*found)


@pytest.mark.parametrize(
    ("setting", "largest"), [("batch_size = 64", 4), ("batch_size = 2", 2), ("memory_limit = 7", 2)]
)
def test_the_model_takes_no_more_at_a_time_than_is_allowed(setting: str, largest: int, batches: list[int]) -> None:
    db = session(
        nn.Sequential(nn.Conv2d(3, 256, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 4))
    )
    given = {"i": IMAGE, "at": np.array([[0, 0], [3, 4], [9, 9]])}
    whole = db.execute(QUERY, given)
    batches.clear()
    db.execute(f"SET {setting}")
    limited = db.execute(QUERY, given)
    assert by_model(limited) and max(batches) == largest and sum(batches) == 4
    np.testing.assert_allclose(limited.values, whole.values, rtol=1e-5, atol=1e-6)


def test_explain_analyze_runs_what_the_query_runs(batches: list[int]) -> None:
    db = session(body(*head()))
    given = {"i": IMAGE, "at": np.array([[0, 0]])}
    plan = json.loads(str(db.execute(f"EXPLAIN (FORMAT json) {QUERY}", given)))
    assert not batches and {line["kernel"] for line in plan["layers"]} == {"model"}
    analyzed = json.loads(str(db.execute(f"EXPLAIN ANALYZE (FORMAT json) {QUERY}", given)))
    assert batches == [2] and analyzed["measured_seconds"] > 0
    assert {line["measured_seconds"] for line in analyzed["layers"]} == {None}
    assert db.execute(QUERY, given).stats.kernels == {}
