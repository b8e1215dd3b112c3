"""Every exception that kdb raises on purpose, drawn as one tree.

    Error                       base of all
    |-- ParseError              the text is not a query: line, column, caret, what was expected
    |-- BindError               a well-formed query names something that does not exist, or clauses that contradict
    |   |-- UnknownName         it names a model that does not exist; carries the name
    |   |-- ClauseError         a clause is out of range, or does not fit the model or another clause
    |-- ModelError              a model cannot be found, loaded or traced
    |-- DeviceError             ON gpu without a usable GPU, or the GPU fails
    |-- ExecutionError          a bound query failed while it ran (unreadable image, NaN, unwritable file, no memory)
    |   |-- Unwritable          a file cannot be written: the disk is full, its folder read-only
    |   `-- Timeout             it took longer than SET statement_timeout allows; carries the partial heat map
    |-- Interrupted             Ctrl-C; also a KeyboardInterrupt; carries the partial heat map
    `-- Cancel                  raised by a progress callback to stop its query; carries the partial heat map

OmissionWarning, FullInferenceWarning and VerificationWarning are warnings, which are not raised.

A user's mistake is never reported as an AssertionError, KeyError or the like.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""What a text may do beside being read: steer a terminal, end a line, turn the direction of writing, or break XML."""


def printable(text: str) -> str:
    """``text`` on one line, as it may be shown: whatever its characters, they are read and nothing else.

    Ends of lines and tabs become spaces; other control characters, bidirectional controls, lone surrogates (bytes of
    file names that are not UTF-8) and what XML does not know are written as in Python and JSON: ``\\u001b``.  Names,
    labels and messages from files go through here before they reach a terminal, a log, a page or a picture.
    """
    return _UNSHOWN.sub(lambda found: f"\\u{ord(found[0]):04x}", " ".join(text.splitlines()).replace("\t", " "))


WINDOW = 50
"""Characters of a long line that are shown on either side of what is wrong."""


def _window(line: str, at: int) -> tuple[str, str]:
    """What is shown of a line, round the character ``at``, and what of that stands before it."""
    first, end = max(at - WINDOW, 0), at + WINDOW
    begin = "..." if first else ""
    return begin + line[first:end] + ("..." if end < len(line) else ""), begin + line[first:at]


def _cells(text: str) -> int:
    """The cells of a terminal that a text takes: two for a wide character, none for one that joins the one before."""
    joined = ("Mn", "Me", "Cf")
    return sum(
        0 if unicodedata.category(each) in joined else 2 if unicodedata.east_asian_width(each) in "WF" else 1
        for each in text
    )


class _Shown(BaseException):
    """An exception whose message quotes names from anywhere."""

    def __str__(self) -> str:
        return printable(super().__str__())


class Error(_Shown, Exception):
    """Base of all errors that kdb raises on purpose."""


class ParseError(Error):
    """The text is not a query.

    ``line`` and ``column`` count from 1; ``expected`` describes what would have been valid there; ``suggestion`` is a
    likely correction of a misspelled word, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        text: str = "",
        line: int = 1,
        column: int = 1,
        expected: Sequence[str] = (),
        suggestion: str | None = None,
    ) -> None:
        self.line = line
        self.column = column
        self.expected = tuple(expected)
        self.suggestion = suggestion
        lines = text.splitlines()
        parts = [f"{message} (line {line}, column {column})"]
        if 1 <= line <= len(lines):
            shown, before = _window(printable(lines[line - 1]), len(printable(lines[line - 1][: column - 1])))
            parts += ["  " + shown, "  " + " " * _cells(before) + "^"]
        if self.expected:
            parts.append("expected " + ", ".join(self.expected))
        if suggestion:
            parts.append(f"did you mean {suggestion}?")
        super().__init__("\n".join(parts))

    def __str__(self) -> str:
        return "\n".join(map(printable, self.args[0].split("\n")))


class BindError(Error):
    """The query is well formed, but something that it names does not exist, or its clauses contradict."""


class UnknownName(BindError):
    """Something is named that does not exist; ``name`` is what was written, ``suggestion`` a similar name or None."""

    def __init__(self, message: str, name: str = "", suggestion: str | None = None) -> None:
        super().__init__(message)
        self.name, self.suggestion = name, suggestion

    @classmethod
    def of_model(cls, name: str, known: Iterable[str], otherwise: str = "") -> UnknownName:
        """That no model has the name: it suggests a similar one of those ``known``, or says ``otherwise``."""
        similar = most_similar(name, known)
        hint = otherwise if similar is None else _meant(similar)
        return cls(f"unknown model '{name}'{hint}", name, similar)


class ClauseError(BindError):
    """A clause of a query is out of range, or does not fit the model or another clause.

    Clauses stand in braces in the ``template``, as in ``"{STRIDE} takes whole numbers from 1; not {given}"``; so do
    ``values``.  In the message a clause is called by its name; :meth:`said_with` calls it by a keyword.
    """

    def __init__(self, template: str, **values: object) -> None:
        self._template, self._values = template, values
        super().__init__(self.said_with({}))

    def said_with(self, keywords: Mapping[str, str]) -> str:
        """The message with the clauses called by their ``keywords``; a clause without one keeps its name."""
        return self._template.format_map(_Itself({**self._values, **keywords}))


class _Itself(dict[str, object]):
    """A dict in which a missing key is its own value."""

    def __missing__(self, key: str) -> str:
        return key


class ModelError(Error):
    """A model cannot be found, loaded or traced."""


class DeviceError(Error):
    """A query asks for a GPU and none is usable, or the GPU reports an error."""


class ExecutionError(Error):
    """A query that passed all checks failed while it ran, as for an unreadable image or a NaN in the output."""


class Unwritable(ExecutionError):
    """The system refuses to write a file, as on a disk that is full."""


class Timeout(ExecutionError):
    """A statement took longer than ``statement_timeout`` allows; ``partial`` is the heat map so far, or None."""

    def __init__(self, message: str = "the statement took too long", partial: Any = None) -> None:
        super().__init__(message)
        self.partial = partial


class Interrupted(Error, KeyboardInterrupt):
    """Ctrl-C stopped the execution between two batches; ``partial`` is the heat map so far, or None."""

    def __init__(self, message: str = "interrupted", partial: Any = None) -> None:
        super().__init__(message)
        self.partial = partial


class Cancel(Error):
    """What a progress callback raises to stop its query, whose result is then the partial heat map.

    A statement that has no partial heat map to return raises it; ``partial`` is the heat map so far, or None.
    """

    def __init__(self, message: str = "cancelled", partial: Any = None) -> None:
        super().__init__(message)
        self.partial = partial


STOPS = (KeyboardInterrupt, Timeout, Cancel)
"""What stops a query between two batches, so that it leaves a partial heat map."""


def stopped(stop: BaseException, where: str, partial: Any = None) -> Interrupted | Timeout | Cancel:
    """One of ``STOPS``, as what it is told as: with ``where`` it came, and the ``partial`` heat map."""
    kind = next((kind for kind in (Timeout, Cancel) if isinstance(stop, kind)), Interrupted)
    return kind(f"{str(stop) or 'interrupted'} {where}", partial)


class OmissionWarning(_Shown, UserWarning):
    """Some of several images failed and are left out of the result."""


class GlyphWarning(_Shown, UserWarning):
    """A picture has texts with characters that no installed font has; they are written as codes."""


class FullInferenceWarning(_Shown, UserWarning):
    """The captum adapter falls back to full inference for each window, as the model or input rules out deltas."""


class VerificationWarning(_Shown, UserWarning):
    """A map differed from the model itself, and was evaluated in full by the model: its values are right."""


def reason(error: BaseException) -> str:
    """Why an operation failed: what the system says of the first OSError behind ``error``, without its number.

    Whoever writes a file in a certain format may stumble over a full disk once more, and raise something else.
    """
    behind = next((each for each in behind_of(error) if isinstance(each, OSError)), None)
    if behind is not None:
        return behind.strerror or str(behind)
    return str(error) or type(error).__name__


def behind_of(error: BaseException, contexts: bool = True) -> Iterator[BaseException]:
    """The error, what caused it, what caused that, and so on, each once: nothing keeps causes from going in a circle.

    With ``contexts`` also what was being handled where no cause is named.
    """
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or (each.__context__ if contexts else None)


def most_similar(name: str, known: Iterable[str]) -> str | None:
    """The known name most similar to ``name``, ignoring case; None where none is.

    Names that begin with it come before others, in their order.
    """
    folded, written = {each.casefold(): each for each in known}, name.casefold()
    close = get_close_matches(written, folded, n=1, cutoff=0.6)
    if not close or written in folded:
        return folded[close[0]] if close else None
    return next((each for begins, each in folded.items() if begins.startswith(written)), folded[close[0]])


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` with the known name :func:`most_similar` to ``name``; empty without one."""
    similar = most_similar(name, known)
    return "" if similar is None else _meant(similar)


def _meant(name: str) -> str:
    return f"; did you mean '{name}'?"


def looked_in(path: str | os.PathLike[str]) -> str:
    """The end of a message that says where a relative path was looked for; empty for an absolute path."""
    return "" if os.path.isabs(path) else f" (looked in {os.getcwd()})"
