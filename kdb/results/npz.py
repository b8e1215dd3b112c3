"""Heat maps as npz files, as docs/heatmap-files.md specifies them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import IO, TYPE_CHECKING, Any, TypeVar

import numpy as np

from kdb.errors import ExecutionError
from kdb.results.files import FilePath

if TYPE_CHECKING:
    from kdb.results.maps import HeatMap

T = TypeVar("T")

FORMAT = 3
"""The newest version of the files that this kdb writes and reads: the least in which a map's fields are known."""

_SINCE = {"checked": 3}
"""The fields that are written where they are not None, and are younger than the format that all maps need."""
_ALL = 2

_ARRAYS = ("values", "positions", "image", "evaluated", "error")


def write(heat_map: HeatMap, file: IO[bytes]) -> None:
    """Write all fields: arrays as they are, ``stats`` as JSON, others as arrays of numbers or texts."""
    facts = {field.name: getattr(heat_map, field.name) for field in fields(heat_map)}
    stats = {field.name: getattr(heat_map.stats, field.name) for field in fields(heat_map.stats)}
    facts["stats"] = json.dumps({name: dict(v) if isinstance(v, Mapping) else v for name, v in stats.items()})
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in facts.items() if value is not None}
    needed = max([_ALL, *(version for name, version in _SINCE.items() if name in arrays)])
    np.savez_compressed(file, format=np.asarray(needed), **arrays)


def read(path: FilePath, make: Callable[[dict[str, Any]], T]) -> T:
    """What ``make`` makes of a file's fields, ``stats`` among them as a dict.

    Raises ExecutionError for a file that is missing, damaged, of a newer version, or not a heat map.
    """
    name = os.fspath(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if (found := int(arrays.pop("format"))) <= FORMAT:
            facts: dict[str, Any] = {"stride": None, "source": None}
            facts |= {name: arrays.pop(name) for name in _ARRAYS if name in arrays}
            facts["stats"] = json.loads(arrays.pop("stats").item())
            for each, array in arrays.items():
                value = array.tolist()
                facts[each] = tuple(value) if isinstance(value, list) else value
            if "checked" in facts:  # a count and a ratio, in one array of floats
                facts["checked"] = int(facts["checked"][0]), facts["checked"][1]
            return make(facts)
    except OSError as error:
        raise ExecutionError(f"cannot read {name!r}: {error.strerror or error}") from error
    except Exception as error:  # zipfile, zlib, numpy and json each have their own for bytes that make no sense
        raise ExecutionError(f"{name!r} is not a heat map saved by kdb as npz, or is damaged") from error
    raise ExecutionError(f"{name!r} was written by a newer kdb (format {found}; this one reads up to {FORMAT})")
