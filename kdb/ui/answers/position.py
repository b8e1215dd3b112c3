"""One position of a map: its score by kdb, with the image that the model is given, and by the model itself."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from kdb.errors import BindError
from kdb.results.maps import HeatMap
from kdb.results.tables import Table
from kdb.ui import maps, one
from kdb.ui.desk import Desk
from kdb.ui.history import Kept
from kdb.ui.wire import Buffer, Content, Packing


def probe(desk: Desk, content: Content, buffers: Sequence[Buffer]) -> None:
    """Post the score of one position, and the image with the patch there."""

    def show() -> None:
        kept, at, which = _place(desk, content)
        begun = time.perf_counter()
        query, parameters = one.query_at(kept.heat_map, kept.parameters, at, which)
        found = desk.session.execute(str(query), parameters)
        assert isinstance(found, HeatMap), "it is of one image"
        packing = Packing()
        answer = {
            "score": float(found.values.reshape(-1)[0]),
            "baseline": float(np.ravel(found.baseline)[0]),
            "milliseconds": 1e3 * (time.perf_counter() - begun),
            "occluded": packing(maps.occluded(kept.heat_map, at)),
        }
        desk.post({"kind": "probe", "id": content["id"], **_named(kept, at), **answer}, packing.buffers)

    desk.ask("probe", content["id"], show)


def check(desk: Desk, content: Content, buffers: Sequence[Buffer]) -> None:
    """Post the score of one position by full inference, beside kdb's."""

    def show() -> None:
        kept, at, which = _place(desk, content)
        begun = time.perf_counter()
        query, parameters = one.query_at(kept.heat_map, kept.parameters, at, which)
        table = desk.session.execute(f"VERIFY {query}", parameters)
        assert isinstance(table, Table), "VERIFY gives one"
        row = dict(zip(table.columns, table.rows[0], strict=True))
        kdb, own, off, allowed = (float(row[column]) for column in ("kdb", "model", "difference", "allowed"))
        ratio = maps.finite(off / allowed) if allowed else None
        milliseconds = 1e3 * (time.perf_counter() - begun)
        answer = {"kdb": kdb, "model": own, "difference": off, "ratio": ratio, "milliseconds": milliseconds}
        desk.post({"kind": "checked", "id": content["id"], **_named(kept, at), **answer}, [])

    desk.ask("check", content["id"], show)


def _place(desk: Desk, content: Content) -> tuple[Kept, int, int]:
    """The map of a request, the flat index of the position nearest to the one asked for, and the class."""
    kept = desk.history[int(content["map"])]
    found, position = kept.heat_map, [int(each) for each in content["position"]]
    if len(position) != len(found.axes):
        raise BindError(f"a position has {len(found.axes)} numbers; got {position}")
    which = min(max(int(content["class"]), 0), len(found.by_class()[1]) - 1)
    return kept, maps.nearest(found, position), which


def _named(kept: Kept, at: int) -> Content:
    return {"map": kept.number, "position": maps.places(kept.heat_map)[at].tolist()}
