"""Which cells of a dense output change where the model itself is run for every position."""

from __future__ import annotations

import numpy as np

from kdb.execution.changes import Changes
from kdb.geometry import Boxes
from kdb.kernels.base import Array, Delta
from kdb.models.dense import Head, HeadReference
from kdb.models.reference import Logits, ModuleReference


class ObservedReference(HeadReference):
    """The model itself with a head, which tells ``changes`` how its cells differ from those of ``image``."""

    def __init__(self, model: ModuleReference, head: Head, image: Array, changes: Changes) -> None:
        super().__init__(model, head)
        self._changes, self._unmodified = changes, head.cells(model.logits(image[None]))

    def logits(self, images: Array) -> Logits:
        """[n, K]: the means."""
        outputs = self._model.logits(images)
        changed = np.moveaxis(self._head.cells(outputs) - self._unmodified, 1, -1).astype(np.float32)
        whole = Boxes.whole(len(images), self._head.part.extent)
        self._changes.take(Delta(whole, changed), np.ones(len(images), bool))
        return self._head.mean(outputs)
