"""Images to begin with, from a package that kdb needs in any case."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

SAMPLES = {
    "chelsea": ("a cat", "chelsea.png"),
    "rocket": ("a rocket", "rocket.jpg"),
    "coffee": ("a cup of coffee", "coffee.png"),
    "astronaut": ("an astronaut", "astronaut.png"),
    "motorcycle": ("a motorcycle", "motorcycle_left.png"),
    "retina": ("a retina", "retina.jpg"),
}
"""By the name that stands in a query: what it is of, and its file in scikit-image's wheel."""


def path(name: str) -> Path:
    """The file of a sample; it may not be there where another packaging of scikit-image leaves it out."""
    return Path(str(importlib.resources.files("skimage"))) / "data" / SAMPLES[name][1]


def listed() -> list[dict[str, str]]:
    """Those that are there."""
    return [{"name": name, "title": title} for name, (title, _) in SAMPLES.items() if path(name).is_file()]
