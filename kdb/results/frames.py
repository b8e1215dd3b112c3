"""Heat maps as data frames and labelled arrays; pandas and xarray are imported when they are needed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from kdb.errors import ExecutionError

if TYPE_CHECKING:
    from kdb.results.maps import HeatMap


def columns(axes: str, segments: bool = False) -> tuple[str, ...]:
    """What the cells of a map of ``axes``, or its ``segments``, are listed by, each with its score."""
    return ("image", "class_index", "label", *(("segment",) if segments else ()), *axes, "score")


def import_optional(name: str) -> Any:
    """The module ``name``, pandas or xarray; raises ``ExecutionError`` with how to install it if it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ExecutionError(f"this needs {name} ({error}); pip install {name}") from error


def data_frame(heat_map: HeatMap) -> Any:
    """The cells of a heat map that have scores, class by class, as a ``DataFrame`` with its :func:`columns`.

    ``image`` is the heat map's source; those of the axes (int64) are the patch's first cell, ``score`` is float32.
    """
    names = columns(heat_map.axes, heat_map.segments is not None)
    return import_optional("pandas").DataFrame(dict(zip(names, cells(heat_map), strict=True)))


def cells(heat_map: HeatMap) -> tuple[Any, ...]:
    """What each cell that has a score is listed by, class by class: a column for each of :func:`columns`."""
    values, class_index, label = heat_map.by_class()
    positions = heat_map.positions.reshape(-1, len(heat_map.axes))
    which, cell = np.nonzero(~np.isnan(values))
    segments = heat_map.segments
    return (
        [heat_map.source] * len(cell),
        np.asarray(class_index, dtype=np.int64)[which],
        np.asarray(label, dtype=object)[which],
        *([] if segments is None else [segments[cell]]),
        *positions[cell].T,
        values[which, cell],
    )


def data_array(heat_map: HeatMap) -> Any:
    """A heat map as a ``DataArray`` with the dimensions class and the axes, or class, position after AT.

    There is always a class dimension, whose coordinate is the class index, with ``label`` and ``baseline`` beside
    it.  Those of the axes are the first cells of the patches.  The name is the score; the rest is in ``attrs``.
    """
    values, class_index, label = heat_map.by_class()
    cells = heat_map.positions.shape[:-1]
    if heat_map.stride is None:
        dims: tuple[str, ...] = ("class", "position")
        places: dict[str, Any] = {name: ("position", heat_map.positions[:, i]) for i, name in enumerate(heat_map.axes)}
    else:
        dims = ("class", *heat_map.axes)
        places = {
            name: np.moveaxis(heat_map.positions[..., i], i, 0).reshape(cells[i], -1)[:, 0]
            for i, name in enumerate(heat_map.axes)
        }
    if heat_map.segments is not None:
        places["segment"] = ("position", heat_map.segments)
    coords = {
        "class": list(class_index),
        "label": ("class", list(label)),
        "baseline": ("class", np.atleast_1d(np.asarray(heat_map.baseline, dtype=np.float64))),
        **places,
    }
    # netCDF, to which labelled arrays are often written, has neither booleans nor None
    attrs = {
        "source": heat_map.source or "",
        "query": heat_map.query,
        "model": heat_map.model,
        "model_identity": heat_map.model_identity,
        "patch": list(heat_map.patch),
        "exact": int(heat_map.exact),
        "complete": int(heat_map.complete),
        "kdb_version": heat_map.version,
    }
    array = import_optional("xarray").DataArray
    return array(values.reshape(len(values), *cells), dims=dims, coords=coords, name=heat_map.score, attrs=attrs)
