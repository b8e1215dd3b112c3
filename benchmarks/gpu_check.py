"""All that is to be known of kdb on a GPU, in one command of eight minutes: tests, exactness, speed, memory.

Needs nothing from a network: torch with CUDA, CuPy, torchvision, and what kdb itself depends on.  Sections run in the
order of their weight and each writes the report anew, so that a run that is cut off leaves what it had.  Where there is
no GPU, ``--rehearse`` runs every section on the CPU, on small networks and few positions, to show that it runs.
"""

from __future__ import annotations

import argparse
import copy
import gc
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import kdb
from benchmarks import photos, verify
from benchmarks.algorithm1 import Algorithm1
from benchmarks.baselines import captum_seconds
from benchmarks.gpu_baselines import PRECISIONS, GpuNaive, best, permitted, timed
from benchmarks.oracle import exactness, full_inference
from benchmarks.timing import markdown_table, write_json, write_markdown
from kdb.engine import Engine, default_settings
from kdb.frontends.torch_export import trace
from kdb.heatmap import HeatMap
from kdb.session import Session

ROOT = Path(__file__).resolve().parents[1]
PATCH, STRIDE, PHOTO = (16, 16), 4, "chelsea"
COUNTS = (16, 64, 256, 1024)
SIDES = (4, 8, 16, 32)
ROUNDS = 3
IntArray = NDArray[np.int64]


@dataclass
class Check:
    """A run: what is looked at, where, how long it may take, and what was found."""

    networks: tuple[str, ...]
    compared: tuple[str, ...]
    device: str
    minutes: float
    folder: Path
    stride: int = STRIDE
    counts: tuple[int, ...] = COUNTS
    sides: tuple[int, ...] = SIDES
    begun: float = field(default_factory=time.perf_counter)
    tables: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.minutes * 60 - (time.perf_counter() - self.begun)

    @property
    def on(self) -> str:
        """The device as a query names it."""
        return "gpu" if self.device == "cuda" else "cpu"

    def note(self, title: str, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Keep a table, print its last row, write the report."""
        self.tables[title] = markdown_table(headers, rows)
        self.figures[title] = [dict(zip(headers, row, strict=True)) for row in rows]
        print(f"[{time.perf_counter() - self.begun:4.0f} s] {title}: {', '.join(map(str, rows[-1]))}", flush=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_markdown(self.folder / "gpu.md", "On a GPU", {"What is compared": WHAT, **self.tables})
        write_json(self.folder / "gpu.json", self.figures)


WHAT = """Whole queries against full inference of the same module on the same device, in turns in one process; seconds
are medians of three, and end with the values on the host. Naive is the fastest of several batch sizes, with and without
a CUDA graph, channels last, batch-norm folded, at the precision that kdb is given (`PRECISION`; with fp32 no tf32 on
either side). kdb plans once a network and set of positions; the views are computed anew each time. Weights are random,
calibrated on photographs: they serve for speed and exactness alone."""


# ---- what is looked at


@dataclass(frozen=True, eq=False)
class Subject:
    """A calibrated network, a photograph as it takes it, and a session that knows it."""

    name: str
    of: verify.Subject
    image: Tensor
    db: Session

    def query(self, clause: str, on: str, patch: tuple[int, int] = PATCH, precision: str = "fp32") -> str:
        """Every class's logits, black patches."""
        return (
            f"OCCLUDE $image WITH patch({patch[0]}, {patch[1]}) FILL black {clause} USING {self.name} "
            f"FOR ALL CLASSES SCORE logit PRECISION {precision} ON {on}"
        )

    @property
    def fill(self) -> Tensor:
        """Black, as the network takes it: [3]."""
        return self.of.normalise(np.zeros((1, 1, 3), np.float32))[:, 0, 0]

    @property
    def photo(self) -> NDArray[np.uint8]:
        """uint8 [H, W, 3]."""
        return photos.photo(PHOTO, self.of.size)

    def run(self, text: str, positions: IntArray | None = None) -> HeatMap:
        """The map of a query on the photograph."""
        heat_map = self.db.execute(text, {"image": self.photo, "positions": positions})
        assert isinstance(heat_map, HeatMap)
        return heat_map

    def seconds(self, text: str, positions: IntArray | None = None) -> float:
        """How long that takes."""
        start = time.perf_counter()
        self.run(text, positions)
        return time.perf_counter() - start

    def module(self, device: str, dtype: torch.dtype = torch.float32) -> nn.Module:
        """A copy: the session's own stays as it was registered."""
        return copy.deepcopy(self.of.module).to(device, dtype)

    def lattice(self, stride: int, patch: tuple[int, int] = PATCH) -> IntArray:
        """Where a map of that stride has its patches."""
        free = self.of.size[0] - patch[0], self.of.size[1] - patch[1]
        return verify.lattice(free, (stride, stride))


@cache
def subject(name: str) -> Subject:
    """Calibrated once."""
    of = verify.load(name)
    db = of.connect()
    db.execute("SET view_budget = 0")
    return Subject(name, of, of.normalise(photos.photo(PHOTO, of.size).astype(np.float32)), db)


# ---- the sections


def tests(check: Check) -> None:
    """Those marked gpu; by file, since to collect the others takes more than is installed where there is a GPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_gpu_device.py"]
    begun = time.perf_counter()
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=max(min(check.left, 150), 1))
        last = (done.stdout.strip() or done.stderr.strip() or "no output").splitlines()
        print("\n".join(last[-30:]), flush=True)
        row = (f"exit {done.returncode}", last[-1])
    except subprocess.TimeoutExpired:
        row = ("broken off", "took too long")
    check.note("Tests", ("outcome", "summary", "seconds"), [(*row, time.perf_counter() - begun)])


def exact(check: Check) -> None:
    """Logits of all classes at scattered positions, against the module in float64 on the device."""
    rows: list[Sequence[object]] = []
    for name in check.networks:
        try:
            looked_at = subject(name)
        except kdb.Error as error:  # the trained one comes with an extra
            print(f"{name} is left out: {error}", flush=True)
            continue
        free = looked_at.of.size[0] - PATCH[0], looked_at.of.size[1] - PATCH[1]
        for where, positions in (("scattered", verify.scattered(free, 26, 0)), ("cluster", verify.cluster(free))):
            for kernels in ("auto", "native"):
                looked_at.db.execute(f"SET kernels = {kernels}")
                begun = time.perf_counter()
                heat_map = looked_at.run(looked_at.query("AT $positions", check.on), positions)
                seconds = time.perf_counter() - begun
                chosen = verify.sample(positions, 26)
                logits = heat_map.values.reshape(len(heat_map.values), -1).T[chosen]
                truth = [
                    full_inference(
                        looked_at.module(check.device, dtype), looked_at.image.to(check.device, dtype),
                        looked_at.fill.to(check.device, dtype), PATCH, positions[chosen],
                    ).cpu().numpy()
                    for dtype in (torch.float64, torch.float32)
                ]  # fmt: skip
                found = exactness(logits, *truth)
                rows.append((name, f"{where}, {kernels}", len(chosen), *verify.figures([found], found.ok), seconds))
                check.note("Exactness", ("network", "case", "compared", *verify.HEADERS, "first run s"), rows)
        looked_at.db.execute("RESET kernels")


def _medians(rounds: int, *candidates: Callable[[], float]) -> list[float]:
    """Of the seconds that candidates report, taking turns after a warm-up."""
    seconds: list[list[float]] = [[] for _ in candidates]
    for turn in range(-1, rounds):
        for candidate, found in zip(candidates, seconds, strict=True):
            gc.collect()
            value = candidate()
            if turn >= 0:
                found.append(value)
    return [float(np.median(found)) for found in seconds]


def maps(check: Check) -> None:
    """Whole maps at each precision; at fp32 also the paper's plan and captum."""
    rows: list[Sequence[object]] = []
    headers = ("network", "precision", "positions", "kdb s", "plan s", "naive s", "naive's way", "kdb vs naive")
    for name in check.compared:
        looked_at = subject(name)
        positions = looked_at.lattice(check.stride)
        for precision in PRECISIONS:
            if check.left < 30:
                return
            text = looked_at.query(f"STRIDE {check.stride}", check.on, precision=precision)
            plan = looked_at.run(text).stats.seconds["plan"]
            naive = _naive(check, looked_at, precision, PATCH, positions)
            ours, theirs = _medians(
                ROUNDS,
                partial(looked_at.seconds, text),
                partial(timed, naive, looked_at.image, looked_at.fill, PATCH, positions),
            )
            way = f"{naive.batch}{' graph' if naive.graph else ''}"
            rows.append((name, precision, len(positions), ours, plan, theirs, way, theirs / ours))
            check.note("Whole maps", headers, rows)


def others(check: Check) -> None:
    """The paper's plan through kdb, its Algorithm 1 in plain torch, and captum, on whole maps at fp32."""
    rows: list[Sequence[object]] = []
    for name in check.compared:
        if check.left < 30:
            return
        looked_at = subject(name)
        text = looked_at.query(f"STRIDE {check.stride}", check.on)
        looked_at.db.execute("SET preset = krypton")
        (krypton,) = _medians(1, partial(looked_at.seconds, text))
        looked_at.db.execute("RESET preset")
        positions = looked_at.lattice(check.stride)
        plain = _algorithm_1(check, looked_at, positions)
        rows.append((name, len(positions), krypton, plain, _captum(check, looked_at, len(positions))))
        headers = ("network", "positions", "krypton s", "Algorithm 1 in torch s", "captum s")
        check.note("The paper's plan, its baseline, and captum", headers, rows)


def _algorithm_1(check: Check, looked_at: Subject, positions: IntArray) -> float:
    """Seconds of the paper's naive incremental inference, in batches of 128, at most 512 positions timed."""
    engine, timed_ = Engine(default_settings()), positions[: min(len(positions), 512)]
    engine.settings.set("preset", "krypton")
    engine.settings.set("batch_size", 128)
    network = trace(looked_at.module("cpu"), (3, *looked_at.of.size))
    run = Algorithm1(engine, network, looked_at.image, check.device)
    seconds = []
    for _ in range(2):  # the first plans and warms up
        begun = time.perf_counter()
        with permitted("fp32"):
            run(looked_at.fill, PATCH, timed_)
        seconds.append(time.perf_counter() - begun)
    return seconds[-1] * len(positions) / len(timed_)


def _captum(check: Check, looked_at: Subject, positions: int) -> object:
    """Seconds of as many positions; a dash where captum is not installed."""
    try:
        each = captum_seconds(
            looked_at.module(check.device), looked_at.image.to(check.device), target=0, fill=looked_at.fill,
            patch=PATCH,
            stride=(check.stride, check.stride), batch=128 if check.device == "cuda" else 4, batches=2,
        )  # fmt: skip
        return each * positions
    except ImportError:
        return "-"


def _naive(check: Check, looked_at: Subject, precision: str, patch: tuple[int, int], positions: IntArray) -> GpuNaive:
    with torch.inference_mode():
        return best(
            looked_at.of.module, precision, looked_at.image, looked_at.fill, patch, positions, device=check.device
        )


def counts(check: Check) -> None:
    """Few positions to many, in the middle of the image outwards, at fp32 and bf16."""
    rows: list[Sequence[object]] = []
    for name in check.compared:
        looked_at = subject(name)
        every = looked_at.lattice(2)
        order = np.argsort(np.abs(every - every.mean(axis=0)).max(axis=1), kind="stable")
        for precision in ("fp32", "bf16"):
            for count in check.counts:
                if check.left < 20:
                    return
                _compare(check, "By number of positions", rows, looked_at, precision, PATCH, every[order[:count]])


def patches(check: Check) -> None:
    """Small patches to large ones, at fp32."""
    rows: list[Sequence[object]] = []
    for name in check.compared:
        looked_at = subject(name)
        for side in check.sides:
            if check.left < 20:
                return
            positions = looked_at.lattice(2 * check.stride, (side, side))
            _compare(check, "By size of the patch", rows, looked_at, "fp32", (side, side), positions)


def _compare(
    check: Check,
    title: str,
    rows: list[Sequence[object]],
    looked_at: Subject,
    precision: str,
    patch: tuple[int, int],
    positions: IntArray,
) -> None:
    text = looked_at.query("AT $positions", check.on, patch, precision)
    naive = _naive(check, looked_at, precision, patch, positions)
    ours, theirs = _medians(
        ROUNDS,
        partial(looked_at.seconds, text, positions),
        partial(timed, naive, looked_at.image, looked_at.fill, patch, positions),
    )
    rows.append((looked_at.name, precision, patch[0], len(positions), ours, theirs, theirs / ours))
    check.note(title, ("network", "precision", "patch", "positions", "kdb s", "naive s", "kdb vs naive"), rows)


def memory(check: Check) -> None:
    """Peaks above what is held before: kdb's own batches, and full inference of 128 at a time."""
    rows: list[Sequence[object]] = []
    if check.device != "cuda":
        return
    for name in check.compared:
        looked_at = subject(name)
        positions, text = looked_at.lattice(check.stride), looked_at.query(f"STRIDE {check.stride}", check.on)
        naive = GpuNaive(looked_at.of.module, "fp32", 128, graph=False)
        found = []
        calls: tuple[Callable[[], object], ...] = (
            partial(looked_at.run, text),
            partial(naive, looked_at.image, looked_at.fill, PATCH, positions[:512]),
        )
        for call in calls:
            call()
            gc.collect()
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
            call()
            found.append((torch.cuda.max_memory_allocated() - held) / 2**20)
        rows.append((name, *found, found[0] / found[1]))
        check.note("Peak memory above the weights", ("network", "kdb MiB", "naive MiB", "share"), rows)


SECTIONS: dict[str, Callable[[Check], None]] = {
    "tests": tests,
    "exact": exact,
    "maps": maps,
    "counts": counts,
    "memory": memory,
    "others": others,
    "patches": patches,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 where it ran to its end and all that was compared is exact."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=7.5, help="after which no section begins (%(default)s)")
    parser.add_argument("--only", metavar="SECTIONS", help=f"of {', '.join(SECTIONS)}; comma-separated")
    parser.add_argument("--networks", help="for exactness, comma-separated; the ten of make verify by default")
    parser.add_argument("--compared", default="vgg16,resnet18,inception_v3", help="for speed (%(default)s)")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU: small, and its figures mean nothing")
    parser.add_argument("--out", type=Path, default=verify.DOCS, help="folder for gpu.md and gpu.json (%(default)s)")
    options = parser.parse_args(arguments)
    if not options.rehearse and not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA device; --rehearse runs this on the CPU")
    names = verify.chosen_networks(options.networks, verify.NETWORKS)
    compared = verify.chosen_networks(options.compared, verify.NETWORKS)
    check = Check(names, compared, "cuda", options.minutes, options.out)
    if options.rehearse:
        # One network, a coarse lattice, and a report that is not taken for one.
        check = Check(("squeezenet1_1",), ("squeezenet1_1",), "cpu", options.minutes, options.out, 16, (4,), (16,))
    failed = []
    for name in options.only.split(",") if options.only else SECTIONS:
        if check.left <= 0:
            print(f"no time left for {name}", flush=True)
            continue
        try:
            SECTIONS[name](check)
        except Exception:  # a machine with a GPU is lent for minutes: the other sections are still worth having
            failed.append(name)
            traceback.print_exc()
    judged = check.figures.get("Exactness", [])
    return 1 if failed or any(row["verdict"] != "exact" for row in judged) else 0


if __name__ == "__main__":
    sys.exit(main())
