"""Maps averaged over the images of a run, and two runs compared: one map at a time is in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kdb.errors import ExecutionError
from kdb.results.compare import Difference
from kdb.results.maps import HeatMap, Stats
from kdb.results.pictures.style import Colors, Range
from kdb.results.several import plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Maps = Sequence[tuple[Any, Callable[[], HeatMap]]]
"""Of each image: the group that it is in, and what reads its map."""


class Means(Mapping[Any, HeatMap]):
    """The mean map of each group of images, by what the group has in common, such as its true class.

    A mean map is a HeatMap: its values are the means of the scores, its baseline that of the baselines, its image that
    of the images.
    """

    def __init__(self, maps: Mapping[Any, HeatMap]) -> None:
        self._maps: dict[Any, HeatMap] = dict(maps)

    def __getitem__(self, group: Any) -> HeatMap:
        return self._maps[group]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._maps)

    def __len__(self) -> int:
        return len(self._maps)

    def plot(self, *, range: Range = "shared", colors: Colors = "effect", caption: bool = True) -> Figure:
        """The mean maps side by side, by default on one scale: ``kdb.plot`` of them."""
        return plot(list(self.values()), range=range, colors=colors, caption=caption)

    def __repr__(self) -> str:
        return f"<Means of {len(self)} groups: {', '.join(map(str, self))}>"


def means(maps: Maps, by: str | None = None) -> Means:
    """The mean map of each group, groups in the order of their names; ``by`` says what they are grouped by.

    Raises ExecutionError where maps of a group are not of the same positions, patch, score and grid, or where there is
    none at all.
    """
    groups: dict[Any, _Mean] = {}
    for group, read in maps:
        groups.setdefault(group, _Mean()).add(read())
    if not groups:
        raise ExecutionError("the run has no maps to average")
    ordered = sorted(groups, key=lambda group: (group is None, isinstance(group, str), group))
    return Means({group: groups[group].heat_map("" if by is None else f" | {by} {group}") for group in ordered})


def differences(
    pairs: Sequence[tuple[Any, Callable[[], HeatMap], Callable[[], HeatMap]]], by: str | None = None
) -> dict[Any, Difference]:
    """The difference of the mean maps of each group, over (group, one map, the other map of the same image)."""
    ones = means([(group, one) for group, one, _ in pairs], by)
    others = means([(group, other) for group, _, other in pairs], by)
    return {group: Difference(ones[group], others[group]) for group in ones}


class _Mean:
    """Sums of maps that are alike."""

    def __init__(self) -> None:
        self._first: HeatMap | None = None
        self._count = 0
        self._classes: Counter[Any] = Counter()
        self._exact = self._complete = True

    def add(self, heat_map: HeatMap) -> None:
        """One more map; raises ExecutionError where it is not like the first."""
        if self._first is None:
            self._first = heat_map
            self._sum = np.zeros(heat_map.values.shape, np.float64)
            self._there = np.zeros(heat_map.values.shape, np.int64)
            self._baselines = np.zeros(np.shape(heat_map.baseline), np.float64)
            self._based = np.zeros(np.shape(heat_map.baseline), np.int64)
            self._image = np.zeros(heat_map.image.shape, np.float64)
            self._evaluated: npt.NDArray[np.bool_] = heat_map.evaluated.copy()
        else:
            _check_alike(self._first, heat_map)
        there, baseline = np.isfinite(heat_map.values), np.asarray(heat_map.baseline, np.float64)
        self._sum[there] += heat_map.values[there]
        self._there += there
        self._based += np.isfinite(baseline)
        self._baselines += np.where(np.isfinite(baseline), baseline, 0)
        self._image += heat_map.image
        self._evaluated &= heat_map.evaluated | ~_of_cells(there, heat_map)
        self._classes[heat_map.class_index, heat_map.label] += 1
        if heat_map.has_class_axis and len(self._classes) > 1:
            raise ExecutionError(
                "the maps are of other classes for each image, as of TOP k, and have no mean by class; CLASSES (..) "
                "and ALL CLASSES name the same for all"
            )
        self._exact &= heat_map.exact
        self._complete &= heat_map.complete
        self._count += 1

    def heat_map(self, remark: str) -> HeatMap:
        """The mean so far; its classes' labels are followed by the ``remark``."""
        first, several = self._first, len(self._classes) > 1
        assert first is not None, "there is no group without a map"
        (index, label), _ = self._classes.most_common(1)[0]
        with np.errstate(invalid="ignore"):
            values = (self._sum / np.where(self._there, self._there, np.nan)).astype(np.float32)
            baseline = self._baselines / np.where(self._based, self._based, np.nan)
        image = self._image / self._count
        whole = first.image.dtype == np.uint8
        if several:
            label = f"{len(self._classes)} classes, most often {label}"
        note = (f"the maps are of {len(self._classes)} classes: those that the query chose for each image",)
        there = _of_cells(self._there > 0, first)
        return HeatMap(
            values=values,
            positions=first.positions,
            baseline=tuple(baseline.tolist()) if first.has_class_axis else float(baseline),
            class_index=index,
            label=tuple(each + remark for each in label) if first.has_class_axis else label + remark,
            score=first.score,
            patch=first.patch,
            stride=first.stride,
            image=np.rint(image).astype(np.uint8) if whole else image.astype(np.float32),
            source=f"{self._count:,} image{'s' if self._count != 1 else ''}",
            source_box=(*(0.0 for _ in first.size), *map(float, first.size)),
            source_size=first.size,
            query=first.query,
            model=first.model,
            model_identity=first.model_identity,
            version=first.version,
            exact=self._exact,
            complete=self._complete,
            evaluated=self._evaluated & there,
            notes=note if several else (),
            axes=first.axes,
            segments=first.segments,
            labels=first.labels,
            stats=Stats(
                naive_macs=first.stats.naive_macs,
                executed_macs=first.stats.executed_macs,
                positions=first.stats.positions,
                evaluated=first.stats.evaluated,
                seconds=first.stats.seconds,
                kernels=first.stats.kernels,
            ),
        )


def _of_cells(there: npt.NDArray[np.bool_], heat_map: HeatMap) -> npt.NDArray[np.bool_]:
    """Where some class has a score, without the class axis."""
    return np.asarray(there.any(axis=0)) if heat_map.has_class_axis else there


def _check_alike(first: HeatMap, other: HeatMap) -> None:
    """Raise ExecutionError unless both maps' values are of the same positions."""
    told = {
        "size": (first.size, other.size),
        "patch": (first.patch, other.patch),
        "stride": (first.stride, other.stride),
        "score": (first.score, other.score),
        "number of classes": (first.values.shape[: first.has_class_axis], other.values.shape[: other.has_class_axis]),
    }
    for name, (one, two) in told.items():
        if one != two:
            raise ExecutionError(f"maps of another {name} have no mean: {one} and {two}")
    if not first.is_aligned_with(other):
        what = "segments" if first.segments is not None else "positions"
        raise ExecutionError(f"maps of other {what} have no mean; a query with the same {what} for all images has one")
