"""Compares what a query's rounds have found with the model itself, before the map is handed out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from kdb.execution.engine import Engine, Planned
from kdb.execution.verification import OTHERS, Checked, Row, Rows, allowed, chosen, wanted, worst
from kdb.geometry import IntArray
from kdb.kernels.base import Array
from kdb.models.catalog import TracedModel
from kdb.queries.bind import BoundQuery, ImageQuery
from kdb.queries.scoring import Scorer


@dataclass(frozen=True)
class Verdict:
    """What a comparison found: of the map, and of the unmodified image alone (over what Exact allows).

    ``cell`` is the position at which the map differs most, as an index of those selected; None for none.
    """

    checked: Checked
    unmodified: float = 0.0
    cell: int | None = None


class Evidence:
    """The numbers that a map's scores are made of, at the positions that were evaluated exactly.

    ``image`` float32 [H, W, C] is the network's input.
    """

    def __init__(self, engine: Engine, query: ImageQuery, image: Array) -> None:
        self._engine, self._query, self._image = engine, query, image
        count = len(query.bound.selection.cells)
        self._rows: list[Row] = []
        self._doubts = np.zeros(count, np.float32)
        self._by_model = np.zeros(count, bool)
        self._rounds: list[tuple[IntArray, Planned]] = []
        self._compared: dict[int, float] = {}
        self._unmodified: float | None = None

    def take(
        self, cells: IntArray, planned: Planned, rows: list[Row], doubts: npt.NDArray[np.floating], by_model: bool
    ) -> None:
        """Note the ``rows`` [n] of the cells of one round, which was so planned; those of all cells are not copied.

        ``doubts`` [n] are how far they may not be trusted; ``by_model`` says that the model itself gave them.
        """
        self._rounds.append((cells, planned))
        self._doubts[cells], self._by_model[cells] = doubts, by_model
        if np.array_equal(cells, np.arange(len(self._doubts))):
            self._rows = rows
            return
        self._rows = self._rows or [np.full(len(self._doubts), np.nan, row.dtype) for row in rows]
        for whole, row in zip(self._rows, rows, strict=True):
            whole[cells] = row

    def check(self, scorer: Scorer, baseline: Rows) -> Verdict | None:
        """Compare, as the setting ``verify`` says; None where nothing can be or is to be compared.

        ``baseline`` float64 [K] are the logits of the unmodified image, by the views or the model itself.
        """
        bound, settings = self._query.bound, self._engine.settings
        count = wanted(settings["verify"], len(self._doubts))
        if count is None or bound.permissions.precision == "tf32":  # the views are of that precision too
            return None
        if self._by_model.any():
            return Verdict(Checked(int(self._by_model.sum()), 0.0))
        unmodified = scorer.rows(baseline[None])
        rows = self._rows or [np.full(len(self._doubts), np.nan)] * len(unmodified)
        places = bound.selection.positions
        cells = chosen(rows, self._doubts, count, settings["seed"], places, self._compared, self._ends())
        key = (bound.traced.identity, _scored(bound.traced), _digest(self._image), scorer.classes, scorer.kind)
        if self._unmodified is None and not bound.traced.model.shared:
            self._unmodified = self._engine.compared.get(key)
        new = np.array([cell for cell in cells.tolist() if cell not in self._compared], np.int64)
        first = self._unmodified is None
        if first or len(new):
            images = self._occluded(new)
            images = np.concatenate([self._image[None], images]) if first else images
            found = np.stack([row[new] for row in rows]).astype(np.float64)
            found = np.concatenate([unmodified, found], axis=1) if first else found
            most = allowed(np.append(own, row) for own, row in zip(unmodified, rows, strict=True))
            ratios = worst(
                bound.traced.reference,
                scorer.rows,
                images,
                found,
                most,
                settings["threads"],
                partial(self._others, settings["seed"]),
                min((planned.memory.checked for _, planned in self._rounds), default=1),
            ).tolist()
            if first:
                self._unmodified = ratios.pop(0)
                self._engine.compared.note(key, self._unmodified)
            self._compared |= dict(zip(new.tolist(), ratios, strict=True))
        assert self._unmodified is not None, "it was compared now or before"
        there = [self._compared[cell] for cell in cells.tolist()]
        cell = int(cells[np.argmax(there)]) if there else None
        return Verdict(Checked(len(cells), max([*there, self._unmodified])), self._unmodified, cell)

    def _occluded(self, cells: IntArray) -> Array:
        """The images [n, H, W, C] at some of the positions."""
        bound = self._query.bound
        return self._query.occlusion().applied(self._image, bound.selection.positions[cells], bound.patch)

    def _others(self, seed: int) -> Array:
        return self._occluded(np.random.default_rng(seed).permutation(len(self._doubts))[:OTHERS])

    def _ends(self) -> list[int]:
        """The cells that are first or last in a batch."""
        found = []
        for cells, planned in self._rounds:
            logical = planned.physical.logical
            if logical.duplicates is None:
                found += [int(cells[batch[at]]) for batch in logical.batches for at in (0, -1)]
        return found

    def to_blame(self, verdict: Verdict) -> str | None:
        """In words, what gives other values than the model itself; None where that cannot be told."""
        reference, occlusion = self._query.bound.traced.reference, self._query.occlusion()
        for cells, planned in self._rounds:
            found = np.flatnonzero(cells == verdict.cell)
            if len(found) or verdict.unmodified > 1:
                duplicates, position = planned.physical.logical.duplicates, None
                if verdict.unmodified <= 1:
                    position = int(found[0] if duplicates is None else duplicates[found[0]])
                return self._engine.to_blame(planned, reference, self._image, occlusion, position)
        return None


def _scored(traced: TracedModel) -> tuple[str, ...]:
    """What besides the classes decides what is made of the outputs: a region, or another image's output."""
    head, direction = traced.head, traced.direction
    if head is not None:
        return _digest(head.weights), str(head.part)
    return () if direction is None else (_digest(direction),)


def _digest(image: Array) -> str:
    return hashlib.sha256(image).hexdigest()


def planned(engine: Engine, bound: BoundQuery, plan: Planned) -> str:
    """In words, how a query's map will be compared with the model itself."""
    count = wanted(engine.settings["verify"], len(bound.selection.cells))
    if plan.naive:
        return "every position is evaluated by the model itself, so that nothing is left to compare"
    if count is None:
        return "off; SET verify = auto compares with the model itself"
    if bound.permissions.precision == "tf32":
        return "none, since views of tf32 are not exact either"
    if not count or not bound.permissions.exact:
        return "the unmodified image is compared with the model itself"
    most = min(count, len(bound.selection.cells))
    return f"{most} positions and the unmodified image are compared with the model itself"


def found(checked: tuple[int, float] | None, cancelled: int) -> str:
    """In words, what the comparison found; ``cancelled`` positions were evaluated in full as vectors nearly cancel."""
    if checked is None:
        return "not compared with the model itself"
    positions, worst = checked
    text = f"{positions} positions compared with the model itself: " if positions else "the unmodified image compared: "
    text += f"at worst {worst:.2g} of what Exact allows"
    return text + (f"; {cancelled} that nearly cancel were evaluated in full" if cancelled else "")
