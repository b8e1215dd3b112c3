"""The names of a run's images, and the files that their maps get."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import numpy as np

from kdb.errors import BindError
from kdb.queries.sources import Listed

# Characters that some file system, shell or tool takes for something else; % so that no two names become one.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f%\\:*?\"<>|\ud800-\udfff]|^[ .]+$|^ +|[ .]+$")
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices."""

LONGEST = 200
"""Bytes of a part of a name, so that an extension and a temporary name beside it fit into the 255 of file systems."""


def ids(listed: Listed) -> list[str]:
    """The name of each image: the one given, or its path relative to the list's base, with its extension.

    Raises BindError for two images of one name, and for names that no file can have.
    """
    given = listed.ids
    found = list(given) if given is not None else [_relative(path, listed.base) for path in listed.paths]
    _check(found, listed.paths)
    return found


def file_of(name: str, extension: str) -> str:
    """The path of an image's map in the folder of maps: the name, its ``/`` folders, what is unsafe percent-encoded."""
    return "/".join(map(_safe, name.split("/"))) + f".{extension}"


def _relative(path: str, base: str) -> str:
    try:
        relative = os.path.relpath(path, base)
    except ValueError:  # on another drive of Windows
        relative = path
    return relative.replace(os.sep, "/")


def _safe(part: str) -> str:
    encoded = _UNSAFE.sub(lambda found: _encoded(found[0]), part)
    if _DEVICES.fullmatch(encoded):
        encoded = _encoded(encoded[0]) + encoded[1:]
    return encoded or "%"


def _encoded(text: str) -> str:
    """Each byte of a text as %XX."""
    return "".join(f"%{byte:02X}" for byte in os.fsencode(text))


def _check(names: Sequence[str], paths: Sequence[str]) -> None:
    folders: set[str] = set()

    def checked(name: str) -> int:
        file = file_of(name, "")
        if any(len(os.fsencode(part)) > LONGEST for part in file.split("/")):
            raise BindError(f"the name of an image is too long for a file: {name[:60]}...; name it by an id")
        folders.add(file.rpartition("/")[0])
        return hash(file)

    # Eight bytes a name: a million names in a set would take more than all else.
    hashes = np.fromiter(map(checked, names), np.int64, len(names))
    order = np.argsort(hashes, kind="stable")
    twice = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    seen: dict[str, int] = {}
    for i in sorted({*order[twice].tolist(), *order[twice + 1].tolist()}):
        other = seen.setdefault(file_of(names[i], ""), i)
        if other != i and paths[other] == paths[i]:
            raise BindError(f"the run has '{paths[i]}' twice, as its images {other + 1} and {i + 1}")
        if other != i:
            raise BindError(
                f"two images of the run are called '{names[i]}': '{paths[other]}' and '{paths[i]}'; "
                "MANIFEST names images by its option id"
            )
    clash = next((name for name in names if file_of(name, "npz") in folders), None)
    if clash is not None:
        raise BindError(f"the map of the image '{clash}' would be a file where another image's name has a folder")
