"""WITH segments: updates of any shape against the model itself in float64, and what a user may write."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import kdb
from kdb.errors import BindError
from kdb.geometry import Segments
from tests.networks_dense import dense
from tests.support import examples

CONV: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOL: dict[int, Any] = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


def net(axes: int, channels: int = 2) -> nn.Module:
    torch.manual_seed(0)
    first, second = CONV[axes](channels, 4, 3, padding=1), CONV[axes](4, 4, 3, stride=2, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), POOL[axes](1), nn.Flatten(), nn.Linear(4, 3)).eval()


@st.composite
def labels_of(draw: st.DrawFn, size: tuple[int, ...]) -> np.ndarray:
    """Blobs, scattered cells and gaps between the numbers; at least one segment."""
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    labels = generator.choice([0, 0, 3, 4, 9], size=size)
    for label in range(10, 10 + draw(st.integers(0, 4))):
        start = [int(generator.integers(0, n)) for n in size]
        labels[tuple(slice(at, at + int(generator.integers(1, 5))) for at in start)] = label
    labels[(0,) * len(size)] = 2
    return labels.astype(draw(st.sampled_from([np.int64, np.uint8, np.int32])))


@given(st.data())
def test_the_boxes_are_those_of_the_cells(data: st.DataObject) -> None:
    size = tuple(data.draw(st.integers(1, 8)) for _ in range(data.draw(st.integers(1, 3))))
    labels = data.draw(labels_of(size)).astype(np.int64)
    segments = Segments(labels)
    assert segments.ids.tolist() == sorted({*labels.reshape(-1).tolist()} - {0})
    for label, place, start, stop in zip(segments.ids, segments.places, segments.starts, segments.stops, strict=True):
        cells = np.argwhere(labels == label)
        assert labels[tuple(place)] == label
        assert (cells.min(axis=0) == start).all() and (cells.max(axis=0) + 1 == stop).all()
    some = segments.places[:: 2 if len(segments.ids) > 1 else 1]
    spans = segments.footprint(some).spans
    chosen = np.searchsorted(segments.ids, segments.of(some))
    assert all((each.start == segments.starts[chosen, axis]).all() for axis, each in enumerate(spans))


def hidden(image: np.ndarray, labels: np.ndarray, cover: Any, channels: list[int]) -> torch.Tensor:
    """The image, and after it the image with each segment covered: float64 [1 + n, C, *size]."""
    images = [image.astype(np.float64)]
    for label in np.unique(labels[labels > 0]):
        one = images[0].copy()
        for channel in channels:
            one[..., channel][labels == label] = np.broadcast_to(cover, image.shape)[..., channel][labels == label]
        images.append(one)
    return torch.from_numpy(np.moveaxis(np.stack(images), -1, 1).copy())


@pytest.mark.parametrize("axes", [1, 2, 3])
@settings(max_examples=examples(5, 8), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_each_segment_is_hidden_alone(axes: int, data: st.DataObject) -> None:
    size = tuple(data.draw(st.integers(5, 20 if axes == 1 else 9)) for _ in range(axes))
    labels = data.draw(labels_of(size))
    module = net(axes)
    image = np.random.default_rng(0).normal(size=(*size, 2)).astype(np.float32)
    behind = np.random.default_rng(1).normal(size=(*size, 2)).astype(np.float32)
    fill, cover = data.draw(st.sampled_from([("-1.5", -1.5), ("$f", behind)]))
    clause, channels = data.draw(st.sampled_from([("", [0, 1]), (" CHANNELS (1)", [1])]))
    db = kdb.connect()
    db.register_model("net", module, input_size=size, n_channels=2, mean=0, std=1)
    text = f"OCCLUDE $x WITH segments($s) FILL {fill}{clause} USING net FOR ALL CLASSES SCORE logit"
    heat_map = db.execute(text, {"x": image, "s": labels, "f": behind})
    with torch.no_grad():
        baseline, *expected = copy.deepcopy(module).double()(hidden(image, labels, cover, channels)).numpy()
    np.testing.assert_allclose(heat_map.values.T, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(heat_map.baseline, baseline, rtol=1e-4, atol=1e-5)
    assert heat_map.segments is not None and heat_map.segments.tolist() == np.unique(labels[labels > 0]).tolist()
    painted = heat_map.upsample()
    assert painted.shape == (3, *size) and (np.isnan(painted[0]) == (labels == 0)).all()
    for value, label in zip(heat_map.values[1], heat_map.segments, strict=True):
        assert (painted[1][labels == label] == value).all()


@settings(max_examples=examples(6, 8), suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_segments_and_demand_together(data: st.DataObject) -> None:
    module = data.draw(dense(2))
    image = np.random.default_rng(0).normal(size=(14, 14, 2)).astype(np.float32)
    labels = data.draw(labels_of((14, 14)))
    db = kdb.connect()
    db.register_model("net", module, input_size=(14, 14), n_channels=2, mean=0, std=1)
    text = "OCCLUDE $x WITH segments($s) FILL 0 USING net FOR ALL CLASSES SCORE logit OVER box(2, 3, 4, 4)"
    heat_map = db.execute(text, {"x": image, "s": labels})
    with torch.no_grad():
        outputs = copy.deepcopy(module).double()(hidden(image, labels, 0.0, [0, 1]))[:, :, 2:6, 3:7].mean((2, 3))
    expected = outputs.numpy()[1:]
    np.testing.assert_allclose(heat_map.values.T, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


IMAGE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
LABELS = np.zeros((24, 32), np.int64)
LABELS[:8, :8], LABELS[10:20, 4:30], LABELS[20:, 30:] = 1, 5, 2


@pytest.fixture
def db() -> kdb.Session:
    session = kdb.connect()
    session.register_model("net", net(2, 3), input_size=(24, 32), mean=0, std=1)
    return session


Q = "OCCLUDE $x WITH segments($s) USING net FOR CLASS 1 SCORE logit"


def test_a_map_of_segments_is_kept_drawn_listed_and_made_again(db: kdb.Session, tmp_path: Path) -> None:
    parameters = {"x": IMAGE, "s": LABELS}
    heat_map = db.execute(Q, parameters)
    assert heat_map.query == Q and heat_map.exact and heat_map.stride is None and heat_map.patch == (1, 1)
    assert heat_map.values.shape == (3,) and heat_map.segments.tolist() == [1, 2, 5]
    heat_map.save(tmp_path / "map.npz")
    heat_map.save(tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as picture:
        said = {key: picture.info[key] for key in ("Patch", "Stride", "Fill")}
    assert said == {"Patch": "3 segments", "Stride": "none", "Fill": "black"}
    loaded = kdb.HeatMap.load(tmp_path / "map.npz")
    assert np.array_equal(loaded.labels, LABELS) and np.array_equal(loaded.upsample(), heat_map.upsample(), True)
    frame = heat_map.to_dataframe()
    assert frame["segment"].tolist() == [1, 2, 5]
    assert heat_map.to_xarray().coords["segment"].to_numpy().tolist() == [1, 2, 5]
    for given_again in (parameters, {"x": IMAGE}):
        table = db.execute(f"VERIFY '{tmp_path / 'map.npz'}'", given_again)
        assert not any(row[-1] is False for row in table.rows), str(table)
    assert len(db.execute(f"VERIFY {Q}", parameters).rows) == 3
    plan = db.explain(Q, parameters)
    assert plan.startswith(Q) and "positions   3 in" in plan


def test_maps_of_different_segments_are_not_taken_for_the_same(db: kdb.Session, tmp_path: Path) -> None:
    other = LABELS.copy()
    other[LABELS == 5] = 0
    other[-1, -1] = 5
    first_cell = np.argwhere(LABELS == 5)[0]
    other[tuple(first_cell)] = 5
    one, two = (db.execute(Q, {"x": IMAGE, "s": labels}) for labels in (LABELS, other))
    assert np.array_equal(one.positions, two.positions) and (one - one).values.shape == (3,)
    with pytest.raises(kdb.ExecutionError, match="their segments differ"):
        one - two
    at = db.execute(
        "OCCLUDE $x WITH patch(1, 1) USING net AT $p FOR CLASS 1 SCORE logit", {"x": IMAGE, "p": one.positions}
    )
    with pytest.raises(kdb.ExecutionError, match="patch 3 segments and 1 x 1"):
        one - at
    one.save(tmp_path / "map.npz")
    rows = {row[0]: row[1:] for row in db.execute(f"VERIFY '{tmp_path / 'map.npz'}'", {"x": IMAGE, "s": other}).rows}
    assert rows["patch"] == ("3 segments", "3 segments", True) and rows["positions"][-1] is False


def test_segments_of_the_source_image(db: kdb.Session, tmp_path: Path) -> None:
    """Of an image twice as large: each cell of the grid has the label under its centre."""
    big = np.kron(LABELS, np.ones((2, 2), np.int64))
    Image.fromarray(np.kron(IMAGE, np.ones((2, 2, 1), np.uint8))).save(tmp_path / "big.png")
    text = f"OCCLUDE '{tmp_path / 'big.png'}' WITH segments($s) IN SOURCE USING net FOR CLASS 1 SCORE logit"
    heat_map = db.execute(text, {"s": big})
    assert np.array_equal(heat_map.labels, LABELS)
    assert "positions   3 in" in db.explain(text, {"s": big})


def test_within_keeps_segments_that_lie_wholly_inside(db: kdb.Session) -> None:
    mask = np.zeros((24, 32), bool)
    mask[8:, :] = True
    whole = db.execute(Q, {"x": IMAGE, "s": LABELS}).values
    for clause, kept in (("WITHIN box(0, 0, 21, 32)", [0, 2]), ("WITHIN mask($m)", [1, 2])):
        heat_map = db.execute(f"{Q} {clause}", {"x": IMAGE, "s": LABELS, "m": mask})
        assert np.flatnonzero(~np.isnan(heat_map.values)).tolist() == kept
        np.testing.assert_allclose(heat_map.values[kept], whole[kept], rtol=1e-5)


def test_an_approximation_evaluates_all(db: kdb.Session) -> None:
    labels = np.arange(24 * 32).reshape(24, 32) // 8 + 1
    heat_map = db.execute(f"{Q} APPROXIMATE", {"x": IMAGE, "s": labels})
    assert heat_map.evaluated.all() and len(heat_map.segments) == 96


def test_the_shortcut_takes_segments() -> None:
    heat_map = kdb.occlude(IMAGE, net(2, 3), segments=LABELS, target=1, score="logit", mean=0, std=1)
    assert heat_map.segments.tolist() == [1, 2, 5]


@pytest.mark.parametrize(
    ("clauses", "labels", "message"),
    [
        ("STRIDE 4", LABELS, "segments are where they are, so they exclude STRIDE"),
        ("AT $p", LABELS, "segments are where they are, so they exclude AT"),
        ("DRILL DOWN", LABELS, "segments are where they are, so they exclude DRILL DOWN"),
        ("THRESHOLD AUTO", LABELS, "segments are where they are, so they exclude THRESHOLD AUTO"),
        (
            "",
            LABELS[:4],
            "segments takes an int array [24, 32], the model's input, of labels from 0; got int64 [4, 32]",
        ),
        ("", LABELS / 2, "segments takes an int array [24, 32]"),
        ("", LABELS.astype(str), "segments takes an int array [24, 32]"),
        ("", LABELS - 1, "segments takes an int array [24, 32]"),
        ("", LABELS * 0, "segments has no label above 0"),
        ("WITHIN box(0, 0, 4, 4)", LABELS, "no segment lies wholly in the region of WITHIN"),
    ],
)
def test_bad_segments_say_what_is_wrong(db: kdb.Session, clauses: str, labels: np.ndarray, message: str) -> None:
    with pytest.raises(BindError) as raised:
        db.execute(f"{Q} {clauses}", {"x": IMAGE, "s": labels, "p": np.zeros((1, 2), int)})
    assert message in str(raised.value)


def test_a_fill_of_segments_is_as_large_as_the_input(db: kdb.Session) -> None:
    fill = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(BindError, match=r"FILL takes a uint8 array \[24, 32, 3\]"):
        db.execute("OCCLUDE $x WITH segments($s) FILL $f USING net", {"x": IMAGE, "s": LABELS, "f": fill})
