"""The exactness matrix: logits of queries against the module in float64, for many networks, patches and fills.

Everything goes through the public interface: query text, an image, AT or STRIDE, logits of all classes.  The pixels of
the fill and the normalisation are computed here independently, and the positions are those requested, not those that
the heat map reports.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

import kdb
from benchmarks import photos
from benchmarks.calibrated import calibrated, input_size
from benchmarks.oracle import RANGE_BOUND, SCALE_BOUND, SIGNAL_BOUND, Exactness, exactness, full_inference
from benchmarks.timing import markdown_table, write_json, write_markdown
from kdb.execution.settings import kernels
from kdb.execution.verification import USUAL
from kdb.models import zoo
from kdb.results.maps import HeatMap
from kdb.session.session import Session

Ints = tuple[int, int]
IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]

DOCS = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"
TRAINED = "efficientnet_lite0"
NETWORKS = (
    "vgg16",
    "resnet18",
    "inception_v3",
    "resnet50",
    "densenet121",
    "squeezenet1_1",
    "mobilenet_v2",
    "googlenet",
    "alexnet",
    TRAINED,
)
COMPARED = 26
"""Most positions compared in each case: eight cases make more than 200 for each network."""
COLOURS = {"black": (0, 0, 0), "gray": (128, 128, 128), "white": (255, 255, 255)}
CLUSTER_SIDE, CLUSTER_STEP = 12, 3
"""Positions along each side of a cluster, and pixels between them."""
HEADERS = ("error / scale", "error / range", "fp32 / range", "of what is allowed", "signal", "verdict")


# ---- networks and cases


@dataclass(frozen=True, eq=False)
class Subject:
    """A network.

    Attributes:
        name: as queries write it.
        module: in eval mode.
        size: of its input, (H, W) in pixels.
        mean: of each channel, for pixels in [0, 1].
        std: the standard deviation of each channel, likewise.
        registered: whether sessions must register the module; False for a model that kdb finds by its name.
    """

    name: str
    module: nn.Module = field(repr=False)
    size: Ints
    mean: tuple[float, ...] = photos.MEAN
    std: tuple[float, ...] = photos.STD
    registered: bool = True

    def connect(self, kernels: str = "auto", threads: int | None = None) -> Session:
        """A new session that has the network; ``kernels`` and ``threads`` are its settings, None for kdb's default."""
        db = kdb.connect()
        if threads is not None:
            db.execute(f"SET threads = {threads}")
        if self.registered:
            db.register_model(self.name, self.module, input_size=self.size, mean=self.mean, std=self.std)
        db.execute(f"SET kernels = {kernels}")
        db.execute(f"SET verify = {USUAL}")  # of small maps too
        db.execute("SET rule.few_positions = off")  # what is measured are deltas
        return db

    def normalise(self, pixels: FloatArray) -> Tensor:
        """The network's input float32 [3, h, w] for pixels [h, w, 3] in [0, 255]."""
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        scaled = (np.asarray(pixels, np.float32) / np.float32(255) - mean) / std
        return torch.from_numpy(scaled).movedim(-1, 0)


def load(name: str, size: Ints | None = None) -> Subject:
    """A network of torchvision calibrated at ``size`` (H, W), by default its own; or the bundled, trained one."""
    if name == TRAINED:
        model = zoo.resolve(name)
        prepared = model.preprocessing
        height, width = prepared.input_size
        return Subject(name, model.module, (height, width), prepared.mean, prepared.std, registered=False)
    size = size or input_size(name)
    return Subject(name, calibrated(name, size), size)


@dataclass(frozen=True)
class Case:
    """One query.

    Attributes:
        patch: (height, width) in pixels.
        fill: as the query writes it.
        where: 'scattered' (corners, borders and random positions), 'cluster' (a dense grid in one corner, like a map
            of a small stride), or a STRIDE clause for a whole map.
        photo: name of the photograph.
    """

    patch: Ints
    fill: str
    where: str
    photo: str

    def __str__(self) -> str:
        return f"{self.patch[0]}x{self.patch[1]} {self.fill}, {self.where}, {self.photo}"


def cases(size: Ints) -> tuple[Case, ...]:
    """The cases of the matrix for an input of ``size``; the largest patches are 64 x 64 and a full-height strip."""
    return (
        Case((16, 16), "black", "scattered", "chelsea"),
        Case((16, 16), "mean", "STRIDE (16, 17)", "astronaut"),
        Case((8, 24), "gray", "scattered", "coffee"),
        Case((31, 17), "white", "cluster", "chelsea"),
        Case((64, 64), "rgb(12.5, 200, 90)", "scattered", "motorcycle"),
        Case((24, 8), "blur(6)", "scattered", "astronaut"),
        Case((31, 17), "$patch", "scattered", "rocket"),
        Case((size[0], 12), "blur(20)", "scattered", "coffee"),
    )


# ---- where the patch lies


def scattered(free: Ints, count: int, seed: int) -> IntArray:
    """``count`` positions int64 [n, 2] in [0, ``free``]: the four corners, two on each border, the rest random."""
    low, high = np.zeros(2, np.int64), np.array(free)
    points = np.random.default_rng(seed).integers(low, high + 1, size=(max(count, 12), 2))
    points[:4] = [(0, 0), (0, free[1]), (free[0], 0), free]
    points[4:8, 0] = 0, 0, free[0], free[0]
    points[8:12, 1] = 0, 0, free[1], free[1]
    return points[:count]


def grid(free: Ints, stride: Ints) -> IntArray:
    """The grid of positions 0, s, 2s, ... up to ``free`` along both axes, row by row: int64 [n, 2]."""
    axes = [np.arange(0, last + 1, step) for last, step in zip(free, stride, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)


def cluster(free: Ints) -> IntArray:
    """A dense grid that ends in the far corner, in random order, clipped to the image: int64 [n, 2]."""
    span = CLUSTER_STEP * (CLUSTER_SIDE - 1)
    start = np.maximum(np.array(free) - span, 0)
    points = np.array(free) - grid((span, span), (CLUSTER_STEP, CLUSTER_STEP))
    return np.random.default_rng(0).permutation(np.maximum(points, start))


def sample(positions: IntArray, count: int, seed: int = 0) -> IntArray:
    """Indices of at most ``count`` positions, among them the outermost ones along the diagonals."""
    if len(positions) <= count:
        return np.arange(len(positions))
    y, x = positions.T
    outermost = np.unique([np.argmin(y + x), np.argmax(y - x), np.argmax(x - y), np.argmax(y + x)])
    others = np.random.default_rng(seed).permutation(np.setdiff1d(np.arange(len(positions)), outermost))
    return np.concatenate([outermost, others])[:count]


# ---- what covers the image


def cover(fill: str, patch: Ints, pixels: FloatArray, given: NDArray[np.uint8]) -> tuple[FloatArray, bool]:
    """The pixels of a fill, float32, and whether they cover the whole image.

    They are [h, w, 3], the same at every position; or [H, W, 3] for a blurred image, of which the patch shows a part.
    ``pixels`` [H, W, 3] are the image's, ``given`` uint8 [h, w, 3] those of ``$patch``.
    """
    if fill.startswith("blur"):
        (sigma,) = _numbers(fill)
        return np.asarray(ndimage.gaussian_filter(pixels, (sigma, sigma, 0), mode="nearest"), np.float32), True
    if fill == "$patch":
        return given.astype(np.float32), False
    if fill == "mean":
        colour: Any = pixels.mean(axis=(0, 1), dtype=np.float64)
    else:
        colour = _numbers(fill) if fill.startswith("rgb") else COLOURS[fill]
    return np.broadcast_to(np.asarray(colour, np.float32), (*patch, 3)), False


def _numbers(fill: str) -> tuple[float, ...]:
    return tuple(float(number) for number in fill.partition("(")[2].rstrip(")").split(","))


# ---- the comparison


class Truth:
    """A module's own logits in float64 and float32; the two copies of the module are made once."""

    def __init__(self, module: nn.Module) -> None:
        self.exact = copy.deepcopy(module).eval().double()
        self.plain = copy.deepcopy(module).eval().float()

    def logits(
        self, image: Tensor, content: Tensor, aligned: bool, patch: Ints, positions: IntArray
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Logits [n, K] in float64 and float32 of the occluded ``image`` [3, H, W].

        ``content`` is the patch's [3, h, w]; or, if ``aligned``, [3, H, W] of which it shows the part below it.
        """
        both = []
        for module, dtype in ((self.exact, torch.float64), (self.plain, torch.float32)):
            wide, cover_ = image.to(dtype), content.to(dtype)
            if aligned:  # each position shows another part
                rows = [full_inference(module, wide, part, patch, at) for part, at in _parts(cover_, patch, positions)]
            else:
                rows = [full_inference(module, wide, cover_, patch, positions)]
            both.append(torch.cat(rows).numpy())
        return both[0], both[1]


def _parts(content: Tensor, patch: Ints, positions: IntArray) -> Iterable[tuple[Tensor, IntArray]]:
    for point in positions:
        y, x = int(point[0]), int(point[1])
        yield content[:, y : y + patch[0], x : x + patch[1]], point[None]


@dataclass(frozen=True)
class Outcome:
    """The result of one case.

    ``evaluated`` is the number of positions of the query, ``compared`` of those compared with float64, ``found`` their
    error; or ``problem`` is the error that the query raised, or a false alarm of kdb's own check.  ``checked`` is what
    that check found, over what it allows.
    """

    network: str
    case: Case
    compared: int = 0
    evaluated: int = 0
    found: Exactness | None = None
    problem: str = ""
    seconds: float = 0.0
    checked: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the logits are exact, on a map with enough signal."""
        return self.found is not None and self.found.ok

    def __str__(self) -> str:
        verdict = "exact" if self.ok else f"FAILS {self.problem}".rstrip()
        figures = ""
        if self.found is not None:
            figures = (
                f"  error/scale {self.found.scale_error:.1e}  error/range {self.found.range_error:.1e}"
                f"  fp32/range {self.found.float32_error:.1e}  signal {self.found.signal:.1e}"
            )
        return f"{self.network:18} {self.case!s:55} {self.compared:3}{figures}  {verdict}  ({self.seconds:.0f} s)"


def check(db: Session, subject: Subject, truth: Truth, case: Case, count: int = COMPARED, seed: int = 0) -> Outcome:
    """Run one case and compare at most ``count`` of its positions; an error raised by kdb is a failed case."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", kdb.VerificationWarning)
            outcome = _compare(db, subject, truth, case, count, seed)
    except kdb.Error as error:
        outcome = Outcome(subject.name, case, problem=str(error))
    except kdb.VerificationWarning as alarm:
        outcome = Outcome(subject.name, case, problem=f"the check failed: {alarm}")
    return replace(outcome, seconds=time.perf_counter() - start)


def _compare(db: Session, subject: Subject, truth: Truth, case: Case, count: int, seed: int) -> Outcome:
    free = subject.size[0] - case.patch[0], subject.size[1] - case.patch[1]
    given = photos.photo("retina", case.patch)
    parameters: dict[str, Any] = {"image": photos.photo(case.photo, subject.size), "patch": given}
    if case.where.startswith("STRIDE"):
        clause = case.where
        sy, sx = (int(step) for step in _numbers(case.where))
        positions = grid(free, (sy, sx))
    else:
        clause = "AT $positions"
        positions = cluster(free) if case.where == "cluster" else scattered(free, count, seed)
        parameters["positions"] = positions
    heat_map = occlude(db, subject.name, case.patch, case.fill, clause, "FOR ALL CLASSES SCORE logit", parameters)
    logits = heat_map.values.reshape(len(heat_map.values), -1).T
    if len(logits) != len(positions):
        raise kdb.ExecutionError(f"{len(positions)} positions were requested, {len(logits)} returned")
    pixels = heat_map.image.astype(np.float32)
    content, aligned = cover(case.fill, case.patch, pixels, given)
    chosen = sample(positions, count, seed)
    exact, plain = truth.logits(
        subject.normalise(pixels), subject.normalise(content), aligned, case.patch, positions[chosen]
    )
    found = exactness(logits[chosen], exact, plain)
    checked = None if heat_map.checked is None else heat_map.checked[1]
    return Outcome(subject.name, case, len(chosen), len(positions), found, checked=checked)


def occlude(
    db: Session, network: str, patch: Ints, fill: str, clause: str, output: str, parameters: dict[str, Any]
) -> HeatMap:
    """Run a query on ``$image`` of ``parameters``; ``clause`` has the positions, ``output`` the classes and score."""
    text = f"OCCLUDE $image WITH patch({patch[0]}, {patch[1]}) FILL {fill} {clause} USING {network} {output}"
    heat_map = db.execute(text, parameters)
    assert isinstance(heat_map, HeatMap)
    return heat_map


def verify(name: str, kernels: str, count: int) -> list[Outcome]:
    """Run all cases of one network, and print each when it is done."""
    subject = load(name)
    truth, db = Truth(subject.module), subject.connect(kernels)
    outcomes = []
    for seed, case in enumerate(cases(subject.size)):
        outcomes.append(check(db, subject, truth, case, count, seed))
        print(outcomes[-1], flush=True)
    return outcomes


# ---- the report


def figures(found: Sequence[Exactness], verdict: bool) -> list[object]:
    """The worst figures of several comparisons, as cells of a table with HEADERS."""
    if not found:
        return [*"-" * (len(HEADERS) - 1), "FAILS"]
    worst: list[object] = [
        max(each.scale_error for each in found),
        max(each.range_error for each in found),
        max(each.float32_error for each in found),
        max(each.range_use for each in found),
        min(each.signal for each in found),
    ]
    return [*worst, "exact" if verdict else "FAILS"]


def by_network(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table with the worst figures of each network."""
    rows = []
    for name in dict.fromkeys(each.network for each in outcomes):
        mine = [each for each in outcomes if each.network == name]
        found = [each.found for each in mine if each.found is not None]
        verdict = all(each.ok for each in mine)
        checked = max((each.checked for each in mine if each.checked is not None), default=None)
        rows.append([name, len(mine), sum(each.compared for each in mine), checked or "-", *figures(found, verdict)])
    return markdown_table(["network", "cases", "positions", "own check", *HEADERS], rows)


def by_case(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table with a row for each case."""
    rows = [
        [each.network, each.case, each.compared, each.evaluated, *figures([each.found] if each.found else [], each.ok)]
        for each in outcomes
    ]
    return markdown_table(["network", "case", "compared", "evaluated", *HEADERS], rows)


def describe(kernels: str) -> str:
    """The explanation of the figures, in Markdown."""
    return (
        f"Logits of all classes, from queries (`SET kernels = {kernels}`), against the same module in float64 on the\n"
        "same occluded images. A figure is that of the worst class, for a network also that of its worst case.\n\n"
        "- error / scale: the largest error over the map, relative to the largest logit of the class; at most "
        f"{SCALE_BOUND:g}.\n"
        "- error / range: the same error, relative to the range (max - min) of the class over the map; at most "
        f"{RANGE_BOUND:g}, or twice\n  that of full inference in fp32 (fp32 / range), whichever is larger. How much of "
        "that is used stands beside it.\n"
        f"- own check: the worst difference that kdb's own check found, at {USUAL} positions and for the unmodified\n"
        "  image, over what it allows; above 1 it would have failed.\n"
        "- signal: the median range of a class, relative to the largest logit; at least "
        f"{SIGNAL_BOUND:g}, as on flat maps agreement\n  means nothing.\n\n"
        f"The networks have random weights calibrated on photographs, but for {TRAINED}, whose are trained."
    )


def write(folder: Path, kernels: str, outcomes: Sequence[Outcome]) -> None:
    """Write exactness.md and exactness.json to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"What is compared": describe(kernels), "Networks": by_network(outcomes), "Cases": by_case(outcomes)}
    write_markdown(folder / "exactness.md", "Exactness", tables)
    rows = [{**asdict(each), "ok": each.ok} for each in outcomes]
    write_json(folder / "exactness.json", {"kernels": kernels, "cases": rows})


def chosen_networks(text: str | None, known: Sequence[str]) -> tuple[str, ...]:
    """The networks named in ``text``, comma-separated, all by default; raises SystemExit for an unknown one."""
    names = tuple(text.split(",")) if text else tuple(known)
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"unknown network {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 0 if every case is exact, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verify", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", metavar="NAMES", help="these networks, comma-separated")
    parser.add_argument("--kernels", choices=kernels(), default="auto", help="as SET kernels takes them")
    parser.add_argument("--positions", type=int, default=COMPARED, help="positions compared in each case (%(default)s)")
    parser.add_argument("--out", type=Path, help="folder for the report; docs/benchmarks for a full run")
    options = parser.parse_args(arguments)
    names = chosen_networks(options.only, NETWORKS)
    full = names == NETWORKS and options.kernels == "auto" and options.positions >= COMPARED
    folder = options.out or (DOCS if full else None)
    outcomes = [outcome for name in names for outcome in verify(name, options.kernels, options.positions)]
    print("\n" + by_network(outcomes))
    if folder is not None:
        write(folder, options.kernels, outcomes)
    failed = [each for each in outcomes if not each.ok]
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} cases are exact")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
