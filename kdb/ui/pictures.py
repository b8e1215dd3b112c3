"""Images as the page shows them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdb.images.image import SourceImage
from kdb.results.maps import HeatMap, displayed
from kdb.session.subject import Subject
from kdb.ui.wire import Content, Packing

FINE = 1200
"""Pixels of the longer side of the source, where that is finer than the model's grid."""
WORTH = 1.25
"""How many times finer it must be."""

Pixels = NDArray[Any]


def shown(pixels: Pixels, of: Pixels, floats: bool) -> Pixels:
    """Pixels [*size, C] as the page takes them: of one axis float32 as they are; of two uint8 RGB; of three uint8 grey,
    or RGB where there are three channels.

    Those of an image of ``floats`` are shown from the least to the largest value ``of`` the whole image.
    """
    if pixels.ndim == 2:
        return pixels.astype(np.float32)
    seen = displayed(pixels, of if floats else None)
    return seen[..., 0] if pixels.ndim == 4 and pixels.shape[-1] != 3 else seen


def key_of(pixels: Pixels, box: Sequence[float], axes: str) -> str:
    """What tells a picture from others: its prepared pixels and where in the source they lie."""
    digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=12)
    digest.update(f"{pixels.dtype} {pixels.shape} {tuple(map(float, box))} {axes}".encode())
    return digest.hexdigest()


def of_subject(subject: Subject, key: str) -> tuple[Content, Packing]:
    """The event of an image that a query is about."""
    prepared = subject.prepared
    packing = Packing()
    content = _picture(packing, key, prepared.axes, prepared.image, prepared.floats)
    fine = _fine(subject.image, prepared.source_box, prepared.pixels.shape[:-1])
    content |= {"fine": None if fine is None else packing(fine)}
    return content | _place(prepared.source_box, prepared.source_size), packing


def of_map(heat_map: HeatMap, key: str) -> tuple[Content, Packing]:
    """The event of the image that a map has a copy of."""
    packing = Packing()
    content = _picture(packing, key, heat_map.axes, heat_map.image, is_floats(heat_map))
    return content | {"fine": None} | _place(heat_map.source_box, heat_map.source_size), packing


def is_floats(heat_map: HeatMap) -> bool:
    """Whether a map's image has numbers in units of its own."""
    return heat_map.provenance is not None and heat_map.provenance.floats


def _picture(packing: Packing, key: str, axes: str, image: Pixels, floats: bool) -> Content:
    size = [*image.shape[:-1]]
    return {"kind": "picture", "key": key, "axes": axes, "size": size, "image": packing(shown(image, image, floats))}


def _place(box: Sequence[float], size: Sequence[int]) -> Content:
    return {"source_box": [*map(float, box)], "source_size": [*size]}


def _fine(image: SourceImage, box: Sequence[float], size: Sequence[int]) -> Pixels | None:
    """uint8 [H, W, 3]: what the grid shows of a picture, where the picture is finer and has all of it."""
    if len(size) != 2 or image.floats or image.pixels.shape[-1] != 3:
        return None
    (top, left, height, width), (rows, across) = box, image.pixels.shape[:2]
    within = top >= 0 and left >= 0 and top + height <= rows + 0.5 and left + width <= across + 0.5
    if not within or min(height / size[0], width / size[1]) < WORTH:
        return None
    scale = min(FINE / max(height, width), 1.0)
    whole = Image.fromarray(np.asarray(np.rint(np.clip(image.pixels, 0, 255)), np.uint8))
    region = left, top, min(left + width, across), min(top + height, rows)
    to = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(whole.resize(to, Image.Resampling.LANCZOS, box=region))
