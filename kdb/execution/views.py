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

    def __contains__(self, name: object) -> bool:
        return name in self.arrays

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
        self.keep(key, views)
        return views, False

    def known(self, key: Hashable) -> MaterializedViews | None:
        """The views under ``key``; None where there are none."""
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def keep(self, key: Hashable, views: MaterializedViews) -> None:
        """Put ``views`` under ``key``, within the budget."""
        self._entries[key] = views
        self._entries.move_to_end(key)
        self.trim()

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


class Output:
    """The model's own output for one image, as it is kept among the views: it is that of the last layer.

    ``key`` stands for model and image; the output float64 [1, K] is what :meth:`get` gives.
    """

    _NAME = "output"

    def __init__(self, store: ViewStore, key: Hashable) -> None:
        self._store, self._key = store, ("the model itself", key)

    def get(self) -> Array | None:
        """What was kept; None where nothing is, or not any more."""
        found = self._store.known(self._key)
        return None if found is None else found[self._NAME]

    def keep(self, logits: Array) -> None:
        """Keep it for queries to come."""
        self._store.keep(self._key, MaterializedViews({self._NAME: logits.copy()}))
