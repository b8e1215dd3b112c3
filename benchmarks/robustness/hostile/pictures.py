"""Images: photographs in several layouts, damaged, and explained by a small network."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.data import get_testdata_file

import kdb
from benchmarks import photos
from benchmarks.robustness.hostile import damage
from benchmarks.robustness.hostile.queries import network

Damage = Callable[[bytes, random.Random], bytes]


def opening(folder: Path, suffix: str, samples: Sequence[bytes], harm: Damage) -> Callable[[random.Random], str]:
    """Damages one of the samples and asks for a map of it."""
    db = kdb.connect()
    db.register_model("m", network(), input_size=16)
    path = folder / f"damaged.{suffix}"
    for sample in samples:  # unharmed, they can be read
        path.write_bytes(sample)
        db.execute("OCCLUDE $path STRIDE 16 USING m", {"path": str(path)})

    def attempt(draw: random.Random) -> str:
        path.write_bytes(harm(draw.choice(samples), draw))
        db.execute("OCCLUDE $path STRIDE 16 USING m", {"path": str(path)})
        return "answered"

    return attempt


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _photo() -> Image.Image:
    return Image.fromarray(photos.photo("chelsea", (40, 48)))


def _deep() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 1 << 16, (20, 24), np.uint16))


def png(folder: Path) -> Callable[[random.Random], str]:
    """True colour, grey, palette, alpha, 16 bits, one bit; damaged anywhere, or within a chunk."""
    photo = _photo()
    modes = [_saved(photo.convert(mode), "PNG") for mode in ("RGB", "L", "P", "RGBA", "LA", "1")]

    def harm(data: bytes, draw: random.Random) -> bytes:
        return damage.damaged(data, draw) if draw.random() < 0.4 else damage.png(data, draw)

    return opening(folder, "png", [*modes, _saved(_deep(), "PNG")], harm)


def jpeg(folder: Path) -> Callable[[random.Random], str]:
    """Colour, grey, CMYK, progressive, turned by its EXIF."""
    photo, turned = _photo(), Image.Exif()
    turned[0x0112] = 6
    samples = [_saved(photo.convert(mode), "JPEG") for mode in ("RGB", "L", "CMYK")]
    samples += [_saved(photo, "JPEG", progressive=True), _saved(photo, "JPEG", exif=turned)]
    return opening(folder, "jpg", samples, damage.damaged)


def tiff(folder: Path) -> Callable[[random.Random], str]:
    """Raw and packed, 16 bits, floats, several pages."""
    photo = _photo()
    packing = ("raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg")
    samples = [_saved(photo, "TIFF", compression=each) for each in packing]
    samples += [_saved(_deep(), "TIFF"), _saved(photo.convert("L"), "TIFF")]
    samples.append(_saved(photo, "TIFF", save_all=True, append_images=[photo]))
    return opening(folder, "tiff", samples, damage.damaged)


def others(folder: Path) -> Callable[[random.Random], str]:
    """BMP, GIF, WebP and PPM."""
    attempts = [
        opening(folder, suffix, [_saved(_photo(), kind)], damage.damaged)
        for suffix, kind in (("bmp", "BMP"), ("gif", "GIF"), ("webp", "WEBP"), ("ppm", "PPM"))
    ]
    return lambda draw: draw.choice(attempts)(draw)


DICOM = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "SC_rgb_jpeg_dcmtk.dcm", "MR_small_RLE.dcm")


def dicom(folder: Path) -> Callable[[random.Random], str]:
    """pydicom's own samples that can be read here; damaged anywhere, or an element's value replaced."""
    samples = []
    for name in DICOM:
        found = get_testdata_file(name)
        if found is not None:
            data = Path(str(found)).read_bytes()
            try:
                opening(folder, "dcm", [data], damage.damaged)
            except kdb.Error:
                continue
            samples.append(data)

    def harm(data: bytes, draw: random.Random) -> bytes:
        return damage.damaged(data, draw, 1500) if draw.random() < 0.5 else _with_other_element(data, draw)

    return opening(folder, "dcm", samples, harm)


def _with_other_element(data: bytes, draw: random.Random) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(data))
    group = [each for each in dataset if each.tag.group == 0x0028] if draw.random() < 0.7 else list(dataset)
    element = draw.choice(group)
    file = io.BytesIO()
    try:
        if draw.random() < 0.2:
            del dataset[element.tag]
        else:
            element.value = damage.value(element.value, draw)
        dataset.save_as(file)
    except Exception:  # pydicom does not write everything: bytes will do
        return damage.damaged(data, draw, 1500)
    return file.getvalue()
