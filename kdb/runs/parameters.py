"""The parameters of a run's query: kept in its folder, known by a digest, and some of them of each image.

A text with ``{id}``, where a mask, segments or a fill is expected, is the path of a file of each image: ``{id}`` is the
image's name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from kdb.errors import BindError, ExecutionError, reason
from kdb.images.reading import array_of, load_image
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.system.paths import Root

PER_IMAGE = "{id}"

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Kept:
    """What a run keeps of its parameters: ``plain`` values and ``arrays`` by name, and a digest of each.

    ``modules`` are those that only the process has that was given them.
    """

    plain: Mapping[str, Any]
    arrays: Mapping[str, Array]
    modules: tuple[str, ...]

    def digests(self) -> dict[str, str]:
        """By name the SHA-256, in hexadecimal, of each value; a module's is empty, as the model has its own."""
        found = {name: hashlib.sha256(json.dumps(value).encode()).hexdigest() for name, value in self.plain.items()}
        for name, array in self.arrays.items():
            sha = hashlib.sha256(f"{array.dtype} {array.shape};".encode())
            sha.update(np.ascontiguousarray(array).data)
            found[name] = sha.hexdigest()
        return {**found, **dict.fromkeys(self.modules, "")}


def numbered(query: syntax.Occlude, arguments: Arguments) -> tuple[dict[str, Any], list[Any]]:
    """The values of the query's parameters, those named and those placed, but not that of its source.

    The placed ones are numbered as in the query's own text, without that of a script around it.
    """
    parameters = dict.fromkeys(syntax.parameters(query))
    named = {each.name: arguments[each] for each in parameters if each.name is not None and each != query.source}
    places = sorted((each for each in parameters if each.index is not None), key=lambda each: each.index or 0)
    return named, [None if each == query.source else arguments[each] for each in places]


def kept(named: Mapping[str, Any], placed: list[Any]) -> Kept:
    """What is kept of these values; raises BindError for one that no folder can keep."""
    plain: dict[str, Any] = {}
    arrays: dict[str, Array] = {}
    modules: list[str] = []
    for name, value in {**{f"${key}": each for key, each in named.items()}, **_by_place(placed)}.items():
        array = np.asarray(value) if isinstance(value, Image.Image) else array_of(value)
        if array is None and not _is_plain(value):
            if callable(value):
                modules.append(name)
                continue
            try:
                array = np.asarray(value)
            except ValueError as error:
                raise BindError(f"the parameter {name} is no array: {error}") from error
        if array is not None and array.dtype.hasobject:
            raise BindError(f"a run cannot keep the parameter {name}, which is of {type(value).__name__}")
        if array is None:
            plain[name] = value
        else:
            arrays[name] = array
    return Kept(plain, arrays, tuple(modules))


def restored(plain: Mapping[str, Any], arrays: Mapping[str, Array], own: Arguments | None = None) -> Arguments:
    """The arguments that were kept; modules are those of the caller's ``own`` arguments."""
    values = {**plain, **arrays}
    named = {name[1:]: value for name, value in values.items() if name.startswith("$")}
    places = [int(name[1:]) for name in values if name.startswith("?")]
    placed = [values.get(f"?{place}") for place in range(max(places, default=-1) + 1)]
    found = Arguments({**(own.named if own is not None else {}), **named})
    return found.placed_as(placed)


def _by_place(placed: list[Any]) -> dict[str, Any]:
    return {f"?{place}": value for place, value in enumerate(placed)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(each, str) for each in value)
    return isinstance(value, bool | int | float | str | None)


# ---- of each image


class PerImage:
    """The arguments of each image of a run, whose ``query`` has ``arguments``."""

    def __init__(self, query: syntax.Occlude, arguments: Arguments, axes: int, root: Root) -> None:
        self._arguments, self._axes, self._root = arguments, axes, root
        masks = (each for each in (query.region, query.over) if isinstance(each, syntax.Mask | syntax.OverMask))
        self._masks = {each.parameter for each in masks}
        self._paths = {each: path for each in _arrays_of(query) if (path := _path(arguments, each)) is not None}

    @property
    def any(self) -> bool:
        """Whether images have arguments of their own."""
        return bool(self._paths)

    def of(self, item_id: str) -> Arguments:
        """The arguments of the image of that name; raises ExecutionError for a file that cannot be read."""
        if not self._paths:
            return self._arguments
        found = {}
        for each, path in self._paths.items():
            array = self._read(path.replace(PER_IMAGE, item_id), each)
            if array.dtype.kind == "f" and np.isnan(array).any():
                raise ExecutionError(f"'{path.replace(PER_IMAGE, item_id)}', which {each} is of the image, has NaN")
            found[each] = array != 0 if each in self._masks and array.dtype != bool else array
        return self._arguments.replacing(found)

    def _read(self, path: str, parameter: syntax.Parameter) -> Array:
        file = Path(self._root.path(path))
        try:
            if file.suffix.lower() == ".npy":
                return np.asarray(np.load(file, allow_pickle=False))
            if self._axes == 2:
                with Image.open(file) as picture:
                    return np.asarray(picture)
        except (OSError, ValueError) as error:
            raise ExecutionError(f"cannot read '{path}', which {parameter} is of the image: {reason(error)}") from error
        return np.rint(load_image(file, self._axes).pixels[..., 0]).astype(np.int64)


def _arrays_of(query: syntax.Occlude) -> list[syntax.Parameter]:
    """The parameters of a query where an array is expected."""
    patch, region, over = query.patch, query.region, query.over
    found = [patch.parameter] if isinstance(patch, syntax.Segments) else []
    found += [region.parameter] if isinstance(region, syntax.Mask | syntax.At) else []
    found += [over.parameter] if isinstance(over, syntax.OverMask) else []
    return found + ([patch.fill.parameter] if patch.fill.parameter is not None else [])


def _path(arguments: Arguments, parameter: syntax.Parameter) -> str | None:
    value = arguments[parameter]
    return value if isinstance(value, str) and PER_IMAGE in value else None
