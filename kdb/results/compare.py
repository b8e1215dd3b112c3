"""Two heat maps of the same positions: their difference, and how alike they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kdb.errors import ExecutionError
from kdb.geometry import spelled
from kdb.results import frames, wording
from kdb.results.files import FilePath, check_apart, file_format, format_of, write_result
from kdb.results.format import Saving
from kdb.results.pictures import captions, figure
from kdb.results.pictures.colours import FLOORS, unit
from kdb.results.pictures.style import Colors, Range, Style
from kdb.results.similarity import WINDOW, ssim

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kdb.results.maps import HeatMap


@dataclass(frozen=True, eq=False, repr=False)
class Difference:
    """``first - second``: how much higher the first map's scores are, position by position.

    ``values`` is float32, of the shape of both maps' values, and NaN where either is.  Raises ``ExecutionError`` for
    maps of different positions, patches, scores, classes or grids.  Models, fills and images may differ, and either map
    may be approximate.
    """

    first: HeatMap
    second: HeatMap

    def __post_init__(self) -> None:
        _check_aligned(self.first, self.second)

    @property
    def values(self) -> NDArray[np.float32]:
        """float32 [*cells], after AT [n], with a leading class axis as in both maps."""
        return self.first.values - self.second.values

    @property
    def positions(self) -> NDArray[np.int64]:
        """int64 [*cells, axes] or [n, axes], those of both maps."""
        return self.first.positions

    def upsample(self) -> NDArray[np.float32]:
        """float32 [*size], or [classes, *size]: the mean difference of the patches that cover each cell."""
        return self.as_map().upsample()

    def facts(self) -> dict[str, str]:
        """What a picture's metadata says: of what differs between the maps, 'this minus that'."""
        return captions.of_both(captions.facts(self.first), captions.facts(self.second))

    def plot(
        self,
        ax: Axes | Sequence[Axes] | None = None,
        *,
        range: Range = "shared",
        colors: Colors = "effect",
        caption: bool = True,
    ) -> Figure:
        """The difference over the first map's image; red is where the first map has the stronger effect.

        Arguments as of ``HeatMap.plot``.
        """
        return figure.of_difference(self, Style(range, colors, caption), ax)

    def save(
        self,
        path: FilePath,
        *,
        range: Range = "shared",
        colors: Colors = "effect",
        caption: bool = True,
        upsample: bool = False,
    ) -> Path:
        """Write a picture (png, jpg, jpeg, pdf, svg), the data (npz), a volume (nii, nii.gz) or a DICOM file (dcm,
        pm.dcm), and return the path.

        An npz file has the arrays that docs/pictures.md lists; volumes and DICOM files are those of ``HeatMap.save``,
        and lie on the first map's source.  Raises ``ExecutionError`` as that does.
        """
        saving = Saving(file_format(path), Style(range, colors, caption), upsample)
        for each in (self.first, self.second):
            check_apart(path, [each.source, *each.source_files])
        return write_result(path, format_of(path).of_difference(self, saving))

    def as_map(self) -> HeatMap:
        """The first map with the differences in place of its scores."""
        return _with(self.first, self.values)

    def write_npz(self, file: IO[bytes]) -> None:
        """Write the arrays that docs/pictures.md lists."""
        first, second = self.first, self.second
        np.savez_compressed(
            file,
            values=self.values,
            positions=self.positions,
            class_index=np.asarray(first.class_index),
            score=first.score,
            patch=np.asarray(first.patch),
            label=np.stack([np.asarray(first.label), np.asarray(second.label)]),
            baseline=np.stack([np.asarray(first.baseline), np.asarray(second.baseline)]),
            query=[first.query, second.query],
            model=[first.model, second.model],
            model_identity=[first.model_identity, second.model_identity],
            source=[first.source or "", second.source or ""],
        )

    def to_dataframe(self) -> Any:
        """A pandas ``DataFrame`` of the cells where both maps have a score.

        Columns image, class_index, label, a column for each axis, first, second, difference.
        """
        both = ~np.isnan(self.values)
        first, second = (
            frames.data_frame(_with(each, np.where(both, each.values, np.float32(np.nan))))
            for each in (self.first, self.second)
        )
        table = first.rename(columns={"score": "first"})
        return table.assign(second=second["score"], difference=table["first"] - second["score"])

    def _repr_png_(self) -> bytes:
        return figure.encoded(self.plot(), self.facts())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype=dtype)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.values.shape))
        known = self.values[~np.isnan(self.values)]
        span = f"min {known.min():.4g}, max {known.max():.4g}" if known.size else "no scores"
        return f"<Difference of {self.first.score} {shape}: {span}>"


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """How alike two aligned heat maps are, over the cells in which both have a score.

    difference    first - second
    compared      the number of these cells, of all classes
    largest       the difference of the largest magnitude, first - second, at the position ``where``, a number
                  for each axis, for the class ``class_index``; NaN and None where nothing is compared
    correlation   Pearson's, the lowest over the classes; NaN where a map is constant
    ssim          the structural similarity with the second map's range as the data range, over windows of 7 cells along
                  each axis that is longer than 1, the lowest over the classes; None for maps after AT, maps that are
                  smaller, and where cells within the box of the scores have none
    agree         the share of the cells whose scores differ by at most ``tolerance``; NaN where nothing is compared
    """

    difference: Difference
    compared: int
    largest: float
    where: tuple[int, ...] | None
    class_index: int | None
    correlation: float
    ssim: float | None
    agree: float
    tolerance: float

    def __repr__(self) -> str:
        if self.where is None:
            return "<Comparison: no position has a score in both maps>"
        similar = "" if self.ssim is None else f", SSIM {self.ssim:.4g}"
        return (
            f"<Comparison: largest difference {self.largest:.4g} at {self.where}, "
            f"correlation {self.correlation:.4g}{similar}, "
            f"{self.agree:.1%} of {self.compared} within {self.tolerance:g}>"
        )


def compared(first: HeatMap, second: HeatMap, tolerance: float | None = None) -> Comparison:
    """How alike two maps are; ``tolerance`` is by default the least half-width of a colour scale of their score.

    Raises ``ExecutionError`` for maps that are not aligned, and for a tolerance below 0.
    """
    difference = Difference(first, second)
    tolerance = FLOORS[unit(first.score)] if tolerance is None else tolerance
    if not isinstance(tolerance, int | float) or isinstance(tolerance, bool) or not tolerance >= 0:
        raise ExecutionError(f"tolerance must be a number from 0, in the score's unit; not {tolerance!r}")
    indices = first.by_class()[1]
    values = difference.values.reshape(len(indices), -1)
    both = ~np.isnan(values)
    count = int(both.sum())
    largest, where, index = np.nan, None, None
    if count:
        k, cell = np.unravel_index(np.nanargmax(np.abs(values)), values.shape)
        where = tuple(first.positions.reshape(-1, len(first.axes))[cell].tolist())
        largest, index = float(values[k, cell]), indices[k]
    pairs = list(zip(first.by_class()[0], second.by_class()[0], both, strict=True))
    return Comparison(
        difference=difference,
        compared=count,
        largest=largest,
        where=where,
        class_index=index,
        correlation=min((_correlation(a[kept], b[kept]) for a, b, kept in pairs), default=np.nan),
        ssim=_similarity(first, second),
        agree=float(np.mean(np.abs(values[both]) <= tolerance)) if count else np.nan,
        tolerance=float(tolerance),
    )


def _with(heat_map: HeatMap, values: NDArray[np.float32]) -> HeatMap:
    """The map with other values, all of which count as evaluated where they are numbers."""
    return replace(heat_map, values=values, evaluated=None, error=None, ssim_estimate=None)  # type: ignore[arg-type]


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Pearson's; NaN of constants, or of less than two values."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a.astype(np.float64), b.astype(np.float64))[0, 1])


def _similarity(first: HeatMap, second: HeatMap) -> float | None:
    """SSIM over the box of the cells in which both have scores, along axes longer than 1; None where that is too small,
    or has gaps.
    """
    if first.stride is None:
        return None
    maps = [each.values.reshape(-1, *first.positions.shape[:-1]) for each in (first, second)]
    there = ~np.isnan(maps[0]) & ~np.isnan(maps[1])
    if not there.any():
        return None
    box = [slice(None)]
    for axis in range(1, there.ndim):
        known = np.flatnonzero(there.any(axis=tuple({*range(there.ndim)} - {axis})))
        box.append(slice(known[0], known[-1] + 1))
    lengths = [length for length in there[tuple(box)].shape[1:] if length > 1]
    if min(lengths, default=0) < WINDOW or not there[tuple(box)].all():
        return None
    values, exact = (each[tuple(box)].reshape(-1, *lengths) for each in maps)
    return ssim(values, exact, len(lengths))


def _check_aligned(first: HeatMap, second: HeatMap) -> None:
    """Raise ``ExecutionError`` that says what differs between maps that cannot be subtracted."""
    advice = {
        "axes": "both maps must be of as many axes",
        "score": "compute both with the same SCORE",
        "patch": "compute both with the same WITH",
        "class": "name the classes in both queries, as in FOR CLASS 281",
        "image size": "both models must take images of the same size",
        "source box": "both models must resize and crop images in the same way, and the images be of one size",
        "stride": "compute both with the same STRIDE",
    }
    told = {
        "axes": (len(first.axes), len(second.axes)),
        "score": (first.score, second.score),
        "patch": (wording.hidden(first), wording.hidden(second)),
        "class": (first.class_index, second.class_index),
        "image size": (spelled(first.size), spelled(second.size)),
        "source box": (_rounded(first.source_box), _rounded(second.source_box)),
        "stride": (first.stride, second.stride),
    }
    for name, (here, there) in told.items():
        if here != there:
            raise ExecutionError(f"these heat maps cannot be compared: {name} {here} and {there}; {advice[name]}")
    if not first.is_aligned_with(second):
        if first.segments is not None:
            raise ExecutionError("these heat maps cannot be compared: their segments differ; give both the same labels")
        a, b = ("x".join(map(str, each.positions.shape[:-1])) for each in (first, second))
        raise ExecutionError(
            f"these heat maps cannot be compared: their positions differ ({a} and {b}); compute both with the same "
            "STRIDE, WITHIN or AT"
        )


def _rounded(box: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(each, 3) for each in box)
