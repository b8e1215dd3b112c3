"""Queries of a few positions beside plain full inference of the occluded images, in turns in one process.

What a query costs besides its positions counts most here: planning, the unmodified image, the check, and of a module
that was registered to look whether somebody changed it and to put it back as it was.  ``naive`` is the
module as it is, called once with all occluded images, which are made in the time that is measured; ``with unmodified``
the same with the image itself among them, which a user needs for the class and the drop.  Each is called twice in its
turn, and the second call is timed: the first finds the memory as another one left it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

import kdb
from benchmarks import photos
from benchmarks.experiment import FILL, FILL_VALUE, PATCH
from benchmarks.memory import PHOTO
from benchmarks.oracle import occlude
from benchmarks.timing import Seconds, Timing, interleave, markdown_table, ratio, write_markdown
from benchmarks.verify import DOCS, Subject, load, scattered
from kdb.execution.settings import cores
from kdb.session.session import Session

NETWORKS = "resnet18,inception_v3,mobilenet_v2"
POSITIONS = (1, 4, 16)
HEADERS = (
    "network",
    "positions",
    "model",
    "image",
    "naive s",
    "with unmodified s",
    "kdb s",
    "kdb vs naive",
    "vs with unmodified",
)


@dataclass
class Case:
    """A network and a number of positions; each call takes other positions, so that no plan is found again."""

    subject: Subject
    db: Session
    count: int
    using: str
    image: np.ndarray[Any, np.dtype[np.uint8]]
    turn: int = field(default=0, init=False)

    def _positions(self) -> Any:
        self.turn += 1
        free = self.subject.size[0] - PATCH[0], self.subject.size[1] - PATCH[1]
        return scattered(free, 12 + self.count, seed=self.turn)[12:]

    def naive(self, unmodified: bool) -> None:
        """The module's logits of the occluded images, and of the image itself if ``unmodified``."""
        subject = self.subject
        image = subject.normalise(self.image.astype(np.float32))
        fill = subject.normalise(np.full((1, 1, 3), FILL_VALUE, np.float32))[:, 0, 0]
        with torch.inference_mode():
            images = occlude(image, fill, PATCH, self._positions())
            subject.module(torch.cat([image[None], images]) if unmodified else images)

    def known(self) -> None:
        """The query on an image that the session knows."""
        self._ask(self.image)

    def new(self) -> None:
        """The query on an image that it does not know."""
        image = self.image.copy()
        # In its middle: models that kdb finds by name crop the border away, and would see the same image again.
        image[tuple(length // 2 for length in self.subject.size)] = self.turn % 256, self.turn // 256 % 256, self.count
        self._ask(image)

    def _ask(self, image: object) -> None:
        text = f"OCCLUDE $image WITH patch{PATCH} FILL {FILL} AT $at USING {self.using}"
        self.db.execute(text, {"image": image, "at": self._positions()})


def measured(name: str, rounds: int, threads: int) -> list[list[object]]:
    """The rows of a network."""
    subject = load(name)
    db = kdb.connect()  # with the usual settings but for the threads, unlike that of the subject
    db.execute(f"SET threads = {threads}")
    db.register_model(f"my_{name}", subject.module, input_size=subject.size, mean=subject.mean, std=subject.std)
    rows: list[list[object]] = []
    usings = {"registered": f"my_{name}", "by name": f"{name} (weights = 'random')"}
    for count, (model, using) in product(POSITIONS, usings.items()):
        case = Case(subject, db, count, using, photos.photo(PHOTO, subject.size))
        candidates: Mapping[str, Callable[[], object]] = {
            "naive": lambda case=case: case.naive(False),  # type: ignore[misc]
            "unmodified": lambda case=case: case.naive(True),  # type: ignore[misc]
            "new": case.new,
            "known": case.known,
        }
        found = interleave({which: again(call) for which, call in candidates.items()}, rounds=rounds, warmups=1)
        rows += [_row(name, count, model, which, found) for which in ("new", "known")]
        print(*rows[-2], *rows[-1], sep="  ", flush=True)
    return rows


def again(call: Callable[[], object]) -> Callable[[], Seconds]:
    """Two calls, of which the second is timed."""

    def timed() -> Seconds:
        call()
        start = time.perf_counter()
        call()
        return Seconds(time.perf_counter() - start)

    return timed


def _row(name: str, count: int, model: str, which: str, found: Mapping[str, Timing]) -> list[object]:
    ours = found[which].seconds
    seconds = [float(np.median(found[each].seconds)) for each in ("naive", "unmodified", which)]
    ratios = [f"{ratio(found[each].seconds, ours):.2f}" for each in ("naive", "unmodified")]
    return [name, count, model, which, *seconds, *ratios]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.few", description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", default=NETWORKS, help="comma-separated (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="in each of which all candidates run once (%(default)s)")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of few.md (docs/benchmarks)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(cores())
    rows = [row for name in options.networks.split(",") for row in measured(name, options.rounds, cores())]
    options.out.mkdir(parents=True, exist_ok=True)
    text = f"{__doc__}\nSeconds are medians; ratios are geometric means over rounds, with their 95 % intervals.\n\n"
    write_markdown(
        options.out / "few.md", "Queries of a few positions", {"Seconds": text + markdown_table(HEADERS, rows)}
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
