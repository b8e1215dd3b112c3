"""All that the forward of a module can read, as it is at one time."""

from __future__ import annotations

import logging

import torch
from xxhash import xxh3_128

from kdb.errors import printable
from kdb.frontends.state.places import Numbers, places_of
from kdb.frontends.state.reach import Reached, is_left_out

log = logging.getLogger(__name__)

MOST_COPIED = 1 << 30
"""Bytes of tensors and arrays that are copied beside the parameters, so that they can be put back."""
MOST_KEPT = 1 << 26
"""Of these, the bytes of a snapshot that is kept from one query to the next."""


class Snapshot:
    """What is reached from ``module``: whether it is still the same, and putting it back.

    The ``fingerprint``, a hexadecimal digest of all of it, is the same for what is equal, wherever it lies in memory.
    Tensors and arrays are hashed in full: 528 MB take some 50 ms.  The mode, training or not, has no part in it, nor
    has what :mod:`kdb.frontends.state.reach` leaves out.

    To look whether anything changed takes a tenth of finding it all again.  A snapshot holds all objects that it found,
    and so the module.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        reached = Reached(module)
        values, self._texts = _walked(reached)
        places = places_of(values, reached.variables, reached.library, MOST_COPIED)
        numbers = [place for place in places if isinstance(place, Numbers)]
        self._module, self._confirmed = module, False
        self._lasting = reached.complete and sum(each.nbytes for each in numbers if each.kept) <= MOST_KEPT
        self._weights = [each for each in numbers if not each.kept]
        self._places = [place for place in places if not isinstance(place, Numbers) or place.kept]
        self.fingerprint = xxh3_128(b"".join([self._texts, *(each.digest for each in numbers)])).hexdigest()
        self.generators = [value for value in values if is_left_out(value)]
        """What is reached and draws random numbers, among other objects that are not looked into."""

    def same(self, weights: bool = True) -> bool:
        """Whether all is as it was; without ``weights`` all but the numbers that :meth:`restore` does not put back.

        True is certain.  False may be wrong: of what was replaced by its equal, and where that cannot be told.
        """
        try:
            if not (self._lasting and all(place.same() for place in self._places)):
                return False
            return not weights or (all(numbers.same() for numbers in self._weights) and self._is_confirmed())
        except Exception:  # objects may raise anything where they are looked at
            return False

    def _is_confirmed(self) -> bool:
        """Whether a walk finds the same texts again, asked once.

        Another thread may have changed something after the walk and before its place was looked at; then the place
        would be the same ever after, and the fingerprint of what was there before.
        """
        self._confirmed = self._confirmed or _walked(Reached(self._module))[1] == self._texts
        return self._confirmed

    def restore(self) -> None:
        """Put back what changed, apart from the numbers of parameters and from the state of generators."""
        for place in self._places:
            try:
                place.restore()
            except Exception as error:  # objects may raise anything; the others are put back all the same
                log.warning("something that a model wrote cannot be put back: %s", printable(str(error)))


def _walked(reached: Reached) -> tuple[list[object], bytes]:
    """All that is reached, and a digest of the texts."""
    values, digest = list[object](), xxh3_128()
    for value, text in reached:
        values.append(value)
        digest.update(text.encode(errors="backslashreplace"))
    return values, digest.digest()
