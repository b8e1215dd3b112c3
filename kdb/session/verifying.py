"""VERIFY of a query: its map beside the model's own scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kdb.execution.verification import DOUBT, FLAT, allowed, chosen
from kdb.geometry import IntArray
from kdb.language import syntax
from kdb.queries.bind import BoundQuery, ImageQuery
from kdb.queries.scoring import Scorer, Scores
from kdb.results.maps import HeatMap
from kdb.results.tables import Headed
from kdb.session.environment import Environment
from kdb.system.threads import all_threads, checkpoint

POSITIONS = 32
"""Positions of a query's map that are compared, unless ``verify`` says how many."""
AT_ONCE = 8
"""Images that the model itself takes at a time."""

AGREES, NOTHING = "agrees", "nothing is judged"
"""How the text of what was compared begins, unless it differs."""

Row = tuple[Any, ...]


@dataclass(frozen=True, repr=False)
class Verification(Headed):
    """What was compared, a row each; ``agrees`` is the last column: True, False, or None where nothing is judged."""

    @property
    def agrees(self) -> bool:
        """Whether values were compared and no row disagrees."""
        return self.lines[0].startswith(AGREES)


def of_query(environment: Environment, query: ImageQuery, heat_map: HeatMap) -> Verification:
    """The ``heat_map`` that ``query`` made, beside the model's own scores: a row a position, of those least alike.

    Of several classes a row shows the one that differs most, by what Exact allows.
    """
    bound = query.bound
    values, indices, labels = heat_map.by_class()
    positions = heat_map.positions.reshape(-1, len(heat_map.axes))
    there = _chosen(heat_map, environment.settings["verify"] or POSITIONS, environment.settings["seed"])
    there = there[np.lexsort(positions[there].T[::-1])]
    with all_threads(environment.settings["threads"]):
        own = Own(query, indices)
        scores, noise = own.scores(positions[there]), np.zeros((len(indices), 1))
        most = own.allowed(values)[:, None]
        difference = np.abs(values[:, there] - scores)
        if (doubtful := (difference > DOUBT * most).any(axis=0)).any():
            in_doubt = positions[there[doubtful]]
            exact = own.in_float64(in_doubt)
            other = own.scores(in_doubt, at_once=1) if exact is None else exact
            noise = np.abs(scores[:, doubtful] - other).max(axis=1, keepdims=True)
            scores[:, doubtful] = scores[:, doubtful] if exact is None else exact
            difference = np.abs(values[:, there] - scores)
    most = np.maximum(most, 2 * noise)
    kinds = _kinds(bound, heat_map).reshape(-1)[there]
    rows = []
    for i, (position, kind) in enumerate(zip(positions[there].tolist(), kinds, strict=True)):
        worst = int(np.argmax(difference[:, i] / np.maximum(most[:, 0], np.finfo(float).tiny)))
        own_score, most_of_it, off = float(scores[worst, i]), float(most[worst, 0]), float(difference[worst, i])
        agrees = off <= most_of_it if kind == "exact" else None
        value = float(values[worst, there[i]])
        rows.append((*position, labels[worst], value, own_score, off, most_of_it, kind, agrees))
    judged = [row[-1] for row in rows if row[-1] is not None]
    wrong, left = judged.count(False), len(rows) - len(judged)
    line = f"differs at {wrong} of {len(judged)} positions" if wrong else f"{AGREES} at {len(judged)} positions"
    line = line if judged else NOTHING
    line += f"; at {left} the value is not exact, and not judged" if left else ""
    lines = (line, str(replace(bound.query, into=None)))
    columns = (*heat_map.axes, "class", "kdb", "model", "difference", "allowed", "value", "agrees")
    return Verification(columns, tuple(rows), lines)


def _chosen(heat_map: HeatMap, count: int, seed: int) -> IntArray:
    """Up to ``count`` positions, as flat indices; where there are both, as many evaluated as estimated ones."""
    values = np.asarray(heat_map.by_class()[0], np.float64)
    evaluated = heat_map.evaluated.reshape(-1)
    halves = [
        chosen(np.where(among, values, np.nan), np.zeros(len(among)), count, seed) for among in (evaluated, ~evaluated)
    ]
    first = halves[0][: max(count - len(halves[1]), -(-count // 2))]
    return np.concatenate([first, halves[1][: count - len(first)]])


def _kinds(bound: BoundQuery, heat_map: HeatMap) -> npt.NDArray[np.str_]:
    """What each value is: exact, approximate (evaluated, but not exactly), or an estimate."""
    evaluated = "exact" if bound.permissions.exact else "approximate"
    return np.where(heat_map.evaluated, evaluated, "estimate")


class Own:
    """The model's own scores of the image of ``query``, for the classes of these ``indices``."""

    def __init__(self, query: ImageQuery, indices: Sequence[int]) -> None:
        traced = query.bound.traced
        self._query, self._reference, self._indices = query, traced.reference, indices
        self._image = query.input()
        self._occlusion = query.occlusion()
        self._scorer = self._scorer_of(self._reference.logits(self._image[None]))
        self._largest = 0.0

    def _scorer_of(self, unmodified: Scores) -> Scorer:
        """Drops are from the model's own score of the ``unmodified`` image, logits [1, K]."""
        bound = self._query.bound
        asked = replace(bound.query, classes=syntax.Classes(tuple(self._indices)))
        self._largest = float(np.abs(unmodified).max())
        return Scorer(asked, bound.traced, unmodified[0], bound.arguments)

    @property
    def baseline(self) -> Scores:
        """[classes]: the unmodified image's probability or logit."""
        return self._scorer.baseline

    def scores(self, positions: IntArray, at_once: int = AT_ONCE) -> Scores:
        """[classes, n], with the patch at each of the ``positions`` [n, axes], so many ``at_once``."""
        parts = [self._scorer.scores(self._reference.logits(images)) for images in self._occluded(positions, at_once)]
        return np.concatenate(parts, axis=1)

    def in_float64(self, positions: IntArray) -> Scores | None:
        """The same by a copy of the model in float64; None where it does not run so."""
        logits = [self._reference.in_float64(images) for images in [self._image[None], *self._occluded(positions)]]
        there = [each for each in logits if each is not None]
        if len(there) < len(logits):
            return None
        scorer = self._scorer_of(there[0])
        return np.concatenate([scorer.scores(each) for each in there[1:]], axis=1)

    def _occluded(self, positions: IntArray, at_once: int = AT_ONCE) -> Iterator[npt.NDArray[np.float32]]:
        for first in range(0, len(positions), at_once):
            checkpoint()
            part = positions[first : first + at_once]
            yield self._occlusion.applied(self._image, part, self._query.bound.patch)

    def allowed(self, values: npt.NDArray[Any]) -> Scores:
        """[classes]: the largest difference of scores [classes, n] that Exact allows.

        Of a probability no less than what the least difference allowed of the largest logit makes of it.
        """
        scores = np.asarray(values, np.float64)
        kind = self._query.bound.query.score
        scores = self.baseline[:, None] - scores if kind.endswith("drop") else scores
        most = allowed(scores)
        if kind.startswith("logit") or self._query.bound.traced.of_scores == "none":
            return most
        steepest = np.nanmax(scores * (1 - scores), axis=1)
        return np.asarray(np.maximum(most, 2 * FLAT * self._largest * steepest))
