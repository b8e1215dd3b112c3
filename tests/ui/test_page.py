"""A page over a session, without a browser: what it answers to each request."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import kdb
from kdb.models.reference import ModuleReference
from kdb.planner.rules import RULES
from kdb.results.maps import HeatMap
from kdb.ui import maps
from kdb.ui.answers import query as answers
from kdb.ui.worker import Worker
from tests.ui.pages import Browser, Content, slow_batches

PIXELS = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
QUERY = "OCCLUDE $image WITH patch(8, 8) STRIDE 2 USING net"


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(4),
        nn.Flatten(), nn.Linear(128, 5),
    ).eval()  # fmt: skip


LABELS = ["cat", "dog", "<b>bird</b>", "fish", "cow, ox"]


@pytest.fixture
def db() -> kdb.Session:
    session = kdb.connect()
    session.register_model("net", network(), input_size=(48, 48), labels=LABELS)
    return session


@pytest.fixture
def browser(db: kdb.Session) -> Iterator[Browser]:
    found = Browser(db, text=QUERY, parameters={"image": PIXELS})
    yield found
    found.page.close()


def run(browser: Browser, text: str = QUERY, **more: Any) -> tuple[list[Content], Content]:
    """The maps of a query, and the event that ends it."""
    id = browser.send("run", text=text, **more)
    end = browser.wait(lambda each: each.get("id") == id and each["kind"] in ("finished", "refused"))
    return browser.all("map", id), end


class TestForm:
    def test_a_page_begins_with_its_query(self, browser: Browser) -> None:
        form = browser.form("hello")
        welcome = browser.all("welcome")[0]
        assert welcome["text"] == QUERY == form["text"] and welcome["version"] == kdb.__version__
        assert {"name": "net", "from": "registered", "input": "3x48x48"} in welcome["models"]
        assert welcome["root"] is None and {"name": "chelsea", "title": "a cat"} in welcome["samples"]
        assert form["form"]["size"] == [48, 48] and form["form"]["axes"] == "yx" and not form["form"]["dense"]
        assert browser.all("labels")[0]["labels"] == LABELS

    def test_a_browser_may_answer_the_welcome_at_once(self, db: kdb.Session) -> None:
        """What it asks then is not taken for older than the welcome."""

        class Quick(Browser):
            edited = 0

            def _take(self, content: Content, buffers: list[Any]) -> None:
                super()._take(content, buffers)
                if content["kind"] == "welcome":
                    self.edited = self.send("edit", text=content["text"])

        browser = Quick(db, text=QUERY, parameters={"image": PIXELS})
        browser.send("hello")
        browser.wait(lambda each: each["kind"] == "form" and each["id"] == browser.edited and each["form"]["size"])
        browser.page.close()

    def test_the_picture_is_what_the_model_sees(self, browser: Browser, db: kdb.Session) -> None:
        form = browser.form("edit", text=QUERY)["form"]
        (picture,) = browser.all("picture")
        assert picture["key"] == form["picture"] and picture["source_size"] == [60, 80]
        found = db.execute(QUERY, {"image": PIXELS})
        assert isinstance(found, HeatMap)
        assert np.array_equal(browser.array(picture, "image"), found.picture)
        assert picture["source_box"] == [*found.source_box]
        browser.form("edit", text=QUERY + " FOR TOP 2")
        assert len(browser.all("picture")) == 1 and len(browser.all("labels")) == 1, "each comes once"

    def test_a_finer_source_comes_too(self, browser: Browser, db: kdb.Session) -> None:
        db.register_image("large", np.tile(PIXELS, (10, 10, 1)))
        browser.form("edit", text=QUERY.replace("$image", "large"))
        (picture,) = browser.all("picture")
        fine = browser.array(picture, "fine")
        assert fine.shape[0] > 300 and fine.dtype == np.uint8

    def test_what_is_wrong_is_told_at_its_place(self, browser: Browser) -> None:
        form = browser.form("edit", text=QUERY.replace("STRIDE", "STRIDER"))
        error = form["error"]
        assert form["form"] is None
        assert (error["type"], error["line"], error["column"]) == ("ParseError", 1, QUERY.index("STRIDE") + 1)
        assert error["suggestion"] == "STRIDE" and "STRIDE" in error["expected"] and "line 1" not in error["message"]
        wrong = browser.form("edit", text=QUERY.replace("net", "nett"))
        error = wrong["error"]
        assert error["type"] == "UnknownName" and error["suggestion"] == "net"
        assert (error["line"], error["column"]) == (1, QUERY.index("net") + 1)
        assert wrong["form"]["model"] == "nett", "what the text says is shown all the same"

    def test_a_control_writes_the_text(self, browser: Browser) -> None:
        changed = browser.form("change", text=QUERY, control="stride", value=[4, 4])
        assert changed["text"] == QUERY.replace("STRIDE 2", "STRIDE (4, 4)")
        assert browser.page.text == changed["text"] and changed["form"]["stride"] == [4]

    def test_a_mask_is_painted(self, browser: Browser) -> None:
        mask = np.zeros((48, 48), np.uint8)
        mask[10:30, 10:30] = 1
        form = browser.form("change", mask.tobytes(), text=QUERY, control="mask", value="painted")
        assert form["text"].endswith("WITHIN mask($painted)") and form["form"]["region"]["kind"] == "mask"
        found, end = run(browser, form["text"])
        assert not end["stopped"]
        there = browser.array(found[-1], "positions")[browser.array(found[-1], "evaluated") > 0]
        assert ((there + 4 >= 10) & (there + 4 < 30)).all() and len(there) == 100
        assert (
            browser.ask("change", b"123", until="form", text=QUERY, control="mask", value="painted")["kind"]
            == "refused"
        )

    def test_an_image_is_dropped(self, browser: Browser) -> None:
        file = io.BytesIO()
        Image.fromarray(PIXELS).save(file, "PNG")
        form = browser.form("upload", file.getvalue(), text=QUERY, name="../my cat (1).png")
        assert form["text"].startswith("OCCLUDE my_cat_1 WITH") and form["form"]["size"] == [48, 48]
        again = browser.form("upload", file.getvalue(), text=QUERY, name="my cat (1).png")
        assert again["text"].startswith("OCCLUDE my_cat_1_2 "), "the first is still there"
        refused = browser.ask("upload", b"no image", until="form", text=QUERY, name="x.png")
        assert refused["kind"] == "refused" and refused["error"]["message"].startswith("cannot read 'x.png': not an")
        _, end = run(browser, form["text"])
        assert end["kind"] == "finished"

    def test_too_large_an_image(self, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(answers, "UPLOAD_LIMIT", 100)
        refused = browser.ask("upload", bytes(101), until="form", text=QUERY, name="x.png")
        assert "101 bytes, more than 100" in refused["error"]["message"]

    def test_a_sample_is_an_image_by_its_name(self, browser: Browser) -> None:
        form = browser.form("edit", text=QUERY.replace("$image", "chelsea"))
        assert form["form"]["size"] == [48, 48] and browser.all("picture")[-1]["source_size"] == [300, 451]

    def test_a_plan(self, browser: Browser) -> None:
        plan = browser.ask("explain", text=QUERY, until="plan")
        assert plan["positions"] == 441 and plan["naive_seconds"] > 0 and plan["layers"]
        assert [rule["name"] for rule in plan["rules"]] == [rule.name for rule in RULES]
        assert "incremental" in {rule["name"] for rule in plan["rules"] if rule["fired"]}
        assert any(line.startswith("check: ") for line in plan["notes"])
        assert browser.ask("explain", text="SHOW MODELS", until="plan")["error"]["message"] == "only OCCLUDE has a plan"


class TestMaps:
    def test_a_map_grows_to_the_queries_own(self, browser: Browser, db: kdb.Session) -> None:
        found, end = run(browser)
        asked = db.execute(QUERY, {"image": PIXELS})
        assert isinstance(asked, HeatMap)
        assert len(found) >= 3 and not end["stopped"] and end["map"] == found[0]["map"] == found[-1]["map"]
        done = [each["done"] for each in found]
        assert done == sorted(set(done)) and done[-1] == found[-1]["total"] == 441
        assert [each["exact"] for each in found] == [False] * (len(found) - 1) + [True]
        assert found[1]["ssim"] is not None and found[-1]["ssim"] is None
        last = found[-1]
        np.testing.assert_allclose(browser.array(last, "values"), asked.values.reshape(-1), atol=1e-6)
        np.testing.assert_allclose(browser.array(last, "heat"), asked.upsample(), atol=1e-6)
        assert np.array_equal(browser.array(last, "positions"), asked.positions.reshape(-1, 2))
        assert last["classes"][0]["label"] == asked.label and last["neutral"] == pytest.approx(asked.baseline)
        progress = browser.all("progress", last["id"])
        assert progress[-1]["done"] <= progress[-1]["total"] == 441
        assert last["checked"]["worst"] < 1 and last["formats"][:2] == ["npz", "png"]
        assert last["identity"]["model"] == asked.model_identity and last["identity"]["source"]

    def test_several_classes(self, browser: Browser, db: kdb.Session) -> None:
        found, _ = run(browser, QUERY + " FOR TOP 3")
        asked = db.execute(QUERY + " FOR TOP 3", {"image": PIXELS})
        assert isinstance(asked, HeatMap)
        assert len(found[-1]["classes"]) == 3 and found[-1]["shown"] == 0
        layer = browser.ask("layer", until="layer", map=found[-1]["map"], **{"class": 2})
        np.testing.assert_allclose(browser.array(layer, "values"), asked.values[2].reshape(-1), atol=1e-6)
        sampled, _ = run(browser, QUERY + " FOR TOP 3 APPROXIMATE TO SSIM 0.5")
        asked = db.execute(QUERY + " FOR TOP 3 APPROXIMATE TO SSIM 0.5", {"image": PIXELS})
        assert isinstance(asked, HeatMap) and asked.error is not None
        layer = browser.ask("layer", until="layer", map=sampled[-1]["map"], **{"class": 2})
        np.testing.assert_allclose(browser.array(layer, "error"), asked.error[2].reshape(-1), rtol=1e-5)
        refused = browser.ask("layer", until="layer", map=found[-1]["map"], **{"class": 3})
        assert refused["kind"] == "refused"

    def test_one_position_is_the_maps(self, browser: Browser) -> None:
        found, _ = run(browser, QUERY + " WITHIN box(4, 4, 40, 40) FOR TOP 2")
        last = found[-1]
        positions, values = browser.array(last, "positions"), browser.array(last, "values")
        at = int(np.flatnonzero(np.isfinite(values))[50])
        ask = {"map": last["map"], "position": positions[at].tolist(), "class": 0}
        probe = browser.ask("probe", until="probe", **ask)
        assert probe["position"] == positions[at].tolist() and probe["score"] == pytest.approx(values[at], abs=1e-6)
        assert probe["baseline"] == pytest.approx(last["classes"][0]["baseline"])
        occluded, before = browser.array(probe, "occluded"), browser.array(browser.all("picture")[0], "image")
        y, x = positions[at]
        assert (occluded[y : y + 8, x : x + 8] == 0).all()
        occluded = occluded.copy()
        occluded[y : y + 8, x : x + 8] = before[y : y + 8, x : x + 8]
        assert np.array_equal(occluded, before), "nothing else is changed"
        checked = browser.ask("check", until="checked", **ask)
        assert checked["kdb"] == pytest.approx(values[at], abs=1e-6) and checked["ratio"] < 1
        with torch.no_grad():  # by hand: the model on the image with the patch
            image = before.copy()
            image[y : y + 8, x : x + 8] = 0
            logits = network()(torch.from_numpy(image / np.float32(255)).permute(2, 0, 1)[None].float())
            own = torch.softmax(logits, 1)[0, last["classes"][0]["index"]]
        assert checked["model"] == pytest.approx(float(own), abs=1e-5)

    def test_positions_beside_the_lattice_are_the_nearest(self, browser: Browser) -> None:
        found, _ = run(browser, QUERY)
        probe = browser.ask("probe", until="probe", map=found[-1]["map"], position=[999, -5], **{"class": 0})
        assert probe["position"] == [40, 0]
        for wrong in ([1], [1, 2, 3], "here", None):
            request = {"map": found[-1]["map"], "position": wrong, "class": 0}
            assert browser.ask("probe", until="probe", **request)["kind"] == "refused"
        assert browser.ask("probe", until="probe", map=99, position=[0, 0], **{"class": 0})["kind"] == "refused"

    @pytest.mark.parametrize("fill", ["gray", "rgb(10, 20, 30)", "mean", "blur(4)", "$fill", "white CHANNELS (1)"])
    def test_the_occluded_image_by_fill(self, db: kdb.Session, fill: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is what the model itself is run on."""
        own = np.random.default_rng(2).integers(0, 255, (8, 8, 3), np.uint8)
        seen: list[np.ndarray[Any, Any]] = []
        logits = ModuleReference.logits
        monkeypatch.setattr(
            ModuleReference, "logits", lambda self, images: (seen.extend(images), logits(self, images))[1]
        )
        text = QUERY.replace("patch(8, 8)", f"patch(8, 8) FILL {fill}")
        browser = Browser(db, parameters={"image": PIXELS, "fill": own})
        found, _ = run(browser, text)
        ask = {"map": found[-1]["map"], "position": [10, 12], "class": 0}
        occluded = browser.array(browser.ask("probe", until="probe", **ask), "occluded").astype(np.float32)
        seen.clear()
        browser.ask("check", until="checked", **ask)
        images = [each * 255 for each in seen]
        assert min(np.abs(image - occluded).max() for image in images) <= 0.51, "up to rounding to whole colours"
        browser.page.close()

    @pytest.mark.parametrize("channels", [1, 3])
    def test_volumes(self, db: kdb.Session, channels: int) -> None:
        module = nn.Sequential(
            nn.Conv3d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2)
        )
        db.register_model("scan", module.eval(), input_size=(8, 10, 12), n_channels=channels)
        volume = np.random.default_rng(3).integers(0, 255, (8, 10, 12, channels), np.uint8)
        browser = Browser(db, parameters={"image": volume})
        found, _ = run(browser, "OCCLUDE $image WITH patch(4) STRIDE 2 USING scan")
        picture, last = browser.all("picture")[0], found[-1]
        seen = volume[..., 0] if channels == 1 else volume
        assert np.array_equal(browser.array(picture, "image"), seen)
        ask = {"map": last["map"], "position": [2, 4, 6], "class": 0}
        occluded = browser.array(browser.ask("probe", until="probe", **ask), "occluded").copy()
        assert (occluded[2:6, 4:8, 6:10] == 0).all()
        occluded[2:6, 4:8, 6:10] = seen[2:6, 4:8, 6:10]
        assert np.array_equal(occluded, seen)
        browser.page.close()

    def test_segments(self, db: kdb.Session) -> None:
        labels = np.arange(48 * 48).reshape(48, 48) // 200
        browser = Browser(db, parameters={"image": PIXELS, "labels": labels})
        found, _ = run(browser, "OCCLUDE $image WITH segments($labels) USING net")
        last = found[-1]
        assert np.array_equal(browser.array(last, "labels"), labels)
        values = browser.array(last, "values")
        place = browser.array(last, "positions")[3].tolist()
        ask = {"map": last["map"], "position": place, "class": 0}
        assert browser.ask("probe", until="probe", **ask)["score"] == pytest.approx(values[3], abs=1e-6)
        assert browser.ask("check", until="checked", **ask)["ratio"] < 1
        browser.page.close()

    def test_two_queries_side_by_side(self, browser: Browser) -> None:
        other = QUERY.replace("patch(8, 8)", "patch(8, 8) FILL mean")
        id = browser.send("compare", texts=[QUERY, other])
        browser.wait(lambda each: each["kind"] == "finished" and each["slot"] == "b")
        started = browser.all("started", id)
        assert [(each["slot"], each["text"]) for each in started] == [("a", QUERY), ("b", other)]
        assert {each["slot"] for each in browser.all("map", id)} == {"a", "b"}
        assert len({each["map"] for each in browser.all("map", id)}) == 2

    @pytest.mark.parametrize("clauses", ["", " FOR ALL CLASSES", " FOR CLASSES ('dog', 3)", " SCORE drop", " AT $p"])
    def test_a_position_of_a_query_without_a_map(self, browser: Browser, clauses: str) -> None:
        text = QUERY.replace(" STRIDE 2", "") + clauses
        probe = browser.ask("probe", until="probe", text=text, position=[3, 5])
        label = " FOR CLASS 'dog'" if "dog" in clauses else ""
        kept = " SCORE drop" if "drop" in clauses else ""
        found, _ = run(browser, f"{QUERY.replace('STRIDE 2', 'STRIDE 1')}{label}{kept}")
        at = browser.array(found[-1], "positions").tolist().index([3, 5])
        assert probe["score"] == pytest.approx(browser.array(found[-1], "values")[at], abs=1e-6)
        assert (probe["map"], probe["position"], probe["patch"], probe["axes"]) == (None, [3, 5], [8, 8], "yx")
        for wrong in ("SHOW MODELS", QUERY.replace("patch(8, 8) STRIDE 2", "segments($s)")):
            assert browser.ask("probe", until="probe", text=wrong, position=[3, 5])["kind"] == "refused"

    @pytest.mark.parametrize(("slot", "begun"), [("a", ["a"]), ("b", ["a", "b"])])
    def test_which_of_two_failed_is_told(self, browser: Browser, slot: str, begun: list[str]) -> None:
        wrong = QUERY.replace("net", "nosuch")
        id = browser.send("compare", texts=[wrong, QUERY] if slot == "a" else [QUERY, wrong])
        refused = browser.wait(lambda each: each["kind"] == "refused" and each["id"] == id)
        assert refused["slot"] == slot
        run(browser)  # what would still come of the two has come
        assert [each["slot"] for each in browser.all("started", id)] == begun
        misspelt = browser.ask("compare", until="finished", texts=[QUERY, QUERY + " STRIDR 4"])
        assert misspelt["kind"] == "refused" and misspelt["slot"] == "b"

    def test_history(self, browser: Browser) -> None:
        first, _ = run(browser, QUERY)
        run(browser, QUERY + " SCORE drop")
        entries = browser.all("history")[-1]["entries"]
        assert [each["text"] for each in entries] == [first[0]["text"], first[0]["text"] + " SCORE drop"]
        assert browser.array(browser.all("history")[-1], "entries", 0, "thumbnail").shape[2] == 3  # type: ignore[arg-type]
        again = browser.ask("recall", until="map", map=entries[0]["map"])
        assert again["text"] == first[0]["text"] and again["slot"] == "a" and again["done"] == 441

    @pytest.mark.parametrize("form", ["npz", "png", "svg"])
    def test_exports(self, browser: Browser, tmp_path: Path, form: str) -> None:
        found, _ = run(browser, QUERY)
        file = browser.ask("export", until="file", map=found[-1]["map"], format=form)
        assert file["name"].endswith(f".{form}")
        path = tmp_path / file["name"]
        path.write_bytes(browser.array(file, "data").tobytes())
        if form == "npz":
            assert np.array_equal(HeatMap.load(path).values.reshape(-1), browser.array(found[-1], "values"))
        refused = browser.ask("export", until="file", map=found[-1]["map"], format="../../x.npz")
        assert refused["kind"] == "refused"
        assert browser.ask("export", until="file", map=found[-1]["map"], format="nii.gz")["kind"] == "refused"


@pytest.fixture
def slow(db: kdb.Session) -> Iterator[None]:
    with slow_batches(db, 4, 0.02):
        yield


class TestWork:
    def test_stop_keeps_what_there_is(self, browser: Browser, slow: None) -> None:
        id = browser.send("run", text=QUERY)
        browser.wait(lambda each: each["kind"] == "map" and each["id"] == id)
        browser.send("stop")
        end = browser.wait(lambda each: each["kind"] == "finished")
        assert end["stopped"] and end["map"] is not None
        last = browser.all("map", id)[-1]
        assert 0 < last["done"] < 441 and browser.all("history")[-1]["entries"][-1]["map"] == end["map"]
        probe = {"map": end["map"], "position": [0, 0], "class": 0}
        assert browser.ask("probe", until="probe", **probe)["kind"] == "probe"
        assert browser.ask("export", until="file", map=end["map"], format="npz")["kind"] == "file"

    def test_stop_before_a_query_has_begun(self, browser: Browser) -> None:
        """While its model is being loaded for the form, as the page's thread does one thing after another."""
        loading, loaded = threading.Event(), threading.Event()
        browser.page._desk.worker.ask("loading", lambda: (loading.set(), loaded.wait(30)))
        loading.wait()
        id, other = browser.send("run", text=QUERY), browser.send("run", text=QUERY + " FOR TOP 2")
        assert browser.all("finished", id)[0]["stopped"], "it is replaced"
        browser.send("stop")
        (end,) = browser.all("finished", other)
        assert end["stopped"] and end["map"] is None and not browser.all("started")
        loaded.set()
        assert run(browser)[1]["map"] is not None

    def test_a_fault_after_the_last_map_leaves_the_page_alive(
        self, browser: Browser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(maps, "thumbnail", lambda heat_map: 1 / 0)
            id = browser.send("run", text=QUERY)
            browser.wait(lambda each: each["kind"] == "finished" and each["id"] == id)
        assert browser.all("refused", id)[0]["error"]["message"].startswith("this failed: ZeroDivisionError")
        assert run(browser)[1]["kind"] == "finished"

    def test_all_classes_begin_with_the_likeliest(self, browser: Browser) -> None:
        found, _ = run(browser, QUERY.replace("STRIDE 2", "STRIDE 16") + " FOR ALL CLASSES")
        baselines = [each["baseline"] for each in found[-1]["classes"]]
        assert len(baselines) == 5 and found[-1]["shown"] == int(np.argmax(baselines))

    def test_one_image_at_a_time(self, browser: Browser, tmp_path: Path) -> None:
        for name in "ab":
            Image.fromarray(PIXELS).save(tmp_path / f"{name}.png")
        error = browser.form("edit", text=f"OCCLUDE '{tmp_path}/*.png' USING net")["error"]
        assert "names 2 images, and one is looked at a time" in error["message"]

    def test_the_newest_query_wins(self, browser: Browser, slow: None) -> None:
        first = browser.send("run", text=QUERY)
        browser.wait(lambda each: each["kind"] == "progress" and each["id"] == first)
        passed_over = browser.send("run", text=QUERY + " FOR CLASS 1")
        second = browser.send("run", text=QUERY.replace("STRIDE 2", "STRIDE 16"))
        browser.wait(lambda each: each["kind"] == "finished" and each["id"] == second)
        assert not browser.all("started", passed_over) and browser.all("finished", passed_over)[0]["stopped"]
        assert browser.all("finished", first)[0]["stopped"]
        assert browser.all("progress", first)[-1]["done"] < 441, "it was not waited for"
        assert all(each["complete"] for each in browser.all("map", first)), "no partial map of it is shown"

    def test_requests_are_answered_while_a_map_grows(self, browser: Browser, slow: None) -> None:
        id = browser.send("run", text=QUERY)
        found = browser.wait(lambda each: each["kind"] == "map" and each["id"] == id)
        probe = browser.ask("probe", until="probe", map=found["map"], position=[8, 8], **{"class": 0})
        plan = browser.ask("explain", until="plan", text=QUERY)
        assert probe["kind"] == "probe" and plan["kind"] == "plan"
        order = [each["kind"] for each, _ in browser.events]
        assert "finished" not in order[: order.index("probe")], "between two of its maps"
        browser.wait(lambda each: each["kind"] == "finished" and each["id"] == id)

    def test_other_statements_of_the_session_run_meanwhile(self, browser: Browser, db: kdb.Session, slow: None) -> None:
        id = browser.send("run", text=QUERY)
        browser.wait(lambda each: each["kind"] == "map" and each["id"] == id)
        db.execute("SHOW SETTINGS")
        assert not browser.all("finished", id)
        browser.wait(lambda each: each["kind"] == "finished" and each["id"] == id)

    def test_closing_ends_what_is_under_way(self, browser: Browser, slow: None) -> None:
        id = browser.send("run", text=QUERY)
        browser.wait(lambda each: each["kind"] == "progress" and each["id"] == id)
        browser.page.close()
        assert not any(
            each.name == "kdb page" and each is browser.page._desk.worker._thread for each in threading.enumerate()
        )
        browser.send("probe", map=1, position=[0, 0])

    def test_the_newest_short_job_of_a_kind_is_done(self) -> None:
        worker, done, go = Worker("test"), [], threading.Event()
        worker.ask("first", go.wait)
        for number in range(5):
            worker.ask("form", lambda number=number: done.append(number))  # type: ignore[misc]
        ready = threading.Event()
        worker.ask("last", ready.set)
        go.set()
        assert ready.wait(5) and done == [4]
        worker.close()

    def test_bringing_a_request_waits_for_nobody(self, browser: Browser, db: kdb.Session) -> None:
        """Not for a query of another page, which has its turn in the session."""
        begun, brought = threading.Event(), threading.Event()

        def take_a_turn() -> None:
            with db._environment.turn():
                begun.set()
                assert brought.wait(60), "a request waited for the turn"

        turn = threading.Thread(target=take_a_turn)
        turn.start()
        begun.wait()
        fields = {"text": "OCCLUDE rocket USING net", "map": 1, "position": [0, 0], "class": 0, "folder": ""}
        for kind in ("hello", "edit", "explain", "run", "probe", "gallery", "browse"):
            browser.send(kind, **fields)
        brought.set()
        turn.join()
        browser.wait(lambda each: each["kind"] == "finished")


class TestStatements:
    def test_tables(self, browser: Browser) -> None:
        table = browser.ask("run", until="table", text="SHOW SETTINGS")
        assert table["columns"][:2] == ["setting", "value"] and len(table["rows"]) > 5
        json.dumps(table, allow_nan=False)
        assert browser.ask("run", until="table", text="VERIFY " + QUERY)["lines"][0].startswith("agrees")
        assert browser.ask("run", until="table", text="SET threads = 1")["rows"] == [["threads", "1"]]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (QUERY + " INTO 'x.png'", "Export"),
            (QUERY + " INTO RUN 'x'", "Export"),
            ("VERIFY " + QUERY + " INTO 'x.npz'", "Export"),
            ("EXPLAIN ANALYZE " + QUERY + " INTO 'x.npz'", "Export"),
            ("RESUME RUN 'x'", "runs over data sets"),
            (QUERY + "; " + QUERY, "one statement"),
            ("SHOW MODELS; SHOW SETTINGS", "one statement"),
            ("OCCLUDE 'nowhere.png' USING net", "nowhere.png"),
            (QUERY + " FOR CLASS 9", "out of range"),
            ("OCCLUDE", "ends too early"),
            ("", "no query yet"),
        ],
    )
    def test_what_is_refused(
        self, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        _, refused = run(browser, text)
        assert refused["kind"] == "refused" and message in refused["error"]["message"]
        assert not list(tmp_path.iterdir()), "nothing is written"

    def test_requests_that_no_page_sends(self, browser: Browser) -> None:
        wrong: list[Any] = [
            {}, {"kind": "run"}, {"kind": "nothing", "id": 1}, {"kind": 3, "id": 1}, {"kind": "_refuse", "id": 1},
            {"kind": "run", "id": "1", "text": QUERY}, {"kind": "init__", "id": 1},
        ]  # fmt: skip
        for content in wrong:
            browser.page.receive(content, [])
        assert browser.events == []
        for kind in (
            "edit",
            "change",
            "run",
            "compare",
            "probe",
            "check",
            "layer",
            "recall",
            "upload",
            "export",
            "card",
        ):
            id = browser.send(kind)
            assert browser.wait(lambda each, id=id: each.get("id") == id)["kind"] == "refused"  # type: ignore[misc]

    def test_a_fault_of_the_model_leaves_the_page_alive(self, browser: Browser, db: kdb.Session) -> None:
        class Broken(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                raise RuntimeError("out of order")

        db.register_model("broken", Broken(), input_size=(48, 48))
        _, end = run(browser, QUERY.replace("net", "broken"))
        assert end["kind"] == "refused" and "out of order" in end["error"]["message"]
        assert run(browser)[1]["kind"] == "finished"


class TestFolders:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        root = tmp_path / "root"
        (root / "in side").mkdir(parents=True)
        Image.fromarray(PIXELS).save(root / "in side" / "it's.png")
        Image.fromarray(PIXELS).save(tmp_path / "secret.png")
        (root / "link").symlink_to(tmp_path)
        (root / "linked.png").symlink_to(tmp_path / "secret.png")
        (root / "notes.txt").write_text("no image")
        (root / ".hidden").mkdir()
        return root

    def test_what_lies_under_the_root(self, root: Path) -> None:
        db = kdb.connect(root=root)
        browser = Browser(db, browsing=True)
        browser.send("hello")
        assert browser.wait(lambda each: each["kind"] == "welcome")["root"] == str(root)
        found = browser.ask("browse", until="folder", folder="")
        assert found["parent"] is None
        assert found["entries"] == [{"name": "in side", "kind": "folder", "source": "'in side'"}]
        inner = browser.ask("browse", until="folder", folder="in side")
        assert inner["parent"] == "" and inner["entries"][0]["source"] == "'in side/it''s.png'"
        for outside in ("..", "/", "link", "in side/../..", "nowhere", "\0"):
            assert browser.ask("browse", until="folder", folder=outside)["kind"] == "refused"
        db.register_model("net", network(), input_size=(48, 48))
        for path in ("../secret.png", str(root.parent / "secret.png"), "link/secret.png", "linked.png"):
            refused = browser.form("edit", text=f"OCCLUDE '{path}' USING net")["error"]
            assert "outside the root" in refused["message"]
        browser.page.close()

    def test_no_folders_without_browsing(self, browser: Browser) -> None:
        refused = browser.ask("browse", until="folder", folder="")
        assert refused["error"]["message"] == "this page lists no folders"
