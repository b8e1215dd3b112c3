"""Controls and text say the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import kdb
from kdb.language import syntax
from kdb.language.parser import parse_one
from kdb.ui import form

pytestmark = pytest.mark.hypothesis

WRITTEN = ["with patch(8, 8) FILL mean", "STRIDE (2, 3)", "using m", "FOR TOP 3", "WITHIN box(1, 2, 3, 4)", "EXACT"]
BEGIN = "OCCLUDE 'a b.png' WITH patch(16, 16) USING m"


def query(text: str) -> syntax.Occlude:
    found = parse_one(text)
    assert isinstance(found, syntax.Occlude)
    return found


numbers = st.lists(st.integers(1, 500), min_size=1, max_size=3)
boxes = st.integers(1, 3).flatmap(lambda axes: st.lists(st.integers(1, 99), min_size=2 * axes, max_size=2 * axes))
classes = st.one_of(
    st.sampled_from([{"kind": "predicted", "value": None}, {"kind": "all", "value": None}]),
    st.builds(
        lambda kind, value: {"kind": kind, "value": value}, st.sampled_from(["top", "detection"]), st.integers(1, 9)
    ),
    st.builds(lambda value: {"kind": "class", "value": value}, st.integers(0, 999) | st.text(min_size=1, max_size=9)),
)
efforts = st.one_of(
    st.just({"kind": "exact"}),
    st.builds(lambda s, g: {"kind": "ssim", "ssim": s, "guaranteed": g}, st.sampled_from([0.5, 0.9]), st.booleans()),
    st.builds(lambda s: {"kind": "seconds", "seconds": s}, st.sampled_from([0.5, 3.0, 60.0])),
)
changes = st.one_of(
    st.tuples(st.just("patch"), numbers),
    st.tuples(st.just("stride"), numbers),
    st.tuples(st.just("box"), boxes),
    st.tuples(st.just("classes"), classes),
    st.tuples(st.just("effort"), efforts),
    st.tuples(st.just("score"), st.sampled_from(form.SCORES)),
    st.tuples(st.just("fill"), st.sampled_from(["black", "gray", "128", "rgb(1, 2, 3)", "blur(8)", "mean"])),
    st.tuples(st.just("source"), st.sampled_from(["'x.png'", "chelsea", "$image", "'it''s.png'"])),
    st.tuples(st.just("model"), st.sampled_from(["resnet18", "timm/resnet18", "resnet18 (input_size = 96)"])),
    st.tuples(st.just("over"), st.sampled_from([None, "predicted", "all"])),
)


@given(st.lists(changes, min_size=1, max_size=6))
def test_what_is_set_is_shown_and_written(made: list[tuple[str, Any]]) -> None:
    """Each control shows what it was set to last, in the query and in its text."""
    now, last = query(BEGIN), {}
    for control, value in made:
        now, last[control] = form.changed(now, control, value), value
    again = query(str(now))
    assert again == now
    shown = form.of_query(again)
    for control, value in last.items():
        assert (shown["region"]["box"] if control == "box" else shown[control]) == value


layouts = st.lists(
    st.sampled_from([" ", "\n", " -- note, 'x' WITH\n", "\t", "\n\n  "]),
    min_size=len(WRITTEN) + 1,
    max_size=len(WRITTEN) + 1,
)


@given(layouts, st.permutations(WRITTEN), st.lists(changes, min_size=1, max_size=4))
def test_what_a_control_writes_says_what_it_was_set_to(
    gaps: list[str], clauses: list[str], made: list[tuple[str, Any]]
) -> None:
    """However the text is laid out; and no comment of it goes."""
    text = (
        "-- first\nOCCLUDE 'a b.png'"
        + "".join(gap + clause for gap, clause in zip(gaps, clauses, strict=False))
        + gaps[-1]
    )
    comments = text.count("--")
    for control, value in made:
        before = query(text)
        text = form.written(text, before, control, value)
        assert query(text) == form.changed(before, control, value)
    assert text.count("--") == comments


@pytest.mark.parametrize(
    ("text", "control", "value", "after"),
    [
        (
            "OCCLUDE chelsea -- my note\nWITH patch(32, 32)\nSTRIDE 32 using net",
            "stride", [8],
            "OCCLUDE chelsea -- my note\nWITH patch(32, 32)\nSTRIDE 8 using net",
        ),
        (
            "OCCLUDE chelsea\n  with patch(32) -- large\n  using net -- quick\n;",
            "model", "other",
            "OCCLUDE chelsea\n  with patch(32) -- large\n  using other -- quick\n;",
        ),
        ("OCCLUDE a USING m -- x", "fill", "mean", "OCCLUDE a WITH patch(16) FILL mean USING m -- x"),
        ("OCCLUDE a USING m WITH patch(8, -- y\n8)", "patch", [3], "OCCLUDE a USING m WITH patch(3)"),
        ("OCCLUDE a WITH patch(8) FILL mean USING m", "fill", "black", "OCCLUDE a WITH patch(8) USING m"),
        ("OCCLUDE a USING m -- x\n", "score", "drop", "OCCLUDE a USING m SCORE drop -- x\n"),
        (
            "OCCLUDE a\nUSING m\n  FOR TOP 3 -- n\n  EXACT\nON cpu",
            "effort", {"kind": "exact"},
            "OCCLUDE a\nUSING m\n  FOR TOP 3 -- n\nON cpu",
        ),
        ("OCCLUDE a -- n\nSCORE drop USING m", "score", "probability", "OCCLUDE a -- n\nUSING m"),
        ("OCCLUDE ? USING ?", "stride", [8], "OCCLUDE ? STRIDE 8 USING ?"),
    ],
)  # fmt: skip
def test_only_the_clause_of_a_control_is_rewritten(text: str, control: str, value: Any, after: str) -> None:
    assert form.written(text, query(text), control, value) == after


@given(changes, changes)
def test_controls_do_not_disturb_one_another(one: tuple[str, Any], two: tuple[str, Any]) -> None:
    assume(one[0] != two[0])
    start = query(BEGIN)
    assert form.changed(form.changed(start, *one), *two) == form.changed(form.changed(start, *two), *one)


@pytest.mark.parametrize(
    ("clauses", "others"),
    [
        ("WITH segments($s)", ["WITH segments($s)"]),
        ("WITH patch(3) CHANNELS (0, 2)", ["CHANNELS (0, 2)"]),
        ("WITH patch(3) CHANNELS (1)", ["CHANNELS (1)"]),
        ("WITHIN mask($painted)", []),
        ("SCORE cosine TO 'b.png'", ["SCORE cosine TO 'b.png'"]),
        ("AT $p", ["AT $p"]),
        ("WITHIN mask($m)", ["WITHIN mask($m)"]),
        ("WITHIN box(1, 2, 3, 4) IN SOURCE", ["WITHIN box(1, 2, 3, 4) IN SOURCE"]),
        ("FOR CLASSES (1, 2)", ["FOR CLASSES (1, 2)"]),
        ("OVER box(1, 2, 3, 4)", ["OVER box(1, 2, 3, 4)"]),
        ("ON gpu", ["ON gpu"]),
        ("WITHIN box(1, 2, 3, 4) STRIDE 2 FOR TOP 3 EXACT", []),
    ],
)
def test_what_no_control_shows_is_listed_and_kept(clauses: str, others: list[str]) -> None:
    start = query(f"OCCLUDE x USING m {clauses}")
    assert form.of_query(start)["others"] == others
    kept = form.changed(start, "model", "n")
    assert str(kept) == str(start).replace("USING m", "USING n")


@pytest.mark.parametrize(("clauses", "told"), [("THRESHOLD .5", "THRESHOLD"), ("PRECISION bf16", "PRECISION bf16")])
def test_permissions_without_a_control(clauses: str, told: str) -> None:
    start = query(f"OCCLUDE x USING m {clauses}")
    assert form.of_query(start)["effort"] == {"kind": "other", "text": told}
    assert form.of_query(form.changed(start, "effort", {"kind": "exact"}))["effort"] == {"kind": "exact"}


@pytest.mark.parametrize(
    ("control", "value"),
    [
        ("size", 3),
        ("patch", "16"),
        ("patch", None),
        ("stride", [None]),
        ("classes", {"kind": "best", "value": 1}),
        ("classes", {}),
        ("classes", 7),
        ("effort", {"kind": "fast"}),
        ("effort", None),
        ("score", "beauty"),
        ("fill", "pink"),
        ("fill", "black USING other"),
        ("source", "x USING y; SHOW MODELS"),
        ("over", "box"),
    ],
)
def test_what_cannot_be_set(control: str, value: Any) -> None:
    with pytest.raises((kdb.BindError, kdb.ParseError)):
        form.changed(query(BEGIN), control, value)
