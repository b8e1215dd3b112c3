"""VERIFY: what it compares is the model itself, what it finds is what differs, and what it cannot know it says."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import kdb
from benchmarks import photos
from benchmarks.calibrated import calibrate
from kdb.errors import BindError, ExecutionError
from kdb.queries import evaluation
from kdb.results.maps import HeatMap
from kdb.session import verifying
from kdb.session.session import Session
from kdb.session.verifying import POSITIONS, Verification

SIDE = 40
LABELS = ["cat", "dog", "cow", "crane"]
QUERY = "OCCLUDE $img WITH patch(8, 8) STRIDE 2 USING small"
OPTIONS = {"input_size": (SIDE, SIDE), "labels": LABELS, "mean": 0.5, "std": 0.25}


def network() -> nn.Module:
    torch.manual_seed(2)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(48, 4),
    )
    return calibrate(module, photos.normalised(photos.crops((SIDE, SIDE), 6)))


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return network()


@pytest.fixture(scope="module")
def shared(module: nn.Module) -> Session:
    session = kdb.connect()
    session.register_model("small", module, **OPTIONS)
    return session


@pytest.fixture
def img() -> np.ndarray:
    return photos.photo("chelsea", (SIDE, SIDE))


@pytest.fixture
def db(shared: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """In an empty folder, with a model called small; its settings as they were afterwards."""
    monkeypatch.chdir(tmp_path)
    yield shared
    shared.settings.reset_all()


def columns(table: Any) -> dict[str, list[Any]]:
    return {name: [row[i] for row in table] for i, name in enumerate(table.columns)}


def fields(table: Any) -> dict[str, tuple[Any, ...]]:
    return {row[0]: row[1:] for row in table}


def run(session: Session, text: str, parameters: Any = None) -> Verification:
    found = session.execute(text, parameters)
    assert isinstance(found, Verification)
    return found


def by_hand(module: nn.Module, img: np.ndarray, y: int, x: int, patch: int = 8) -> np.ndarray:
    """Logits with a black patch at (y, x), in float64."""
    pixels = img.astype(np.float64)
    pixels[y : y + patch, x : x + patch] = 0
    batch = torch.from_numpy((pixels / 255 - 0.5) / 0.25).permute(2, 0, 1)[None]
    with torch.no_grad():
        return copy.deepcopy(module).double()(batch)[0].numpy()


class TestAQuery:
    @pytest.mark.parametrize("score", ["probability", "drop", "logit", "logit_drop"])
    def test_it_has_the_map_s_scores_beside_the_model_s_own(
        self, db: Session, module: nn.Module, img: np.ndarray, score: str
    ) -> None:
        query = f"{QUERY} FOR CLASS 'cow' SCORE {score}"
        found, heat_map = run(db, f"VERIFY {query}", {"img": img}), db.execute(query, {"img": img})
        assert isinstance(heat_map, HeatMap)
        given = columns(found)
        assert len(found) == POSITIONS and found.agrees and set(given["agrees"]) == {True}
        assert set(given["class"]) == {"cow"} and set(given["value"]) == {"exact"}
        where = np.stack([given["y"], given["x"]], axis=1)
        assert [tuple(each) for each in where.tolist()] == sorted({tuple(each) for each in where.tolist()})
        for y, x, ours, own in zip(given["y"], given["x"], given["kdb"], given["model"], strict=True):
            assert ours == heat_map.values[y // 2, x // 2]
            logits, whole = by_hand(module, img, y, x), by_hand(module, img, 0, 0, 0)
            values = [
                each if score.startswith("logit") else np.exp(each) / np.exp(each).sum() for each in (logits, whole)
            ]
            expected = values[1][2] - values[0][2] if score.endswith("drop") else values[0][2]
            assert own == pytest.approx(expected, abs=1e-5)
        extremes = {
            np.unravel_index(i, heat_map.values.shape) for i in (heat_map.values.argmin(), heat_map.values.argmax())
        }
        assert extremes <= {(y // 2, x // 2) for y, x in zip(given["y"], given["x"], strict=True)}

    def test_as_many_positions_as_the_setting_says_or_there_are(self, db: Session, img: np.ndarray) -> None:
        for value, expected in (("5", 5), ("1000", 17 * 17), ("auto", POSITIONS), ("off", POSITIONS)):
            assert len(run(db, f"SET verify = {value}; VERIFY {QUERY}", {"img": img})) == expected
        assert len(run(db, f"VERIFY {QUERY.replace('STRIDE 2', 'STRIDE 16')}", {"img": img})) == 9

    def test_the_seed_chooses(self, db: Session, img: np.ndarray) -> None:
        first, other = (run(db, f"SET seed = {seed}; VERIFY {QUERY}", {"img": img}) for seed in (0, 1))
        assert first == run(db, f"SET seed = 0; VERIFY {QUERY}", {"img": img})
        assert columns(first)["y"] != columns(other)["y"]

    @pytest.mark.parametrize("classes", ["PREDICTED", "ALL CLASSES"])
    def test_a_value_that_is_wrong_is_found(
        self, db: Session, img: np.ndarray, monkeypatch: pytest.MonkeyPatch, classes: str
    ) -> None:
        real = evaluation.run

        def spoilt(*arguments: Any, **keywords: Any) -> Any:
            found = real(*arguments, **keywords)
            values = found.heat_map.values.copy()
            at = (3, 5) if values.ndim == 2 else (1, 3, 5)  # of ALL CLASSES that of dog
            values[at] = values.max() + 0.01  # an extreme, so that it is looked at
            return replace(found, heat_map=replace(found.heat_map, values=values))

        monkeypatch.setattr(evaluation, "run", spoilt)
        found = run(db, f"VERIFY {QUERY} FOR {classes}", {"img": img})
        (wrong,) = [row for row in found if row[-1] is not True]
        assert not found.agrees and wrong[:2] == (6, 10) and wrong[-1] is False
        assert wrong[2] == "dog" or classes == "PREDICTED"
        difference, allowed = wrong[5:7]
        assert difference == pytest.approx(abs(wrong[3] - wrong[4])) and difference > allowed
        assert "differs at 1 of 32" in str(found) and "differs at 1 of 32" in found._repr_html_()

    @pytest.mark.parametrize(
        ("clause", "kinds"),
        [
            ("APPROXIMATE TO SSIM 0.6", {"exact", "estimate"}),
            ("THRESHOLD 0.6", {"approximate"}),
            ("DRILL DOWN", {"exact", "estimate"}),
        ],
    )
    def test_values_that_are_not_exact_are_marked_and_not_judged(
        self, db: Session, img: np.ndarray, clause: str, kinds: set[str]
    ) -> None:
        db.execute("SET rule.freeze_context = off; SET rule.projective_field = on")
        found = run(db, f"VERIFY {QUERY} {clause}", {"img": img})
        given = columns(found)
        assert set(given["value"]) == kinds and len(found) == POSITIONS
        assert [each is not None for each in given["agrees"]] == [each == "exact" for each in given["value"]]
        assert found.agrees == ("exact" in kinds) and "not exact, and not judged" in str(found)
        assert str(found).startswith("agrees" if "exact" in kinds else "nothing is judged")

    def test_ctrl_c_after_the_map_says_so(self, db: Session, img: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
        def stopped(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(verifying.Own, "scores", stopped)
        for into, said in (("", "after the map was made"), (" INTO 'map.npz'", "made, which is written to 'map.npz'")):
            with pytest.raises(kdb.Interrupted, match=f"^interrupted while the model itself was run, .*{said}$"):
                db.execute(f"VERIFY {QUERY}{into}", {"img": img})
        monkeypatch.setattr("kdb.queries.rounds.Rounds.check", stopped)
        with pytest.raises(
            kdb.Interrupted, match=r"^interrupted after all 289 positions, before the map was checked$"
        ) as got:
            db.execute(f"VERIFY {QUERY}", {"img": img})
        assert np.isfinite(got.value.partial.values).all()

    def test_into_writes_the_map_and_several_images_are_refused(self, db: Session, img: np.ndarray) -> None:
        run(db, f"VERIFY {QUERY} INTO 'map.npz'", {"img": img})
        heat_map = db.execute(QUERY, {"img": img})
        assert isinstance(heat_map, HeatMap)
        np.testing.assert_array_equal(HeatMap.load("map.npz").values, heat_map.values)
        with pytest.raises(BindError, match="VERIFY runs one image; 2 are given"):
            db.execute(f"VERIFY {QUERY}", {"img": [img, img]})
        assert len(run(db, f"VERIFY {QUERY}", {"img": [img]})) == POSITIONS


class TestAFile:
    @pytest.fixture
    def path(self, db: Session, img: np.ndarray) -> str:
        db.execute(f"{QUERY} FOR CLASS 'dog' SCORE drop INTO 'map.npz'", {"img": img})
        return "map.npz"

    def test_the_same_map_agrees_in_everything(self, db: Session, img: np.ndarray, path: str) -> None:
        found = run(db, f"VERIFY '{path}'", {"img": img})
        assert found.agrees and found.columns == ("field", "saved", "now", "agrees")
        rows = fields(found)
        assert set(rows) == {
            "kdb", "versions", "device", "date", "model",
            "identity", "graph", "weights", "preprocessing", "labels",
            "source", "image", "place", "fill", "class", "score", "patch", "stride", "positions", "baseline", "values",
            "exact", "checked",
        }  # fmt: skip
        assert all(agrees is True for field, (_, _, agrees) in rows.items() if field not in ("checked", "date"))
        assert rows["class"] == ("dog (1)", "dog (1)", True) and rows["image"] == ("img", "img", True)
        assert str(found).startswith("agrees\n")

    def test_without_its_image_the_copy_in_the_file_is_taken(self, db: Session, path: str) -> None:
        found = run(db, f"VERIFY '{path}'")
        assert found.agrees and fields(found)["image"] == ("img", "the copy in the file", None)

    def test_the_copy_is_not_prepared_once_more(self, module: nn.Module, db: Session, img: np.ndarray) -> None:
        """It lies on the model's grid already, also where preparing scales up and crops."""
        db.register_model("cropped", module, **{**OPTIONS, "resize": "crop"})
        tall = photos.photo("chelsea", (SIDE + 20, SIDE))
        db.execute(f"{QUERY.replace('small', 'cropped')} INTO 'map.npz'", {"img": tall})
        assert run(db, "VERIFY 'map.npz'").agrees and run(db, "VERIFY 'map.npz'", {"img": tall}).agrees

    def test_the_image_is_found_by_the_path_in_the_file(self, db: Session, img: np.ndarray) -> None:
        Image.fromarray(img).save("a.png")
        Image.fromarray(img[::-1]).save("b.png")
        for source, given in (("'a.png'", {}), ("$img", {"img": "a.png"}), ("'[ab].png'", {})):
            into = "map-{stem}.npz"
            db.execute(f"OCCLUDE {source} WITH patch(8, 8) USING small INTO '{into}'", given)
            found = run(db, "VERIFY 'map-a.npz'")
            assert found.agrees and fields(found)["image"] == ("a.png", "a.png", True)
        Image.fromarray(img[::-1]).save("a.png")
        found = run(db, "VERIFY 'map-a.npz'")
        assert not found.agrees and fields(found)["image"] == ("a.png", "a.png, with other pixels", False)
        Path("a.png").unlink()
        assert fields(run(db, "VERIFY 'map-a.npz'"))["image"] == ("a.png", "the copy in the file", None)

    def test_the_image_is_found_by_its_name(self, db: Session, img: np.ndarray, path: str) -> None:
        db.register_image("cat", img)
        db.execute("OCCLUDE cat WITH patch(8, 8) USING small INTO 'map.npz'")
        assert fields(run(db, "VERIFY 'map.npz'"))["image"] == ("cat", "cat", True)
        assert fields(run(db, "VERIFY 'map.npz'", {"cat": img[::-1].copy()}))["image"] == (
            "cat",
            "cat, with other pixels",
            False,
        )
        with pytest.raises(BindError, match="a map is of one image; cat are 2"):
            db.execute("VERIFY 'map.npz'", {"cat": [img, img]})

    def test_a_parameter_that_nothing_takes_is_said_and_a_misspelled_one_refused(
        self, db: Session, img: np.ndarray, path: str
    ) -> None:
        with pytest.raises(BindError, match=r"'map.npz' has no parameter \$imgg; did you mean 'img'"):
            db.execute(f"VERIFY '{path}'", {"imgg": img})
        for given in ({"img": img, "imgg": img}, {"other": img}):
            found = run(db, f"VERIFY '{path}'", given)
            assert found.agrees and fields(found)["parameters"][1:] == (f"not used: ${list(given)[-1]}", None)

    def test_another_model_differs_and_says_in_what(self, path: str) -> None:
        other, changed = kdb.connect(), network()
        other.register_model("small", changed, **OPTIONS)
        with torch.no_grad():
            changed[0].weight *= 1.01  # type: ignore[index,operator]
        rows = fields(run(other, f"VERIFY '{path}'"))
        assert [field for field, row in rows.items() if row[-1] is False] == [
            "identity",
            "weights",
            "baseline",
            "values",
        ]
        assert "of what Exact allows" in rows["values"][1]

    def test_of_another_class_values_are_not_compared(self, db: Session, img: np.ndarray) -> None:
        heat_map = db.execute(f"{QUERY} INTO 'map.npz'", {"img": img})
        assert isinstance(heat_map, HeatMap)
        other, changed = kdb.connect(), network()
        with torch.no_grad():
            changed[7].bias[heat_map.class_index] -= 99  # type: ignore[index,operator]
        other.register_model("small", changed, **OPTIONS)
        found = run(other, "VERIFY 'map.npz'")
        rows = fields(found)
        assert rows["class"][-1] is False and rows["values"][-1] is None and "baseline" not in rows
        assert str(found).startswith("differs in identity, weights, class\n")

    def test_using_names_another_model_or_the_same_under_another_name(
        self, db: Session, module: nn.Module, img: np.ndarray, path: str
    ) -> None:
        other = kdb.connect()
        with pytest.raises(kdb.errors.UnknownName, match=r"unknown model 'small'.*VERIFY 'map.npz' USING"):
            other.execute(f"VERIFY '{path}'")
        with pytest.raises(kdb.errors.UnknownName, match="unknown model 'smal'") as caught:
            other.execute(f"VERIFY '{path}' USING smal")
        assert "was made by it" not in str(caught.value)
        other.register_model("renamed", module, **OPTIONS)
        found = run(other, f"VERIFY '{path}' USING renamed")
        assert found.agrees and fields(found)["model"] == ("small", "renamed", None)
        given = [module, LABELS]
        found = run(other, f"VERIFY '{path}' USING ? (input = 40, labels = ?, mean = 0.5, std = 0.25)", given)
        assert found.agrees and fields(found)["identity"][-1] is True
        other.register_model("larger", module, **{**OPTIONS, "input_size": (48, 48)})
        with pytest.raises(BindError, match="its copy in the file, 40 x 40 x 3, is no input of 'larger'"):
            other.execute(f"VERIFY '{path}' USING larger")
        found = run(other, f"VERIFY '{path}' USING larger", {"img": img})
        assert fields(found)["positions"][-1] is False and fields(found)["values"][-1] is None
        assert fields(found)["image"] == ("img, prepared as 40 x 40", "img, prepared as 48 x 48", False)

    def test_what_parameters_were_is_in_the_file(self, db: Session, img: np.ndarray) -> None:
        positions = np.array([(0, 0), (3, 30), (32, 32), (3, 30)])
        db.execute(
            "OCCLUDE ? WITH patch(8, 8) USING small AT ? FOR CLASSES (?, 'cat') INTO 'map.npz'", [img, positions, "dog"]
        )
        found = run(db, "VERIFY 'map.npz'")
        assert found.agrees and fields(found)["stride"] == (None, None, True)
        mask = np.zeros((SIDE, SIDE), bool)
        mask[10:20, 10:30] = True
        colours = np.full((8, 8, 3), 9, np.uint8)
        given = {"img": img, "m": mask, "p": colours}
        db.execute("OCCLUDE $img WITH patch(8, 8) FILL $p USING small WITHIN mask($m) INTO 'map.npz'", given)
        for name in ("", "p", "m"):
            found = run(db, "VERIFY 'map.npz'", {each: value for each, value in given.items() if each != name})
            assert found.agrees and fields(found)["positions"][0] == "10 of 10 evaluated, on a grid of 81"
            assert fields(found)["fill"][1:] == (
                ("the copy in the file", None) if name == "p" else ("8 x 8 pixels, (9, 9, 9) in the mean", True)
            )
        given["p"] = colours + np.uint8(1)
        assert fields(run(db, "VERIFY 'map.npz'", given))["fill"][-1] is False
        given["p"] = colours
        given["m"] = ~mask
        assert fields(run(db, "VERIFY 'map.npz'", given))["positions"][-1] is False

    def test_a_map_of_kdb_occlude_needs_its_model(self, db: Session, module: nn.Module, img: np.ndarray) -> None:
        kdb.occlude(img, module, 8, mean=0.5, std=0.25).save("map.npz")  # type: ignore[union-attr]
        with pytest.raises(
            BindError,
            match=r"the parameter \$model .*; give VERIFY \$model, \$option_.*, or write VERIFY 'map.npz' USING",
        ):
            db.execute("VERIFY 'map.npz'")
        assert run(db, "VERIFY 'map.npz' USING small").agrees

    def test_what_a_question_mark_stood_for_cannot_be_given(
        self, db: Session, module: nn.Module, img: np.ndarray
    ) -> None:
        mask, patch = np.zeros((SIDE, SIDE), bool), np.full((8, 8), 7, np.uint8)
        mask[:, ::3] = True
        given = [img, patch, mask]
        db.execute("OCCLUDE ? WITH patch(8, 8) FILL ? USING small WITHIN mask(?) INTO 'map.npz'", given)
        assert run(db, "VERIFY 'map.npz'").agrees  # they are in the file
        replace(HeatMap.load("map.npz"), fill=None).save("earlier.npz")
        for given in ([], [img, mask]):
            with pytest.raises(BindError, match=r"FILL \?, which its file does not keep; VERIFY cannot .* \? stood"):
                db.execute("VERIFY 'earlier.npz'", given)
        options = "(input = 40, mean = 0.5, std = 0.25)"
        db.execute(f"OCCLUDE ? WITH patch(8, 8) USING ? {options} INTO 'map.npz'", [img, module])
        with pytest.raises(BindError, match=r"parameter \?.*; VERIFY cannot .* or write VERIFY 'map.npz' USING"):
            db.execute("VERIFY 'map.npz'")
        assert run(db, "VERIFY 'map.npz' USING small").agrees

    def test_what_was_checked_is_said_in_words(self, db: Session, path: str) -> None:
        whole = HeatMap.load(path)
        for checked, said in (
            ((0, 0.1), "the unmodified image alone"),
            ((1, 0.1), "1 position"),
            ((6, 0.1), "6 positions"),
        ):
            replace(whole, checked=checked).save("other.npz")
            assert fields(run(db, "VERIFY 'other.npz'"))["checked"][0] == f"{said}, at worst 0.1 of what Exact allows"

    def test_a_sampled_map_is_sampled_alike(self, db: Session, img: np.ndarray) -> None:
        db.execute(f"{QUERY} APPROXIMATE TO SSIM 0.6 INTO 'map.npz'", {"img": img})
        rows = fields(run(db, "VERIFY 'map.npz'"))
        assert rows["values"][-1] is True and rows["estimates"][-1] is True and rows["exact"] == (False, False, True)
        assert "equal bit for bit" in rows["estimates"][1]

    def test_a_partial_map_is_compared_where_it_has_values(self, db: Session, img: np.ndarray, path: str) -> None:
        whole = HeatMap.load(path)
        values, evaluated = whole.values.copy(), whole.evaluated.copy()
        values[5:], evaluated[5:] = np.nan, False
        replace(whole, values=values, evaluated=evaluated, complete=False).save("part.npz")
        found = run(db, "VERIFY 'part.npz'")
        assert found.agrees and fields(found)["complete"] == (False, True, None)
        values[2, 2] += 1
        replace(whole, values=values, evaluated=evaluated, complete=False).save("part.npz")
        rows = fields(run(db, "VERIFY 'part.npz'"))
        assert rows["values"][-1] is False and "at (4, 4)" in rows["values"][1]

    def test_nothing_is_written_whatever_the_query_in_the_file_says(self, db: Session, path: str) -> None:
        whole = HeatMap.load(path)
        replace(whole, query=f"{whole.query} INTO 'written.npz'").save(path)
        assert run(db, f"VERIFY '{path}'").agrees and not Path("written.npz").exists()

    def test_what_is_no_map_of_a_query_is_refused(self, db: Session, path: str) -> None:
        whole = HeatMap.load(path)
        replace(whole, query="OCCLUDE everything").save("foreign.npz")
        with pytest.raises(BindError, match=r"query of the map in 'foreign\.npz' is none that this kdb reads"):
            db.execute("VERIFY 'foreign.npz'")
        replace(whole, query="SHOW RULES").save("foreign.npz")
        with pytest.raises(BindError, match="not made by a query that can be run again: SHOW RULES"):
            db.execute("VERIFY 'foreign.npz'")
        with pytest.raises(ExecutionError, match="No such file"):
            db.execute("VERIFY 'missing.npz'")


class TestWhatDiffers:
    """Each of what a map was made of is another one, and the row says which."""

    @pytest.fixture
    def path(self, db: Session, img: np.ndarray) -> str:
        db.execute(f"{QUERY} FOR CLASS 1 SCORE logit INTO 'map.npz'", {"img": img})
        return "map.npz"

    @staticmethod
    def differing(found: Verification) -> list[str]:
        return [row[0] for row in found if row[-1] is False]

    @staticmethod
    def session(module: nn.Module, **options: Any) -> Session:
        other = kdb.connect()
        other.register_model("small", module, **{**OPTIONS, **options})
        return other

    def test_another_image(self, db: Session, img: np.ndarray, path: str) -> None:
        found = run(db, f"VERIFY '{path}'", {"img": img[:, ::-1]})
        assert self.differing(found) == ["image", "baseline", "values"] and fields(found)["source"][-1] is None
        slightly = img.copy()
        slightly[0, 0, 0] ^= 1
        assert self.differing(run(db, f"VERIFY '{path}'", {"img": slightly}))[0] == "image"

    def test_other_bytes_of_the_same_pixels(self, db: Session, img: np.ndarray) -> None:
        Image.fromarray(img).save("a.png")
        db.execute(f"{QUERY.replace('$img', repr('a.png'))} INTO 'map.npz'")
        Image.fromarray(img).save("a.png", compress_level=0)
        found = run(db, "VERIFY 'map.npz'")
        assert found.agrees and fields(found)["source"][-1] is None and fields(found)["image"][-1] is True

    def test_what_a_file_does_not_say_of_its_image(self, db: Session, img: np.ndarray, path: str) -> None:
        whole = HeatMap.load(path)
        assert whole.provenance is not None
        replace(whole, provenance=replace(whole.provenance, source_of=None, source_sha256=None)).save("silent.npz")
        found = run(db, "VERIFY 'silent.npz'", {"img": img})
        assert found.agrees and fields(found)["source"][::2] == ("not in the file", None)
        assert fields(run(db, f"VERIFY '{path}'"))["source"][1:] == ("the copy in the file", None)

    def test_another_device_and_other_notes(self, db: Session, path: str) -> None:
        whole = HeatMap.load(path)
        assert whole.provenance is not None
        changed = replace(whole.provenance, device="some GPU", threads=3, precision="tf32")
        replace(whole, provenance=changed, notes=("the patch is pink",)).save("other.npz")
        found = run(db, "VERIFY 'other.npz'")
        assert found.agrees and fields(found)["notes"] == ("the patch is pink", "", None)
        assert fields(found)["device"][0] == "some GPU, 3 threads, tf32" and fields(found)["device"][-1] is None

    def test_digests_that_begin_alike_are_shown_whole(self, db: Session, path: str) -> None:
        whole = HeatMap.load(path)
        assert whole.provenance is not None
        weights = whole.provenance.parts["weights"]
        parts = {**whole.provenance.parts, "weights": weights[:-1] + ("1" if weights[-1] == "0" else "0")}
        replace(whole, provenance=replace(whole.provenance, parts=parts)).save("other.npz")
        assert fields(run(db, "VERIFY 'other.npz'"))["weights"] == (parts["weights"], weights, False)

    def test_other_positions_evaluated(self, db: Session, img: np.ndarray) -> None:
        db.execute(f"{QUERY} APPROXIMATE TO SSIM 0.6 INTO 'map.npz'", {"img": img})
        whole = HeatMap.load("map.npz")
        evaluated = whole.evaluated.copy()
        evaluated[tuple(np.argwhere(evaluated)[0])] = False
        replace(whole, evaluated=evaluated).save("map.npz")
        assert fields(run(db, "VERIFY 'map.npz'"))["positions"][-1] is None

    def test_other_labels(self, module: nn.Module, path: str) -> None:
        swapped = self.session(module, labels=["dog", "cat", "cow", "crane"])
        assert self.differing(run(swapped, f"VERIFY '{path}'")) == ["labels", "class"]
        elsewhere = self.session(module, labels=["cat", "dog", "crane", "cow"])  # the map's own label is the same
        found = run(elsewhere, f"VERIFY '{path}'")
        assert self.differing(found) == ["labels"] and not found.agrees and fields(found)["values"][-1] is True
        without = run(self.session(module, labels=None), f"VERIFY '{path}'")
        assert self.differing(without) == ["labels"] and fields(without)["class"] == ("dog (1)", "class 1 (1)", None)
        assert fields(without)["labels"][1:] == ("none now", False)

    @pytest.mark.usefixtures("db")
    @pytest.mark.parametrize("had", [True, False])
    @pytest.mark.parametrize("has", [True, False])
    def test_a_label_that_was_edited_in_the_file(
        self, module: nn.Module, img: np.ndarray, had: bool, has: bool
    ) -> None:
        """It differs wherever the digest of the labels contradicts it, or the model has labels to compare with."""
        db = self.session(module, labels=LABELS if had else None)
        db.execute(f"{QUERY} FOR CLASS 1 INTO 'map.npz'", {"img": img})
        whole, now = HeatMap.load("map.npz"), self.session(module, labels=LABELS if has else None)
        own = fields(run(now, "VERIFY 'map.npz'"))
        assert own["class"][-1] is (True if had == has else None)
        assert own["labels"][-1] is (False if had and not has else True if had == has else None)
        for label in ("cow", "class 1" if had else "dog"):
            replace(whole, label=label).save("map.npz")
            found = run(now, "VERIFY 'map.npz'")
            assert not found.agrees
            assert self.differing(found) == (["labels"] if had and not has else ["class"])

    def test_labels_of_earlier_versions_are_compared_where_the_model_has_labels(
        self, module: nn.Module, path: str
    ) -> None:
        whole = replace(HeatMap.load(path), provenance=None)
        for label, labels, agrees in (
            ("dog", LABELS, True),
            ("cow", LABELS, False),
            ("class 1", LABELS, None),
            ("dog", None, None),
            ("class 1", None, True),
        ):
            replace(whole, label=label).save(path)
            found = run(self.session(module, labels=labels), f"VERIFY '{path}'")
            assert fields(found)["class"][-1] is agrees

    @pytest.mark.parametrize("changed", [{"source_box": (0.0, 1.0, 40.0, 40.0)}, {"source_size": (40, 41)}])
    def test_another_place(self, db: Session, img: np.ndarray, path: str, changed: dict[str, Any]) -> None:
        found = run(db, f"VERIFY '{path}'", {"img": img})
        assert fields(found)["place"] == (*["40 x 40 at (0, 0) of 40 x 40 pixels"] * 2, True)
        replace(HeatMap.load(path), **changed).save(path)
        assert self.differing(run(db, f"VERIFY '{path}'", {"img": img})) == ["place"]
        assert fields(run(db, f"VERIFY '{path}'"))["place"][1:] == ("the copy in the file", None)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"mean": 0.4}, ("mean = (0.5, 0.5, 0.5)", "mean = (0.4, 0.4, 0.4)")),
            ({"activation": "sigmoid"}, ("activation = softmax", "activation = sigmoid")),
            (
                {"channels": "BGR", "resize": "crop"},
                ("channels = RGB, resize = bilinear", "channels = BGR, resize = crop"),
            ),
        ],
    )
    def test_another_preprocessing(
        self, module: nn.Module, img: np.ndarray, path: str, options: dict[str, Any], said: tuple[str, str]
    ) -> None:
        found = run(self.session(module, **options), f"VERIFY '{path}'", {"img": img})
        assert "preprocessing" in self.differing(found) and fields(found)["preprocessing"] == (*said, False)
        assert not {"weights", "labels", "image"} & {*self.differing(found)}

    def test_another_graph_of_the_same_weights(self, module: nn.Module, path: str) -> None:
        layers = [*copy.deepcopy(module)]
        layers[4] = nn.LeakyReLU()
        found = run(self.session(nn.Sequential(*layers)), f"VERIFY '{path}'")
        assert self.differing(found)[:2] == ["identity", "graph"]
        assert fields(found)["weights"][-1] is True

    def test_another_version_may_round_otherwise_and_write_another_graph(self, db: Session, path: str) -> None:
        whole = HeatMap.load(path)
        assert whole.provenance is not None
        nudged = whole.values * np.float32(1 + 2e-7)
        graph = {**whole.provenance.parts, "graph": "0" * 64}
        other = {"torch": "1.0", "numpy": whole.provenance.versions["numpy"]}
        versions = {**whole.provenance.versions, **other}
        provenance = replace(whole.provenance, versions=versions, parts=graph)
        replace(whole, values=nudged, provenance=provenance, version="0.0.1", model_identity="0" * 64).save(path)
        found = run(db, f"VERIFY '{path}'")
        rows = fields(found)
        assert found.agrees and rows["kdb"][-1] is None and rows["graph"][-1] is None and rows["identity"][-1] is None
        assert rows["versions"] == ("torch 1.0", f"torch {torch.__version__}", None)
        replace(whole, provenance=replace(whole.provenance, parts=graph), model_identity="0" * 64).save(path)
        assert self.differing(run(db, f"VERIFY '{path}'")) == ["identity", "graph"]

    @pytest.mark.parametrize("fill", ["black", "blur(2)"])
    def test_another_fill(self, db: Session, img: np.ndarray, fill: str) -> None:
        db.execute(f"{QUERY.replace('8) ', f'8) FILL {fill} ')} INTO 'map.npz'", {"img": img})
        whole = HeatMap.load("map.npz")
        assert whole.fill is not None and run(db, "VERIFY 'map.npz'").agrees
        replace(whole, fill=whole.fill + np.float32(0.1)).save("other.npz")
        assert self.differing(run(db, "VERIFY 'other.npz'")) == ["fill"]

    @pytest.mark.parametrize("channels", [1, 2, 5])
    def test_the_copy_in_the_file_is_exact_for_any_channels(self, channels: int, db: Session) -> None:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 10 * 10, 2))
        session = kdb.connect()
        session.register_model("n", net, input_size=12, n_channels=channels)
        rng = np.random.default_rng(0)
        image = rng.integers(0, 65536, (12, 12, 3 if channels == 1 else channels), np.uint16)
        session.execute("OCCLUDE $i WITH patch(3, 3) FILL blur(1) USING n INTO 'map.npz'", {"i": image})
        for given in ({}, {"i": image}):
            found = run(session, "VERIFY 'map.npz'", given)
            assert found.agrees and "equal bit for bit" in fields(found)["values"][1]
            assert fields(found)["fill"][-1] is True
        with pytest.raises(BindError, match="its copy in the file, 12 x 12 x"):
            run(db, "VERIFY 'map.npz' USING small")

    def test_maps_of_earlier_versions_had_eight_bits_and_no_fill(self, db: Session, img: np.ndarray) -> None:
        wide = img.astype(np.uint16) * 256 + 100
        db.execute(f"{QUERY} INTO 'map.npz'", {"img": wide})
        whole = HeatMap.load("map.npz")
        replace(whole, image=whole.picture, fill=None, provenance=None).save("map.npz")
        found = run(db, "VERIFY 'map.npz'", {"img": wide})
        assert found.agrees and fields(found)["image"][-1] is True
        assert not {"fill", "versions", "weights", "source"} & {*fields(found)}
        assert fields(found)["provenance"] == ("not in the file", None, None)
        assert self.differing(run(db, "VERIFY 'map.npz'", {"img": wide[::-1]}))[0] == "image"
