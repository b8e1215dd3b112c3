"""kdb's whole maps beside full inference by every runtime, in turns in one process: one row of a table a network.

Whole maps by full inference take minutes, so that runtimes are timed on some of the positions.  What cannot be
measured has its reason in the table instead.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import torch

from benchmarks.experiment import BATCH, FILL, FILL_VALUE, PATCH, Experiment, KdbMap, Setting, judge
from benchmarks.memory import PHOTO
from benchmarks.runtimes import RUNTIMES, Runtime
from benchmarks.runtimes.full import FullInference
from benchmarks.timing import Seconds, interleave, markdown_table, write_json, write_markdown
from benchmarks.verify import Ints, scattered

NETWORKS = (
    "vgg16",
    "resnet18",
    "inception_v3",
    "mobilenet_v2",
    "efficientnet_lite0",
    "resnet50",
    "densenet121",
    "convnext_tiny",
)
PAGE = "runtimes"
"""The name of the report's files."""
CAPTUM = "captum"


@dataclass(frozen=True)
class Row:
    """One network.

    Attributes:
        network: its name.
        positions: of the map.
        seconds: a position, by candidate: one number a round, in the order of the rounds.
        ways: by candidate, in words, how its runtime was fastest.
        missing: by candidate, why it was not measured.
        exact: whether kdb's map was.
    """

    network: str
    positions: int
    seconds: Mapping[str, Sequence[float]]
    ways: Mapping[str, str]
    missing: Mapping[str, str]
    exact: bool

    @property
    def strongest(self) -> str | None:
        """The fastest candidate other than kdb; None where none was measured."""
        others = [name for name in self.seconds if name not in OURS]
        return min(others, key=lambda name: median(self.seconds[name]), default=None)

    def ratios(self, of: str) -> list[float]:
        """By round, the strongest candidate's seconds over those ``of`` one of kdb's; none where either is missing."""
        if self.strongest is None or of not in self.seconds:
            return []
        return [theirs / ours for theirs, ours in zip(self.seconds[self.strongest], self.seconds[of], strict=True)]

    def cells(self) -> list[object]:
        """Cells of the table: milliseconds a position, the strongest candidate, and how many times as fast kdb is."""
        each = [_ms(self.seconds[name]) if name in self.seconds else "-" for name in CANDIDATES]
        over = [_over(self.ratios(name)) for name in OURS]
        return [self.network, *each, self.strongest or "-", *over, "yes" if self.exact else "NO"]


OURS = KDB, FIRST = ("kdb", "kdb, first map")
CANDIDATES = (*OURS, CAPTUM, *(runtime.name for runtime in RUNTIMES))
HEADERS = (
    "network",
    *(f"{name} ms" for name in CANDIDATES),
    "strongest",
    *(f"{n} vs strongest" for n in OURS),
    "exact",
)


def _over(ratios: Sequence[float]) -> str:
    return f"{median(ratios):.2f}x [{min(ratios):.2f}, {max(ratios):.2f}]" if ratios else "-"


def _ms(seconds: Sequence[float]) -> str:
    return f"{1e3 * median(seconds):.3g}"


def compared(
    name: str, size: Ints | None, rounds: int, sampled: int, runtimes: Sequence[Runtime] = RUNTIMES, captum: bool = True
) -> Row:
    """The row of a network; ``size`` is the (H, W) of its input, None for its own.

    Runtimes are timed on ``sampled`` positions in each of the ``rounds``, a multiple of every batch.
    """
    setting, experiment, threads = Setting(name, size), Experiment(name), torch.get_num_threads()
    whole = experiment.count(setting.subject.size)
    some = scattered(experiment.free(setting.subject.size), sampled, seed=1)
    KdbMap(setting, Experiment(name, scattered=BATCH))()  # a first query pays for what is made once a process
    firsts, laters = KdbMap(setting, experiment), KdbMap(setting, experiment, again=True)
    candidates: dict[str, Callable[[], object]] = {
        KDB: lambda: Seconds(laters() / whole),
        FIRST: lambda: Seconds(firsts() / whole),
    }
    ways, missing = dict[str, str](), dict[str, str]()
    if captum:
        timed = partial(setting.captum_seconds, PATCH, experiment.stride, sampled // BATCH, whole)
        candidates[CAPTUM] = lambda: Seconds(timed() / (whole + 1))
    for runtime in runtimes:
        try:
            full = FullInference(runtime, setting.subject.module, setting.normalised, threads)
        except Exception as error:  # whatever a library raises, the others are measured
            missing[runtime.name] = f"{type(error).__name__}: {_first_line(error)}"
            continue
        ways[runtime.name] = str(full.way)
        candidates[runtime.name] = partial(_seconds, full, setting, some)
    timings = interleave(candidates, rounds=rounds, warmups=0)
    assert firsts.last is not None
    exact = judge(setting, firsts.last).ok
    gc.collect()
    return Row(name, whole, {key: each.seconds for key, each in timings.items()}, ways, missing, exact)


def _seconds(full: FullInference, setting: Setting, positions: object) -> Seconds:
    return Seconds(full.seconds(setting.fill, PATCH, positions))  # type: ignore[arg-type]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "no message")[:120]


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown, and beneath them what was not measured."""
    lines = [f"- {row.network}, {name}: not measured: {why}" for row in rows for name, why in row.missing.items()]
    return markdown_table(HEADERS, [row.cells() for row in rows]) + ("\n" + "\n".join(lines) + "\n" if lines else "")


def ways_table(rows: Sequence[Row]) -> str:
    """How each runtime was fastest, in Markdown."""
    names = [runtime.name for runtime in RUNTIMES]
    return markdown_table(["network", *names], [[row.network, *(row.ways.get(n, "-") for n in names)] for row in rows])


def describe(rounds: int, sampled: int) -> str:
    """The explanation of the figures, in Markdown."""
    return (
        f"Milliseconds a position of maps of the photograph '{PHOTO}' with a patch of {PATCH[0]} x {PATCH[1]},\n"
        f"stride 4, {FILL} ({FILL_VALUE}), in float32, by networks with calibrated weights. The candidates\n"
        f"take turns in one process, {rounds} rounds or less; medians, in brackets the extremes.\n\n"
        "- kdb: whole maps, each of an image that the session does not know, with the materialization of views and\n"
        "  the check against the model. What is made once a model is there, as that of the others is: the trace, the\n"
        "  plan and the weights as kernels read them.\n"
        "- kdb, first map: the same in a new session, with planning and the layouts of weights, without the trace.\n"
        "- captum: `Occlusion` as its documentation calls it, on the module as it is.\n"
        "- the others: full inference of the occluded images, which are made in the time that is measured;\n"
        "  batch-norms folded, all cores, the faster of batches of 4 and 16 on all of them together, or one worker\n"
        "  a core; `inference_mode`, the allocator set as kdb sets it for itself. Inductor's weights are\n"
        "  frozen; OpenVINO is kept from computing in bf16. Compilation is not counted. Each is compared with the\n"
        "  module first.\n"
        f"- captum and the others are timed on {sampled} positions a round."
    )


def kept(folder: Path) -> list[Row]:
    """The rows of an earlier report in a ``folder``; none if there is none."""
    try:
        read = json.loads((folder / f"{PAGE}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return [Row(**row) for row in read["rows"]]


def report(rows: Sequence[Row], rounds: int, sampled: int, folder: Path) -> None:
    """Write runtimes.md and runtimes.json to a ``folder``; networks without a new row keep that of the last report."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {row.network: row for row in [*kept(folder), *rows]}
    order = [*NETWORKS, *sorted(known.keys() - {*NETWORKS})]
    rows = [known[name] for name in order if name in known]
    packages = dict.fromkeys(package for runtime in RUNTIMES for package in runtime.packages)
    tables = {
        "What is measured": describe(rounds, sampled),
        "Versions": ", ".join(f"{package} {_version(package)}" for package in [*packages, "captum"]),
        "Milliseconds a position": table(rows),
        "How each was fastest": ways_table(rows),
    }
    write_markdown(folder / f"{PAGE}.md", "Maps beside full inference by other runtimes", tables)
    write_json(folder / f"{PAGE}.json", {"rounds": rounds, "sampled": sampled, "rows": [asdict(row) for row in rows]})


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
