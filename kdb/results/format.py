"""What a format of the files of results is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from kdb.geometry import Size
from kdb.results.pictures.style import Style

if TYPE_CHECKING:
    from kdb.results.compare import Difference
    from kdb.results.maps import HeatMap

Write = Callable[[IO[bytes]], object]
"""Fills a file."""


@dataclass(frozen=True)
class Saving:
    """How a result is saved: the ``extension``, one of its format's, and what users choose of ``save``."""

    extension: str
    style: Style
    upsample: bool = False


def _any_input(size: Size, lattice: bool) -> None:
    """All maps can be written."""


def _any_source(read_by: str) -> None:
    """Maps of all sources can be written."""


@dataclass(frozen=True)
class Format:
    """Writes the files of some extensions.

    Attributes:
        extensions: in lower case, without the first dot, as in ``nii.gz``.
        of_map: takes a heat map and how it is saved, and returns what fills its file.  Both raise ExecutionError for a
            map that the format does not have.
        of_difference: the same of a difference of two maps.
        check: raises ExecutionError, before anything is computed, unless maps can be written of an input of that size,
            with positions that are a lattice or not.
        check_source: the same, unless they can be of an image that the package of that name read; empty for arrays.
    """

    extensions: tuple[str, ...]
    of_map: Callable[[HeatMap, Saving], Write]
    of_difference: Callable[[Difference, Saving], Write]
    check: Callable[[Size, bool], None] = _any_input
    check_source: Callable[[str], None] = _any_source
