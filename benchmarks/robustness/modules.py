"""Part: hundreds of tiny modules, each with a construct that a translation may get wrong."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import photos
from benchmarks.oracle import SIGNAL_BOUND
from benchmarks.robustness.constructs import Construct, constructs
from benchmarks.robustness.part import Part, Row
from benchmarks.robustness.trial import MATCHED, OUTCOMES, RAW, WRONG, Trial, examine, places
from benchmarks.timing import markdown_table

FIRST = Path(__file__).parent / "first.json"
"""The outcomes before kdb compared its maps with the model: what matched then must match today."""
POSITIONS = 80
PATCHES = ((5, 4), (3, 3), (8, 6), (2, 7))
FILLS = ("black", "gray", "white", "mean", "rgb(200, 30.5, 90)", "blur(2)")


@cache
def by_name() -> dict[str, Construct]:
    """All modules."""
    found = list(constructs())
    assert len({each.name for each in found}) == len(found), "two modules have one name"
    return {each.name: each for each in found}


def trial(construct: Construct) -> Trial:
    """The query for a module: photograph, patch, fill and positions are chosen by its name."""
    draw = np.random.default_rng(zlib.crc32(construct.name.encode()))
    image = photos.photo(str(draw.choice(photos.NAMES)), construct.size)
    patch = construct.patch or PATCHES[draw.integers(len(PATCHES))]
    fill = FILLS[draw.integers(len(FILLS))]
    if construct.channels == 1:
        image, fill = image[..., 1], "black"
    elif construct.channels > 3:
        image, fill = np.concatenate([image, image[::-1]], axis=-1)[..., : construct.channels], "black"
    positions = places(construct.size, patch, POSITIONS, int(draw.integers(1 << 30)))
    return Trial(
        construct.module(), np.ascontiguousarray(image), patch, positions, fill, construct.exact, construct.batch
    )


def examined(case: str) -> dict[str, Any]:
    """The finding of one module."""
    return asdict(examine(trial(by_name()[case])))


def first() -> dict[str, str]:
    """The outcome of each module when they were first run."""
    found: dict[str, str] = json.loads(FIRST.read_text(encoding="utf-8"))
    return found


def lost(rows: Sequence[Row]) -> list[Row]:
    """Modules that matched at first and do not any more."""
    before = first()
    return [row for row in rows if before.get(row["case"]) == MATCHED != row["outcome"]]


def failures(rows: Sequence[Row]) -> list[str]:
    """Maps that are wrong, exceptions that are not kdb's, and modules that matched before."""
    bad = [row for row in rows if row["outcome"] in (WRONG, RAW)]
    said = [f"{row['case']}: {row['outcome']} {_why(row)}" for row in bad]
    said += [f"{row['case']}: matched before, {row['outcome']} now {_why(row)}" for row in lost(rows) if row not in bad]
    flat = [row for row in rows if row["error"] is not None and row["signal"] < SIGNAL_BOUND]
    return said + [f"{row['case']}: the map is flat, so that agreement means nothing" for row in flat]


def _why(row: Row) -> str:
    if row["error"] is None:
        return str(row["problem"])
    return f"({row['error']:.3g} times what is allowed, at {row['share']:.0%} of the positions)"


def totals(rows: Sequence[Row]) -> dict[str, Any]:
    """Modules by outcome, and those lost since the first run."""
    count = Counter(row["outcome"] for row in rows)
    return {**{outcome: count[outcome] for outcome in OUTCOMES}, "lost": len(lost(rows))}


def report(rows: Sequence[Row]) -> str:
    """The outcomes by family, and each module that is neither matched nor evaluated in full."""
    lines = []
    for family in dict.fromkeys(row["case"].partition(":")[0] for row in rows):
        count = Counter(row["outcome"] for row in rows if row["case"].partition(":")[0] == family)
        lines.append([family, sum(count.values()), *(count[outcome] for outcome in OUTCOMES)])
    count = Counter(row["outcome"] for row in rows)
    lines.append(["all", len(rows), *(count[outcome] for outcome in OUTCOMES)])
    odd = [row for row in rows if row["outcome"] not in ("matched", "in full") or row["warned"]]
    cells = [[row["case"], row["outcome"], _error(row), row["warned"] or row["problem"] or "-"] for row in odd]
    return f"{DESCRIPTION}\n\n{markdown_table(['family', 'modules', *OUTCOMES], lines)}\n{_table(cells)}"


def _table(cells: list[list[object]]) -> str:
    return markdown_table(["module", "outcome", "error / allowed", "said"], cells) if cells else ""


def _error(row: Row) -> object:
    return "-" if row["error"] is None else float(row["error"])


DESCRIPTION = f"""\
Modules with random weights and one unusual construct each, on a crop of a photograph, at {POSITIONS} positions of a
patch; logits of all classes and of the unmodified image against the module itself in float64 (float32 where it mixes
dtypes).

- matched: right, and kdb computed layers itself.
- in full: right, and the model computed all: nothing before the first layer outside the vocabulary, or
  VerificationWarning.
- refused: an error of kdb's, with a message.
- wrong: off by more than Exact allows. raw: an exception that is not kdb's. There may be none."""

PART = Part("modules", "Modules", lambda: list(by_name()), examined, report, failures, totals)
