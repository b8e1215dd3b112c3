"""The command: measures the chosen parts, writes a file for each, and makes one page of all existing files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.figures import bounds, drilldown, endtoend, lesion, maps, patches, sweep, threshold, tuning
from benchmarks.figures.common import QUICK, Json, Part, Scale, prose, save
from benchmarks.timing import write_json
from kdb.execution.settings import cores

PARTS: dict[str, Part] = {
    "bounds": bounds,
    "lesion": lesion,
    "patches": patches,
    "sweep": sweep,
    "threshold": threshold,
    "tuning": tuning,
    "drilldown": drilldown,
    "endtoend": endtoend,
    "maps": maps,
}
DOCS = Path(__file__).resolve().parents[2] / "docs"
INTRODUCTION = prose(
    "Made by `make figures`: one part each for what could be gained, what each rule is worth, the size of the patch, "
    "the number of positions, and the paper's approximations. Where nothing else is said, networks have random weights "
    "calibrated on photographs, and the image is the photograph 'chelsea'; times depend on neither. The numbers are in "
    "`figures-*.json`, a file a part. Error bars are 95 % confidence intervals; one that leaves its plot is cut, and "
    "the table has it whole."
)


def page(folder: Path) -> None:
    """figures.md and its plots under ``folder``, from the parts' files in it."""
    sections = ["# Figures", INTRODUCTION]
    for name, part in PARTS.items():
        file = folder / "benchmarks" / f"figures-{name}.json"
        if not file.exists():
            continue
        found = json.loads(file.read_text(encoding="utf-8"))
        sections += [f"## {part.TITLE}", machine_line(found["machine"]), part.section(found).rstrip()]
        for plot, figure in part.draw(found).items():
            save(figure, folder / "images" / "figures" / f"{plot}.png")
            sections.append(f"![{part.TITLE}: the table above as a plot](../images/figures/{plot}.png)")
    (folder / "benchmarks" / "figures.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def machine_line(machine: Json) -> str:
    """The description of the machine that a part was measured on, on one line."""
    return "; ".join(f"{key}: {value}" for key, value in machine.items())


def chosen_parts(text: str | None) -> tuple[str, ...]:
    """The parts named in ``text``, comma-separated, all by default; raises SystemExit for an unknown one."""
    names = tuple(text.split(",")) if text else tuple(PARTS)
    if unknown := [name for name in names if name not in PARTS]:
        raise SystemExit(f"unknown part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return names


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status, 0."""
    options = _options(arguments)
    folder: Path | None = options.out
    if options.draw:
        page(folder or DOCS)
        return 0
    names = chosen_parts(options.only)
    given = {name: value for name in ("rounds", "sample") if (value := getattr(options, name)) is not None}
    scale = replace(QUICK if options.quick else Scale(), **given)
    if folder is None and not options.quick and not given and names == tuple(PARTS):
        folder = DOCS
    torch.set_num_threads(options.threads or cores())
    for name in names:
        print(f"\n{PARTS[name].TITLE}", flush=True)
        found = PARTS[name].measure(scale)
        if folder is not None:  # write each part at once, as the next one may take long
            (folder / "benchmarks").mkdir(parents=True, exist_ok=True)
            write_json(folder / "benchmarks" / f"figures-{name}.json", found)
            page(folder)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figures", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", metavar="PARTS", help=f"these parts, comma-separated, of {','.join(PARTS)}")
    parser.add_argument("--rounds", type=int, help="rounds, in each of which all candidates run once (3)")
    parser.add_argument("--sample", type=int, help="positions that kdb runs on in lesion, patches and threshold (196)")
    parser.add_argument("--threads", type=int, help="of torch and of kdb (all cores)")
    parser.add_argument("--quick", action="store_true", help="a small network, to check that everything runs")
    parser.add_argument(
        "--draw", action="store_true", help="measure nothing; make the page and the plots from existing files"
    )
    parser.add_argument("--out", type=Path, help="folder for benchmarks/ and images/; docs for a full run")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
