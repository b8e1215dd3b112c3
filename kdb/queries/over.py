"""OVER: the region of a dense output that a query scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kdb.errors import BindError, ClauseError
from kdb.geometry import Size, spelled
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.models.catalog import TracedModel
from kdb.models.dense import Head
from kdb.models.model import Model
from kdb.queries.scoring import chosen_classes

Region = npt.NDArray[np.bool_]


def check(query: syntax.Occlude, traced: TracedModel, arguments: Arguments) -> None:
    """Raise BindError for OVER where the model gives vectors, and for a region that is not one of its output."""
    if not traced.dense:
        if query.over is not None:
            raise ClauseError(
                f"{{OVER}} is for models that give maps; '{traced.model.name}' gives a number for each class"
            )
        return
    if query.device == "gpu":
        raise BindError("dense outputs are scored on the processor alone; leave ON gpu out")
    _fixed(query.over, traced.network.output.shape.size, arguments)


def is_where_it_wins(over: syntax.Over | None) -> bool:
    """Whether the region is where each class wins on the unmodified image."""
    return over is None or isinstance(over, syntax.OverPredicted)


def is_of_each_image(query: syntax.Occlude) -> bool:
    """Whether the unmodified image decides the region or the classes."""
    return is_where_it_wins(query.over) or isinstance(query.classes, syntax.Predicted | syntax.TopClasses)


def planned(query: syntax.Occlude, traced: TracedModel, arguments: Arguments) -> TracedModel:
    """The model with a head over the query's region, or where that is of each image over the whole output."""
    shape = traced.network.output.shape
    region = _fixed(query.over, shape.size, arguments)
    everywhere = np.ones((*shape.size, 1), bool)
    ranking = np.zeros(shape.channels)
    return traced.scored(Head.over(everywhere if region is None else region, _cellwise(query, traced), ranking))


def on_image(
    query: syntax.Occlude, traced: TracedModel, outputs: npt.NDArray[Any], arguments: Arguments
) -> TracedModel:
    """The model with a head over the query's region, given its ``outputs`` [K cells] for the unmodified image.

    Raises BindError where a class that the query names wins nowhere, and its region is where it wins.
    """
    shape = traced.network.output.shape
    maps = np.moveaxis(outputs.reshape(shape.channels, *shape.size), 0, -1)
    wins = _wins(maps, traced.activation)
    ranking = wins.reshape(-1, shape.channels).sum(axis=0).astype(np.float64)
    if traced.model.background is not None:
        ranking[traced.model.resolve_class(traced.model.background, shape.channels)] = -1
    region = _fixed(query.over, shape.size, arguments)
    if region is None:
        classes, _ = chosen_classes(query.classes, traced.model, ranking, arguments)
        region = np.zeros_like(wins)
        region[..., list(classes)] = wins[..., list(classes)]
        if not isinstance(query.classes, syntax.AllClasses):
            _refuse_empty(query.classes, traced.model, classes, region)
    return traced.scored(Head.over(region, _cellwise(query, traced), ranking))


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


def _cellwise(query: syntax.Occlude, traced: TracedModel) -> str:
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
