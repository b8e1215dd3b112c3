"""The speed of exact heat maps on a CPU against full inference and captum, and their peak memory.

First the possible speedups are counted in multiply-adds.  Then the experiments run one after another; in each, the
competitors take turns in one process.  Peak memory is measured in a separate process for each query.  Last come maps
beside full inference by other runtimes (:mod:`benchmarks.runtimes.comparison`), a table of its own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import torch

from benchmarks.calibrated import input_size
from benchmarks.experiment import (
    BATCH,
    FILL,
    FILL_VALUE,
    JUDGED,
    PATCH,
    Ceiling,
    Experiment,
    KdbMap,
    Result,
    Setting,
    ceiling,
    run,
)
from benchmarks.memory import PHOTO, Peak, memory_table, modest, peak
from benchmarks.runtimes import comparison
from benchmarks.timing import markdown_table, write_json, write_markdown
from benchmarks.verify import DOCS, Ints, chosen_networks
from kdb.execution.settings import cores

HEADERS = (
    "network",
    "what",
    "positions",
    "kdb s",
    "naive s",
    "captum s",
    "kdb vs naive",
    "kdb vs captum",
    "multiply-adds fewer",
    "error / range",
    "exact",
)


# ---- what is run


@dataclass(frozen=True)
class Suite:
    """What a run measures.

    Attributes:
        experiments: timed one after another.
        memory_of: the network whose memory is measured.
        memory: queries of that network, each run in its own process.
        beside: networks whose maps are compared with full inference by other runtimes.
        size: (H, W) of the inputs; None for each network's own.
    """

    experiments: tuple[Experiment, ...]
    memory_of: str
    memory: tuple[str, ...]
    beside: tuple[str, ...]
    size: Ints | None = None

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the networks, in the order of their experiments."""
        return tuple(dict.fromkeys(experiment.network for experiment in self.experiments))


def _maps(network: str, model: str, strides: Sequence[int]) -> tuple[str, ...]:
    return tuple(Experiment(network, stride).text(model) for stride in strides)


FULL = Suite(
    (
        Experiment("vgg16", captum=True),
        Experiment("vgg16", patch=(64, 64)),
        Experiment("vgg16", precision="bf16"),
        Experiment("resnet18", captum=True),
        *(Experiment("resnet18", stride) for stride in (3, 5, 7)),
        Experiment("resnet18", scattered=500),
        Experiment("inception_v3", captum=True),
        *(Experiment(name, captum=True) for name in ("resnet50", "densenet121", "squeezenet1_1", "mobilenet_v2")),
    ),
    "vgg16",
    _maps("vgg16", "vgg16 (weights = 'random')", (4, 2)),
    comparison.NETWORKS,
)
QUICK = Suite(
    (
        Experiment("squeezenet1_1", captum=True),
        Experiment("squeezenet1_1", scattered=40),
        Experiment("squeezenet1_1", patch=(24, 24), precision="bf16"),
    ),
    "squeezenet1_1",
    _maps("squeezenet1_1", "squeezenet1_1 (weights = 'random', input = (64, 64))", (4,)),
    ("squeezenet1_1",),
    (64, 64),
)


def chosen_experiments(suite: Suite, names: Sequence[str], what: str) -> tuple[Experiment, ...]:
    """The experiments on networks ``names`` whose description contains ``what``; SystemExit if there are none."""
    found = tuple(each for each in suite.experiments if each.network in names and what in each.what)
    if not found:
        known = dict.fromkeys(each.what for each in suite.experiments if each.network in names)
        raise SystemExit(f"no experiment of {', '.join(names)} is about '{what}'; there are: {'; '.join(known)}")
    return found


def run_network(experiments: Sequence[Experiment], size: Ints | None, rounds: int, sampled: int) -> list[Result]:
    """Run the experiments of one network, and print each when it is done.

    ``size`` is the (H, W) of inputs, None for the network's own; ``rounds`` and ``sampled`` are as in :func:`run`.
    """
    name = experiments[0].network
    setting = Setting(name, size)
    KdbMap(setting, Experiment(name, scattered=BATCH))()  # warm up on a few positions
    results = []
    for experiment in experiments:
        results.append(run(setting, experiment, rounds, sampled))
        print("  ".join(f"{cell:.2g}" if isinstance(cell, float) else f"{cell}" for cell in results[-1].cells()))
        sys.stdout.flush()
    return results


# ---- the report


def speed_table(results: Sequence[Result]) -> str:
    """A Markdown table with seconds, ratios and errors of each experiment."""
    return markdown_table(HEADERS, [result.cells() for result in results])


def ceiling_table(ceilings: Sequence[Ceiling]) -> str:
    """A Markdown table with multiply-adds and the largest possible speedup of each experiment."""
    headers = ["network", "what", "naive Gmac", "planned Gmac", "ceiling"]
    return markdown_table(headers, [each.cells() for each in ceilings])


def describe(rounds: int, sampled: int) -> str:
    """The explanation of the figures, in Markdown."""
    return (
        f"Maps of the photograph '{PHOTO}' with a patch of {PATCH[0]} x {PATCH[1]}, or as said, {FILL}\n"
        f"({FILL_VALUE}), by networks with calibrated weights; {rounds} rounds in which the candidates take turns in\n"
        "one process. Means with 95 % confidence intervals, ratios formed round by round.\n\n"
        "- kdb: the whole map, with planning and the materialization of views, in a new session each round; without\n"
        "  the tracing of the module, which is done once a model. In fp32, or as said; the others always in fp32.\n"
        f"- naive: full inference in batches of {BATCH}, batch-norms folded, the faster memory layout,\n"
        "  `inference_mode`, all threads, the allocator set as kdb sets it for itself (up to a fifth faster so);\n"
        f"  timed on {sampled} positions and extrapolated to those of the map and the unmodified image.\n"
        f"- captum: `Occlusion` with `perturbations_per_eval={BATCH}` on the module as it is; timed on\n"
        f"  {sampled // BATCH} batches, extrapolated likewise.\n"
        "- multiply-adds fewer: the speedup if time were proportional to arithmetic; by kdb's own count,\n"
        "  materialization included.\n"
        f"- error / range: against float64, on the logits of the top 5 classes at {JUDGED} positions; exact as the\n"
        "  documentation defines it. `PRECISION bf16` does not promise that."
    )


def report(results: Sequence[Result], peaks: Sequence[Peak], rounds: int, sampled: int, folder: Path) -> None:
    """Write cpu.md and cpu.json to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"What is measured": describe(rounds, sampled), "Speed": speed_table(results)}
    if peaks:
        tables["Memory"] = memory_table(peaks)
    write_markdown(folder / "cpu.md", "Exact maps on a CPU", tables)
    write_json(
        folder / "cpu.json",
        {
            "rounds": rounds,
            "batch": BATCH,
            "patch": PATCH,
            "fill": FILL,
            "results": [result.as_json() for result in results],
            "memory": [asdict(each) for each in peaks],
        },
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 0 if all maps that promise to be exact are and memory is within its limits, else 1."""
    options = _options(arguments)
    threads = options.threads or cores()
    torch.set_num_threads(threads)
    suite = QUICK if options.quick else FULL
    rounds = options.rounds or (2 if options.quick else 3)
    sampled = -(-(options.sample or (BATCH if options.quick else 64)) // BATCH) * BATCH
    if options.runtimes:
        return 0 if beside(suite, options, rounds, sampled) else 1
    names = chosen_networks(options.only, suite.networks)
    experiments = chosen_experiments(suite, names, options.what or "")
    sized = [(each, suite.size or input_size(each.network)) for each in experiments]
    print(ceiling_table([ceiling(each, size, threads) for each, size in sized]), flush=True)
    by_network = [list(of) for _, of in groupby(experiments, key=lambda each: each.network)]
    results = [result for of in by_network for result in run_network(of, suite.size, rounds, sampled)]
    measure_memory = suite.memory_of in names and options.what is None and not options.skip_memory
    peaks = [peak(query) for query in suite.memory] if measure_memory else []
    print("\n" + speed_table(results))
    print(memory_table(peaks) if peaks else "")
    full = suite is FULL and experiments == FULL.experiments and bool(peaks)
    if (folder := options.out or (DOCS if full else None)) is not None:
        report(results, peaks, rounds, sampled, folder)
    exact, within_limits = all(result.ok for result in results), modest(peaks)
    if options.only is None and options.what is None:
        exact = beside(suite, options, rounds, sampled) and exact
    print(f"exact where promised: {'yes' if exact else 'NO'}; memory within limits: {'yes' if within_limits else 'NO'}")
    return 0 if exact and within_limits else 1


def beside(suite: Suite, options: argparse.Namespace, rounds: int, sampled: int) -> bool:
    """Compare maps with full inference by other runtimes, and print and report that; whether they all are exact."""
    names = chosen_networks(options.only, suite.beside)
    rows = []
    for name in names:
        rows.append(comparison.compared(name, suite.size, rounds, sampled))
        print(comparison.table(rows[-1:]), flush=True)
    if (folder := options.out or (None if options.quick else DOCS)) is not None:
        comparison.report(rows, rounds, sampled, folder)
    return all(row.exact for row in rows)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", metavar="NAMES", help="these networks, comma-separated")
    parser.add_argument("--what", metavar="TEXT", help="experiments whose column 'what' contains this, as bf16")
    parser.add_argument("--rounds", type=_count, help="rounds, in each of which all candidates run once (3)")
    parser.add_argument(
        "--sample", type=_count, help=f"positions that a baseline runs on in a round, in batches of {BATCH} (64)"
    )
    parser.add_argument("--threads", type=_count, help="of torch and of kdb (all cores)")
    parser.add_argument("--skip-memory", action="store_true", help="measure speed alone")
    parser.add_argument("--runtimes", action="store_true", help="the comparison with other runtimes alone")
    parser.add_argument("--quick", action="store_true", help="a small network, to check that everything runs")
    parser.add_argument("--out", type=Path, help="folder for the report; docs/benchmarks for a full run")
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main())
