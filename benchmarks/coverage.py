"""Which models run, how much of each is computed incrementally, what ends that, and whether it is exact.

Everything goes through the public interface: EXPLAIN says where deltas end and why, and a query at some positions gives
the logits that :mod:`benchmarks.verify` compares.  Each model is a row of the report.  Rows are cached in files until
the code changes, so that an interrupted run can be continued and several processes can share the work.
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
CACHE = ROOT / "build" / "coverage"
"""Folder of the cached rows."""
COMPARED = 12
"""Positions that are compared with float64: four rows of three, from border to border."""
PATCH, STRIDE = (16, 16), 4
PLANNED = f"OCCLUDE $image WITH patch({PATCH[0]}, {PATCH[1]}) FILL black"
HEADERS = (
    *("model", "input", "parameters", "layers", "incremental", "eq. 14", "in full from", "because"),
    *("own check", "error / scale", "error / range", "fp32 / range", "signal", "verdict"),
)


@dataclass(frozen=True)
class Reach:
    """How much of a model a plan computes incrementally.

    Attributes:
        layers: number of layers of kdb's network that depend on the image.
        share: multiply-adds of the layers before the cut, relative to those of the model.
        bound: multiply-adds of full inference over those of the cells that one patch in the middle changes, if all
            layers had delta rules (the paper's equation 14).
        cut: the first layer that is evaluated in full; None if there is none.
        because: why layers from there on are evaluated in full; empty if none is.
        left_out: why a layer is outside the vocabulary that reads an output of which only a part changes; empty if
            there is none.
    """

    layers: int
    share: float
    bound: float
    cut: str | None
    because: str
    left_out: str = ""


@dataclass(frozen=True)
class Row:
    """The results of one model.

    ``problem`` is the error if it did not run, ``seconds`` the time that this took, ``checked`` what kdb's own check
    found, over what it allows.
    """

    entry: Entry
    parameters: int = 0
    reach: Reach | None = None
    found: Exactness | None = None
    problem: str = ""
    seconds: float = 0.0
    checked: float | None = None

    @property
    def incremental(self) -> bool:
        """Whether deltas pass through convolutions up to where the model's structure ends them."""
        return self.reach is not None and self.reach.share > 0 and not self.reach.left_out

    @property
    def exact(self) -> bool:
        """Whether the logits are exact, on a map with enough signal."""
        return self.found is not None and self.found.ok

    @property
    def as_promised(self) -> bool:
        """Whether the model is exact and, if the roster promises that, incremental."""
        return self.exact and (self.incremental or not self.entry.convolutional)

    @property
    def verdict(self) -> str:
        """The result in words, for the report."""
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
        if self.checked is not None:
            parts.append(f"own check {self.checked:.2g}")
        return "  ".join([*parts, self.verdict, f"({self.seconds:.0f} s)"])


# ---- one model


def reach(db: Session, name: str, module: torch.nn.Module, side: int) -> Reach:
    """What EXPLAIN says about the model ``name``, registered in ``db``, for an input of ``side`` x ``side`` pixels."""
    whole = _explained(db, f"{PLANNED} STRIDE {STRIDE} USING '{name}'")
    middle = [[(side - length) // 2 for length in PATCH]]
    with _without(db, "cut_over", "constant_interior"):
        centred = _explained(db, f"{PLANNED} AT $middle USING '{name}'", middle=middle)
    # kdb takes PyTorch's count for layers outside the vocabulary, of the graph that it exports.
    total = max(multiply_adds(module, side) if whole["outside"] else 0, centred["naive_macs"])
    before = sum(line["naive_macs"] for line in whole["layers"] if line["stage"] == "deltas")
    changed = centred["planned_macs"] + total - centred["naive_macs"]
    return Reach(
        layers=len(centred["layers"]),
        share=before / whole["positions"] / total,
        bound=total / changed,
        cut=whole["cut"],
        because="; ".join([*whole["outside"], whole["because"] or ""]).strip("; "),
        left_out=left_out(centred["layers"]),
    )


def _explained(db: Session, text: str, **parameters: Any) -> dict[str, Any]:
    explained: dict[str, Any] = json.loads(db.explain(text, {"image": None, **parameters}, format="json"))
    return explained


@contextlib.contextmanager
def _without(db: Session, *rules: str) -> Iterator[None]:
    """Switch these rules off inside the context."""
    for rule in rules:
        db.execute(f"SET rule.{rule} = off")
    try:
        yield
    finally:
        for rule in rules:
            db.execute(f"RESET rule.{rule}")


def left_out(lines: Sequence[dict[str, Any]]) -> str:
    """Why a layer is opaque although the patch changes only a part of its inputs, so that deltas could have gone on."""
    boxes = {line["name"]: line["box"] == line["map"] for line in lines}
    for line in lines:
        if line["operator"] == "opaque" and not any(boxes.get(source, False) for source in line["inputs"]):
            return str(line["params"]["because"])
    return ""


def multiply_adds(module: torch.nn.Module, side: int) -> int:
    """Multiply-adds of one inference on a square image, half the operations that PyTorch counts."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # PyTorch does not count fused operations
    try:
        with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            module(torch.zeros(1, 3, side, side))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return int(counter.get_total_flops()) // 2


def measure(entry: Entry) -> Row:
    """Measure one model; any error becomes part of its row."""
    gc.collect()  # free the previous model, whose modules refer to one another; the largest take gigabytes
    start = time.perf_counter()
    row = Row(entry)
    try:
        subject = load(entry.name, (entry.side, entry.side))
        row = replace(row, parameters=sum(weight.numel() for weight in subject.module.parameters()))
        with subject.connect() as db:
            row = replace(row, reach=reach(db, entry.name, subject.module, entry.side))
            row = replace(row, **_judged(db, subject))
    except Exception as error:  # a model may raise anything; go on with the next one
        row = replace(row, problem=f"{type(error).__name__}: {error}".splitlines()[0])
    return replace(row, seconds=time.perf_counter() - start)


def _judged(db: Session, subject: Subject) -> dict[str, Any]:
    free = [length - side for length, side in zip(subject.size, PATCH, strict=True)]
    case = Case(PATCH, "black", f"STRIDE ({free[0] // 3}, {free[1] // 2})", "chelsea")
    outcome = check(db, subject, Truth(subject.module), case, COMPARED)
    return {"found": outcome.found, "problem": outcome.problem, "checked": outcome.checked}


# ---- rows between runs


def code() -> str:
    """A digest of everything that rows depend on: kdb's code, the benchmarks', and the versions of kdb and torch."""
    digest = hashlib.sha256(repr((kdb.__version__, torch.__version__)).encode())
    for file in sorted([*ROOT.glob("kdb/**/*.py"), *ROOT.glob("benchmarks/*.py")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def store(row: Row, digest: str, folder: Path = CACHE) -> None:
    """Write the row to its file in the cache, atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    file = _file(row.entry, folder)
    temporary = file.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps({"code": digest, **asdict(row)}), encoding="utf-8")
    temporary.replace(file)


def stored(entry: Entry, digest: str, folder: Path = CACHE) -> Row | None:
    """The cached row of a model, or None if there is none of this code and entry."""
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
    """A Markdown table with a row for each model."""
    return markdown_table(HEADERS, [_cells(row) for row in rows])


def _cells(row: Row) -> list[object]:
    cells: list[object] = [row.entry.name, row.entry.side, f"{row.parameters / 1e6:.1f} M"]
    if row.reach is None:
        cells += ["-"] * 5
    else:
        found = row.reach
        cells += [found.layers, f"{found.share:.1%}", f"{found.bound:.2f}x", found.cut or "-", found.because or "-"]
    cells.append("-" if row.checked is None else row.checked)
    if row.found is None:
        cells += ["-"] * 4
    else:
        cells += [row.found.scale_error, row.found.range_error, row.found.float32_error, row.found.signal]
    return [*cells, row.verdict]


def summary(rows: Sequence[Row]) -> str:
    """A Markdown table with the number of models of each family."""
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
- own check: the worst difference that kdb's own check found, over what it allows; above 1 it would have failed.
- error / scale, error / range, fp32 / range, signal: of the logits of all classes at {COMPARED} positions against the
  same module in float64, as in [exactness.md](exactness.md). At most {SCALE_BOUND:g} of the largest logit, and at most
  {RANGE_BOUND:g} of the map's range or twice the error of full inference in fp32; a signal of at least
  {SIGNAL_BOUND:g}.

A model is *incremental* if deltas are carried through convolutions up to where its structure ends them: no layer
outside the vocabulary reads a map of which only a part changes. The others are evaluated in full behind the layer that
is named, and as exact."""


def write(folder: Path, rows: Sequence[Row]) -> None:
    """Write coverage.md and coverage.json to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"What is counted": DESCRIPTION, "Summary": summary(rows)}
    for family in dict.fromkeys(row.entry.family for row in rows):
        name = family[0].upper() + family[1:]
        tables[name] = table([row for row in rows if row.entry.family == family])
    write_markdown(folder / "coverage.md", "Coverage", tables)
    records = [{**asdict(row), "incremental": row.incremental, "exact": row.exact} for row in rows]
    write_json(folder / "coverage.json", {"models": records})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 0 if every model is exact and every convolutional one incremental, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--only", metavar="PATTERN", default="*", help="models whose names match this pattern, as timm/*"
    )
    parser.add_argument("--again", action="store_true", help="ignore cached rows")
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
        row = None if options.again else stored(entry, digest)
        if row is None:
            row = measure(entry)
            store(row, digest)
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
