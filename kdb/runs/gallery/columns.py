"""What the table of a run says of each image, as columns of plain numbers and texts.

A run that explains several classes an image has a list in some cells; what is compared between images is then their
first class, which of ``TOP k`` is the prediction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kdb.errors import ExecutionError
from kdb.results.pictures.colours import FLOORS, unit

if TYPE_CHECKING:
    from pyarrow import Table

DONE, FAILED = "done", "failed"

NEEDED = (
    *("id", "path", "status", "error_kind", "error", "seconds", "class_index", "label", "truth"),
    *("baseline", "min", "max", "checked_error", "map"),
)
"""The columns without which nothing can be said of a run."""

_STRING = re.compile("'(?:[^']|'')*'")
_NOT_PREDICTED = re.compile(r"\bFOR\s+(?!TOP\b)", re.IGNORECASE)


@dataclass(frozen=True, eq=False, kw_only=True)
class Columns:
    """A run's table, an entry an image, in its order.

    failed      bool [n]
    done        bool [n]: the image has a map
    ids         the images' names
    kinds       the kinds of the errors of images that failed, None for others
    labels      of the class explained, None where there is none
    truths      the classes that were given as true, as they were given: texts or numbers; None where unknown
    wrong       bool [n]: the model predicts another class than the true one; False where that is not known
    judged      bool [n]: whether it is known
    baseline    float64 [n]: the score of the unmodified image, of a drop that which it is a drop of
    changed     float64 [n]: what is left of ``baseline`` behind the patch that changes it most
    seconds     float64 [n]
    checked     float64 [n]: the worst difference from the model itself over what exactness allows
    names       labels by the index of their class, as a text; of the classes that some image is explained for

    Numbers that are not there are NaN.
    """

    score: str
    failed: NDArray[np.bool_]
    done: NDArray[np.bool_]
    ids: Sequence[str]
    kinds: Sequence[str | None]
    labels: Sequence[str | None]
    truths: Sequence[str | int | None]
    wrong: NDArray[np.bool_]
    judged: NDArray[np.bool_]
    baseline: NDArray[np.float64]
    changed: NDArray[np.float64]
    seconds: NDArray[np.float64]
    checked: NDArray[np.float64]
    names: Mapping[str, str]

    def named(self, truth: str | int) -> str:
        """The label of a true class; as it was given where the run's rows do not tell it."""
        return self.names.get(str(truth).strip(), str(truth))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def change(self) -> NDArray[np.float64]:
        """float64 [n]: the largest change of the score, below 0 where what was hidden spoke for the class."""
        return self.changed - self.baseline

    @property
    def half(self) -> float:
        """Half the width of a colour scale that is shared by all images; never narrower than that of any picture."""
        sizes = np.abs(self.change)
        return max(float(sizes[np.isfinite(sizes)].max(initial=0.0)), FLOORS[unit(self.score)])


def columns(rows: Table, facts: Mapping[str, str]) -> Columns:
    """The columns of a run's table.

    ``facts`` has the ``score``, by default probability, and the ``query``, which says whether the class explained is
    the model's prediction.  Raises ``ExecutionError`` for a table without a column that is needed, and for a score that
    there is not.
    """
    score = facts.get("score", "probability")
    if unit(score) not in FLOORS:
        raise ExecutionError(f"the run's score is {score!r}, which is none of kdb's")
    if missing := [name for name in NEEDED if name not in rows.column_names]:
        raise ExecutionError(f"the run's table has no column '{missing[0]}'")
    status = rows.column("status").to_pylist()
    maps = rows.column("map").to_pylist()
    labels, indices = (first(rows, name) for name in ("label", "class_index"))
    truths = rows.column("truth").to_pylist()
    baseline, low, high = (_numbers(first(rows, name)) for name in ("baseline", "min", "max"))
    predicted = is_of_prediction(facts.get("query", ""))
    verdicts = [
        is_true(label, index, truth) if predicted else None
        for label, index, truth in zip(labels, indices, truths, strict=True)
    ]
    return Columns(
        score=score,
        failed=np.array([each == FAILED for each in status], bool),
        done=np.array([each == DONE and path is not None for each, path in zip(status, maps, strict=True)], bool),
        ids=[str(each) for each in rows.column("id").to_pylist()],
        kinds=rows.column("error_kind").to_pylist(),
        labels=labels,
        truths=truths,
        wrong=np.array([each is False for each in verdicts], bool),
        judged=np.array([each is not None for each in verdicts], bool),
        baseline=baseline,
        changed=_changed(score, baseline, low, high),
        seconds=_numbers(rows.column("seconds").to_pylist()),
        checked=_numbers(rows.column("checked_error").to_pylist()),
        names={str(index): label for index, label in zip(indices, labels, strict=True) if label is not None},
    )


def first(rows: Table, name: str) -> list[Any]:
    """The cells of a column, of lists their first element; None where there is none."""
    return [alone(each) for each in rows.column(name).to_pylist()]


def alone(cell: Any) -> Any:
    """A cell, of a list its first element; None of an empty one."""
    return (cell[0] if cell else None) if isinstance(cell, list) else cell


def is_of_prediction(query: str) -> bool:
    """Whether the first class that a query explains is the one that the model predicts."""
    return _NOT_PREDICTED.search(_STRING.sub("''", query)) is None


def is_true(label: str | None, index: int | None, truth: str | int | None) -> bool | None:
    """Whether a prediction is the true class, which is given as its label or as its index; None if that is unknown."""
    if truth is None or (label is None and index is None):
        return None
    if isinstance(truth, str):
        same = label is not None and truth.strip().casefold() == label.strip().casefold()
        return same or (index is not None and truth.strip() == str(index))
    return index == truth


def _numbers(cells: Sequence[Any]) -> NDArray[np.float64]:
    return np.array([np.nan if each is None else each for each in cells], np.float64)


def _changed(
    score: str, baseline: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The lowest or the highest score, whichever is farther from the unmodified image's; drops are taken from it."""
    if score.endswith("drop"):
        low, high = baseline - high, baseline - low
    return np.where(baseline - low >= high - baseline, low, high)
