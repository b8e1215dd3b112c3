"""What a heat map is made of, beside its arrays: enough to make it again, and to tell what is not the same any more.

It is kept in the map's file as one text in JSON, which may come from a stranger.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from kdb.system.limits import PROVENANCE_CHARACTERS

PARTS = ("graph", "weights", "preprocessing", "labels")
"""What a model is made of, each with a digest."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a heat map was made of, by what, and where.

    preprocessing   the settings of the preprocessing by name, as numbers, texts and tuples of numbers: input_size,
                    channels, n_channels, mean, std, scale, resize, resize_size, interpolation; the model's
                    activation and layout; and ``floats``, whether the image was of floats, in units of its own
    source_of       what ``source_sha256`` is of: 'file': the bytes of the source's file; 'array': dtype, shape and
                    bytes of the array given; 'pixels': those of the pixels read from a ``PIL.Image``.  None for a map
                    of the copy of the image in another map's file
    source_sha256   the SHA-256, in hexadecimal; or None
    parts           by ``PARTS``, the SHA-256 of each, in hexadecimal; of the labels empty where the model has none
    versions        the versions of kdb, python, torch, numpy, and of the packages that read and resized the image
    processor       its name
    device          'cpu', or the GPU's name
    threads         worker threads
    precision       'fp32', 'tf32' or 'bf16'
    rates           where the rates that the plan was chosen by come from: 'measured', 'data sheet' or 'default'
    rates_date      the day on which they were measured, as in 2025-12-31; otherwise empty
    date            when the map was made, in UTC: 2025-12-31T23:59:59+00:00
    machine         the machine's name in its network
    """

    preprocessing: Mapping[str, Any]
    source_of: str | None
    source_sha256: str | None
    parts: Mapping[str, str]
    versions: Mapping[str, str]
    processor: str
    device: str
    threads: int
    precision: str
    rates: str
    rates_date: str
    date: str
    machine: str

    @property
    def floats(self) -> bool:
        """Whether the image was of floats, in units of its own."""
        return bool(self.preprocessing.get("floats"))

    def to_json(self) -> str:
        """One object, with the fields by their names."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Provenance:
        """What :meth:`to_json` wrote; raises ValueError that names what is wrong with any other text."""
        if len(text) > PROVENANCE_CHARACTERS:
            raise ValueError(f"has {len(text)} characters, more than {PROVENANCE_CHARACTERS}")
        try:
            given = json.loads(text, parse_constant=_refused)
        except RecursionError:
            raise ValueError("is nested too deeply") from None
        if not isinstance(given, dict):
            raise ValueError("is no object of JSON")
        known = {each.name: each for each in fields(cls)}
        for name in (*known, *given):
            if name not in given or name not in known:
                raise ValueError(f"has {'no ' if name in known else ''}'{name}'")
        for name, field in known.items():
            if not _SOUND[str(field.type)](given[name]):
                raise ValueError(f"has {str(given[name])[:80]!r} for '{name}'")
        if missing := [part for part in PARTS if part not in given["parts"]]:
            raise ValueError(f"has no '{missing[0]}' in 'parts'")
        settings = {name: _tuple(value) for name, value in given["preprocessing"].items()}
        return cls(**{**given, "preprocessing": settings})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _is_plain(value: Any) -> bool:
    """Whether a setting is a number, a text, a truth value or nothing, or a list of numbers."""
    numbers = value if isinstance(value, list) else [0]
    return isinstance(value, str | int | float | None | list) and all(isinstance(each, int | float) for each in numbers)


# By the type that a field is annotated with.
_SOUND: Mapping[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "str | None": lambda value: isinstance(value, str | None),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "Mapping[str, str]": lambda value: isinstance(value, dict) and all(isinstance(v, str) for v in value.values()),
    "Mapping[str, Any]": lambda value: isinstance(value, dict) and all(map(_is_plain, value.values())),
}


def _refused(name: str) -> Any:
    raise ValueError(f"has {name}, which is no number of JSON")
