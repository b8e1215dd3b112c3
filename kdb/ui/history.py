"""The maps that a page has shown, with what made them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdb.errors import BindError
from kdb.results.maps import HeatMap
from kdb.ui.maps import Region

MOST = 40
"""Maps that are kept."""
MOST_BYTES = 1 << 30
"""Of their arrays."""


@dataclass(frozen=True, eq=False)
class Kept:
    """A map, the parameters of its query, where a dense output is scored, and a small picture once it is done."""

    number: int
    heat_map: HeatMap
    parameters: Mapping[str, Any]
    region: Region | None = None
    thumbnail: NDArray[np.uint8] | None = None

    @property
    def bytes(self) -> int:
        """Of the arrays that it holds."""
        found = self.heat_map
        arrays = (found.values, found.positions, found.image, found.error, found.labels, found.fill)
        return sum(each.nbytes for each in arrays if each is not None)


class History:
    """The maps of one page by their numbers, of which the oldest are forgotten."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, Kept] = OrderedDict()
        self._numbers = count(1)

    def number(self) -> int:
        """A number that no map has."""
        return next(self._numbers)

    def keep(self, kept: Kept) -> None:
        """Keep a map, in place of an earlier one of its number."""
        self._kept[kept.number] = kept
        while len(self._kept) > MOST or (len(self._kept) > 1 and sum(each.bytes for each in self) > MOST_BYTES):
            self._kept.popitem(last=False)

    def done(self, number: int, thumbnail: NDArray[np.uint8]) -> None:
        """List a map from now on, with a small picture."""
        self._kept[number] = replace(self[number], thumbnail=thumbnail)

    def __getitem__(self, number: int) -> Kept:
        if number not in self._kept:
            raise BindError("this map is not kept any more; run its query again")
        return self._kept[number]

    def __iter__(self) -> Iterator[Kept]:
        """From the oldest on."""
        return iter([*self._kept.values()])
