"""Approximate maps of signals, volumes and video: their quality, their estimated quality, and how much is evaluated.

An exact map and one of low fidelity are computed of each input once.  Strategies are then simulated on these, for many
seeds without inference, since they depend on scores alone.  Images are measured by ``benchmarks.approximate``; one
small network of two axes is here too, so that axes can be compared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from benchmarks import photos
from benchmarks.signal_networks import Electrocardiogram, InceptionTime
from benchmarks.timing import markdown_table, write_markdown
from benchmarks.verify import DOCS
from kdb.execution.engine import Engine, default_settings
from kdb.execution.occlusion import Replacement
from kdb.geometry import IntArray, Size, lattice, spelled
from kdb.kernels.base import Array
from kdb.models.torchvision_compat import import_torchvision
from kdb.models.traces import Traces
from kdb.planner.permissions import Permissions
from kdb.queries.planning import LOW_FIDELITY
from kdb.results.similarity import ssim as similarity
from kdb.sampling.multi_fidelity import MultiFidelity
from kdb.sampling.progressive import Goal, Progressive
from kdb.sampling.strategy import Fidelity

TARGETS = (0.85, 0.9, 0.95)
CLASSES = 3
FloatArray = NDArray[np.float64]
Tensors = Sequence[Tensor]


# ---- what maps are of


@dataclass(frozen=True)
class Subject:
    """A network, inputs for it, each [C, *size], and the windows laid over them.

    ``make`` gives the module and the inputs, of which so many as it is asked for.
    """

    make: Callable[[int], tuple[nn.Module, Tensors]]
    window: Size
    stride: Size


def _things(count: int, size: Size, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Smooth noise with a thing in it, float32 [count, 1, *size], and which it is [count]: a bump, a shell, waves."""
    axes = np.indices(size).astype(np.float64)
    found, kinds = [], rng.integers(0, CLASSES, count)
    for kind in kinds:
        centre = [rng.uniform(0.25 * length, 0.75 * length) for length in size]
        radius = 0.1 * size[0] ** (1 / len(size)) * 40 ** (1 - 1 / len(size)) * rng.uniform(0.8, 1.6)
        offsets = axes - np.reshape(centre, (-1, *[1] * len(size)))
        distance = np.sqrt((offsets**2).sum(axis=0)) / radius
        direction = rng.normal(size=len(size))
        along = np.tensordot(direction / np.linalg.norm(direction), offsets, 1) / radius
        thing = (np.exp(-(distance**2)), np.exp(-(((distance - 1.5) / 0.5) ** 2)), np.exp(-(distance**2) / 4))[kind]
        noise = gaussian_filter(rng.normal(size=size), 1.5)
        found.append(2.5 * thing * (np.cos(4 * along) if kind == 2 else 1) + 0.5 * noise / noise.std())
    return torch.from_numpy(np.array(found, np.float32)[:, None]), torch.from_numpy(kinds)


def _trained(size: Size, steps: int) -> Callable[[int], tuple[nn.Module, Tensors]]:
    """A network of three convolutions, trained to tell the things apart, of as many axes as ``size`` has."""

    def make(count: int) -> tuple[nn.Module, Tensors]:
        rng, axes = np.random.default_rng(0), len(size)
        convolution, norm, pool = (getattr(nn, f"{each}{axes}d") for each in ("Conv", "BatchNorm", "MaxPool"))
        torch.manual_seed(0)
        module = nn.Sequential(
            *(convolution(1, 8, 5, 2, 2), norm(8), nn.ReLU(), convolution(8, 16, 3, 1, 1), norm(16), nn.ReLU()),
            *(pool(2), convolution(16, 32, 3, 1, 1), norm(32), nn.ReLU()),
            *(getattr(nn, f"AdaptiveAvgPool{axes}d")(1), nn.Flatten(), nn.Linear(32, CLASSES)),
        )
        optimizer = torch.optim.Adam(module.parameters(), 3e-3)
        for _ in range(steps):
            x, kinds = _things(16, size, rng)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(module(x), kinds)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return module.eval(), list(_things(count, size, rng)[0])

    return make


def _beats(count: int, leads: int, length: int) -> Tensors:
    """Electrocardiograms drawn from waves: float32 [leads, length] each."""
    rng, time = np.random.default_rng(1), np.arange(length)
    waves = ((-40, 12, 0.15), (-8, 4, -0.15), (0, 5, 1.0), (9, 5, -0.25), (70, 25, 0.3))  # P, Q, R, S, T
    found = []
    for _ in range(count):
        beats = np.cumsum(rng.normal(rng.uniform(180, 320), 12, length // 150)) - 150
        heights = rng.normal(1, 0.5, (leads, len(waves)))
        signal = gaussian_filter(rng.normal(size=(leads, length)), (0, 2)) * 0.1
        for at, (wave, (offset, width, height)) in product(beats, enumerate(waves)):
            signal += heights[:, wave, None] * height * np.exp(-(((time - at - offset) / width) ** 2) / 2)
        found.append(torch.from_numpy(signal.astype(np.float32)))
    return found


def _signals(network: type[nn.Module], leads: int, length: int) -> Callable[[int], tuple[nn.Module, Tensors]]:
    def make(count: int) -> tuple[nn.Module, Tensors]:
        torch.manual_seed(0)
        inputs = _beats(count, leads, length)
        module = network().eval()
        with torch.no_grad():
            module(inputs[0][None])  # makes lazy layers
        return module, inputs

    return make


def _video(name: str, frames: int, side: int) -> Callable[[int], tuple[nn.Module, Tensors]]:
    """A network for video, with random weights, and photographs over which the camera moves."""

    def make(count: int) -> tuple[nn.Module, Tensors]:
        import_torchvision()
        torch.manual_seed(0)
        module: nn.Module = getattr(import_module("torchvision.models.video"), name)(weights=None)
        inputs = []
        for photo in photos.NAMES[:count]:
            pixels = torch.from_numpy(np.array(photos.photo(photo, (side + 32, side + 32)))).float() / 255
            crops = [pixels[2 * i : 2 * i + side, i : i + side] for i in range(frames)]
            inputs.append((torch.stack(crops).movedim(-1, 0) - 0.45) / 0.225)
        return module.eval(), inputs

    return make


def _brains(name: str, side: int, **options: int) -> Callable[[int], tuple[nn.Module, Tensors]]:
    """One of MONAI's networks, with random weights, and parts of the MNI152 template that nilearn has."""

    def make(count: int) -> tuple[nn.Module, Tensors]:
        torch.manual_seed(0)
        module: nn.Module = getattr(import_module("monai.networks.nets"), name)(spatial_dims=3, **options)
        template = import_module("nilearn.datasets").load_mni152_template(resolution=2).get_fdata(dtype=np.float32)
        rng, inputs = np.random.default_rng(0), []
        for _ in range(count):
            starts = [int(rng.integers(0, length - side + 1)) for length in template.shape]
            part = template[tuple(slice(start, start + side) for start in starts)]
            inputs.append(torch.from_numpy((part - template.mean()) / template.std())[None])
        return module.eval(), inputs

    return make


SUBJECTS: Mapping[str, Subject] = {
    "trained, 1 axis": Subject(_trained((4096,), 100), (32,), (4,)),
    "trained, 2 axes": Subject(_trained((128, 128), 60), (12, 12), (3, 3)),
    "trained, 3 axes": Subject(_trained((40, 40, 40), 60), (8, 8, 8), (3, 3, 3)),
    "inception_time": Subject(_signals(InceptionTime, 12, 2048), (32,), (4,)),
    "electrocardiogram": Subject(_signals(Electrocardiogram, 12, 4096), (32,), (4,)),
    "mc3_18": Subject(_video("mc3_18", 16, 64), (4, 16, 16), (4, 4, 4)),
    "densenet121": Subject(_brains("DenseNet121", 48, in_channels=1, out_channels=2), (12, 12, 12), (4, 4, 4)),
}
"""Of MONAI's networks those are measured where it is installed, with nilearn."""


@dataclass(frozen=True, eq=False)
class Maps:
    """The predicted class's probability at every position, exact and at low fidelity: float64 [*cells]."""

    exact: FloatArray
    low: FloatArray


def computed(subject: Subject, count: int) -> Iterator[Maps]:
    """The maps of ``count`` inputs of a subject."""
    module, inputs = subject.make(count)
    engine, traces = Engine(default_settings()), Traces(module)
    for i, each in enumerate(inputs):
        with torch.no_grad():
            output = module(each[None])
        network = traces.get(each[None], output).network
        starts = list(map(lattice, each.shape[1:], subject.window, subject.stride))
        grid = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1)
        shape = tuple(map(len, starts))
        occlusion = Replacement(np.zeros((*subject.window, len(each)), np.float32))
        image = np.ascontiguousarray(each.movedim(0, -1).numpy())
        found = []
        for permissions in (Permissions(), Permissions(threshold=LOW_FIDELITY, freeze_context=True)):
            positions = grid.reshape(-1, len(shape))
            planned = engine.plan(network, positions, subject.window, permissions, uniform=True)
            views, _ = engine.materialize(planned, str(i), image)
            logits = np.zeros((len(positions), output.shape[1]))

            def take(members: IntArray, rows: Array, logits: FloatArray = logits) -> None:
                logits[members] = rows

            engine.execute(planned, views, occlusion, take)
            scores = torch.from_numpy(logits).softmax(1)[:, int(output.argmax())]
            found.append(scores.numpy().reshape(shape))
        yield Maps(*found)


def fields(shape: Size, sigma: float, count: int) -> Iterator[Maps]:
    """Smoothed noise, as exact and as low scores."""
    for seed in range(count):
        noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma, mode="nearest")
        yield Maps(noise, noise)


FIELDS: Mapping[str, tuple[Size, float]] = {
    **{f"noise, sigma {sigma:g}, {spelled(shape)}": (shape, sigma)
       for shape, sigma in product(((1000,), (40, 40), (12, 12, 12), (7, 13, 13), (4, 13, 13)), (1.0, 2.0))},
}  # fmt: skip


# ---- strategies


@dataclass(frozen=True)
class Run:
    """One strategy, run to its end.

    Attributes:
        subject: what the map is of.
        sampling: "exact" or "two fidelities".
        seed: of the strategy.
        ssim: the target.
        guaranteed: whether the target is to be met with 95% confidence.
        exact: share of the cells evaluated exactly.
        low: share of the cells evaluated at low fidelity.
        achieved: SSIM of the result to the exact map.
        expected: the strategy's own estimate of that SSIM.
    """

    subject: str
    sampling: str
    seed: int
    ssim: float
    guaranteed: bool
    exact: float
    low: float
    achieved: float
    expected: float


def sampled(name: str, maps: Maps, sampling: str, seed: int, ssim: float, guaranteed: bool) -> Run:
    """Run the strategy of a query ``APPROXIMATE TO SSIM ssim``."""
    shape = maps.exact.shape
    strategy = (Progressive if sampling == "exact" else MultiFidelity)(shape, Goal(ssim, guaranteed), -1, seed)
    counts = {False: 0, True: 0}
    while len(cells := strategy.propose()):
        low = strategy.fidelity is not Fidelity.EXACT
        strategy.take(cells, (maps.low if low else maps.exact).reshape(1, -1)[:, cells])
        counts[low] += len(cells)
    estimate = strategy.estimate()
    achieved = similarity(estimate.values[0].reshape(shape), maps.exact, len(shape))
    exact, low_ = (counts[low] / maps.exact.size for low in (False, True))
    return Run(name, sampling, seed, ssim, guaranteed, exact, low_, achieved, estimate.ssim or 0.0)


HEADERS = (
    *("maps of", "cells", "sampling", "query", "runs", "met", "evaluated exactly", "approximately"),
    *("SSIM", "lowest", "expected, off by"),
)


DESCRIPTION = """The probability of the predicted class, or smoothed noise of so many cells of standard deviation.
Trained networks have three convolutions and tell three kinds of things apart, in noise; the others have random weights:
InceptionTime and the residual network for electrocardiograms on drawn heartbeats, mc3_18 on photographs over which the
camera moves, DenseNet121 on parts of the MNI152 template of a brain.

- met: runs, a map and a seed each, whose SSIM to the exact map is at least what was asked for.
- evaluated exactly, approximately: of the positions. Sampling at two fidelities is as `benchmarks.approximate` has it.
- SSIM, lowest: achieved, on average and at worst. Expected, off by: the strategy's own estimate less that, on average.

Some rows are of what queries do not do, and say why: `GUARANTEED` and two fidelities with one axis or three, and
maps with an axis of 2 to 6 positions, which `APPROXIMATE` evaluates in full."""


def row(runs: Sequence[Run], cells: str) -> list[object]:
    """A row of the report, of runs that differ in map and seed alone."""
    first, achieved = runs[0], np.array([run.achieved for run in runs])
    clause = f"TO SSIM {first.ssim:g}{' GUARANTEED' if first.guaranteed else ''}"
    shares = [f"{np.mean([getattr(run, share) for run in runs]):.1%}" for share in ("exact", "low")]
    off = np.mean([run.expected for run in runs]) - achieved.mean()
    quality = [f"{achieved.mean():.3f}", f"{achieved.min():.3f}", f"{off:+.3f}"]
    met = f"{np.mean(achieved >= first.ssim):.1%}"
    return [first.subject, cells, first.sampling, clause, len(runs), met, *shares, *quality]


def measured(name: str, maps: Sequence[Maps], seeds: int) -> list[list[object]]:
    """The rows of all runs on the maps of one subject."""
    rows: list[list[object]] = []
    samplings = ("exact", "two fidelities") if any((each.low != each.exact).any() for each in maps) else ("exact",)
    for sampling, guaranteed, ssim in product(samplings, (False, True), TARGETS):
        of = [sampled(name, each, sampling, seed, ssim, guaranteed) for each in maps for seed in range(seeds)]
        rows.append(row(of, spelled(maps[0].exact.shape)))
        print(*rows[-1], sep=" | ", flush=True)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status, 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.approximate_axes", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=2, help="for each map and target (%(default)s)")
    parser.add_argument("--maps", type=int, default=4, help="inputs of each network (%(default)s)")
    parser.add_argument("--only", nargs="*", choices=[*SUBJECTS, *FIELDS], default=[*SUBJECTS, *FIELDS])
    parser.add_argument("--out", type=Path, default=DOCS, help="folder for the report")
    options = parser.parse_args(arguments)
    rows: list[list[object]] = []
    for name in options.only:
        count = options.maps
        maps = computed(SUBJECTS[name], count) if name in SUBJECTS else fields(*FIELDS[name], count)
        rows += measured(name, list(maps), options.seeds)
    options.out.mkdir(parents=True, exist_ok=True)
    tables = {"What is counted": DESCRIPTION, "Sampling": markdown_table(HEADERS, rows)}
    write_markdown(options.out / "approximate-axes.md", "Approximate maps by axes", tables)
    return 0


if __name__ == "__main__":
    sys.exit(main())
