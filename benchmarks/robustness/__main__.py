"""The command: runs the parts, prints what is wrong, and writes the report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.robustness.part import CACHE, Part, Row, Rows, code, run
from benchmarks.robustness.parts import PARTS
from benchmarks.timing import markdown_table, write_json, write_markdown
from benchmarks.verify import DOCS

RUNS = """\
Runs that are killed a hundred times, lose a node or fill a disk have a command of their own, `make chaos`, and a page,
[chaos.md](chaos.md)."""


def main(arguments: Sequence[str] | None = None, parts: Sequence[Part] = PARTS, cache: Path = CACHE) -> int:
    """The command; returns 0 if nothing is wrong, else 1."""
    options = _options(arguments, parts)
    chosen = [part for part in parts if options.only is None or part.name in options.only]
    found: dict[str, list[Row]] = {}
    for part in chosen:
        digest = code(part.depends)
        rows = Rows(part.name, None if options.resume else digest, cache)
        if options.fresh:
            rows.forget()
        found[part.name] = []
        total = len(part.cases())
        for number, (row, new) in enumerate(run(part, rows, digest), start=1):
            found[part.name].append(row)
            if new:
                print(f"{part.name} {number:3}/{total} {_line(row)}", flush=True)
    folder = options.out or (DOCS if options.only is None else None)
    if folder is not None:
        write(folder, chosen, found)
    failed = {part.name: part.failures(found[part.name]) for part in chosen}
    for part in chosen:
        print(f"\n{part.title}: {_counts(part, found[part.name])}")
        for text in failed[part.name]:
            print(f"  {text}")
    return 1 if any(failed.values()) else 0


def _options(arguments: Sequence[str] | None, parts: Sequence[Part]) -> argparse.Namespace:
    description = "Look for maps that are wrong without a word, for leaks, and for lines that no test would miss."
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robustness", description=description)
    parser.add_argument("--only", nargs="+", choices=[part.name for part in parts], help="these parts alone")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--resume", action="store_true", help="take rows of an earlier run, whatever code they are of")
    which.add_argument("--fresh", action="store_true", help="take no rows of an earlier run")
    parser.add_argument("--out", type=Path, help="folder for the report; docs/benchmarks for all parts")
    return parser.parse_args(arguments)


def _line(row: Row) -> str:
    shown = [str(row["case"])]
    shown += [
        f"{key} {value:.3g}" if isinstance(value, float) else str(value)
        for key, value in row.items()
        if _said(key, value)
    ]
    return "  ".join(shown)


def _said(key: str, value: object) -> bool:
    return key in (
        "outcome",
        "error",
        "warned",
        "problem",
        "seconds",
        "size",
        "fault",
        "file",
        "line",
    ) and value not in (None, "")


def _counts(part: Part, rows: Sequence[Row]) -> str:
    return ", ".join(f"{key} {value}" for key, value in part.totals(rows).items())


def write(folder: Path, parts: Sequence[Part], found: Mapping[str, Sequence[Row]]) -> None:
    """Write robustness.md and robustness.json to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        [part.title, len(found[part.name]), _counts(part, found[part.name]), len(part.failures(found[part.name]))]
        for part in parts
    ]
    tables = {"Summary": markdown_table(["part", "cases", "found", "failures"], lines)}
    tables |= {part.title: part.report(found[part.name]) for part in parts}
    tables["Runs over data sets"] = RUNS
    write_markdown(folder / "robustness.md", "Robustness", tables)
    results: dict[str, Any] = {
        part.name: {
            "totals": part.totals(found[part.name]),
            "failures": part.failures(found[part.name]),
            "cases": list(found[part.name]),
        }
        for part in parts
    }
    write_json(folder / "robustness.json", results)


if __name__ == "__main__":
    sys.exit(main())
