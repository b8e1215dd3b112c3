"""The result of a query on one image.

It holds arrays and metadata, and depends on no plan or model.  Pictures are made in pictures/, data frames in
frames.py; the file format is specified in docs/heatmap-files.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from kdb.errors import ExecutionError
from kdb.results import frames, npz, soundness
from kdb.results.compare import Comparison, Difference, compared
from kdb.results.files import FilePath, check_apart, file_format, write_result
from kdb.results.pictures import captions, figure, pages
from kdb.results.pictures.style import Colors, Range, Style
from kdb.results.provenance import Provenance
from kdb.results.wording import checked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Score = Literal["probability", "drop", "logit", "logit_drop"]


@dataclass(frozen=True, kw_only=True)
class Stats:
    """What a heat map cost.

    ``seconds`` has the elapsed seconds to find and ``trace`` the model, to ``plan``, to ``materialize``, to
    ``execute`` and to ``check`` the map, and their ``total``, which leaves out reading the image; keys that end in
    ``(threads)`` are sums over the workers.  ``kernels`` counts the layers that each kernel was chosen for.
    """

    naive_macs: int
    executed_macs: int
    positions: int
    evaluated: int
    seconds: Mapping[str, float]
    kernels: Mapping[str, int]

    @property
    def speedup(self) -> float:
        """Multiply-adds of full inference at each position of the query, over those executed; 1 if both are zero."""
        if self.executed_macs:
            return self.naive_macs / self.executed_macs
        return float("inf") if self.naive_macs else 1.0


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class HeatMap:
    """The scores of one image with a patch laid on it, one for each position of the patch.

    values          float32 [rows, cols], after AT [n]; a leading class axis for CLASSES, TOP k, ALL CLASSES;
                    NaN outside the query's region and, in a partial map, where nothing was evaluated
    positions       int64 [rows, cols, 2] or [n, 2]: (y, x) of each patch's top left corner, pixels of the input grid
    baseline        the unmodified image's probability or logit; like class_index and label a tuple with a class axis
    score           what a value is: probability, drop (baseline - probability), logit or logit_drop
    patch, stride   (height, width) and (sy, sx) in pixels; stride is None after AT
    image           the prepared image, at the model's input grid, before it is normalised: uint8 [H, W, 3], RGB, where
                    all pixels are whole numbers of three channels, otherwise float32 [H, W, C]: 0 to 255, or an
                    image of floats in units of its own
    fill            what covered the image, in the same units: float32 [1, 1, C] of one colour, [h, w, C] of a patch of
                    its own pixels, [H, W, C] of an image that shows through; None in maps of earlier versions
    source          the image's path or the name of its parameter
    source_box      (y, x, height, width) of what the grid shows of the source image, whose size is source_size (H, W)
    query           its canonical text; with model, model_identity and version, where the map comes from
    exact           False if the query permitted an approximation
    complete        False for the partial map of an interrupted query
    evaluated       bool [rows, cols] or [n]: where a value was computed by the model; others are estimates, or NaN
    error           float32, like values: in a sampled map the standard deviation of each estimate's error, 0 where
                    evaluated; None for other maps
    ssim_estimate   the expected structural similarity of a sampled map to the exact one, the lowest over the classes;
                    None for other maps
    checked         (positions, worst): at how many positions, besides the unmodified image, the map was compared with
                    the model itself, and the worst difference over what Exact allows; above 1 the check has failed,
                    and the map was then evaluated in full by the model itself.  None where nothing was compared
    provenance      the preprocessing, digests of source and model, versions, machine; None in maps of earlier versions
    notes           what was assumed, or taken otherwise than written: of the model, the image and the query

    Two heat maps are equal only when they are the same object; compare ``values``.
    Raises ``ValueError`` for arrays of inconsistent shapes or of wrong types.
    """

    values: NDArray[np.float32]
    positions: NDArray[np.int64]
    baseline: float | tuple[float, ...]
    class_index: int | tuple[int, ...]
    label: str | tuple[str, ...]
    score: Score
    patch: tuple[int, int]
    stride: tuple[int, int] | None
    image: NDArray[np.uint8] | NDArray[np.float32]
    source: str | None
    source_box: tuple[float, ...]
    source_size: tuple[int, ...]
    query: str
    model: str
    model_identity: str
    version: str
    exact: bool
    complete: bool = True
    evaluated: NDArray[np.bool_] = None  # type: ignore[assignment]  # by default where there are values
    error: NDArray[np.float32] | None = None
    ssim_estimate: float | None = None
    checked: tuple[int, float] | None = None
    fill: NDArray[np.float32] | None = None
    provenance: Provenance | None = None
    notes: tuple[str, ...] = ()
    stats: Stats

    def __post_init__(self) -> None:
        if self.evaluated is None:
            there = np.isfinite(self.values)
            object.__setattr__(self, "evaluated", there.all(axis=0) if self.has_class_axis else there)
        soundness.check(self, get_args(Score))

    @property
    def picture(self) -> NDArray[np.uint8]:
        """uint8 [H, W, 3], for display: the rounded image, or the mean of its channels if there are not three.

        An image of floats is shown from its least to its largest.
        """
        pixels = self.image.astype(np.float64)
        if pixels.shape[2] != 3:
            pixels = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2)
        if self.provenance is not None and self.provenance.floats:
            low, high = float(pixels.min()), float(pixels.max())
            pixels = (pixels - low) * (255 / (high - low) if high > low else 0)
        return np.asarray(np.rint(np.clip(pixels, 0, 255)), np.uint8)

    @property
    def has_class_axis(self) -> bool:
        """True for CLASSES, TOP k and ALL CLASSES, even for one class."""
        return self.values.ndim == self.positions.ndim

    def by_class(self) -> tuple[NDArray[np.float32], tuple[int, ...], tuple[str, ...]]:
        """(values [classes, n], class indices, labels), with one class if there is no class axis."""
        indices = self.class_index if isinstance(self.class_index, tuple) else (self.class_index,)
        labels = self.label if isinstance(self.label, tuple) else (self.label,)
        return self.values.reshape(len(indices), -1), indices, labels

    def filled(self, value: float = 0.0) -> NDArray[np.float32]:
        """A copy of ``values`` with NaN replaced; ``filled(0)`` is the map that the KRYPTON paper draws."""
        return np.where(np.isnan(self.values), np.float32(value), self.values)

    def upsample(self) -> NDArray[np.float32]:
        """float32 [H, W], or [classes, H, W]: the mean score of the patches that cover each pixel, NaN if none does.

        A position that the query lists twice counts twice.
        """
        size = (self.image.shape[0], self.image.shape[1])
        positions = self.positions.reshape(-1, 2)
        maps = [_mean_over_patches(scores, positions, self.patch, size) for scores in self.by_class()[0]]
        return np.stack(maps) if self.has_class_axis else maps[0]

    def to_source(self) -> NDArray[np.float64]:
        """float64 [rows, cols, 4] or [n, 4]: (y, x, height, width) of each patch in pixels of the source image.

        Boxes are not clipped: a patch on padding lies outside the source image.
        """
        y, x, height, width = self.source_box
        scale = np.array([height / self.image.shape[0], width / self.image.shape[1]])
        corners = self.positions * scale + (y, x)
        return np.concatenate([corners, np.broadcast_to(self.patch * scale, corners.shape)], axis=-1)

    def plot(
        self,
        ax: Axes | Sequence[Axes] | None = None,
        *,
        range: Range = "shared",
        colors: Colors = "effect",
        caption: bool = True,
    ) -> Figure:
        """The map over the image, one panel per class, in a new figure or on the given axes.

        ax       one ``Axes``, or one for each class
        range    'shared': one width of the colour scale for all classes; 'each': one a class; a number above 0: half
                 the width, in the score's unit
        colors   'effect', or 'krypton' for the paper's
        caption  whether a line under a new figure says which model, source, patch, stride and fill

        docs/pictures.md explains the colours.  pyplot is not used.  Raises ``ExecutionError`` for other arguments.
        """
        return figure.of_map(self, Style(range, colors, caption), ax)

    def save(self, path: FilePath, *, range: Range = "shared", colors: Colors = "effect", caption: bool = True) -> Path:
        """Write a picture (png, jpg, jpeg, pdf, svg) or the data (npz), by extension, and return the path.

        ``range``, ``colors`` and ``caption`` are those of :meth:`plot`; the data do not depend on them.  The file is
        written atomically.  Raises ``ExecutionError`` for an unknown extension, for the file of the source itself, and
        if writing fails.
        """
        extension, style = file_format(path), Style(range, colors, caption)
        check_apart(path, [self.source])
        if extension == "npz":
            return write_result(path, partial(npz.write, self))
        picture = figure.of_map(self, style)
        return write_result(path, partial(figure.write, picture, captions.facts(self), extension))

    @classmethod
    def load(cls, path: FilePath) -> HeatMap:
        """Read an npz file that ``save`` wrote.

        Raises ``ExecutionError`` for a file that is missing, damaged, of a newer version, or not a heat map.
        """
        return npz.read(path, cls, Stats)

    def __sub__(self, other: HeatMap) -> Difference:
        """This map's scores minus those of another of the same positions, patch, score, classes and grid.

        Raises ``ExecutionError``, which says what differs, for other maps.
        """
        return Difference(self, other) if isinstance(other, HeatMap) else NotImplemented

    def compare(self, other: HeatMap, tolerance: float | None = None) -> Comparison:
        """How alike this map and another of the same positions are: the largest difference, correlation, SSIM.

        ``tolerance``, in the score's unit, is by default .01 for probabilities and .1 for logits.  Raises
        ``ExecutionError``, which says what differs, for maps that are not of the same positions, patch, score, classes
        and grid.
        """
        if not isinstance(other, HeatMap):
            raise ExecutionError(f"a heat map is compared with another heat map, not with {type(other).__name__}")
        return compared(self, other, tolerance)

    def to_dataframe(self) -> Any:
        """A pandas ``DataFrame`` of the evaluated cells: columns image, class_index, label, y, x, score."""
        return frames.data_frame(self)

    def to_xarray(self) -> Any:
        """An ``xarray.DataArray`` with the dimensions class (even for one), y, x; after AT class, position."""
        return frames.data_array(self)

    def _repr_png_(self) -> bytes:
        return figure.encoded(self.plot(), captions.facts(self))

    def _repr_html_(self) -> str:
        return pages.of_map(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.values.shape))
        scores = self.values[~np.isnan(self.values)]
        span = f"min {scores.min():.4g}, max {scores.max():.4g}" if scores.size else "no scores"
        _, _, labels = self.by_class()
        name = repr(labels[0]) if len(labels) == 1 else f"{len(labels)} classes"
        baseline = f"baseline {self.baseline:.4g}, " if isinstance(self.baseline, float) else ""
        state = "exact" if self.exact else "approximate"
        state += "" if self.ssim_estimate is None else f" (SSIM about {self.ssim_estimate:.2f})"
        state += "" if self.complete else ", partial"
        state += "" if self.checked is None else f", {checked(*self.checked)}"
        state += f", {len(self.notes)} note{'' if len(self.notes) == 1 else 's'}" if self.notes else ""
        return f"<HeatMap {name}: {self.score} {shape}, {baseline}{span}, {state}>"


def _mean_over_patches(
    scores: NDArray[np.float32], positions: NDArray[np.int64], patch: tuple[int, int], size: tuple[int, int]
) -> NDArray[np.float32]:
    """float32 [H, W] of ``size``: for each pixel the mean of the ``scores`` [n] of the patches, at ``positions`` [n,
    2], that cover it; NaN if none does.

    The sums are cumulative sums of a difference array, to which each patch contributes at its four corners.
    """
    evaluated = ~np.isnan(scores)
    (top, left), (height, width) = positions[evaluated].T, size
    bottom, right = top + patch[0], left + patch[1]
    pitch = width + 1
    corners = np.concatenate([top * pitch + left, top * pitch + right, bottom * pitch + left, bottom * pitch + right])

    def sums(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        signed = np.concatenate([weights, -weights, -weights, weights])
        differences = np.bincount(corners, signed, minlength=(height + 1) * pitch).reshape(height + 1, pitch)
        return differences.cumsum(axis=0).cumsum(axis=1)[:height, :width]

    total, count = sums(scores[evaluated].astype(np.float64)), sums(np.ones(int(evaluated.sum())))
    mean = np.full(size, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean.astype(np.float32)
