"""Files of results: formats by extension, file names from templates, atomic writes."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO

from kdb.errors import ExecutionError, reason
from kdb.system.files import write_atomically

FilePath = str | os.PathLike[str]

STEM = "{stem}"
"""The placeholder, in the name of an output file, for the source's file name without folder and extension."""

FILE_FORMATS = ("npz", "png", "jpg", "jpeg", "pdf", "svg", "nii", "nii.gz")


def file_format(path: FilePath) -> str:
    """The format that ``path``'s extension names, one of ``FILE_FORMATS``; ``ExecutionError`` for any other."""
    extension = "".join(_suffixes(path)).lower().removeprefix(".")
    if extension not in FILE_FORMATS:
        supported = ", ".join(f".{name}" for name in FILE_FORMATS)
        raise ExecutionError(f"cannot save a heat map as {os.fspath(path)!r}: the extension must be one of {supported}")
    return extension


def _suffixes(path: FilePath) -> list[str]:
    """The extension of a path, of a compressed file with the one before: .nii and .gz."""
    suffixes = Path(path).suffixes
    return suffixes[-2:] if suffixes and suffixes[-1].lower() == ".gz" else suffixes[-1:]


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
    return template.replace(STEM, name.removesuffix("".join(_suffixes(source))))


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
        with contextlib.suppress(OSError, ValueError):  # a source that is no file
            if source is not None and os.path.samefile(path, source):
                raise ExecutionError(
                    f"saving to {os.fspath(path)!r} would overwrite the image {source!r}; choose another name"
                )


def write_result(path: FilePath, write: Callable[[IO[bytes]], object]) -> Path:
    """Let ``write`` fill the file at ``path`` atomically, and return the path.

    Where ``path`` is a link, the file it leads to is written and the link stays.

    Raises ``ExecutionError`` with the path and the reason where that fails; an existing file is then left as it was.
    """
    path = Path(path)
    try:
        write_atomically(path, write)
    except (OSError, ValueError) as error:
        raise ExecutionError(f"cannot write {str(path)!r}: {reason(error)}") from error
    return path
