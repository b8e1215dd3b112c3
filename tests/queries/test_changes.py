"""Which cells of a dense output change: the mean and the largest |change| against the model itself in float64."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import kdb
from kdb.execution.changes import Changes
from kdb.geometry import Boxes
from kdb.kernels.base import Backend, Delta, Parameters
from kdb.operators.base import Update
from kdb.operators.regions import ObservedMean, RegionMean
from tests.networks_dense import dense
from tests.queries.test_over import outputs_of
from tests.support import examples

pytestmark = pytest.mark.dense


def expected_of(outputs: Tensor, score: str, activation: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and maximum [K, *size'] of |change|; the first of the ``outputs`` is of the unmodified image."""
    if not score.startswith("logit"):
        outputs = {"softmax": outputs.softmax(1), "sigmoid": outputs.sigmoid(), "none": outputs}[activation]
    changes = (outputs[1:] - outputs[:1]).abs().numpy()
    return changes.mean(0), changes.max(0)


@pytest.mark.parametrize("axes", [1, 2, 3])
@settings(max_examples=examples(5, 8), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_changes_are_those_of_the_model(axes: int, data: st.DataObject) -> None:
    size = tuple(data.draw(st.integers(6, 30 if axes == 1 else 14 if axes == 2 else 8)) for _ in range(axes))
    module = data.draw(dense(axes))
    image = np.random.default_rng(data.draw(st.integers(0, 9))).normal(size=(*size, 2)).astype(np.float32)
    image[tuple(slice(0, n // 2) for n in size)] = 0  # where the patch is, some positions change nothing
    activation = data.draw(st.sampled_from(["softmax", "sigmoid", "none"]))
    score = data.draw(st.sampled_from(["probability", "drop", "logit", "logit_drop"]))
    db = kdb.connect()
    db.register_model("net", module, input_size=size, n_channels=2, activation=activation)
    incremental = data.draw(st.sampled_from(["on", "off"]))  # off: by the model itself
    db.execute(f"SET rule.incremental = {incremental}")
    threads = data.draw(st.sampled_from([1, 2]))
    db.execute(f"SET threads = {threads}")
    text = f"OCCLUDE $x WITH patch(3) FILL 0 STRIDE 2 USING net FOR ALL CLASSES SCORE {score} OVER ALL"
    heat_map = db.execute(text, {"x": image})
    positions = heat_map.positions.reshape(-1, axes)
    mean, most = expected_of(outputs_of(module, image, positions, (3,) * axes), score, activation)
    scale = max(most.max(), 1.0)
    np.testing.assert_allclose(heat_map.changed_mean, mean, rtol=0, atol=2e-5 * scale)
    np.testing.assert_allclose(heat_map.changed_max, most, rtol=0, atol=2e-5 * scale)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


@pytest.fixture
def session() -> Iterator[tuple[kdb.Session, np.ndarray]]:
    torch.manual_seed(0)
    db = kdb.connect()
    db.register_model("net", Net().eval(), input_size=(20, 24), n_channels=1, mean=0, std=1)
    yield db, np.random.default_rng(0).normal(size=(20, 24, 1)).astype(np.float32)


def test_of_one_class_there_is_one_map_and_it_is_kept_in_the_file(
    session: tuple[kdb.Session, np.ndarray], tmp_path: Path
) -> None:
    db, image = session
    all_, one = (
        db.execute(f"OCCLUDE $x WITH patch(4) STRIDE 4 USING net FOR {classes} OVER ALL", {"x": image})
        for classes in ("ALL CLASSES", "CLASS 1")
    )
    assert one.changed_mean.shape == (20, 24) and all_.changed_mean.shape == (3, 20, 24)
    np.testing.assert_allclose(one.changed_max, all_.changed_max[1], rtol=1e-5, atol=1e-7)
    one.save(tmp_path / "one.npz")
    assert np.array_equal(kdb.HeatMap.load(tmp_path / "one.npz").changed_mean, one.changed_mean)
    text = str(db.execute(f"VERIFY '{tmp_path / 'one.npz'}'", {"x": image}))
    assert text.startswith("agrees") and "changed_mean" in text


def test_positions_that_a_query_lists_twice_count_once(session: tuple[kdb.Session, np.ndarray]) -> None:
    db, image = session
    places = np.array([[0, 0], [8, 8], [8, 8], [16, 20]])
    text = "OCCLUDE $x WITH patch(4) USING net AT $p OVER ALL"
    twice = db.execute(text, {"x": image, "p": places})
    once = db.execute(text, {"x": image, "p": places[[0, 1, 3]]})
    np.testing.assert_allclose(twice.changed_mean, once.changed_mean, rtol=1e-6)


@pytest.mark.parametrize(
    "clause", ["OVER box(0, 0, 4, 4)", "OVER PREDICTED", "OVER ALL APPROXIMATE", "OVER ALL THRESHOLD 0.8"]
)
def test_others_have_none(session: tuple[kdb.Session, np.ndarray], clause: str) -> None:
    db, image = session
    heat_map = db.execute(f"OCCLUDE $x WITH patch(4) STRIDE 2 USING net {clause}", {"x": image})
    assert heat_map.changed_mean is None and heat_map.changed_max is None


def test_where_a_check_fails_they_are_the_model_s_own(
    session: tuple[kdb.Session, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found before the check is forgotten."""
    db, image = session
    text = "OCCLUDE $x WITH patch(4) STRIDE 1 USING net FOR ALL CLASSES SCORE logit OVER ALL"
    before = db.execute(text, {"x": image})
    right = RegionMean.delta

    def wrong(self: RegionMean, k: Backend, parameters: Parameters, update: Update) -> np.ndarray:
        return 1.5 * right(self, k, parameters, update)

    monkeypatch.setattr(ObservedMean, "delta", wrong)
    with pytest.warns(kdb.VerificationWarning):
        after = db.execute(text, {"x": image})
    np.testing.assert_allclose(after.values, before.values, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after.changed_mean, before.changed_mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after.changed_max, before.changed_max, rtol=1e-4, atol=1e-6)


@settings(max_examples=50)
@given(st.integers(0, 10**6))
def test_accumulated_deltas_are_the_sum_and_the_maximum(seed: int) -> None:
    random = np.random.default_rng(seed)
    size, extent = (7, 6), (int(random.integers(1, 7)), int(random.integers(1, 6)))
    changes, whole = Changes(size, [2, 0]), []
    for _ in range(3):
        n = int(random.integers(1, 5))
        origins = np.stack([random.integers(0, 1 + a - b, n) for a, b in zip(size, extent, strict=True)], 1)
        values = random.normal(size=(n, *extent, 3)).astype(np.float32)
        sure = random.random(n) < 0.7
        values[0, 0, 0, 1] = np.nan if random.random() < 0.3 else 1
        changes.take(Delta(Boxes(origins, extent), values), sure)
        for origin, each, counts in zip(origins, values, sure, strict=True):
            if counts and np.isfinite(each).all():
                laid = np.zeros((*size, 3))
                laid[tuple(slice(a, a + b) for a, b in zip(origin, extent, strict=True))] = np.abs(each)
                whole.append(np.moveaxis(laid, -1, 0)[[2, 0]])
        changes.count += n
    total = np.sum(whole, axis=0) if whole else np.zeros((2, *size))
    np.testing.assert_allclose(changes.mean, total / changes.count, rtol=1e-6)
    np.testing.assert_allclose(changes.most, np.max(whole, axis=0) if whole else total, rtol=1e-6)
