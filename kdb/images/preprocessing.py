"""Prepares images for a model: resizes them to its input grid, and normalises the pixels.

These are two steps because patches are applied in between, to pixels from 0 to 255, or in units of their own.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from kdb.errors import BindError, ExecutionError, did_you_mean
from kdb.images.reading import Pixels, SourceImage

CHANNELS = ("RGB", "BGR")
RESIZES = ("bilinear", "stretch", "crop")
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_MOST_PIXELS = 2**27  # scaling the shorter side of a thin strip to the grid's could need any amount of memory
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as in Pillow's mode L


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image resized to a model's input grid.

    ``pixels`` are float32 [H, W, C], 0 to 255 or with ``floats`` any numbers, not normalised, RGB if there are three
    channels.  ``source_box`` is the part of the source image that the grid shows, (y, x, height, width) in pixels of
    that image, as floats; ``source_size`` is its (height, width).  ``notes`` are those of the source image, and one
    where its numbers are not likely those that the model was made for.
    """

    pixels: Pixels
    source_box: tuple[float, float, float, float]
    source_size: tuple[int, int]
    floats: bool = False
    notes: tuple[str, ...] = ()

    @property
    def image(self) -> npt.NDArray[np.uint8] | Pixels:
        """The pixels as they are: uint8 [H, W, 3] where all are whole numbers of three channels, else float32."""
        if self.pixels.shape[2] == 3 and self.pixels.min() >= 0 and self.pixels.max() <= 255:
            whole = self.pixels.astype(np.uint8)
            if np.array_equal(whole, self.pixels):
                return whole
        return self.pixels


@dataclass(frozen=True)
class Preprocessing:
    """How a model's images are preprocessed.

    ``mean`` and ``std`` are of pixels divided by ``scale``, with one number for all channels or one for each, in the
    model's channel order.  A scale of None is 255, or for images of floats 1.  ``resize`` is ``'bilinear'``,
    ``'stretch'`` or ``'crop'``.  The first two resize to the grid, by Pillow's bilinear filter or by ``interpolation``,
    unless the image has the grid's size.  ``'crop'`` scales the shorter side to ``resize_size`` (default: the grid's)
    and takes the centre.  Filters antialias.

    Raises :class:`~kdb.errors.BindError` for invalid values.
    """

    input_size: tuple[int, int]
    channels: str = "RGB"
    n_channels: int = 3
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float | None = None
    resize: str = "bilinear"
    resize_size: int | None = None
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if isinstance(self.n_channels, bool) or not isinstance(self.n_channels, int) or self.n_channels < 1:
            raise BindError(f"n_channels = {self.n_channels!r}: 3, 1 for grey images, or as many as the model takes")
        checked = {
            "input_size": as_size("input", self.input_size),
            "channels": choice("channels", self.channels, CHANNELS),
            "mean": _per_channel("mean", self.mean, self.n_channels),
            "std": _per_channel("std", self.std, self.n_channels),
            "scale": None if self.scale is None else _per_channel("scale", self.scale, 1)[0],
            "resize": choice("resize", self.resize, RESIZES),
            "interpolation": choice("interpolation", self.interpolation, tuple(_FILTERS)),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.channels == "BGR" and self.n_channels not in (1, 3):
            raise BindError(f"channels = 'BGR' needs 3 channels, or 1 for grey; the model has {self.n_channels}")
        for what, numbers in (("std", self.std), ("scale", (self.scale_of(False),))):
            if min(numbers) <= 0:
                raise BindError(f"{what} is divided by and must be positive, got {list(numbers)}")
        if self.resize_size is not None and self.resize_size < min(self.input_size):
            raise BindError(f"resize_size = {self.resize_size} is less than the input's {min(self.input_size)}")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the model's input."""
        return (self.n_channels, *self.input_size)

    @property
    def image_channels(self) -> int:
        """Channels that images must have: 3 (RGB) for models with 1 or 3 channels, otherwise as many as the model."""
        return 3 if self.n_channels == 1 else self.n_channels

    def scale_of(self, floats: bool) -> float:
        """What the pixels of an image are divided by, which is one of ``floats`` or not."""
        if self.scale is not None:
            return self.scale
        return 1.0 if floats else 255.0

    def prepare(self, image: SourceImage) -> Prepared:
        """Resize an image to the grid: pixels float32 [H, W, C] for ``input_size`` (H, W).

        Integer pixels, as of all 8-bit images, are resized in uint8, so that the result is bit for bit that of
        torchvision's and timm's transforms; others (16-bit, blended alpha, floats) are resized in float32, and none
        gets out of the range of the source: 0 to 255, or of floats each channel's own.

        Raises :class:`~kdb.errors.BindError` for an image with other channels, and
        :class:`~kdb.errors.ExecutionError` for a strip so thin that scaling it would take too much memory.
        """
        height, width, channels = image.pixels.shape
        if channels != self.image_channels:
            wanted = "RGB images" if self.image_channels == 3 else f"arrays [H, W, {self.image_channels}]"
            raise BindError(f"the model takes {wanted}; this image has {channels} channels")
        rows, columns = self.input_size
        size = self._covering(height, width) if self.resize == "crop" else self.input_size
        top, left = round((size[0] - rows) / 2), round((size[1] - columns) / 2)
        filter_ = "bilinear" if self.resize == "bilinear" else self.interpolation
        resized = _resized(image, size, _FILTERS[filter_])
        pixels = resized[top : top + rows, left : left + columns].astype(np.float32, order="C")
        box = (top * height / size[0], left * width / size[1], rows * height / size[0], columns * width / size[1])
        return Prepared(pixels, box, (height, width), image.floats, (*image.notes, *self._doubts(image)))

    def _doubts(self, image: SourceImage) -> tuple[str, ...]:
        """A note on ``floats`` that are likely not those that ``mean`` and ``std`` are of; none if scale is given."""
        if not image.floats or self.scale is not None:
            return ()
        low, high = float(image.pixels.min()), float(image.pixels.max())
        plain = set(self.mean) == {0.0} and set(self.std) == {1.0}
        of_shares = max(self.mean) <= 1 and min(self.mean) >= 0 and max(self.std) <= 1
        if low < 0 and of_shares and not plain:
            return (
                f"its values, {low:.4g} to {high:.4g}, are taken as they are, and normalised by the model's mean and "
                "std; give the original ones where that was done before, or scale = 1 where it is meant",
            )
        if low >= 0 and high > 1 and of_shares:
            return (
                f"its values reach {high:.4g} and are not divided: floats are taken as they are; give uint8 or scale = "
                "255, or scale = 1 where it is meant",
            )
        return ()

    def normalise(self, pixels: npt.NDArray[Any], floats: bool = False) -> Pixels:
        """``(pixels / scale - mean) / std`` in the model's channels, float32 [..., H, W, C].

        ``pixels`` are those of :meth:`prepare`, [..., H, W, channels], of an image of ``floats`` or not.  The channel
        of a grey model is the luma, ``0.299 R + 0.587 G + 0.114 B``.
        """
        if self.n_channels == 1:
            ordered = (pixels @ _LUMA)[..., None].astype(np.float32)
        else:
            ordered = (pixels[..., ::-1] if self.channels == "BGR" else pixels).astype(np.float32)
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return np.asarray((ordered / np.float32(self.scale_of(floats)) - mean) / std)

    def digest(self) -> str:
        """The SHA-256, in hexadecimal, of all settings."""
        # as it was before a scale could be left open, so that models keep their identities
        return hashlib.sha256(repr(astuple(replace(self, scale=self.scale_of(False)))).encode()).hexdigest()

    def _covering(self, height: int, width: int) -> tuple[int, int]:
        """The size, of the image's proportions, at which it just covers the grid and the crop's margin around it.

        For a square grid this is torchvision's rule: the shorter side becomes ``resize_size``, the longer one is
        truncated.
        """
        shorter = min(self.input_size)
        margin = (self.resize_size or shorter) / shorter
        rows, columns = (round(side * margin) for side in self.input_size)
        by_height = rows * width >= columns * height
        size = (rows, rows * width // height) if by_height else (columns * height // width, columns)
        if size[0] * size[1] > _MOST_PIXELS:
            raise ExecutionError(
                f"an image of {height} x {width} pixels would become {size[0]} x {size[1]} before the crop; "
                "write resize = 'stretch' beside the model's name"
            )
        return size


def choice(what: str, value: object, allowed: Sequence[str]) -> str:
    """The member of ``allowed`` that equals ``value`` but for case; raises BindError if there is none."""
    if isinstance(value, str):
        for name in allowed:
            if name.casefold() == value.casefold():
                return name
    hint = did_you_mean(value, allowed) if isinstance(value, str) else ""
    raise BindError(f"{what} = {value!r} is none of {', '.join(map(repr, allowed))}{hint}")


def as_size(what: str, value: Any) -> tuple[int, int]:
    """(height, width) of a pair of positive integers, or of one for a square; raises BindError for anything else."""
    try:
        sides = [operator.index(side) for side in (value if isinstance(value, Sequence) else np.atleast_1d(value))]
    except TypeError:
        sides = []
    if len(sides) not in (1, 2) or min(sides) <= 0 or isinstance(value, (str, bool)):
        raise BindError(f"{what} = {value!r} is not a (height, width) in pixels")
    return sides[0], sides[-1]


def _per_channel(what: str, value: Any, n_channels: int) -> tuple[float, ...]:
    try:
        numbers = np.atleast_1d(np.asarray(value, np.float64))
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if isinstance(value, (str, bool)) or numbers.shape not in ((1,), (n_channels,)) or not np.isfinite(numbers).all():
        many = "a number" if n_channels == 1 else f"a number, or {n_channels}, one a channel"
        raise BindError(f"{what} = {value!r}: expected {many}")
    return tuple(float(number) for number in np.broadcast_to(numbers, (n_channels,)))


def _resized(image: SourceImage, size: tuple[int, int], filter_: Image.Resampling) -> npt.NDArray[Any]:
    pixels: npt.NDArray[Any] = image.pixels
    if pixels.shape[:2] == size:
        return pixels
    rows, columns = size
    low, high = np.zeros(1, np.float32), np.full(1, 255, np.float32)
    if image.floats:
        low, high = pixels.min(axis=(0, 1)), pixels.max(axis=(0, 1))
    elif np.array_equal(whole := pixels.astype(np.uint8), pixels):
        if pixels.shape[2] == 3:
            return np.asarray(Image.fromarray(whole).resize((columns, rows), filter_))
        pixels = whole
    bands = (Image.fromarray(np.ascontiguousarray(band)) for band in np.moveaxis(pixels, 2, 0))
    planes = [np.asarray(band.resize((columns, rows), filter_)) for band in bands]
    # the bicubic and Lanczos filters overshoot
    return np.asarray(np.clip(np.stack(planes, axis=-1), low, high))
