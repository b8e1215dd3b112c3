"""The public face: queries through a session give what the model itself gives, and mistakes the errors promised."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage, special
from torch import nn

import kdb
from benchmarks import photos
from benchmarks.calibrated import calibrate
from kdb.errors import BindError, Error, ExecutionError, Interrupted, ModelError, ParseError, UnknownName
from kdb.kernels.cpu import library
from kdb.planner.rules import RULES
from kdb.results.maps import HeatMap
from kdb.results.several import HeatMaps
from kdb.session.session import Session
from kdb.system.interrupts import deferred
from tests.support import close

SIDE = 32
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
LABELS = ["cat", "dog, hound", "Cow", "crane", "crane"]


def network(outputs: int = 5) -> nn.Module:
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1, bias=False),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, outputs),
    )
    return calibrate(module, photos.normalised(photos.crops((SIDE, SIDE), 6)))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return photos.photo("chelsea", (SIDE, SIDE))


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return network()


@pytest.fixture(scope="module")
def shared(module: nn.Module, image: np.ndarray) -> Session:
    db = kdb.connect()
    db.register_model("small", module, input_size=(SIDE, SIDE), mean=MEAN, std=STD, labels=LABELS)
    db.register_image("cat", image)
    return db


@pytest.fixture
def db(shared: Session) -> Iterator[Session]:
    """The shared session, its settings as they were afterwards."""
    yield shared
    for setting, _ in shared.settings:
        shared.settings.reset(setting.name)


def normalise(pixels: np.ndarray) -> torch.Tensor:
    scaled = (np.asarray(pixels, np.float32) / np.float32(255) - np.float32(MEAN)) / np.float32(STD)
    return torch.tensor(scaled).permute(2, 0, 1)


def truth(module: nn.Module, image: np.ndarray, covers: list[tuple[int, int, np.ndarray]]) -> np.ndarray:
    """Logits float64 [n, K] of the image with each cover (y, x, pixels [h, w, 3]) laid on it."""
    copies = []
    for y, x, pixels in covers:
        copy = image.astype(np.float32)
        copy[y : y + len(pixels), x : x + pixels.shape[1]] = pixels
        copies.append(normalise(copy))
    exact = type(module)(*module).double()
    with torch.no_grad():
        logits = exact(torch.stack(copies).double()).numpy()
    exact.float()
    return np.asarray(logits)


def solid(height: int, width: int, colour: Any) -> np.ndarray:
    return np.broadcast_to(np.asarray(colour, np.float32), (height, width, 3))


class TestValues:
    def test_a_map_is_the_models_probability_at_each_position(
        self, db: Session, module: nn.Module, image: np.ndarray
    ) -> None:
        hm = db.execute("OCCLUDE cat WITH patch(6, 9) STRIDE (5, 4) USING small")
        assert isinstance(hm, HeatMap)
        assert hm.values.shape == (6, 6) and hm.values.dtype == np.float32
        assert hm.positions[2, 3].tolist() == [10, 12]
        logits = truth(module, image, [(y, x, solid(6, 9, 0)) for y, x in hm.positions.reshape(-1, 2)])
        baseline = truth(module, image, [(0, 0, image[:1, :1])])[0]
        assert hm.class_index == baseline.argmax() and hm.label == LABELS[hm.class_index]
        expected = special.softmax(logits, axis=1)[:, hm.class_index]
        assert np.ptp(expected) > 1e-3
        np.testing.assert_allclose(hm.values.reshape(-1), expected, atol=2e-6)
        assert hm.baseline == pytest.approx(special.softmax(baseline)[hm.class_index], abs=2e-6)
        assert hm.exact and hm.complete and hm.stride == (5, 4) and hm.patch == (6, 9)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
    @given(data=st.data())
    def test_any_fill_patch_and_positions(
        self, shared: Session, module: nn.Module, image: np.ndarray, data: st.DataObject
    ) -> None:
        height, width = data.draw(st.integers(1, SIDE)), data.draw(st.integers(1, SIDE))
        corner = st.tuples(st.integers(0, SIDE - height), st.integers(0, SIDE - width))
        positions = np.array(data.draw(st.lists(corner, min_size=1, max_size=12)))
        patch = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        blurred = ndimage.gaussian_filter(image.astype(np.float32), (2.5, 2.5, 0), mode="nearest")
        fill, cover = data.draw(
            st.sampled_from(
                [
                    ("black", solid(height, width, 0)),
                    ("gray", solid(height, width, 128)),
                    ("white", solid(height, width, 255)),
                    ("mean", solid(height, width, image.mean(axis=(0, 1)))),
                    ("rgb(10, 20.5, 250)", solid(height, width, (10, 20.5, 250))),
                    ("$patch", patch),
                    ("blur(2.5)", None),
                ]
            )
        )
        text = f"OCCLUDE cat WITH patch({height}, {width}) FILL {fill} USING small AT $p SCORE logit FOR ALL CLASSES"
        hm = shared.execute(text, {"p": positions, "patch": patch})
        assert isinstance(hm, HeatMap)
        covers = [
            (y, x, blurred[y : y + height, x : x + width] if cover is None else cover) for y, x in positions.tolist()
        ]
        logits = truth(module, image, covers)
        assert hm.values.shape == logits.T.shape and hm.stride is None
        np.testing.assert_allclose(hm.values, logits.T, atol=1e-5 * np.abs(logits).max())
        assert np.array_equal(hm.positions, positions)

    def test_scores(self, db: Session) -> None:
        maps = {
            score: db.execute(f"OCCLUDE cat WITH patch(8, 8) USING small SCORE {score}")
            for score in ("probability", "drop", "logit", "logit_drop")
        }
        for score in ("probability", "logit"):
            plain, drop = maps[score], maps["drop" if score == "probability" else "logit_drop"]
            np.testing.assert_allclose(drop.values, plain.baseline - plain.values, atol=1e-6)
            assert drop.baseline == plain.baseline
        assert np.ptp(maps["logit"].values) > 1e-3

    def test_classes(self, db: Session) -> None:
        every = db.execute("OCCLUDE cat USING small FOR ALL CLASSES")
        assert every.values.shape == (5, 5, 5) and every.class_index == (0, 1, 2, 3, 4)
        top = db.execute("OCCLUDE cat USING small FOR TOP 2")
        order = np.argsort(-np.array(every.baseline))
        assert top.class_index == tuple(order[:2])
        assert np.array_equal(top.values, every.values[order[:2]])
        one = db.execute("OCCLUDE cat USING small FOR CLASSES ('hound')")
        assert one.values.shape == (1, 5, 5) and one.label == ("dog, hound",)
        assert np.array_equal(db.execute("OCCLUDE cat USING small FOR CLASS 'cow'").values, every.values[2])
        assert np.array_equal(db.execute("OCCLUDE cat USING small FOR CLASS $c", {"c": 3}).values, every.values[3])
        np.testing.assert_allclose(every.values.sum(axis=0), 1, atol=1e-5)

    def test_within_keeps_the_lattice_and_the_rest_is_nan(self, db: Session) -> None:
        whole = db.execute("OCCLUDE cat WITH patch(8, 8) USING small")
        box = db.execute("OCCLUDE cat WITH patch(8, 8) USING small WITHIN box(3, 0, 18, 40)")
        inside = (whole.positions[..., 0] >= 3) & (whole.positions[..., 0] + 8 <= 21)
        assert inside.sum() == 3 * 7
        assert np.array_equal(~np.isnan(box.values), inside)
        np.testing.assert_allclose(box.values[inside], whole.values[inside], atol=1e-6)
        mask = np.zeros((SIDE, SIDE), bool)
        mask[12, 20] = True
        one = db.execute("OCCLUDE cat WITH patch(8, 8) USING small WITHIN mask($m)", {"m": mask})
        assert np.argwhere(~np.isnan(one.values)).tolist() == [[2, 4]], "the patch whose centre is that pixel"
        assert one.stats.evaluated == 1

    def test_positions_asked_twice_are_evaluated_once(self, db: Session) -> None:
        at = np.array([[3, 4], [0, 24], [3, 4]])
        hm = db.execute("OCCLUDE cat WITH patch(8, 8) USING small AT $p", {"p": at})
        assert hm.values[0] == hm.values[2] != hm.values[1]
        assert hm.stats.positions == 3 and hm.stats.evaluated == 2

    def test_a_patch_that_changes_nothing_scores_the_baseline(self, db: Session) -> None:
        flat = np.full((SIDE, SIDE, 3), 128, np.uint8)
        hm = db.execute("OCCLUDE $i WITH patch(8, 8) FILL gray USING small", {"i": flat})
        assert hm.stats.evaluated == 0
        assert np.all(hm.values == np.float32(hm.baseline))

    @pytest.mark.parametrize("threads", [1, 2, 5])
    def test_one_plan_gives_the_same_bits_each_time(self, db: Session, threads: int) -> None:
        db.execute(f"SET threads = {threads}")
        query = "OCCLUDE cat WITH patch(5, 5) STRIDE 3 USING small SCORE logit"
        first, second = db.execute(query), db.execute(query)
        assert np.array_equal(first.values, second.values)

    def test_activations(self, image: np.ndarray) -> None:
        db = kdb.connect()
        size = {"input_size": (SIDE, SIDE), "mean": MEAN, "std": STD}
        db.register_model("raw", network(1), activation="none", **size)
        db.register_model("single", network(1), **size)
        db.register_model("multi", network(4), activation="sigmoid", **size)
        raw = db.execute("OCCLUDE $i USING raw", {"i": image})
        assert np.array_equal(raw.values, db.execute("OCCLUDE $i USING raw SCORE logit", {"i": image}).values)
        single = db.execute("OCCLUDE $i USING single", {"i": image})
        np.testing.assert_allclose(single.values, special.expit(raw.values), atol=1e-6)
        multi = db.execute("OCCLUDE $i USING multi FOR ALL CLASSES", {"i": image})
        logits = db.execute("OCCLUDE $i USING multi FOR ALL CLASSES SCORE logit", {"i": image})
        np.testing.assert_allclose(multi.values, special.expit(logits.values), atol=1e-6)


class TestSettings:
    def test_the_environment_says_how_many_threads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KDB_THREADS", "3")
        session = kdb.connect()
        assert session.settings["threads"] == 3
        session.execute("SET threads = 1; RESET threads")
        assert session.settings["threads"] == 3
        for odd in ("0", "two", "-1", "100000"):
            monkeypatch.setenv("KDB_THREADS", odd)
            with pytest.raises(BindError, match="KDB_THREADS"):
                kdb.connect()

    @pytest.mark.parametrize("rule", [rule.name for rule in RULES])
    def test_each_rule_on_and_off_gives_the_same_answer(self, db: Session, rule: str) -> None:
        query = "OCCLUDE cat WITH patch(7, 5) STRIDE 3 USING small SCORE logit"
        on = db.execute(query)
        db.execute(f"SET rule.{rule} = off")
        off = db.execute(query)
        assert np.ptp(on.values) > 1e-2
        np.testing.assert_allclose(on.values, off.values, atol=2e-6)
        plan = json.loads(db.explain(query, format="json"))
        assert {"switched off"} == {each["reason"] for each in plan["rules"] if each["name"] == rule}

    @pytest.mark.parametrize("kernels", ["native", "direct", "taps", "recompute"])
    def test_each_kernel_gives_the_same_answer_and_is_named(self, db: Session, kernels: str) -> None:
        query = "OCCLUDE cat WITH patch(7, 5) STRIDE 3 USING small SCORE logit"
        auto = db.execute(query)
        db.execute(f"SET kernels = {kernels}")
        forced = db.execute(query)
        np.testing.assert_allclose(auto.values, forced.values, atol=2e-6)
        used = {"taps"} if kernels == "native" else {kernels}
        convolutions = [
            layer["kernel"]
            for layer in json.loads(db.explain(query, format="json"))["layers"]
            if layer["operator"] == "convolution" and layer["stage"] == "deltas"
        ]
        assert convolutions and (set(convolutions) <= used | ({"recompute"} if kernels == "native" else set()))

    def test_a_native_plan_leaves_torch_out(self, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        db.execute("SET kernels = native; SET verify = off")  # the model itself is torch's
        db.execute("OCCLUDE cat USING small")  # traced

        def never(*_: Any, **__: Any) -> None:
            raise AssertionError("torch was called")

        monkeypatch.setattr(torch.nn.functional, "conv2d", never)
        monkeypatch.setattr(library, "PACKS", False)
        db.close()
        assert db.execute("OCCLUDE cat WITH patch(4, 4) USING small").stats.kernels.keys() & {"taps", "recompute"}
        db.execute("SET kernels = direct")
        db.close()
        with pytest.raises(ExecutionError):
            db.execute("OCCLUDE cat WITH patch(4, 4) USING small")

    def test_set_show_reset(self, db: Session) -> None:
        assert db.execute("SET batch_size = 7").rows == (("batch_size", "7"),)
        assert ("batch_size", "7", "auto") in [row[:3] for row in db.execute("SHOW SETTINGS")]
        assert db.execute("RESET batch_size").rows == (("batch_size", "auto"),)
        db.execute("SET rule.null_deltas = off")
        assert ("null_deltas", "off") in [row[:2] for row in db.execute("SHOW RULES")]

    def test_reset_all(self, db: Session) -> None:
        before = db.execute("SHOW SETTINGS").rows
        db.execute("SET batch_size = 7; SET preset = krypton; SET rule.cut_over = off")
        assert db.execute("SHOW SETTINGS").rows != before
        assert db.execute("reset all").rows == before == db.execute("SHOW SETTINGS").rows

    def test_views_are_kept_between_queries_and_budgeted(self, db: Session) -> None:
        db.close()
        first = db.execute("OCCLUDE cat USING small")
        again = db.execute("OCCLUDE cat WITH patch(8, 8) USING small")
        naive = first.stats.naive_macs // first.stats.positions
        difference = first.stats.executed_macs - db.execute("OCCLUDE cat USING small").stats.executed_macs
        assert difference == naive, "the second query pays no materialization"
        assert again.stats.seconds["materialize"] < 0.5
        for seconds in (first.stats.seconds, again.stats.seconds):
            assert seconds["total"] >= sum(seconds[stage] for stage in ("trace", "plan", "materialize", "execute"))
        assert len(db._engine.views) == 1
        db.execute("SET view_budget = 0; OCCLUDE cat USING small")
        assert len(db._engine.views) == 0


class TestModels:
    def test_changed_weights_are_noticed(self, image: np.ndarray) -> None:
        db, module = kdb.connect(), network()
        db.register_model("mine", module, input_size=(SIDE, SIDE))
        before = db.execute("OCCLUDE $i USING mine SCORE logit FOR CLASS 0", {"i": image})
        with torch.no_grad():
            module[-1].bias[0] += 1
        after = db.execute("OCCLUDE $i USING mine SCORE logit FOR CLASS 0", {"i": image})
        np.testing.assert_allclose(after.values, before.values + 1, atol=1e-5)
        assert before.model_identity != after.model_identity

    def test_a_module_is_left_in_the_modes_that_it_was_in(self, image: np.ndarray) -> None:
        db, module = kdb.connect(), network()
        db.register_model("mine", module, input_size=SIDE)
        plain = db.execute("OCCLUDE $i USING mine", {"i": image}).values
        module.train()
        module[1].eval()
        with torch.no_grad():
            module[0].weight += 1  # traced anew
        assert (db.execute("OCCLUDE $i USING mine", {"i": image}).values != plain).any()
        assert [part.training for part in module] == [i != 1 for i in range(len(module))] and module.training

    @pytest.mark.parametrize("count", [2, 9])
    def test_labels_are_one_a_class(self, image: np.ndarray, tmp_path: Path, count: int) -> None:
        names = [f"label {i}" for i in range(count)]
        (tmp_path / "labels.txt").write_text("\n".join(names))
        db = kdb.connect()
        for name, labels in (("list", names), ("file", str(tmp_path / "labels.txt"))):
            db.register_model(name, network(), input_size=SIDE, labels=labels)
            for _ in range(2):
                with pytest.raises(BindError, match=f"'{name}' has 5 classes, but {count} labels"):
                    db.execute(f"OCCLUDE $i USING {name}", {"i": image})

    def test_identity_is_of_content_not_of_name(self, image: np.ndarray) -> None:
        db = kdb.connect()
        for name in ("a", "b"):
            db.register_model(name, network(), input_size=(SIDE, SIDE))
        db.register_model("c", network(), input_size=(SIDE, SIDE), mean=[0.1, 0.1, 0.1])
        a, b, c = (db.execute(f"OCCLUDE $i USING {name}", {"i": image}).model_identity for name in "abc")
        assert a == b != c

    def test_an_overflow_within_is_quiet(self, image: np.ndarray, recwarn: pytest.WarningsRecorder) -> None:
        class Overflowing(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                hot = nn.functional.avg_pool2d(torch.exp(1000 * x), 2)
                return hot.clamp(max=3).mean((2, 3)) + torch.sigmoid(-1e4 * x).mean((2, 3))

        db = kdb.connect()
        db.register_model("hot", Overflowing(), input_size=SIDE)
        found = db.execute("OCCLUDE $i USING hot SCORE logit", {"i": image})  # a delta of two infinities is NaN
        in_full = db.execute("SET rule.incremental = off; OCCLUDE $i USING hot SCORE logit", {"i": image})
        close(found.values, in_full.values, 1e-5)
        assert not recwarn.list

    def test_modules_by_parameter(self, image: np.ndarray) -> None:
        db = kdb.connect()
        hm = db.execute("OCCLUDE $i USING $m (input = (32, 32))", {"i": image, "m": network()})
        assert hm.values.shape == (5, 5) and hm.model == "model"

    def test_drop_and_show(self, db: Session) -> None:
        db.register_model("brief", network(), input_size=SIDE)
        assert "brief" in [row[0] for row in db.execute("SHOW MODELS")]
        assert ("brief", "registered", "3x32x32") in db.execute("SHOW MODELS").rows
        assert ("vgg16", "built in", "3x224x224") in db.execute("SHOW MODELS").rows
        assert all(each for row in db.execute("SHOW MODELS") for each in row)
        db.execute("DROP MODEL brief")
        with pytest.raises(BindError, match="brief"):
            db.execute("OCCLUDE cat USING brief")

    def test_resize_of_a_registered_model(self, db: Session) -> None:
        wide = photos.photo("chelsea", (SIDE, 2 * SIDE))
        hm = db.execute("OCCLUDE $i USING small (resize = 'stretch')", {"i": wide})
        assert hm.source_size == (SIDE, 2 * SIDE) and hm.image.shape == (SIDE, SIDE, 3)
        with pytest.raises(BindError, match="weights"):
            db.execute("OCCLUDE cat USING small (weights = 'random')")

    def test_a_layer_outside_the_vocabulary_is_named_and_still_exact(self, image: np.ndarray) -> None:
        class Odd(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.body = network(6)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return torch.cumsum(self.body(x), dim=1)

        db, odd = kdb.connect(), Odd()
        db.register_model("odd", odd, input_size=(SIDE, SIDE))
        assert "cumsum" in db.explain("OCCLUDE $i USING odd")
        hm = db.execute("OCCLUDE $i USING odd SCORE logit FOR ALL CLASSES", {"i": image})
        plain = kdb.connect()
        plain.register_model("body", odd.body, input_size=(SIDE, SIDE))
        body = plain.execute("OCCLUDE $i USING body SCORE logit FOR ALL CLASSES", {"i": image})
        np.testing.assert_allclose(hm.values, np.cumsum(body.values, axis=0), atol=1e-5)


class TestSources:
    def test_paths_globs_and_lists(self, db: Session, image: np.ndarray, tmp_path: Path) -> None:
        for name in ("b", "a"):
            Image.fromarray(image).save(tmp_path / f"{name}.png")
        (tmp_path / "c.png").write_bytes(b"no image")
        one = db.execute(f"OCCLUDE '{tmp_path}/a.png' USING small")
        assert isinstance(one, HeatMap) and one.source == f"{tmp_path}/a.png"
        maps = db.execute(f"OCCLUDE '{tmp_path}/*.png' USING small")
        assert isinstance(maps, HeatMaps)
        assert [Path(source).name for source in maps.sources] == ["a.png", "b.png", "c.png"]
        assert np.array_equal(maps[0].values, one.values)
        with pytest.raises(ExecutionError, match=r"c\.png"):
            maps[2]
        assert len(db.execute("OCCLUDE $i USING small", {"i": [image]})) == 1
        assert np.array_equal(db.execute("OCCLUDE ? USING small", [image]).values, one.values)
        assert np.array_equal(db.execute("OCCLUDE pic USING small", {"pic": Image.fromarray(image)}).values, one.values)

    def test_into_writes_files(self, db: Session, image: np.ndarray, tmp_path: Path) -> None:
        hm = db.execute(f"OCCLUDE cat USING small INTO '{tmp_path}/h.npz'")
        assert np.array_equal(HeatMap.load(tmp_path / "h.npz").values, hm.values)
        for name in ("a", "b"):
            Image.fromarray(image).save(tmp_path / f"{name}.png")
        db.execute(f"OCCLUDE '{tmp_path}/?.png' USING small INTO '{tmp_path}/{{stem}}-heat.png'")
        assert {path.name for path in tmp_path.glob("*-heat.png")} == {"a-heat.png", "b-heat.png"}

    @pytest.mark.parametrize(("source", "stem"), [("'{}/a.png'", "a"), ("cat", "cat"), ("$i", "i"), ("?", "image 0")])
    @pytest.mark.parametrize("how", ["OCCLUDE", "EXPLAIN ANALYZE OCCLUDE", "stream"])
    def test_stem_is_that_of_a_single_image_too(
        self, db: Session, image: np.ndarray, tmp_path: Path, source: str, stem: str, how: str
    ) -> None:
        Image.fromarray(image).save(tmp_path / "a.png")
        text = f"{source.format(tmp_path)} STRIDE 16 USING small INTO '{tmp_path}/{{stem}}-heat.npz'"
        given: Any = [image] if source == "?" else {"i": image}
        if how == "stream":
            list(db.stream(f"OCCLUDE {text}", given))
        else:
            db.execute(f"{how} {text}", given)
        assert [path.name for path in tmp_path.glob("*.npz")] == [f"{stem}-heat.npz"]

    @pytest.mark.parametrize("how", ["OCCLUDE", "EXPLAIN ANALYZE OCCLUDE", "stream"])
    def test_a_glob_needs_stem_before_anything_is_computed(
        self, db: Session, image: np.ndarray, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever it matches; the model is not even looked up."""
        monkeypatch.setattr("kdb.models.catalog.Catalog.find", lambda *_: pytest.fail("computed"))
        Image.fromarray(image).save(tmp_path / "a.png")
        text = f"'{tmp_path}/*.png' STRIDE 16 USING small INTO '{tmp_path}/heat.npz'"
        with pytest.raises(ExecutionError, match=r"put \{stem\} into its name"):
            list(db.stream(f"OCCLUDE {text}")) if how == "stream" else db.execute(f"{how} {text}")

    def test_images_given_once_are_copies(self, image: np.ndarray) -> None:
        db, own = kdb.connect(), image.copy()
        db.register_model("small", network(), input_size=(SIDE, SIDE))
        db.register_image("own", own)
        before = db.execute("OCCLUDE own USING small").values
        own[:] = 0
        assert np.array_equal(db.execute("OCCLUDE own USING small").values, before)

    def test_the_one_call_form(self, db: Session, module: nn.Module, image: np.ndarray) -> None:
        expected = db.execute("OCCLUDE cat WITH patch(8, 6) FILL gray STRIDE (4, 3) USING small FOR CLASS 1 SCORE drop")
        got = kdb.occlude(
            image, module, (8, 6), (4, 3), fill="gray", target=1, score="drop", mean=MEAN, std=STD, threads=1
        )
        np.testing.assert_allclose(got.values, expected.values, atol=1e-6)
        tensor = kdb.occlude(
            torch.from_numpy(image), module, (8, 6), (4, 3), fill="gray", target=1, score="drop", mean=MEAN, std=STD
        )
        np.testing.assert_allclose(tensor.values, expected.values, atol=1e-6)
        at = kdb.occlude(image, module, 8, at=[(0, 0), (3, 4)], fill=(1, 2, 3), target=[0, 2])
        assert at.values.shape == (2, 2)
        assert kdb.occlude(image, module, 8, 2, ssim=0.8).ssim_estimate >= 0.8
        assert np.isnan(kdb.occlude(image, module, 8, within=(0, 0, 16, 16)).values).sum() == 49 - 9

    @pytest.mark.parametrize(
        "wrong",
        [
            {"within": (0, 0, 2.5, 3)},
            {"within": (1, 2)},
            {"within": [[True, False]]},
            {"within": [[True], [True, False]]},
            {"fill": [[1, 2], [3]]},
            {"fill": "pink"},
            {"fill": (1, 2)},
            {"fill": (float("nan"), 2, 3)},
            {"fill": 256},
            {"fill": None},
            {"target": []},
            {"score": "x"},
            {"patch": 2.5},
            {"ssim": float("nan")},
            {"ssim": 90},
            {"ssim": "high"},
            {"at": [(0, 0)], "stride": 4},
            {"at": [(0.5, 0)]},
            {"at": [(0, 0)], "within": (0, 0, 9, 9)},
            {"stride": 0},
            {"stride": -1},
            {"patch": -1},
            {"within": (0, 0, 4, 4)},
            {"within": np.ones((3, 3), bool)},
            {"fill": np.zeros((2, 2, 3), np.uint8)},
        ],
        ids=str,
    )
    def test_the_one_call_form_refuses_in_its_own_words(
        self, module: nn.Module, image: np.ndarray, wrong: dict[str, Any]
    ) -> None:
        with pytest.raises(BindError, match=next(iter(wrong))) as caught:
            kdb.occlude(image, module, **wrong)
        assert not re.search("AT|FILL|STRIDE|WITHIN", str(caught.value))

    @pytest.mark.parametrize("within", [(0, -1, 8, 8), (0, 0, 8), [0, 0, 2.5, 8], np.zeros(3, int)], ids=str)
    def test_a_box_that_is_none_is_not_called_a_mask(self, module: nn.Module, image: np.ndarray, within: Any) -> None:
        with pytest.raises(BindError, match=r"a box is \(y, x, height, width\)") as caught:
            kdb.occlude(image, module, within=within)
        assert "mask" not in str(caught.value)

    @pytest.mark.parametrize("box", [np.array([0, 0, 16, 16]), [*map(np.int64, (0, 0, 16, 16))]], ids=["array", "list"])
    def test_numbers_of_numpy_make_a_box(self, module: nn.Module, image: np.ndarray, box: Any) -> None:
        assert np.isnan(kdb.occlude(image, module, 8, within=box).values).sum() == 49 - 9

    def test_the_one_call_form_recommends_what_python_runs(self, image: np.ndarray) -> None:
        with pytest.raises(UnknownName, match=r'unknown model \'abc\'; db\.execute\("SHOW MODELS"\)') as caught:
            kdb.occlude(image, "abc")
        assert caught.value.name == "abc"

    def test_the_one_call_form_finds_a_keyword_that_was_meant(self, module: nn.Module, image: np.ndarray) -> None:
        for wrong, meant in [("strides", "stride"), ("inputsize", "input_size"), ("targets", "target")]:
            with pytest.raises(BindError, match=f"no keyword '{wrong}'; did you mean '{meant}'"):
                kdb.occlude(image, module, **{wrong: 4})
        with pytest.raises(BindError, match="no keyword 'weights'; those of the model are input, "):
            kdb.occlude(image, module, weights="random")


class TestExplain:
    def test_no_pixel_is_read(self, db: Session) -> None:
        assert "plan" in str(db.execute("EXPLAIN (FORMAT dot) OCCLUDE 'not there.png' USING small"))

    def test_formats(self, db: Session) -> None:
        query = "OCCLUDE cat WITH patch(8, 8) USING small"
        plan = json.loads(db.explain(query, format="json"))
        assert plan["positions"] == 49 and plan["measured_seconds"] is None
        assert sum(layer["planned_macs"] for layer in plan["layers"]) == plan["planned_macs"]
        assert db.explain(query, format="dot").count("->") >= len(plan["layers"])
        assert db.explain(f"EXPLAIN {query}") == db.explain(query), "the same each time"
        assert json.loads(str(db.execute(f"EXPLAIN (FORMAT json) {query}")))["positions"] == 49

    def test_analyze_measures(self, db: Session) -> None:
        plan = json.loads(db.explain("OCCLUDE cat WITH patch(4, 4) STRIDE 1 USING small", analyze=True, format="json"))
        assert plan["measured_seconds"] > 0
        assert sum(layer["measured_seconds"] for layer in plan["layers"]) > 0
        assert "real s" in db.explain("OCCLUDE cat USING small", analyze=True)

    def test_analyze_writes_the_map(self, db: Session, image: np.ndarray, tmp_path: Path) -> None:
        query, file = "OCCLUDE cat WITH patch(4, 4) USING small", tmp_path / "heat.npz"
        db.execute(f"EXPLAIN {query} INTO '{file}'")
        assert not file.exists()
        db.execute(f"EXPLAIN ANALYZE {query} INTO '{file}'")
        np.testing.assert_array_equal(HeatMap.load(file).values, db.execute(query).values)
        Image.fromarray(image).save(tmp_path / "one.png")
        db.execute(f"EXPLAIN ANALYZE OCCLUDE '{tmp_path}/*.png' USING small INTO '{tmp_path}/{{stem}}-heat.npz'")
        assert HeatMap.load(tmp_path / "one-heat.npz").source == str(tmp_path / "one.png")
        with pytest.raises(ExecutionError, match="no folder"):
            db.execute("EXPLAIN ANALYZE OCCLUDE cat USING small INTO '/no/such/folder/x.png'")


BAD: list[tuple[str, type[Error], str]] = [
    ("OCCLUDE cat USING smal", BindError, "did you mean 'small'"),
    ("OCCLUDE cat USING SMALL", BindError, "did you mean 'small'"),
    ("OCCLUDE cat USING Resnet81", BindError, "did you mean 'resnet18'"),
    ("OCCLUDE cat USING qqqq", BindError, "SHOW MODELS"),
    ("OCCLUDE cat USING resnet-18", ParseError, "did you mean resnet18"),
    ("OCCLUDE cat USING timm/resnet-18", ParseError, "did you mean 'timm/resnet-18'"),
    ("OCCLUDE cat USING sma-ll", ParseError, "did you mean small"),
    ("OCCLUDE cat USING 'resnet-18'", BindError, "did you mean 'resnet18'"),
    ("OCCLUDE dog USING small", BindError, "no image 'dog'"),
    ("OCCLUDE $dog USING small", BindError, r"no value was given for the parameter \$dog"),
    ("OCCLUDE ? USING small", BindError, "number 1"),
    ("OCCLUDE cat WITH patch(33, 1) USING small", BindError, "larger than the input of 32 x 32"),
    ("OCCLUDE cat WITH patch(0, 1) USING small", BindError, "from 1"),
    ("OCCLUDE cat STRIDE 0 USING small", BindError, "STRIDE"),
    ("OCCLUDE cat STRIDE 4 USING small FOR CLASS 5", BindError, "0 to 4"),
    ("OCCLUDE cat USING small FOR CLASS 'cta'", BindError, "did you mean 'cat'"),
    ("OCCLUDE cat USING small FOR CLASS 'crane'", BindError, "3 .*4"),
    ("OCCLUDE cat USING small FOR TOP 6", BindError, "TOP 6"),
    ("OCCLUDE cat USING small FOR TOP 0", BindError, "TOP"),
    ("OCCLUDE cat USING small AT $p STRIDE 4", BindError, "excludes STRIDE"),
    ("OCCLUDE cat USING small AT $p", BindError, "no value"),
    ("OCCLUDE cat USING small WITHIN box(0, 0, 4, 4)", BindError, "no position"),
    ("OCCLUDE cat WITH patch(4,4) FILL rgb(0, 0, 256) USING small", BindError, "rgb"),
    ("OCCLUDE cat WITH patch(4,4) FILL blur(0) USING small", BindError, "blur"),
    ("OCCLUDE cat USING small EXACT THRESHOLD 0.5", BindError, "contradicts THRESHOLD"),
    ("OCCLUDE cat USING small EXACT BUDGET 3 SECONDS", BindError, "contradicts BUDGET"),
    ("OCCLUDE cat USING small EXACT PRECISION bf16", BindError, "contradicts PRECISION bf16"),
    ("OCCLUDE cat USING small DRILL DOWN WITHIN box(0, 0, 32, 32)", BindError, "DRILL DOWN"),
    ("OCCLUDE cat USING small THRESHOLD 1.5", BindError, "at most 1"),
    ("OCCLUDE cat USING small APPROXIMATE DRILL DOWN", BindError, "give one of them"),
    ("OCCLUDE cat USING small DRILL DOWN BUDGET 3 SECONDS", BindError, "give one of them"),
    ("OCCLUDE cat USING small THRESHOLD AUTO TO SSIM 0.9", BindError, "first run"),
    ("OCCLUDE cat USING small DRILL DOWN 0.5 SPEEDUP 2", BindError, "equation 32"),
    ("OCCLUDE cat USING small DRILL DOWN 0.3 SPEEDUP 3.3", BindError, "as large as the input"),
    ("OCCLUDE cat USING small DRILL DOWN COARSE STRIDE 6", BindError, "a multiple of STRIDE"),
    ("OCCLUDE cat USING small DRILL DOWN COARSE STRIDE 400", BindError, "as large as the input"),
    ("TUNE small ON 'x.png'", ExecutionError, "no such file"),
    ("CREATE MODEL m FROM 'x.pt'", ModelError, "no file 'x.pt'"),
    ("DESCRIBE MODEL smal", BindError, "did you mean 'small'"),
    ("DROP MODEL smal", BindError, "did you mean 'small'"),
    ("SET thread = 2", BindError, "did you mean 'threads'"),
    ("SET threads = 0", BindError, "1 to "),
    ("SET kernels = fast", BindError, "one of auto"),
    ("SET rule.null_deltas = 3", BindError, "on or off"),
    ("RESET nothing", BindError, "unknown setting"),
    ("OCCLUDE 'nowhere.png' USING small", ExecutionError, "no such file"),
    ("OCCLUDE 'nowhere/*.png' USING small", ExecutionError, "no file matches"),
    ("OCCLUDE cat USING small INTO 'x.gif'", ExecutionError, r"\.png"),
    ("OCCLUDE cat USING small INTO '/no/such/folder/x.png'", ExecutionError, "no folder"),
    ("OCCLUDE cat USING small INTO 'one-{stm}.png'", ExecutionError, r"\{stm\} .*the only one is \{stem\}"),
    ("OCCLUDE cat USING small USING small", ParseError, "only once"),
    ("OCCLUDE cat USNG small", ParseError, "did you mean USING"),
    ("", BindError, "no statement"),
    ("OCCLUDE cat STRIDE 99999999999999999999 WITH patch(99999999999999999999, 1) USING small", BindError, "larger"),
]


class TestMistakes:
    @pytest.mark.parametrize(("text", "kind", "said"), BAD)
    def test_each_is_the_error_promised(self, db: Session, text: str, kind: type[Error], said: str) -> None:
        with pytest.raises(kind, match=said):
            db.execute(text)

    @pytest.mark.parametrize(
        ("text", "value", "said"),
        [
            ("OCCLUDE $v USING small", 3, "an image is"),
            ("OCCLUDE $v USING small", np.zeros((4, 4, 3), int), "uint8"),
            ("OCCLUDE $v USING small", [], "empty"),
            ("OCCLUDE cat USING small AT $v", [[1, 2, 3]], r"\[n, 2\]"),
            ("OCCLUDE cat USING small AT $v", [[1.5, 2.0]], r"\[n, 2\]"),
            ("OCCLUDE cat USING small AT $v", [[1], [2, 3]], "no array"),
            ("OCCLUDE cat USING small AT $v", np.zeros((0, 2), int), "at least 1"),
            ("OCCLUDE cat USING small AT $v", [[0, 17]], "leaves the input"),
            ("OCCLUDE cat USING small AT $v", [[-1, 0]], "leaves the input"),
            ("OCCLUDE cat USING small WITHIN mask($v)", np.ones((3, 3), bool), r"bool array \[32, 32\]"),
            ("OCCLUDE cat USING small WITHIN mask($v)", np.zeros((32, 32), bool), "no position"),
            ("OCCLUDE cat WITH patch(4, 4) FILL $v USING small", np.zeros((3, 4, 3), np.uint8), r"\[4, 4, 3\]"),
            ("OCCLUDE cat USING $v", 3, "Module"),
            ("OCCLUDE cat USING small FOR CLASS $v", 1.5, "index or a label"),
        ],
    )
    def test_parameters_of_a_wrong_kind(self, db: Session, text: str, value: Any, said: str) -> None:
        with pytest.raises(BindError, match=said):
            db.execute(text, {"v": value})

    def test_models_that_cannot_be_used(self, image: np.ndarray) -> None:
        db = kdb.connect()

        class Branching(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = network()

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.net(x) if x.sum() > 0 else -self.net(x)

        db.register_model("branching", Branching(), input_size=SIDE)
        with pytest.raises(ModelError, match="cannot be traced"):
            db.execute("OCCLUDE $i USING branching", {"i": image})
        broken = network()
        with torch.no_grad():
            broken[0].weight[0, 0, 0, 0] = float("nan")
        with pytest.raises(ModelError, match="NaN"):
            db.register_model("broken", broken, input_size=SIDE)
        later = network()
        db.register_model("later", later, input_size=SIDE)
        with torch.no_grad():
            later[0].weight[0, 0, 0, 0] = float("nan")
        with pytest.raises(ExecutionError, match="not finite"):
            db.execute("OCCLUDE $i USING later", {"i": image})
        db.register_model("wrong", nn.Conv2d(5, 2, 3), input_size=SIDE)
        with pytest.raises(ModelError, match="the model takes 5 channels, not images of 3 channels"):
            db.execute("OCCLUDE $i USING wrong", {"i": image})

    def test_nothing_is_written_when_a_query_fails(self, db: Session, tmp_path: Path) -> None:
        for text in ("OCCLUDE cat USING smal", "OCCLUDE 'no.png' USING small", "OCCLUDE cat STRIDE 0 USING small"):
            with pytest.raises(Error):
                db.execute(f"{text} INTO '{tmp_path}/out.png'")
        assert list(tmp_path.iterdir()) == []

    def test_a_script_is_parsed_before_anything_runs(self, db: Session) -> None:
        with pytest.raises(ParseError):
            db.execute("SET threads = 1; OCCLUDE")
        assert db.settings["threads"] == kdb.execution.settings.cores()


class TestInterruption:
    QUERY = "OCCLUDE cat WITH patch(3, 3) STRIDE 1 USING small"

    def test_ctrl_c_stops_between_batches_and_carries_the_partial_map(self, db: Session) -> None:
        def press(done: int, total: int) -> None:
            if done:
                raise KeyboardInterrupt

        whole = db.execute(self.QUERY)
        db.execute("SET batch_size = 2; SET threads = 1")
        db.progress = press
        try:
            with pytest.raises(Interrupted, match="interrupted after") as caught:
                # Long enough that the calling thread looks up before it is over.
                for _ in range(20):
                    db.execute(self.QUERY)
        finally:
            db.progress = None
        assert isinstance(caught.value, KeyboardInterrupt)
        partial = caught.value.partial
        assert isinstance(partial, HeatMap) and not partial.complete
        reached = ~np.isnan(partial.values)
        assert 0 < reached.sum() < reached.size
        np.testing.assert_allclose(partial.values[reached], whole.values[reached], atol=1e-6)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("kdb-worker")]
        np.testing.assert_allclose(db.execute(self.QUERY).values, whole.values, atol=1e-6)

    def test_what_is_not_replaced_is_told_before_anything_is_computed(
        self, db: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def computed(*_: object) -> None:
            raise AssertionError("a map is computed")

        db.progress = computed
        (tmp_path / "folder.npz").mkdir()
        os.mkfifo(tmp_path / "pipe.npz")
        try:
            for name, said in (("folder", "it is a folder"), ("pipe", "it is no regular file")):
                with pytest.raises(ExecutionError, match=f"cannot write '{tmp_path}/{name}.npz': {said}"):
                    db.execute(f"{self.QUERY} INTO '{tmp_path}/{name}.npz'")
        finally:
            db.progress = None

    def test_ctrl_c_says_what_is_written(self, db: Session, tmp_path: Path) -> None:
        def press(done: int, total: int) -> None:
            raise KeyboardInterrupt

        into = tmp_path / "heat.npz"
        db.progress = press
        try:
            for query in (self.QUERY, f"EXPLAIN ANALYZE {self.QUERY}", f"VERIFY {self.QUERY}"):
                with pytest.raises(Interrupted, match=f"^interrupted.*; nothing is written to '{into}'$"):
                    db.execute(f"{query} INTO '{into}'")
        finally:
            db.progress = None
        assert list(tmp_path.iterdir()) == []

    def test_ctrl_c_waits_for_foreign_code(self) -> None:
        reached = []
        with pytest.raises(KeyboardInterrupt), deferred():
            signal.raise_signal(signal.SIGINT)
            reached.append("the end")
        assert reached == ["the end"]
        with pytest.raises(KeyboardInterrupt), deferred():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            reached.append("not this")
        assert reached == ["the end"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_threads_share_a_session(self, db: Session) -> None:
        expected = db.execute(self.QUERY).values
        results: list[np.ndarray] = []
        workers = [threading.Thread(target=lambda: results.append(db.execute(self.QUERY).values)) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert len(results) == 4 and all(np.array_equal(each, expected) for each in results)


@pytest.mark.parametrize("threads", [1, 2])
def test_no_more_cores_are_used_than_threads_are_set(threads: int) -> None:
    """Neither by the libraries beneath the workers nor by those that wait for work."""
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    with kdb.connect() as db:
        db.execute(f"SET threads = {threads}")
        query = "OCCLUDE $image WITH patch(8, 8) STRIDE {} USING resnet18 (weights = 'random', input = 96)"
        db.execute(query.format(16), {"image": image})
        db.close()
        cpu, wall = time.process_time(), time.perf_counter()
        db.execute(query.format(4), {"image": image})
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    assert cpu <= 1.1 * threads * wall


@pytest.mark.parametrize("form", ["OCCLUDE", "EXPLAIN ANALYZE OCCLUDE"])
@pytest.mark.parametrize(
    ("source", "into"), [("a.png", "a.png"), ("[ab].png", "{stem}.png"), ("a*.png", "./{stem}.png")]
)
def test_images_are_not_overwritten(
    db: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, source: str, into: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(name)
    before = Path("a.png").read_bytes()
    with pytest.raises(BindError, match="would overwrite"):
        db.execute(f"{form} '{source}' STRIDE 16 USING small INTO '{into}'")
    assert Path("a.png").read_bytes() == before
