"""Part: processes killed while they save, a disk that is full, and two processes that write one study."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import kdb
from benchmarks.robustness import saver
from benchmarks.robustness.part import ROOT, Part, Row
from benchmarks.timing import markdown_table

KILLS = {"rename": 35, "write": 35, "time": 30}
"""Processes killed, by how the moment is chosen."""
WRITERS = 40
"""Models that each of two processes adds to one study."""
OWN = {*saver.FILES, "first.npz", "weights.pt", "warm.png", "study.kdb"}


def cases() -> list[str]:
    """Each kill is a case."""
    return [
        *(f"kill at {how} {n:02}" for how, count in KILLS.items() for n in range(count)),
        "full disk",
        "two writers",
    ]


def examined(case: str) -> dict[str, Any]:
    """The problems of a case, as texts; empty if there is none."""
    with tempfile.TemporaryDirectory() as folder:
        if case.startswith("kill"):
            return killed(Path(folder), case.split()[2], random.SystemRandom().randrange(1 << 32))
        return {"problems": (full_disk if case == "full disk" else two_writers)(Path(folder))}


def started(*arguments: str) -> subprocess.Popen[str]:
    """A process of Python, of which one hears the output."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, env=environment, text=True)


def killed(folder: Path, how: str, seed: int) -> dict[str, Any]:
    """Kill a process that saves; then each file must be whole, and of what was saved last or was being saved."""
    saver.first(folder)
    with started("-m", saver.__name__, str(folder), how, str(seed)) as process:
        assert process.stdout is not None
        said = [line.split() for line in process.stdout]
    assert process.returncode == -signal.SIGKILL, f"status {process.returncode}"
    saved = dict.fromkeys((*saver.FILES, "study"), 0) | {line[0]: int(line[1]) for line in said if len(line) == 2}
    left = [file for file in folder.iterdir() if file.name not in OWN and not file.name.startswith("study.kdb-")]
    begun = [file.name for file in left if file.stat().st_size]
    problems = list(faults(folder, saved))
    # The next process that saves here tidies up.
    again = "import sys, kdb; kdb.HeatMap.load(sys.argv[1]).save(sys.argv[2])"
    with started("-c", again, str(folder / "first.npz"), str(folder / "map.npz")):
        pass
    problems += [f"{file.name} is left over" for file in left if file.exists()]
    return {"seed": seed, "problems": problems, "begun": len(begun), "saved": sum(saved.values())}


def faults(folder: Path, saved: dict[str, int]) -> Iterator[str]:
    """What is wrong with the files, of which those of the numbers ``saved`` were said to be there."""
    number = {}
    try:
        number["map.npz"] = int(np.ravel(kdb.HeatMap.load(folder / "map.npz").baseline)[0])
    except kdb.Error as error:
        yield f"map.npz: {error}"
    try:
        with kdb.connect(str(folder / "study.kdb")) as db:
            number["study"] = int(shown(db, "SHOW SETTINGS")["seed"])
    except kdb.Error as error:
        yield f"study.kdb: {error}"
    for name, found in number.items():
        if not saved[name] <= found <= saved[name] + 1:
            yield f"{name} is of number {found}, though {saved[name]} was saved"
    try:
        with Image.open(folder / "map.png") as image:
            image.load()
    except OSError as error:
        yield f"map.png: {error}"
    if not (folder / "map.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>"):
        yield "map.svg is not whole"


def shown(db: kdb.Session, statement: str) -> dict[str, Any]:
    """The second column of a table by its first."""
    table = db.execute(statement)
    assert isinstance(table, kdb.Table)
    return {row[0]: row[1] for row in table.rows}


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 1 MB; raises OSError where none can be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        raise OSError("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def full_disk(folder: Path) -> list[str]:
    """On a full disk, what is saved anew fails with kdb's error, and what was there stays whole."""
    problems = []
    saver.first(folder)
    heat_map = saver.numbered(kdb.HeatMap.load(folder / "first.npz"), 1)
    try:
        with small_disk(folder / "disk") as disk:
            for name in (*saver.FILES, "study.kdb"):
                shutil.copyfile(folder / name, disk / name)
            room = os.statvfs(disk)
            (disk / "filler").write_bytes(bytes(room.f_bavail * room.f_frsize))
            before = sorted(file.name for file in disk.iterdir())
            for name in saver.FILES:
                try:
                    heat_map.save(disk / name)
                    problems.append(f"{name} was saved on a full disk")
                except kdb.Error:
                    pass
            try:
                with kdb.connect(str(disk / "study.kdb")) as db:
                    db.execute("SET seed = 0")
            except kdb.Error:
                pass
            problems += faults(disk, dict.fromkeys((*saver.FILES, "study"), 0))
            after = sorted(file.name for file in disk.iterdir())
            problems += [f"{name} is left over" for name in {*after} - {*before}]
    except OSError as error:
        problems.append(str(error))
    return problems


WRITER = """
import sys, kdb
db = kdb.connect(sys.argv[1])
for number in range(int(sys.argv[4])):
    db.execute(f"CREATE MODEL {sys.argv[3]}{number} FROM '{sys.argv[2]}'; SET seed = {number}")
"""


def two_writers(folder: Path) -> list[str]:
    """Two processes add models to one study at a time: it has them all."""
    from benchmarks.robustness.hostile.networks import graph

    net, study = folder / "net.onnx", folder / "study.kdb"
    net.write_bytes(graph().SerializeToString())
    kdb.connect(str(study)).close()
    processes = [started("-c", WRITER, str(study), str(net), name, str(WRITERS)) for name in ("a", "b")]
    problems = [f"a writer ended with {process.wait()}" for process in processes if process.wait()]
    with kdb.connect(str(study)) as db:
        found = {*shown(db, "SHOW MODELS")}
    missing = {f"{name}{number}" for name in ("a", "b") for number in range(WRITERS)} - found
    return problems + [f"{name} is lost" for name in sorted(missing)]


def failures(rows: Sequence[Row]) -> list[str]:
    """The problems of all cases; and too few kills between a first write and the renaming."""
    said = [f"{row['case']}: {problem}" for row in rows for problem in row["problems"]]
    kills = [row for row in rows if row["case"].startswith("kill")]
    between = sum(row["begun"] > 0 for row in kills)
    if len(kills) == sum(KILLS.values()) and between < 30:
        said.append(f"only {between} kills came between a first write and the renaming")
    return said


def totals(rows: Sequence[Row]) -> dict[str, Any]:
    """Kills, those between a first write and the renaming, and cases with a problem."""
    kills = [row for row in rows if row["case"].startswith("kill")]
    return {
        "kills": len(kills),
        "between first write and renaming": sum(row["begun"] > 0 for row in kills),
        "with a problem": sum(bool(row["problems"]) for row in rows),
    }


def report(rows: Sequence[Row]) -> str:
    """Kills by how the moment was chosen, and the other cases."""
    lines = []
    kinds = Counter(row["case"].rpartition(" ")[0] if row["case"].startswith("kill") else row["case"] for row in rows)
    for kind, count in kinds.items():
        mine = [row for row in rows if row["case"].startswith(kind)]
        begun, saved = (sum(row.get(key, 0) for row in mine) for key in ("begun", "saved"))
        lines.append([kind, count, begun, saved, sum(bool(row["problems"]) for row in mine)])
    headers = ["case", "times", "a file was begun and not yet renamed", "files saved before", "with a problem"]
    return f"{DESCRIPTION}\n\n{markdown_table(headers, lines)}"


DESCRIPTION = f"""\
A process saves maps as {", ".join(saver.FILES)} and a setting to a study, over and over, and is killed by SIGKILL: just
before a renaming, a moment after it opened a file, or at any time. Then each file must be whole and be of what was
saved last, or of what was being saved, and nothing is left over after the next map is saved there. On a full disk of 1
MB nothing old may be lost; a study to which two processes add {WRITERS} models each must have them all."""

PART = Part("crashes", "Crashes", cases, examined, report, failures, totals)
