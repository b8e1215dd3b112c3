"""Pictures, by Pillow: PNG, JPEG, TIFF, BMP, GIF, WebP and PPM."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile

from kdb.images.image import COUNTS, Pixels, SourceImage, of_fewer_bits, of_floats, with_colours
from kdb.images.readers.base import Reader

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM")
"""What Pillow may take a file for: its other formats are rare, and some of them run programs (EPS: Ghostscript)."""
_BITS = 258  # TIFF's tag BitsPerSample


def _read(path: str, axes: int, options: Mapping[str, Any]) -> SourceImage:
    if axes != 2:
        raise ValueError(f"it is a picture, or of no kind that is known, and the model takes {COUNTS[axes - 1]}")
    with Image.open(path, formats=FORMATS) as picture:
        opposite = _opposite_byte_order(picture)
        if opposite is None:
            image = from_picture(picture)
        else:
            with Image.open(path, formats=FORMATS) as again:
                again.tile = opposite
                image = _from_wide_picture(picture, again)
        # not of MPO, a camera's JPEG with a preview or the like beside the photograph
        several = getattr(picture, "is_animated", False) and picture.format != "MPO"
        return replace(image, notes=(*(("the first of its frames is taken",) if several else ()), *image.notes))


def from_picture(picture: Image.Image) -> SourceImage:
    """A Pillow image in any mode."""
    picture.load()  # first: loading applies a TIFF's orientation, and a PNG's EXIF may follow the pixels
    if picture.mode == "F":
        image = of_floats(np.asarray(picture)[..., None])
        return replace(image, pixels=_turned(image.pixels, picture))
    if picture.mode == "I" and 32 in getattr(picture, "tag_v2", {}).get(_BITS, ()):
        raise ValueError("it has 32-bit integer pixels; 8 or 16 bits a channel, or 32-bit floats, are expected")
    notes: tuple[str, ...] = ()
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        values = np.asarray(picture).astype(np.float32)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"its values, {values.min():.0f} to {values.max():.0f}, are not those of 16 bits")
        clear = values == picture.info.get("transparency", -1)
        values[clear] = 0
        pixels = with_colours(values[..., None] / np.float32(257))
        notes = (*_over_black(clear), *of_fewer_bits(values))
    elif picture.has_transparency_data:
        straight = picture.convert("LA") if picture.mode == "La" else picture
        rgba = np.asarray(straight.convert("RGBA"))
        pixels = rgba[..., :3].astype(np.float32)
        pixels *= rgba[..., 3:] / np.float32(255)
        notes = _over_black(rgba[..., 3] < 255)
    else:
        pixels = np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"), np.float32)
    return SourceImage(_turned(pixels, picture), notes=notes)


def _over_black(clear: npt.NDArray[np.bool_]) -> tuple[str, ...]:
    """A note where pixels are ``clear``, at least in part."""
    return ("it is transparent in part, and composited over black",) if clear.any() else ()


def _opposite_byte_order(picture: ImageFile.ImageFile) -> list[Any] | None:
    """The tiles of 16-bit colour with their byte order swapped; None for any other picture.

    Pillow reads colour with 8 bits: of 16 it keeps the high byte, and with the byte order swapped the low one, so that
    reading twice gives all 16 bits.
    """
    native, swapped = ("L", "B") if sys.byteorder == "little" else ("B", "L")
    orders = {"B": "L", "L": "B", "N": swapped, native: swapped}
    tiles = []
    for codec, extents, offset, args in picture.tile:
        raw = args[0] if isinstance(args, tuple) and args else args
        if codec == "raw" and raw in ("R", "G", "B", "A") and 16 in getattr(picture, "tag_v2", {}).get(_BITS, ()):
            raise ValueError("it has 16-bit colour in separate planes, which Pillow misreads unless compressed")
        if not (isinstance(raw, str) and raw[:-1] in ("RGB;16", "RGBA;16", "RGBX;16") and raw[-1] in orders):
            return None
        other = raw[:-1] + orders[raw[-1]]
        fields = codec, extents, offset, (other, *args[1:]) if isinstance(args, tuple) else other
        tiles.append(getattr(type(picture.tile[0]), "_make", tuple)(fields))  # a named tuple since Pillow 11.1
    return tiles or None


def _from_wide_picture(high: Image.Image, low: Image.Image) -> SourceImage:
    """A picture with 16-bit colour, from its high and its low bytes."""
    values = np.asarray(high).astype(np.float32) * 256 + np.asarray(low)
    key = high.info.get("transparency")
    if values.shape[2] == 4:
        alpha = values[..., 3:] / np.float32(65535)
    elif key is not None:
        alpha = (values != np.asarray(key, np.float32)).any(-1, keepdims=True)
    else:
        alpha = np.ones(1, np.float32)
    pixels = _turned(values[..., :3] / np.float32(257) * alpha, high)
    return SourceImage(pixels, notes=(*_over_black(alpha < 1), *of_fewer_bits(values[..., :3])))


def _turned(pixels: Pixels, picture: Image.Image) -> Pixels:
    """Pixels with the picture's EXIF orientation applied (the eight values of the EXIF standard, tag 0x0112)."""
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block does not make the pixels unusable
        orientation = 1
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels, np.float32)


PICTURES = Reader("pictures", "pillow", _read)
