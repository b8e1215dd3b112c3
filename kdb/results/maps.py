"""The result of a query on one image.

It holds arrays and metadata, and depends on no plan or model.  Pictures are made in pictures/, data frames in
frames.py; the file format is specified in docs/heatmap-files.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from kdb.errors import ExecutionError
from kdb.geometry import AXES, Size, Space
from kdb.results import arrow, frames, npz, soundness
from kdb.results.compare import Comparison, Difference, compared
from kdb.results.files import FilePath, check_apart, file_format, format_of, write_result
from kdb.results.format import Saving
from kdb.results.pictures import captions, figure, pages
from kdb.results.pictures.style import Colors, Range, Style
from kdb.results.provenance import Provenance
from kdb.results.wording import checked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Score = Literal["probability", "drop", "logit", "logit_drop", "cosine", "cosine_drop"]


@dataclass(frozen=True, kw_only=True)
class Stats:
    """What a heat map cost.

    ``seconds`` has the elapsed seconds to find and ``trace`` the model, to ``plan``, to ``materialize``, to
    ``execute`` and to ``check`` the map, and their ``total``, which leaves out reading the image; keys that end in
    ``(threads)`` are sums over the workers.  ``kernels`` counts the layers that each kernel was chosen for;
    it is empty where the model itself evaluated everything.
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

    An image has one to three axes; it may be a signal, a picture, a volume or a video.  ``cells`` below stands for the
    lattice of positions, with a length for each axis, and after AT for their number alone; ``size`` for the model's
    input grid.  Coordinates and sizes are in the order of the array's axes, in cells of that grid: pixels of a picture,
    samples of a signal, voxels of a volume.

    values          float32 [*cells]; a leading class axis for CLASSES, TOP k, ALL CLASSES; NaN outside the query's
                    region and, in a partial map, where nothing was evaluated
    positions       int64 [*cells, axes]: the first cell of each patch; (y, x) of its top left corner
    baseline        the unmodified image's probability or logit; like class_index and label a tuple with a class axis
    score           what a value is: probability, drop (baseline - probability), logit or logit_drop; cosine
                    (of the output with another image's) or cosine_drop
    patch, stride   a number of cells for each axis: (height, width) and (sy, sx); stride is None after AT
    segments        int64 [n]: the labels of the segments that were hidden, in ascending order, each a value; then the
                    positions are a cell of each and the patch is of one cell.  None for maps of patches
    labels          int64 [*size]: which segment a cell is of, 0 for none; None for maps of patches
    boxes           float32 [n, 4]: a detector's boxes on the unmodified image, by descending score, as (y, x, height,
                    width) in cells of the grid; box_scores float32 [n] and box_classes int64 [n] are theirs.  Those of
                    a score of .25 or more, and all before the one explained; None for other models
    changed_mean    float32 [*output], like values with a class axis: after OVER ALL the mean |change| of each cell of a
                    dense output, over all positions; in the score's unit.  changed_max has the largest.  None for
                    others, and where the query permits an approximation
    detection       the number of the box that the scores are of, from 1, among ``boxes``; None for other models
    image           the prepared image, at the model's input grid, before it is normalised: uint8 [*size, 3], RGB, where
                    all pixels are whole numbers of three channels, otherwise float32 [*size, C]: 0 to 255, or an
                    image of floats in units of its own
    fill            what covered the image, in the same units: float32 [1, .., C] of one colour, [*patch, C] of a patch
                    of its own cells, [*size, C] of an image that shows through; None in maps of earlier versions
    source          the image's path or the name of its parameter
    source_files    the absolute paths of the files that the image was read from, of a series in the order of its
                    slices; empty for other images, and in maps from files
    source_box      the first cells, then the extents, of what the grid shows of the source image: (y, x, height,
                    width), in its own cells; its size is source_size
    axes            the axes' names, a letter each; by default 't', 'yx' or 'zyx'
    space           where the source image's cells lie in the world, for volumes from files that say so; or None
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
    patch: tuple[int, ...]
    stride: tuple[int, ...] | None
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
    axes: str = ""
    space: Space | None = None
    source_files: tuple[str, ...] = ()
    segments: NDArray[np.int64] | None = None
    labels: NDArray[np.int64] | None = None
    boxes: NDArray[np.float32] | None = None
    box_scores: NDArray[np.float32] | None = None
    box_classes: NDArray[np.int64] | None = None
    detection: int | None = None
    changed_mean: NDArray[np.float32] | None = None
    changed_max: NDArray[np.float32] | None = None
    stats: Stats

    def __post_init__(self) -> None:
        if not self.axes:
            object.__setattr__(self, "axes", AXES.get(np.size(self.patch), ""))
        if self.evaluated is None:
            there = np.isfinite(self.values)
            object.__setattr__(self, "evaluated", there.all(axis=0) if self.has_class_axis else there)
        soundness.check(self, get_args(Score))

    @property
    def size(self) -> Size:
        """The model's input grid: its number of cells along each axis."""
        return self.image.shape[:-1]

    @property
    def picture(self) -> NDArray[np.uint8]:
        """uint8 [*size, 3], for display: the rounded image, or the mean of its channels if there are not three.

        An image of floats is shown from its least to its largest.
        """
        floats = self.provenance is not None and self.provenance.floats
        return displayed(self.image, self.image if floats else None)

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

    def is_aligned_with(self, other: HeatMap) -> bool:
        """Whether each value of both maps hides the same cells, if their patches are the same."""
        one, two = ((each.positions, each.segments, each.labels) for each in (self, other))
        return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(one, two, strict=True))

    def upsample(self) -> NDArray[np.float32]:
        """float32 [*size], or [classes, *size]: the mean score of the patches that cover each cell, NaN if none does.

        A position that the query lists twice counts twice.  Of segments the score of a cell's own.
        """
        if self.segments is not None and self.labels is not None:
            own = np.searchsorted(self.segments, self.labels).clip(max=len(self.segments) - 1)
            painted = np.where(self.labels > 0, self.by_class()[0][:, own], np.float32(np.nan))
            return painted if self.has_class_axis else painted[0]
        positions = self.positions.reshape(-1, len(self.size))
        maps = [_mean_over_patches(scores, positions, self.patch, self.size) for scores in self.by_class()[0]]
        return np.stack(maps) if self.has_class_axis else maps[0]

    def to_source(self) -> NDArray[np.float64]:
        """float64 [*cells, 2 * axes]: the first cell and the extent of each patch in cells of the source image.

        In two axes (y, x, height, width) in its pixels.  Boxes are not clipped: a patch on padding lies outside the
        source image.
        """
        start, extent = np.reshape(self.source_box, (2, -1))
        scale = extent / self.size
        corners = self.positions * scale + start
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

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The cells that have a score, as :meth:`to_dataframe` lists them, for other libraries."""
        reader = arrow.of_maps([self], self.axes, self.segments is not None)
        stream: object = reader.__arrow_c_stream__(requested_schema)
        return stream

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

        ``range``, ``colors`` and ``caption`` are those of :meth:`plot`; the data do not depend on them.  A volume lies
        on its source in viewers of NIfTI files, with a voxel for each position; ``upsample`` gives it the voxels of the
        source.  Of maps of DICOM files ``.dcm`` is the picture and ``.pm.dcm`` the scores, float32 on the pixels of the
        source, both in the source's study (docs/dicom-out.md).  The file is written atomically.

        Raises ``ExecutionError`` for an unknown extension, for a file of the source itself, for a volume of a map of
        other than three axes or, unless ``upsample``, after AT, for a DICOM file of a map whose source is none, is not
        at hand or has changed, and if writing fails.
        """
        saving = Saving(file_format(path), Style(range, colors, caption), upsample)
        check_apart(path, [self.source, *self.source_files])
        return write_result(path, format_of(path).of_map(self, saving))

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
        """A pandas ``DataFrame`` of the evaluated cells: image, class_index, label, a column for each axis, score."""
        return frames.data_frame(self)

    def to_xarray(self) -> Any:
        """An ``xarray.DataArray`` with the dimensions class (even for one) and the axes; after AT class, position."""
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


def displayed(pixels: NDArray[Any], of: NDArray[Any] | None = None) -> NDArray[np.uint8]:
    """uint8 [*size, 3] of pixels [*size, C]: rounded, or the mean of the channels if there are not three.

    Those of an image of floats are shown from the least to the largest value ``of`` the image.
    """

    def coloured(values: NDArray[Any]) -> NDArray[np.float64]:
        values = values.astype(np.float64)
        return values if values.shape[-1] == 3 else np.repeat(values.mean(axis=-1, keepdims=True), 3, axis=-1)

    values = coloured(pixels)
    if of is not None:
        whole = coloured(of)
        low, high = float(whole.min()), float(whole.max())
        values = (values - low) * (255 / (high - low) if high > low else 0)
    return np.asarray(np.rint(np.clip(values, 0, 255)), np.uint8)


def _mean_over_patches(
    scores: NDArray[np.float32], positions: NDArray[np.int64], patch: Sequence[int], size: Size
) -> NDArray[np.float32]:
    """float32 [*size]: for each cell the mean of the ``scores`` [n] of the patches, at ``positions`` [n, axes], that
    cover it; NaN if none does.

    The sums are cumulative sums of a difference array, to which each patch contributes at its corners.
    """
    evaluated = ~np.isnan(scores)
    starts = positions[evaluated]
    ends = (starts.T, (starts + patch).T)
    padded = tuple(length + 1 for length in size)
    corners = [*product((0, 1), repeat=len(size))]  # by side along each axis: at its start, or behind its end
    places = np.concatenate(
        [np.ravel_multi_index([ends[side][axis] for axis, side in enumerate(sides)], padded) for sides in corners]
    )

    def sums(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        signed = np.concatenate([weights if sum(sides) % 2 == 0 else -weights for sides in corners])
        total = np.asarray(np.bincount(places, signed, minlength=math.prod(padded)), np.float64).reshape(padded)
        for axis in range(len(size)):
            total = total.cumsum(axis=axis)
        return total[tuple(slice(length) for length in size)]

    total, count = sums(scores[evaluated].astype(np.float64)), sums(np.ones(len(starts)))
    mean = np.full(size, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean.astype(np.float32)
