"""From logits to the scores that a query asks for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from kdb.errors import BindError
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.models.model import Model

Scores = npt.NDArray[np.float64]


class Scorer:
    """Computes the scores of the classes that ``query`` names, in their order.

    ``baseline`` float64 [K] are the logits of the unmodified image, ``activation`` ('softmax', 'sigmoid' or 'none')
    turns logits into probabilities.  Raises BindError for a class that the model does not have.
    """

    def __init__(
        self, query: syntax.Occlude, model: Model, activation: str, baseline: Scores, arguments: Arguments
    ) -> None:
        self.kind, self._activation = query.score, activation
        self.classes, self.has_axis = _classes(query.classes, model, baseline, arguments)
        self.baseline = self._of(baseline[None])[:, 0]
        """The unmodified image's probability or logit of each class, float64 [classes]."""

    @property
    def importance(self) -> int:
        """1 where a large score makes a position important, -1 where a small one does."""
        return 1 if self.kind.endswith("drop") else -1

    def scores(self, logits: Scores) -> Scores:
        """Logits [n, K] -> scores [classes, n]."""
        values = self._of(logits)
        return self.baseline[:, None] - values if self.kind.endswith("drop") else values

    def rows(self, logits: Scores) -> Scores:
        """Logits [n, K] -> the numbers [rows, n] that scores are made of, on the scale of logits.

        The classes' logits and, for probabilities by softmax, the logarithm of the sum of all classes' exponentials.
        """
        rows = logits[:, self.classes].T
        if self.kind.startswith("logit") or self._activation != "softmax":
            return np.asarray(rows)
        return np.concatenate([rows, special.logsumexp(logits, axis=1)[None]])

    def _of(self, logits: Scores) -> Scores:
        """Probabilities or logits [n, K] -> [classes, n]."""
        values = logits if self.kind.startswith("logit") else activate(logits, self._activation)
        return np.asarray(values[:, self.classes].T)


def activate(logits: Scores, activation: str) -> Scores:
    """Logits [n, K] -> probabilities by ``softmax`` or ``sigmoid``, or as they are for ``none``."""
    if activation == "softmax":
        return np.asarray(special.softmax(logits, axis=1))
    return np.asarray(special.expit(logits)) if activation == "sigmoid" else logits


def _classes(
    spec: syntax.ClassSpec, model: Model, baseline: Scores, arguments: Arguments
) -> tuple[tuple[int, ...], bool]:
    """Indices of the query's classes, and whether the map has a class axis; ties in TOP go to the lower index."""
    count = len(baseline)

    def index(ref: int | str | syntax.Parameter) -> int:
        return model.resolve_class(arguments[ref] if isinstance(ref, syntax.Parameter) else ref, count)

    if isinstance(spec, syntax.ClassOf):
        return (index(spec.ref),), False
    if isinstance(spec, syntax.Classes):
        return tuple(index(ref) for ref in spec.refs), True
    if isinstance(spec, syntax.AllClasses):
        return tuple(range(count)), True
    best: Sequence[int] = np.argsort(-baseline, kind="stable").tolist()
    if isinstance(spec, syntax.TopClasses):
        if spec.k > count:
            raise BindError(f"TOP {spec.k} of {count} classes: '{model.name}' has no more")
        return tuple(best[: spec.k]), True
    return (best[0],), False
