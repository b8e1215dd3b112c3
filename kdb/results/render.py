"""Renders heat maps as pictures, HTML, data frames and labelled arrays.

matplotlib, pandas and xarray are imported when they are needed.  Only matplotlib's object-oriented interface is used,
so that no global state changes.  The map drawn is ``HeatMap.upsample()``.

Colours.  Red marks the important parts of the image: those whose occlusion lowers the class's score.
    probability    jet_r from 0.75 p to min(1, 1.25 p), p the unmodified image's probability (KRYPTON, section 5)
    logit          coolwarm_r, symmetric about the unmodified image's logit
    drops          coolwarm, symmetric about 0
A ``probability`` outside (0, 1], of a model without an activation, is drawn like a logit.
"""

from __future__ import annotations

import base64
import html
import importlib
import io
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kdb.errors import ExecutionError, printable
from kdb.results.wording import checked, compared

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kdb.errors import Error
    from kdb.results.maps import HeatMap

FRAME_COLUMNS = ("image", "class_index", "label", "y", "x", "score")

MAX_PANELS = 16
"""Most panels in a figure; of more classes it shows those with the highest baselines, and says so."""

MAX_SHOWN = 24
"""Most pictures that a notebook shows of a sequence of heat maps."""

OPACITY = 0.55
PANEL_INCHES = 4.0
DPI = 150

_BAR_LABELS = {
    "probability": "probability when hidden",
    "drop": "drop in probability when hidden",
    "logit": "logit when hidden",
    "logit_drop": "drop in logit when hidden",
}


def colour_scale(score: str, baseline: float, scores: NDArray[np.float32]) -> tuple[str, float, float]:
    """(name of the matplotlib colour map, lowest, highest value) for ``scores`` of any shape, which may hold NaN."""
    if score == "probability" and 0 < baseline <= 1 + 1e-6:  # a softmax in fp32 may round to just above 1
        return "jet_r", 0.75 * baseline, min(1.0, 1.25 * baseline)
    is_drop = score in ("drop", "logit_drop")
    centre = 0.0 if is_drop else baseline
    spread = float(np.max(np.abs(scores[~np.isnan(scores)] - centre), initial=0.0)) or 1.0
    return "coolwarm" if is_drop else "coolwarm_r", centre - spread, centre + spread


def coloured(scores: NDArray[np.float32], scale: tuple[str, float, float]) -> NDArray[np.uint8]:
    """The colours, uint8 [..., 3], of ``scores`` of any shape by a :func:`colour_scale`."""
    from matplotlib import colormaps

    name, lowest, highest = scale
    return np.asarray(colormaps[name]((scores - lowest) / (highest - lowest), bytes=True))[..., :3]


def draw(heat_map: HeatMap, ax: Axes | Sequence[Axes] | None = None) -> Figure:
    """Draw one panel per class, in a new figure or on the given axes, and return the figure."""
    count = len(heat_map.by_class()[0])
    if ax is not None:
        panels = list(np.ravel(np.asarray(ax, dtype=object)))
        if len(panels) != count:
            raise ExecutionError(f"{count} classes need as many axes; {len(panels)} given")
        figure: Figure = panels[0].figure.figure  # of a subfigure, the figure it is part of
    else:
        figure, panels = _new_figure(heat_map, min(count, MAX_PANELS))
        if count > MAX_PANELS:
            heat_map = _of_highest_baseline(heat_map, MAX_PANELS)
            figure.suptitle(f"{MAX_PANELS} of {count} classes, those of the highest baseline")
    _, indices, labels = heat_map.by_class()
    maps = heat_map.upsample().reshape(len(panels), *heat_map.image.shape[:2])
    for i, (panel, baseline) in enumerate(zip(panels, np.ravel(heat_map.baseline), strict=True)):
        _draw_panel(heat_map, panel, maps[i], f"{_short(labels[i])} ({indices[i]})", float(baseline))
    return figure


def _of_highest_baseline(heat_map: HeatMap, count: int) -> HeatMap:
    """The heat map of the ``count`` classes with the highest baselines, in their order."""
    values, indices, labels = heat_map.by_class()
    baselines = np.ravel(heat_map.baseline)
    kept = np.sort(np.argsort(-baselines, kind="stable")[:count])
    return replace(
        heat_map,
        values=values[kept].reshape(count, *heat_map.positions.shape[:-1]),
        class_index=tuple(indices[i] for i in kept),
        label=tuple(labels[i] for i in kept),
        baseline=tuple(float(baselines[i]) for i in kept),
    )


def _new_figure(heat_map: HeatMap, count: int) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` axes in rows, sized so that each has the image's shape."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = count if count <= 3 else math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    height, width = heat_map.image.shape[:2]
    # the least size leaves room for the title, and the bar's label, of an image that is a sliver
    scale = (PANEL_INCHES if count == 1 else 0.7 * PANEL_INCHES) / max(height, width)
    panel = max(width * scale, 1.4) + 1.5, max(height * scale, 1.4) + 1.0
    figure = Figure(figsize=(columns * panel[0], rows * panel[1]), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    # A notebook shows a figure by itself only once pyplot has been imported there.
    figure._repr_png_ = partial(_encode, figure)  # type: ignore[attr-defined]
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(count)]
    return figure, axes


def _draw_panel(heat_map: HeatMap, ax: Any, scores: NDArray[np.float32], name: str, baseline: float) -> None:
    colours, lowest, highest = colour_scale(heat_map.score, baseline, scores)
    height, width = heat_map.image.shape[:2]
    edges = (0, width, height, 0)  # of pixels, so that a patch at (y, x) begins at y and x on the axes
    grey = heat_map.picture @ np.array([0.299, 0.587, 0.114])  # its colours would mix with the map's
    ax.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=edges)
    overlay = ax.imshow(
        np.ma.masked_invalid(scores),
        cmap=colours,
        vmin=lowest,
        vmax=highest,
        alpha=OPACITY,
        extent=edges,
        interpolation="nearest",
    )
    ax.set_xlabel("x (pixels)")
    ax.set_ylabel("y (pixels)")
    states = ["approximate"] * (not heat_map.exact) + ["partial"] * (not heat_map.complete)
    change = "from " if heat_map.score.endswith("drop") else ""
    lines = [name, f"{heat_map.score}, {change}{baseline:.4g} unmodified", *filter(None, [", ".join(states)])]
    ax.set_title("\n".join(lines), fontsize="medium", parse_math=False)
    known = scores[~np.isnan(scores)]
    extend = ("neither", "min", "max", "both")[int(np.any(known < lowest)) + 2 * int(np.any(known > highest))]
    thickness = 0.045 * max(1.0, height / width)
    bar = ax.figure.colorbar(overlay, cax=ax.inset_axes([1 + 0.6 * thickness, 0, thickness, 1]), extend=extend)
    bar.set_label(_BAR_LABELS[heat_map.score], fontsize="small")
    bar.ax.tick_params(labelsize="small")


def _short(label: str, length: int = 40) -> str:
    line = " ".join(printable(label).split())
    return line if len(line) <= length else line[: length - 3] + "..."


def write(heat_map: HeatMap, extension: str, file: IO[bytes]) -> None:
    """Write a picture in the format ``extension``; png files have the heat map's metadata as text chunks."""
    figure = draw(heat_map)
    # The constrained layout converges at the second drawing; after one, labels may be cut off at the edges.
    figure.draw_without_rendering()
    if extension == "png":
        figure.savefig(file, format="png", metadata=_png_text(heat_map))
    else:
        figure.savefig(file, format=extension)


def png(heat_map: HeatMap) -> bytes:
    """The picture of a heat map as the bytes of a png file."""
    file = io.BytesIO()
    write(heat_map, "png", file)
    return file.getvalue()


def _encode(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _png_text(heat_map: HeatMap) -> dict[str, str]:
    _, indices, labels = heat_map.by_class()
    text = {
        "Title": "; ".join(f"{label} ({index})" for label, index in zip(labels, indices, strict=True)),
        "Description": heat_map.query,
        "Source": heat_map.source or "",
        "Software": f"kdb {heat_map.version}",
        "Model": heat_map.model,
        "Model identity": heat_map.model_identity,
        "Exact": str(heat_map.exact).lower(),
        "Complete": str(heat_map.complete).lower(),
    }
    return {key: printable(value) for key, value in text.items()}


def html_of_map(heat_map: HeatMap) -> str:
    """An HTML figure of the picture, with the query and its cost as the caption."""
    stats = heat_map.stats
    picture = base64.b64encode(png(heat_map)).decode("ascii")
    cost = f"{stats.evaluated} of {stats.positions} positions evaluated"
    check = "" if heat_map.checked is None else f"; {checked(*heat_map.checked)}"
    return (
        f'<figure style="margin:0"><img src="data:image/png;base64,{picture}" style="max-width:100%"'
        f' alt="{html.escape(repr(heat_map))}"><figcaption><code>{html.escape(printable(heat_map.query))}</code><br>'
        f"{cost}; {compared(stats.speedup)}{check}</figcaption></figure>"
    )


def html_of_maps(
    sources: Sequence[str], outcomes: Mapping[int, HeatMap | Error], computed: Collection[int] = ()
) -> str:
    """An HTML table with a row per image; computes nothing, and shows at most ``MAX_SHOWN`` pictures.

    ``computed`` are those whose maps were there once.
    """
    lines = []
    pictures = 0
    for i, source in enumerate(sources):
        outcome = outcomes.get(i)
        if outcome is None:
            cell = "computed, and not kept" if i in computed else "not computed yet"
        elif isinstance(outcome, Exception):
            cell = f"<pre>{html.escape(str(outcome))}</pre>"
        elif pictures < MAX_SHOWN:
            pictures += 1
            cell = f'<img style="max-width:24em" src="data:image/png;base64,{base64.b64encode(png(outcome)).decode()}">'
        else:
            cell = html.escape(repr(outcome))
        lines.append(f"<tr><td>{i}</td><td>{html.escape(printable(source))}</td><td>{cell}</td></tr>")
    return f"<table><tbody>{''.join(lines)}</tbody></table>"


def import_optional(name: str) -> Any:
    """The module ``name``, pandas or xarray; raises ``ExecutionError`` with how to install it if it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ExecutionError(f"this needs {name} ({error}); pip install {name}") from error


def data_frame(heat_map: HeatMap) -> Any:
    """The cells of a heat map that have scores, class by class, as a ``DataFrame`` with the columns ``FRAME_COLUMNS``.

    ``image`` is the heat map's source; ``y`` and ``x`` (int64) are the patch's top left corner, ``score`` is float32.
    """
    values, class_index, label = heat_map.by_class()
    positions = heat_map.positions.reshape(-1, 2)
    which, cell = np.nonzero(~np.isnan(values))
    columns = (
        [heat_map.source] * len(cell),
        np.asarray(class_index, dtype=np.int64)[which],
        np.asarray(label, dtype=object)[which],
        positions[cell, 0],
        positions[cell, 1],
        values[which, cell],
    )
    return import_optional("pandas").DataFrame(dict(zip(FRAME_COLUMNS, columns, strict=True)))


def data_array(heat_map: HeatMap) -> Any:
    """A heat map as a ``DataArray`` with the dimensions class, y, x, or class, position after AT.

    There is always a class dimension, whose coordinate is the class index, with ``label`` and ``baseline`` beside
    it.  ``y`` and ``x`` are the corners of the patches in pixels.  The name is the score; the rest is in ``attrs``.
    """
    values, class_index, label = heat_map.by_class()
    cells = heat_map.positions.shape[:-1]
    if len(cells) == 1:
        dims: tuple[str, ...] = ("class", "position")
        places: dict[str, Any] = {axis: ("position", heat_map.positions[:, i]) for i, axis in enumerate("yx")}
    else:
        dims = ("class", "y", "x")
        places = {"y": heat_map.positions[:, 0, 0], "x": heat_map.positions[0, :, 1]}
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
