"""Speed and exactness on signals, volumes and video: kdb beside full inference and captum, in turns in one process.

Full inference is that of a careful user: batch-norms folded where PyTorch can, the fastest of several batches, all
threads.  It is timed on a sample of the windows, spread over all, and counted for all.  Exactness is that of the logits
at those windows against the module in float64, over what Exact allows.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.fx.experimental import optimization

from benchmarks.oracle import SCALE_BOUND, exactness
from benchmarks.signal_networks import Electrocardiogram, InceptionTime
from benchmarks.timing import Seconds, interleave, markdown_table, ratio, write_json, write_markdown
from benchmarks.verify import DOCS
from kdb.execution.engine import Engine, default_settings
from kdb.execution.occluder import Occluder
from kdb.execution.occlusion import Replacement
from kdb.geometry import lattice
from kdb.models.torchvision_compat import import_torchvision
from kdb.models.traces import TracedModule, Traces
from kdb.system.allocation import retained

BATCHES = (1, 4, 16)
SAMPLE = 16
"""Windows that full inference and float64 run."""
HEADERS = (
    "network", "input", "window / stride", "windows", "full inference s", "kdb s", "times", "from", "to",
    "fewer multiply-adds", "worst error", "planned memory MiB",
)  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """A network with random weights, the shape of its input (C, *size), and the windows laid over it."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    least: float
    """How many times as fast as full inference it is meant to be."""


def _video(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import_torchvision()
        made: nn.Module = getattr(import_module("torchvision.models.video"), name)(weights=None)
        return made

    return make


def _monai(name: str, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        made: nn.Module = getattr(import_module("monai.networks.nets"), name)(spatial_dims=3, **options)
        return made

    return make


_DENSENET = _monai("DenseNet121", in_channels=1, out_channels=2)
SUBJECTS: Mapping[str, Subject] = {
    "inception_time": Subject(InceptionTime, (12, 1000), (32,), (4,), 4),
    "electrocardiogram": Subject(Electrocardiogram, (12, 4096), (32,), (4,), 8),
    **{
        name: Subject(_video(name), (3, 16, 112, 112), (4, 16, 16), (2, 8, 8), 3.5)
        for name in ("r3d_18", "mc3_18", "r2plus1d_18")
    },
    "s3d": Subject(_video("s3d"), (3, 16, 224, 224), (4, 16, 16), (2, 8, 8), 3.5),
    "densenet121_96": Subject(_DENSENET, (1, 96, 96, 96), (16,) * 3, (8,) * 3, 2.5),
    "densenet121_128": Subject(_DENSENET, (1, 128, 128, 128), (16,) * 3, (8,) * 3, 3),
    "resnet18_128": Subject(
        _monai("resnet18", n_input_channels=1, num_classes=2), (1, 128, 128, 128), (16,) * 3, (8,) * 3, 6
    ),
}
"""Of MONAI's networks those are measured where it is installed."""


class Case:
    """A subject ready to be measured."""

    def __init__(self, subject: Subject, threads: int, most: int | None) -> None:
        self.subject = subject
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.image = torch.randn(1, *subject.shape)
            self.module = subject.make().eval()
            with torch.no_grad():
                self.output = self.module(self.image)[0]  # also makes lazy layers
        starts = map(lattice, subject.shape[1:], subject.window, subject.stride)
        grid = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, len(subject.window))
        chosen = np.random.default_rng(0).permutation(len(grid))[: most or len(grid)]
        self.windows, self.positions = len(grid), grid[np.sort(chosen)]
        self.sample = np.linspace(0, len(self.positions) - 1, min(SAMPLE, len(self.positions))).astype(int)
        self.traced: TracedModule = Traces(self.module).get(self.image, self.output[None])
        settings = default_settings()
        settings.set("threads", threads)
        self._engine = Engine(settings)
        self.folded = _folded(self.module)
        self.batch = min(BATCHES, key=self._each)

    def kdb(self) -> Occluder:
        """All windows; the logits are in ``found`` [n, K]."""
        network, reference = self.traced.network, self.traced.reference
        self._engine.views.clear()
        occluder = Occluder(
            self._engine, network, "measured", reference, self.positions, self.subject.window, uniform=True
        )
        viewed = occluder.view(np.ascontiguousarray(self.image[0].movedim(0, -1).numpy()), self.output)
        self.found = np.zeros((len(self.positions), self.output.numel()), np.float32)
        shape = (*self.subject.window, self.subject.shape[0])
        occluder.run(viewed, Replacement(np.zeros(shape, np.float32)), self._take)
        self.baseline = viewed.baseline
        return occluder

    def _take(self, members: npt.NDArray[np.int64], logits: npt.NDArray[np.float32]) -> None:
        self.found[members] = logits

    def full(self, batch: int | None = None) -> Seconds:
        """Seconds of full inference at all windows, measured at the sample."""
        with retained(), torch.inference_mode():
            start = time.perf_counter()
            for part in np.array_split(self.sample, max(len(self.sample) // (batch or self.batch), 1)):
                self.folded(self.occluded(part))
            return Seconds((time.perf_counter() - start) * len(self.positions) / len(self.sample))

    def _each(self, batch: int) -> float:
        self.full(batch)
        return float(self.full(batch))

    def occluded(self, members: npt.NDArray[np.int64]) -> Tensor:
        """The image with zeros in each of these windows."""
        copies = self.image.repeat(len(members), *[1] * len(self.subject.shape))
        for each, at in zip(copies, self.positions[members], strict=True):
            each[:, *map(slice, at, at + self.subject.window)] = 0
        return copies

    def error(self) -> float:
        """The worst error at the sample and of the image itself, over what Exact allows; of the last :meth:`kdb`."""
        found = np.concatenate([self.found[self.sample], self.baseline])
        images = torch.cat([self.occluded(self.sample), self.image])
        double = copy.deepcopy(self.module).double()
        with torch.no_grad():
            truth = torch.cat([double(each[None].double()) for each in images]).numpy()
            plain = torch.cat([self.module(each[None]) for each in images]).numpy()
        compared = exactness(found, truth, plain)
        return max(compared.scale_error / SCALE_BOUND, compared.range_use)


def _folded(module: nn.Module) -> nn.Module:
    """A copy with batch-norms folded, as torch's own pass does it where it can trace the module."""
    try:
        return optimization.fuse(module)
    except Exception:  # torch.fx traces few forwards
        return copy.deepcopy(module)


def measured(name: str, rounds: int, threads: int, most: int | None) -> dict[str, Any]:
    """What a network takes by kdb and by full inference, and how exact kdb is."""
    subject = SUBJECTS[name]
    case = Case(subject, threads, most)
    candidates: dict[str, Callable[[], object]] = {"full": case.full, "kdb": case.kdb}
    times = interleave(candidates, rounds=rounds)
    occluder = case.kdb()
    speedup = ratio(times["full"].seconds, times["kdb"].seconds)
    return {
        "network": name,
        "input": "x".join(map(str, subject.shape)),
        "window": f"{'x'.join(map(str, subject.window))} / {'x'.join(map(str, subject.stride))}",
        "windows": case.windows,
        "measured": len(case.positions),
        "batch": case.batch,
        "full": times["full"].estimate.mean,
        "kdb": times["kdb"].estimate.mean,
        "speedup": speedup.mean,
        "low": speedup.low,
        "high": speedup.high,
        "least": subject.least,
        "macs": occluder.work.naive_macs / occluder.work.executed_macs,
        "error": case.error(),
        "memory": occluder.memory.total / 2**20,
    }


def _row(found: Mapping[str, Any]) -> list[Any]:
    keys = ("network", "input", "window", "windows", "full", "kdb", "speedup", "low", "high", "macs", "error", "memory")
    return [found[key] for key in keys]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.axes", description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", default=",".join(SUBJECTS), help="comma-separated (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of both (%(default)s)")
    parser.add_argument("--windows", type=int, help="at most so many of each, drawn at random; all by default")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of axes.md and axes.json (docs/benchmarks)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    results, left_out = [], []
    for name in options.networks.split(","):
        try:
            results.append(measured(name, options.rounds, options.threads, options.windows))
        except ModuleNotFoundError as error:
            left_out.append(f"{name}: {error}")
            continue
        print(*_row(results[-1]), flush=True)
    text = f"{__doc__}\n{markdown_table(HEADERS, list(map(_row, results)))}"
    text += "".join(f"\nNot measured: {each}.\n" for each in left_out)
    options.out.mkdir(parents=True, exist_ok=True)
    write_markdown(options.out / "axes.md", "Signals, volumes and video", {"Whole maps": text})
    write_json(options.out / "axes.json", {"results": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())
