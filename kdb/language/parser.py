"""Query text -> the syntax tree of ``kdb.language.syntax``.

The grammar is ``grammar/kdb.lark``; this module alone imports lark, builds the tree, and turns every failure into
a :class:`kdb.errors.ParseError` that says where and what was expected.  It looks nothing up: whether a model, a
class or a setting exists, and whether clauses contradict each other, is the binder's question.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from lark import Lark, Token, Transformer, Tree, v_args
from lark.exceptions import UnexpectedInput, UnexpectedToken, VisitError
from lark.lark import PostLex
from lark.tree import Meta

from kdb.errors import ParseError
from kdb.geometry import MOST_AXES
from kdb.language import syntax

Names = Callable[[], Iterable[str]]
"""Names to be suggested, asked for only when one is."""

Span = tuple[int, int]
"""The offsets of a part's first character and of the one behind it."""

_MANIFEST = "MANIFEST"
"""A name where no string stands behind it, and so no keyword of the grammar's."""

_FIRST = 3
"""Words that a statement is told by."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A statement of a script, and the line that it begins in, from 1."""

    statement: syntax.Statement
    line: int

    def __str__(self) -> str:
        """In words: the line, and the first words of the statement's canonical text."""
        words = str(self.statement).split()
        return f"in line {self.line}: {' '.join(words[:_FIRST])}{' ...' if len(words) > _FIRST else ''}"


def parse(text: str, models: Names = tuple) -> syntax.Script:
    """The statements of a script, in order; empty statements are skipped.

    Raises:
        ParseError: the text is not a script of the query language; of ``models`` it may suggest one.
    """
    return tuple(each.statement for each in parse_script(text, models))


def parse_script(text: str, models: Names = tuple) -> tuple[Placed, ...]:
    """The same, each statement with where it stands."""
    return tuple(Placed(statement, _position(text, start)[0]) for start, statement in _parse(text, models))


def parse_one(text: str, models: Names = tuple) -> syntax.Statement:
    """The one statement of the text.

    Raises:
        ParseError: the text is not exactly one statement of the query language; of ``models`` it may suggest one.
    """
    found = _parse(text, models)
    if not found:
        raise _parse_error(text, _Refusal("there is no statement here", len(text.rstrip())))
    if len(found) > 1:
        raise _parse_error(text, _Refusal("one statement was asked for, and a second begins here", found[1][0]))
    return found[0][1]


def query_places(text: str) -> Mapping[str, Span]:
    """Where the parts of the first query of a script stand, which :func:`parse` takes: all of it, its source, each
    clause by its field, and of a patch its extent and fill.
    """
    query = next(iter(_lark().parse(text).find_data("occlude")))
    parts: dict[str, Any] = {"query": query, "source": query.children[0]}
    for clause in query.children[1:]:
        assert isinstance(clause, Tree), "the grammar has clauses there"
        parts[str(clause.data).removeprefix("clause_")] = clause
        patch = clause.children[0]
        if isinstance(patch, Tree) and patch.data == "patch":
            parts["extent"], parts["fill"], _ = patch.children
    return {name: (part.meta.start_pos, part.meta.end_pos) for name, part in parts.items() if part is not None}


def keywords() -> tuple[str, ...]:
    """Every keyword, spelled as in the documentation, in alphabetical order."""
    spelled = (str(terminal.pattern.value) for terminal in _lark().terminals if terminal.pattern.type == "str")
    return tuple(sorted((word for word in (*spelled, _MANIFEST) if word[0].isalpha()), key=str.lower))


# ---- the grammar


class _WholeWords(PostLex):
    """Has the lexer try WORD in every state, so that ``STRIDER`` is one unknown word and not STRIDE and R."""

    always_accept = ("WORD",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        return stream


def grammar() -> str:
    """The grammar's text: the copy in the installed package, else the repository's own."""
    packaged = resources.files("kdb") / "grammar" / "kdb.lark"
    source = packaged if packaged.is_file() else Path(__file__).resolve().parents[2] / "grammar" / "kdb.lark"
    return source.read_text(encoding="utf-8")


@cache
def _lark() -> Lark:
    return Lark(grammar(), parser="lalr", postlex=_WholeWords(), propagate_positions=True, maybe_placeholders=True)


def _parse(text: str, models: Names) -> list[tuple[int, syntax.Statement]]:
    """The statements, each with the offset of its first character."""
    if not isinstance(text, str):
        raise ParseError(f"a query is a text, not {type(text).__name__}")
    try:
        return _Build().transform(_lark().parse(text))
    except UnexpectedInput as error:
        refusal = _syntax_refusal(text, error, models)
    except VisitError as error:
        if not isinstance(error.orig_exc, _Refusal):
            raise
        refusal = error.orig_exc
    raise _parse_error(text, refusal)


# ---- the tree


class _Refusal(Exception):
    """What is wrong, at which offset of the text; becomes a ParseError once the text is at hand."""

    def __init__(self, message: str, offset: int, expected: Iterable[str] = (), suggestion: str | None = None) -> None:
        super().__init__(message)
        self.offset, self.expected, self.suggestion = offset, tuple(expected), suggestion


# The clause that sets a field, where it is not called like it.  Fields with one clause are alternatives.
_CLAUSES = {
    "approximate": "EXACT or APPROXIMATE",
    "budget_seconds": "BUDGET",
    "classes": "FOR",
    "device": "ON",
    "drill_down": "DRILL DOWN",
    "exact": "EXACT or APPROXIMATE",
    "model": "USING",
    "patch": "WITH",
    "region": "WITHIN or AT",
    "run": "INTO",
    "ssim": "TO SSIM",
}


_BEHIND_A_PATCH = {
    "FILL": "FILL stands once, right behind a patch, as in WITH patch(16, 16) FILL mean",
    "CHANNELS": "CHANNELS stands once, behind a patch and its FILL, as in WITH patch(16, 16) FILL mean CHANNELS (0, 2)",
}
"""Where the parts of WITH stand, for those who write them as clauses."""


def _fields(clauses: Iterable[Tree[Any]]) -> dict[str, Any]:
    """The fields that the clauses set, each ``clause_FIELD`` with its value as the only child."""
    chosen: dict[str, Any] = {}
    seen: set[str] = set()
    for clause in clauses:
        field = str(clause.data).removeprefix("clause_")
        name = _CLAUSES.get(field, field.upper())
        if name in seen:
            raise _Refusal(f"{name} is there already, and may be written only once", clause.meta.start_pos)
        seen.add(name)
        chosen[field] = clause.children[0]
    return chosen


@v_args(inline=True)
class _Build(Transformer[Token, list[tuple[int, syntax.Statement]]]):
    """Builds the nodes bottom up, from left to right; one instance a script, since it counts the ``?``.

    Rules without a method stay trees: the clauses, which ``_fields`` reads.  Any method may raise ``_Refusal``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._placeholders = 0

    def start(self, *statements: tuple[int, syntax.Statement]) -> list[tuple[int, syntax.Statement]]:
        return list(statements)

    @v_args(inline=True, meta=True)
    def statement(self, meta: Meta, node: syntax.Statement) -> tuple[int, syntax.Statement]:
        return meta.start_pos, node

    @v_args(inline=True, meta=True)
    def occlude(self, meta: Meta, source: syntax.Source, *clauses: Tree[Any]) -> syntax.Occlude:
        fields = _fields(clauses)
        if "model" not in fields:
            raise _Refusal("USING is required: it names the model, as in USING resnet18", meta.end_pos, ["USING"])
        if isinstance(fields.get("score"), tuple):
            fields["score"], fields["to"] = fields["score"]
        return syntax.Occlude(source, **fields)

    def text(self, value: str, options: syntax.Options | None) -> syntax.Text:
        return syntax.Text(value, options or ())

    @v_args(inline=True, meta=True)
    def manifest(self, meta: Meta, word: str, path: str, options: syntax.Options | None) -> syntax.Manifest:
        if word.upper() != _MANIFEST:
            close = get_close_matches(word.upper(), [_MANIFEST], n=1, cutoff=0.7)
            wanted = [_MANIFEST, "a name", "a parameter ($name or ?)", "a quoted string"]
            refused = f"did not expect a string behind {_shown(word)}"
            raise _Refusal(refused, meta.start_pos, wanted, close[0] if close else None)
        return syntax.Manifest(path, options or ())

    def run(self, folder: str, options: syntax.Options | None, via: syntax.Via | None) -> syntax.RunInto:
        return syntax.RunInto(folder, options or (), via)

    def ray(self, options: syntax.Options | None) -> syntax.Ray:
        return syntax.Ray(options or ())

    def explain(self, analyze: bool | None, format: str | None, occlude: syntax.Occlude) -> syntax.Explain:
        return syntax.Explain(occlude, bool(analyze), format or "text")

    def tune(self, model: syntax.ModelRef, source: syntax.Source, *clauses: Tree[Any]) -> syntax.Tune:
        return syntax.Tune(model, source, **_fields(clauses))

    def create_model(
        self, or_replace: bool | None, name: str, path: str, options: syntax.Options | None
    ) -> syntax.CreateModel:
        return syntax.CreateModel(name, path, options or (), bool(or_replace))

    def patch(
        self, extent: tuple[int, ...], fill: syntax.Fill | syntax.Parameter | None, channels: tuple[int, ...] | None
    ) -> syntax.Patch:
        return syntax.Patch(extent, _fill(fill), channels)

    def segments(
        self,
        labels: syntax.Parameter,
        in_source: bool | None,
        fill: syntax.Fill | syntax.Parameter | None,
        channels: tuple[int, ...] | None,
    ) -> syntax.Segments:
        return syntax.Segments(labels, _fill(fill), channels, bool(in_source))

    def channels(self, *numbers: int) -> tuple[int, ...]:
        return numbers

    @v_args(inline=True, meta=True)
    def by_axis(self, meta: Meta, *numbers: int) -> tuple[int, ...]:
        if len(numbers) > MOST_AXES:
            raise _Refusal(
                f"{len(numbers)} numbers stand here, and a network has at most {MOST_AXES} axes", meta.start_pos
            )
        return numbers

    @v_args(inline=True, meta=True)
    def box(self, meta: Meta, *numbers: int) -> syntax.Box:
        axes = len(numbers) // 2
        if len(numbers) % 2 or axes > MOST_AXES:
            message = f"a box is a start for each axis and an extent for each; {len(numbers)} numbers stand here"
            raise _Refusal(message, meta.start_pos, ["box(y, x, height, width)"])
        return syntax.Box(numbers[:axes], numbers[axes:])

    def over_box(self, box: syntax.Box) -> syntax.OverBox:
        return syntax.OverBox(box.start, box.extent)

    def named_fill(self, kind: Token) -> syntax.Fill:
        return syntax.Fill(kind.lower())

    def number_fill(self, value: float) -> syntax.Fill:
        return syntax.Fill("number", (value,))

    def rgb(self, *channels: float) -> syntax.Fill:
        return syntax.Fill("rgb", channels)

    def blur(self, sigma: float) -> syntax.Fill:
        return syntax.Fill("blur", (sigma,))

    def stride(self, steps: int | tuple[int, ...]) -> tuple[int, ...]:
        return (steps,) if isinstance(steps, int) else steps

    def within(self, region: syntax.Box | syntax.Mask, in_source: bool | None) -> syntax.Region:
        return replace(region, in_source=bool(in_source))

    def likeness(self, kind: str, to: syntax.Source) -> tuple[str, syntax.Source]:
        return kind, to

    def class_list(self, *refs: int | str | syntax.Parameter) -> syntax.Classes:
        return syntax.Classes(refs)

    def approximate(self, ssim: float | None, guaranteed: bool | None, refine: float | None) -> syntax.Approximate:
        return syntax.Approximate(ssim, bool(guaranteed), refine)

    def auto_threshold(self, ssim: float | None) -> syntax.Threshold:
        return syntax.Threshold(None, True, ssim)

    def drill_down(self, ratio: float | None, speedup: float | None) -> syntax.DrillDown:
        written: dict[str, Any] = {"ratio": ratio, "speedup": speedup}
        return syntax.DrillDown(**{field: value for field, value in written.items() if value is not None})

    def coarse_drill_down(self, ratio: float | None, stride: int) -> syntax.DrillDown:
        return replace(self.drill_down(ratio, None), speedup=None, coarse_stride=stride)

    def model(self, name: str | syntax.Parameter, options: syntax.Options | None) -> syntax.ModelRef:
        if isinstance(name, syntax.Parameter):
            return syntax.ModelRef("", options or (), name)
        return syntax.ModelRef(name, options or ())

    def options(self, *options: tuple[int, str, syntax.Value]) -> syntax.Options:
        seen: set[str] = set()
        for start, key, _ in options:
            if key in seen:
                raise _Refusal(f"the option {key} is there already, and may be written only once", start)
            seen.add(key)
        return tuple((key, value) for _, key, value in options)

    @v_args(inline=True, meta=True)
    def option(self, meta: Meta, key: str, value: syntax.Value) -> tuple[int, str, syntax.Value]:
        return meta.start_pos, key, value

    def values(self, *values: syntax.Scalar) -> tuple[syntax.Scalar, ...]:
        return values

    def bare_value(self, token: Token) -> syntax.Scalar:
        return {"true": True, "false": False}.get(token.lower(), str(token))

    def named_parameter(self, token: Token) -> syntax.Parameter:
        return syntax.Parameter(name=token[1:])

    def placeholder(self) -> syntax.Parameter:
        self._placeholders += 1
        return syntax.Parameter(index=self._placeholders - 1)

    def whole(self, token: Token) -> int:
        return _whole(token, "a whole number, 0 or more")

    def positive(self, token: Token) -> int:
        return _whole(token, "a whole number from 1")  # the binder refuses 0, by the clause's name

    def number(self, token: Token) -> float:
        return float(_number(token))

    def value_number(self, token: Token) -> int | float:
        return _number(token)

    def string(self, token: Token) -> str:
        return token[1:-1].replace("''", "'")

    def word(self, token: Token) -> str:
        return str(token)

    def name(self, token: Token) -> str:
        if "." in token or "/" in token:
            raise _not_a_name(token, _start(token))
        return str(token)

    def key(self, token: Token) -> str:
        if "/" in token:
            raise _Refusal(f"{_shown(token)} is not the name of a setting or option", _start(token), ["a name"])
        return str(token)

    def _lower(self, token: Token) -> str:
        return token.lower()

    def _true(self) -> bool:
        return True

    verify_query = syntax.VerifyQuery
    verify_file = syntax.VerifyFile
    resume_run = syntax.ResumeRun
    show_run = syntax.ShowRun
    local = syntax.Local
    processes = syntax.Processes
    shard = syntax.Shard
    drop_model = syntax.DropModel
    describe_model = syntax.DescribeModel
    set_option = syntax.SetOption
    reset_option = syntax.ResetOption
    show_models = syntax.ShowModels
    show_settings = syntax.ShowSettings
    show_rules = syntax.ShowRules
    show_calibration = syntax.ShowCalibration
    calibrate = syntax.Calibrate
    bare = syntax.Name
    mask = syntax.Mask
    at = syntax.At
    predicted = syntax.Predicted
    over_predicted = syntax.OverPredicted
    over_all = syntax.OverAll
    over_mask = syntax.OverMask
    class_of = syntax.ClassOf
    top_classes = syntax.TopClasses
    all_classes = syntax.AllClasses
    detection = syntax.Detection
    threshold = syntax.Threshold
    format = score = cosine = precision = device = _lower
    exact = guaranteed = analyze = or_replace = in_source = _true


def _fill(fill: syntax.Fill | syntax.Parameter | None) -> syntax.Fill:
    if isinstance(fill, syntax.Parameter):
        return syntax.Fill("parameter", parameter=fill)
    return fill or syntax.Fill()


def _start(token: Token) -> int:
    return token.start_pos or 0


def _number(token: Token) -> int | float:
    """An int where the token is written as one, else a float; refused where no finite float is near it."""
    if len(token) > 400 or not math.isfinite(float(token)):
        raise _Refusal(f"{_shown(token)} is out of range", _start(token), ["a number"])
    return int(token) if token.lstrip("+-").isdigit() else float(token)


def _whole(token: Token, expected: str) -> int:
    number = _number(token)
    if isinstance(number, float) or number < 0:
        raise _Refusal(f"{_shown(token)} cannot stand here", _start(token), [expected])
    return number


# ---- what is wrong

_WORDS = {
    "NUMBER": "a number",
    "PARAMETER": "a parameter ($name or ?)",
    "QMARK": "a parameter ($name or ?)",
    "STRING": "a quoted string",
    "WORD": "a name",
}
_RUN = re.compile(r"[^\s;,()\[\]='\"]+")  # what a user would call one word, or a path that lacks its quotes
_DOUBLE_QUOTED = re.compile(r'"([^"\n]*)"?')
_QUOTES = r"\u2018-\u201f\u2039\u203a\xab\xbb`\xb4"  # typographic ones, as a class of characters names them
_TYPOGRAPHIC = re.compile(rf"[{_QUOTES}]([^{_QUOTES}'\n]*)[{_QUOTES}']?")
_ALIASES = {"CUDA": "gpu", "GREY": "gray"}
_PREFIX = 3
"""Letters from which the beginning of a keyword is taken for it."""
_COLOURS = {
    "red": "rgb(255, 0, 0)",
    "green": "rgb(0, 128, 0)",
    "blue": "rgb(0, 0, 255)",
    "yellow": "rgb(255, 255, 0)",
    "cyan": "rgb(0, 255, 255)",
    "magenta": "rgb(255, 0, 255)",
    "purple": "rgb(128, 0, 128)",
    "orange": "rgb(255, 165, 0)",
    "brown": "rgb(165, 42, 42)",
    "pink": "rgb(255, 192, 203)",
}
_CLAUSE_WORDS = {"USING", "WITH", "STRIDE", "FOR", "SCORE", "WITHIN"}


def _syntax_refusal(text: str, error: UnexpectedInput, models: Names) -> _Refusal:
    """Why the text, read as far as ``error``, cannot go on."""
    state = error.interactive_parser
    stack = state.parser_state.value_stack
    last = stack[-1] if stack and isinstance(stack[-1], Token) else Token("", "")
    accepted: set[str] = state.accepts()  # type: ignore[no-untyped-call]
    expected = _in_words(accepted)

    if last.type == "STRING" and "\n" in last:
        return _Refusal("this string runs on to another line; is its closing quote missing?", _start(last))
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return _Refusal("the query ends too early", error.token.end_pos or 0, expected)

    offset = error.pos_in_stream or 0
    before = getattr(stack[-2], "type", "") if len(stack) > 1 else ""
    if before == "OCCLUDE" and last.type == "WORD" and last.upper() in _CLAUSE_WORDS:
        wanted = ["a name", "a parameter ($name or ?)", "a quoted string"]
        return _Refusal(f"the image is missing: it stands before {last.upper()}", _start(last), wanted)
    if typographic := _TYPOGRAPHIC.match(text, offset):
        return _Refusal("strings are in straight single quotes", offset, expected, syntax.quote(typographic[1]))
    if text[offset] == "'" and not isinstance(error, UnexpectedToken):
        return _Refusal("this string has no closing quote", offset)
    if double_quoted := _DOUBLE_QUOTED.match(text, offset):
        return _Refusal("strings are in single quotes", offset, expected, syntax.quote(double_quoted[1]))

    run = _RUN.match(text, _start(last) if last.type == "WORD" and last.end_pos == offset else offset)
    if run and run.start() < offset < run.end():
        of_a_model = [getattr(each, "type", "") for each in stack[-2:]] == ["USING", "WORD"]
        return _not_a_name(run[0], run.start(), models() if of_a_model else ())
    token = error.token if isinstance(error, UnexpectedToken) else Token("", text[offset])
    found = run[0] if run and run.start() == offset else token
    if found.upper() in _BEHIND_A_PATCH and "STRIDE" in accepted:  # a clause may begin here, and these begin none
        return _Refusal(_BEHIND_A_PATCH[found.upper()], offset, expected)
    reserved = {word.upper() for word in keywords()}
    known = {word.upper(): word for word in expected if word.upper() in reserved}
    word = found[:40].upper()
    close = [name for name in sorted(known) if len(word) >= _PREFIX and name.startswith(word)]
    close = close or get_close_matches(word, sorted(known), n=1, cutoff=0.7)
    unquoted = token.type == "WORD" and "STRING" in accepted
    usual = _ALIASES.get(word, "")
    if usual.upper() in known:
        suggestion: str | None = usual
    elif "RGB" in known and (colour := found.lower().strip("'")) in _COLOURS:
        suggestion = _COLOURS[colour]
    else:
        suggestion = known[close[0]] if close else syntax.quote(found) if unquoted else None
    return _Refusal(f"did not expect {_shown(found)}", offset, expected, suggestion)


def _not_a_name(found: str, offset: int, known: Iterable[str] = ()) -> _Refusal:
    """For what lacks its quotes, and the lexer may cut, as images/*.png at the star; or misspells a ``known`` name."""
    close = get_close_matches(found, list(known), n=1, cutoff=0.8)
    suggestion = str(syntax.ModelRef(close[0])) if close else syntax.quote(found)
    return _Refusal(f"{_shown(found)} is not a name", offset, ["a name", "a quoted string"], suggestion)


def _in_words(terminals: Collection[str]) -> list[str]:
    """What a user would call these terminals: keywords and kinds of things first, then the punctuation."""
    words = [_WORDS.get(t.name, str(t.pattern.value)) for t in _lark().terminals if t.name in terminals]
    if "logit_drop" in words:  # among scores the statement's keyword is one, and written as they are
        words = ["drop" if word == "DROP" else word for word in words]
    spelled = [word for word in dict.fromkeys(words) if word[0].isalpha()]
    marks = [f"'{word}'" for word in words if not word[0].isalpha()]
    return spelled + marks + ["the end of the query"] * ("$END" in terminals)


def _shown(found: str) -> str:
    """The text, shortened, with what cannot be seen escaped."""
    seen = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in found[:40])
    return seen if len(found) <= 40 else seen + "..."


def _parse_error(text: str, refusal: _Refusal) -> ParseError:
    line, column = _position(text, refusal.offset)
    return ParseError(
        str(refusal),
        text=text.expandtabs(1),  # a tab would move the caret
        line=line,
        column=column,
        expected=refusal.expected,
        suggestion=refusal.suggestion,
    )


def _position(text: str, offset: int) -> tuple[int, int]:
    """(line, column) of a character, from 1."""
    # errors.py finds the line with splitlines, which knows more line ends than lark counts.
    before = (text[:offset] + "^").splitlines()
    return len(before), len(before[-1])
