"""Compares a map with the model itself at a few positions, while the map is made.

What is compared are rows of numbers, float64 [rows, n], that the caller makes of logits: those that its scores are made
of.  The model itself is a :class:`Reference`: images in, logits out, with nothing of kdb in between.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from heapq import nlargest
from itertools import zip_longest
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from kdb.errors import ExecutionError
from kdb.execution.occlusion import Occlusion
from kdb.geometry import IntArray, Laid
from kdb.kernels.base import Array
from kdb.system.threads import all_threads, checkpoint

Rows = npt.NDArray[np.float64]
Row = npt.NDArray[np.floating]
"""One row of numbers [n]; an array [rows, n] serves as several."""

SCALE, RANGE = 1e-4, 1e-3
"""What Exact allows, relative to the largest number of a row over the map, and to the row's range; the lesser."""
FLAT = 1e-5
"""At least so much of the largest number is allowed: less is noise, on a map that the patch hardly changes."""
DOUBT = 0.5
"""From this share of what is allowed on, float64 decides."""
FROM = 64
"""Positions from which a map is compared at some of them; of a smaller one, the unmodified image alone is."""
ROWS, STANDS_OUT, NOISE = 8, 8.0, 1e-6
"""Of a map, the rows that are searched for values that stand out, those of the largest range; from where on they do;
and what is no difference, relative to the range."""
REMEMBERED = 4096
"""Comparisons of unmodified images that are remembered."""
AT_ONCE = 16
"""Images that the model itself takes at a time."""
OTHERS = 32
"""Positions at which the model's own error is looked for before a check fails."""
USUAL = 6
"""Positions that are compared, unless the setting says how many."""


class Reference(Protocol):
    """The model itself; images are float32 [n, H, W, C] as the network takes them, logits float64 [n, K]."""

    def several(self) -> AbstractContextManager[None]:
        """Around several calls: the model is left as it was once, after all of them."""

    def logits(self, images: Array) -> Rows:
        """The model's logits, all images in one batch."""

    def in_float64(self, images: Array) -> Rows | None:
        """The same in float64; None where the model does not run so."""

    def layers(self, image: Array) -> Mapping[str, Array]:
        """What the model's parts give for one image [H, W, C]: maps [h, w, c] by the part's path."""


class Checked(NamedTuple):
    """At how many positions a map was compared, and the worst difference over what Exact allows; above 1 it failed."""

    positions: int
    worst: float

    @property
    def failed(self) -> bool:
        """Whether there is a difference that Exact does not allow."""
        return not self.worst <= 1


class CheckFailed(ExecutionError):
    """A map differs from the model itself by more than Exact allows; ``checked`` says by how much.

    Where the ``unmodified`` image differs too, the model may have been changed since it was traced.
    """

    def __init__(self, checked: Checked, blamed: str | None, unmodified: bool) -> None:
        self.checked, self.unmodified = checked, unmodified
        where = "" if blamed is None else f"; {blamed} is the first to differ"
        super().__init__(f"the map differs from the model itself by {checked.worst:.3g} times what is allowed{where}")


def wanted(setting: int | bool | None, positions: int) -> int | None:
    """At how many of a map's ``positions`` the setting ``verify`` wants it compared; None where not even as it is."""
    if setting is False:
        return None
    return setting if setting is not None else USUAL if positions >= FROM else 0


def allowed(rows: Iterable[Row]) -> Rows:
    """[rows]: the largest difference that Exact allows, of rows [n] of which some may be NaN, not all."""
    ends = np.array([(np.nanmin(row), np.nanmax(row)) for row in rows], np.float64)
    largest, extent = np.abs(ends).max(axis=1), ends[:, 1] - ends[:, 0]
    return np.asarray(np.maximum(np.minimum(SCALE * largest, RANGE * extent), FLAT * largest))


def chosen(
    rows: Sequence[Row] | Rows,
    doubts: npt.NDArray[np.floating],
    count: int,
    seed: int,
    places: IntArray | None = None,
    compared: Collection[int] = (),
    ends: Collection[int] = (),
) -> IntArray:
    """Up to ``count`` positions to compare, of those at which all ``rows`` [n] are numbers.

    The extremes of the row with the largest range; those that stand out from their neighbours, where ``places``
    [n, axes] says where the positions are; those where a delta most nearly cancels, by ``doubts`` [n]; the rest those
    that were ``compared`` already, or random ones: every other of the ``ends`` of batches, where what is wrong with a
    batch shows.
    """
    finite = np.ones(len(doubts), bool)
    for row in rows:  # one at a time: of all together, a copy would be as large as the map
        finite &= np.isfinite(row)
    there = np.flatnonzero(finite)
    if not len(there):
        return there
    widest = nlargest(ROWS, (row[there] for row in rows), key=np.ptp)
    extremes = there[[widest[0].argmin(), widest[0].argmax()]]
    outliers = there[:0] if places is None else there[_outliers(widest, places[there])]
    first = [*extremes, *outliers, *there[_largest(doubts[there])], *compared]
    rng, enough = np.random.default_rng(seed), count + len(first)
    at_ends = np.intersect1d(np.array([*ends], np.int64), there)
    pairs = zip_longest(rng.permutation(at_ends)[:enough], rng.permutation(there)[:enough])
    others = [each for pair in pairs for each in pair if each is not None]
    return np.array(list(dict.fromkeys([*first, *others]))[:count], np.int64)


def _largest(values: npt.NDArray[np.floating]) -> IntArray:
    """Of ``values`` [n] the indices of the largest two that are not zero."""
    two = np.argsort(-values, kind="stable")[:2]
    return two[values[two] > 0]


def _outliers(rows: Sequence[Row], places: IntArray) -> IntArray:
    """The indices of those two values that stand out most from their neighbours in one of the ``rows`` [n], if any do.

    A map is smooth, since neighbouring patches overlap: a few wrong values stand out.  How far a value is from the
    median of its neighbours is counted in what that is for half of the row's values.  Neighbours are the nearest by
    ``places`` [n, axes], as many as there are around a cell of a grid (eight in two axes), but none that are farther
    away than as many as there are at a corner (three); distances are counted in rows and columns of places, whatever
    the strides are.
    """
    around_cell, at_corner = 3 ** places.shape[1] - 1, 2 ** places.shape[1] - 1
    # Repeats of a position are no neighbours: among many, the nearest take quadratic time to find.
    places, first, inverse = np.unique(places, axis=0, return_index=True, return_inverse=True)
    if len(places) < at_corner + 2:
        return np.zeros(0, np.int64)
    ranks = np.stack([np.unique(axis, return_inverse=True)[1] for axis in places.T], axis=1)
    far, near = cKDTree(ranks).query(ranks, k=min(around_cell + 1, len(places)), p=np.inf)
    inverse = inverse.reshape(-1)
    most = np.zeros(len(inverse))
    for row in rows:
        around = np.where(far <= far[:, at_corner, None], row[first][near], np.nan)
        around = around[:, 1:]  # without itself, which is nearest
        unlike = np.abs(row - np.nanmedian(around, axis=1)[inverse])
        if extent := float(np.ptp(row)):
            # Where half of a map is flat, whatever is not stands out.
            np.maximum(most, unlike / max(float(np.median(unlike)), NOISE * extent), out=most)
    found = _largest(most)
    return found[most[found] > STANDS_OUT]


class Compared:
    """How far the unmodified images of recent queries were from the model itself, over what Exact allows."""

    def __init__(self) -> None:
        self._found: OrderedDict[Hashable, float] = OrderedDict()

    def get(self, key: Hashable) -> float | None:
        """What was found under ``key``; None if nothing was, or it has been forgotten."""
        return self._found.get(key)

    def note(self, key: Hashable, worst: float) -> None:
        """Remember it, unless the check failed."""
        if worst <= 1:
            self._found[key] = worst
            if len(self._found) > REMEMBERED:
                self._found.popitem(last=False)


def worst(
    reference: Reference,
    rows: Callable[[Rows], Rows],
    images: Array,
    found: Rows,
    most: Rows,
    threads: int,
    others: Callable[[], Array] | None = None,
    at_once: int = AT_ONCE,
) -> Rows:
    """[n]: for each of the ``images`` [n, H, W, C] the worst difference of ``found`` [rows, n] over ``most`` [rows].

    ``rows`` makes the rows [rows, n] of logits [n, K].  Above :data:`DOUBT` the model in float64 decides, and twice
    the model's own error in float32 is allowed too; where it does not run in float64, or that does not suffice, also
    twice what it gives otherwise for one image at a time; and before the check fails, the largest such error over the
    ``others``, images [m, H, W, C] of the same map, since a model that rounds coarsely may do so at some alone.  The
    model takes so many images ``at_once``, and half as many in float64.
    """

    def logits(images: Array, size: int) -> Rows:
        given = []
        for part in _parts(images, size):
            checkpoint()
            given.append(reference.logits(part))
        return rows(np.concatenate(given))

    def in_float64(images: Array) -> Rows | None:
        exact = [reference.in_float64(part) for part in _parts(images, max(at_once // 2, 1))]
        there = [part for part in exact if part is not None]
        return rows(np.concatenate(there)) if len(there) == len(exact) else None

    with all_threads(threads), reference.several():
        own = logits(images, at_once)
        if (ratios := _over(found - own, most)).max() <= DOUBT:
            return ratios
        exact = in_float64(images)
        truth, noise = own, np.zeros_like(most)
        if exact is not None:
            truth, noise = exact, _noise(own - exact)
        if exact is None or _over(found - truth, np.maximum(most, 2 * noise)).max() > 1:
            noise = np.maximum(noise, _noise(logits(images, 1) - own))
        if others is not None and _over(found - truth, np.maximum(most, 2 * noise)).max() > 1:
            images = others()
            own, exact = logits(images, at_once), in_float64(images)
            errors = [_noise(logits(images, 1) - own), *([] if exact is None else [_noise(own - exact)])]
            noise = np.maximum.reduce([noise, *errors])
    return _over(found - truth, np.maximum(most, 2 * noise))


def _noise(difference: Rows) -> Rows:
    """[rows]: the largest difference [rows, n]."""
    return np.asarray(np.nan_to_num(np.abs(difference)).max(axis=1))


def _parts(images: Array, size: int) -> list[Array]:
    return [images[first : first + size] for first in range(0, len(images), size)]


def _over(difference: Rows, most: Rows) -> Rows:
    """[n]: the worst of the differences [rows, n], relative to ``most`` [rows]; infinite for NaN."""
    size = np.abs(difference)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(size == 0, 0.0, size / most[:, None])
    return np.asarray(np.nan_to_num(ratios, nan=np.inf, posinf=np.inf).max(axis=0))


def in_full(
    reference: Reference,
    image: Array,
    occlusion: Occlusion,
    positions: IntArray,
    patch: Laid,
    batch: int,
    threads: int,
    sink: Callable[[IntArray, Array], None],
    on_finished: Callable[[int], None] = lambda done: None,
    unmodified: Callable[[Array], None] | None = None,
) -> None:
    """Hand the model's own logits of every position to ``sink``, ``batch`` at a time; raises what either raises.

    Before them, ``unmodified`` takes those of the ``image`` itself, [1, K], which is in the first batch.
    """
    # The model is put back after each batch: what the others call may ask another session about it.
    with all_threads(threads):
        for first in range(0 if unmodified is None else -1, len(positions), batch):
            checkpoint()
            members = np.arange(max(first, 0), min(first + batch, len(positions)))
            images = occlusion.applied(image, positions[members], patch)
            if unmodified is None or first >= 0:
                logits = reference.logits(images)
            else:
                both = reference.logits(np.concatenate([image[None], images]))
                unmodified(both[:1])
                logits = both[1:]
            if len(members):
                sink(members, logits)
                on_finished(int(members[-1]) + 1)
