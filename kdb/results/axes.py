"""What the axes of images are called."""

from __future__ import annotations

from collections.abc import Mapping

AXES: Mapping[int, str] = {1: "t", 2: "yx", 3: "zyx"}
"""The names where nothing else names them, by the number of axes: a letter each, in the order of the array."""
