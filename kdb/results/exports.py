"""Results as text for other programs: JSON, a line a result, and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdb.errors import Error, printable
from kdb.geometry import AXES
from kdb.results import frames
from kdb.results.maps import HeatMap
from kdb.results.several import HeatMaps
from kdb.results.strongest import strongest as farthest
from kdb.results.tables import Headed, PlanText, Table


@dataclass(frozen=True)
class Strongest:
    """Of one class of a heat map: the position that changes its score most, and the score there."""

    index: int
    label: str
    baseline: float
    score: float
    position: tuple[int, ...]


def strongest(heat_map: HeatMap) -> list[Strongest]:
    """One for each class, in the map's order."""
    values, indices, labels = heat_map.by_class()
    corners = heat_map.positions.reshape(-1, len(heat_map.axes))
    found = []
    for row, index, label, baseline in zip(values, indices, labels, np.ravel(heat_map.baseline), strict=True):
        centre = 0.0 if heat_map.score.endswith("drop") else baseline
        most = farthest(row, centre)
        found.append(Strongest(index, label, float(baseline), float(row[most]), tuple(corners[most].tolist())))
    return found


def as_json(result: HeatMap | HeatMaps | Table) -> str:
    """One line: of a table a list of objects, of a heat map an object, of several heat maps a list of them.

    An image that failed is an object with its ``source`` and the ``error``.  What is not finite is null.
    """
    return json.dumps(_plain(_value(result)), allow_nan=False).replace("\x7f", "\\u007f")


def as_csv(result: HeatMap | HeatMaps | Table) -> str:
    """Lines with a header, texts in quotes: a table as it is, a heat map as its cells, without images that failed.

    Texts are ``printable``, since whatever reads CSV may well be a terminal.
    """
    if isinstance(result, Table):
        return _lines(result.columns, result.rows)
    maps = (
        [result] if isinstance(result, HeatMap) else [each for each in result.outcomes() if isinstance(each, HeatMap)]
    )
    axes = maps[0].axes if maps else AXES[2]  # several maps are of one model
    return _lines(frames.columns(axes), (row for each in maps for row in _cells(each)))


def _value(result: HeatMap | HeatMaps | Table) -> Any:
    if isinstance(result, HeatMap):
        return _summary(result)
    if isinstance(result, HeatMaps):
        outcomes = zip(result.sources, result.outcomes(), strict=True)
        return [
            {"source": name, "error": str(each)} if isinstance(each, Error) else _summary(each)
            for name, each in outcomes
        ]
    if isinstance(result, PlanText) and str(result).startswith("{"):
        return json.loads(str(result))
    rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
    return {"lines": result.lines, "rows": rows} if isinstance(result, Headed) else rows


def _summary(heat_map: HeatMap) -> dict[str, Any]:
    stats, checked = heat_map.stats, heat_map.checked
    return {
        "source": heat_map.source,
        "model": heat_map.model,
        "query": heat_map.query,
        "score": heat_map.score,
        "patch": heat_map.patch,
        "stride": heat_map.stride,
        "classes": [
            {
                "class": each.index,
                "label": each.label,
                "baseline": each.baseline,
                "strongest": {**dict(zip(heat_map.axes, each.position, strict=True)), "score": each.score},
            }
            for each in strongest(heat_map)
        ],
        "positions": stats.positions,
        "evaluated": stats.evaluated,
        "seconds": stats.seconds["total"],
        "exact": heat_map.exact,
        "complete": heat_map.complete,
        "ssim_estimate": heat_map.ssim_estimate,
        "checked": None if checked is None else {"positions": checked[0], "worst": checked[1]},
        "notes": heat_map.notes,
        "kdb": heat_map.version,
    }


def _cells(heat_map: HeatMap) -> Iterator[Sequence[object]]:
    values, indices, labels = heat_map.by_class()
    for row, index, label in zip(values, indices, labels, strict=True):
        for position, score in zip(heat_map.positions.reshape(-1, len(heat_map.axes)).tolist(), row, strict=True):
            if not np.isnan(score):
                yield heat_map.source, index, label, *position, score


def _lines(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(columns)
    writer.writerows([printable(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return out.getvalue().removesuffix("\n")


def _plain(value: Any) -> Any:
    """``value`` of what JSON has."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)
