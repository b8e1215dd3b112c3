"""OVER: the region of a dense output that a query scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kdb.errors import ClauseError
from kdb.geometry import Size, spelled
from kdb.kernels.base import Array
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.models.catalog import TracedModel
from kdb.models.dense import Head
from kdb.models.detection import Detections
from kdb.models.model import Model
from kdb.queries.clauses import approximations
from kdb.queries.scoring import chosen_classes

Region = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class OfRegion:
    """The mean over a region; see :class:`kdb.queries.dense.Reading`.

    ``region`` bool [*size, 1] is the same for all images and classes; None for where each class wins.
    """

    query: syntax.Occlude
    traced: TracedModel
    arguments: Arguments
    region: Region | None

    @classmethod
    def of(cls, query: syntax.Occlude, traced: TracedModel, arguments: Arguments) -> OfRegion:
        """Raises BindError for a region that is not one of the output."""
        return cls(query, traced, arguments, _fixed(query.over, traced.network.output.shape.size, arguments))

    @property
    def unknown(self) -> str:
        """That the region is where a class wins."""
        return "OVER PREDICTED is of each image; planned over the whole output" if self.region is None else ""

    def planned(self) -> TracedModel:
        """The whole output is read where the region is not known."""
        shape = self.traced.network.output.shape
        region = np.ones((*shape.size, 1), bool) if self.region is None else self.region
        return self._scored(region, np.zeros(shape.channels))

    def on_image(self, image: Array) -> tuple[TracedModel, Detections | None]:
        """Raises BindError where a class that the query names wins nowhere, and its region is where it wins."""
        if self.region is not None and not isinstance(self.query.classes, syntax.Predicted | syntax.TopClasses):
            return self.planned(), None
        shape, model = self.traced.network.output.shape, self.traced.model
        (outputs,) = self.traced.whole.logits(image[None])
        maps = np.moveaxis(outputs.reshape(shape.channels, *shape.size), 0, -1)
        wins = _wins(maps, self.traced.activation)
        ranking = wins.reshape(-1, shape.channels).sum(axis=0).astype(np.float64)
        if model.background is not None:
            ranking[model.resolve_class(model.background, shape.channels)] = -1
        region = self.region
        if region is None:
            classes, _ = chosen_classes(self.query.classes, model, ranking, self.arguments)
            region = np.zeros_like(wins)
            region[..., list(classes)] = wins[..., list(classes)]
            if not isinstance(self.query.classes, syntax.AllClasses):
                _refuse_empty(self.query.classes, model, classes, region)
        return self._scored(region, ranking), None

    def _scored(self, region: Region, ranking: npt.NDArray[np.float64]) -> TracedModel:
        observed = isinstance(self.query.over, syntax.OverAll) and not approximations(self.query)
        return self.traced.scored(Head.over(region, cellwise(self.query, self.traced), ranking, observed))


def _refuse_empty(spec: syntax.ClassSpec, model: Model, classes: tuple[int, ...], region: Region) -> None:
    """Raise BindError for a class without a cell."""
    for index in classes:
        if not region[..., index].any():
            named = isinstance(spec, syntax.ClassOf | syntax.Classes)
            which = f"'{model.label_of(index)}' wins nowhere" if named else "too few classes win anywhere"
            raise ClauseError(f"{which} in the output for this image; {{OVER}} ALL scores the whole output")


def _wins(maps: npt.NDArray[Any], activation: str) -> Region:
    """bool [*size, K]: where each class wins, of outputs [*size, K]: the largest; by a sigmoid each above zero."""
    if activation == "sigmoid":
        return np.asarray(maps > 0)
    return np.asarray(maps.argmax(axis=-1)[..., None] == np.arange(maps.shape[-1]))


def cellwise(query: syntax.Occlude, traced: TracedModel) -> str:
    """The activation that is taken cell by cell."""
    return "none" if query.score.startswith("logit") else traced.activation


def _fixed(over: syntax.Over | None, size: Size, arguments: Arguments) -> Region | None:
    """bool [*size, 1]: the region that is the same for all images and classes; None for where each class wins."""
    region = np.zeros((*size, 1), bool)
    if over is None or isinstance(over, syntax.OverPredicted):
        return None
    if isinstance(over, syntax.OverAll):
        return ~region
    if isinstance(over, syntax.OverMask):
        mask = arguments.array(over.parameter)
        if mask.dtype != np.bool_ or mask.shape != size or not mask.any():
            raise ClauseError(
                "the mask of {OVER} is a bool array {size}, the output's size, that is true somewhere; got {given}",
                size=list(size),
                given=f"{mask.dtype} {list(mask.shape)}",
            )
        return np.asarray(mask[..., None])
    if len(over.start) != len(size):
        numbers = len(over.start) + len(over.extent)
        raise ClauseError(
            f"the box of {{OVER}} takes {2 * len(size)} numbers, a start and an extent for each axis of the output of "
            f"{spelled(size)}; got {numbers}"
        )
    region[tuple(slice(start, start + extent) for start, extent in zip(over.start, over.extent, strict=True))] = True
    if not region.any():
        raise ClauseError(f"{{OVER}} {over.numbers} has no cell of the output of {spelled(size)}")
    return region
