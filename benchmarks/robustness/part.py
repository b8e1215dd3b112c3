"""A part of the examination, and how its cases run: one after another, each kept in a file as soon as it is done.

A run that was killed continues where it was.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import kdb

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "robustness"
"""Folder of the rows, a file of JSON lines for each part."""

Row = Mapping[str, Any]
"""What was found of a case, in terms of JSON, with its ``case`` and the ``seconds`` that it took."""


@dataclass(frozen=True)
class Part:
    """One part: its cases by name, how one is examined, and what is said of all.

    Attributes:
        name: on the command line.
        title: of its section in the report.
        cases: gives the names of the cases, in order.
        examine: a case's name to what was found.
        report: the section in Markdown, from the rows of all cases that were run.
        failures: what is wrong, one text each; empty if all is as it should be.
        totals: counts for the report's table of contents and its JSON.
        depends: globs of files, besides kdb and this examination, that its rows depend on.
    """

    name: str
    title: str
    cases: Callable[[], Sequence[str]]
    examine: Callable[[str], dict[str, Any]]
    report: Callable[[Sequence[Row]], str]
    failures: Callable[[Sequence[Row]], list[str]]
    totals: Callable[[Sequence[Row]], dict[str, Any]]
    depends: tuple[str, ...] = ()


def code(depends: Sequence[str] = ()) -> str:
    """A digest of what rows depend on: the code of kdb, of this examination and of ``depends``, globs of more files;
    the versions of kdb and torch.
    """
    digest = hashlib.sha256(repr((kdb.__version__, torch.__version__)).encode())
    globs = ("kdb/**/*.py", "benchmarks/robustness/*.py", "benchmarks/oracle.py", *depends)
    for file in sorted({file for each in globs for file in ROOT.glob(each)}):
        digest.update(file.read_bytes())
    return digest.hexdigest()


class Rows:
    """The rows of a part on disk.  Of ``digest`` None, those of any code are taken; a torn last line is ignored."""

    def __init__(self, part: str, digest: str | None, folder: Path = CACHE) -> None:
        self._file, self._digest = folder / f"{part}.jsonl", digest

    def load(self) -> dict[str, Row]:
        """By case, the last that was kept."""
        try:
            lines = self._file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return {}
        found: dict[str, Row] = {}
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if self._digest is None or record["code"] == self._digest:
                found[record["row"]["case"]] = record["row"]
        return found

    def add(self, row: Row, digest: str) -> None:
        """Keep a row."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a+b") as file:
            torn = file.tell() and (file.seek(-1, 2), file.read(1))[1] != b"\n"
            file.write((b"\n" if torn else b"") + json.dumps({"code": digest, "row": row}).encode() + b"\n")

    def forget(self) -> None:
        """Delete all rows."""
        self._file.unlink(missing_ok=True)


def run(part: Part, rows: Rows, digest: str, only: Sequence[str] | None = None) -> Iterator[tuple[Row, bool]]:
    """The row of each case (all, or those named in ``only``), and whether it was examined just now."""
    known = rows.load()
    for case in part.cases() if only is None else only:
        if case in known:
            yield known[case], False
            continue
        start = time.perf_counter()
        found = part.examine(case)
        row = {"case": case, **found, "seconds": round(time.perf_counter() - start, 3)}
        row = json.loads(json.dumps(row))
        rows.add(row, digest)
        yield row, True
