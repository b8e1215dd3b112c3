"""What a query scores of a dense output: the region that OVER names, or one box of a detector."""

from __future__ import annotations

from typing import Protocol

from kdb.errors import ClauseError, DeviceError
from kdb.kernels.base import Array
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.models.catalog import TracedModel
from kdb.models.detection import Detections
from kdb.queries.detecting import OfBox
from kdb.queries.over import OfRegion


class Reading(Protocol):
    """What a query reads of the output of a model that gives maps."""

    @property
    def query(self) -> syntax.Occlude:
        """The query, which says what is read."""

    @property
    def unknown(self) -> str:
        """In words, what only an image tells; empty where it is the same for all."""

    def planned(self) -> TracedModel:
        """The model with a head, over the whole output where only an image tells."""

    def on_image(self, image: Array) -> tuple[TracedModel, Detections | None]:
        """The model with the head for an image float32 [*size, C], and a detector's boxes on it.

        Raises BindError where there is nothing on it that the query names.
        """


def reading(query: syntax.Occlude, traced: TracedModel, arguments: Arguments) -> Reading | None:
    """What the query reads of a dense output; None for models that give a number for each class.

    Raises BindError for clauses that are not for the model, or a region that is not one of its output, and DeviceError
    for ON gpu.
    """
    detector = traced.model.head is not None
    if isinstance(query.classes, syntax.Detection) and not detector:
        raise ClauseError(
            f"{{DETECTION}} is of the boxes of a detector; '{traced.model.name}' has none: "
            "a detector is registered with its head, as head = 'yolo'"
        )
    if not traced.dense:
        if query.over is not None:
            raise ClauseError(
                f"{{OVER}} is for models that give maps; '{traced.model.name}' gives a number for each class"
            )
        return None
    if query.device == "gpu":
        raise DeviceError("dense outputs are scored on the processor alone; leave ON gpu out")
    if query.to is not None:
        raise ClauseError("{SCORE} cosine is for models that give vectors, and this one gives maps")
    return OfBox.of(query, traced, arguments) if detector else OfRegion.of(query, traced, arguments)
