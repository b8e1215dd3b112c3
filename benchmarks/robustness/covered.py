"""Which tests run which lines of kdb, and how long each test takes: of one run of the tests under coverage.

``python -m benchmarks.robustness.covered`` makes it anew; the tests that are named behind it, or all, are run.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from coverage import Coverage, CoverageData

from benchmarks.robustness.part import CACHE, ROOT
from benchmarks.timing import markdown_table

FOLDER = CACHE / "covered"
_DATA, _TIMES, _STAMP = FOLDER / "coverage", FOLDER / "times.xml", FOLDER / "stamp"
WORKERS = 2


@dataclass(frozen=True)
class Covered:
    """What a run has shown; files are relative to the checkout, tests are pytest's node ids.

    Attributes:
        seconds: of each test that passed, its fixtures included.
        tests: of a file, by line, the tests that passed and ran it.
        lines: of a file, the number of lines that were run, also by an import alone, and that could be.
    """

    seconds: Mapping[str, float]
    tests: Mapping[str, Mapping[int, frozenset[str]]]
    lines: Mapping[str, tuple[int, int]]

    def by_folder(self) -> str:
        """A Markdown table of the lines that are run in each folder of kdb."""
        counts: dict[str, list[tuple[int, int]]] = {}
        for file, lines in self.lines.items():
            folder, _, below = file.removeprefix("kdb/").partition("/")
            counts.setdefault(f"{folder}/" if below else "(top)", []).append(lines)
        counts["all"] = list(self.lines.values())
        rows = []
        for folder, found in counts.items():
            run, possible = (sum(each) for each in zip(*found, strict=True))
            rows.append([folder, possible, run, f"{run / possible:.1%}" if possible else "-"])
        return markdown_table(["folder", "lines", "run by tests", "share"], rows)


def current() -> bool:
    """Whether the last run was of the code of kdb and of the tests as it is."""
    return _STAMP.exists() and _STAMP.read_text() == _stamp()


def load() -> Covered:
    """Of the last run if that is :func:`current`, else of a new one, which takes as long as all tests and more."""
    if not current():
        print("The tests are run under coverage.", flush=True)
        collect(())
    return read()


def read() -> Covered:
    """Of the last run, which must be of the code of kdb as it is."""
    seconds = dict(_passed(_TIMES))
    data = CoverageData(str(_DATA))
    data.read()
    tests, lines = {}, {}
    report = Coverage(data_file=str(_DATA), config_file=False)
    report.load()
    for path in sorted(ROOT.glob("kdb/**/*.py")):
        file = path.relative_to(ROOT).as_posix()
        contexts = data.contexts_by_lineno(str(path))
        tests[file] = {
            line: ran for line, names in contexts.items() if (ran := frozenset(map(_test, names)) & seconds.keys())
        }
        _, possible, _, missing, _ = report.analysis2(str(path))
        lines[file] = len(possible) - len(missing), len(possible)
    return Covered(seconds, tests, lines)


def collect(which: Sequence[str]) -> None:
    """Run ``which`` tests, all if there are none; raises CalledProcessError where pytest could not run them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    _STAMP.unlink(missing_ok=True)
    stamp = _stamp()
    options = ["--cov=kdb", "--cov-context=test", "--cov-report=", "--cov-config=/dev/null"]
    times = ["-o", "junit_family=xunit1", f"--junitxml={_TIMES}"]
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(WORKERS), "-p", "no:cacheprovider", *options, *times]
    done = subprocess.run([*command, *which], cwd=ROOT, env={**os.environ, "COVERAGE_FILE": str(_DATA)})
    if done.returncode not in (0, 1):  # 1: tests failed, and are left out
        done.check_returncode()
    _STAMP.write_text(stamp)


def _stamp() -> str:
    digest = hashlib.sha256()
    for file in sorted([*ROOT.glob("kdb/**/*.py"), *ROOT.glob("tests/**/*.py")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _passed(times: Path) -> Iterator[tuple[str, float]]:
    """The node id and the seconds of each test that passed."""
    for case in ElementTree.parse(times).iter("testcase"):
        if len(case.findall("*")) == len(case.findall("system-out") + case.findall("properties")):
            file = case.attrib["file"]
            module = file.removesuffix(".py").replace("/", ".")
            classes = case.attrib["classname"].removeprefix(module).split(".")[1:]
            yield _test("::".join([file, *classes, case.attrib["name"]])), float(case.attrib["time"])


def _test(context: str) -> str:
    """A node id without the phase, which coverage appends to it, and the group, which xdist does."""
    return re.sub(r"(@[^]@|]+)?(\|(setup|run|teardown))?$", "", context)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robustness.covered", description=__doc__)
    parser.add_argument("tests", nargs="*", help="files, folders or node ids; all tests if left out")
    collect(parser.parse_args(arguments).tests)
    print(read().by_folder())
    return 0


if __name__ == "__main__":
    sys.exit(main())
