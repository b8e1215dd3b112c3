"""The command: runs each section in a process of its own, logs its output, and continues if it fails."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import torch

from benchmarks import verify
from benchmarks.gpu_check.check import Check, Report

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Part:
    """A section of the check.

    Attributes:
        name: of the section.
        where: the function that it runs, as module:function; it is called with (Check, Rows, network).
        limit: seconds after which it is stopped.
        each: the networks that it runs for, a process each: "compared", "others" (those not compared), or "" for a
            section that needs no network.
    """

    name: str
    where: str
    limit: float
    each: str = ""

    def jobs(self, check: Check) -> list[tuple[str, str]]:
        """The pairs (section, network), one for each process."""
        if not self.each:
            return [(self.name, "")]
        others = tuple(name for name in check.networks if name not in check.compared)
        return [(f"{self.name} {name}", name) for name in (check.compared if self.each == "compared" else others)]


PARTS = (
    Part("start", "benchmarks.gpu_check.start:start", 60),
    Part("first tests", "benchmarks.gpu_check.device_tests:first", 60),
    Part("ceilings", "benchmarks.gpu_check.ceilings:ceilings", 40),
    Part("calibrate", "benchmarks.gpu_check.calibrate:calibrate", 60),
    Part("maps", "benchmarks.gpu_check.maps:maps", 80, "compared"),
    Part("exact", "benchmarks.gpu_check.exact:exact", 45, "compared"),
    Part("other tests", "benchmarks.gpu_check.device_tests:other", 90),
    Part("exact others", "benchmarks.gpu_check.exact:exact", 45, "others"),
    Part("counts", "benchmarks.gpu_check.maps:counts", 60, "compared"),
    Part("memory", "benchmarks.gpu_check.memory:memory", 45, "compared"),
    Part("rivals", "benchmarks.gpu_check.rivals:rivals", 60, "compared"),
    Part("patches", "benchmarks.gpu_check.maps:patches", 60, "compared"),
)
"""In the order of their importance, as a run that is cut off misses the last ones."""


REHEARSED = 4.0
"""By how much longer a section may take in a rehearsal."""


def run(check: Check, parts: Sequence[Part]) -> bool:
    """Run the parts until time is up; returns whether all that began succeeded."""
    succeeded = True
    with _prepared(check):
        for part in parts:
            for section, network in part.jobs(check):
                if check.left <= 0:
                    print(f"no time left for {section}", flush=True)
                    continue
                outcome = _section(check, section, part, network)
                succeeded &= outcome == "done"
    return succeeded


def _section(check: Check, section: str, part: Part, network: str) -> str:
    """Run one section and write its outcome, which is returned, to the report."""
    print(f"{section}:", flush=True)
    Report(check.out).begin(section)
    begun, limit = time.perf_counter(), min(part.limit, max(check.left, 1))
    arguments = [sys.executable, "-m", "benchmarks.gpu_check.child", part.where, section, network, check.as_json()]
    with (check.out / "gpu-output.log").open("a", encoding="utf-8") as log:
        # A process group of its own, so that its own child processes can be killed with it.
        child = subprocess.Popen(
            arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            start_new_session=True,
        )  # fmt: skip
        outcome = _watched(child, log, section, limit)
    Report(check.out).end(section, outcome, time.perf_counter() - begun)
    print(f"  {outcome}, {time.perf_counter() - begun:.1f} s", flush=True)
    return outcome


def _watched(child: subprocess.Popen[str], log: IO[str], section: str, limit: float) -> str:
    """Print and log the child's output until it ends or ``limit`` seconds have passed; returns the outcome."""

    def pass_on(printed: IO[str]) -> None:
        for line in printed:
            sys.stdout.write(line)
            sys.stdout.flush()
            log.write(line)
            log.flush()

    assert child.stdout is not None
    log.write(f"==== {section}\n")
    reader = threading.Thread(target=pass_on, args=(child.stdout,), daemon=True)
    reader.start()
    try:
        status = child.wait(limit)
        outcome = "done" if status == 0 else f"failed (exit status {status})"
    except subprocess.TimeoutExpired:
        outcome = f"stopped after {limit:.0f} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        reader.join()
    return outcome


@contextlib.contextmanager
def _prepared(check: Check) -> Iterator[None]:
    """Calibrate the networks in the background, while the first sections run, which use one core."""
    if check.device != "cuda":
        yield
        return
    command = [sys.executable, "-m", "benchmarks.gpu_check.subject", check.as_json()]
    child = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    )
    try:
        yield
    finally:
        child.kill()
        child.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 0 if every section that began succeeded and all comparisons are exact, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=6.5, help="time limit of the whole run (%(default)s)")
    names = ", ".join(part.name for part in PARTS)
    parser.add_argument(
        "--only", metavar="SECTIONS", help=f"these sections, comma-separated, of {names}; the rows of others are kept"
    )
    parser.add_argument("--networks", help="checked for exactness, comma-separated; by default those of make verify")
    parser.add_argument(
        "--compared", default="resnet18,vgg16,inception_v3", help="networks whose speed is measured (%(default)s)"
    )
    parser.add_argument("--rehearse", action="store_true", help="a small run on the CPU, whose figures mean nothing")
    parser.add_argument("--out", type=Path, help="folder for gpu.md and gpu.json (docs/benchmarks)")
    options = parser.parse_args(arguments)
    if not options.rehearse and not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA device; --rehearse runs this on the CPU")
    if options.rehearse and options.out is None:
        raise SystemExit("a rehearsal needs --out, so that it does not overwrite the report")
    chosen = tuple(options.only.split(",")) if options.only else tuple(part.name for part in PARTS)
    if unknown := set(chosen) - {part.name for part in PARTS}:
        raise SystemExit(f"unknown section {', '.join(unknown)}; there are {names}")
    parts = [part for part in PARTS if part.name in chosen]
    out: Path = (options.out or verify.DOCS).resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        until = time.time() + options.minutes * 60
        if options.rehearse:  # one network, small images, few positions; on a busy CPU that may take long
            parts = [replace(part, limit=REHEARSED * part.limit) for part in parts]
            one = ("squeezenet1_1",)
            check = Check(
                "cpu",
                (*one, "alexnet"),
                one,
                out,
                Path(work),
                until,
                48,
                (4,),
                (16,),
                rounds=1,
                judged=4,
                size=(96, 96),
            )
        else:
            networks = verify.chosen_networks(options.networks, verify.NETWORKS)
            compared = verify.chosen_networks(options.compared, verify.NETWORKS)
            check = Check("cuda", networks, compared, out, Path(work), until)
        succeeded = run(check, parts)
    return 0 if succeeded and all(row["verdict"] == "exact" for row in Report(out).rows("Exactness")) else 1


if __name__ == "__main__":
    sys.exit(main())
