"""Speed, memory and exactness on signals, volumes and video: kdb beside full inference, captum and MONAI.

``--only NAME`` measures one network; rows are kept in build/axes until the code changes, and the page has all of them.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks import axes_coverage
from benchmarks.axes_case import SAMPLE, Case
from benchmarks.axes_roster import COVERED, WHOLE_MAPS, Subject
from benchmarks.coverage import code
from benchmarks.memory import peak_bytes
from benchmarks.timing import interleave, markdown_table, ratio, write_json, write_markdown
from benchmarks.verify import DOCS

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "axes"
"""Folder of the rows."""
IN_PEAK = 64
"""Windows that kdb runs where its memory is measured, which does not depend on their number."""
RIVALS = ("full", "captum", "monai")
HEADERS = (
    *("network", "input", "window / stride", "windows", "of these measured", "trace s", "kdb s", "full inference s"),
    *("times", "from", "to", "times captum", "times MONAI", "fewer multiply-adds", "worst error"),
)
MEMORY_HEADERS = ("network", "planned", "kdb", "full inference", "captum", "MONAI")
DESCRIPTION = f"""\
Whole maps with zeros for the fill, kdb and the others in turns in one process. Full inference is that of a careful
user: batch-norms folded where PyTorch can, the fastest of several batches, all threads. captum's `Occlusion` and
MONAI's `OcclusionSensitivity` are called as their documentation does it, with batches of that size. All three are timed
at {SAMPLE} windows, and counted for all. Where a map takes too long, windows drawn at random stand for it. A model is
traced once, before; what else kdb does once an image is in its time. The worst error is that of the logits at these
windows against the module in float64, over what Exact allows.
"""
MEMORY = """\
Peak of the resident memory in MiB, each in a process of its own, and what the plan of the map said before.
"""


def measured(name: str, rounds: int, threads: int) -> dict[str, Any]:
    """What a network takes by kdb and by the others, and how exact kdb is."""
    subject = WHOLE_MAPS[name]
    case = Case(subject, threads)
    rivals = [rival for rival in RIVALS if rival == "full" or find_spec(rival) is not None]
    candidates: dict[str, Callable[[], object]] = {each: getattr(case, each) for each in ("kdb", *rivals)}
    start = time.perf_counter()
    assert case.traced, "a network"
    traced = time.perf_counter() - start
    times = interleave(candidates, rounds=rounds, warmups=0 if subject.most else 1)
    occluder = case.kdb()
    return {
        "network": name,
        "input": "x".join(map(str, subject.shape)),
        "window": f"{'x'.join(map(str, subject.window))} / {'x'.join(map(str, subject.stride))}",
        "windows": len(case.grid),
        "measured": len(case.positions),
        "batch": case.batch,
        "least": subject.least,
        "trace": traced,
        "seconds": {each: times[each].estimate.mean for each in candidates},
        "times": {each: _interval(times[each].seconds, times["kdb"].seconds) for each in rivals},
        "macs": occluder.work.naive_macs / occluder.work.executed_macs,
        "error": case.error(case.sample),
        "planned": occluder.memory.total,
        "peaks": {each: peak(name, each, case.batch, threads) for each in candidates},
    }


def _interval(theirs: Sequence[float], ours: Sequence[float]) -> tuple[float, float, float]:
    found = ratio(theirs, ours)
    return found.mean, found.low, found.high


def peak(name: str, candidate: str, batch: int, threads: int) -> int:
    """The peak memory in bytes of a new process that runs a candidate."""
    parts = ["--peak", candidate, "--batch", str(batch), "--threads", str(threads), "--only", name]
    command = [sys.executable, "-m", "benchmarks.axes", *parts]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return int(json.loads(done.stdout))


def print_peak(subject: Subject, candidate: str, batch: int, threads: int) -> None:
    """What such a process does."""
    getattr(Case(subject, threads, IN_PEAK, batch), candidate)()
    print(peak_bytes())


# ---- rows between runs


def stored(name: str, digest: str) -> dict[str, Any] | None:
    """The row of a network, or None if there is none of this code."""
    try:
        kept = json.loads((CACHE / f"{name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return dict(kept["row"]) if kept["code"] == digest else None


def store(name: str, digest: str, row: Mapping[str, Any]) -> None:
    """Keep it, atomically."""
    CACHE.mkdir(parents=True, exist_ok=True)
    file = CACHE / f"{name}.json"
    temporary = file.with_suffix(".new")
    temporary.write_text(json.dumps({"code": digest, "row": row}), encoding="utf-8")
    temporary.replace(file)


# ---- the page


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table with a row for each network."""
    return markdown_table(HEADERS, list(map(_cells, rows)))


def _cells(row: Mapping[str, Any]) -> list[Any]:
    times, seconds = row["times"], row["seconds"]
    others = [times[each][0] if each in times else "-" for each in RIVALS[1:]]
    first = [row[key] for key in ("network", "input", "window", "windows", "measured")]
    return [*first, row["trace"], seconds["kdb"], seconds["full"], *times["full"], *others, row["macs"], row["error"]]


def memory_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The same for memory."""
    return markdown_table(MEMORY_HEADERS, [[row["network"], *_mebibytes(row)] for row in rows])


def _mebibytes(row: Mapping[str, Any]) -> list[str]:
    sizes = [row["planned"], *(row["peaks"].get(each) for each in ("kdb", *RIVALS))]
    return ["-" if size is None else f"{size / 2**20:.0f}" for size in sizes]


def write(folder: Path, digest: str, failed: Mapping[str, str]) -> None:
    """Write axes.md and axes.json to ``folder``, of all rows that are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    maps = [row for name in WHOLE_MAPS if (row := stored(name, digest)) is not None]
    coverage = [row for name in COVERED if (row := stored(_coverage_name(name), digest)) is not None]
    missing = [name for name in WHOLE_MAPS if stored(name, digest) is None]
    missing += [f"coverage of {name}" for name in COVERED if stored(_coverage_name(name), digest) is None]
    text = f"{DESCRIPTION}\n{table(maps)}"
    text += "".join(f"\nNot measured: {each}{failed.get(each, '')}.\n" for each in missing)
    pages = {"Whole maps": text, "Memory": f"{MEMORY}\n{memory_table(maps)}"}
    pages["Coverage"] = f"{axes_coverage.DESCRIPTION}\n{axes_coverage.table(coverage)}"
    write_markdown(folder / "axes.md", "Signals, volumes and video", pages)
    write_json(folder / "axes.json", {"results": maps, "coverage": coverage})


def _coverage_name(name: str) -> str:
    return f"coverage-{name.replace(' ', '-')}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 0 if everything that was measured is exact, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.axes", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", metavar="PATTERN", default="*", help="networks whose names match, as 'densenet*'")
    parser.add_argument("--part", choices=("maps", "coverage"), help="whole maps or coverage alone")
    parser.add_argument("--again", action="store_true", help="ignore rows that are kept")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of all (%(default)s)")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of axes.md and axes.json (docs/benchmarks)")
    parser.add_argument("--peak", choices=("kdb", *RIVALS), help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.peak:
        print_peak(WHOLE_MAPS[options.only], options.peak, options.batch, options.threads)
        return 0
    digest, failed, exact = code(), dict[str, str](), True
    jobs: dict[str, Callable[[], dict[str, Any]]] = {}
    for name in fnmatch.filter(WHOLE_MAPS, options.only) if options.part != "coverage" else ():
        jobs[name] = partial(measured, name, options.rounds, options.threads)
    for name in fnmatch.filter(COVERED, options.only) if options.part != "maps" else ():
        jobs[_coverage_name(name)] = partial(axes_coverage.covered, name, COVERED[name], options.threads)
    for name, job in jobs.items():
        row = None if options.again else stored(name, digest)
        if row is None:
            try:
                row = job()
            except ModuleNotFoundError as error:
                failed[name] = f": {error}"
                print(f"{name}: {error}", flush=True)
                continue
            store(name, digest, row)
        exact = exact and row["error"] <= 1
        cells = axes_coverage.cells(row) if "share" in row else _cells(row)
        print(*cells, sep="  ", flush=True)
    write(options.out, digest, failed)
    return 0 if exact else 1


if __name__ == "__main__":
    sys.exit(main())
