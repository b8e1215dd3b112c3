"""Explain a photograph of a cat with a small trained network; needs the ``demo`` extra and no network."""

from __future__ import annotations

import importlib.resources

import kdb

PHOTO = importlib.resources.files("skimage") / "data" / "chelsea.png"


def main() -> None:
    """Run one query, say what the network saw and write the heat map to ``demo.png``."""
    path = str(PHOTO).replace("'", "''")
    query = f"OCCLUDE '{path}' USING efficientnet_lite0 INTO 'demo.png'"
    print(query)
    heatmap = kdb.connect().execute(query)
    print(f"{heatmap.label}: {heatmap.baseline:.1%}, and {heatmap.values.min():.1%} behind the worst patch")
    print("wrote demo.png")


if __name__ == "__main__":
    main()
