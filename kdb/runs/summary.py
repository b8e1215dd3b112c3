"""How far a run is, as a table of one row: what SHOW RUN gives, and the command prints of a run."""

from __future__ import annotations

from collections import Counter

import numpy as np

from kdb.results.tables import Headed
from kdb.runs.folder import RunFolder
from kdb.runs.state import DONE, FAILED, NONE

KINDS = 10
"""Most kinds of failures that are told."""


def summary(folder: RunFolder) -> Headed:
    """The run's query and its failures by kind in lines, its counts in a row; the table of results is written.

    ``running`` is of a run that some process works on now; ``images_per_hour`` is the rate of its last images.
    """
    facts = folder.facts
    state = folder.looked_at()
    counts = {status: int((state.status == status).sum()) for status in (NONE, FAILED, DONE)}
    driven = folder.is_driven()
    rate = state.rate()
    rows = state.rows(np.flatnonzero(state.status == FAILED))
    kinds = Counter(str(row.get("error_kind")) for row in rows.values())
    lines = [str(facts["query"]), f"made {facts['created']} by kdb {facts['versions']['kdb']}; {folder.results}"]
    lines += [f"{count:,} failed with {kind}" for kind, count in kinds.most_common(KINDS)]
    ended = "stopped" if counts[NONE] else "done"
    row = {
        "images": len(folder.images),
        "done": counts[DONE],
        "failed": counts[FAILED],
        "left": counts[NONE],
        "running": int((state.cut_off[state.status == NONE] > 0).sum()) if driven else 0,
        "images_per_hour": None if rate is None else round(rate * 3600, 1),
        "state": "running" if driven else ended,
    }
    return Headed(tuple(row), (tuple(row.values()),), tuple(lines))
