"""One position of a map, or of a query that has none yet: its score by kdb, with the image, and by the model itself."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdb.errors import BindError
from kdb.language import syntax
from kdb.results.maps import HeatMap
from kdb.results.tables import Table
from kdb.ui import maps, one
from kdb.ui.desk import Desk, shown_query_of
from kdb.ui.wire import Buffer, Content, Packing


def probe(desk: Desk, content: Content, buffers: Sequence[Buffer]) -> None:
    """Post the score of one position, and the image with the patch there."""

    def show() -> None:
        place = _place(desk, content)
        begun = time.perf_counter()
        found = desk.session.execute(str(place.query), place.parameters)
        assert isinstance(found, HeatMap), "it is of one image"
        packing = Packing()
        occluded = maps.occluded(found, 0) if place.found is None else maps.occluded(place.found, place.at)
        answer = {
            "score": float(found.values.reshape(-1)[0]),
            "baseline": float(np.ravel(found.baseline)[0]),
            "unit": found.score,
            "axes": found.axes,
            "patch": [*found.patch],
            "milliseconds": 1e3 * (time.perf_counter() - begun),
            "occluded": packing(occluded),
        }
        desk.post({"kind": "probe", "id": content["id"], **place.named, **answer}, packing.buffers)

    desk.ask("probe", content["id"], show)


def check(desk: Desk, content: Content, buffers: Sequence[Buffer]) -> None:
    """Post the score of one position by full inference, beside kdb's."""

    def show() -> None:
        place = _place(desk, content)
        begun = time.perf_counter()
        table = desk.session.execute(f"VERIFY {place.query}", place.parameters)
        assert isinstance(table, Table), "VERIFY gives one"
        row = dict(zip(table.columns, table.rows[0], strict=True))
        kdb, own, off, allowed = (float(row[column]) for column in ("kdb", "model", "difference", "allowed"))
        ratio = maps.finite(off / allowed) if allowed else None
        milliseconds = 1e3 * (time.perf_counter() - begun)
        answer = {"kdb": kdb, "model": own, "difference": off, "ratio": ratio, "milliseconds": milliseconds}
        desk.post({"kind": "checked", "id": content["id"], **place.named, **answer}, [])

    desk.ask("check", content["id"], show)


@dataclass(frozen=True, eq=False)
class _Place:
    """A position that was asked for: the query of it alone, and its map with the position's flat index, if any."""

    query: syntax.Occlude
    parameters: Mapping[str, Any]
    named: Content
    found: HeatMap | None = None
    at: int = 0


def _place(desk: Desk, content: Content) -> _Place:
    """The position of a map that is nearest to the one asked for; of a query without a map, that one itself."""
    position = [int(each) for each in content["position"]]
    if content.get("map") is None:
        query = shown_query_of(str(content["text"]))
        if query is None:
            raise BindError("a position is one of an OCCLUDE query, and the text is none")
        desk.register_sample(query)
        return _Place(*one.query_here(query, desk.parameters, position), {"map": None, "position": position})
    kept = desk.history[int(content["map"])]
    found = kept.heat_map
    if len(position) != len(found.axes):
        raise BindError(f"a position has {len(found.axes)} numbers; got {position}")
    which = min(max(int(content["class"]), 0), len(found.by_class()[1]) - 1)
    at = maps.nearest(found, position)
    named = {"map": kept.number, "position": maps.places(found)[at].tolist()}
    return _Place(*one.query_at(found, kept.parameters, at, which), named, found, at)
