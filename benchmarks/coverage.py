"""Which models run, how far each is maintained incrementally, why no further, and whether it is exact: a row a model.

Everything goes through the public interface: EXPLAIN says how far and why no further, a query at some positions gives
the logits that :mod:`benchmarks.verify` judges.  Each row is kept in a file of its own until the code changes, so that
a run goes on where another stopped, and several may share the work.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import gc
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import kdb
from benchmarks.oracle import RANGE_BOUND, SCALE_BOUND, SIGNAL_BOUND, Exactness
from benchmarks.roster import Entry, entries
from benchmarks.timing import markdown_table, write_json, write_markdown
from benchmarks.verify import DOCS, Case, Subject, Truth, check, load
from kdb.session.session import Session

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "build" / "coverage"
"""Where rows are kept."""
COMPARED = 12
"""Positions that are compared: four rows of three, from border to border."""
PATCH, STRIDE = (16, 16), 4
PLANNED = f"OCCLUDE $image WITH patch({PATCH[0]}, {PATCH[1]}) FILL black"
HEADERS = (
    *("model", "input", "parameters", "layers", "incremental", "eq. 14", "in full from", "because"),
    *("error / scale", "error / range", "fp32 / range", "signal", "verdict"),
)


@dataclass(frozen=True)
class Reach:
    """How far a plan is incremental.

    Attributes:
        layers: that the image reaches, in kdb's network.
        share: multiply-adds of the layers before the cut, relative to the model's, for a whole map.
        bound: full inference over what one patch in the middle changes, with every layer's delta rule (eq. 14).
        cut: the first layer that is evaluated in full, None where there is none.
        because: why the layers from there on are; or, where the plan is incremental throughout, nothing.
        left_out: a layer outside the vocabulary that reads a map of which the patch changes a part.
    """

    layers: int
    share: float
    bound: float
    cut: str | None
    because: str
    left_out: str = ""


@dataclass(frozen=True)
class Row:
    """What was found of one model; ``problem`` where it did not run."""

    entry: Entry
    parameters: int = 0
    reach: Reach | None = None
    found: Exactness | None = None
    problem: str = ""
    seconds: float = 0.0

    @property
    def incremental(self) -> bool:
        """Whether deltas are carried through some of its convolutions, to where its structure ends them."""
        return self.reach is not None and self.reach.share > 0 and not self.reach.left_out

    @property
    def exact(self) -> bool:
        """Whether it is, on a map with signal."""
        return self.found is not None and self.found.ok

    @property
    def as_promised(self) -> bool:
        """Exact; and incremental, if that is what it should be."""
        return self.exact and (self.incremental or not self.entry.convolutional)

    @property
    def verdict(self) -> str:
        """In words."""
        if not self.exact:
            return f"FAILS {self.problem}".rstrip()
        return "incremental and exact" if self.incremental else "evaluated in full, exact"

    def __str__(self) -> str:
        parts = [f"{self.entry.name:40} {self.entry.side:3}"]
        if self.reach is not None:
            until = f"{self.reach.cut}: {self.reach.because}" if self.reach.cut else "the end"
            parts.append(f"{self.reach.share:6.1%} to {until}")
        if self.found is not None:
            parts.append(f"error/scale {self.found.scale_error:.1e} of range {self.found.range_use:.2f}")
        return "  ".join([*parts, self.verdict, f"({self.seconds:.0f} s)"])


# ---- one model


def reach(db: Session, name: str, module: torch.nn.Module, side: int) -> Reach:
    """What EXPLAIN tells of the model ``name``, registered in ``db``, on an input of ``side`` x ``side``."""
    whole = _explained(db, f"{PLANNED} STRIDE {STRIDE} USING '{name}'")
    middle = [[(side - length) // 2 for length in PATCH]]
    with _without(db, "cut_over", "constant_interior"):
        centred = _explained(db, f"{PLANNED} AT $middle USING '{name}'", middle=middle)
    # Layers outside the vocabulary count too, as PyTorch counts them.
    total = max(multiply_adds(module, side) if whole["outside"] else 0, centred["naive_macs"])
    before = sum(line["naive_macs"] for line in whole["layers"] if line["stage"] == "deltas")
    changed = centred["planned_macs"] + total - centred["naive_macs"]
    return Reach(
        layers=len(centred["layers"]),
        share=before / whole["positions"] / total,
        bound=total / changed,
        cut=whole["cut"],
        because="; ".join([*whole["outside"], whole["because"] or ""]).strip("; "),
        left_out=_left_out(centred["layers"]),
    )


def _explained(db: Session, text: str, **parameters: Any) -> dict[str, Any]:
    explained: dict[str, Any] = json.loads(db.explain(text, {"image": None, **parameters}, format="json"))
    return explained


@contextlib.contextmanager
def _without(db: Session, *rules: str) -> Iterator[None]:
    """These rules switched off."""
    for rule in rules:
        db.execute(f"SET rule.{rule} = off")
    try:
        yield
    finally:
        for rule in rules:
            db.execute(f"RESET rule.{rule}")


def _left_out(lines: Sequence[dict[str, Any]]) -> str:
    """Why a layer is opaque of which no input is changed everywhere: its own context is not what ends the deltas."""
    boxes = {line["name"]: line["box"] == line["map"] for line in lines}
    for line in lines:
        if line["operator"] == "opaque" and not any(boxes.get(source, False) for source in line["inputs"]):
            return str(line["params"]["because"])
    return ""


def multiply_adds(module: torch.nn.Module, side: int) -> int:
    """Of one inference of a square image, as PyTorch counts them: two operations each."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # what is fused is not counted
    try:
        with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            module(torch.zeros(1, 3, side, side))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return int(counter.get_total_flops()) // 2


def measure(entry: Entry) -> Row:
    """The row of a model; what goes wrong is part of it."""
    gc.collect()  # the model before, whose parts hold one another: the largest take gigabytes
    start = time.perf_counter()
    row = Row(entry)
    try:
        subject = load(entry.name, (entry.side, entry.side))
        row = replace(row, parameters=sum(weight.numel() for weight in subject.module.parameters()))
        with subject.connect() as db:
            row = replace(row, reach=reach(db, entry.name, subject.module, entry.side))
            row = replace(row, **_judged(db, subject))
    except Exception as error:  # a model may raise anything, and the next one is looked at all the same
        row = replace(row, problem=f"{type(error).__name__}: {error}".splitlines()[0])
    return replace(row, seconds=time.perf_counter() - start)


def _judged(db: Session, subject: Subject) -> dict[str, Any]:
    free = [length - side for length, side in zip(subject.size, PATCH, strict=True)]
    case = Case(PATCH, "black", f"STRIDE ({free[0] // 3}, {free[1] // 2})", "chelsea")
    outcome = check(db, subject, Truth(subject.module), case, COMPARED)
    return {"found": outcome.found, "problem": outcome.problem}


# ---- rows between runs


def code() -> str:
    """A digest of all that rows depend on: kdb, the benchmarks and the versions of the libraries."""
    digest = hashlib.sha256(repr((kdb.__version__, torch.__version__)).encode())
    for file in sorted([*ROOT.glob("kdb/**/*.py"), *ROOT.glob("benchmarks/*.py")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def keep(row: Row, digest: str, folder: Path = KEPT) -> None:
    """Write the row to its file, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    file = _file(row.entry, folder)
    beside = file.with_suffix(f".{os.getpid()}")
    beside.write_text(json.dumps({"code": digest, **asdict(row)}), encoding="utf-8")
    beside.replace(file)


def kept(entry: Entry, digest: str, folder: Path = KEPT) -> Row | None:
    """The row of a model as this code found it, if it did."""
    try:
        record = json.loads(_file(entry, folder).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if record.pop("code") != digest or record.pop("entry") != asdict(entry):
        return None
    parts = {key: made(**record.pop(key)) for key, made in (("reach", Reach), ("found", Exactness)) if record[key]}
    return Row(entry, **{**record, **parts})


def _file(entry: Entry, folder: Path) -> Path:
    return folder / f"{entry.name.replace('/', '-')}.json"


# ---- the report


def table(rows: Sequence[Row]) -> str:
    """A line a model."""
    return markdown_table(HEADERS, [_cells(row) for row in rows])


def _cells(row: Row) -> list[object]:
    cells: list[object] = [row.entry.name, row.entry.side, f"{row.parameters / 1e6:.1f} M"]
    if row.reach is None:
        cells += ["-"] * 5
    else:
        found = row.reach
        cells += [found.layers, f"{found.share:.1%}", f"{found.bound:.2f}x", found.cut or "-", found.because or "-"]
    if row.found is None:
        cells += ["-"] * 4
    else:
        cells += [row.found.scale_error, row.found.range_error, row.found.float32_error, row.found.signal]
    return [*cells, row.verdict]


def summary(rows: Sequence[Row]) -> str:
    """How many of each family."""
    lines = []
    for family in dict.fromkeys(row.entry.family for row in rows):
        mine = [row for row in rows if row.entry.family == family]
        exact = [row for row in mine if row.exact]
        incremental = sum(row.incremental for row in exact)
        lines.append([family, len(mine), len(exact), incremental, len(exact) - incremental])
    return markdown_table(["family", "models", "exact", "of these incremental", "evaluated in full"], lines)


DESCRIPTION = f"""\
Each model with random weights, calibrated on photographs so that its output depends on the image, on a square input of
as many pixels a side as the table says; a patch of {PATCH[0]} x {PATCH[1]}.

- layers: of kdb's network, that the image reaches.
- incremental: of all multiply-adds, those in layers that carry deltas, in the plan of a map of stride {STRIDE}. What
  is left is evaluated in full: because what changed is spread over the whole map (squeeze-excite, statistics of the
  map), because boxes fill the map, or because it is outside the vocabulary.
- eq. 14: the multiply-adds of full inference over those of the cells that a patch in the middle changes: the paper's
  theoretical speedup, all layers counted.
- error / scale, error / range, fp32 / range, signal: of the logits of all classes at {COMPARED} positions against the
  same module in float64, as in [exactness.md](exactness.md). At most {SCALE_BOUND:g} of the largest logit, and at most
  {RANGE_BOUND:g} of the map's range or twice the error of full inference in fp32; a signal of at least
  {SIGNAL_BOUND:g}.

A model is *incremental* if deltas are carried through convolutions up to where its structure ends them: no layer
outside the vocabulary reads a map of which only a part changes. The others are evaluated in full behind the layer that
is named, and as exact."""


def write(folder: Path, rows: Sequence[Row]) -> None:
    """coverage.md and coverage.json in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"What is counted": DESCRIPTION, "Summary": summary(rows)}
    for family in dict.fromkeys(row.entry.family for row in rows):
        name = family[0].upper() + family[1:]
        tables[name] = table([row for row in rows if row.entry.family == family])
    write_markdown(folder / "coverage.md", "Coverage", tables)
    records = [{**asdict(row), "incremental": row.incremental, "exact": row.exact} for row in rows]
    write_json(folder / "coverage.json", {"models": records})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 where every model is exact and every convolutional one incremental, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", metavar="PATTERN", default="*", help="models by a pattern of their names (timm/*)")
    parser.add_argument("--again", action="store_true", help="measure anew what this code has measured before")
    parser.add_argument("--out", type=Path, help="folder for the report; docs/benchmarks for a full run")
    options = parser.parse_args(arguments)
    known = entries()
    chosen = [entry for entry in known if fnmatch.fnmatch(entry.name, options.only)]
    if not chosen:
        raise SystemExit(f"no model is called {options.only}")
    full = len(chosen) == len(known) and any(entry.name.startswith("timm/") for entry in known)
    folder = options.out or (DOCS if full else None)
    digest, rows = code(), []
    for number, entry in enumerate(chosen, start=1):
        row = None if options.again else kept(entry, digest)
        if row is None:
            row = measure(entry)
            keep(row, digest)
        rows.append(row)
        print(f"{number:3}/{len(chosen)} {row}", flush=True)
    if folder is not None:
        write(folder, rows)
    failed = [row for row in rows if not row.as_promised]
    print(f"\n{summary(rows)}\n{len(rows) - len(failed)} of {len(rows)} models are as promised")
    for row in failed:
        print(f"{row.entry.name}: {row.verdict} {row.reach.left_out if row.reach else ''}".rstrip())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
