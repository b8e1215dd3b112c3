"""A network with a photograph and a session; networks are calibrated once in a run of the check.

``python -m benchmarks.gpu_check.subject CHECK``, CHECK as JSON, calibrates all of them.
"""

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
    """A calibrated network, a photograph of its input size, and a session that has the network and caches no views."""

    check: Check
    model: verify.Subject
    db: Session
    _prepared: dict[str, Prepared] = field(default_factory=dict, repr=False)

    def query(self, clause: str, patch: tuple[int, int] = PATCH, precision: str = "fp32") -> str:
        """A query for the logits of all classes with black patches; ``clause`` has the positions."""
        return (
            f"OCCLUDE $image WITH patch({patch[0]}, {patch[1]}) FILL black {clause} USING {self.model.name} "
            f"FOR ALL CLASSES SCORE logit PRECISION {precision} ON {self.check.on}"
        )

    @cached_property
    def photo(self) -> NDArray[np.uint8]:
        """The photograph, uint8 [H, W, 3]."""
        return photos.photo(PHOTO, self.model.size)

    @cached_property
    def image(self) -> Tensor:
        """The normalised photograph, float32 [3, H, W]."""
        return self.model.normalise(self.photo.astype(np.float32))

    @property
    def fill(self) -> Tensor:
        """Normalised black, float32 [3]."""
        return self.model.normalise(np.zeros((1, 1, 3), np.float32))[:, 0, 0]

    def run(self, text: str, positions: IntArray | None = None) -> HeatMap:
        """Run a query on the photograph, at ``positions`` [n, 2] if it has AT."""
        heat_map = self.db.execute(text, {"image": self.photo, "positions": positions})
        assert isinstance(heat_map, HeatMap)
        return heat_map

    def seconds(self, text: str, positions: IntArray | None = None) -> float:
        """Seconds of :meth:`run`, until the values are on the host."""
        return clock(partial(self.run, text, positions))

    def prepared(self, precision: str) -> Prepared:
        """The module as full inference runs it at a precision; prepared once."""
        if precision not in self._prepared:
            self._prepared[precision] = Prepared(self.model.module, precision, self.check.device)
        return self._prepared[precision]

    def free(self, patch: tuple[int, int] = PATCH) -> tuple[int, int]:
        """The largest (y, x) of a patch inside the image, in pixels."""
        return self.model.size[0] - patch[0], self.model.size[1] - patch[1]

    def grid(self, stride: int, patch: tuple[int, int] = PATCH) -> IntArray:
        """The positions of a map of that stride, int64 [n, 2]."""
        return verify.grid(self.free(patch), (stride, stride))


def clock(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def load_subject(check: Check, name: str) -> Subject:
    """The network ``name``, calibrated if it is not yet; raises kdb.Error if it needs a package that is missing."""
    model = _load(check.work, name, check.size)
    db = model.connect()
    db.execute("SET view_budget = 0")
    return Subject(check, model, db)


def _load(work: Path, name: str, size: tuple[int, int] | None) -> verify.Subject:
    """Load a network; calibrated modules of torchvision are stored in ``work`` for later sections."""
    if name == verify.TRAINED:
        return verify.load(name)
    path = work / f"{name}.pt"
    if path.exists():
        import_torchvision()  # the file refers to its classes
        module = torch.load(path, weights_only=False)  # written below
        assert isinstance(module, nn.Module)
        return verify.Subject(name, module, size or input_size(name))
    found = verify.load(name, size)
    temporary = path.with_suffix(f".{os.getpid()}")
    torch.save(found.module, temporary)
    temporary.replace(path)
    return found


def prepare(check: Check) -> None:
    """Calibrate all networks, beginning with those whose speed is measured."""
    for name in dict.fromkeys((*check.compared, *check.networks)):
        if name != verify.TRAINED:
            _load(check.work, name, check.size)


if __name__ == "__main__":
    prepare(Check.from_json(sys.argv[1]))
