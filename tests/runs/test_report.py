"""The page of a run: what is on it, for all images and for a sample; that it is safe, and asks nothing of anybody."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kdb
from kdb.errors import ExecutionError
from kdb.geometry import Space
from kdb.results.maps import HeatMap
from kdb.results.pictures import colours, panels
from kdb.results.pictures.colours import FLOORS
from kdb.results.pictures.views import Flat
from kdb.runs.gallery import columns, report, thumbnails
from tests.results.test_heatmap import heat_map, several, volume
from tests.runs.tables import FACTS, Run, row_of, table

pytestmark = pytest.mark.runs
pytest.importorskip("pyarrow")

VOID = {"meta", "img", "input", "rect", "stop", "circle", "path", "br"}


class Element:
    def __init__(self, tag: str, attributes: Mapping[str, str | None], parent: Element | None) -> None:
        self.tag, self.attributes, self.parent = tag, attributes, parent
        self.children: list[Element] = []
        self.own = ""

    def all(self, tag: str = "", **wanted: str) -> list[Element]:
        """Those inside it, of a tag, that have a class or other attributes."""
        found = []
        for child in self.children:
            classes = (child.attributes.get("class") or "").split()
            fits = all(v in classes if k == "of" else child.attributes.get(k) == v for k, v in wanted.items())
            found += ([child] if tag in ("", child.tag) and fits else []) + child.all(tag, **wanted)
        return found

    def one(self, tag: str = "", **wanted: str) -> Element:
        (found,) = self.all(tag, **wanted)
        return found

    @property
    def text(self) -> str:
        return self.own + "".join(child.text for child in self.children)

    def data(self, key: str) -> str:
        value = self.attributes[f"data-{key}"]
        assert value is not None
        return value


class Page(HTMLParser):
    """The page as a tree; raises for tags that do not match."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.root = self.at = Element("", {}, None)
        self.feed(self.source)
        self.close()
        assert self.at is self.root, f"<{self.at.tag}> is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs), self.at)
        self.at.children.append(element)
        if tag not in VOID:
            self.at = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.at.children.append(Element(tag, dict(attrs), self.at))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert tag == self.at.tag, f"</{tag}> ends <{self.at.tag}>"
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        self.at.own += data

    @property
    def cards(self) -> list[Element]:
        return self.root.all("li", of="card")

    def card(self, name: str) -> Element:
        (found,) = [card for card in self.cards if card.data("id") == name]
        return found

    def tile(self, name: str) -> str:
        (found,) = [each for each in self.root.all("div", of="tile") if each.one("dt").text == name]
        return found.one("dd").own


def page_of(
    tmp_path: Path, rows: Any, read: Callable[[str], HeatMap], facts: Mapping[str, str] = FACTS, **options: Any
) -> Page:
    path = report.write(tmp_path / "report.html", rows, read, facts, **options)
    assert path == tmp_path / "report.html"
    return Page(path)


def superimposed(hm: HeatMap) -> tuple[Image.Image, Image.Image, float]:
    found = thumbnails.superimposed(hm, report.SIDE)
    assert found is not None
    return found


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("run"))


def test_a_card_says_of_its_image_what_the_table_does(run: Run, tmp_path: Path) -> None:
    page = page_of(tmp_path, run.table, run.read)
    rows = run.table.to_pylist()
    assert [card.data("id") for card in page.cards] == [row["id"] for row in rows]
    for row, card in zip(rows, page.cards, strict=True):
        assert card.data("label") == (row["label"] or "")
        assert card.data("truth") == (row["truth"] or "")
        assert bool(card.data("failed")) == (row["status"] == "failed")
        assert bool(card.data("wrong")) == (row["status"] == "done" and row["label"] != row["truth"])
        if row["status"] == "failed":
            assert row["error"] in card.one("span", of="picture").text and not card.all("img")
            assert [card.data(key) for key in ("baseline", "change", "seconds")] == ["", "", ""]
            continue
        hm = run.read(row["map"])
        assert isinstance(hm.baseline, float)
        assert float(card.data("baseline")) == pytest.approx(hm.baseline)
        assert float(card.data("change")) == pytest.approx(np.abs(hm.values - hm.baseline).max(), rel=1e-5)
        assert float(card.data("seconds")) == row["seconds"]
        assert row["path"] in card.data("text")
        said = card.one("button").attributes["aria-label"] or ""
        assert said.startswith(f"{row['id']}: explains {row['label']}, {hm.baseline:.3g} unmodified")


def test_the_map_of_a_card_has_the_colours_of_pictures(run: Run, tmp_path: Path) -> None:
    page = page_of(tmp_path, run.table, run.read)
    half = columns.columns(run.table, FACTS).half
    for card in page.cards:
        if not card.all("img"):
            continue
        photo, painted = (decoded(each.attributes["src"] or "") for each in card.all("img"))
        (row,) = [row for row in run.table.to_pylist() if row["id"] == card.data("id")]
        hm = run.read(row["map"])
        assert isinstance(hm.baseline, float)
        values = hm.upsample()
        own = max(colours.spread(values, hm.baseline), FLOORS["probability"])
        expected = colours.coloured(values, colours.effect("probability", hm.baseline, own)).astype(int)
        assert photo.size == painted.size == hm.size[::-1]
        found = np.asarray(painted.convert("RGBA")).astype(int)
        assert (found[..., 3] == 255).all()
        assert np.abs(found[..., :3] - expected).max() <= 2  # of 127 steps on either side
        assert float(card.one("span", of="map").data("share")) == pytest.approx(min(own / half, 1), abs=1e-4)
        assert np.abs(np.asarray(photo.convert("RGB")).astype(int) - hm.picture).mean() < 12  # WebP


def test_where_a_map_has_no_values_it_is_transparent() -> None:
    hm = heat_map([0.2, np.nan], [[0, 0], [0, 4]], grid=(4, 12), patch=(4, 4))
    _, painted, half = superimposed(hm)
    found = np.asarray(painted)
    assert (painted.width, painted.height) == (12, 4)
    assert (found[:, :4] == 1).all() and (found[:, 4:] == 0).all()
    assert half == pytest.approx(0.3)
    file = io.BytesIO()
    painted.save(file, "png", transparency=0)
    assert (np.asarray(Image.open(file).convert("RGBA"))[..., 3] == np.where(found == 0, 0, 255)).all()


def test_large_pictures_are_made_small_and_keep_their_shape() -> None:
    values = np.array([[0.2, 0.9]], np.float32)
    hm = heat_map(
        values,
        [[[0, 0], [0, 500]]],
        grid=(500, 1000),
        patch=(500, 500),
        stride=(500, 500),
        image=np.zeros((500, 1000, 3), np.uint8),
    )
    photo, painted, _ = superimposed(hm)
    assert photo.size == painted.size == (report.SIDE, report.SIDE // 2)
    found = np.asarray(painted)
    assert (found[:, : report.SIDE // 2] == 128 - round(127 * 0.3 / 0.4)).all()
    assert (found[:, report.SIDE // 2 :] == 255).all()


def test_numbers_in_tables_are_of_all_images_and_cards_of_a_sample(run: Run, tmp_path: Path) -> None:
    rows = run.many(203)
    page = page_of(tmp_path, rows, run.read, most=40)
    listed = rows.to_pylist()
    done = [row for row in listed if row["status"] == "done"]
    failed = [row for row in listed if row["status"] == "failed"]
    assert len(page.cards) == 40
    assert "A sample, 40 of 203 images" in page.root.one("p", of="sampled").text
    assert page.tile("Maps") == f"{len(done)}" and page.tile("Failed") == f"{len(failed)}"
    change = [max(row["baseline"] - row["min"], row["max"] - row["baseline"]) for row in done]
    assert page.tile("Largest change") == f"{np.median(change):.3g}"
    judged = [row["label"] == row["truth"] for row in done]
    assert page.tile("Right") == f"{np.mean(judged):.1%}"
    kinds, classes = page.root.all("table")
    assert {each.one("th").text: int(each.all("td")[0].text) for each in kinds.one("tbody").all("tr")} == {
        kind: sum(row["error_kind"] == kind for row in failed) for kind in ("ExecutionError", "Timeout")
    }
    counted = {each.one("th").text: int(each.all("td")[0].text) for each in classes.one("tbody").all("tr")}
    assert counted == {name: sum(row["label"] == name for row in done) for name in {row["label"] for row in done}}


def test_a_sample_has_extremes_failures_and_the_rest_evenly(run: Run) -> None:
    run_of = columns.columns(run.many(1003), FACTS)
    shown = report.sample(run_of, 100)
    assert len(shown) == len(set(shown)) == 100 and shown == sorted(shown)
    size = np.where(run_of.done, np.abs(run_of.change), np.nan)
    order = [int(i) for i in np.argsort(-size, kind="stable") if np.isfinite(size[i])]
    assert run_of.failed[shown].sum() == 20
    assert set(order[:16]) <= set(shown) and set(order[-16:]) <= set(shown)
    even = [i for i in shown if not run_of.failed[i] and i not in order[:16] + order[-16:]]
    assert max(np.diff([0, *even, 1003])) < 40
    assert report.sample(run_of, 1003) == list(range(1003))


@pytest.mark.parametrize("most", [1, 2, 3, 7])
def test_a_sample_is_never_larger_than_asked_for(run: Run, most: int) -> None:
    run_of = columns.columns(run.many(50), FACTS)
    assert 1 <= len(report.sample(run_of, most)) <= most


HOSTILE = ["<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "{{cards}} {{policy}}", "a\u202eb\x1b[31m"]


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_of_strangers_are_only_read(run: Run, tmp_path: Path, text: str) -> None:
    name = run.table.to_pylist()[0]["map"]
    rows = table(
        row_of(run.read(name), text, f"/photos/{text}.png", map=name, truth=text, label=text, node=text),
        row_of(None, f"{text} 2", f"/{text}", error_kind=text, error=text, truth=text),
    )
    page = page_of(tmp_path, rows, run.read, {**FACTS, "model": text, "query": text, text: text})
    assert len(page.root.all("script")) == 1 and len(page.cards) == 2
    assert all(card.parent is page.root.one("ul", id="cards") for card in page.cards)
    assert page.root.one("h1").text == kdb.errors.printable(text)
    for element in page.root.all():
        assert not [key for key in element.attributes if key.startswith("on")]
        if element.tag == "img":
            assert (element.attributes["src"] or "").startswith("data:image/")
    shown = page.cards[0].one("span", of="id").text
    assert shown == kdb.errors.printable(text)
    assert "\x1b" not in page.source and "\u202e" not in page.source


def test_the_page_asks_nothing_of_anybody(run: Run, tmp_path: Path) -> None:
    page = page_of(tmp_path, run.table, run.read)
    without = re.sub(r'"data:image/[^"]*"', '""', page.source)
    assert "http:" not in without and "https:" not in without and "//" not in re.sub(r"\n\s*//.*", "", without)
    assert not page.root.all("link") and not page.root.all("iframe") and not page.root.all("a", href="")
    assert {each.attributes.get("href") for each in page.root.all("a")} == {"#cards"}
    (policy,) = [each for each in page.root.all("meta") if each.attributes.get("http-equiv")]
    assert policy.attributes["http-equiv"] == "Content-Security-Policy"
    rules = dict(rule.strip().split(" ", 1) for rule in (policy.attributes["content"] or "").split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    for tag in ("script", "style"):
        own = hashlib.sha256(page.root.one(tag).text.encode()).digest()
        assert rules[f"{tag}-src"] == f"'sha256-{base64.b64encode(own).decode()}'"
    assert not [each for each in page.root.all() if "style" in each.attributes], "the policy would refuse them"


def test_the_page_sorts_and_filters_by_what_cards_carry(run: Run, tmp_path: Path) -> None:
    page = page_of(tmp_path, run.table, run.read)
    keys = {each.attributes["value"] for each in page.root.one("select", id="sort").all("option")}
    assert keys == {"order", "change", "baseline", "seconds", "checked", "label", "truth", "id"}
    for key in keys - {"order"}:
        assert all(f"data-{key}" in card.attributes for card in page.cards)
    script = page.root.one("script").text
    ids = {each.attributes["id"] for each in page.root.all() if "id" in each.attributes}
    assert set(re.findall(r'\$\("([\w-]+)"\)', script)) <= ids
    labelled = {each.attributes.get("for") for each in page.root.all("label")}
    for each in page.root.all("select") + page.root.all("input"):
        inside, parent = False, each.parent
        while parent is not None:
            inside, parent = inside or parent.tag == "label", parent.parent
        assert inside or each.attributes["id"] in labelled, f"{each.attributes['id']} has no label"
    assert all(each.text.strip() or each.attributes.get("aria-label") for each in page.root.all("button"))


def test_classes_volumes_and_signals_have_cards(tmp_path: Path) -> None:
    maps = {
        "classes": several(3, baseline=(0.9, 0.06, 0.02), label=("a", "b", "c"), class_index=(4, 5, 6)),
        "volume": volume(),
        "signal": heat_map([0.2, 0.9, 0.5], [[0], [4], [8]], grid=(12,), patch=(4,), stride=(4,)),
    }
    rows = table(*(row_of(hm, name, f"/data/{name}", map=name) for name, hm in maps.items()))
    page = page_of(tmp_path, rows, maps.__getitem__)
    first = page.card("classes")
    assert first.data("label") == "a" and float(first.data("baseline")) == 0.9
    _, painted, _ = superimposed(maps["classes"])
    assert np.array_equal(
        np.asarray(decoded(first.all("img")[1].attributes["src"] or "").convert("RGB")), painted.convert("RGB")
    )
    assert {"b", "c"} <= {each.text for each in first.one("dl").all("dt")}
    for name in ("volume", "signal"):
        drawn = page.card(name).one("img", of="drawn")
        picture = decoded(drawn.attributes["src"] or "")
        assert max(picture.size) <= report.DRAWN_SIDE and len(np.unique(np.asarray(picture))) > 50
        assert ("hidden" in drawn.attributes) == (name == "volume"), "a volume has a slice besides"
        assert len(page.card(name).all("img")) == (3 if name == "volume" else 1)
    assert thumbnails.superimposed(maps["signal"], 100) is None


def test_the_slice_of_a_volume_is_the_strongest_as_pictures_turn_it() -> None:
    """Cells 1, 2 and 1 mm long: kdb's first slice is of the axes from foot to head and from left to right."""
    hm = volume(space=Space(np.diag([1.0, 2.0, 1.0, 1.0])))
    photo, painted, half = superimposed(hm)
    flat = panels.of_map(hm)[0].views.alone
    assert isinstance(flat, Flat) and any(flat.turned)
    rows, across = flat.values.shape
    assert photo.size == painted.size == (across * flat.spacing[1], rows * flat.spacing[0])
    values = flat.values[:: -1 if flat.turned[0] else 1, :: -1 if flat.turned[1] else 1]
    values = values.repeat(int(flat.spacing[0]), axis=0).repeat(int(flat.spacing[1]), axis=1)
    levels = np.rint(127 * (values.astype(float) - 0.5) / half) + 128
    assert np.array_equal(np.asarray(painted), np.where(np.isnan(values), 0, levels))


def test_a_class_that_was_asked_for_is_not_judged(run: Run, tmp_path: Path) -> None:
    for end, judged in (("", True), (" FOR TOP 3", True), (" FOR CLASS 3", False), (" FOR CLASSES (1, 2)", False)):
        facts = {**FACTS, "query": f"OCCLUDE 'photos FOR CLASS 1/*.png' USING mine{end}"}
        assert columns.columns(run.table, facts).judged.any() == judged
    page = page_of(tmp_path, run.table, run.read, {**FACTS, "query": "OCCLUDE '*' USING mine FOR CLASS 3"})
    assert not any(card.data("wrong") for card in page.cards)


@pytest.mark.parametrize(
    ("label", "index", "truth", "expected"),
    [
        ("tabby", 281, "Tabby ", True),
        ("tabby", 281, "281", True),
        ("tabby", 281, 281, True),
        ("tabby", 281, 282, False),
        ("tabby", 281, "tiger", False),
        ("tabby", 281, None, None),
        (None, None, "tiger", None),
    ],
)
def test_a_truth_is_a_label_or_an_index(
    label: str | None, index: int | None, truth: str | int | None, expected: bool | None
) -> None:
    assert columns.is_true(label, index, truth) is expected


def test_drops_are_taken_from_the_unmodified_score(tmp_path: Path) -> None:
    drops = heat_map([0.4, -0.1], [[0, 0], [0, 4]], grid=(4, 8), patch=(4, 4), baseline=0.7, score="drop")
    gains = heat_map([0.1, -0.2], [[0, 0], [0, 4]], grid=(4, 8), patch=(4, 4), baseline=0.7, score="drop")
    rows = table(row_of(drops, "a", "/a.png", map="a"), row_of(gains, "b", "/b.png", map="b"))
    run_of = columns.columns(rows, {"score": "drop"})
    np.testing.assert_allclose(run_of.changed, [0.3, 0.9], rtol=1e-6)
    np.testing.assert_allclose(run_of.change, [-0.4, 0.2], rtol=1e-6)
    page = page_of(tmp_path, rows, {"a": drops, "b": gains}.__getitem__, {"score": "drop"})
    assert "0.7 → 0.3" in page.card("a").text and "0.7 → 0.9" in page.card("b").text


def test_a_map_that_cannot_be_read_has_a_card_that_says_so(run: Run, tmp_path: Path) -> None:
    def read(name: str) -> HeatMap:
        raise ExecutionError(f"cannot read '{name}': it is damaged")

    page = page_of(tmp_path, run.table, read)
    card = page.cards[0]
    assert "it is damaged" in card.one("span", of="picture").text and not card.all("img")
    assert float(card.data("baseline")) > 0, "the numbers of the table are there all the same"


def test_an_empty_run_and_one_without_maps_have_pages(run: Run, tmp_path: Path) -> None:
    page = page_of(tmp_path, run.table.slice(0, 0), run.read)
    assert not page.cards and page.tile("Maps") == "0"
    page = page_of(tmp_path, table(row_of(None, "x", "/x.png", error="no", error_kind="ExecutionError")), run.read)
    assert len(page.cards) == 1 and page.tile("Failed") == "1"


def test_mistakes_are_told(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    with pytest.raises(ExecutionError, match="no column 'seconds'"):
        report.write(path, run.table.drop_columns(["seconds"]), run.read, FACTS)
    with pytest.raises(ExecutionError, match="score is 'cost'"):
        report.write(path, run.table, run.read, {"score": "cost"})
    with pytest.raises(ExecutionError, match="most is 0"):
        report.write(path, run.table, run.read, FACTS, most=0)
    with pytest.raises(ExecutionError, match="would overwrite the image"):
        report.write(run.table.to_pylist()[0]["path"], run.table, run.read, FACTS)
    with pytest.raises(ExecutionError, match="cannot write"):
        report.write(tmp_path / "nowhere" / "report.html", run.table, run.read, FACTS)
    assert not path.exists()


def test_one_map_is_held_at_a_time(run: Run, tmp_path: Path) -> None:
    import gc
    import weakref

    held: list[weakref.ref[HeatMap]] = []

    def read(name: str) -> HeatMap:
        gc.collect()
        assert sum(each() is not None for each in held) == 0
        found = run.read(name)
        held.append(weakref.ref(found))
        return found

    page_of(tmp_path, run.table, read)
    assert len(held) == sum(row["status"] == "done" for row in run.table.to_pylist())


def test_the_throughput_is_of_the_time_from_start_to_finish(run: Run, tmp_path: Path) -> None:
    times = {"started": "2026-01-01T10:00:00+00:00", "finished": "2026-01-01T10:01:00+00:00"}
    done = sum(row["status"] == "done" for row in run.table.to_pylist())
    assert page_of(tmp_path, run.table, run.read, {**FACTS, **times}).tile("Throughput") == f"{60 * done} / h"
    for wrong in ({}, {"started": "yesterday", "finished": ""}, {**times, "started": "2026-01-01T10:00:00"}):
        tiles = page_of(tmp_path, run.table, run.read, {**FACTS, **wrong}).root.all("dt")
        assert "Throughput" not in {each.text for each in tiles}
