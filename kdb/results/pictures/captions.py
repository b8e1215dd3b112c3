"""What a picture says of itself: the line under it, and its file's metadata, from the same facts.

:func:`facts` makes them; each format has its own place for them.
    png    a text chunk for each fact
    jpg    EXIF: ImageDescription (title and caption), Software, UserComment (all facts as JSON); ASCII
    pdf    the Info dictionary: Title, Subject (the query), Keywords (the other facts), Creator
    svg    Dublin Core: title, description (the query), source, creator, subjects (the other facts)
Control characters are escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kdb.errors import printable
from kdb.geometry import Size, spelled
from kdb.results import wording

if TYPE_CHECKING:
    from kdb.results.maps import HeatMap

Facts = Mapping[str, str]

LINE = ("Model", "Source", "Patch", "Stride", "Fill")
"""The facts in the line under a picture."""

LINE_LENGTH = 80
"""Most characters of a fact in that line."""

EXIF_LENGTH = 800
"""Characters of a fact in EXIF, all of which has 64 KiB; an escaped one may take twelve bytes."""

_STRING = re.compile("'(?:[^']|'')*'")
_LAID = r"\bWITH (?:patch|segments)\([^)]*\)(?: IN SOURCE)?"
_FILL = re.compile(_LAID + r" FILL (-?[\d.]+(?:e[+-]?\d+)?|\w+(?:\([^)]*\))?|\$\w+|\?)")
_CHANNELS = re.compile(_LAID + r".*? CHANNELS \(([\d, ]+)\)")


def facts(heat_map: HeatMap) -> dict[str, str]:
    """What there is to say of a heat map, by name; on one line each, and without control characters."""
    _, indices, labels = heat_map.by_class()
    baselines = np.ravel(heat_map.baseline).tolist()
    text = {
        "Title": "; ".join(f"{label} ({index})" for label, index in zip(labels, indices, strict=True)),
        "Description": heat_map.query,
        "Source": heat_map.source or "",
        "Software": f"kdb {heat_map.version}",
        "Model": heat_map.model,
        "Model identity": heat_map.model_identity,
        "Score": heat_map.score,
        "Unmodified": "; ".join(f"{baseline:.6g}" for baseline in baselines),
        **_laid(heat_map),
        "Fill": _fill(heat_map.query),
        "Exact": str(heat_map.exact).lower(),
        "Complete": str(heat_map.complete).lower(),
    }
    return {key: printable(value) for key, value in text.items()}


def _laid(heat_map: HeatMap) -> dict[str, str]:
    """What was laid over the image, and where."""
    without = "none" if heat_map.segments is not None else "none (AT positions)"
    stride = without if heat_map.stride is None else _size(heat_map.stride)
    return {"Patch": wording.hidden(heat_map), "Stride": stride}


def of_both(first: Facts, second: Facts) -> dict[str, str]:
    """The facts of a difference: where the two maps differ, 'this minus that'."""
    return {
        key: value if second[key] == value else f"{value or '?'} minus {second[key] or '?'}"
        for key, value in first.items()
    }


def shared(all_of_them: list[dict[str, str]]) -> dict[str, str]:
    """The facts that several maps have in common."""
    first, *others = all_of_them
    return {key: value for key, value in first.items() if all(each.get(key) == value for each in others)}


def line(given: Facts) -> str:
    """The line under a picture: 'model mine, source cat.png, patch 16 x 16, stride 4, fill black'."""
    return ", ".join(f"{key.lower()} {_clipped(given[key], key)}" for key in LINE if given.get(key))


def _clipped(text: str, key: str) -> str:
    """A fact in the line; of a long path its end."""
    if len(text) <= LINE_LENGTH:
        return text
    return f"...{text[-LINE_LENGTH:]}" if key == "Source" else f"{text[:LINE_LENGTH]}..."


def metadata(given: Facts, extension: str) -> dict[str, Any]:
    """The arguments of matplotlib's ``savefig`` that put the facts into a file of the format ``extension``."""
    others = [
        f"{key}: {value}" for key, value in given.items() if key not in ("Title", "Description", "Software") and value
    ]
    title, query, software = given["Title"], given["Description"], given["Software"]
    if extension == "png":
        return {"metadata": dict(given)}
    if extension == "pdf":
        return {"metadata": {"Title": title, "Subject": query, "Keywords": "; ".join(others), "Creator": software}}
    if extension == "svg":
        described = {"Title": title, "Description": query, "Source": given["Source"], "Creator": software}
        return {"metadata": described | {"Keywords": others}}
    return {"pil_kwargs": {"exif": _exif(line(given), software, given)}}


def _exif(caption: str, software: str, given: Facts) -> Any:
    from PIL.Image import Exif

    exif = Exif()
    clipped = {key: value if len(value) <= EXIF_LENGTH else value[:EXIF_LENGTH] + "..." for key, value in given.items()}
    exif[0x010E] = _ascii(f"{clipped['Title']}; {caption[:EXIF_LENGTH]}")  # ImageDescription
    exif[0x0131] = _ascii(software[:EXIF_LENGTH])  # Software
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + json.dumps(clipped).encode("ascii")  # UserComment
    return exif


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _size(stride: Size) -> str:
    return str(stride[0]) if len(set(stride)) == 1 else spelled(stride)


def _fill(query: str) -> str:
    """The fill of a query's canonical text, which leaves out the default."""
    plain = _STRING.sub("''", query)
    found, channels = _FILL.search(plain), _CHANNELS.search(plain)
    return (found[1] if found else "black") + (f" in channels {channels[1]}" if channels else "")
