"""Heat maps as npz files, as docs/heatmap-files.md specifies them."""

from __future__ import annotations

import json
import math
import os
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import partial
from typing import IO, TYPE_CHECKING, Any, TypeVar

import numpy as np

from kdb.errors import ExecutionError
from kdb.geometry import AXES, Space
from kdb.results.format import Format, Saving, Write
from kdb.results.provenance import Provenance
from kdb.system.limits import MAP_BYTES, MAP_NUMBERS

if TYPE_CHECKING:
    from kdb.results.compare import Difference
    from kdb.results.files import FilePath
    from kdb.results.maps import HeatMap

T = TypeVar("T")

FORMAT = 7
"""The newest version of the files that this kdb writes and reads: the least in which a map's fields are known."""

_SINCE = {
    **{"checked": 3, "fill": 4, "provenance": 4, "notes": 4, "axes": 5, "space": 5, "segments": 6, "labels": 6},
    **{"boxes": 7, "box_scores": 7, "box_classes": 7, "detection": 7, "changed_mean": 7, "changed_max": 7},
}
"""The fields that are written where there is something, and are younger than the format that all maps need."""
_ALL, _FLOATS = 2, 4
"""The formats that all maps need, and those whose image is of floats."""

_ARRAYS = (
    *("values", "positions", "image", "evaluated", "error", "fill", "segments", "labels"),
    *("boxes", "box_scores", "box_classes", "changed_mean", "changed_max"),
)
_TEXTS = (
    *("label", "score", "axes", "source", "query", "model", "model_identity", "version"),
    *("stats", "provenance", "notes"),
)
_BY_CLASS = ("baseline", "class_index", "label")
_LISTS = ("patch", "stride", "source_box", "source_size", "notes")
_SHAPES = {"checked": (2,), "space": (4, 4), "turns": (3, 2)}
"""Of the keys that are neither arrays, by class nor lists; the others are single numbers and texts."""
_OF_THIS_MACHINE = ("source_files",)
"""Fields that files do not have: they say nothing elsewhere."""

_KINDS = {
    "b": ("exact", "complete", "evaluated"),
    "iu": (
        *("format", "positions", "class_index", "patch", "stride", "source_size", "turns", "segments", "labels"),
        *("box_classes", "detection"),
    ),
    "U": _TEXTS,
}
"""The kinds of numpy's dtypes that some keys are of; the others are of numbers."""
_KIND_OF = {key: kinds for kinds, keys in _KINDS.items() for key in keys}

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
"""Of the versions that numpy writes for arrays of numbers and texts."""


def write(heat_map: HeatMap, file: IO[bytes]) -> None:
    """Write all fields: arrays as they are, ``stats`` and ``provenance`` as JSON, others as numbers or texts."""
    kept = [field.name for field in fields(heat_map) if field.name not in _OF_THIS_MACHINE]
    facts = {name: getattr(heat_map, name) for name in kept}
    stats = {field.name: getattr(heat_map.stats, field.name) for field in fields(heat_map.stats)}
    facts["stats"] = json.dumps({name: dict(v) if isinstance(v, Mapping) else v for name, v in stats.items()})
    facts["provenance"] = None if heat_map.provenance is None else heat_map.provenance.to_json()
    facts["notes"] = heat_map.notes or None
    facts["axes"] = None if heat_map.axes == AXES[2] else heat_map.axes
    facts |= {} if heat_map.space is None else {"space": heat_map.space.affine, "turns": heat_map.space.turns}
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in facts.items() if value is not None}
    needed = max([_ALL, *(version for name, version in _SINCE.items() if name in arrays)])
    needed = max(needed, _FLOATS) if heat_map.image.dtype.kind == "f" else needed
    np.savez_compressed(file, format=np.asarray(needed), **arrays)


def read(path: FilePath, kind: type[T], stats: type[Any]) -> T:
    """The heat map in a file; ``kind`` is HeatMap, and ``stats`` the type of its field of that name.

    Raises ExecutionError for a file that is missing, damaged, of a newer version, not a heat map, or of more bytes than
    ``limits.MAP_BYTES``.
    """
    name = os.fspath(path)
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = _arrays(archive)
        if "format" not in arrays:
            two = "query" in arrays and arrays["query"].shape == (2,)
            of_two = "; it is the difference of two maps, which numpy.load reads" if two else ""
            raise _NoMap(f"it has no 'format'{of_two}")
        _check_kind("format", arrays["format"])
        if (found := int(arrays.pop("format"))) > FORMAT:
            raise ExecutionError(f"{name!r} was written by a newer kdb (format {found}; this one reads up to {FORMAT})")
        facts: dict[str, Any] = {"stride": None, "source": None, **_facts(arrays)}
        for each, given in ((kind, facts), (stats, facts.get("stats", {}))):
            _check_names(each, given)
        try:
            return kind(**{**facts, "stats": stats(**facts["stats"])})
        except ValueError as error:
            raise _NoMap(str(error)) from error
    except ExecutionError:
        raise
    except OSError as error:
        raise ExecutionError(f"cannot read {name!r}: {error.strerror or error}") from error
    except _NoMap as error:
        raise ExecutionError(f"{name!r} is not a heat map saved by kdb as npz: {error}") from error
    except Exception as error:  # zipfile, zlib, numpy and json each have their own for bytes that make no sense
        raise ExecutionError(f"{name!r} is not a heat map saved by kdb as npz, or is damaged") from error


class _NoMap(ValueError):
    """A file has other keys than a heat map, or something else under them."""


def _arrays(archive: zipfile.ZipFile) -> dict[str, Any]:
    """The arrays of a file; what they declare is checked before anything is allocated or unpacked for them."""
    members: dict[str, zipfile.ZipInfo] = {}
    left = MAP_BYTES
    for member in archive.infolist():
        key = member.filename.removesuffix(".npy")
        with archive.open(member) as file:
            shape, _, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
        size, nbytes = math.prod(shape), math.prod(shape) * max(dtype.itemsize, 1)
        if dtype.kind not in "biufU":
            raise _NoMap(f"'{key}' is of {dtype}")
        if key not in _ARRAYS and size > MAP_NUMBERS:
            raise _NoMap(f"'{key}' has {size} elements, more than {MAP_NUMBERS}")
        left -= max(nbytes, member.file_size)
        if left < 0:
            raise _NoMap(f"with '{key}' its arrays have more than {MAP_BYTES >> 20} MiB")
        members[key] = member
    arrays = {}
    for key, member in members.items():
        with archive.open(member) as file:
            arrays[key] = np.lib.format.read_array(file, allow_pickle=False)
        _check_characters(key, arrays[key])
    return arrays


def _check_characters(key: str, array: Any) -> None:
    """Raise _NoMap for texts with numbers of no character: Python makes strings of them, and fails on these later."""
    if array.dtype.kind == "U":
        numbers = np.frombuffer(array.tobytes(), np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
        if numbers.max(initial=0) > sys.maxunicode:
            raise _NoMap(f"'{key}' has characters that there are not")


def _facts(arrays: dict[str, Any]) -> dict[str, Any]:
    """The fields of a heat map: arrays as they are, ``stats`` as a dict, others as numbers, texts and tuples."""
    for key, array in arrays.items():
        expected = array.ndim == 1 if key in _LISTS else array.shape == _SHAPES.get(key, ())
        alike = key in _ARRAYS or key in _BY_CLASS or expected
        _check_kind(key, array, alike)
    facts = {key: array if key in _ARRAYS else array.tolist() for key, array in arrays.items()}
    facts = {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}
    if "stats" in facts:
        facts["stats"] = json.loads(facts["stats"])
        for key, value in facts["stats"].items():
            numbers = value.values() if isinstance(value, dict) else [value]
            if not all(isinstance(number, int | float) for number in numbers):
                raise _NoMap(f"'{key}' in 'stats' is {value!r}")
    if "provenance" in facts:
        try:
            facts["provenance"] = Provenance.from_json(facts["provenance"])
        except ValueError as error:
            raise _NoMap(f"'provenance' {error}") from error
    if "checked" in facts:  # a count and a ratio, in one array of floats
        positions, worst = facts["checked"]
        facts["checked"] = int(positions), worst
    if "space" in facts:
        turns = facts.pop("turns", Space.turns)
        facts["space"] = Space(arrays["space"], tuple((axis, bool(reversed)) for axis, reversed in turns))
    return facts


def _check_kind(key: str, array: Any, alike: bool = True) -> None:
    """Raise _NoMap for an array of another kind than its key has, and unless its shape is ``alike``."""
    if array.dtype.kind not in _KIND_OF.get(key, "iuf") or not alike:
        raise _NoMap(f"'{key}' is {array.dtype} {list(array.shape)}")


def _check_names(kind: type[Any], given: Mapping[str, Any]) -> None:
    """Raise _NoMap unless ``given`` names the fields of ``kind``, all those without a default among them."""
    known = [each for each in fields(kind) if each.name not in _OF_THIS_MACHINE]
    if missing := [each.name for each in known if each.default is MISSING and each.name not in given]:
        raise _NoMap(f"it has no '{missing[0]}'")
    if others := sorted(given.keys() - {each.name for each in known}):
        raise _NoMap(f"it has '{others[0]}', which no heat map has")


def _of_map(heat_map: HeatMap, saving: Saving) -> Write:
    return partial(write, heat_map)


def _of_difference(difference: Difference, saving: Saving) -> Write:
    return difference.write_npz


DATA = Format(("npz",), _of_map, _of_difference)
