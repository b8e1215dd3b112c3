"""Errors as the page tells them: with the place in the query's text, and a correction where there is a likely one.

Only the parser knows places.  Whatever else refuses a query names in its message, in quotes, what of it is wrong: that
word is looked for in the text.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from difflib import SequenceMatcher
from itertools import islice
from typing import TYPE_CHECKING

from kdb.errors import Error, ParseError, UnknownName, most_similar
from kdb.language import syntax
from kdb.ui import samples
from kdb.ui.wire import Content

if TYPE_CHECKING:
    from kdb.session.session import Session

_MEANT = re.compile(r"; did you mean '(.*?)'\?")
_QUOTED = re.compile(r"'((?:[^']|'')*)'")
_WRONG = re.compile(r"(?:no image|no class|\bclass|unknown \w+|no file matches) '([^']*)'|\bclass (\d+) is out")
"""What is wrong by the message of an error that suggests nothing."""
_LISTED = 1000
"""Most files of a folder among which one of a similar name is looked for."""


def refusal(error: Error, text: str = "", session: Session | None = None) -> Content:
    """An error as ``Refusal`` in ui/src/protocol.ts has it; of one in the ``text`` its place, and the message alone."""
    if isinstance(error, ParseError):
        return {
            "type": "ParseError",
            "message": str(error).split("\n")[0].removesuffix(f" (line {error.line}, column {error.column})"),
            "line": error.line,
            "column": error.column,
            "expected": [*error.expected],
            "suggestion": error.suggestion,
        }
    place: Content = {"line": None, "column": None, "expected": [], "suggestion": None}
    found = None if not text else _of_model(error, text) or _named(str(error), text, session)
    if found is not None:
        at, suggestion = found
        before = text[:at].split("\n")
        place |= {"line": len(before), "column": len(before[-1]) + 1, "suggestion": suggestion}
    return {"type": type(error).__name__, "message": str(error), **place}


def _of_model(error: Error, text: str) -> tuple[int, str | None] | None:
    if not isinstance(error, UnknownName) or not error.name or (at := text.rfind(error.name)) < 0:
        return None
    return at, None if error.suggestion is None else str(syntax.ModelRef(error.suggestion))


def _named(message: str, text: str, session: Session | None) -> tuple[int, str | None] | None:
    """Where in the text stands what the message says is wrong, and what is to stand there."""
    meant = _MEANT.search(message)
    head = message[: meant.start()] if meant else message
    if meant is not None:
        # Of the words that the message quotes, as a model and a class, the wrong one is like what is meant.
        words = [word for word in _QUOTED.findall(head) if _spot(word, text) is not None]
        word = max(words, key=lambda each: SequenceMatcher(None, each, meant[1]).ratio(), default=None)
        suggestion: str | None = meant[1]
    elif head.startswith("cannot read") and session is not None:
        word, suggestion = _file(head, text, session)
    else:
        wrong = _WRONG.search(head)
        word, suggestion = wrong and (wrong[1] or wrong[2]), None
        if word and head.startswith("no image") and session is not None:
            suggestion = most_similar(word, [*session.images, *samples.SAMPLES])
    spot = None if word is None else _spot(word, text)
    if spot is None:
        return None
    at, is_quoted = spot
    if suggestion is not None and (is_quoted or not suggestion.isidentifier()):
        suggestion = syntax.quote(suggestion)
    return at, suggestion


def _spot(word: str, text: str) -> tuple[int, bool] | None:
    """Where a word stands in a text, as a string or bare, and whether as a string."""
    if word and (at := text.rfind(syntax.quote(word))) >= 0:
        return at, True
    bare = re.search(rf"(?<![\w'$]){re.escape(word)}(?![\w'])", text) if word else None
    return None if bare is None else (bare.start(), False)


def _file(message: str, text: str, session: Session) -> tuple[str | None, str | None]:
    """Which path of the text a message is about, and one of a similar name where there is no such file."""
    for written in _QUOTED.findall(text):
        given = written.replace("''", "'")
        with suppress(Error):
            opened = session.root.path(given)
            if given and opened in message:
                return given, None if os.path.exists(opened) else _similar(given, opened)
    return None, None


def _similar(given: str, opened: str) -> str | None:
    folder, name = os.path.split(opened)
    try:
        with os.scandir(folder) as entries:
            known = [entry.name for entry in islice(entries, _LISTED) if entry.is_file()]
    except OSError:
        return None
    found = most_similar(name, known)
    return found and os.path.join(os.path.dirname(given), found)
