"""What kdb's own check of each map costs: seconds of the same query with and without it, in turns in one process.

The module is registered, so that its content is hashed and it is put back as it was; that costs time with and without
the check.  No views are kept, as if each query were of another image.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import kdb
from benchmarks import photos
from benchmarks.timing import interleave, markdown_table, ratio, write_markdown
from benchmarks.verify import DOCS, load
from kdb.session.session import Session

NETWORKS = "vgg16,resnet18,mobilenet_v2"
QUERIES = {"a map of stride 4": "STRIDE 4", "one position": "AT $at"}
HEADERS = ("network", "query", "without s", "with s", "with / without", "from", "to")


def asking(db: Session, name: str, clause: str, setting: str) -> Callable[[], object]:
    """The query under a setting of ``verify``."""
    image = photos.photo("chelsea", (224, 224))
    text = f"SET verify = {setting}; OCCLUDE $image WITH patch(16, 16) {clause} USING {name}"
    return partial(db.execute, text, {"image": image, "at": [[100, 100]]})


def measure(name: str, rounds: int) -> list[list[object]]:
    """A row for each query of a network."""
    subject, rows = load(name, (224, 224)), []
    db = kdb.connect()
    db.execute("SET view_budget = 0")
    db.register_model(name, subject.module, input_size=subject.size, mean=subject.mean, std=subject.std)
    for what, clause in QUERIES.items():
        more = rounds if clause.startswith("STRIDE") else 7 * rounds
        found = interleave({each: asking(db, name, clause, each) for each in ("off", "auto")}, rounds=more)
        off, auto = (found[each].seconds for each in ("off", "auto"))
        compared = ratio(auto, off)
        rows.append([name, what, sum(off) / more, sum(auto) / more, compared.mean, compared.low, compared.high])
        print(*rows[-1], flush=True)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check_cost", description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", default=NETWORKS, help="comma-separated (%(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="of whole maps (%(default)s)")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of check-cost.md (docs/benchmarks)")
    options = parser.parse_args(arguments)
    rows = [row for name in options.networks.split(",") for row in measure(name, options.rounds)]
    options.out.mkdir(parents=True, exist_ok=True)
    tables = {"Seconds with and without": f"{__doc__}\n{markdown_table(HEADERS, rows)}"}
    write_markdown(options.out / "check-cost.md", "What the check of a map costs", tables)
    return 0


if __name__ == "__main__":
    sys.exit(main())
