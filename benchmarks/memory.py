"""The peak memory of one query, measured in a process of its own.

``python -m benchmarks.memory QUERY`` runs such a process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import kdb
from benchmarks import photos
from benchmarks.timing import markdown_table
from kdb.results.maps import HeatMap

PHOTO = "chelsea"
PEAK_LIMIT, PEAK_GROWTH = 3e9, 1.1
"""Most bytes of a process, and the most that the larger map may take relative to the smaller one."""


@dataclass(frozen=True)
class Peak:
    """One query's number of positions, seconds with tracing, and peak resident memory of its process in bytes."""

    query: str
    positions: int
    seconds: float
    bytes: int


def peak(query: str) -> Peak:
    """Run a query on ``$image`` in a new process; raises CalledProcessError if it fails."""
    command = [sys.executable, "-m", "benchmarks.memory", query]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    return Peak(query, **json.loads(done.stdout))


def peak_bytes() -> int:
    """The peak resident memory of this process, in bytes.

    On Linux read from /proc, since ``ru_maxrss`` includes what the parent had resident when it started the process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def modest(peaks: Sequence[Peak]) -> bool:
    """Whether all peaks are below PEAK_LIMIT, and the larger map's at most PEAK_GROWTH times the smaller one's."""
    if not peaks:
        return True
    small, large = (extreme(peaks, key=lambda each: each.positions) for extreme in (min, max))
    return max(each.bytes for each in peaks) < PEAK_LIMIT and large.bytes <= PEAK_GROWTH * small.bytes


def memory_table(peaks: Sequence[Peak]) -> str:
    """A Markdown table with a row for each query."""
    rows = [[f"`{each.query}`", each.positions, each.seconds, each.bytes / 1e9] for each in peaks]
    return markdown_table(["query", "positions", "s, tracing included", "peak GB"], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command of that process: run the query and print the other fields of a :class:`Peak` as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__.partition("\n")[0])
    parser.add_argument("query", help="an OCCLUDE query of $image")
    query: str = parser.parse_args(arguments).query
    start = time.perf_counter()
    heat_map = kdb.connect().execute(query, {"image": photos.photo(PHOTO)})
    assert isinstance(heat_map, HeatMap)
    seconds = time.perf_counter() - start
    print(json.dumps({"positions": heat_map.stats.positions, "seconds": seconds, "bytes": peak_bytes()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
