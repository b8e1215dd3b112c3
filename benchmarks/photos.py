"""The photographs that the scikit-image wheel contains as files, so that nothing is downloaded.

Benchmarks do not use random noise as images: it saturates or kills a network's activations, so that costs and errors
measured on it do not apply to images.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's channels, for pixels in [0, 1], as torchvision's networks expect."""

FILES = {
    "astronaut": "astronaut.png",
    "brick": "brick.png",
    "camera": "camera.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "coins": "coins.png",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "hubble": "hubble_deep_field.jpg",
    "ihc": "ihc.png",
    "moon": "moon.png",
    "motorcycle": "motorcycle_left.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
}
"""The file of each photograph, some of them grey; sides from 303 to 1411 pixels."""

NAMES = tuple(FILES)


def path(name: str) -> Path:
    """The path of the photograph ``name``.

    Raises:
        KeyError: no photograph of that name.
        FileNotFoundError: the installed scikit-image does not contain it.
    """
    if name not in FILES:
        raise KeyError(f"no photograph named {name!r}; there are {', '.join(NAMES)}")
    found = Path(str(importlib.resources.files("skimage"))) / "data" / FILES[name]
    if not found.is_file():
        raise FileNotFoundError(f"{found}: this scikit-image does not contain the photograph {name!r}")
    return found


def photo(name: str, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """The photograph as RGB, uint8 [H, W, 3].

    With ``size`` (H, W), the largest centred crop of that aspect ratio, resampled to it (bicubic, antialiased).
    Raises KeyError and FileNotFoundError as :func:`path` does.
    """
    with Image.open(path(name)) as file:
        image = file.convert("RGB")
    if size is not None:
        image = _centre_crop(image, size[1] / size[0]).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.array(image)


def _centre_crop(image: Image.Image, aspect: float) -> Image.Image:
    """The largest centred crop whose width is ``aspect`` times its height."""
    width = min(image.width, round(image.height * aspect))
    height = min(image.height, round(image.width / aspect))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def crops(size: tuple[int, int], count: int, seed: int = 0) -> NDArray[np.uint8]:
    """``count`` random crops of the photographs in turn, uint8 [count, H, W, 3].

    A crop has the aspect ratio of ``size`` (H, W), a side of 40 to 100 % of the largest such crop's, and is resampled
    to ``size``; every other one is mirrored.
    """
    draw = np.random.default_rng(seed)
    parts = []
    for index in range(count):
        image = Image.fromarray(photo(NAMES[index % len(NAMES)]))
        side = draw.uniform(0.4, 1.0)
        scale = side * min(image.width / size[1], image.height / size[0])
        width, height = max(1, round(size[1] * scale)), max(1, round(size[0] * scale))
        left = int(draw.integers(image.width - width + 1))
        top = int(draw.integers(image.height - height + 1))
        part = image.resize((size[1], size[0]), Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
        parts.append(np.asarray(part)[:, :: -1 if index % 2 else 1])
    return np.stack(parts)


def normalised(image: NDArray[np.uint8]) -> torch.Tensor:
    """Images uint8 [..., H, W, 3] as float32 [..., 3, H, W]: ``(pixel / 255 - MEAN) / STD`` for each channel."""
    scaled = (torch.tensor(image).float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    return scaled.movedim(-1, -3).contiguous()
