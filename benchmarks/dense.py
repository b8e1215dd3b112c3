"""Dense outputs: maps of a region's mean, by kdb, by full inference in batches and by captum with a wrapper.

``--only NAME`` measures one; the page has all that were measured, row by row, and replaces those measured again.
"""

from __future__ import annotations

import argparse
import copy
import fnmatch
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import kdb
from benchmarks.dense_networks import UNet
from benchmarks.detector_networks import Yolo
from benchmarks.memory import peak_bytes
from benchmarks.oracle import worst_share
from benchmarks.timing import Seconds, interleave, markdown_table, ratio, write_json, write_markdown
from benchmarks.verify import DOCS
from kdb.geometry import lattice
from kdb.models.detection import BOX, IOU, detections
from kdb.models.torchvision_compat import import_torchvision
from kdb.results.maps import HeatMap
from kdb.system.allocation import retained

ROOT = Path(__file__).resolve().parents[1]
BATCHES = (1, 4, 8)
SAMPLE = 8
"""Positions that full inference, captum and float64 run."""
RIVALS = ("full", "captum")
HEADERS = (
    *("network", "input", "patch / stride", "scored", "positions", "trace s", "kdb s", "full inference s", "times"),
    *("from", "to", "times captum", "fewer multiply-adds", "worst error"),
)
DESCRIPTION = f"""\
Whole maps of the mean logit of all classes over a region of the output, with zeros for the fill: kdb by a query, with
its check, and full inference in turns in one process. Full inference is the fastest of several batches with all
threads; captum's `Occlusion` has a wrapper that returns the region's means. Both are timed at {SAMPLE} positions, and
counted for all. A model is traced once, before; kdb's rates are those that `CALIBRATE` measures. The worst error is
that of the means at these positions against the module in float64, over what Exact allows. Of a detector the
score is that of one box, the best of a level. Weights are random.
"""
MEMORY = """\
Peak of the resident memory in MiB, each in a process of its own, and what the plan of the map said before.
"""
Box = tuple[slice, ...]


@dataclass(frozen=True)
class Subject:
    """A network, the shape (C, *size) of its input, patch and stride, and the box of the output that is scored.

    ``box`` is the extent of one in the middle; None for all.  ``least`` is how many times as fast as full inference it
    is meant to be.
    """

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    patch: int
    stride: int
    box: tuple[int, ...] | None
    least: float
    output: str | None = None
    level: int | None = None
    """Of a detector the stride of the level whose best box is scored; None for maps of classes."""

    @property
    def scored(self) -> str:
        """In words."""
        if self.level is not None:
            return f"a box of stride {self.level}"
        return "all" if self.box is None else "x".join(map(str, self.box))


def _fcn() -> nn.Module:
    import_torchvision()
    from torchvision.models.segmentation import fcn_resnet50

    made: nn.Module = fcn_resnet50(weights=None, weights_backbone=None)
    return made


def _unet(interpolated: bool = False) -> nn.Module:
    return UNet(2, 3, 4, (32, 64, 128, 256, 512), interpolated)


def _unet_3d() -> nn.Module:
    return UNet(3, 1, 3, (16, 32, 64, 128))


def _yolo() -> nn.Module:
    """With statistics of noise in its batch norms, so that boxes and scores vary."""
    module = Yolo()
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    with torch.no_grad():
        module.train()(torch.randn(4, 3, 128, 128))
    return module


SUBJECTS: Mapping[str, Subject] = {
    "unet": Subject(_unet, (3, 256, 256), 16, 16, (48, 48), 10),
    "unet_bilinear": Subject(lambda: _unet(True), (3, 256, 256), 16, 16, (48, 48), 10),
    "fcn_resnet50": Subject(_fcn, (3, 520, 520), 32, 32, (130, 130), 7, "out"),
    "unet_3d": Subject(_unet_3d, (1, 96, 96, 96), 16, 8, (24, 24, 24), 8),
    "unet_whole": Subject(_unet, (3, 256, 256), 16, 16, None, 2),
    "fcn_resnet50_whole": Subject(_fcn, (3, 520, 520), 32, 32, None, 2, "out"),
    **{f"yolo_{level}": Subject(_yolo, (3, 640, 640), 16, 16, None, 8, level=level) for level in (8, 16, 32)},
}


class Case:
    """A subject with random weights and an image of noise, ready to be measured."""

    def __init__(self, subject: Subject, threads: int, batch: int | None = None, *, calibrated: bool = False) -> None:
        self.subject, self._batch = subject, batch
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.module = subject.make().eval()
        self.image = np.random.default_rng(0).normal(size=(*subject.shape[1:], subject.shape[0])).astype(np.float32)
        axes = len(subject.shape) - 1
        starts = (lattice(length, subject.patch, subject.stride) for length in subject.shape[1:])
        self.positions = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, axes)
        self.sample = np.linspace(0, len(self.positions) - 1, min(SAMPLE, len(self.positions))).astype(int)
        self.db = kdb.connect()
        if calibrated:
            self.db.execute(f"SET threads = {threads}; CALIBRATE")
        self.db.execute(f"SET threads = {threads}")
        self.db.execute("SET view_budget = 0")
        self.db.register_model(
            "dense",
            self.module,
            input_size=subject.shape[1:],
            n_channels=subject.shape[0],
            output=subject.output,
            head=None if subject.level is None else "yolo",
        )

    @property
    def query(self) -> str:
        """The map's."""
        before = f"OCCLUDE $image WITH patch({self.subject.patch}) FILL 0 STRIDE {self.subject.stride} USING dense FOR"
        if self.subject.level is not None:
            return f"{before} DETECTION {self.box[0]}"
        over = "ALL" if self.subject.box is None else f"box({', '.join(map(str, (*self._start, *self.subject.box)))})"
        return f"{before} ALL CLASSES SCORE logit OVER {over}"

    @cached_property
    def box(self) -> tuple[int, int, int]:
        """Of a detector the number of the box that is scored, from 1, its class and its anchor."""
        image = torch.from_numpy(self.image).movedim(-1, 0)[None]
        with torch.inference_mode():
            found = detections(self.module(image)[0].double().numpy(), IOU)
        counts = [(self.subject.shape[1] // level) * (self.subject.shape[2] // level) for level in (8, 16, 32)]
        levels = np.repeat((8, 16, 32), counts)[found.anchors]
        first = int(np.argmax(levels == self.subject.level))
        return first + 1, int(found.classes[first]), int(found.anchors[first])

    @property
    def _start(self) -> tuple[int, ...]:
        assert self.subject.box is not None, "a box"
        return tuple((length - n) // 2 for length, n in zip(self.subject.shape[1:], self.subject.box, strict=True))

    @property
    def region(self) -> Box:
        """The cells of the output, which is as large as the input."""
        if self.subject.box is None:
            return ()
        return tuple(slice(start, start + n) for start, n in zip(self._start, self.subject.box, strict=True))

    def kdb(self) -> HeatMap:
        """The map."""
        found = self.db.execute(self.query, {"image": self.image})
        assert isinstance(found, HeatMap), "of one image"
        return found

    def means(self, module: nn.Module, images: Tensor) -> Tensor:
        """[n, K]: the region's; of a detector [n, 1], the score of the box."""
        given = module(images)
        if self.subject.level is not None:
            _, index, anchor = self.box
            return given[:, BOX + index, anchor, None]  # type: ignore[no-any-return]
        maps: Tensor = given if self.subject.output is None else given[self.subject.output]
        return maps[(slice(None), slice(None), *self.region)].flatten(2).mean(2)

    @cached_property
    def batch(self) -> int:
        """The positions at a time at which full inference is fastest."""
        return self._batch or min(BATCHES, key=lambda batch: float(self.full(batch)))

    def full(self, batch: int | None = None) -> Seconds:
        """Seconds of full inference at all positions, measured at the sample."""
        size = batch or self.batch
        with retained(), torch.inference_mode():
            start = time.perf_counter()
            for first in range(0, len(self.sample), size):
                self.means(self.module, self.occluded(self.sample[first : first + size]))
            return Seconds((time.perf_counter() - start) / len(self.sample) * len(self.positions))

    def captum(self) -> Seconds:
        """Seconds of captum's Occlusion on a wrapper of the region's means; it is left after as many positions."""
        from captum.attr import Occlusion

        counting = _Counting(lambda images: self.means(self.module, images), len(self.sample))
        channels, axes = self.subject.shape[0], len(self.subject.shape) - 1
        start = time.perf_counter()
        with suppress(_Enough), torch.no_grad():
            Occlusion(counting).attribute(
                torch.from_numpy(self.image).movedim(-1, 0)[None],
                sliding_window_shapes=(channels, *(self.subject.patch,) * axes),
                strides=(channels, *(self.subject.stride,) * axes),
                target=0,
                perturbations_per_eval=self.batch,
            )
        return Seconds((time.perf_counter() - start) / counting.images * len(self.positions))

    def occluded(self, members: np.ndarray) -> Tensor:
        """The image with zeros in each of these patches, float32 [n, C, *size]."""
        copies = torch.from_numpy(self.image).movedim(-1, 0)[None].repeat(len(members), *[1] * self.image.ndim)
        for each, at in zip(copies, self.positions[members], strict=True):
            each[:, *map(slice, at, at + self.subject.patch)] = 0
        return copies

    def error(self, heat_map: HeatMap) -> float:
        """The worst error at the sample and of the image itself, over what Exact allows."""
        values = heat_map.by_class()[0].T
        found = np.concatenate([values[self.sample], np.array(heat_map.baseline, np.float32).reshape(1, -1)])
        images = torch.cat([self.occluded(self.sample), torch.from_numpy(self.image).movedim(-1, 0)[None]])
        double = copy.deepcopy(self.module).double()
        with torch.no_grad():
            truth = torch.cat([self.means(double, each[None].double()) for each in images]).numpy()
            plain = torch.cat([self.means(self.module, each[None]) for each in images]).numpy()
        return worst_share(found, truth, plain)


class _Enough(Exception):
    """Raised within captum's loop, to leave it."""


class _Counting:
    """A model that has enough after so many images."""

    def __init__(self, model: Callable[[Tensor], Tensor], most: int) -> None:
        self._model, self._most, self.images = model, most, 0

    def __call__(self, images: Tensor) -> Tensor:
        if self.images >= self._most:
            raise _Enough
        output = self._model(images)
        self.images += len(images)
        return output


def measured(name: str, rounds: int, threads: int, calibrated: bool) -> dict[str, Any]:
    """What a map takes by kdb and by the others, and how exact kdb is."""
    subject = SUBJECTS[name]
    case = Case(subject, threads, calibrated=calibrated)
    start = time.perf_counter()
    plan = json.loads(case.db.explain(case.query, {"image": case.image}, format="json"))
    traced = time.perf_counter() - start
    candidates: dict[str, Callable[[], object]] = {each: getattr(case, each) for each in ("kdb", *RIVALS)}
    times = interleave(candidates, rounds=rounds, warmups=1)
    heat_map = case.kdb()
    compared = {each: ratio(times[each].seconds, times["kdb"].seconds) for each in RIVALS}
    return {
        "network": name,
        "input": "x".join(map(str, subject.shape)),
        "patch": f"{subject.patch} / {subject.stride}",
        "scored": subject.scored,
        "positions": len(case.positions),
        "least": subject.least,
        "trace": traced,
        "seconds": {each: times[each].estimate.mean for each in candidates},
        "times": {each: (found.mean, found.low, found.high) for each, found in compared.items()},
        "macs": heat_map.stats.naive_macs / heat_map.stats.executed_macs,
        "error": case.error(heat_map),
        "planned": plan["peak_bytes"],
        "peaks": {each: peak(name, each, case.batch, threads) for each in candidates},
    }


def peak(name: str, candidate: str, batch: int, threads: int) -> int:
    """The peak memory in bytes of a new process that runs a candidate."""
    parts = ["--peak", candidate, "--batch", str(batch), "--threads", str(threads), "--only", name]
    command = [sys.executable, "-m", "benchmarks.dense", *parts]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return int(json.loads(done.stdout))


def write(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write dense.md and dense.json to ``folder``: these rows, and those there are of other networks."""
    folder.mkdir(parents=True, exist_ok=True)
    there: dict[str, Mapping[str, Any]] = {}
    if (folder / "dense.json").exists():
        kept = json.loads((folder / "dense.json").read_text(encoding="utf-8"))["results"]
        there = {row["network"]: row for row in kept}
    there |= {row["network"]: row for row in rows}
    results = [there[name] for name in SUBJECTS if name in there]
    memory = [[row["network"], *map(_mebibytes, (row["planned"], *row["peaks"].values()))] for row in results]
    pages = {
        "Whole maps": f"{DESCRIPTION}\n{markdown_table(HEADERS, list(map(_cells, results)))}",
        "Memory": f"{MEMORY}\n{markdown_table(('network', 'planned', 'kdb', 'full inference', 'captum'), memory)}",
    }
    write_markdown(folder / "dense.md", "Dense outputs", pages)
    write_json(folder / "dense.json", {"results": results})


def _cells(row: Mapping[str, Any]) -> list[Any]:
    first = [row[key] for key in ("network", "input", "patch", "scored", "positions", "trace")]
    seconds, times = row["seconds"], row["times"]
    return [*first, seconds["kdb"], seconds["full"], *times["full"], times["captum"][0], row["macs"], row["error"]]


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.0f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 0 if everything that was measured is exact, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dense", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", metavar="PATTERN", default="*", help="networks whose names match, as 'unet*'")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of all (%(default)s)")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of dense.md and dense.json (docs/benchmarks)")
    parser.add_argument("--uncalibrated", action="store_true", help="plans by the default rates")
    parser.add_argument("--peak", choices=("kdb", *RIVALS), help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:  # what is measured here is not the user's
        os.environ["KDB_CACHE"] = folder
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    torch.set_num_threads(options.threads)
    if options.peak:
        getattr(Case(SUBJECTS[options.only], options.threads, options.batch), options.peak)()
        print(peak_bytes())
        return 0
    exact = True
    for name in fnmatch.filter(SUBJECTS, options.only):
        row = measured(name, options.rounds, options.threads, not options.uncalibrated)
        exact = exact and row["error"] <= 1
        print(*_cells(row), sep="  ", flush=True)
        write(options.out, [row])
    return 0 if exact else 1


if __name__ == "__main__":
    sys.exit(main())
