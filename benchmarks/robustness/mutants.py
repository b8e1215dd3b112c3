"""Part: kdb with one line changed, again and again: whether the tests that run the line notice."""

from __future__ import annotations

import atexit
import compileall
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

import numpy as np

from benchmarks.robustness import covered
from benchmarks.robustness.mutating import Mutant, mutants
from benchmarks.robustness.part import ROOT, Part, Row
from benchmarks.timing import markdown_table

FOLDERS = ("kdb/images", "kdb/results", "kdb/models", "kdb/planner/rules")
EACH = 25
"""Mutants in each folder."""
LEAST_KILLED = 0.9
CHUNKS = (20.0, 60.0, 240.0)
"""Seconds of tests that are run at a time, until one fails; what is left then is not run."""
LIMIT = (60.0, 5.0)
"""Seconds that tests are given: so many, and so many for each second that they took in the run under coverage."""
KILLED, TIMEOUT, SURVIVED, CONTROL = OUTCOMES = ("killed", "timeout", "survived", "control failed")
_LEFT_OUT = (".git", ".venv", ".hypothesis", ".*_cache", "build", "dist", "__pycache__", "*.egg-info")


# ---- which mutants


@dataclass(frozen=True)
class Drawn:
    """A mutant of a file, with the tests that run it, those to be run first at the front."""

    file: str
    mutant: Mutant
    tests: tuple[str, ...]


def drawn(folder: str, number: int, of: covered.Covered) -> Drawn:
    """The mutant of that number: lines that tests run are taken in random order, and of each line any mutant."""
    draw = np.random.default_rng(FOLDERS.index(folder))
    lines = _lines(folder, of)
    places = sorted(lines)
    order = draw.permutation(len(places))
    file, line = places[order[number % len(order)]]
    choices = lines[file, line]
    mutant = choices[np.random.default_rng((1, FOLDERS.index(folder), number)).integers(len(choices))]
    return Drawn(file, mutant, tuple(_in_order(file, _tests(of, file, mutant), of)))


def _lines(folder: str, of: covered.Covered) -> dict[tuple[str, int], list[Mutant]]:
    """By file and line, the mutants that a test runs."""
    found: dict[tuple[str, int], list[Mutant]] = {}
    for path in sorted((ROOT / folder).glob("**/*.py")):
        file = path.relative_to(ROOT).as_posix()
        for mutant in mutants(path.read_bytes()):
            if _tests(of, file, mutant):
                found.setdefault((file, mutant.line), []).append(mutant)
    return found


def _tests(of: covered.Covered, file: str, mutant: Mutant) -> set[str]:
    return {test for line in mutant.run for test in of.tests.get(file, {}).get(line, ())}


def _in_order(file: str, tests: Iterable[str], of: covered.Covered) -> list[str]:
    """The tests of the file's own folder first, and of these and the others the fastest first."""
    own = f"tests/{file.split('/')[1]}/"
    return sorted(tests, key=lambda test: (not test.startswith(own), of.seconds[test], test))


# ---- one mutant


@dataclass(frozen=True)
class Run:
    """What came of some tests: whether all passed, whether the time was over, and which failed, if that is known."""

    passed: bool
    late: bool = False
    failed: str = ""


def examined(case: str) -> dict[str, Any]:
    """Whether the tests notice a mutant."""
    folder, _, number = case.rpartition(" ")
    of = _covered()
    made = drawn(folder, int(number) - 1, of)
    outcome, by, ran = noticed(checkout(), made, of)
    return {
        "outcome": outcome,
        "file": made.file,
        "line": made.mutant.line,
        "kind": made.mutant.kind,
        "before": made.mutant.before,
        "after": made.mutant.after,
        "tests": ran,
        "of": len(made.tests),
        "by": by,
    }


_covered = cache(covered.load)


def noticed(folder: Path, made: Drawn, of: covered.Covered) -> tuple[str, str, int]:
    """The outcome in a copy of the checkout, the test that failed, and how many were run.

    Where a test fails or the time is over, it is run without the mutant too, and must pass.
    """
    source = (ROOT / made.file).read_bytes()
    file, ran = folder / made.file, 0
    for chunk in _chunks(made.tests, of):
        limit = LIMIT[0] + LIMIT[1] * sum(of.seconds[test] for test in chunk)
        ran += len(chunk)
        file.write_bytes(made.mutant.apply(source))
        try:
            found = tried(folder, chunk, limit)
        finally:
            file.write_bytes(source)
        if not found.passed:
            control = tried(folder, [found.failed] if found.failed else chunk, limit)
            outcome = (TIMEOUT if found.late else KILLED) if control.passed else CONTROL
            return outcome, found.failed, ran
    return SURVIVED, "", ran


def _chunks(tests: Sequence[str], of: covered.Covered) -> Iterator[list[str]]:
    """The tests in order, in parts of no more than CHUNKS seconds, but of one at least."""
    left = list(tests)
    for most in CHUNKS:
        total = np.cumsum([of.seconds[test] for test in left])
        count = max(1, int((total <= most).sum()))
        if left:
            yield left[:count]
        left = left[count:]


def tried(folder: Path, tests: Sequence[str], limit: float) -> Run:
    """Run tests in a copy of the checkout until one fails; whatever they start ends after ``limit`` seconds."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", *tests]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(folder)}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            return Run(False, late=True)
        finally:
            with suppress(ProcessLookupError):  # whatever of its group is left
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        text = output.read().decode(errors="replace")
    failed = re.search(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", text, re.MULTILINE)
    known = failed is not None and failed[1] in tests
    return Run(status == 0, failed=failed[1] if failed is not None and known else "")


@cache
def checkout() -> Path:
    """A copy of the checkout, compiled, for the time of this process."""
    folder = Path(tempfile.mkdtemp(prefix="mutants-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*_LEFT_OUT), dirs_exist_ok=True)
    # A changed file and the one that it was may have one size and one time: they are told apart by what is in them.
    compileall.compile_dir(folder / "kdb", quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
    return folder


# ---- the part


def cases() -> list[str]:
    """Numbers of mutants, folder by folder."""
    return [f"{folder} {number}" for number in range(1, EACH + 1) for folder in FOLDERS]


def failures(rows: Sequence[Row]) -> list[str]:
    """Too few that are noticed, and tests that fail without a mutant too."""
    said = [f"{row['case']}: {row['by'] or 'the tests'} failed without the mutant" for row in _of(rows, CONTROL)]
    judged = [row for row in rows if row["outcome"] != CONTROL]
    share = _share(judged)
    if judged and share < LEAST_KILLED:
        said.append(f"{share:.0%} of the mutants are noticed, less than {LEAST_KILLED:.0%}")
        said += [f"{row['file']}:{row['line']}: {row['before']} -> {row['after']}" for row in _of(rows, SURVIVED)]
    return said


def totals(rows: Sequence[Row]) -> dict[str, Any]:
    """Mutants by outcome."""
    count = Counter(row["outcome"] for row in rows)
    return {outcome: count[outcome] for outcome in OUTCOMES}


def report(rows: Sequence[Row]) -> str:
    """The outcomes by folder and by kind, those that survived, and how much of kdb the tests run."""
    parts = [DESCRIPTION]
    for what, key in (("folder", _folder), ("kind of change", lambda row: row["kind"])):
        groups: dict[str, list[Row]] = {}
        for row in rows:
            groups.setdefault(key(row), []).append(row)
        lines = [[name, *_line(mine)] for name, mine in sorted(groups.items())]
        parts.append(markdown_table([what, "mutants", *OUTCOMES, "noticed"], [*lines, ["all", *_line(rows)]]))
    survivors = [
        [f"{row['file']}:{row['line']}", row["kind"], _code(row["before"]), _code(row["after"])]
        for row in _of(rows, SURVIVED)
    ]
    if survivors:
        parts += ["Not noticed:", markdown_table(["where", "kind", "before", "after"], survivors)]
    if covered.current():
        parts += ["The lines of kdb that tests run in their own process:", _covered().by_folder()]
    return "\n\n".join(part.rstrip() for part in parts)


def _line(rows: Sequence[Row]) -> list[object]:
    return [len(rows), *totals(rows).values(), f"{_share(rows):.0%}"]


def _share(rows: Sequence[Row]) -> float:
    return (len(_of(rows, KILLED)) + len(_of(rows, TIMEOUT))) / max(len(rows), 1)


def _of(rows: Sequence[Row], outcome: str) -> list[Row]:
    return [row for row in rows if row["outcome"] == outcome]


def _folder(row: Row) -> str:
    return str(row["case"]).rpartition(" ")[0]


def _code(text: str) -> str:
    """For a cell of a table."""
    line = " ".join(text.split())
    return f"`{line if len(line) <= 100 else line[:97] + '...'}`"


DESCRIPTION = f"""\
{EACH} changes in each of {", ".join(FOLDERS)}, drawn evenly over the lines inside functions that a test runs. The tests
that run the line are run with each, those of the same folder and the fastest first, up to {sum(CHUNKS):.0f} seconds of
them, until one fails or hangs; it must pass without the change."""

PART = Part("mutants", "Mutants", cases, examined, report, failures, totals, depends=("tests/**/*.py",))
