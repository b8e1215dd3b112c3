"""Compares the speed of two checkouts: whole heat maps, timed in turns in one process of each.

``python -m benchmarks.old_and_new OLD NEW`` starts a process in each checkout, for each network.  After a warm-up they
take turns, one at a time: old new, new old, old new, and so on.  Each pair gives a ratio of seconds, new over old, so
that drift of the machine's speed cancels.  The report has the median of the ratios with a confidence interval by order
statistics, which makes no assumption about their distribution.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from scipy import stats

from benchmarks import photos
from benchmarks.calibrated import input_size
from benchmarks.checkout import Checkout
from benchmarks.timing import CONFIDENCE, markdown_table, write_json

NETWORKS = "resnet18,mobilenet_v2,vgg16"
HEADERS = ("network", "old s", "new s", "new / old", "from", "to", "maps")

SCRIPT = """
import gc, hashlib, time
import numpy as np
from PIL import Image
import kdb

db = kdb.connect()
db.execute("SET view_budget = 0")

def answer(request):
    picture = Image.open(request["photo"]).convert("RGB").resize(request["size"][::-1])
    query = f"OCCLUDE $image STRIDE {request['stride']} USING {request['network']} (weights = 'random')"
    gc.collect()
    start = time.perf_counter()
    heat_map = db.execute(query, {"image": np.asarray(picture)})
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "digest": hashlib.sha256(heat_map.values.tobytes()).hexdigest()}
"""


@dataclass(frozen=True)
class Compared:
    """The seconds of one network's maps, by pairs; ``same_bits`` is whether all maps are bitwise equal."""

    network: str
    old: tuple[float, ...]
    new: tuple[float, ...]
    same_bits: bool

    @property
    def ratios(self) -> list[float]:
        """Seconds of the new checkout over those of the old one, for each pair."""
        return [new / old for old, new in zip(self.old, self.new, strict=True)]

    def row(self) -> list[object]:
        """Cells of a table with HEADERS."""
        low, high = median_interval(self.ratios)
        ratios = [f"{ratio:.4f}" for ratio in (median(self.ratios), low, high)]
        return [self.network, median(self.old), median(self.new), *ratios, "same bits" if self.same_bits else "differ"]


def median_interval(samples: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """A confidence interval of the median: the narrowest symmetric pair of order statistics.

    It covers the median of any continuous distribution with at least that ``confidence``, as the number of samples
    below the median is binomial.  With too few samples (below 6 for 95 %) it is (-inf, inf).
    """
    ordered, count = sorted(samples), len(samples)
    outside = int(stats.binom.ppf((1 - confidence) / 2, count, 0.5))
    return (ordered[outside - 1], ordered[-outside]) if outside else (-math.inf, math.inf)


def compare(old: str, new: str, network: str, stride: int, pairs: int, warmups: int = 1) -> Compared:
    """Time ``pairs`` pairs of whole maps of one network in both checkouts, after ``warmups`` untimed pairs."""
    request: dict[str, Any] = {"network": network, "size": input_size(network), "stride": stride}
    request["photo"] = str(photos.path("chelsea"))
    seconds: tuple[list[float], list[float]] = [], []
    digests = set()
    with Checkout(old, SCRIPT) as one, Checkout(new, SCRIPT) as other:
        for turn in range(-warmups, pairs):
            for which in (0, 1) if turn % 2 == 0 else (1, 0):
                reply = (one, other)[which].ask(request)
                digests.add(reply["digest"])
                if turn >= 0:
                    seconds[which].append(reply["seconds"])
    return Compared(network, tuple(seconds[0]), tuple(seconds[1]), len(digests) == 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status, 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.old_and_new", description=__doc__.partition("\n")[0])
    parser.add_argument("old", help="folder of a checkout")
    parser.add_argument("new", help="folder of another checkout")
    parser.add_argument(
        "--networks", metavar="NAMES", default=NETWORKS, help="of torchvision, comma-separated (%(default)s)"
    )
    parser.add_argument("--stride", type=int, default=8, help="stride of the maps (%(default)s)")
    parser.add_argument("--pairs", type=int, default=15, help="pairs of maps that are timed (%(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file for all seconds")
    options = parser.parse_args(arguments)
    results = []
    for network in options.networks.split(","):
        results.append(compare(options.old, options.new, network, options.stride, options.pairs))
        print(*results[-1].row(), flush=True)
    print("\n" + markdown_table(HEADERS, [result.row() for result in results]))
    if options.out is not None:
        records = [
            {**asdict(result), "median": median(result.ratios), "interval": median_interval(result.ratios)}
            for result in results
        ]
        write_json(options.out, {"stride": options.stride, "networks": records})
    return 0


if __name__ == "__main__":
    sys.exit(main())
