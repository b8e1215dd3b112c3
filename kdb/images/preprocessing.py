"""Prepares images for a model: resizes them to its input grid, and normalises the pixels.

These are two steps because patches are applied in between, to pixels from 0 to 255, or in units of their own.
"""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from kdb.errors import BindError, ExecutionError, did_you_mean
from kdb.geometry import AXES, Size, Space, spelled
from kdb.images.image import SHAPES, Pixels, SourceImage, as_window, evenly
from kdb.images.orientation import as_orientation, oriented

CHANNELS = ("RGB", "BGR")
RESIZES = ("bilinear", "stretch", "crop")
SIZES = ("(length,)", "(height, width)", "(depth, height, width)")
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_ORDERS = {"nearest": 0, "bilinear": 1}
"""Of the splines that arrays of one axis or three are resized by."""
_LATER = ("axes", "window", "orientation")
"""Settings that models had not from the beginning."""
_MOST_PIXELS = 2**27  # scaling the shorter side of a thin strip to the grid's could need any amount of memory
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as in Pillow's mode L


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image resized to a model's input grid.

    ``pixels`` are float32 [*size, C], 0 to 255 or with ``floats`` any numbers, not normalised, RGB if there are three
    channels.  ``source_box`` is the part of the source image that the grid shows, in cells of that image, as floats:
    where it starts along each axis, then how far it extends, (y, x, height, width) for two axes; ``source_size`` is
    the size of the source.  Cell i of the grid lies at ``(i + .5) * scale - .5 + start`` of the source, axis by axis,
    where ``scale`` is the extent over the number of cells.  ``axes`` has a letter for each axis.  ``space`` is where
    the source lies in the world, in the order of its axes that the model takes; None where it does not say.
    ``notes`` are those of the source image, and one where its numbers are not likely those that the model was made for.
    """

    pixels: Pixels
    source_box: tuple[float, ...]
    source_size: Size
    floats: bool = False
    notes: tuple[str, ...] = ()
    axes: str = ""
    space: Space | None = None

    @property
    def image(self) -> npt.NDArray[np.uint8] | Pixels:
        """The pixels as they are: uint8 [*size, 3] where all are whole numbers of three channels, else float32."""
        if self.pixels.shape[-1] == 3 and self.pixels.min() >= 0 and self.pixels.max() <= 255:
            whole = self.pixels.astype(np.uint8)
            if np.array_equal(whole, self.pixels):
                return whole
        return self.pixels


@dataclass(frozen=True)
class Preprocessing:
    """How a model's images are preprocessed.

    ``input_size`` has a number of cells for each axis, one to three.  ``mean`` and ``std`` are of pixels divided by
    ``scale``, with one number for all channels or one for each, in the model's channel order.  A scale of None is 255,
    or for images of floats 1.  ``resize`` is ``'bilinear'``, ``'stretch'`` or ``'crop'``.  The first two resize to the
    grid, bilinearly or by ``interpolation``, unless the image has the grid's size.  ``'crop'`` scales the image until
    it just covers the grid, or for a ``resize_size`` as many times that as this is of the grid's shorter side, and
    takes the centre.  Filters antialias.

    ``axes`` has a letter for each axis: by default 't', 'yx' or 'zyx', or what the image says.  Frames, along the first
    of three axes if it is called 't', are picked evenly and never interpolated.  Two axes, as those of a frame, are
    resized by Pillow, one or three by linear interpolation or the nearest neighbour.

    ``window`` is (centre, width) of the values that floats are clipped to.  ``orientation`` has three letters, such as
    'RAS': an image that says where it lies is turned so that its axes run to these sides of a patient.

    Raises :class:`~kdb.errors.BindError` for invalid values.
    """

    input_size: Size
    channels: str = "RGB"
    n_channels: int = 3
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float | None = None
    resize: str = "bilinear"
    resize_size: int | None = None
    interpolation: str = "bilinear"
    axes: str | None = None
    window: tuple[float, float] | None = None
    orientation: str | None = None

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
            "window": None if self.window is None else as_window(self.window),
            "orientation": None if self.orientation is None else as_orientation(self.orientation),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.axes is not None:
            object.__setattr__(self, "axes", _as_axes(self.axes, self.rank))
        if self.orientation is not None and self.rank != 3:
            raise BindError(f"orientation is of three axes, and the model has {self.rank}")
        if self.channels == "BGR" and self.n_channels not in (1, 3):
            raise BindError(f"channels = 'BGR' needs 3 channels, or 1 for grey; the model has {self.n_channels}")
        for what, numbers in (("std", self.std), ("scale", (self.scale_of(False),))):
            if min(numbers) <= 0:
                raise BindError(f"{what} is divided by and must be positive, got {list(numbers)}")
        if self.resize_size is not None and self.resize_size < min(self.input_size):
            raise BindError(f"resize_size = {self.resize_size} is less than the input's {min(self.input_size)}")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(C, *size) of the model's input."""
        return (self.n_channels, *self.input_size)

    @property
    def rank(self) -> int:
        """The number of axes of the model's input."""
        return len(self.input_size)

    @property
    def image_channels(self) -> int:
        """Channels that images must have: the model's, but 3 (RGB) where it takes grey images of two axes."""
        return 3 if self._of_luma else self.n_channels

    @property
    def _of_luma(self) -> bool:
        return self.n_channels == 1 and self.rank == 2

    @property
    def reading(self) -> Mapping[str, Any]:
        """What a model asks of readers, where the source itself has no such options."""
        frames = {"frames": self.input_size[0]} if self.rank == 3 else {}
        return frames if self.window is None else {"window": self.window, **frames}

    def scale_of(self, floats: bool) -> float:
        """What the pixels of an image are divided by, which is one of ``floats`` or not."""
        if self.scale is not None:
            return self.scale
        return 1.0 if floats else 255.0

    def prepare(self, image: SourceImage) -> Prepared:
        """Bring an image onto the grid: pixels float32 [*input_size, C].

        Integer pixels of two axes, as of all 8-bit images, are resized in uint8, so that the result is bit for bit that
        of torchvision's and timm's transforms; others (16-bit, blended alpha, floats) are resized in float32, and none
        gets out of the range of the source: 0 to 255, or of floats each channel's own.

        Raises :class:`~kdb.errors.BindError` for an image with other axes or channels, and
        :class:`~kdb.errors.ExecutionError` for a strip so thin that scaling it would take too much memory.
        """
        self._check(image)
        if self.orientation is not None:
            image = oriented(image, self.orientation)
        window = image.window or self.window
        if image.floats and window is not None:
            centre, width = window
            low, high = np.float32(centre - width / 2), np.float32(centre + width / 2)
            image = replace(image, pixels=np.clip(image.pixels, low, high))
        axes = self.axes or image.axes or AXES[self.rank]
        frames = len(axes) == 3 and axes[0] == "t"
        source, grid = image.pixels.shape[:-1], self.input_size
        size = self._covering(source, frames) if self.resize == "crop" else grid
        first = tuple(round((length - kept) / 2) for length, kept in zip(size, grid, strict=True))
        resized = _resized(image, size, "bilinear" if self.resize == "bilinear" else self.interpolation, frames)
        shown = tuple(slice(start, start + kept) for start, kept in zip(first, grid, strict=True))
        pixels = resized[shown].astype(np.float32, order="C")
        box = tuple(cells * n / length for cells, n, length in zip((*first, *grid), source * 2, size * 2, strict=True))
        notes = (*image.notes, *_repeated(source, grid, axes), *self._doubts(image))
        return Prepared(pixels, box, source, image.floats, notes, axes, image.space)

    def _check(self, image: SourceImage) -> None:
        """Raise BindError for an image of other axes or channels than the model takes."""
        *size, channels = image.pixels.shape
        shape = SHAPES[self.rank - 1] + ("" if self.image_channels == 1 else f", {self.image_channels}")
        wanted = "RGB images" if self.rank == 2 and self.image_channels == 3 else f"arrays [{shape}]"
        if len(size) != self.rank:
            raise BindError(f"the model takes {wanted}; this image has {len(size)} axes and {channels} channels")
        if channels != self.image_channels:
            turned = ", ".join(map(str, (*range(1, self.rank + 1), 0)))
            hint = f"; transpose it to channels last, by ({turned})" if size[0] == self.image_channels else ""
            raise BindError(f"the model takes {wanted}; this image has {channels} channels{hint}")

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
        if self.rank == 2 and low >= 0 and high > 1 and of_shares:
            return (
                f"its values reach {high:.4g} and are not divided: floats are taken as they are; give uint8 or scale = "
                "255, or scale = 1 where it is meant",
            )
        return ()

    def normalise(self, pixels: npt.NDArray[Any], floats: bool = False) -> Pixels:
        """``(pixels / scale - mean) / std`` in the model's channels, float32 [..., *size, C].

        ``pixels`` are those of :meth:`prepare`, [..., *size, channels], of an image of ``floats`` or not.  The channel
        of a grey model of two axes is the luma, ``0.299 R + 0.587 G + 0.114 B``.
        """
        if self._of_luma:
            ordered = (pixels @ _LUMA)[..., None].astype(np.float32)
        else:
            ordered = (pixels[..., ::-1] if self.channels == "BGR" else pixels).astype(np.float32)
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return np.asarray((ordered / np.float32(self.scale_of(floats)) - mean) / std)

    def digest(self) -> str:
        """The SHA-256, in hexadecimal, of all settings that change a number."""
        # as it was before a scale could be left open and before there were others, so that models keep their identities
        settings = asdict(replace(self, scale=self.scale_of(False)))
        later = {name: settings.pop(name) for name in _LATER}
        given = tuple((name, value) for name, value in later.items() if value is not None)
        return hashlib.sha256(repr((*settings.values(), *given)).encode()).hexdigest()

    def _covering(self, source: Size, frames: bool) -> Size:
        """The size, of the image's proportions, at which it just covers the grid and the crop's margin around it.

        For a square grid this is torchvision's rule: the shorter side becomes ``resize_size``, the longer one is
        truncated.  The number of ``frames`` stays the grid's.
        """
        first = 1 if frames else 0
        sides, grid = source[first:], self.input_size[first:]
        shorter = min(grid)
        margin = (self.resize_size or shorter) / shorter
        covered = [round(side * margin) for side in grid]
        most, side = max(zip(covered, sides, strict=True), key=lambda pair: Fraction(*pair))
        size = (*self.input_size[:first], *(most * other // side for other in sides))
        if math.prod(size) > _MOST_PIXELS:
            raise ExecutionError(
                f"an image of {spelled(source)} pixels would become {spelled(size)} before the crop; "
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


def as_size(what: str, value: Any, axes: int | None = None) -> Size:
    """A size of so many ``axes``: as many positive integers, or one for each; of None, of one to three.

    Raises BindError for anything else.
    """
    try:
        sides = tuple(operator.index(n) for n in (value if isinstance(value, Sequence) else np.atleast_1d(value)))
    except TypeError:
        sides = ()
    if len(sides) == 1 and axes is not None and not isinstance(value, Sequence):
        sides *= axes
    right = len(sides) == axes if axes is not None else 1 <= len(sides) <= len(SIZES)
    if not right or min(sides) <= 0 or isinstance(value, (str, bool)):
        size = f"{SIZES[1]} in pixels" if axes == 2 else " or ".join(SIZES if axes is None else SIZES[axes - 1 : axes])
        raise BindError(f"{what} = {value!r} is not a {size}")
    return sides


def _repeated(source: Size, grid: Size, axes: str) -> Iterator[str]:
    """Notes on axes of a ``source`` that have fewer cells than there is any sense in stretching to the ``grid``."""
    for length, kept, name in zip(source, grid, axes, strict=True):
        if name == "t" and len(axes) == 3 and length < kept:
            yield f"it has {length} frame{'' if length == 1 else 's'}, which are repeated to make {kept}"
        elif length == 1 < kept:
            yield f"it has one cell along {name}, which is repeated {kept} times"


def _as_axes(value: object, axes: int) -> str:
    """Names of axes: as many different letters; raises BindError for anything else."""
    known = isinstance(value, str) and value.isalpha() and len(set(value)) == len(value) == axes
    if not known:
        raise BindError(f"axes = {value!r}: expected as many different letters as axes, as in '{AXES[axes]}'")
    return str(value)


def _per_channel(what: str, value: Any, n_channels: int) -> tuple[float, ...]:
    try:
        numbers = np.atleast_1d(np.asarray(value, np.float64))
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if isinstance(value, (str, bool)) or numbers.shape not in ((1,), (n_channels,)) or not np.isfinite(numbers).all():
        many = "a number" if n_channels == 1 else f"a number, or {n_channels}, one a channel"
        raise BindError(f"{what} = {value!r}: expected {many}")
    return tuple(float(number) for number in np.broadcast_to(numbers, (n_channels,)))


def _resized(image: SourceImage, size: Size, interpolation: str, frames: bool) -> npt.NDArray[Any]:
    """The pixels of an image, resized: [*size, C]; ``frames``, along the first axis, are picked."""
    pixels: npt.NDArray[Any] = image.pixels
    if frames:
        pixels = pixels[evenly(len(pixels), size[0])]
    if pixels.shape[:-1] == size:
        return pixels
    low, high = np.zeros(1, np.float32), np.full(1, 255, np.float32)
    if image.floats:
        axes = tuple(range(len(size)))
        low, high = pixels.min(axis=axes), pixels.max(axis=axes)
    elif np.array_equal(whole := pixels.astype(np.uint8), pixels):
        pixels = whole
    if frames:
        resized = np.stack([_picture(frame, size[1:], interpolation) for frame in pixels])
    elif len(size) == 2:
        resized = _picture(pixels, size, interpolation)
    else:
        resized = _array(pixels, size, interpolation)
    return np.asarray(np.clip(resized, low, high))  # the bicubic and Lanczos filters overshoot


def _picture(pixels: npt.NDArray[Any], size: Size, interpolation: str) -> npt.NDArray[Any]:
    """Pixels [H, W, C], uint8 or float32, resized by Pillow."""
    (rows, columns), filter_ = size, _FILTERS[interpolation]
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return np.asarray(Image.fromarray(pixels).resize((columns, rows), filter_))
    bands = (Image.fromarray(np.ascontiguousarray(band)) for band in np.moveaxis(pixels, 2, 0))
    return np.stack([np.asarray(band.resize((columns, rows), filter_)) for band in bands], axis=-1)


def _array(pixels: npt.NDArray[Any], size: Size, interpolation: str) -> npt.NDArray[Any]:
    """Pixels [*size, C] of any number of axes, resized by areas as Pillow's are; where they shrink, smoothed before."""
    from skimage.transform import resize  # it takes long to import, and few images need it

    if interpolation not in _ORDERS:
        raise BindError(f"interpolation = '{interpolation}' is of two axes; write 'bilinear' or 'nearest'")
    order, shape = _ORDERS[interpolation], (*size, pixels.shape[-1])
    smooth = order > 0 and any(n < before for n, before in zip(size, pixels.shape[:-1], strict=True))
    values = pixels.astype(np.float32)
    made = resize(values, shape, order, mode="edge", anti_aliasing=smooth, preserve_range=True)  # type: ignore[no-untyped-call]
    return np.asarray(made)
