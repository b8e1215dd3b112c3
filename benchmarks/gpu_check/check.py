"""The parameters of a run of the check, and the report that its sections write to."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.timing import markdown_table, write_json, write_markdown

PROFILE = "gpu-profile.json"
"""File of the cost profile that CALIBRATE measured, in the folder of the report."""

WHAT = """Whole queries against full inference of the same module on the same device, in turns in one process. Seconds
are medians, and include the transfer of the values to the host. *Naive* is the fastest of three batch sizes, two memory
layouts, and a CUDA graph for the fastest of them, with batch-norms folded, at the precision that kdb is given; with
fp32 neither side rounds to tf32. *First* is a query's first run, planning and uploads included; *steady* its later
runs, for which the plan is cached and the views are computed anew. Weights are random, calibrated on photographs: they
serve for speed and exactness alone."""


@dataclass(frozen=True)
class Check:
    """The parameters of one run.

    Attributes:
        device: "cuda" or "cpu".
        networks: checked for exactness.
        compared: networks whose speed is measured.
        out: folder of the report.
        work: temporary folder that the sections share.
        until: end of the run, as of time.time().
        stride: of whole maps, in pixels.
        counts: numbers of scattered positions.
        sides: of square patches, in pixels.
        rounds: timed runs of each candidate.
        judged: positions of each case whose logits are compared with float64.
        size: (height, width) in pixels of inputs; None for the networks' own.
    """

    device: str
    networks: tuple[str, ...]
    compared: tuple[str, ...]
    out: Path
    work: Path
    until: float
    stride: int = 4
    counts: tuple[int, ...] = (16, 64, 256, 1024)
    sides: tuple[int, ...] = (4, 8, 16, 32)
    rounds: int = 3
    judged: int = 26
    size: tuple[int, int] | None = None

    @property
    def left(self) -> float:
        """Seconds until time is up."""
        return self.until - time.time()

    @property
    def on(self) -> str:
        """The device as queries write it after ON."""
        return "gpu" if self.device == "cuda" else "cpu"

    def as_json(self) -> str:
        """The parameters as JSON, to pass them to another process."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Check:
        """The parameters that :meth:`as_json` wrote."""
        given = json.loads(text)
        tuples = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
        return cls(**{**given, **tuples, "out": Path(given["out"]), "work": Path(given["work"])})


@dataclass
class Section:
    """The results of one section: its outcome, its seconds, and rows by the title of their table."""

    outcome: str = "not run"
    seconds: float = 0.0
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


class Report:
    """The report, gpu.json and gpu.md in a folder; a section that runs again replaces its own rows only.

    Only one process writes at a time: the section's while it runs, its parent before and after.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.sections: dict[str, Section] = {}
        if (folder / "gpu.json").exists():
            found = json.loads((folder / "gpu.json").read_text(encoding="utf-8"))
            self.sections = {name: Section(**section) for name, section in found["sections"].items()}

    def begin(self, section: str) -> None:
        """Remove a section's former rows, before it runs."""
        self.sections[section] = Section("begun")
        self._write()

    def row(self, section: str, title: str, row: Mapping[str, Any]) -> None:
        """Add a row to the table ``title`` of a section."""
        self.sections[section].tables.setdefault(title, []).append(dict(row))
        self._write()

    def end(self, section: str, outcome: str, seconds: float) -> None:
        """Record the outcome of a section."""
        self.sections[section].outcome, self.sections[section].seconds = outcome, seconds
        self._write()

    def rows(self, title: str) -> list[dict[str, Any]]:
        """The rows of the table ``title`` of all sections."""
        return [row for section in self.sections.values() for row in section.tables.get(title, [])]

    def _write(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(self._folder / "gpu.json", {"sections": {n: asdict(s) for n, s in self.sections.items()}})
        ended = [(name, each.outcome, each.seconds) for name, each in self.sections.items()]
        titles = dict.fromkeys(title for section in self.sections.values() for title in section.tables)
        tables = {title: _table(self.rows(title)) for title in titles}
        sections = {"Sections": markdown_table(("section", "outcome", "seconds"), ended)}
        write_markdown(self._folder / "gpu.md", "On a GPU", {"What is compared": WHAT, **sections, **tables})


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table with the columns of all rows; a dash where a row has no value."""
    headers = list(dict.fromkeys(column for row in rows for column in row))
    return markdown_table(headers, [[row.get(column, "-") for column in headers] for row in rows])


class Rows:
    """Prints a section's rows and writes each to the report at once."""

    def __init__(self, check: Check, section: str) -> None:
        self._report, self._section = Report(check.out), section

    def __call__(self, title: str, **cells: Any) -> None:
        """Add a row to the table ``title``; underscores in the names of cells become spaces."""
        row = {name.replace("_", " "): value for name, value in cells.items()}
        self._report.row(self._section, title, row)
        shown = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
        print(f"  {title}: {shown}", flush=True)
