"""Queries of one position: that of a map's query with the patch there, by kdb or by the model itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from kdb.errors import BindError
from kdb.language import syntax
from kdb.results.maps import HeatMap
from kdb.ui.maps import places, query_of

POSITION = "one_position"
"""The parameter that holds it; of a segment its label in an array."""


def query_at(
    heat_map: HeatMap, parameters: Mapping[str, Any], at: int, which: int
) -> tuple[syntax.Occlude, dict[str, Any]]:
    """The exact query of a map's position of flat index ``at``, for its class ``which``, and its parameters."""
    query = query_of(heat_map)
    plain = _plain(query)
    if query.to is None and not isinstance(query.classes, syntax.Detection):
        plain = replace(plain, classes=syntax.ClassOf(int(heat_map.by_class()[1][which])))
    parameter = syntax.Parameter(POSITION)
    if isinstance(query.patch, syntax.Segments):
        assert heat_map.segments is not None and heat_map.labels is not None, "the map is of segments"
        label = heat_map.segments[at]
        alone = np.where(heat_map.labels == label, label, 0)
        segment = replace(query.patch, parameter=parameter, in_source=False)
        return replace(plain, patch=segment), {**parameters, POSITION: alone}
    return replace(plain, region=syntax.At(parameter)), {**parameters, POSITION: places(heat_map)[at, None]}


def query_here(
    query: syntax.Occlude, parameters: Mapping[str, Any], position: list[int]
) -> tuple[syntax.Occlude, dict[str, Any]]:
    """The exact query of one position of a query without a map, for its first class, and its parameters.

    Raises BindError for segments, of which only a map knows where they are.
    """
    if isinstance(query.patch, syntax.Segments):
        raise BindError("run the query first: its map has the segments that can be tried")
    plain, classes = _plain(query), query.classes
    if isinstance(classes, syntax.TopClasses | syntax.AllClasses):
        plain = replace(plain, classes=syntax.Predicted())
    elif isinstance(classes, syntax.Classes):
        plain = replace(plain, classes=syntax.ClassOf(classes.refs[0]))
    return replace(plain, region=syntax.At(syntax.Parameter(POSITION))), {**parameters, POSITION: np.array([position])}


def _plain(query: syntax.Occlude) -> syntax.Occlude:
    """A query without its positions and without what permits an approximation."""
    return replace(
        query, region=None, stride=None, exact=False, approximate=None, threshold=None, drill_down=None,
        budget_seconds=None, precision="fp32", into=None, run=None,
    )  # fmt: skip
