"""A study: what a session keeps in a file, so that a later one goes on where it ended.

An SQLite database with the models that CREATE MODEL named (not their weights, but the path and the SHA-256, and that of
the labels), settings, tunings by what they are of, and calibrations by machine.  Without a path it lives in memory, for
as long as its session.

A study may come from a stranger: :mod:`kdb.session.study_file` opens it, and each row is checked when it is read.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from typing import Any, TypeVar

from kdb.errors import BindError, Error
from kdb.models.catalog import CreatedModel
from kdb.session import study_file
from kdb.session.tuning import Subject, Tuning

T = TypeVar("T")

MOST_ROWS = 10_000
"""Of a table that is read whole; more are taken for damage."""
LABELS = 2
"""The schema since which models have a digest of their labels."""
_SHA256 = re.compile("[0-9a-f]{64}")


class Study:
    """The open study at ``path``, made where there is none; in memory without a path.

    Raises BindError for a file that is no study, damaged or of a newer kdb, and where there is none and none can be
    made; ExecutionError where it cannot be read or written, or another process keeps it locked.  So do all methods, and
    BindError for a damaged row, which it names.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else os.fspath(path)
        """Of the file; None in memory."""
        self._database = study_file.opened(self.path)
        self.closed = False

    def _write(self, statement: str, *rows: tuple[Any, ...]) -> None:
        with study_file.told(self.path), self._database:
            self._database.executemany(statement, rows)

    def _rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with study_file.told(self.path):
            return self._database.execute(f"{statement} LIMIT {MOST_ROWS + 1}", values).fetchall()

    def _all(self, table: str, columns: Sequence[str], read: Callable[..., T]) -> dict[str, T]:
        """What ``read`` makes of each row of a table, by the row's first column."""
        rows = self._rows(f"SELECT {', '.join(columns)} FROM {table}")
        if len(rows) > MOST_ROWS:
            raise BindError(f"the study '{self.path}' is damaged: {table} has more than {MOST_ROWS:,} rows")
        found = {}
        for row in rows:
            remedy = f'delete it, as by sqlite3 with "DELETE FROM {table} WHERE {columns[0]} = {_literal(row[0])}"'
            with self._sound(table, row[0], remedy):
                found[_text(row[0])] = read(*row)
        return found

    @contextmanager
    def _sound(self, table: str, key: object, remedy: str) -> Iterator[None]:
        """Around reading a row: whatever is wrong with it becomes a BindError that names it."""
        try:
            yield
        except Error:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            # What is written here is a plain ValueError; whatever else is raised speaks of Python.
            what = f"has no {error}" if isinstance(error, KeyError) else "holds what kdb does not write there"
            what = str(error) if type(error) is ValueError else what
            raise BindError(
                f"the study '{self.path}' is damaged: in {table} the row of {_literal(key)} {what}; {remedy}"
            ) from error

    def close(self) -> None:
        """Close the file, after which the study is of no use; in memory do nothing."""
        if self.path is not None:
            self._database.close()
            self.closed = True

    # ---- settings

    def settings(self) -> dict[str, Any]:
        """What was SET and not RESET since."""
        return self._all("settings", ("name", "value"), lambda _, value: _plain(_json(value)))

    def keep_setting(self, name: str, value: Any, *earlier: str) -> None:
        """Keep a value, as it was SET, in place of one under any of the ``earlier`` names."""
        with study_file.told(self.path), self._database:
            self._database.executemany("DELETE FROM settings WHERE name = ?", [(each,) for each in earlier])
            self._database.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, json.dumps(value)))

    def forget_settings(self, *names: str) -> None:
        """Forget some, or without names all."""
        if names:
            self._write("DELETE FROM settings WHERE name = ?", *((name,) for name in names))
        else:
            self._write("DELETE FROM settings", ())

    # ---- models

    def models(self) -> list[CreatedModel]:
        """In the order of their names."""
        with study_file.told(self.path):
            labels = "labels" if study_file.schema_of(self._database) >= LABELS else "''"
        columns = ("name", "path", "sha256", "options", "origin", "input", labels)
        return [model for _, model in sorted(self._all("models", columns, _model).items())]

    def keep_model(self, model: CreatedModel) -> None:
        """Keep one, in place of any of its name."""
        name, path, sha256, options, origin, size, labels = astuple(model)
        values = (name, path, sha256, json.dumps(options), origin, size, labels)
        with study_file.told(self.path):
            study_file.upgrade(self._database, LABELS)
        try:
            self._write("INSERT OR REPLACE INTO models VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        except UnicodeEncodeError:
            raise BindError(f"a study keeps paths in UTF-8, and '{path}' is none: rename the file") from None

    def forget_model(self, name: str) -> None:
        """Forget it, if it is there."""
        self._write("DELETE FROM models WHERE name = ?", (name,))

    # ---- tunings

    def tuning(self, subject: Subject) -> Tuning | None:
        """The tuning of just this, if there is one."""
        where = "identity = ? AND patch = ? AND stride = ? AND fill = ? AND score = ?"
        rows = self._rows(f"SELECT tuning FROM tunings WHERE {where}", _columns(subject))
        if not rows:
            return None
        with self._sound("tunings", subject.identity, "TUNE again"):
            return Tuning.from_json(_text(rows[0][0]))

    def keep_tuning(self, subject: Subject, tuning: Tuning) -> None:
        """Keep one, in place of any of the same."""
        values = (*_columns(subject), tuning.to_json())
        self._write("INSERT OR REPLACE INTO tunings VALUES (?, ?, ?, ?, ?, ?)", values)

    # ---- calibrations

    def profile(self, machine: str) -> str | None:
        """The cost profile measured on a machine, as it was kept."""
        rows = self._rows("SELECT profile FROM calibrations WHERE machine = ?", (machine,))
        if not rows:
            return None
        with self._sound("calibrations", machine, "CALIBRATE again"):
            return _text(rows[0][0])

    def profiles(self) -> dict[str, str]:
        """All that are kept, by their machines."""
        return self._all("calibrations", ("machine", "profile"), lambda _, profile: _text(profile))

    def forget_profiles(self, machines: Iterable[str]) -> None:
        """Forget those of some machines, if they are there."""
        self._write("DELETE FROM calibrations WHERE machine = ?", *((each,) for each in machines))

    def keep_profile(self, machine: str, profile: str) -> None:
        """Keep one, in place of any of the same machine."""
        self._write("INSERT OR REPLACE INTO calibrations VALUES (?, ?)", (machine, profile))


def _columns(subject: Subject) -> tuple[str, ...]:
    identity, patch, stride, fill, score = astuple(subject)
    return identity, "x".join(map(str, patch)), "x".join(map(str, stride)), fill, score


# ---- what rows hold


def _model(
    name: object, path: object, sha256: object, options: object, origin: object, size: object, labels: object
) -> CreatedModel:
    found, where, digest, names = _json(options), _text(path), _text(sha256), _text(labels)
    if not isinstance(found, dict):
        raise ValueError("has options that are no JSON object")
    if not where or "\0" in where:
        raise ValueError(f"has {where!r} for a path")
    if not _SHA256.fullmatch(digest):
        raise ValueError(f"has {digest[:80]!r} for a SHA-256")
    if names and not _SHA256.fullmatch(names):
        raise ValueError(f"has {names[:80]!r} for the SHA-256 of its labels")
    return CreatedModel(_text(name), where, digest, found, _text(origin), _text(size), names)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"holds {type(value).__name__} where a text should be")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("holds a text that is not UTF-8")
    return value


def _json(value: object) -> Any:
    try:
        return json.loads(_text(value))
    except json.JSONDecodeError as error:
        raise ValueError(f"holds no JSON: {error}") from error


def _plain(value: Any) -> Any:
    """A setting's value, which is a number, a text, a truth value or null."""
    if not isinstance(value, int | float | str | bool | None):
        raise ValueError(f"holds {type(value).__name__}, which no setting takes")
    return value


def _literal(value: object) -> str:
    """A value as SQL would write it, cut off where it is long."""
    text = str(value)
    text = text if len(text) <= 80 else f"{text[:77]}..."
    return "'" + text.replace("'", "''") + "'" if isinstance(value, str) else text
