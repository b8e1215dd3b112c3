"""What there is to choose from in a folder under the root: images, runs, other folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kdb.errors import BindError, ExecutionError, reason
from kdb.language.syntax import quote
from kdb.runs.folder import RunFolder
from kdb.system.paths import Root

MOST = 500
"""Entries of one folder that are listed."""

IMAGES = (
    ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".dcm", ".nii", ".nii.gz", ".npy", ".mp4",
    ".avi", ".hea", ".edf",
)  # fmt: skip
"""The extensions of what may be an image; other files can still be typed into the query."""


def listed(root: Root, folder: str) -> dict[str, Any]:
    """The fields of ``Folder`` in ui/src/protocol.ts, for a folder relative to the root.

    Raises BindError for one outside the root, ExecutionError for one that cannot be read.
    """
    if root.folder is None:
        raise BindError("folders are listed under a root alone")
    path = Path(root.path(folder or "."))
    shown = os.path.relpath(path, root.folder)
    shown = "" if shown == "." else shown
    try:
        found = sorted(os.scandir(path), key=lambda each: (not each.is_dir(), each.name.casefold()))
    except OSError as error:
        raise ExecutionError(f"cannot list '{folder}': {reason(error)}") from error
    entries = []
    for each in found:
        kind = None if each.name.startswith(".") else _kind(root, each)
        if kind is not None:
            relative = os.path.join(shown, each.name)
            entries.append({"name": each.name, "kind": kind, "source": relative if kind == "run" else quote(relative)})
    parent = None if shown == "" else os.path.dirname(shown)
    return {"folder": shown, "parent": parent, "entries": entries[:MOST]}


def _kind(root: Root, entry: os.DirEntry[str]) -> str | None:
    """What an entry is to the page; None for what it does not list, as links that lead out of the root."""
    try:
        root.path(entry.path)
        if entry.is_dir():
            return "run" if RunFolder(entry.path).exists() else "folder"
        return "image" if entry.is_file() and entry.name.lower().endswith(IMAGES) else None
    except (BindError, OSError):
        return None
