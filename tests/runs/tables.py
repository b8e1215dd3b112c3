"""Tables and maps of a small run, as a run over a data set leaves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import kdb
from kdb.results.maps import HeatMap
from tests.support import heat_map

FACTS = {"query": "OCCLUDE 'photos/*.png' USING mine", "model": "mine", "score": "probability"}

SIZES = [(40, 40), (40, 80), (90, 50), (33, 41), (64, 64)]
"""Of the images: square, wide, high and odd; the model sees the middle of them."""


def row_of(hm: HeatMap | None, name: str, path: str, **facts: Any) -> dict[str, Any]:
    """The row of an image; without a map of one that failed."""
    row: dict[str, Any] = dict.fromkeys(
        ("error_kind", "error", "seconds", "class_index", "label", "truth", "baseline", "min", "max", "peak")
    )
    row |= {"id": name, "path": path, "sha256": "0" * 64, "status": "failed", "attempts": 3, "node": "n1"}
    row |= {"device": "cpu", "ssim_estimate": None, "exact": True, "checked_error": None, "map": None}
    if hm is not None:
        values, indices, labels = hm.by_class()
        low, high = np.nanmin(values, axis=1).tolist(), np.nanmax(values, axis=1).tolist()
        peaks = [hm.positions.reshape(-1, len(hm.axes))[int(np.nanargmin(each))].tolist() for each in values]
        cells = {"class_index": list(indices), "label": list(labels), "baseline": np.ravel(hm.baseline).tolist()}
        cells |= {"min": low, "max": high, "peak": peaks}
        row |= cells if hm.has_class_axis else {key: each[0] for key, each in cells.items()}
        row |= {"status": "done", "attempts": 1, "seconds": 0.25}
        row["checked_error"] = None if hm.checked is None else hm.checked[1]
    return row | facts


def table(*rows: dict[str, Any]) -> Any:
    """A table of rows; cells of lists and of plain numbers are not in one column, so lists are made where there are."""
    import pyarrow

    columns: dict[str, Any] = {}
    for name in rows[0]:
        cells = [row[name] for row in rows]
        if name != "peak" and any(isinstance(each, list) for each in cells):
            cells = [each if isinstance(each, list | None) else [each] for each in cells]
        if name == "peak":
            cells = [None if each is None else each if isinstance(each[0], list) else [each] for each in cells]
        kind = pyarrow.string() if all(each is None for each in cells) else None
        columns[name] = pyarrow.array(cells, kind)
    return pyarrow.table(columns)


class Run:
    """The folder of a run of a small random network over images of several sizes, one of which fails.

    ``table`` is its table and ``read`` reads its maps.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "maps").mkdir()
        torch.manual_seed(0)
        net = torch.nn.Sequential(
            *(torch.nn.Conv2d(3, 8, 3, 2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 15 * 15, 4))
        )
        torch.nn.init.normal_(net[-1].weight, std=0.15)
        self.db = kdb.connect()
        self.db.register_model(
            "mine", net.eval(), input_size=(32, 32), resize="crop", labels=[f"class {i}" for i in range(4)]
        )
        rng = np.random.default_rng(1)
        self.rows = []
        for i, (height, width) in enumerate(SIZES):
            path = folder / f"photo {i}.png"
            coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
            coarse.resize((width, height), Image.Resampling.BICUBIC).save(path)
            hm = heat_map(self.db, "OCCLUDE $image WITH patch(8, 8) STRIDE 6 USING mine", image=str(path))
            hm.save(folder / "maps" / f"{i}.npz")
            truth = hm.label if i % 2 else "class 9"
            self.rows.append(row_of(hm, f"photo {i}", str(path), map=f"maps/{i}.npz", truth=truth, seconds=0.5 + i))
        broken = row_of(None, "broken", str(folder / "broken.png"), error="cannot read it", truth="class 1")
        self.rows.insert(2, broken | {"error_kind": "ExecutionError"})
        self.table = table(*self.rows)

    def read(self, name: str) -> HeatMap:
        return HeatMap.load(self.folder / name)

    def many(self, count: int) -> Any:
        """A table of so many rows: those that there are, again and again, with failures of two kinds."""
        rows = []
        for i in range(count):
            row = self.rows[i % len(self.rows)]
            kind = row["error_kind"] and ("ExecutionError", "Timeout")[i // len(self.rows) % 2]
            moved = {}
            if row["map"]:
                down = 0.9 * row["baseline"] * ((7919 * i) % 1000) / 1000
                moved = {"min": row["baseline"] - down, "max": row["baseline"]}
            rows.append({**row, "id": f"{i:04d}", "error_kind": kind, **moved})
        return table(*rows)
