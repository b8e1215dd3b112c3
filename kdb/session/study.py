"""A study: what a session keeps in a file, so that a later one goes on where it ended.

An SQLite database with the models that CREATE MODEL named (as path and SHA-256, not their weights), settings, tunings
by what they are of, and calibrations by machine.  Without a path it lives in memory, for as long as its session.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from typing import Any

from kdb.errors import BindError, ExecutionError
from kdb.models.catalog import CreatedModel
from kdb.session.tuning import Subject, Tuning

SCHEMA = 1
"""Of the tables below; raise it when they change, and keep reading older ones."""
APPLICATION = int.from_bytes(b"kdb\n", "big")
"""SQLite's mark of whose file it is."""
_TABLES = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE models (
    name TEXT PRIMARY KEY, path TEXT NOT NULL, sha256 TEXT NOT NULL, options TEXT NOT NULL,
    origin TEXT NOT NULL, input TEXT NOT NULL
);
CREATE TABLE tunings (
    identity TEXT NOT NULL, patch TEXT NOT NULL, stride TEXT NOT NULL, fill TEXT NOT NULL, score TEXT NOT NULL,
    tuning TEXT NOT NULL, PRIMARY KEY (identity, patch, stride, fill, score)
);
CREATE TABLE calibrations (machine TEXT PRIMARY KEY, profile TEXT NOT NULL);
"""


class Study:
    """The open study at ``path``, made where there is none; in memory without a path.

    Raises BindError for a file that is no study or of a newer kdb, ExecutionError where it cannot be read or written;
    so do all methods.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else os.fspath(path)
        """Of the file; None in memory."""
        with self._told():
            # A session's lock keeps its threads apart.
            self._database = sqlite3.connect(self.path or ":memory:", check_same_thread=False)
        try:
            with self._told():
                self._open()
        except BaseException:
            self._database.close()
            raise

    def _open(self) -> None:
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            (application,) = self._database.execute("PRAGMA application_id").fetchone()
            (schema,) = self._database.execute("PRAGMA user_version").fetchone()
            (tables,) = self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if application == 0 and tables == 0:
                for statement in _TABLES.split(";"):
                    self._database.execute(statement)
                self._database.execute(f"PRAGMA application_id = {APPLICATION}")
                self._database.execute(f"PRAGMA user_version = {SCHEMA}")
            elif application != APPLICATION:
                raise BindError(f"'{self.path}' is no study of kdb")
            elif schema > SCHEMA:
                raise BindError(
                    f"the study '{self.path}' was written by a newer kdb (its format is {schema}, this one reads up "
                    f"to {SCHEMA}): upgrade kdb to open it"
                )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """SQLite's errors as kdb's."""
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "") == "SQLITE_NOTADB":
                raise BindError(f"'{self.path}' is no study of kdb") from error
            raise ExecutionError(f"cannot use the study '{self.path}': {error}") from error

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        with self._told(), self._database:
            self._database.execute(statement, values)

    def _rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with self._told():
            return self._database.execute(statement, values).fetchall()

    def close(self) -> None:
        """Close the file, after which the study is of no use; in memory do nothing."""
        if self.path is not None:
            self._database.close()

    # ---- settings

    def settings(self) -> dict[str, Any]:
        """What was SET and not RESET since."""
        return {name: json.loads(value) for name, value in self._rows("SELECT name, value FROM settings")}

    def keep_setting(self, name: str, value: Any) -> None:
        """Keep a value, as the setting has it."""
        self._write("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, json.dumps(value)))

    def forget_setting(self, name: str | None = None) -> None:
        """Forget one, or all."""
        self._write("DELETE FROM settings WHERE ? IN (name, '*')", ("*" if name is None else name,))

    # ---- models

    def models(self) -> list[CreatedModel]:
        """In the order of their names."""
        rows = self._rows("SELECT name, path, sha256, options, origin, input FROM models ORDER BY name")
        return [
            CreatedModel(name, path, sha256, json.loads(options), origin, size)
            for name, path, sha256, options, origin, size in rows
        ]

    def keep_model(self, model: CreatedModel) -> None:
        """Keep one, in place of any of its name."""
        name, path, sha256, options, origin, size = astuple(model)
        values = (name, path, sha256, json.dumps(options), origin, size)
        self._write("INSERT OR REPLACE INTO models VALUES (?, ?, ?, ?, ?, ?)", values)

    def forget_model(self, name: str) -> None:
        """Forget it, if it is there."""
        self._write("DELETE FROM models WHERE name = ?", (name,))

    # ---- tunings

    def tuning(self, subject: Subject) -> Tuning | None:
        """The tuning of just this, if there is one."""
        where = "identity = ? AND patch = ? AND stride = ? AND fill = ? AND score = ?"
        rows = self._rows(f"SELECT tuning FROM tunings WHERE {where}", _columns(subject))
        return Tuning.from_json(rows[0][0]) if rows else None

    def keep_tuning(self, subject: Subject, tuning: Tuning) -> None:
        """Keep one, in place of any of the same."""
        values = (*_columns(subject), tuning.to_json())
        self._write("INSERT OR REPLACE INTO tunings VALUES (?, ?, ?, ?, ?, ?)", values)

    # ---- calibrations

    def profile(self, machine: str) -> str | None:
        """The cost profile measured on a machine, as it was kept."""
        rows = self._rows("SELECT profile FROM calibrations WHERE machine = ?", (machine,))
        return rows[0][0] if rows else None

    def keep_profile(self, machine: str, profile: str) -> None:
        """Keep one, in place of any of the same machine."""
        self._write("INSERT OR REPLACE INTO calibrations VALUES (?, ?)", (machine, profile))


def _columns(subject: Subject) -> tuple[str, ...]:
    identity, patch, stride, fill, score = astuple(subject)
    return identity, "x".join(map(str, patch)), "x".join(map(str, stride)), fill, score
