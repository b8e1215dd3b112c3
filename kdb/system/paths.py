"""The folder that the paths of statements stay under, where a session has one."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from pathlib import Path

from kdb.errors import BindError


@dataclass(frozen=True)
class Root:
    """What statements may read and write: all below ``folder``, an absolute path without links; None permits all.

    All paths of statements go through :meth:`path` or :meth:`pattern` before they are opened.  Under a root a relative
    path is relative to it, and not to the process's current folder.
    """

    folder: str | None = None

    @classmethod
    def at(cls, folder: str | os.PathLike[str] | None) -> Root:
        """The root at ``folder``; raises BindError where that is no folder."""
        if folder is None:
            return ANYWHERE
        resolved = _resolved(os.fspath(folder))
        if not os.fspath(folder) or not os.path.isdir(resolved):
            raise BindError(f"root = '{os.fspath(folder)}' is no folder")
        return cls(resolved)

    def path(self, given: str | os.PathLike[str]) -> str:
        """The path to open for one that a statement names: as it is, or under a root absolute, all links resolved.

        Raises BindError for one outside the root, by ``..``, as an absolute path, or through a link.
        """
        given = os.fsdecode(given)
        if "\0" in given:
            raise BindError(f"{given!r} is no path: it has a NUL character")
        if self.folder is None:
            return given
        resolved = _resolved(os.path.join(self.folder, given))
        if not Path(resolved).is_relative_to(self.folder):
            raise self._outside(given)
        return resolved

    def pattern(self, given: str) -> str:
        """The glob to expand for a path or glob that a statement names; what it matches goes through :meth:`path`.

        Raises BindError for one outside the root, and for ``..`` after a wildcard.
        """
        path = self.path(given)
        if self.folder is None or not glob.has_magic(given) or os.path.exists(path):
            return path
        parts = Path(given).parts
        first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
        if os.pardir in parts[first:]:
            raise self._outside(given)
        return os.path.join(glob.escape(self.path(os.path.join("", *parts[:first]))), *parts[first:])

    def shown(self, path: str) -> str:
        """A path that :meth:`pattern` led to, as one would write it: relative to the root."""
        return path if self.folder is None else os.path.relpath(path, self.folder)

    def _outside(self, given: str) -> BindError:
        return BindError(f"'{given}' is outside the root '{self.folder}', which statements of this session stay under")


ANYWHERE = Root()
"""No root: all paths."""


def _resolved(path: str) -> str:
    try:
        return os.path.realpath(path)
    except ValueError as error:  # a NUL character
        raise BindError(f"{path!r} is no path: {error}") from None
    except OSError as error:
        raise BindError(f"'{path}' cannot be resolved: {error.strerror or error}") from None
