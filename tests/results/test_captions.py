"""What the files of pictures say of themselves, format by format."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kdb.errors import GlyphWarning
from kdb.results.maps import HeatMap
from kdb.results.pictures import captions
from tests.results.test_heatmap import several, small

QUERY = "OCCLUDE 'cat.png' WITH patch(4, 4) FILL gray STRIDE 2 USING mine"
SAID = ("mine", "photos/cat.png", "4 x 4", "gray", QUERY, "0f" * 32)
DC = "{http://purl.org/dc/elements/1.1/}"


def told(path: Path) -> str:
    """All that the metadata of a picture says."""
    if path.suffix in (".png", ".jpg", ".jpeg"):
        with Image.open(path) as picture:
            if path.suffix == ".png":
                return "\n".join(f"{key}: {value}" for key, value in picture.text.items())  # type: ignore[attr-defined]
            exif = picture.getexif()
            comment = exif.get_ifd(0x8769)[0x9286]
            assert comment.startswith(b"ASCII\0\0\0")
            facts = json.loads(comment[8:])
            return "\n".join([exif[0x010E], exif[0x0131], *(f"{key}: {value}" for key, value in facts.items())])
    if path.suffix == ".svg":
        metadata = next(each for each in ElementTree.parse(path).iter() if each.tag.endswith("metadata"))
        return "\n".join(filter(None, (each.text for each in metadata.iter())))
    info = dict(re.findall(rb"/(Title|Subject|Keywords|Creator) \(((?:[^()\\]|\\.)*)\)", path.read_bytes()))
    assert len(info) == 4
    return "\n".join(re.sub(r"\\(.)", r"\1", value.decode("latin-1")) for value in info.values())


@pytest.mark.parametrize("extension", ["png", "jpg", "jpeg", "pdf", "svg"])
def test_each_format_says_model_source_patch_fill_stride_and_query(tmp_path: Path, extension: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = told(small(query=QUERY).save(tmp_path / f"x.{extension}"))
    for part in (*SAID, "tabby (281)", "kdb 0.1.0", "Stride: 2", "Exact: true"):
        assert part in text


@pytest.mark.parametrize("extension", ["png", "jpg", "pdf", "svg"])
def test_a_difference_says_both(tmp_path: Path, extension: str) -> None:
    text = told((small() - small(model="other")).save(tmp_path / f"x.{extension}"))
    assert "Model: mine minus other" in text and "photos/cat.png" in text


def test_svg_has_the_elements_of_dublin_core(tmp_path: Path) -> None:
    path = small(query=QUERY).save(tmp_path / "x.svg")
    found: dict[str, ElementTree.Element] = {}
    for each in ElementTree.parse(path).iter():
        found.setdefault(each.tag, each)  # the creator has a title too
    assert found[f"{DC}title"].text == "tabby (281)" and found[f"{DC}description"].text == QUERY
    assert found[f"{DC}source"].text == "photos/cat.png"


def test_a_png_says_what_it_shows(tmp_path: Path) -> None:
    hm = small(label="Katze \N{CAT FACE} \udc80", exact=False)
    with Image.open(hm.save(tmp_path / "x.png")) as picture:
        assert picture.text["Description"] == hm.query
        assert picture.text["Model identity"] == hm.model_identity
        assert picture.text["Title"].startswith("Katze \N{CAT FACE}")
        assert (picture.text["Exact"], picture.text["Complete"]) == ("false", "true")


TEXTS = st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Lo", "Lu", "P", "Sm"]), max_size=12)


@settings(max_examples=3, deadline=None)
@given(TEXTS)
@pytest.mark.parametrize("extension", ["png", "jpg", "pdf", "svg"])
def test_any_text_can_be_written(tmp_path_factory: pytest.TempPathFactory, extension: str, text: str) -> None:
    """SVG stays XML, EXIF stays JSON."""
    hm = small(label=text, query=text, source=text, model=text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", GlyphWarning)
        path = hm.save(tmp_path_factory.mktemp("any") / f"x.{extension}")
    if extension != "pdf":
        assert not re.search("[\0-\x09\x0b-\x1f\x7f-\x9f]", told(path))


def test_very_long_facts_fit_into_exif(tmp_path: Path) -> None:
    long = several(2, label=("\U00020000" * 9000, "b"), query="q" * 90_000, source="\u732b" * 5000, model="m" * 70_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GlyphWarning)
        assert told(long.save(tmp_path / "x.jpg")).count("...") >= 4
    exif = captions.metadata(captions.facts(several(2000)), "jpg")["pil_kwargs"]["exif"]
    assert len(exif.tobytes()) < 65_000


@pytest.mark.parametrize(
    ("query", "fill"),
    [
        ("OCCLUDE 'cat.png' WITH patch(16, 16) USING m", "black"),
        ("OCCLUDE 'cat.png' WITH patch(4, 4) FILL blur(3.5) STRIDE 2 USING m", "blur(3.5)"),
        ("OCCLUDE 'a'' WITH patch(4, 4) FILL white b.png' WITH patch(4, 4) FILL $c USING m", "$c"),
        ("OCCLUDE ? WITH patch(4, 4) FILL ? USING m", "?"),
        ("OCCLUDE $a WITH patch(4, 4) FILL rgb(1, 2, 3) USING m", "rgb(1, 2, 3)"),
        ("", "black"),
    ],
)
def test_the_fill_is_that_of_the_query(query: str, fill: str) -> None:
    assert captions.facts(small(query=query))["Fill"] == fill


def test_a_map_of_given_positions_has_no_stride() -> None:
    hm = small()
    at = replace(hm, positions=hm.positions.reshape(-1, 2), values=hm.values.reshape(-1), evaluated=None, stride=None)
    assert captions.facts(at)["Stride"] == "none (AT positions)"
    assert captions.facts(replace(hm, stride=(1, 2)))["Stride"] == "1 x 2"


def test_long_facts_are_clipped_in_the_line_alone() -> None:
    hm: HeatMap = small(source="a/" * 90 + "cat.png", model="m" * 100)
    given = captions.facts(hm)
    line = captions.line(given)
    assert given["Source"] == hm.source
    assert f"model {'m' * 80}..., source .../a/" in line and "a/cat.png, patch 4 x 4" in line
