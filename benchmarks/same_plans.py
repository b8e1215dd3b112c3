"""Compares the plans of two checkouts: EXPLAIN of the same queries, equal but for names and milliseconds.

``python -m benchmarks.same_plans OLD NEW`` prints a table of networks by queries; its exit status is 1 if a plan
differs.  ``--renamed old=new ...`` states names that were changed on purpose: each whole word ``old`` becomes ``new``
in the old plans, both keys and texts, and in the queries to the new checkout.  ``@FILE`` reads arguments from a file,
one on each line.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.calibrated import input_size
from benchmarks.checkout import Checkout
from benchmarks.timing import markdown_table
from benchmarks.verify import NETWORKS, TRAINED, chosen_networks, scattered

IGNORED = ("milliseconds",)
"""Keys whose values differ from run to run."""
SHOWN = 3
"""Number of differences printed for each plan."""

SCRIPT = """
import json
import numpy as np
import kdb

def answer(request):
    parameters = {"positions": np.array(request["positions"])}
    plans = {}
    with kdb.connect() as db:
        for case, settings, query in request["cases"]:
            try:
                db.execute("RESET ALL; SET threads = 2;" + settings)
                plans[case] = json.loads(db.explain(query, parameters, format="json"))
            except kdb.Error as error:
                plans[case] = {"refused": str(error)}
    return plans
"""


@dataclass(frozen=True)
class Case:
    """A query: a name for it, its clauses, and statements that make settings before it."""

    name: str
    clauses: str
    settings: str = ""


CASES = (
    Case("stride 16", "WITH patch(16, 16) STRIDE 16"),
    Case("stride 4", "WITH patch(16, 16) STRIDE 4"),
    Case("scattered", "WITH patch(16, 16) AT $positions"),
    Case("one", "WITH patch(16, 16) WITHIN box(96, 96, 112, 112) STRIDE 16"),
    Case("within", "WITH patch(16, 16) WITHIN box(40, 20, 150, 170) STRIDE 6"),
    Case("8x24", "WITH patch(8, 24) FILL blur(6) STRIDE 8"),
    Case("all classes", "WITH patch(16, 16) STRIDE 8 FOR ALL CLASSES SCORE logit"),
    Case("krypton", "WITH patch(16, 16) STRIDE 8", "SET preset = krypton"),
    Case("native", "WITH patch(16, 16) STRIDE 8", "SET kernels = native"),
    Case("bf16", "WITH patch(16, 16) STRIDE 8 PRECISION bf16"),
    Case("approximate", "WITH patch(16, 16) STRIDE 4 APPROXIMATE"),
    Case("threshold", "WITH patch(16, 16) STRIDE 8 THRESHOLD 0.7"),
)


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """A plan in terms of JSON, or a text, with each whole word of ``names`` replaced by its new name."""
    if isinstance(value, str):
        return re.sub(r"\w+", lambda word: names.get(word[0], word[0]), value)
    if isinstance(value, dict):
        return {renamed(key, names): renamed(each, names) for key, each in value.items()}
    return [renamed(each, names) for each in value] if isinstance(value, list) else value


def differences(old: Any, new: Any, ignored: Sequence[str] = IGNORED, at: str = "") -> Iterator[str]:
    """Differences between two plans in terms of JSON: each is a path and both values; ``ignored`` keys are skipped.

    ``at`` is the path of the plans themselves.  Layers and rules appear in paths by name.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            if key not in ignored:
                yield from differences(old.get(key), new.get(key), ignored, f"{at}.{key}" if at else key)
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{at}: {len(old)} entries, now {len(new)}"
        for i, (one, other) in enumerate(zip(old, new, strict=False)):
            name = one.get("name", i) if isinstance(one, dict) else i
            yield from differences(one, other, ignored, f"{at}[{name}]")
    elif old != new:
        yield f"{at}: {old!r}, now {new!r}"


def compare(old: Any, new: Any, ignored: Sequence[str] = IGNORED) -> list[str]:
    """The first SHOWN differences between two plans of a case; a query that is refused in either counts as one."""
    refused = [f"{which}: {plan['refused']}" for which, plan in (("old", old), ("new", new)) if "refused" in plan]
    return refused or list(differences(old, new, ignored))[:SHOWN]


def request(network: str, names: Mapping[str, str]) -> dict[str, Any]:
    """The request to a checkout about a network, with settings and clauses renamed by ``names``."""
    size = input_size(network)
    model = network if network == TRAINED else f"{network} (weights = 'random')"
    cases = [
        [case.name, renamed(case.settings, names), f"OCCLUDE $image {renamed(case.clauses, names)} USING {model}"]
        for case in CASES
    ]
    positions = scattered((size[0] - 16, size[1] - 16), 100, seed=0)
    return {"cases": cases, "positions": positions.tolist()}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 0 if all plans are the same, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.same_plans", description=__doc__.partition("\n")[0], fromfile_prefix_chars="@"
    )
    parser.add_argument("old", help="folder of a checkout")
    parser.add_argument("new", help="folder of another checkout")
    parser.add_argument("--networks", metavar="NAMES", help="these networks, comma-separated")
    parser.add_argument(
        "--renamed", metavar="OLD=NEW", nargs="+", default=[], action="extend", help="names that were changed"
    )
    parser.add_argument(
        "--ignored", metavar="KEY", nargs="+", default=list(IGNORED), action="extend", help="further keys to skip"
    )
    options = parser.parse_args(arguments)
    names = dict(pair.split("=", 1) for pair in options.renamed)
    rows, lines = [], []
    for network in chosen_networks(options.networks, NETWORKS):
        with Checkout(options.old, SCRIPT) as checkout:
            old = checkout.ask(request(network, {}))
        with Checkout(options.new, SCRIPT) as checkout:
            new = checkout.ask(request(network, names))
        row = [network]
        for case in CASES:
            found = compare(renamed(old[case.name], names), new[case.name], options.ignored)
            row.append("differs" if found else "same")
            lines += [f"{network}, {case.name}: {difference}" for difference in found]
        print(*row, flush=True)
        rows.append(row)
    print("\n" + markdown_table(["network", *(case.name for case in CASES)], rows))
    print("\n".join(lines) or f"{len(rows) * len(CASES)} plans are the same")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
