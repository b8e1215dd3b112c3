"""The cards of a run, from its folder."""

from __future__ import annotations

from typing import Any

from kdb.errors import Error, ExecutionError, printable
from kdb.results.several import HeatMaps
from kdb.runs.run import Run
from kdb.ui.maps import finite, thumbnail
from kdb.ui.wire import Content, Packing

CARDS = 24
"""Cards of one answer."""


def of_run(run: Run, folder: str, offset: int, label: str | None) -> tuple[Content, Packing]:
    """The event of some cards of a run, those from ``offset`` on of all or of one ``label``.

    Raises ExecutionError where the run's folder cannot be read, or pyarrow is missing.
    """
    packing, table, progress = Packing(), run.table(), run.progress
    columns = {name: table.column(name).to_pylist() for name in ("id", "status", "label", "baseline", "error")}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for row in rows:
        row["label"], row["baseline"] = printable(_first(row["label"]) or ""), finite(_first(row["baseline"]))
    places = {row["id"]: i for i, row in enumerate(row for row in rows if row["status"] == "done")}
    try:
        maps: HeatMaps | None = run.maps()
    except ExecutionError:  # they are of a format that is not read
        maps = None
    labels = sorted({row["label"] for row in rows} - {""})
    chosen = [row for row in rows if label is None or row["label"] == label]
    cards = [
        {
            "image": row["id"],
            "status": row["status"],
            "label": row["label"],
            "baseline": row["baseline"],
            "error": row["error"] or "",
            "thumbnail": _thumbnail(maps, places.get(row["id"]), packing),
        }
        for row in chosen[offset : offset + CARDS]
    ]
    content = {
        "kind": "gallery",
        "folder": folder,
        "query": run.query,
        "done": progress.done,
        "failed": progress.failed,
        "total": progress.total,
        "labels": labels,
        "offset": offset,
        "cards": cards,
        "more": len(chosen) > offset + CARDS,
    }
    return content, packing


def _first(value: Any) -> Any:
    """The first of a list, as a class axis makes of a column; else the value."""
    return (value[0] if value else None) if isinstance(value, list) else value


def _thumbnail(maps: HeatMaps | None, place: int | None, packing: Packing) -> Content | None:
    if maps is None or place is None:
        return None
    try:
        return packing(thumbnail(maps[place]))
    except Error:  # the card says that it is done, and opening it says what is wrong
        return None
