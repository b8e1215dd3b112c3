"""Tunes the projective field threshold on sample images (section 4.3 of the paper): the SSIM of each tau.

The paper fits SSIM as a function of tau and takes the tau where the fit crosses the target.  The fit is to the mean,
so that about half of the images fall short of the target; the share that reaches it is reported.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from kdb.errors import STOPS, BindError, stopped
from kdb.execution.engine import Engine, Progress
from kdb.geometry import Size, spelled
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.models.catalog import TracedModel
from kdb.queries.bind import ImageQuery
from kdb.queries.clauses import by_axis
from kdb.queries.evaluation import run
from kdb.results.maps import HeatMap
from kdb.results.pictures.colours import coloured, krypton
from kdb.results.similarity import WINDOW, image_ssim
from kdb.results.tables import Table

TAUS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
"""The paper's; at 1 a map is exact."""
IMAGES = 30
"""The size of a sample, as in the paper."""
DEGREE = 2


@dataclass(frozen=True)
class Subject:
    """What a tuning is of: a model by its identity, the patch, the stride, the fill as text, and the score."""

    identity: str
    patch: Size
    stride: Size
    fill: str
    score: str


@dataclass(frozen=True, eq=False)
class Tuning:
    """What was measured.

    ``ssim`` float64 [images, taus] is that of coloured maps, ``speedup`` [taus] naive's multiply-adds over those made.
    """

    ssim: NDArray[np.float64]
    speedup: NDArray[np.float64]
    taus: tuple[float, ...] = TAUS

    @property
    def images(self) -> int:
        """The number of images that it was tuned on."""
        return len(self.ssim)

    def fit(self, tau: float) -> float:
        """The mean SSIM at ``tau``, by least squares over all images and a polynomial of degree two."""
        taus = np.broadcast_to(self.taus, self.ssim.shape)
        return float(np.polyval(np.polyfit(taus.ravel(), self.ssim.ravel(), DEGREE), tau))

    def tau(self, target: float) -> float:
        """The least tau, in hundredths, down to which the fit has ``target``; 1, which is exact, where none has."""
        best = 1.0
        for hundredths in range(99, round(100 * min(self.taus)) - 1, -1):
            if self.fit(hundredths / 100) < target:
                break
            best = hundredths / 100
        return best

    def at(self, tau: float) -> NDArray[np.float64]:
        """Each image's SSIM at ``tau``, [images], between those measured on a straight line."""
        return np.array([self._between(tau, row) for row in self.ssim])

    def speedup_at(self, tau: float) -> float:
        """Naive's multiply-adds over those at ``tau``."""
        return self._between(tau, self.speedup)

    def share(self, tau: float, target: float) -> float:
        """The share of the images that have ``target`` at ``tau``."""
        return float(np.mean(self.at(tau) >= target))

    def table(self, target: float) -> Table:
        """What each tau leaves, and as the last row what the fit chooses for ``target``."""
        chosen = self.tau(target)
        rows = []
        for tau, note in [*((tau, "") for tau in self.taus), (chosen, f"for SSIM {target:g}")]:
            each = self.at(tau)
            numbers = (each.mean(), self.fit(tau), each.min(), self.share(tau, target), self.speedup_at(tau))
            rows.append((tau, *(float(f"{number:.3g}") for number in numbers), self.images, note))
        columns = ("tau", "mean SSIM", "fit", "lowest SSIM", f"share of {target:g}", "speedup", "images", "chosen")
        return Table(columns, tuple(rows))

    def note(self, tau: float, target: float) -> str:
        """Where ``tau`` comes from, in words, for EXPLAIN."""
        return (
            f"tuned on {self.images} images to a mean SSIM of {target:g}, which {self.share(tau, target):.0%} of them "
            "have there"
        )

    def _between(self, tau: float, values: NDArray[np.float64]) -> float:
        return float(np.interp(tau, self.taus[::-1], values[::-1]))

    def to_json(self) -> str:
        """The tuning as JSON."""
        return json.dumps(asdict(self) | {"ssim": self.ssim.tolist(), "speedup": self.speedup.tolist()})

    @classmethod
    def from_json(cls, text: str) -> Tuning:
        """The tuning that :meth:`to_json` wrote; raises ValueError, TypeError or KeyError for any other text."""
        found = json.loads(text)
        ssim, speedup, taus = (np.array(found[name], float) for name in ("ssim", "speedup", "taus"))
        fits = taus.ndim == 1 and ssim.ndim == 2 and ssim.shape[1:] == speedup.shape == taus.shape
        if not fits or 0 in ssim.shape or not all(np.isfinite(each).all() for each in (ssim, speedup, taus)):
            raise ValueError("holds no tuning")
        return cls(ssim, speedup, tuple(taus.tolist()))


def sample(count: int, seed: int) -> list[int]:
    """Which of ``count`` images to tune on: all of a few, otherwise ``IMAGES`` at random."""
    chosen = np.random.default_rng(seed).permutation(count)[:IMAGES]
    return sorted(chosen.tolist())


def subject(query: syntax.Occlude, traced: TracedModel, arguments: Arguments) -> Subject:
    """The subject of a tuning that serves this query.

    Raises BindError for a model of other than two axes, of which no tuning has been measured.
    """
    size = traced.network.source.shape.size
    if len(size) != 2:
        raise BindError(
            f"TUNE and THRESHOLD AUTO are for images, of two axes; the input of '{query.model}' is {spelled(size)}. "
            "THRESHOLD takes a number there"
        )
    fill = str(query.patch.fill)
    if query.patch.fill.parameter is not None:  # known by what it holds, not by what it is called
        pixels = np.ascontiguousarray(arguments[query.patch.fill.parameter])
        fill = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    assert isinstance(query.patch, syntax.Patch), "segments have no THRESHOLD AUTO"
    patch = by_axis("patch", query.patch.extent, size)
    stride = by_axis("STRIDE", query.stride or syntax.DEFAULT_STRIDE, size)
    return Subject(traced.identity, patch, stride, fill, query.score)


def untuned(query: syntax.Occlude) -> BindError:
    """The error for THRESHOLD AUTO without a tuning."""
    assert isinstance(query.patch, syntax.Patch), "segments have no THRESHOLD AUTO"
    statement = syntax.Tune(query.model, syntax.Text("images/*.png"), query.patch, query.stride, query.score)
    return BindError(
        f"THRESHOLD AUTO: '{query.model}' is not tuned for this patch, stride, fill and score; first run "
        f"{statement} on images like those of the query"
    )


def measure(engine: Engine, queries: Sequence[ImageQuery], on_progress: Progress | None = None) -> Tuning:
    """The SSIM of each of ``TAUS`` to the exact map, and the work it takes, for one query on several images.

    Raises BindError where maps are too small to have an SSIM, and whatever evaluating a query raises.
    """
    selection = queries[0].bound.selection
    rows, columns = selection.grid.shape[:2]
    if min(rows, columns) < WINDOW:
        raise BindError(f"a map of {rows} x {columns} positions has no SSIM, which takes {WINDOW} x {WINDOW}")
    cells = len(selection.cells)
    total = len(queries) * len(TAUS) * cells
    similar, executed, naive = np.ones((len(queries), len(TAUS))), np.zeros(len(TAUS)), 0
    for i, query in enumerate(queries):
        maps: list[HeatMap] = []
        for tau in TAUS:
            before = (i * len(TAUS) + len(maps)) * cells
            report = None if on_progress is None else partial(_report, on_progress, before, total)
            try:
                maps.append(run(engine, _at(query, tau), report).heat_map)
            except STOPS as stop:
                raise stopped(stop, f"in image {i + 1} of {len(queries)}; no tuning is kept") from stop
        exact = maps[0]
        scale = krypton(exact.score, float(np.ravel(exact.baseline)[0]), exact.values)
        similar[i] = [image_ssim(coloured(each.values, scale), coloured(exact.values, scale)) for each in maps]
        executed += [each.stats.executed_macs for each in maps]
        naive += exact.stats.naive_macs
    return Tuning(similar, naive / executed)


def _at(query: ImageQuery, tau: float) -> ImageQuery:
    """The query with that threshold; at 1 without one, since it is exact."""
    return query if tau == 1 else replace(query, bound=query.bound.with_threshold(tau))


def _report(on_progress: Progress, before: int, total: int, done: int, _: int) -> None:
    on_progress(before + done, total)
