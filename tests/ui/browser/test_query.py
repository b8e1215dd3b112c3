"""The query on the page: its text, its controls, what is drawn for it, links, images, and the keyboard."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import kdb
from benchmarks.notebooks import CHROMIUM
from kdb.results.maps import HeatMap
from tests.support import heat_map
from tests.ui.browser.browsing import ANY, QUERY, Server, Shown, expect, score_at
from tests.ui.browser.conftest import LABELS, network

pytestmark = [
    pytest.mark.ui,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium"),
    pytest.mark.xdist_group("browser 1"),
]


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
        for wrong in ("2.5", "300"):
            shown["stride-number"].fill(wrong)
            shown["stride-number"].press("Enter")
            expect(shown["stride-group"]).to_contain_text("A whole number, 1 or more and at most 48.")
        shown["stride-number"].fill("48")
        shown["stride-number"].press("Enter")
        written(r"STRIDE 48")
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

    def test_steps_back_are_whole_texts(self, shown: Shown) -> None:
        keys, text = shown.page.keyboard, shown["query"]
        text.focus()
        keys.press("Control+End")
        keys.type(" FOR TOP 3")
        shown.settled()
        wider = f"{QUERY} FOR TOP 3".replace("STRIDE 4", "STRIDE 16")
        shown["stride-number"].fill("16")
        shown["stride-number"].press("Enter")
        expect(text).to_have_value(wider)
        text.focus()
        keys.insert_text(" EXACT")
        with_exact = text.input_value()
        for key, wanted in [
            ("Control+z", wider), ("Control+z", f"{QUERY} FOR TOP 3"), ("Control+z", QUERY), ("Control+z", QUERY),
            ("Control+y", f"{QUERY} FOR TOP 3"), ("Control+Shift+z", wider), ("Control+y", with_exact),
            ("Control+z", wider),
        ]:  # fmt: skip
            keys.press(key)
            expect(text).to_have_value(wanted)
        expect(shown["stride-number"]).to_have_value("16")
        expect(shown["class-number"]).to_have_value("3")

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
        shown.begin(f"{QUERY} FOR CLASS 'fsh'")
        shown.ended("failed")
        expect(shown.page.locator(".kdb-wrong")).to_have_text("'fsh'")
        shown["suggestion"].click()
        expect(shown["query"]).to_have_value(f"{QUERY} FOR CLASS 'fish'")
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

    def test_names_that_are_typed(self, shown: Shown, db: kdb.Session) -> None:
        model, label = shown["model"], shown["class-label"]
        model.fill("sec")
        model.press("Enter")
        expect(shown["query"]).to_have_value(QUERY.replace("net", "second"))
        for key in ("Enter", "Tab"):
            model.fill("no such model")
            model.press(key)
            expect(shown.page.get_by_text("unknown model 'no such model'")).to_be_visible()
            expect(model).to_have_value("second")
            assert shown.query == QUERY.replace("net", "second")
        db.register_model("late", network(0), input_size=(48, 48), labels=LABELS)
        model.fill("late")
        model.press("Enter")
        expect(shown["query"]).to_have_value(QUERY.replace("net", "late"))
        expect(shown.page.get_by_text("unknown model")).to_have_count(0)
        shown.type(f"{QUERY} FOR CLASS 'dog'".replace("net", "nosuch"))
        expect(shown["error"]).to_contain_text("unknown model")
        expect(shown["start"]).to_be_hidden()
        expect(shown.stage).to_have_attribute("data-view", ANY)
        shown.type(f"{QUERY} FOR CLASS 'dog'")
        expect(label).to_have_value("dog")
        label.fill("unicorn")
        label.press("Enter")
        expect(shown["classes"]).to_contain_text("There is no class 'unicorn'.")
        expect(label).to_have_value("dog")
        label.fill("fi")
        label.press("Enter")
        expect(shown["query"]).to_have_value(f"{QUERY} FOR CLASS 'fish'")

    def test_controls_are_of_the_text_or_rest(self, shown: Shown) -> None:
        resting = shown["stride-group"].and_(shown.page.locator("[inert]"))
        for text, why in [("SHOW MODELS", "no OCCLUDE query"), ("OCCLUDE photo WITH patch(16,", "an error")]:
            shown.type(text)
            expect(shown["controls-behind"]).to_contain_text(why)
            expect(resting).to_have_count(1)
            expect(shown["open"]).to_be_disabled()
            expect(shown["browse"]).to_be_enabled()
        shown["controls-use"].click()
        expect(shown["query"]).to_have_value(QUERY)
        expect(resting).to_have_count(0)
        for first in ("VERIFY", "explain analyze -- a note\n"):
            shown.type(f"{first} {QUERY}".replace("STRIDE 4", "STRIDE 6"))
            expect(shown["stride-number"]).to_have_value("6")
            shown["stride-number"].fill("8")
            shown["stride-number"].press("Enter")
            expect(shown["query"]).to_have_value(f"{first} {QUERY}".replace("STRIDE 4", "STRIDE 8"))
        shown.type(f"{QUERY} APPROXIMATE TO SSIM 0.8")
        expect(shown["effort-slider"]).to_have_value("0.8")
        shown.type(f"{QUERY} APPROXIMATE TO SSIM 2")
        expect(shown["refusal"]).to_contain_text("SSIM")
        shown.type(QUERY)
        shown["effort-ssim"].check()
        expect(shown["query"]).to_have_value(f"{QUERY} APPROXIMATE TO SSIM 0.8")

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
