"""Heat maps as the page takes them: floats, which the browser colours."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdb.errors import Error, printable
from kdb.images.image import evenly
from kdb.language import syntax
from kdb.language.parser import parse_one
from kdb.results import dicom_source
from kdb.results.formats import EXTENSIONS
from kdb.results.maps import HeatMap
from kdb.results.pictures import colours
from kdb.results.pictures.colours import FLOORS, unit
from kdb.runs.gallery.thumbnails import of_class, superimposed
from kdb.ui.pictures import is_floats, shown
from kdb.ui.wire import Content, Packing

THUMBNAIL = 96
"""Pixels of the longer side of a small picture."""
MIXED = 0.6
"""How much of the map's colour a small picture has over its image."""

Region = NDArray[np.bool_]


def of_map(heat_map: HeatMap, number: int, picture: str, region: Region | None) -> tuple[Content, Packing]:
    """The event of a map, without the id and slot of what it answers; ``region`` is where a dense output is scored."""
    packing, which = Packing(), first_class(heat_map)
    values, indices, labels = heat_map.by_class()
    baselines = np.ravel(heat_map.baseline)
    evaluated, stats = heat_map.evaluated, heat_map.stats
    spread = [colours.spread(row, _neutral(heat_map, i)) for i, row in enumerate(values)]
    provenance = heat_map.provenance
    content: Content = {
        "kind": "map",
        "map": number,
        "picture": picture,
        "text": heat_map.query,
        "model": heat_map.model,
        "score": heat_map.score,
        "axes": heat_map.axes,
        "size": [*heat_map.size],
        "patch": [*heat_map.patch],
        "stride": None if heat_map.stride is None else [*heat_map.stride],
        "classes": [
            {"index": int(index), "label": printable(label), "baseline": finite(baseline)}
            for index, label, baseline in zip(indices, labels, baselines, strict=True)
        ],
        "half": max([*spread, FLOORS[unit(heat_map.score)]]),
        **_of_class(heat_map, which, region, packing),
        "positions": packing(places(heat_map)),
        "evaluated": packing(evaluated.reshape(-1)),
        "labels": None if heat_map.labels is None else packing(heat_map.labels),
        "boxes": None if heat_map.boxes is None else packing(heat_map.boxes),
        "exact": heat_map.exact,
        "complete": heat_map.complete,
        "last": not heat_map.complete or bool(evaluated.sum() == stats.positions),
        "ssim": finite(heat_map.ssim_estimate),
        "done": int(evaluated.sum()),
        "total": stats.positions,
        "seconds": stats.seconds["total"],
        "checked": None
        if heat_map.checked is None
        else {"positions": heat_map.checked[0], "worst": finite(heat_map.checked[1])},
        "notes": [*heat_map.notes],
        "formats": formats(heat_map),
        "identity": {
            "model": heat_map.model_identity,
            "source": None if provenance is None else provenance.source_sha256,
        },
    }
    return content, packing


def of_layer(heat_map: HeatMap, which: int, region: Region | None) -> tuple[Content, Packing]:
    """The event of another class of a map."""
    packing = Packing()
    return {"kind": "layer", **_of_class(heat_map, which, region, packing)}, packing


def _of_class(heat_map: HeatMap, which: int, region: Region | None, packing: Packing) -> Content:
    one = of_class(heat_map, which)  # first: upsampling all of a thousand classes would take seconds
    (values,), (index,), _ = one.by_class()
    scored = None if region is None else _on_grid(region, index, heat_map.size)
    return {
        "shown": which,
        "neutral": _neutral(heat_map, which),
        "values": packing(values),
        "error": None if one.error is None else packing(one.error.reshape(-1)),
        "heat": packing(one.upsample().reshape(heat_map.size)),
        "scored": None if scored is None else packing(scored),
    }


def _neutral(heat_map: HeatMap, which: int) -> float:
    baseline = float(np.ravel(heat_map.baseline)[which])
    return 0.0 if heat_map.score.endswith("drop") or math.isnan(baseline) else baseline


def _on_grid(region: Region, index: int, size: tuple[int, ...]) -> Region:
    """The region [*output, K] of a class on the input's grid, by the nearest cell."""
    found = region[..., index if region.shape[-1] > 1 else 0]
    for axis, length in enumerate(size):
        found = found.take(evenly(found.shape[axis], length), axis=axis)
    return found


def first_class(heat_map: HeatMap) -> int:
    """The class that is shown first: the first that has a score, of all classes the likeliest."""
    baselines = np.ravel(heat_map.baseline)
    if isinstance(query_of(heat_map).classes, syntax.AllClasses) and np.isfinite(baselines).any():
        return int(np.nanargmax(baselines))
    return int(np.argmax(np.isfinite(baselines)))


def finite(value: float | None) -> float | None:
    """A number that JSON has, or None."""
    return float(value) if value is not None and math.isfinite(value) else None


def formats(heat_map: HeatMap) -> list[str]:
    """The extensions of the files that a map can be exported as."""
    of_dicom = heat_map.provenance is not None and dicom_source.PACKAGE in heat_map.provenance.versions
    found = []
    for extension, form in EXTENSIONS.items():
        with suppress(Error):
            form.check(heat_map.size, heat_map.stride is not None)
            form.check_source(dicom_source.PACKAGE if of_dicom else "")
            found.append(extension)
    return found


def thumbnail(heat_map: HeatMap) -> NDArray[np.uint8]:
    """uint8 [h, w, 3]: a small picture of a map over its image; of a signal the map alone, as a strip."""
    drawn = superimposed(heat_map, THUMBNAIL)
    if drawn is None:
        values, neutral = of_class(heat_map).upsample().reshape(-1), _neutral(heat_map, 0)
        half = max(colours.spread(values, neutral), FLOORS[unit(heat_map.score)])
        strip = values[evenly(len(values), THUMBNAIL)]
        row = colours.coloured(np.nan_to_num(strip, nan=neutral), colours.effect(heat_map.score, neutral, half))
        return np.repeat(row[None], THUMBNAIL // 3, axis=0)
    photo, painted, _ = drawn
    below = np.asarray(photo.convert("RGB"), np.float32)
    above, there = np.asarray(painted.convert("RGB"), np.float32), np.asarray(painted)[..., None] > 0
    return np.asarray(np.where(there, MIXED * above + (1 - MIXED) * below, below), np.uint8)


# ---- one position


def places(heat_map: HeatMap) -> NDArray[np.int64]:
    """int64 [n, axes]: a map's positions, by their flat index."""
    return heat_map.positions.reshape(-1, len(heat_map.axes))


def nearest(heat_map: HeatMap, position: list[int]) -> int:
    """The flat index of a map's position nearest to the one given."""
    return int(np.argmin(((places(heat_map) - np.asarray(position)) ** 2).sum(axis=1)))


def occluded(heat_map: HeatMap, at: int) -> NDArray[Any]:
    """A map's image, as the page shows it, with the patch laid on at its position of that flat index."""
    image = heat_map.image.astype(np.float32)
    position = places(heat_map)[at]
    inside = np.zeros(heat_map.size, bool)
    if heat_map.segments is not None and heat_map.labels is not None:
        inside = heat_map.labels == heat_map.segments[at]
    else:
        inside[tuple(slice(start, start + extent) for start, extent in zip(position, heat_map.patch, strict=True))] = (
            True
        )
    fill = np.zeros((1,) * image.ndim, np.float32) if heat_map.fill is None else heat_map.fill
    if fill.shape[:-1] == heat_map.patch and heat_map.segments is None and heat_map.patch != heat_map.size:
        cover = np.broadcast_to(fill, (*heat_map.patch, image.shape[-1])).reshape(-1, image.shape[-1])
    else:
        cover = np.broadcast_to(fill, image.shape)[inside]
    channels = channels_of(heat_map)
    laid = image.copy()
    if channels is None:
        laid[inside] = cover
    else:
        for channel in channels:
            laid[inside, channel] = cover[:, channel]
    return shown(laid, heat_map.image, is_floats(heat_map))


def channels_of(heat_map: HeatMap) -> tuple[int, ...] | None:
    """The channels that the patch covers; None for all."""
    return query_of(heat_map).patch.channels


def query_of(heat_map: HeatMap) -> syntax.Occlude:
    """The query that a map was made by."""
    query = parse_one(heat_map.query)
    assert isinstance(query, syntax.Occlude), "others make no maps"
    return query
