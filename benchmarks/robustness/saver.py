"""A process that saves maps and a study without end, and says what it has saved: ``python -m ..saver FOLDER HOW SEED``.

It kills itself: at a renaming (``rename``), a moment after it opened a file for writing (``write``), or a moment after
it began (``time``).
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import kdb
from benchmarks.robustness.hostile.queries import network

FILES = ("map.npz", "map.png", "map.svg")


def first(folder: Path) -> None:
    """What is there before the process starts: maps and a study, all with the number 0."""
    torch.manual_seed(0)
    module = network()
    heat_map = kdb.occlude(np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8), module, 8, 2)
    assert isinstance(heat_map, kdb.HeatMap)
    numbered(heat_map, 0).save(folder / "first.npz")
    torch.save(module.state_dict(), folder / "weights.pt")
    for name in FILES:
        numbered(heat_map, 0).save(folder / name)
    with kdb.connect(str(folder / "study.kdb")) as db:
        db.execute("SET seed = 0")


def numbered(heat_map: kdb.HeatMap, number: int) -> kdb.HeatMap:
    """The map with a number for its baseline, by which it is told from others."""
    return replace(heat_map, baseline=float(number))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_some_time(how: str, draw: random.Random) -> None:
    """From now on, wait for the moment to end this process."""
    if how == "time":
        threading.Timer(draw.uniform(0, 1.5), _die).start()
        return
    left = draw.randrange(1, 12)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        begins = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
        if event == "os.rename" if how == "rename" else begins:
            left -= 1
            if left == 0 and how == "rename":
                _die()
            elif left == 0:
                threading.Timer(draw.uniform(0, 0.02), _die).start()

    sys.addaudithook(hook)


def main(folder: str, how: str, seed: str) -> None:
    """Save, and say so, until killed."""
    home = Path(folder)
    heat_map = kdb.HeatMap.load(home / "first.npz")
    numbered(heat_map, 0).save(home / "warm.png")  # imports what draws, and finds the fonts
    db = kdb.connect(str(home / "study.kdb"))
    print("ready", flush=True)
    die_some_time(how, random.Random(int(seed)))
    number = 0
    while True:
        number += 1
        for name in FILES:
            numbered(heat_map, number).save(home / name)
            os.write(1, f"{name} {number}\n".encode())
        db.execute(f"SET seed = {number}")
        os.write(1, f"study {number}\n".encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
