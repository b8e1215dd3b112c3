"""Notes travel from the model, the image and the query to the map, its file, its text, EXPLAIN and the command."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import kdb
from kdb.cli import Client
from kdb.execution.settings import cores
from kdb.language.parser import parse_one
from kdb.results import exports
from tests.support import close

SIZE = (24, 32)
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (*SIZE, 3), np.uint8)
SCAN = RNG.normal(0, 400, SIZE).astype(np.float32)
MODEL = (
    "mean 0 and std 1 are assumed, since neither the model nor an option says how its images are normalised; give "
    "mean = and std ="
)
BITS = "its 16-bit values reach only 255 of 65535: it is dark; if they are of 8 bits, give them as uint8"
BOX = "WITHIN box(0, 0, 100, 20) leaves the input of 24 x 32, and is cut off there"
STRIDE = "STRIDE 40 leaves the input of 24 x 32: there is one position on that axis"


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return network()


@pytest.fixture(scope="module")
def db(net: nn.Module) -> kdb.Session:
    db = kdb.connect()
    db.register_model("bare", net, input_size=SIZE)
    db.register_model("told", net, input_size=SIZE, mean=0, std=1)
    return db


def test_they_are_the_model_s_then_the_image_s_then_the_query_s_each_once(db: kdb.Session) -> None:
    query = "OCCLUDE $image WITH patch(8, 8) STRIDE 40 USING {} WITHIN box(0, 0, 100, 20)"
    hm = db.execute(query.format("bare"), {"image": IMAGE.astype(np.uint16)})
    assert hm.notes == (MODEL, BITS, STRIDE, BOX)
    assert db.execute(query.format("told"), {"image": IMAGE.astype(np.uint16)}).notes == (BITS, STRIDE, BOX)
    assert db.execute("OCCLUDE $image WITH patch(8, 8) USING told", {"image": IMAGE}).notes == ()


@pytest.mark.parametrize(
    ("fill", "far"),
    [
        ("", False),
        ("FILL -1000", False),
        ("FILL 0", False),
        ("FILL mean", False),
        ("FILL 1e5", True),
        ("FILL $p", True),
    ],
)
def test_a_fill_far_from_an_image_of_floats_is_noted(db: kdb.Session, fill: str, far: bool) -> None:
    given = {"scan": SCAN, "p": np.full((8, 8), -1e4, np.float32)}
    notes = db.execute(f"OCCLUDE $scan WITH patch(8, 8) {fill} STRIDE 8 USING bare", given).notes
    assert any("is far from the image's values" in note for note in notes) == far


def test_where_they_are_seen(db: kdb.Session, tmp_path: Path) -> None:
    hm = db.execute("OCCLUDE $image WITH patch(8, 8) STRIDE 8 USING bare", {"image": IMAGE})
    assert repr(hm).endswith(", 1 note>") and MODEL in exports.as_json(hm)
    assert kdb.HeatMap.load(hm.save(tmp_path / "map.npz")).notes == (MODEL,)
    with np.load(tmp_path / "map.npz") as file:
        assert file["notes"].tolist() == [MODEL] and file["format"] == 4
    assert f"\nnote: {MODEL}\n" in db.explain("OCCLUDE image WITH patch(8, 8) USING bare WITHIN box(0, 0, 9, 9)")
    explained = db.explain(
        "OCCLUDE $image WITH patch(8, 8) USING bare", {"image": IMAGE.astype(np.uint16)}, analyze=True
    )
    assert f"\nnote: {MODEL}\nnote: {BITS}\n" in explained
    assert f"note: {MODEL}" in db.execute("DESCRIBE MODEL bare").lines
    assert "mean, std: given" in db.execute("DESCRIBE MODEL told").lines


def test_the_command_prints_them_behind_the_map_and_once(db: kdb.Session) -> None:
    for form in ("text", "json", "csv"):
        out, err = io.StringIO(), io.StringIO()
        client = Client(db, out, err, {"images": [IMAGE, IMAGE], "image": IMAGE}, form)
        assert client.run("OCCLUDE $image WITH patch(8, 8) STRIDE 8 USING bare") == 0
        assert err.getvalue() == f"note: {MODEL}\n"
    out, err = io.StringIO(), io.StringIO()
    assert Client(db, out, err, {"images": [IMAGE, IMAGE]}).run("OCCLUDE $images STRIDE 16 USING bare") == 0
    assert err.getvalue() == f"note: {MODEL}\n"


def test_registering_tells_the_log(net: nn.Module, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "kdb"):
        kdb.connect().register_model("bare", net, input_size=SIZE)
    assert f"model 'bare': {MODEL}" in caplog.messages


def test_threads_beyond_the_cores_are_told() -> None:
    db, many = kdb.connect(), cores() + 1
    assert str(db.execute("SET threads = 1")).startswith("setting")
    found = db.execute(f"SET threads = {many}")
    assert found[0] == ("threads", str(many)) and str(found).startswith(f"note: more than the {cores()} core")


# ---- floats


@given(st.floats(-3e38, 3e38) | st.integers(-5000, 5000))
def test_a_number_is_a_fill(number: float) -> None:
    query = parse_one(f"OCCLUDE x WITH patch(4, 5) FILL {number!r} USING m")
    assert query.patch.fill.args == (number,) and parse_one(str(query)) == query


@pytest.mark.parametrize("fill", ["black", "mean", "-1000", "0.5", "blur(2)", "$patch"])
def test_maps_of_floats_are_the_model_s(db: kdb.Session, net: nn.Module, fill: str) -> None:
    patch = RNG.normal(0, 400, (6, 7)).astype(np.float32)
    query = f"OCCLUDE $image WITH patch(6, 7) FILL {fill} STRIDE 6 USING told FOR ALL CLASSES SCORE logit"
    hm = db.execute(query, {"image": SCAN, "patch": patch})
    from scipy import ndimage

    blurred = ndimage.gaussian_filter(SCAN, 2, mode="nearest")
    covers = {"black": 0, "mean": SCAN.mean(), "$patch": patch, "-1000": -1000, "0.5": 0.5}
    expected = np.empty_like(hm.values)
    for row, column in np.ndindex(hm.positions.shape[:2]):
        y, x = hm.positions[row, column]
        occluded = SCAN.copy()
        there = (slice(y, y + 6), slice(x, x + 7))
        occluded[there] = blurred[there] if fill == "blur(2)" else covers[fill]
        with torch.no_grad():
            expected[:, row, column] = net(torch.from_numpy(occluded).expand(1, 3, *SIZE))[0].numpy()
    close(hm.values, expected, 1e-4)
    assert np.ptp(hm.values[0]) > 0 and hm.exact and hm.query == str(parse_one(query))


def test_approximate_maps_of_floats(db: kdb.Session) -> None:
    query = "OCCLUDE $image WITH patch(4, 4) FILL -1000 STRIDE 1 USING told SCORE logit"
    exact, some = (db.execute(f"{query} {how}", {"image": SCAN}) for how in ("", "APPROXIMATE TO SSIM 0.8"))
    assert np.array_equal(exact.values, db.execute(query, {"image": torch.from_numpy(SCAN)}).values)
    assert np.abs(some.values - exact.values)[some.evaluated].max() < 0.1 * np.ptp(exact.values)
    assert db.execute(f"VERIFY {query}", {"image": SCAN}).agrees


def test_floats_in_the_units_of_shares_are_the_image_of_integers(net: nn.Module) -> None:
    whole = kdb.occlude(IMAGE, net, patch=8, fill=255, score="logit", mean=0.4, std=0.2)
    shares = kdb.occlude(IMAGE / 255, net, patch=8, fill=1, score="logit", mean=0.4, std=0.2)
    close(shares.values, whole.values, 1e-5)
    divided = kdb.occlude(IMAGE.astype(float), net, patch=8, fill=255.0, score="logit", mean=0.4, std=0.2, scale=255)
    close(divided.values, whole.values, 1e-6)
    assert kdb.occlude(IMAGE.astype(float), net, mean=0.4, std=0.2).notes[0].startswith("its values reach 255")


@pytest.mark.parametrize(
    ("fill", "image", "said"),
    [
        *((fill, SCAN, "this image has floats; give a number") for fill in ("gray", "white", "rgb(1, 2, 3)")),
        ("$colours", SCAN, "an array of floats"),
        ("$floats", IMAGE, "a uint8 array for this image"),
        ("$nan", SCAN, "without NaN"),
        ("256", IMAGE, "a number from 0 to 255 for this image; not 256"),
        ("-1", IMAGE, "a number from 0 to 255 for this image; not -1"),
        ("1e39", SCAN, "a number of float32"),
    ],
)
def test_fills_in_other_units_are_refused(db: kdb.Session, fill: str, image: np.ndarray, said: str) -> None:
    floats = np.zeros((4, 4), np.float32)
    arrays = {"image": image, "colours": floats.astype(np.uint8), "floats": floats, "nan": floats * np.nan}
    with pytest.raises(kdb.BindError, match=said):
        db.execute(f"OCCLUDE $image WITH patch(4, 4) FILL {fill} USING told", arrays)
