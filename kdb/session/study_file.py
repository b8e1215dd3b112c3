"""Opens a study's SQLite file, which may come from a stranger.

A file is opened if it has just the tables that kdb makes: no view, trigger, index or virtual table of anyone else, so
that no statement of kdb runs anything that the file brings along.  Its journal is a rollback journal, not WAL: a study
is one file that can be copied, may lie on a network file system, and is written seldom and little.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from kdb.errors import BindError, Error, ExecutionError, reason
from kdb.system.files import create_atomically, followed

SCHEMA = 2
"""Of the tables below; raise it when they change, and keep reading older ones.

A study keeps its schema until something is kept that needs a newer one, so that it can be opened for reading alone, and
by the kdb that made it.
"""
APPLICATION = int.from_bytes(b"kdb\n", "big")
"""SQLite's mark of whose file it is."""
PATIENCE = 10.0
"""Seconds that a session waits for another process to end its writing."""
LONGEST = 16 << 20
"""Bytes of the longest text that is read."""
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
_UPGRADES = {2: "ALTER TABLE models ADD COLUMN labels TEXT NOT NULL DEFAULT ''"}
"""From the schema before to this one."""
_MAGIC = b"SQLite format 3\0"

_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_TOOBIG", "SQLITE_FORMAT")
_REASONS = {
    "SQLITE_BUSY": f"another process has kept it locked for {PATIENCE:g} seconds; try again when that has ended",
    "SQLITE_LOCKED": "another session has locked it; try again",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_READONLY": "the file or its folder is read-only",
    "SQLITE_PERM": "its permissions do not allow it",
    "SQLITE_CANTOPEN": "it, or a journal beside it, cannot be opened",
    "SQLITE_IOERR": "reading or writing failed on the disk",
    "SQLITE_NOMEM": "there is not enough memory",
}


def opened(path: str | None) -> sqlite3.Connection:
    """The database at ``path``, made where there is none; in memory without a path.  Raises as Study says."""
    if path is None:
        return _new()
    if path == ":memory:":  # SQLite's word
        raise BindError("connect() without a path keeps a session in memory; ':memory:' would be the name of a file")
    with told(path):
        file = followed(path)
        if not os.path.lexists(file):
            _make(path, file)
        _refuse_others(path, file)
        # A session's lock keeps its threads apart.  mode=rw: a file that has just been removed is not made anew.
        database = sqlite3.connect(
            f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=PATIENCE, check_same_thread=False
        )
    try:
        with told(path):
            _check(database, path)
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def told(path: str | None) -> Iterator[None]:
    """SQLite's errors, and the system's, as kdb's."""
    try:
        yield
    except Error:
        raise
    except sqlite3.Error as error:
        name = "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])  # without what extends it
        if name in _DAMAGED:
            raise BindError(f"the study '{path}' is damaged, or no study of kdb: {error}") from error
        raise ExecutionError(f"cannot use the study '{path}': {_REASONS.get(name, error)}") from error
    except UnicodeDecodeError as error:  # SQLite quotes what it found in its message
        raise BindError(f"the study '{path}' is damaged: its tables have names that are no text") from error
    except OSError as error:
        raise ExecutionError(f"cannot use the study '{path}': {reason(error)}") from error
    except ValueError as error:  # a NUL character in the path
        if isinstance(error, UnicodeError):
            raise
        raise BindError(f"cannot open the study {path!r}: {error}") from error


def _new(schema: int = SCHEMA) -> sqlite3.Connection:
    """A database in memory with kdb's tables."""
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.executescript(f"{_TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = 1;")
    upgrade(database, schema)
    return database


def schema_of(database: sqlite3.Connection) -> int:
    """The version of a database's tables, as any process left it."""
    (schema,) = database.execute("PRAGMA user_version").fetchone()
    return max(int(schema), 1)


def upgrade(database: sqlite3.Connection, schema: int = SCHEMA) -> None:
    """Change the tables into those of a newer schema, in one transaction; those that are as new stay as they are."""
    if schema_of(database) >= schema:
        return
    with database:
        database.execute("BEGIN IMMEDIATE")
        for each in range(schema_of(database) + 1, schema + 1):
            database.execute(_UPGRADES[each])
            database.execute(f"PRAGMA user_version = {each}")


def _make(path: str, file: Path) -> None:
    """Write an empty study, whole or not at all."""
    if not file.parent.is_dir():
        raise BindError(f"cannot make the study '{path}': there is no folder '{file.parent}'")

    def write(out: IO[bytes]) -> None:
        with closing(_new()) as database:
            out.write(database.serialize())

    try:
        create_atomically(file, write)
    except FileExistsError:  # another process was quicker
        pass
    except OSError as error:
        raise ExecutionError(f"cannot make the study '{path}': {reason(error)}") from error


def _refuse_others(path: str, file: Path) -> None:
    """Raise BindError for what is no SQLite file, before SQLite sees it."""
    if not stat.S_ISREG(file.stat().st_mode):
        raise BindError(f"'{path}' is no study of kdb but a {'folder' if file.is_dir() else 'special file'}")
    with open(file, "rb") as content:
        head = content.read(len(_MAGIC))
    if not head:
        raise BindError(f"'{path}' is no study of kdb but an empty file; remove it, and connect makes one")
    if head != _MAGIC:
        raise BindError(f"'{path}' is no study of kdb")


def _check(database: sqlite3.Connection, path: str) -> None:
    """Raise BindError for a database that is damaged, of a newer kdb, or has anything but kdb's tables."""
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
    database.text_factory = lambda data: data.decode(errors="surrogateescape")  # who reads a row refuses it
    for pragma in ("trusted_schema = off", "cell_size_check = on", "mmap_size = 0"):
        database.execute(f"PRAGMA {pragma}")
    (application,) = database.execute("PRAGMA application_id").fetchone()
    schema = schema_of(database)
    if application != APPLICATION:
        raise BindError(f"'{path}' is no study of kdb")
    if schema > SCHEMA:
        raise BindError(
            f"the study '{path}' was written by a newer kdb (its format is {schema}, this one reads up "
            f"to {SCHEMA}): upgrade kdb to open it"
        )
    with closing(_new(schema)) as own:
        expected = _objects(own)
    found = _objects(database)
    if others := found - expected:  # a table sorts after its index
        raise BindError(
            f"the study '{path}' has the {' '.join(max(others)[:2])}, which is not of kdb: it is not opened"
        )
    if missing := expected - found:
        raise BindError(f"the study '{path}' is damaged: the {' '.join(max(missing)[:2])} is missing")
    ((pages,), (size,)) = (database.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    if os.path.getsize(path) < pages * size:
        raise BindError(f"the study '{path}' is damaged: its end is missing")
    (sound,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if sound != "ok":
        raise BindError(f"the study '{path}' is damaged: {' '.join(str(sound).split())}")


def _objects(database: sqlite3.Connection) -> set[tuple[str, str, str]]:
    """(type, name, definition) of all tables, indices, views and triggers."""
    rows = database.execute("SELECT type, name, sql FROM sqlite_master LIMIT 100")
    return {(str(kind), str(name), " ".join(str(sql).split())) for kind, name, sql in rows}
