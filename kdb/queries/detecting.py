"""FOR DETECTION: one box of a detector, whose anchor and class are those of the unmodified image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special

from kdb.errors import ClauseError, ExecutionError
from kdb.kernels.base import Array
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.models.catalog import TracedModel
from kdb.models.dense import Head
from kdb.models.detection import BOX, Detections, detections
from kdb.models.reference import ModuleReference
from kdb.queries.over import cellwise

KEPT, MOST = 0.25, 300
"""The boxes that a map tells of beside its own: those of at least this score, and so many at most."""


@dataclass(frozen=True, eq=False)
class OfBox:
    """The score of a box; see :class:`kdb.queries.dense.Reading`."""

    query: syntax.Occlude
    traced: TracedModel
    number: int
    wanted: int | None
    """The box's number, from 1, and the class that it is counted within; None for all."""

    @classmethod
    def of(cls, query: syntax.Occlude, traced: TracedModel, arguments: Arguments) -> OfBox:
        """Raises BindError for classes of other kinds, and for a class that the model does not have."""
        asked = query.classes
        if isinstance(asked, syntax.Predicted):
            asked = syntax.Detection(1)
        if query.over is not None:
            raise ClauseError("{OVER} is of segmentations; the score of a detector is of one box, FOR DETECTION k")
        if not isinstance(asked, syntax.Detection):
            raise ClauseError(
                f"'{traced.model.name}' is a detector, whose scores are of boxes: "
                "FOR DETECTION k, or FOR DETECTION k CLASS c for the k-th box of a class"
            )
        wanted = None
        if asked.ref is not None:
            ref = arguments[asked.ref] if isinstance(asked.ref, syntax.Parameter) else asked.ref
            wanted = traced.model.resolve_class(ref, traced.network.output.shape.channels)
        return cls(replace(query, classes=asked), traced, asked.number, wanted)

    unknown = "the box of DETECTION is of each image; planned over all anchors"

    def planned(self) -> TracedModel:
        """All anchors are read."""
        shape = self.traced.network.output.shape
        return self.traced.scored(Head.over(np.ones((*shape.size, 1), bool), self._cellwise, np.zeros(shape.channels)))

    def on_image(self, image: Array) -> tuple[TracedModel, Detections | None]:
        """The box's anchor alone is read."""
        shape, found = self.traced.network.output.shape, self._found(image)
        members = np.arange(len(found)) if self.wanted is None else np.flatnonzero(found.classes == self.wanted)
        if len(members) < self.number:
            of_class = "" if self.wanted is None else f" of '{self.traced.model.label_of(self.wanted)}'"
            boxes = "one box" if len(members) == 1 else f"{len(members) or 'no'} boxes"
            raise ClauseError(f"{{DETECTION}} {self.number}: the detector finds {boxes}{of_class} in this image")
        chosen = int(members[self.number - 1])
        region = np.zeros((*shape.size, 1), bool)
        region.reshape(-1)[found.anchors[chosen]] = True
        ranking = np.zeros(shape.channels)
        ranking[found.classes[chosen]] = 1
        count = min(max(chosen + 1, int((found.scores >= KEPT).sum())), max(MOST, chosen + 1))
        return self.traced.scored(Head.over(region, self._cellwise, ranking)), found.first(count, chosen)

    @property
    def _cellwise(self) -> str:
        return cellwise(self.query, self.traced)

    def _found(self, image: Array) -> Detections:
        """All boxes after suppression, by the model itself.

        Raises ExecutionError where a number of the output is not finite.
        """
        model = self.traced.model
        (given,) = ModuleReference(model.whole, shared=model.shared).logits(image[None])
        outputs = given.reshape(self.traced.network.output.shape.channels + BOX, -1)
        if not np.isfinite(outputs).all():
            raise ExecutionError("the detector's output for the unmodified image is not finite (NaN or infinity)")
        assert model.iou is not None, "detectors have one"
        return detections(np.concatenate([outputs[:BOX], self._scores(outputs[BOX:])]), model.iou)

    def _scores(self, given: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """[K, A]: with the activation that the module leaves out, if there is one."""
        if self.traced.shortened or self.traced.activation == "none":
            return given
        return np.asarray(special.expit(given) if self.traced.activation == "sigmoid" else special.softmax(given, 0))
