"""Materialized views: every layer's output on the unmodified image, kept between queries under a byte budget."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from kdb.kernels.base import Array


@dataclass(frozen=True, eq=False)
class MaterializedViews:
    """Arrays [H, W, C] by layer name, for one network and one image."""

    arrays: Mapping[str, Array]

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(int(array.nbytes) for array in self.arrays.values())


class ViewStore:
    """Views of recent (model, image) pairs, least recently used first out once they exceed ``budget`` bytes."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._entries: OrderedDict[Hashable, MaterializedViews] = OrderedDict()

    def get(
        self, key: Hashable, wanted: Collection[str], compute: Callable[[Collection[str]], MaterializedViews]
    ) -> tuple[MaterializedViews, bool]:
        """The views under ``key``, and whether they were there; recomputed where one ``wanted`` is missing."""
        entry = self._entries.get(key)
        if entry is not None and all(name in entry.arrays for name in wanted):
            self._entries.move_to_end(key)
            return entry, True
        views = compute(set(wanted) | (set(entry.arrays) if entry else set()))
        self._entries[key] = views
        self._entries.move_to_end(key)
        self.trim()
        return views, False

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Let go of views that are made within: of one image of many, which will hardly be asked about again soon."""
        before = set(self._entries)
        try:
            yield
        finally:
            for key in self._entries.keys() - before:
                del self._entries[key]

    def trim(self) -> None:
        """Forget the least recently used until the rest fits; a single entry over the budget is not kept either."""
        while self._entries and self.nbytes > self.budget:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        """Bytes held in all."""
        return sum(entry.nbytes for entry in self._entries.values())
