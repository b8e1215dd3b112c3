"""A network with a photograph and a session that knows it; networks are calibrated once a run of the check."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks import photos, verify
from benchmarks.calibrated import input_size
from benchmarks.gpu_check.check import Check
from benchmarks.gpu_check.full_inference import Prepared
from kdb.models.torchvision_compat import import_torchvision
from kdb.results.maps import HeatMap
from kdb.session.session import Session

PATCH, PHOTO = (16, 16), "chelsea"
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Subject:
    """A calibrated network, a photograph as it takes it, and a session that knows it and keeps no views."""

    check: Check
    of: verify.Subject
    db: Session
    _prepared: dict[str, Prepared] = field(default_factory=dict, repr=False)

    def query(self, clause: str, patch: tuple[int, int] = PATCH, precision: str = "fp32") -> str:
        """Every class's logits, black patches."""
        return (
            f"OCCLUDE $image WITH patch({patch[0]}, {patch[1]}) FILL black {clause} USING {self.of.name} "
            f"FOR ALL CLASSES SCORE logit PRECISION {precision} ON {self.check.on}"
        )

    @cached_property
    def photo(self) -> NDArray[np.uint8]:
        """uint8 [H, W, 3]."""
        return photos.photo(PHOTO, self.of.size)

    @cached_property
    def image(self) -> Tensor:
        """As the network takes it: float32 [3, H, W]."""
        return self.of.normalise(self.photo.astype(np.float32))

    @property
    def fill(self) -> Tensor:
        """Black, as the network takes it: [3]."""
        return self.of.normalise(np.zeros((1, 1, 3), np.float32))[:, 0, 0]

    def run(self, text: str, positions: IntArray | None = None) -> HeatMap:
        """The map of a query on the photograph."""
        heat_map = self.db.execute(text, {"image": self.photo, "positions": positions})
        assert isinstance(heat_map, HeatMap)
        return heat_map

    def seconds(self, text: str, positions: IntArray | None = None) -> float:
        """How long that takes, until the values are on the host."""
        return clock(partial(self.run, text, positions))

    def prepared(self, precision: str) -> Prepared:
        """The module as full inference runs it at a precision, prepared once."""
        if precision not in self._prepared:
            self._prepared[precision] = Prepared(self.of.module, precision, self.check.device)
        return self._prepared[precision]

    def free(self, patch: tuple[int, int] = PATCH) -> tuple[int, int]:
        """The last (y, x) that a patch can have."""
        return self.of.size[0] - patch[0], self.of.size[1] - patch[1]

    def lattice(self, stride: int, patch: tuple[int, int] = PATCH) -> IntArray:
        """Where a map of that stride has its patches: int64 [n, 2]."""
        return verify.lattice(self.free(patch), (stride, stride))


def clock(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def subject(check: Check, name: str) -> Subject:
    """The network ``name``, calibrated once a run.  Raises kdb.Error where an extra that has it is missing."""
    of = _load(check.work, name)
    db = of.connect()
    db.execute("SET view_budget = 0")
    return Subject(check, of, db)


def _load(work: Path, name: str) -> verify.Subject:
    """A torchvision network's calibrated module is kept in a file for the sections that follow."""
    if name == verify.TRAINED:
        return verify.load(name)
    path = work / f"{name}.pt"
    if path.exists():
        import_torchvision()  # whose classes are in the file
        module = torch.load(path, weights_only=False)  # written below
        assert isinstance(module, nn.Module)
        return verify.Subject(name, module, input_size(name))
    found = verify.load(name)
    beside = path.with_suffix(f".{os.getpid()}")
    torch.save(found.module, beside)
    beside.replace(path)
    return found


def prepare(check: Check) -> None:
    """Calibrate all networks, those whose speed is compared first."""
    for name in dict.fromkeys((*check.compared, *check.networks)):
        if name != verify.TRAINED:
            _load(check.work, name)


if __name__ == "__main__":
    prepare(Check.from_json(sys.argv[1]))
