"""Manifests: tables in Parquet or CSV with a column of images' paths, and perhaps of their names and true classes."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdb.errors import BindError, ExecutionError, did_you_mean, looked_in, reason
from kdb.images.readers import readers
from kdb.results.frames import import_optional

COLUMNS = ("path", "id", "truth")
"""The options that name columns; others are of the images' reader."""

Truth = str | int | None

_INDEX = re.compile("0|[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Manifest:
    """The rows of a manifest: paths as they are written, and where the table has them names and true classes."""

    paths: Sequence[str]
    ids: Sequence[str] | None = None
    truths: Sequence[Truth] | None = None


def read(path: str, options: Mapping[str, Any]) -> Manifest:
    """The manifest at ``path``, whose columns ``options`` name: ``path``, ``id``, ``truth``.

    Paths are in a column of that name by default; a column ``truth`` is taken where there is one, and no column for
    names.  Raises BindError for a column that is not there, or not of texts (for true classes of whole numbers too),
    and for a row without a path or a name; ExecutionError for a file that cannot be read.
    """
    table = _table(path)
    twice = [name for name, count in Counter(table.column_names).items() if count > 1]
    if twice:
        raise BindError(f"the manifest '{path}' has the column '{twice[0]}' more than once")
    known = (*COLUMNS, *(option for reader in readers() for option in reader.options))
    for key in options:
        if key not in known:
            raise BindError(
                f"MANIFEST has no option '{key}'{did_you_mean(key, known)}; it has {', '.join(COLUMNS)}, "
                "and others are of the images' reader"
            )
    wanted = {key: options[key] for key in COLUMNS if key in options}
    for key, name in wanted.items():
        if not isinstance(name, str) or name not in table.column_names:
            hint = did_you_mean(str(name), table.column_names)
            raise BindError(f"the manifest '{path}' has no column '{name}' for {key}{hint or _listed(table)}")
    if "path" not in wanted and "path" not in table.column_names:
        hint = did_you_mean("path", table.column_names) or _listed(table)
        raise BindError(f"the manifest '{path}' has no column 'path'{hint}; name it as in (path = 'file')")
    if "truth" not in wanted and "truth" in table.column_names:
        wanted["truth"] = "truth"
    paths = _texts(table, wanted.get("path", "path"), path)
    if not paths:
        raise BindError(f"the manifest '{path}' has no rows")
    ids = _texts(table, wanted["id"], path, numbers=True) if "id" in wanted else None
    return Manifest(paths, ids, _truths(table, wanted["truth"], path) if "truth" in wanted else None)


def _listed(table: Any) -> str:
    names = [str(name) for name in table.column_names]
    return f"; it has {', '.join(names[:10])}{' and others' if len(names) > 10 else ''}"


def _table(path: str) -> Any:
    """The pyarrow Table in a file."""
    import_optional("pyarrow")
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in (".parquet", ".pq", ".csv"):
        raise BindError(f"a manifest is a .parquet or a .csv file, not '{path}'")
    if not os.path.isfile(path):
        raise ExecutionError(f"cannot read '{path}': no such file{looked_in(path)}")
    try:
        if suffix == ".csv":
            return _csv(path)
        return import_optional("pyarrow.parquet").read_table(path)
    except (OSError, ValueError) as error:  # pyarrow's own are ValueErrors
        raise ExecutionError(f"cannot read the manifest '{path}': {reason(error)}") from error


def _csv(path: str) -> Any:
    """The table in a CSV file, all texts: what looks like a number may be somebody's name, as 007."""
    pyarrow, csv = import_optional("pyarrow"), import_optional("pyarrow.csv")
    with csv.open_csv(path) as reader:
        names = reader.schema.names
    options = csv.ConvertOptions(column_types=dict.fromkeys(names, pyarrow.string()), strings_can_be_null=True)
    return csv.read_csv(path, convert_options=options)


def _column(table: Any, name: str) -> Any:
    """A column, without a dictionary in between."""
    pyarrow = import_optional("pyarrow")
    column = table.column(name)
    return column.cast(column.type.value_type) if pyarrow.types.is_dictionary(column.type) else column


def _texts(table: Any, name: str, path: str, numbers: bool = False) -> list[str]:
    types = import_optional("pyarrow.types")
    column = _column(table, name)
    if types.is_null(column.type) or len(column) == 0:
        found: list[str | None] = [None] * len(column)
    elif types.is_string(column.type) or types.is_large_string(column.type):
        found = column.to_pylist()
    elif numbers and types.is_integer(column.type):
        found = [None if each is None else str(each) for each in column.to_pylist()]
    else:
        raise BindError(f"the column '{name}' of the manifest '{path}' is of {column.type}; texts are expected")
    missing = next((row for row, each in enumerate(found) if not each), None)
    if missing is not None:
        raise BindError(f"the manifest '{path}' has no '{name}' in row {missing + 1}")
    return [each for each in found if each]


def _truths(table: Any, name: str, path: str) -> list[Truth]:
    types = import_optional("pyarrow.types")
    column = _column(table, name)
    if types.is_null(column.type):
        return [None] * len(column)
    if types.is_boolean(column.type):
        return [None if each is None else int(each) for each in column.to_pylist()]
    if types.is_floating(column.type):  # what pandas makes of whole numbers with gaps
        found = [None if each is None or each != each else each for each in column.to_pylist()]
        if all(each is None or each.is_integer() for each in found):
            return [None if each is None else int(each) for each in found]
    elif types.is_integer(column.type) or types.is_string(column.type) or types.is_large_string(column.type):
        truths: list[Truth] = column.to_pylist()
        # Whole numbers of a file of texts are indices of classes, unless they are written otherwise, as 001.
        indices = all(each is None or (isinstance(each, str) and _INDEX.fullmatch(each)) for each in truths)
        return [None if each is None else int(each) for each in truths] if indices else truths
    raise BindError(f"the column '{name}' of the manifest '{path}' is of {column.type}; true classes are texts or ints")
