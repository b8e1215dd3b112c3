"""How the speed of two checkouts compares: whole maps, timed in turns by one process each.

``python -m benchmarks.old_and_new OLD NEW`` starts, for each network, a process in either checkout.  After a warm-up
they take turns, and only one works at a time: old new, new old, old new, and so on.  Each pair gives a ratio of
seconds, new over old, so that the drift of the machine's speed cancels.  Told are the median of the ratios, and its
interval by order statistics, which supposes nothing of how they are distributed.
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
    """The seconds of one network's maps, a pair each, and whether all maps of both checkouts have the same bits."""

    network: str
    old: tuple[float, ...]
    new: tuple[float, ...]
    same_bits: bool

    @property
    def ratios(self) -> list[float]:
        """New over old, a pair each."""
        return [new / old for old, new in zip(self.old, self.new, strict=True)]

    def row(self) -> list[object]:
        """Cells under ``HEADERS``."""
        low, high = median_interval(self.ratios)
        ratios = [f"{ratio:.4f}" for ratio in (median(self.ratios), low, high)]
        return [self.network, median(self.old), median(self.new), *ratios, "same bits" if self.same_bits else "differ"]


def median_interval(samples: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The narrowest pair of order statistics, as far from one end as from the other, that has the median between it.

    Holds with at least that ``confidence`` for samples of any continuous distribution: the number of them below the
    median is binomial.  Of fewer samples than that takes (6 for 95 %), the interval is (-inf, inf).
    """
    ordered, count = sorted(samples), len(samples)
    outside = int(stats.binom.ppf((1 - confidence) / 2, count, 0.5))
    return (ordered[outside - 1], ordered[-outside]) if outside else (-math.inf, math.inf)


def compare(old: str, new: str, network: str, stride: int, pairs: int, warmups: int = 1) -> Compared:
    """Time whole maps of one network in both checkouts."""
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
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.old_and_new", description=__doc__.partition("\n")[0])
    parser.add_argument("old", help="a checkout")
    parser.add_argument("new", help="another")
    parser.add_argument("--networks", metavar="NAMES", default=NETWORKS, help="torchvision's (%(default)s)")
    parser.add_argument("--stride", type=int, default=8, help="of the map (%(default)s)")
    parser.add_argument("--pairs", type=int, default=15, help="of maps (%(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write all seconds as JSON")
    options = parser.parse_args(arguments)
    results = []
    for network in options.networks.split(","):
        results.append(compare(options.old, options.new, network, options.stride, options.pairs))
        print(*results[-1].row(), flush=True)
    print("\n" + markdown_table(HEADERS, [result.row() for result in results]))
    if options.out is not None:
        told = [
            {**asdict(result), "median": median(result.ratios), "interval": median_interval(result.ratios)}
            for result in results
        ]
        write_json(options.out, {"stride": options.stride, "networks": told})
    return 0


if __name__ == "__main__":
    sys.exit(main())
