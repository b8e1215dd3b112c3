"""Results for other libraries, by Arrow's C stream: pandas, Polars and DuckDB read them.  pyarrow makes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kdb.results import frames
from kdb.results.frames import import_optional

if TYPE_CHECKING:
    from kdb.results.maps import HeatMap


def of_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """The pyarrow Table of a table; a column of several kinds of values becomes one of texts."""
    pyarrow = import_optional("pyarrow")
    arrays = []
    for values in zip(*rows, strict=True) if rows else ([] for _ in columns):
        try:
            arrays.append(pyarrow.array(values))
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
            arrays.append(pyarrow.array([None if each is None else str(each) for each in values]))
    return pyarrow.table(dict(zip(columns, arrays, strict=True)))


def of_maps(heat_maps: Iterable[HeatMap], axes: str, segments: bool) -> Any:
    """A pyarrow RecordBatchReader of the cells that have scores, a batch a map, with the columns of their data frames.

    ``axes`` are the maps' own, and ``segments`` says whether they are maps of these.  Maps are asked for one by one.
    """
    pyarrow = import_optional("pyarrow")
    names = frames.columns(axes, segments)
    kinds = {"image": pyarrow.string(), "label": pyarrow.string(), "score": pyarrow.float32()}
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.int64())) for name in names])

    def batches() -> Iterator[Any]:
        for each in heat_maps:
            listed = dict(zip(names, frames.cells(each), strict=True))
            yield pyarrow.RecordBatch.from_arrays(
                [pyarrow.array(listed[field.name], field.type) for field in schema], schema=schema
            )

    return pyarrow.RecordBatchReader.from_batches(schema, batches())
