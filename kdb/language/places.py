"""Where the parts of a query stand in its text, and the text with some of them replaced.

What lies between them, spaces, line ends and comments, is kept as it is written.
"""

from __future__ import annotations

import re

from kdb.errors import ParseError
from kdb.language import syntax
from kdb.language.parser import Span, parse, query_places

_ORDER = ("source", *syntax.CLAUSES)


def query_in(statement: syntax.Statement) -> syntax.Occlude | None:
    """The query that a statement is, or that it explains or verifies; None for others."""
    if isinstance(statement, syntax.Explain | syntax.VerifyQuery):
        return statement.query
    return statement if isinstance(statement, syntax.Occlude) else None


def rewritten(text: str, query: syntax.Occlude) -> str:
    """The text of one statement with its query changed into another, clause by clause, where each of them stands.

    A clause that is new comes where the canonical text has it.  Where that does not give the query, as a ``?`` would be
    another one, the query's canonical text takes the place of all of it.
    """
    before = _query_of(text)
    if before is None or before == query:
        return text
    found = _clause_by_clause(text, before, query)
    if _query_of(found) == query:
        return found
    start, end = query_places(text)["query"]
    return f"{text[:start]}{query}{text[end:]}"


def _query_of(text: str) -> syntax.Occlude | None:
    """Of a text that is one statement; None for others, and for what is none."""
    try:
        statements = parse(text)
    except ParseError:
        return None
    return query_in(statements[0]) if len(statements) == 1 else None


def _clause_by_clause(text: str, before: syntax.Occlude, after: syntax.Occlude) -> str:
    had, wanted = before.clauses(), after.clauses()
    if before.source != after.source:
        text = _replaced(text, query_places(text)["source"], str(after.source))
    patch, other = before.patch, after.patch
    alike = isinstance(patch, syntax.Patch) and isinstance(other, syntax.Patch) and patch.channels == other.channels
    if alike and "extent" in query_places(text):
        text = _with_patch(text, patch, other)
        wanted["patch"] = had["patch"]
    changed = [name for name in syntax.CLAUSES if had.get(name) != wanted.get(name)]
    # First what goes: of alternatives only one may stand there.
    for name in sorted(changed, key=lambda name: name in wanted):
        places = query_places(text)
        if name not in wanted:
            text = _without(text, places[name]) if name in places else text
        elif name in places:
            text = _replaced(text, places[name], _spelled_as(text[places[name][0] :], wanted[name]))
        else:
            ends = (places[each][1] for each in reversed(_ORDER[: _ORDER.index(name)]) if each in places)
            text = _inserted(text, next(ends), wanted[name])
    return text


def _with_patch(text: str, before: syntax.Patch | syntax.Segments, after: syntax.Patch | syntax.Segments) -> str:
    assert isinstance(before, syntax.Patch) and isinstance(after, syntax.Patch), "it has an extent"
    if before.extent != after.extent:
        text = _replaced(text, query_places(text)["extent"], ", ".join(map(str, after.extent)))
    if before.fill == after.fill:
        return text
    places = query_places(text)
    if "fill" not in places:
        return _inserted(text, text.index(")", places["extent"][1]) + 1, f"FILL {after.fill}")
    start, end = places["fill"]
    keyword = re.search(r"FILL\s*$", text[:start], re.IGNORECASE)
    if after.fill == syntax.Fill() and keyword is not None:
        return _without(text, (keyword.start(), end))
    return _replaced(text, (start, end), str(after.fill))


def _replaced(text: str, span: Span, part: str) -> str:
    return text[: span[0]] + part + text[span[1] :]


def _inserted(text: str, at: int, part: str) -> str:
    return f"{text[:at]} {part}{text[at:]}"


def _spelled_as(written: str, clause: str) -> str:
    """A clause that begins with its keyword as it was written, if that is the same."""
    keyword = clause.split()[0]
    same = re.match(rf"{keyword}\b", written, re.IGNORECASE)
    return clause if same is None else same[0] + clause[len(keyword) :]


def _without(text: str, span: Span) -> str:
    """The text without a part, and without the line that was the part's alone."""
    before, after = text[: span[0]].rstrip(" \t"), text[span[1] :].lstrip(" \t")
    if before.endswith("\n"):
        return before[:-1] + after if not after or after.startswith("\n") else text[: span[0]] + after
    joined = not before or not after or after[0] in "\n;"
    return f"{before}{'' if joined else ' '}{after}"
