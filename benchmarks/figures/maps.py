"""Heat maps side by side, the paper's Figure 15: exact, by drill-down, by a threshold, and sampled."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

import kdb
from benchmarks import photos
from benchmarks.figures.common import Json, Scale, prose
from benchmarks.figures.endtoend import SETTINGS
from benchmarks.timing import markdown_table
from benchmarks.verify import TRAINED
from kdb.results.maps import HeatMap
from kdb.results.pictures.colours import coloured, krypton
from kdb.results.similarity import image_ssim, ssim

TITLE = "Heat maps"
PHOTOS = ("chelsea", "rocket", "coffee")
"""A photograph for each of the paper's settings."""


def measure(scale: Scale) -> Json:
    """Compute all heat maps of each photograph; the results contain their values."""
    found: list[dict[str, Any]] = []
    with kdb.connect() as db:
        db.execute(f"SET threads = {torch.get_num_threads()}")
        for name, (ratio, speedup) in zip(PHOTOS, SETTINGS.values(), strict=True):
            clauses = {
                "exact": "",
                f"DRILL DOWN {ratio} SPEEDUP {speedup}": f"DRILL DOWN {ratio} SPEEDUP {speedup}",
                "THRESHOLD 0.8": "THRESHOLD 0.8",
                "APPROXIMATE": "APPROXIMATE TO SSIM 0.9 GUARANTEED",
            }
            maps: dict[str, Any] = {}
            exact: HeatMap | None = None
            for title, clause in clauses.items():
                text = f"OCCLUDE $image STRIDE {scale.map_stride} USING {TRAINED} {clause}"
                heat_map = db.execute(text, {"image": photos.photo(name)})
                assert isinstance(heat_map, HeatMap) and isinstance(heat_map.baseline, float)
                exact = exact or heat_map
                colours = krypton(exact.score, heat_map.baseline, exact.values)
                maps[title] = {
                    "values": heat_map.values.tolist(),
                    "ssim": ssim(heat_map.values, exact.values, 2),
                    "coloured": image_ssim(coloured(heat_map.values, colours), coloured(exact.values, colours)),
                    "fewer": heat_map.stats.naive_macs / heat_map.stats.executed_macs,
                }
                print(f"{name:12} {title:24} {maps[title]['fewer']:.2f}x {maps[title]['ssim']:.3f}", flush=True)
            assert exact is not None
            found.append({"photo": name, "baseline": exact.baseline, "label": exact.label, "maps": maps})
    sys.stdout.flush()
    return {"network": TRAINED, "stride": scale.map_stride, "photos": found}


def section(found: Json) -> str:
    """The explanation, and a table with a row for each heat map, in Markdown."""
    rows = [
        [each["photo"], title, f"{of['fewer']:.2f}x", f"{of['ssim']:.3f}", f"{of['coloured']:.3f}"]
        for each in found["photos"]
        for title, of in each["maps"].items()
    ]
    text = prose(
        f"The paper's Figure 15, with {found['network']} and its trained weights, patch 16 x 16, black, stride "
        f"{found['stride']}: a photograph for each of the paper's settings of drill-down, and beside it a threshold "
        "and a map that was sampled to SSIM .9, guaranteed. SSIM is that of the scores, and of the maps as they are "
        "coloured.\n\n"
    )
    return text + markdown_table(["photograph", "map", "fewer multiply-adds", "SSIM", "coloured"], rows)


def draw(found: Json) -> Mapping[str, Figure]:
    """A row for each photograph and a column for each kind of map; all maps of a row share a colour scale."""
    rows, columns = len(found["photos"]), 1 + len(found["photos"][0]["maps"])
    figure = Figure(figsize=(2.1 * columns, 2.35 * rows), dpi=110, layout="constrained")
    for i, each in enumerate(found["photos"]):
        exact = np.array(each["maps"]["exact"]["values"], np.float32)
        colours = krypton("probability", each["baseline"], exact)
        axes = figure.add_subplot(rows, columns, i * columns + 1)
        axes.imshow(photos.photo(each["photo"], (224, 224)))
        axes.set_title(each["label"].split(",")[0], fontsize=8)
        axes.set_axis_off()
        for j, (title, of) in enumerate(each["maps"].items()):
            axes = figure.add_subplot(rows, columns, i * columns + 2 + j)
            axes.imshow(
                np.array(of["values"]),
                cmap=colours.colormap(),
                vmin=colours.lowest,
                vmax=colours.highest,
                interpolation="nearest",
            )
            axes.set_title(f"{title.replace(' SPEEDUP', ', x')}\n{of['fewer']:.2f}x, SSIM {of['ssim']:.2f}", fontsize=7)
            axes.set_axis_off()
    return {"maps": figure}
