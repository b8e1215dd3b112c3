"""A run as one page of HTML that stands alone: a gallery of its maps that can be sorted and filtered, and its numbers.

The page asks nothing of any server: its policy forbids that, and pictures are inside it.  The template is report.html,
beside this file; what it is filled with is escaped here.  Maps are read one at a time, and written as they come.

A map over a picture is two images, the photograph and the map in colours that are transparent where there is none; the
page superimposes them as pictures of maps do.  A card shows of a volume its strongest slice, and enlarged the figure
that kdb draws of it; of a signal both are that.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kdb.errors import ExecutionError, printable
from kdb.results import wording
from kdb.results.files import FilePath, check_apart, write_result
from kdb.results.pictures import colours
from kdb.results.pictures.colours import unit
from kdb.results.pictures.style import OPACITY
from kdb.runs.gallery import thumbnails
from kdb.runs.gallery.columns import Columns, alone, columns
from kdb.version import __version__

if TYPE_CHECKING:
    from PIL.Image import Image
    from pyarrow import Table

    from kdb.results.maps import HeatMap

MOST = 500
"""Cards of a page, by default: with all of them it has some six megabytes."""
SIDE, DRAWN_SIDE = 288, 960
"""The longest side, in pixels, of the picture of a card, and of one that kdb draws with all its axes."""
QUALITY = 62
"""Of the photographs, by WebP's measure."""
COMMON = 25
"""Most classes in the table of classes."""
BINS = 32
"""Of a histogram."""

MINUS = "\N{MINUS SIGN}"

_PLACE = re.compile(r"\{\{(\w+)\}\}")
_TOLD = ("query", "model", "score")
"""Facts that have a place of their own on the page."""
_TIMES = ("started", "finished")


def write(
    path: FilePath,
    rows: Table,
    read: Callable[[str], HeatMap],
    facts: Mapping[str, str],
    *,
    most: int = MOST,
) -> Path:
    """Write the page of a run and return its path.

    rows   the run's table, a row an image; :data:`kdb.runs.gallery.columns.NEEDED` are the columns that are needed, and
           all others that there are say more of an image
    read   gives the heat map of what is in a row's ``map``; where it raises ``ExecutionError``, the card says so
    facts  ``query``, ``model`` and ``score``; ``started`` and ``finished``, times by ISO 8601, give the throughput; any
           others stand at the foot of the page
    most   cards of the page, at least 1; of more images a sample is shown: the failures, those of the largest and of
           the smallest change, and others evenly.  The tables are of all images

    The page is written atomically.  Raises ``ExecutionError`` for a table that lacks a column, for a score that there
    is not, for a ``most`` below 1, for the path of one of the images, and if writing fails.
    """
    if most < 1:
        raise ExecutionError(f"a page has at least one card; most is {most}")
    run = columns(rows, facts)
    check_apart(path, rows.column("path").to_pylist())
    shown = sample(run, most)
    return write_result(path, lambda file: _write(file, rows, run, shown, read, facts))


def sample(run: Columns, most: int) -> list[int]:
    """The images that are shown, ascending: all, or ``most`` of more.

    Of more: failures, evenly, up to a fifth; of the rest two fifths are extremes, half of them the largest changes and
    half the smallest, and the others are spread evenly over the run.
    """
    if len(run) <= most:
        return list(range(len(run)))
    failed = _evenly(np.flatnonzero(run.failed), max(most // 5, 1) if run.done.any() else most)
    taken = set(failed)
    size = np.abs(run.change)
    order = np.flatnonzero(run.done & np.isfinite(size))
    order = order[np.argsort(-size[order], kind="stable")]
    extremes = 2 * (most - len(taken)) // 5
    taken.update(order[: extremes - extremes // 2].tolist())
    taken.update(order[len(order) - extremes // 2 :].tolist())
    rest = np.array([i for i in range(len(run)) if i not in taken and not run.failed[i]], np.int64)
    taken.update(_evenly(rest, most - len(taken)))
    return sorted(taken)


def _evenly(of: NDArray[Any], count: int) -> list[int]:
    """So many of some numbers, at equal distances; all if there are fewer."""
    if count <= 0:
        return []
    places = np.arange(len(of)) if len(of) <= count else (np.arange(count) + 0.5) * len(of) / count
    return [int(each) for each in of[places.astype(np.int64)]]


def _write(
    file: IO[bytes],
    rows: Table,
    run: Columns,
    shown: Sequence[int],
    read: Callable[[str], HeatMap],
    facts: Mapping[str, str],
) -> None:
    """Fill the template; the cards are made and written one after another."""
    texts = {
        "version": _safe(__version__),
        "title": _safe(f"{facts.get('model', 'a model')}: {len(run)} images"),
        "model": _safe(facts.get("model", "")) or "A run",
        "query": _safe(facts.get("query", "")),
        "lead": _lead(run, facts),
        "tiles": _tiles(run, facts),
        "charts": _charts(run),
        "failures": _failures(rows, run),
        "classes": _classes(run),
        "shown": _number_of(len(shown), "image"),
        "sampled": _sampled(run, shown),
        "legend": _legend(),
        "facts": _facts(facts),
        "opacity": f"{OPACITY:g}",
        "percent": f"{100 * OPACITY:.0f}",
        "neutral": _rgb(colours.NEUTRAL),
        "red": _rgb(colours.RED),
        "blue": _rgb(colours.BLUE),
    }
    template = (resources.files("kdb.runs.gallery") / "report.html").read_text(encoding="utf-8")
    page = _PLACE.sub(lambda place: texts.get(place[1], place[0]), template)
    page = page.replace("{{policy}}", _policy(page), 1)
    before, after = page.split("{{cards}}", 1)
    file.write(before.encode())
    for i in shown:
        file.write(_card(rows.slice(i, 1).to_pylist()[0], i, run, read).encode())
    file.write(after.encode())


def _policy(page: str) -> str:
    """What the page may do: show pictures that are inside it, with its own style, by its own script."""

    def digest(tag: str) -> str:
        text = page.split(f"<{tag}>", 1)[1].split(f"</{tag}>", 1)[0]
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    return (
        f"default-src 'none'; img-src data:; style-src {digest('style')}; script-src {digest('script')}; "
        "base-uri 'none'; form-action 'none'"
    )


# ---- the head


def _lead(run: Columns, facts: Mapping[str, str]) -> str:
    parts = [_number_of(len(run), "image"), f"score: {facts.get('score', run.score)}"]
    parts += [f"{key} {facts[key][:16].replace('T', ' ')}" for key in _TIMES if facts.get(key)]
    return _safe(" · ".join(parts))


def _tiles(run: Columns, facts: Mapping[str, str]) -> str:
    done, failed = int(run.done.sum()), int(run.failed.sum())
    left = len(run) - done - failed
    tiles = [("Maps", f"{done:,}", f"of {_number_of(len(run), 'image')}" + (f", {left:,} not done" if left else ""))]
    tiles.append(("Failed", f"{failed:,}", f"{failed / len(run):.1%} of the images" if len(run) else ""))
    seconds = run.seconds[np.isfinite(run.seconds) & run.done]
    if seconds.size:
        tiles.append(("An image takes", wording.seconds(float(np.median(seconds))), "the median; one after another"))
        tiles.append(("All together", _duration(float(seconds.sum())), "of work, without what failed"))
    if (wall := _wall(facts)) and done:
        tiles.append(("Throughput", f"{_short(3600 * done / wall)} / h", f"{_duration(wall)} from start to finish"))
    if run.judged.any():
        judged, right = int(run.judged.sum()), int((run.judged & ~run.wrong).sum())
        tiles.append(("Right", f"{right / judged:.1%}", f"{right:,} of {judged:,} with a known truth"))
    size = np.abs(run.change)[run.done & np.isfinite(run.change)]
    if size.size:
        median = _short(float(np.median(size)))
        tiles.append(("Largest change", median, f"the median; at most {_short(float(size.max()))}"))
    checked = run.checked[np.isfinite(run.checked)]
    if checked.size:
        tiles.append(("Checked error", _short(float(checked.max())), "the worst; 1 is what exactness allows"))
    return "".join(
        f'<div class="tile"><dt>{_safe(name)}</dt><dd>{_safe(value)}<span class="note">{_safe(note)}</span></dd></div>'
        for name, value, note in tiles
    )


def _wall(facts: Mapping[str, str]) -> float:
    """Seconds from start to finish, 0 where that is not known."""
    try:
        begin, end = (datetime.fromisoformat(facts[key]) for key in _TIMES)
        return max((end - begin).total_seconds(), 0.0)
    except (KeyError, ValueError, TypeError):  # none, none by ISO 8601, or one with a time zone and one without
        return 0.0


def _charts(run: Columns) -> str:
    """Histograms, of all images that have maps."""
    known = run.done & np.isfinite(run.change)
    if not known.any():
        return ""
    of = {"probability": "probability", "logit": "logit", "cosine": "cosine"}[unit(run.score)]
    limits = (0.0, 1.0) if of == "probability" else None
    return _histogram(run.baseline[known], f"Unmodified {of}", limits) + _histogram(
        np.abs(run.change[known]), f"Largest change of the {of}", limits
    )


def _histogram(values: NDArray[np.float64], title: str, limits: tuple[float, float] | None) -> str:
    low, high = (float(values.min()), float(values.max())) if limits is None else limits
    high = high if high > low else low + 1
    counts = np.histogram(np.clip(values, low, high), BINS, (low, high))[0]
    tallest = int(counts.max())
    heights = [40 * count / tallest for count in counts.tolist()]
    bars = "".join(
        f'<rect x="{i + 0.06:.2f}" width="0.88" y="{40 - height:.2f}" height="{height:.2f}"/>'
        for i, height in enumerate(heights)
        if height
    )
    quarters = ", ".join(_short(float(each)) for each in np.quantile(values, (0.25, 0.5, 0.75)))
    said = f"{title}, {_number_of(len(values), 'image')}; quartiles {quarters}"
    return (
        f'<figure class="chart"><h3>{_safe(title)}</h3><p>quartiles {_safe(quarters)}</p>'
        f'<svg viewBox="0 0 {BINS} 40" preserveAspectRatio="none" role="img" aria-label="{_safe(said)}">{bars}</svg>'
        f'<div class="ends"><span>{_short(low)}</span><span>{_short(high)}</span></div></figure>'
    )


def _failures(rows: Table, run: Columns) -> str:
    """The table of failures, the most frequent kind first; of each the first message."""
    failed = np.flatnonzero(run.failed).tolist()
    if not failed:
        return ""
    counts = Counter(run.kinds[i] or "unknown" for i in failed)
    examples: dict[str, int] = {}
    for i in failed:
        examples.setdefault(run.kinds[i] or "unknown", i)
    body = ""
    for kind, count in counts.most_common():
        said = rows.column("error")[examples[kind]].as_py() or ""
        body += (
            f'<tr><th scope="row">{_safe(kind)}</th><td class="number">{count:,}</td>'
            f"<td>{_safe(said)}</td><td>{_safe(run.ids[examples[kind]])}</td></tr>"
        )
    return (
        '<details class="more" open><summary>Failures, by kind of error</summary><div><table>'
        f"<caption>All {_number_of(len(failed), 'image')} of the run that failed</caption>"
        '<thead><tr><th scope="col">Kind</th><th scope="col" class="number">Images</th>'
        '<th scope="col">The first says</th><th scope="col">Image</th></tr></thead>'
        f"<tbody>{body}</tbody></table></div></details>"
    )


def _classes(run: Columns) -> str:
    """The table of the classes explained, the most frequent first."""
    places: dict[str, list[int]] = {}
    for i in np.flatnonzero(run.done).tolist():
        places.setdefault(run.labels[i] or "", []).append(i)
    if len(places) < 2:
        return ""
    common = sorted(places, key=lambda label: -len(places[label]))
    body = "".join(
        f'<tr><th scope="row">{_safe(label) or "no label"}</th>' + _averages(run, places[label]) + "</tr>"
        for label in common[:COMMON]
    )
    if others := [i for label in common[COMMON:] for i in places[label]]:
        name = f"{_number_of(len(common) - COMMON, 'other class', 'other classes')}"
        body += f'<tr><th scope="row">{name}</th>' + _averages(run, others) + "</tr>"
    heads = ["Images", "Mean unmodified", "Mean change", *(["Wrong"] if run.judged.any() else [])]
    return (
        f'<details class="more"><summary>Classes explained ({len(common):,})</summary><div><table>'
        f"<caption>All {_number_of(int(run.done.sum()), 'map')} of the run</caption>"
        '<thead><tr><th scope="col">Class</th>'
        + "".join(f'<th scope="col" class="number">{each}</th>' for each in heads)
        + f"</tr></thead><tbody>{body}</tbody></table></div></details>"
    )


def _averages(run: Columns, places: Sequence[int]) -> str:
    of = np.array(places, np.int64)
    cells = [f"{len(of):,}", _short(_mean(run.baseline[of])), _signed(_mean(run.change[of]))]
    if run.judged.any():
        judged = int(run.judged[of].sum())
        cells.append(f"{int(run.wrong[of].sum()):,} of {judged:,}" if judged else "–")
    return "".join(f'<td class="number">{_safe(each)}</td>' for each in cells)


def _mean(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


def _legend() -> str:
    """The colours, from an effect that lowers the score to one that raises it."""
    stops = "".join(
        f'<stop offset="{at}" stop-color="{_rgb(colour)}"/>'
        for at, colour in ((0, colours.RED), (0.5, colours.NEUTRAL), (1, colours.BLUE))
    )
    return (
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="red, grey, blue"><defs>'
        f'<linearGradient id="effect">{stops}</linearGradient></defs>'
        '<rect width="100" height="10" fill="url(#effect)"/></svg>'
    )


def _sampled(run: Columns, shown: Sequence[int]) -> str:
    """That not all images have cards, where that is so."""
    if len(shown) == len(run):
        return ""
    return (
        f'<p class="sampled">A sample, {len(shown):,} of {len(run):,} images: failures, the largest and the smallest '
        "changes, and others evenly. The numbers above are of all images.</p>"
    )


def _facts(facts: Mapping[str, str]) -> str:
    told = [(key, value) for key, value in facts.items() if key not in _TOLD and value]
    told.append(("made by", f"kdb {__version__}"))
    return "".join(f"<dt>{_safe(key)}</dt><dd>{_safe(value)}</dd>" for key, value in told)


# ---- cards


def _card(row: Mapping[str, Any], i: int, run: Columns, read: Callable[[str], HeatMap]) -> str:
    """The card of image ``i``."""
    label, truth, name = run.labels[i], run.truths[i], run.ids[i]
    baseline, changed, change = float(run.baseline[i]), float(run.changed[i]), float(run.change[i])
    problem = None if run.done[i] else str(row["error"] or f"status: {row['status']}")
    picture = ""
    if problem is None:
        try:
            picture = _picture(read(row["map"]), run.half)
        except ExecutionError as error:
            problem = str(error)
    if problem is not None:
        picture = (
            '<span class="picture"><svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8" '
            'stroke-linecap="round"><circle cx="12" cy="12" r="9.5"/><path d="M12 7v6M12 16.5v.2"/></svg>'
            f"<span>{_safe(_clipped(problem))}</span></span>"
        )
    verdict = ""
    if truth is not None:
        sign = ("✗ ", "wrong") if run.wrong[i] else ("✓ ", "right") if run.judged[i] else ("", "")
        verdict = f'<span class="verdict {sign[1]}">{sign[0]}truth: {_safe(str(truth))}</span>'
    numbers, told = "", f"failed: {_clipped(problem)}" if problem is not None else f"explains {label or 'a class'}"
    if math.isfinite(change):
        numbers = (
            f'<span class="numbers"><span>{_short(baseline)} → {_short(changed)}</span>'
            f'<span class="delta">{_signed(change)}</span></span>' + _gauge(run.score, baseline, changed)
        )
        told += f", {_short(baseline)} unmodified, {_short(changed)} behind the strongest patch"
    if run.wrong[i]:
        told += f", wrong: the truth is {truth}"
    text = " ".join(str(each) for each in (name, label or "", "" if truth is None else truth, row["path"]))
    data = {
        "id": name,
        "name": f"{name}: {label}" if label else name,
        "text": text,
        "label": label or "",
        "truth": "" if truth is None else str(truth),
        "seconds": _exact(run.seconds[i]),
        "baseline": _exact(baseline),
        "change": _exact(abs(change)),
        "checked": _exact(run.checked[i]),
        "wrong": "1" if run.wrong[i] else "",
        "failed": "1" if run.failed[i] else "",
    }
    attributes = "".join(f' data-{key}="{_safe(value)}"' for key, value in data.items())
    headline = label or ("failed" if run.failed[i] else "not done" if problem is not None else "no label")
    return (
        f'<li class="card{" failed" if problem is not None else ""}"{attributes}>'
        f'<button type="button" class="open" aria-label="{_safe(f"{name}: {told}")}">{picture}'
        f'<span class="says"><span class="label">{_safe(headline)}</span>{verdict}{numbers}'
        f'<span class="id">{_safe(name)}</span></span></button>'
        f"<dl hidden>{_details(row, run, i, problem)}</dl></li>\n"
    )


def _details(row: Mapping[str, Any], run: Columns, i: int, problem: str | None) -> str:
    """What is said of an image where it is enlarged."""
    told: list[tuple[str, str]] = []
    if problem is not None:
        told.append((f"error, {run.kinds[i]}" if run.kinds[i] else "error", problem))
    labels, baselines = row["label"], row["baseline"]
    if isinstance(labels, list):
        for label, baseline, low, high in islice(zip(labels, baselines, row["min"], row["max"], strict=False), 10):
            told.append((str(label), f"{_short(baseline)} unmodified, scores from {_short(low)} to {_short(high)}"))
    elif labels is not None:
        told.append(("class explained", f"{labels} ({row['class_index']})"))
    if row["truth"] is not None:
        verdict = (", which is not what is predicted" if run.wrong[i] else ", as predicted") if run.judged[i] else ""
        told.append(("truth", f"{row['truth']}{verdict}"))
    if math.isfinite(change := float(run.change[i])):
        said = (
            f"{_short(float(run.baseline[i]))} unmodified, {_short(float(run.changed[i]))} behind the strongest patch"
        )
        told.append((run.score.removesuffix("_drop") if run.score != "drop" else "probability", said))
        told.append(("change", _signed(change)))
    if not isinstance(row["min"], list) and row["min"] is not None:
        told.append(("scores", f"from {_short(row['min'])} to {_short(row['max'])}"))
    peak = row.get("peak")
    if peak:
        peaks = peak[0] if isinstance(peak[0], list) else peak
        told.append(("strongest patch at", ", ".join(map(str, peaks or []))))
    for key, name in (("ssim_estimate", "estimated similarity"), ("checked_error", "checked error")):
        if (value := alone(row.get(key))) is not None:
            told.append((name, _short(value)))
    if row["seconds"] is not None:
        told.append(("seconds", _short(row["seconds"])))
    names = ("attempts", "node", "device", "path", "map", "sha256")
    told += [(name, str(row[name])) for name in names if row.get(name) not in (None, "")]
    return "".join(f"<dt>{_safe(name)}</dt><dd>{_safe(value)}</dd>" for name, value in told)


def _gauge(score: str, baseline: float, changed: float) -> str:
    """A bar from 0 to 1 on which a probability moves."""
    if unit(score) != "probability":
        return ""
    before, after = (100 * min(max(each, 0.0), 1.0) for each in (baseline, changed))
    left, width = min(before, after), abs(after - before)
    kind = "lowers" if after < before else "raises"
    return (
        '<svg class="gauge" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" width="100" height="6"/>'
        f'<rect class="{kind}" x="{left:.1f}" width="{width:.1f}" height="6"/>'
        f'<rect class="before" x="{min(max(before - 0.6, 0), 98.8):.1f}" width="1.2" height="6"/></svg>'
    )


def _picture(heat_map: HeatMap, widest: float) -> str:
    """A map over its picture, as the content of a card; with kdb's own figure where that shows more.

    ``widest`` is half the width of the scale that all images share.
    """
    heat_map = thumbnails.of_class(heat_map)
    drawn = ""
    if len(heat_map.axes) != 2 or heat_map.boxes is not None:
        figure = thumbnails.drawn(heat_map)
        figure.thumbnail((DRAWN_SIDE, DRAWN_SIDE))
        drawn = _photo(figure)
    if (found := thumbnails.superimposed(heat_map, SIDE)) is None:
        return f'<span class="picture"><img class="drawn" alt="" src="{drawn}"></span>'
    photo, painted, half = found
    return (
        f'<span class="picture over-photo"><img class="photo" alt="" src="{_photo(photo)}">'
        f'<span class="map" data-share="{min(half / widest, 1.0):.4f}"><img alt="" src="{_painted(painted)}"></span>'
        + (f'<img class="drawn" alt="" src="{drawn}" hidden>' if drawn else "")
        + "</span>"
    )


def _photo(picture: Image) -> str:
    """A picture inside the page: as WebP, or as JPEG where Pillow is without that."""
    from PIL import features

    kind, options = ("webp", {"method": 6}) if features.check("webp") else ("jpeg", {"optimize": True})
    file = io.BytesIO()
    picture.save(file, kind, quality=QUALITY, **options)
    return _uri(file, kind)


def _painted(picture: Image) -> str:
    """A map in its colours inside the page."""
    file = io.BytesIO()
    picture.save(file, "png", optimize=True, transparency=0)
    return _uri(file, "png")


def _uri(file: io.BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(file.getvalue()).decode("ascii")


# ---- texts


def _safe(text: str) -> str:
    """A text from anywhere, as it may stand in HTML and in its attributes, and not for a place of the template."""
    return html.escape(printable(str(text))).replace("{", "&#123;")


def _clipped(text: str, most: int = 160) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _short(number: float | None) -> str:
    """Three digits, and none of a number that is not there."""
    if number is None or not math.isfinite(number):
        return "–"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def _signed(number: float) -> str:
    return f"{number:+.3g}".replace("-", MINUS) if math.isfinite(number) else "–"


def _exact(number: Any) -> str:
    """A number for JavaScript to compare; empty where it is not there."""
    return repr(float(number)) if math.isfinite(number) else ""


def _duration(seconds: float) -> str:
    if seconds < 120:
        return wording.seconds(seconds)
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{_short(seconds / 3600)} h"


def _number_of(count: int, one: str, several: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def _rgb(colour: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * each):02x}" for each in colour)
