"""From logits to the scores that a query asks for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from kdb.errors import BindError
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.models.catalog import TracedModel
from kdb.models.model import Model
from kdb.operators.gates import Corrections

Scores = npt.NDArray[np.float64]


class Scorer:
    """Computes the scores of the classes that ``query`` names, in their order.

    ``baseline`` float64 [K] are the logits of the unmodified image by the ``traced`` model, which says how they become
    probabilities.  Raises BindError for a class that the model does not have.
    """

    def __init__(self, query: syntax.Occlude, traced: TracedModel, baseline: Scores, arguments: Arguments) -> None:
        self.kind = query.score
        self._activation = "none" if self.kind.startswith(("logit", "cosine")) else traced.of_scores
        self._direction = traced.direction
        ranking = baseline if traced.head is None else traced.head.ranking
        self.classes, self.has_axis = chosen_classes(query.classes, traced.model, ranking, arguments)
        empty = np.zeros(1, bool) if traced.head is None else traced.head.empty
        self.without = np.array([empty[index if len(empty) > 1 else 0] for index in self.classes])
        """bool [classes]: those that have no cell of a dense output, and so no score: theirs mean nothing."""
        self.labels = tuple(map(traced.model.label_of, self.classes))
        if self._direction is not None:
            self.classes, self.labels = (0,), ("cosine",)
        own = self.rows(baseline[None])
        sums = own[-1] if self.has_sums else None
        plain = [self._of(own[i], sums) for i in range(len(self.classes))]
        self.baseline = np.concatenate(plain)
        """The unmodified image's probability or logit of each class, float64 [classes]."""

    @property
    def importance(self) -> int:
        """1 where a large score makes a position important, -1 where a small one does."""
        return 1 if self.kind.endswith("drop") else -1

    @property
    def has_sums(self) -> bool:
        """Whether scores are made of all classes' logits, by the logarithm of the sum of their exponentials."""
        return self._activation == "softmax"

    def scores(self, logits: Scores) -> Scores:
        """Logits [n, K] -> scores [classes, n]."""
        rows = self.rows(logits)
        sums = rows[-1] if self.has_sums else None
        return np.stack([self.score(i, rows[i], sums) for i in range(len(self.classes))])

    def rows(self, logits: Scores) -> Scores:
        """Logits [n, K] -> the numbers [rows, n] that scores are made of, on the scale of logits.

        The classes' logits and, for probabilities by softmax, the logarithm of the sum of all classes' exponentials.
        """
        rows = self.numbers(logits)
        return np.concatenate([rows, log_sums(logits)[None]]) if self.has_sums else np.asarray(rows)

    def numbers(self, logits: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Logits [n, K] -> [classes, n]: those of the classes, or one row of cosines."""
        if self._direction is None:
            return logits[:, self.classes].T
        exact = np.asarray(logits, np.float64)
        length = np.linalg.norm(exact, axis=1)
        return np.asarray(exact @ self._direction / np.where(length > 0, length, 1))[None]

    def corrections(self, logits: Scores) -> Corrections:
        """Which logits live gates correct, by which gradients at ``logits`` [K], those of the unmodified image.

        A class's logit by its own; where scores are probabilities by softmax, by that of its logit against all classes
        that are not scored, which for one class are its log-odds.
        """
        seeds = np.zeros((len(self.classes), len(logits)))
        seeds[np.arange(len(seeds)), self.classes] = 1
        others = np.setdiff1d(np.arange(len(logits)), self.classes)
        if self.has_sums and len(others):
            seeds[:, others] = -special.softmax(logits[others])
        return Corrections(self.classes, seeds.astype(np.float32))

    def score(self, i: int, logits: npt.NDArray[np.floating], sums: Scores | None) -> Scores:
        """The scores [n] of the i-th class, of its ``logits`` [n] and the ``sums`` [n], if scores have any."""
        values = self._of(logits, sums)
        return self.baseline[i] - values if self.kind.endswith("drop") else values

    def _of(self, logits: npt.NDArray[np.floating], sums: Scores | None) -> Scores:
        """Probabilities, or logits as they are."""
        exact: Scores = np.asarray(logits, np.float64)
        if sums is not None:
            return np.asarray(np.exp(exact - sums))
        return np.asarray(special.expit(exact)) if self._activation == "sigmoid" else exact


def log_sums(logits: Scores) -> Scores:
    """[n]: the logarithm of the sum of the exponentials of ``logits`` [n, K]."""
    return np.asarray(special.logsumexp(logits, axis=1))


def chosen_classes(
    spec: syntax.ClassSpec, model: Model, baseline: Scores, arguments: Arguments
) -> tuple[tuple[int, ...], bool]:
    """Indices of the query's classes, and whether the map has a class axis; ties in TOP go to the lower index.

    ``baseline`` [K] ranks the classes.
    """
    count = len(baseline)

    def index(ref: int | str | syntax.Parameter) -> int:
        return model.resolve_class(arguments[ref] if isinstance(ref, syntax.Parameter) else ref, count)

    if isinstance(spec, syntax.ClassOf):
        return (index(spec.ref),), False
    if isinstance(spec, syntax.Classes):
        return tuple(index(ref) for ref in spec.refs), True
    if isinstance(spec, syntax.AllClasses):
        return tuple(range(count)), True
    # Of a detection the ranking has the one class of its box.
    best: Sequence[int] = np.argsort(-baseline, kind="stable").tolist()
    if isinstance(spec, syntax.TopClasses):
        if spec.k > count:
            raise BindError(f"TOP {spec.k} of {count} classes: '{model.name}' has no more")
        return tuple(best[: spec.k]), True
    return (best[0],), False
