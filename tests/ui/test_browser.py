"""The page in a browser: what the hand does, what is then seen, and that it is what kdb computes."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
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
from tests.support import heat_map
from tests.ui.browsing import Server, Shown, expect, playwright, serving

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
            time.sleep(0.03)
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
        shown.tool("box")
        shown.drag((10.5, 12.5), (29.5, 35.5))
        expect(shown["query"]).to_have_value(f"{QUERY} WITHIN box(10, 12, 20, 24)")
        shown.ended(before="")
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
        expect(shown["region"]).to_have_text("A box from y 14, x 15, 22 × 21 cells.")
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
        written(r"patch\(9, 9\)|patch\(9\)")
        shown["stride-number"].fill("6")
        shown["stride-number"].press("Enter")
        written(r"STRIDE 6")
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
        assert shown.data("total") == "49"

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
        shown["query"].fill("OCCLUDE photo USING nett")
        expect(shown["error"]).to_contain_text("did you mean 'net'")
        shown["run"].click()
        expect(shown["refusal"]).to_contain_text("did you mean 'net'")

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
        shown["plan-layers"].locator("summary").click()
        expect(shown["plan-layers"].locator("tbody tr")).not_to_have_count(0)


@pytest.mark.xdist_group("browser 2")
class TestMaps:
    def test_a_map_grows_to_the_queries_own(self, shown: Shown, db: kdb.Session, slow: None) -> None:
        shown.begin(FINE)
        expect(shown["status"]).to_have_text(re.compile(r"expected SSIM 0\.\d\d"))
        seen: set[tuple[str, str]] = set()
        while shown.data("state") != "done":
            seen.add((shown.data("maps"), shown.data("exact")))
        assert len({maps for maps, exact in seen if exact == "false"}) >= 3
        assert (shown.data("exact"), shown.data("done")) == ("true", "441")
        expect(shown["quality-a"]).to_have_text("Exact, all 441 positions evaluated")
        expect(shown["map-check-a"]).to_have_text(re.compile(r"the largest difference is .* % of what Exact allows"))
        reads(shown, heat_map(db, FINE))

    def test_stop_keeps_what_there_is(self, shown: Shown, slow: None, tmp_path: Path) -> None:
        shown.begin(FINE)
        expect(shown.root).not_to_have_attribute("data-maps", "0")
        shown["stop"].click()
        shown.ended("stopped")
        assert 0 < int(shown.data("done")) < 441
        expect(shown["status"]).to_contain_text("the map is what was found until then")
        found = shown.heat_map(tmp_path)
        assert found.evaluated.sum() == int(shown.data("done")) and not found.complete
        shown.click((20, 20))
        expect(shown["probed"]).to_contain_text("from the unmodified image")

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
        shown["comparing-difference"].check()
        expect(shown.stage).to_have_attribute("data-comparing", "difference")
        expect(shown.page.locator(".kdb-stage-caption")).to_have_count(1)
        for cell in CELLS:
            reading = shown.point((cell[0] + 0.0, cell[1]), size=SIZE, slot="")
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
