"""Pages for notebooks: pictures of heat maps in HTML."""

from __future__ import annotations

import base64
import html
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from kdb.errors import printable
from kdb.results.wording import checked, compared

if TYPE_CHECKING:
    from kdb.errors import Error
    from kdb.results.maps import HeatMap

MAX_SHOWN = 24
"""Most pictures that a notebook shows of a sequence of heat maps."""


def of_map(heat_map: HeatMap) -> str:
    """An HTML figure of the picture, with the query and its cost as the caption."""
    stats = heat_map.stats
    picture = _picture(heat_map)
    cost = f"{stats.evaluated} of {stats.positions} positions evaluated"
    check = "" if heat_map.checked is None else f"; {checked(*heat_map.checked)}"
    return (
        f'<figure style="margin:0"><img src="data:image/png;base64,{picture}" style="max-width:100%"'
        f' alt="{html.escape(repr(heat_map))}"><figcaption><code>{html.escape(printable(heat_map.query))}</code><br>'
        f"{cost}; {compared(stats.speedup)}{check}</figcaption></figure>"
    )


def of_maps(sources: Sequence[str], outcomes: Mapping[int, HeatMap | Error], computed: Collection[int] = ()) -> str:
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
            cell = f'<img style="max-width:24em" src="data:image/png;base64,{_picture(outcome)}">'
        else:
            cell = html.escape(repr(outcome))
        lines.append(f"<tr><td>{i}</td><td>{html.escape(printable(source))}</td><td>{cell}</td></tr>")
    return f"<table><tbody>{''.join(lines)}</tbody></table>"


def _picture(heat_map: HeatMap) -> str:
    return base64.b64encode(heat_map._repr_png_()).decode("ascii")
