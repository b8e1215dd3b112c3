"""What covers the image under the patch: checked before any image is read, made of pixels once there is one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from kdb.errors import ClauseError
from kdb.geometry import Size
from kdb.images.preprocessing import Preprocessing
from kdb.language import syntax
from kdb.language.arguments import Arguments

FloatArray = npt.NDArray[np.float32]

GRAYS = {"black": 0.0, "gray": 128.0, "white": 255.0}


def check_fill(fill: syntax.Fill, patch: Size, channels: int, arguments: Arguments, whose: str = "the patch's") -> None:
    """Raise BindError for a fill that does not have the patch's size or the image's number of ``channels``.

    ``whose`` says in words whose size that is.
    """
    if fill.kind == "rgb" and channels != 3:
        raise ClauseError(f"{{FILL rgb}} needs three channels, and the model takes {channels}; give {{FILL $patch}}")
    if fill.parameter is None:
        return
    value = arguments.array(fill.parameter)
    known = value.dtype == np.uint8 or value.dtype.kind == "f"
    if not known or value.shape not in (tuple(patch), (*patch, channels)):
        raise ClauseError(
            "{FILL} takes a uint8 array {shape}, {whose} size (for images of floats one of floats); got {given}",
            shape=[*patch, channels],
            whose=whose,
            given=f"{value.dtype} {list(value.shape)}",
        )
    if not np.isfinite(value).all():
        raise ClauseError("{FILL} takes an array without NaN and infinity")


def check_channels(channels: tuple[int, ...] | None, preprocessing: Preprocessing) -> None:
    """Raise BindError for channels that the image does not have, or that the model does not tell apart."""
    if channels is None:
        return
    count = preprocessing.image_channels
    if count != preprocessing.n_channels:
        raise ClauseError("{CHANNELS} are of the model's input, which is one grey channel")
    if max(channels) >= count or len(set(channels)) < len(channels):
        raise ClauseError(f"{{CHANNELS}} takes different numbers from 0 to {count - 1}; got {list(channels)}")


def covered(channels: tuple[int, ...] | None, preprocessing: Preprocessing) -> FloatArray | None:
    """float32 [C], in the order of the model's input: 1 for the ``channels`` that are covered; None for all."""
    if channels is None:
        return None
    ones = np.isin(np.arange(preprocessing.n_channels), channels).astype(np.float32)
    return ones[::-1].copy() if preprocessing.channels == "BGR" else ones


def check_units(fill: syntax.Fill, floats: bool, arguments: Arguments) -> None:
    """Raise BindError for a fill that is not in the image's units: for ``floats`` those of its own, or 0 to 255."""
    array = None if fill.parameter is None else arguments.array(fill.parameter)
    if floats and fill.kind in ("gray", "white", "rgb"):
        raise ClauseError(f"{{FILL}} {fill.kind} is a colour from 0 to 255, and this image has floats; give a number")
    if floats and array is not None and array.dtype.kind != "f":
        raise ClauseError(f"{{FILL}} takes an array of floats, in the units of this image; got {array.dtype}")
    if not floats and array is not None and array.dtype.kind == "f":
        raise ClauseError(f"{{FILL}} takes a uint8 array for this image, whose pixels are 0 to 255; got {array.dtype}")
    if not floats and fill.kind == "number" and not 0 <= fill.args[0] <= 255:
        raise ClauseError(f"{{FILL}} takes a number from 0 to 255 for this image; not {fill.args[0]:g}")


def far_off(cover: Cover, image: FloatArray) -> tuple[str, ...]:
    """A note where what covers an ``image`` of floats lies beyond its values by more than their range."""
    low, high = float(image.min()), float(image.max())
    least, most = float(cover.pixels.min()), float(cover.pixels.max())
    if low - (high - low) <= least and most <= high + (high - low):
        return ()
    fill = f"{least:g}" if least == most else f"{least:g} to {most:g}"
    return (f"the patch, {fill}, is far from the image's values, which are {low:g} to {high:g}",)


def is_uniform(fill: syntax.Fill) -> bool:
    """Whether the patch is of one colour for every image and any value of the parameters."""
    return fill.kind != "blur" and fill.parameter is None


@dataclass(frozen=True, eq=False)
class Cover:
    """What covers an image under the patch: ``pixels`` float32, not normalised.

    They are [1, .., C] of one colour, [*patch, C] of a patch of pixels of its own, or where they are ``aligned`` with
    the image [*size, C]: an image that shows through the patch.
    """

    pixels: FloatArray
    aligned: bool = False

    def of_size(self, patch: Size) -> FloatArray:
        """The whole patch, float32 [*patch, C]; the image, where that shows through."""
        return self.pixels if self.aligned else np.broadcast_to(self.pixels, (*patch, self.pixels.shape[-1]))


def cover(fill: syntax.Fill, image: FloatArray, arguments: Arguments) -> Cover:
    """What covers ``image``, float32 [*size, C], not normalised."""
    *size, channels = image.shape
    axes = len(size)
    if fill.kind == "blur":
        sigmas = (fill.args[0],) * axes + (0,)
        return Cover(np.asarray(ndimage.gaussian_filter(image, sigmas, mode="nearest"), np.float32), aligned=True)
    if fill.parameter is not None:
        value = np.asarray(arguments[fill.parameter], np.float32)
        colours = value if value.ndim > axes else value[..., None]
        return Cover(np.broadcast_to(colours, (*value.shape[:axes], channels)))
    if fill.kind == "mean":
        colours = image.mean(axis=tuple(range(axes)), dtype=np.float64)
    else:
        colours = np.asarray(fill.args or GRAYS[fill.kind])  # a number, or one a channel
    return Cover(np.broadcast_to(np.asarray(colours, np.float32), (*[1] * axes, channels)))
