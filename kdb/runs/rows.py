"""The rows of a run's results: what is told of each image, and the table of all of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from kdb.errors import Error, printable
from kdb.results.exports import strongest
from kdb.results.frames import import_optional
from kdb.results.maps import HeatMap
from kdb.runs.images import Images, Item
from kdb.runs.state import State

ERROR_CHARACTERS = 1000
"""Of an error's message that a row keeps: rows are small, whatever goes wrong."""


def done(item: Item, heat_map: HeatMap, seconds: float, node: str, map_file: str) -> dict[str, Any]:
    """The row of an image whose map is at ``map_file`` in the run's folder; it took so many ``seconds`` in all."""
    values, indices, labels = heat_map.by_class()
    found = strongest(heat_map)
    columns: dict[str, list[Any]] = {
        "class_index": list(map(int, indices)),
        "label": list(labels),
        "baseline": [_number(each.baseline) for each in found],
        "min": [_number(np.nanmin(row)) if np.isfinite(row).any() else None for row in values],
        "max": [_number(np.nanmax(row)) if np.isfinite(row).any() else None for row in values],
        "peak": [list(each.position) for each in found],
    }
    provenance = heat_map.provenance
    return {
        "number": item.number,
        "sha256": None if provenance is None else provenance.source_sha256,
        "status": "done",
        "node": node,
        "device": None if provenance is None else provenance.device,
        "seconds": round(seconds, 6),
        **{name: each if heat_map.has_class_axis else each[0] for name, each in columns.items()},
        "ssim_estimate": None if heat_map.ssim_estimate is None else float(heat_map.ssim_estimate),
        "exact": heat_map.exact,
        "checked_error": None if heat_map.checked is None else _number(heat_map.checked[1]),
        "map": map_file,
    }


def failed(
    item: Item, error: BaseException, seconds: float | None, node: str, sha256: str | None = None, kind: str = ""
) -> dict[str, Any]:
    """The row of an image that has no map, because of an ``error`` of that ``kind``, by default its own."""
    text = str(error) if isinstance(error, Error) else printable(str(error))
    return {
        "number": item.number,
        "sha256": sha256,
        "status": "failed",
        "error_kind": kind or type(error).__name__,
        "error": text[:ERROR_CHARACTERS],
        "node": node,
        "seconds": None if seconds is None else round(seconds, 6),
    }


def _number(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


# ---- the table


def schema(images: Images, class_axis: bool) -> Any:
    """The columns of results.parquet; those of a class are lists where the query asks for several."""
    pyarrow = import_optional("pyarrow")
    text, real, whole = pyarrow.string(), pyarrow.float64(), pyarrow.int32()

    def by_class(kind: Any) -> Any:
        return pyarrow.list_(kind) if class_axis else kind

    return pyarrow.schema(
        [
            ("id", text),
            ("path", text),
            ("sha256", text),
            ("status", text),
            ("error_kind", text),
            ("error", text),
            ("attempts", whole),
            ("node", text),
            ("device", text),
            ("seconds", real),
            ("class_index", by_class(whole)),
            ("label", by_class(text)),
            ("truth", images.truth_type),
            ("baseline", by_class(real)),
            ("min", by_class(real)),
            ("max", by_class(real)),
            ("peak", by_class(pyarrow.list_(whole))),
            ("ssim_estimate", real),
            ("exact", pyarrow.bool_()),
            ("checked_error", real),
            ("map", text),
        ]
    )


def batches(images: Images, state: State, class_axis: bool) -> Iterator[Any]:
    """Record batches of the images that have a row, in the list's order; few are in memory at once."""
    pyarrow = import_optional("pyarrow")
    columns = schema(images, class_axis)
    number = 0
    for part in images.batches():
        rows = state.rows(np.arange(number, number + len(part)))
        listed = []
        for name, path, truth in part:
            if (row := rows.get(number)) is not None:
                listed.append({**row, "id": name, "path": path, "truth": truth, "attempts": int(state.starts[number])})
            number += 1
        yield pyarrow.RecordBatch.from_pylist(listed, schema=columns)
