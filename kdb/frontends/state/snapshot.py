"""All that the forward of a module can read, as it is at one time."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch

from kdb.errors import printable
from kdb.frontends.state.fingerprint import digest
from kdb.frontends.state.places import Numbers, places_of
from kdb.frontends.state.reach import Reached, is_left_out

log = logging.getLogger(__name__)

MOST_COPIED = 1 << 30
"""Bytes of tensors and arrays that are copied beside the parameters, so that they can be put back."""
MOST_KEPT = 1 << 26
"""Of these, the bytes of a snapshot that is kept from one query to the next."""


class Snapshot:
    """What is reached from ``module``: its :attr:`fingerprint`, whether it is still the same, and putting it back.

    To look whether anything changed takes a tenth of finding it all again.  A snapshot holds all objects that it found,
    and so the module.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        reached, self._values = Reached(module), list[object]()
        self.fingerprint = digest(self._noted(reached))
        places = places_of(self._values, reached.variables, reached.library, MOST_COPIED)
        copied = sum(each.nbytes for each in places if isinstance(each, Numbers) and each.kept)
        self._lasting = reached.complete and copied <= MOST_KEPT
        self._weights = [each for each in places if isinstance(each, Numbers) and not each.kept]
        self._places = [each for each in places if not isinstance(each, Numbers) or each.kept]
        self.generators = [value for value in self._values if is_left_out(value)]
        """What is reached and draws random numbers, among other objects that are not looked into."""

    def _noted(self, reached: Reached) -> Iterator[tuple[object, str]]:
        for value, text in reached:
            self._values.append(value)
            yield value, text

    def same(self, weights: bool = True) -> bool:
        """Whether all is as it was; without ``weights`` all but the numbers that :meth:`restore` does not put back.

        True is certain.  False may be wrong: of what was replaced by its equal, and where that cannot be told.
        """
        try:
            return (
                self._lasting
                and all(place.same() for place in self._places)
                and (not weights or all(numbers.same() for numbers in self._weights))
            )
        except Exception:  # objects may raise anything where they are looked at
            return False

    def restore(self) -> None:
        """Put back what changed, apart from the numbers of parameters and from the state of generators."""
        for place in self._places:
            try:
                place.restore()
            except Exception as error:  # objects may raise anything; the others are put back all the same
                log.warning("something that a model wrote cannot be put back: %s", printable(str(error)))
