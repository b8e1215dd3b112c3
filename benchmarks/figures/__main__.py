"""The command: measures the parts asked for, keeps a file of each, and makes one page of all that are there."""

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
    """figures.md and its plots under ``folder``, from the parts that are kept there."""
    sections = ["# Figures", INTRODUCTION]
    for name, part in PARTS.items():
        kept = folder / "benchmarks" / f"figures-{name}.json"
        if not kept.exists():
            continue
        found = json.loads(kept.read_text(encoding="utf-8"))
        sections += [f"## {part.TITLE}", machine_line(found["machine"]), part.section(found).rstrip()]
        for plot, figure in part.draw(found).items():
            save(figure, folder / "images" / "figures" / f"{plot}.png")
            sections.append(f"![{part.TITLE}: the table above as a plot](../images/figures/{plot}.png)")
    (folder / "benchmarks" / "figures.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def machine_line(machine: Json) -> str:
    """What a part was measured on."""
    return "; ".join(f"{key}: {value}" for key, value in machine.items())


def chosen_parts(text: str | None) -> tuple[str, ...]:
    """The parts that ``--only`` names; raises SystemExit for one that is not known."""
    names = tuple(text.split(",")) if text else tuple(PARTS)
    if unknown := [name for name in names if name not in PARTS]:
        raise SystemExit(f"unknown part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return names


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write."""
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
        if folder is not None:  # as soon as it is there: the next part may take long
            (folder / "benchmarks").mkdir(parents=True, exist_ok=True)
            write_json(folder / "benchmarks" / f"figures-{name}.json", found)
            page(folder)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figures", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", metavar="PARTS", help=f"these of {','.join(PARTS)}")
    parser.add_argument("--rounds", type=int, help="of all candidates in turns (3)")
    parser.add_argument("--sample", type=int, help="positions of kdb's in lesion and patches (196)")
    parser.add_argument("--threads", type=int, help="of torch and of kdb (all cores)")
    parser.add_argument("--quick", action="store_true", help="a small network, to see that everything runs")
    parser.add_argument("--draw", action="store_true", help="measure nothing; the page and the plots from what is kept")
    parser.add_argument("--out", type=Path, help="folder of benchmarks/ and images/; docs for a full run")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
