"""Text from anywhere, as it is shown: in errors, warnings, tables, pictures and what the command prints."""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

import kdb
from kdb.cli import Client, summary
from kdb.errors import (
    BindError,
    Error,
    GlyphWarning,
    ModelError,
    OmissionWarning,
    ParseError,
    behind_of,
    printable,
    reason,
)
from kdb.results import exports
from kdb.results.pictures import captions, figure
from kdb.results.several import HeatMaps
from kdb.results.tables import Headed, PlanText, Table
from kdb.system import memory
from tests.results.test_heatmap import STATS, small

pytestmark = pytest.mark.law

STEERING = "\x1b[2J\x1b]0;title\x07 \x9b31m \x7f \x00 line\nbreak\r\ttab \u2028 \u202eback\u2066 \ud83d \ufffe end"
CONTROLS = st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Lu"]), max_size=30)


def assert_shown(text: str) -> None:
    """On one line, and nothing but read: a terminal does nothing else with it, nor an encoder nor an XML parser."""
    assert len(text.splitlines()) <= 1 and not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text)
    assert not set(text) & set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufffe\uffff")
    ElementTree.fromstring(f"<t>{text.encode().decode().translate({38: '', 60: ''})}</t>")


@given(CONTROLS | st.text())
@example(STEERING)
def test_what_is_shown_steers_nothing(text: str) -> None:
    shown = printable(text)
    assert_shown(shown)
    assert printable(shown) == shown


@given(st.text(st.characters(categories=["L", "M", "N", "P", "S", "Zs"])))
@example("naïve 猫 קוד 👩‍🔬 می‌خواهم")
def test_what_can_be_read_is_left_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_controls_are_named() -> None:
    assert printable("a\x1b[31mb\tc\nd\u202ee") == r"a\u001b[31mb c d\u202ee"


@given(CONTROLS)
@example(STEERING)
def test_errors_and_warnings_quote_anything(text: str) -> None:
    for raised in (Error(text), ModelError(f"'{text}'"), BindError(text), kdb.Interrupted(text), OmissionWarning(text)):
        assert_shown(str(raised))
    error = ParseError(f"unexpected '{printable(text)}'", text=f"SELECT\n{text}", line=2)
    for line in str(error).split("\n"):
        assert_shown(line)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn(text, kdb.VerificationWarning, stacklevel=1)
    assert_shown(str(caught[0].message))


@given(CONTROLS)
@example(STEERING)
def test_tables_have_a_line_a_row(text: str) -> None:
    for line in str(Table((text, "b"), ((text, 1), (text, 2)))).split("\n"):
        assert_shown(line)
    assert len(str(Table((text, "b"), ((text, 1), (text, 2)))).split("\n")) == 4
    for line in str(Headed(("a",), ((text,),), lines=(text,))).split("\n"):
        assert_shown(line)
    page = Headed((text,), ((text,),), lines=(text,))._repr_html_()
    assert_shown(page)
    plan = PlanText(("plan",), ((json.dumps({"label": text}, ensure_ascii=False),),))
    assert_shown(str(plan))
    assert isinstance(json.loads(str(plan))["label"], str)  # the escapes are JSON's too


@settings(max_examples=5)
@given(CONTROLS)
@example(STEERING)
def test_pictures_have_no_controls_in_their_texts(text: str) -> None:
    heat_map = small(label=text, query=text, source=text, model=text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", GlyphWarning)  # no font has most of them
        svg = io.BytesIO()
        figure.write(heat_map.plot(), captions.facts(heat_map), "svg", svg)
        ElementTree.fromstring(svg.getvalue())
        assert "\x1b" not in svg.getvalue().decode()
        png = io.BytesIO(heat_map._repr_png_())
        page = heat_map._repr_html_()
    with Image.open(png) as opened:
        for value in opened.text.values():  # type: ignore[attr-defined]
            assert_shown(value)
    assert_shown(page)
    assert_shown(repr(heat_map))


@given(CONTROLS)
@example(STEERING)
def test_other_formats_have_no_controls(text: str) -> None:
    table = Table(("a", "b"), ((text, 1), ("x", None)))
    for written in (exports.as_csv(table), exports.as_csv(small(label=text, source=text)), exports.as_json(table)):
        for line in written.split("\n"):
            assert_shown(line)


def test_the_command_prints_no_controls() -> None:
    out, err = io.StringIO(), io.StringIO()
    client = Client(kdb.connect(), out, err)
    heat_map = small(label=STEERING, stats=replace(STATS, seconds={"total": 1.0}))

    def compute(index: int) -> kdb.HeatMap:
        if index:
            raise ModelError(STEERING)
        return heat_map

    client.show(HeatMaps([STEERING, STEERING], compute))
    client.run(f"OCCLUDE 'a\x1b[2J' USING \"{STEERING}\"")
    lines = [*out.getvalue().split("\n"), *err.getvalue().split("\n"), *summary(heat_map).split("\n")]
    assert len(lines) >= 6
    for line in lines:
        assert_shown(line)


@pytest.mark.parametrize(
    ("text", "column", "cells"),
    [
        ("OCCLUDE '日本語.png' USING", 19, 21),
        ("OCCLUDE 'e\u0301.png' USING", 18, 16),
        ("'😀' !", 5, 5),
        ("'\u200b' x", 5, 3),
    ],
)
def test_the_caret_stands_below_what_is_wrong_in_cells_of_the_terminal(text: str, column: int, cells: int) -> None:
    *_, caret = str(ParseError("no", text=text, column=column)).split("\n")
    assert caret.index("^") - 2 == cells


@given(before=st.integers(0, 5000), after=st.integers(0, 5000))
def test_of_a_long_line_what_is_round_the_caret_is_shown(before: int, after: int) -> None:
    text = "a" * before + "!" + "b" * after
    _, shown, caret = str(ParseError("no", text=text, column=before + 1)).split("\n")
    assert len(shown) <= 120 and shown[caret.index("^")] == "!"
    assert ("..." in shown[:5]) == (before > 50) and shown.endswith("...") == (after >= 50)


def test_what_is_behind_an_error_is_found_once_even_in_a_circle() -> None:
    first, second = ValueError("first"), OSError(28, "no space")
    first.__cause__, second.__cause__ = second, first
    assert list(behind_of(first)) == [first, second] and reason(first) == "no space"
    alone = ValueError("alone")
    alone.__cause__ = alone
    assert list(behind_of(alone)) == [alone] and reason(alone) == "alone"
    with pytest.raises(ValueError) as caught, memory.told():
        raise alone
    assert caught.value is alone
