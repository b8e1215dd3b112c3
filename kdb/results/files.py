"""Files of results: formats by extension, file names from templates, atomic writes."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO

from kdb.errors import ExecutionError, Unwritable, reason
from kdb.results.format import Format
from kdb.results.formats import EXTENSIONS
from kdb.system.files import write_atomically

FilePath = str | os.PathLike[str]

_UID = re.compile(r"[0-9.]+")

STEM = "{stem}"
"""The placeholder, in the name of an output file, for the source's file name without folder and extension."""


def file_format(path: FilePath) -> str:
    """The format that ``path``'s extension names, one of ``EXTENSIONS``; ``ExecutionError`` for any other."""
    extension = "".join(_suffixes(path)).lower().removeprefix(".")
    if extension not in EXTENSIONS:
        supported = ", ".join(f".{name}" for name in EXTENSIONS)
        raise ExecutionError(f"cannot save a heat map as {os.fspath(path)!r}: the extension must be one of {supported}")
    return extension


def format_of(path: FilePath) -> Format:
    """The format that ``path``'s extension names; ``ExecutionError`` for any other."""
    return EXTENSIONS[file_format(path)]


def _suffixes(path: FilePath) -> list[str]:
    """The extension of a path, of a compressed file with the one before, as .nii and .gz, and so of .pm and .dcm."""
    suffixes = Path(path).suffixes
    two = "".join(suffixes[-2:]).lower()
    return suffixes[-2:] if two.endswith(".gz") or two.removeprefix(".") in EXTENSIONS else suffixes[-1:]


def check_template(template: str) -> None:
    """Raise ``ExecutionError`` for a file name with another placeholder than ``{stem}``."""
    for placeholder in re.findall(r"\{[^{}]*\}", template):
        if placeholder != STEM:
            raise ExecutionError(
                f"unknown placeholder {placeholder} in {template!r}; the only one is {STEM}, the image's file name "
                "without folder and extension"
            )


def filled_in(template: str, source: str) -> str:
    """``template`` with its placeholder replaced: the file for the heat map of ``source``."""
    name = Path(source).name
    extension = "" if _UID.fullmatch(name) else "".join(_suffixes(source))  # a series may be called by its UID
    return template.replace(STEM, name.removesuffix(extension))


def files_of_several(template: str, sources: Sequence[str]) -> list[str]:
    """The files for the heat maps of ``sources``; raises ``ExecutionError`` unless each has a file of its own."""
    check_template(template)
    if STEM not in template:
        raise ExecutionError(f"several heat maps cannot share the file {template!r}; put {STEM} into its name")
    paths = [filled_in(template, source) for source in sources]
    taken: dict[str, str] = {}
    for path, source in zip(paths, sources, strict=True):
        file_format(path)
        if path in taken:
            raise ExecutionError(f"the heat maps of {taken[path]!r} and {source!r} would both go to {path!r}")
        taken[path] = source
    return paths


def check_apart(path: FilePath, sources: Iterable[str | None]) -> None:
    """Raise ``ExecutionError`` if ``path`` is the file of one of the ``sources``, which writing would destroy."""
    for source in sources:
        if source is not None and overwrites(path, source):
            raise ExecutionError(
                f"saving to {os.fspath(path)!r} would overwrite the image {source!r}; choose another name"
            )


def overwrites(path: FilePath, source: str) -> bool:
    """Whether ``path`` is the file of a source, or a DICOM file in the folder of one: a slice of its series.

    A series is called by its folder, or by its UID in that; see :mod:`kdb.images.readers.series`.
    """
    with contextlib.suppress(OSError, ValueError):  # a source that is no file, or nothing at the path
        if os.path.isdir(source):
            folder = source
        elif os.path.exists(source):
            return os.path.samefile(path, source)
        elif _UID.fullmatch(os.path.basename(source)):
            folder = os.path.dirname(source)
        else:
            return False
        inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
        return inside and os.path.isfile(path) and _is_dicom(path)
    return False


def _is_dicom(path: FilePath) -> bool:
    """Whether a file is DICOM, by its name or its first bytes."""
    if os.fspath(path).lower().endswith((".dcm", ".dicom")):
        return True
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def write_result(path: FilePath, write: Callable[[IO[bytes]], object]) -> Path:
    """Let ``write`` fill the file at ``path`` atomically, and return the path.

    Where ``path`` is a link, the file it leads to is written and the link stays.

    Raises ``ExecutionError`` with the path and the reason where that fails; an existing file is then left as it was.
    """
    path = Path(path)
    try:
        write_atomically(path, write)
    except (OSError, ValueError) as error:
        kind = Unwritable if isinstance(error, OSError) else ExecutionError
        raise kind(f"cannot write {str(path)!r}: {reason(error)}") from error
    return path
