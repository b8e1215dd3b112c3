"""Whether a saved map says all that it was made of: every score again, from the npz and the weights, without kdb.

kdb makes maps of images of many kinds and saves them.  Then a function that knows numpy, torch and the keys of the
file covers the image of the file at each position by the fill of the file, and runs the model in float64.  What is
compared is every score of the map; 1 is the largest difference that Exact promises: 1e-4 of the largest score and 1e-3
of the scores' range, whichever is less, but at least 1e-5 of the largest.
"""

from __future__ import annotations

import argparse
import copy
import json
import struct
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

import kdb
from benchmarks import photos
from benchmarks.timing import markdown_table, write_markdown
from benchmarks.verify import DOCS
from kdb.models import zoo

SIDES, SIZE = (90, 70), (48, 40)
"""(height, width) of the small images, and of the input of the small networks."""
HEADERS = ("source", "image in the file", "resize", "fill", "score", "model", "scores", "worst")


def scores(path: str | Path, module: nn.Module) -> NDArray[np.float64]:
    """The scores of the map in an npz file, [classes, positions], by full inference with ``module`` in float64."""
    with np.load(path, allow_pickle=False) as file:
        saved = {key: file[key] for key in file.files}
    settings = json.loads(str(saved["provenance"]))["preprocessing"]
    image, fill = (saved[key].astype(np.float64) for key in ("image", "fill"))
    (height, width), kind, classes = saved["patch"], str(saved["score"]), np.atleast_1d(saved["class_index"])
    module = copy.deepcopy(module).double().eval()

    def score(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        if settings["n_channels"] == 1:
            pixels = pixels @ np.array([[0.299], [0.587], [0.114]])
        elif settings["channels"] == "BGR":
            pixels = pixels[..., ::-1]
        normalised = (pixels / settings["scale"] - settings["mean"]) / settings["std"]
        batch = torch.from_numpy(np.ascontiguousarray(normalised))[None]
        with torch.no_grad():
            output = module(batch if settings["layout"] == "NHWC" else batch.permute(0, 3, 1, 2))[0]
        activation = "none" if kind.startswith("logit") else settings["activation"]
        output = {"softmax": output.softmax(0), "sigmoid": output.sigmoid(), "none": output}[activation]
        return np.asarray(output.numpy()[classes])

    found = []
    for y, x in saved["positions"].reshape(-1, 2):
        part = np.s_[y : y + height, x : x + width]
        covered = image.copy()
        covered[part] = fill[part] if fill.shape == image.shape else fill
        found.append(score(covered))
    values = np.stack(found, axis=1)
    return score(image)[:, None] - values if kind.endswith("drop") else values


# ---- images


def _photo(name: str) -> NDArray[np.uint8]:
    return photos.photo(name, SIDES)


def _wide(name: str) -> NDArray[np.uint16]:
    """A photograph in 16 bits, the lower of which are not those of 8 bits."""
    noise = np.random.default_rng(0).integers(0, 256, (*SIDES, 3), np.uint16)
    return np.asarray(_photo(name).astype(np.uint16) * 256 + noise, np.uint16)


def _write_png16(path: Path, pixels: NDArray[np.uint16]) -> None:
    """A PNG of 16-bit colour, which Pillow does not write."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def _image(source: str, folder: Path) -> Any:
    """An image of one kind: a path, or an array."""
    path = folder / f"image.{'tiff' if 'TIFF' in source else 'png'}"
    grey = _wide("camera")[..., 0]
    if source == "DICOM":
        from pydicom.data import get_testdata_file

        return str(get_testdata_file("MR_small.dcm"))
    if source == "16-bit colour PNG":
        _write_png16(path, _wide("chelsea"))
    elif source == "uint16 array":
        return _wide("coffee")
    elif source == "float array":
        return (_wide("coffee") / np.float32(65535)).astype(np.float32)
    elif source == "uint8 array of 5 channels":
        return np.concatenate([_photo("chelsea"), _photo("coffee")[..., :2]], axis=2)
    else:
        pictures = {
            "8-bit RGB": lambda: Image.fromarray(_photo("chelsea")),
            "8-bit grey": lambda: Image.fromarray(_photo("camera")[..., 0]),
            "palette": lambda: Image.fromarray(_photo("coffee")).quantize(64),
            "RGBA": lambda: Image.fromarray(np.dstack([_photo("coffee"), _photo("camera")[..., :1]])),
            "12 of 16 bits PNG": lambda: Image.fromarray((grey >> 4).astype(np.uint16)),
            "16-bit grey PNG": lambda: Image.fromarray(grey),
            "16-bit grey TIFF": lambda: Image.fromarray(grey),
        }
        pictures[source]().save(path)
    return str(path)


# ---- models


class _ChannelsLast(nn.Module):
    """Takes [N, H, W, C]."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.module(x.permute(0, 3, 1, 2))
        return found


OPTIONS: dict[str, dict[str, Any]] = {
    "softmax": {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)},
    "sigmoid": {"activation": "sigmoid", "scale": 127.5, "mean": 1},
    "none": {"activation": "none", "std": 0.25},
    "luma": {"n_channels": 1, "mean": 0.45, "std": 0.22},
    "BGR": {"channels": "BGR", "mean": (103.5, 116.3, 123.7), "std": (57, 58, 59), "scale": 1},
    "channels last": {"layout": "NHWC", "n_channels": 3},
    "5 channels": {"n_channels": 5, "mean": (0.1, 0.2, 0.3, 0.4, 0.5), "std": 0.3},
}


@cache
def network(name: str) -> nn.Module:
    """A small network with seeded weights, or efficientnet_lite0 with trained ones."""
    if name not in OPTIONS:
        return zoo.resolve(name).module
    channels = int(OPTIONS[name].get("n_channels", 3))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, stride=2), nn.ReLU(),
            nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(108, 4),
        ).eval()  # fmt: skip
    return _ChannelsLast(module) if name == "channels last" else module


# ---- the cases


@dataclass(frozen=True)
class Case:
    """One map; ``what`` has the classes."""

    source: str
    resize: str = "bilinear"
    fill: str = "black"
    score: str = "probability"
    model: str = "softmax"
    what: str = "FOR PREDICTED"

    def query(self) -> str:
        """The query, without INTO."""
        real = self.model not in OPTIONS
        using = f"{self.model} (resize = {self.resize})" if real else "net"
        patch, stride = ("patch(32, 32)", 48) if real else ("patch(9, 7)", 5)
        return (
            f"OCCLUDE $img WITH {patch} FILL {self.fill} STRIDE {stride} USING {using} {self.what} SCORE {self.score}"
        )


CASES = (
    Case("8-bit RGB", "bilinear", "black", "probability"),
    Case("8-bit RGB", "crop", "mean", "drop", "BGR", "FOR ALL CLASSES"),
    Case("8-bit RGB", "stretch", "$patch", "logit", "luma"),
    Case("12 of 16 bits PNG", "bilinear", "gray", "logit"),
    Case("12 of 16 bits PNG", "crop", "blur(3)", "logit_drop", "luma"),
    Case("16-bit grey PNG", "stretch", "mean", "probability", "luma"),
    Case("16-bit grey PNG", "bilinear", "blur(2)", "drop", "sigmoid"),
    Case("16-bit grey TIFF", "crop", "rgb(10.5, 20.25, 30)", "logit", "BGR"),
    Case("16-bit colour PNG", "bilinear", "blur(4)", "probability", "softmax", "FOR TOP 2"),
    Case("16-bit colour PNG", "stretch", "$patch", "logit_drop", "BGR"),
    Case("16-bit colour PNG", "crop", "white", "drop", "channels last"),
    Case("DICOM", "bilinear", "mean", "probability", "luma"),
    Case("DICOM", "crop", "black", "logit_drop", "none"),
    Case("RGBA", "stretch", "rgb(124, 116, 104)", "probability", "sigmoid"),
    Case("RGBA", "bilinear", "$patch", "drop"),
    Case("palette", "crop", "gray", "logit", "none"),
    Case("8-bit grey", "bilinear", "blur(1)", "probability", "BGR"),
    Case("uint16 array", "stretch", "mean", "logit_drop", "channels last", "FOR ALL CLASSES"),
    Case("uint8 array of 5 channels", "bilinear", "blur(2)", "probability", "5 channels"),
    Case("uint8 array of 5 channels", "crop", "$patch", "logit", "5 channels"),
    Case("float array", "bilinear", "mean", "logit"),
    Case("8-bit RGB", "crop", "black", "probability", "efficientnet_lite0"),
    Case("16-bit colour PNG", "crop", "blur(6)", "drop", "efficientnet_lite0"),
)


def check(case: Case, folder: Path) -> tuple[object, ...]:
    """The row of a case."""
    db, path, image = kdb.connect(), folder / "map.npz", _image(case.source, folder)
    if case.model in OPTIONS:
        db.register_model("net", network(case.model), input_size=SIZE, resize=case.resize, **OPTIONS[case.model])
    channels = int(OPTIONS.get(case.model, {}).get("n_channels", 3))
    patch = np.random.default_rng(1).integers(0, 256, (9, 7, 3 if channels == 1 else channels), np.uint8)
    heat_map = db.execute(f"{case.query()} INTO '{path}'", {"img": image, "patch": patch})
    assert isinstance(heat_map, kdb.HeatMap)
    values = heat_map.by_class()[0].astype(np.float64)
    worst = float((np.abs(scores(path, network(case.model)) - values) / _allowed(heat_map, values)).max())
    kind = f"{heat_map.image.dtype} {'x'.join(map(str, heat_map.image.shape))}"
    return case.source, kind, case.resize, case.fill, case.score, case.model, values.size, worst


def _allowed(heat_map: kdb.HeatMap, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """[classes, 1]: what Exact allows, of the scores before they are subtracted from the baseline."""
    if heat_map.score.endswith("drop"):
        values = np.ravel(heat_map.baseline)[:, None] - values
    largest, span = np.abs(values).max(axis=1, keepdims=True), np.ptp(values, axis=1, keepdims=True)
    return np.asarray(np.maximum(np.minimum(1e-4 * largest, 1e-3 * span), 1e-5 * largest))


def measured(cases: Sequence[Case]) -> Iterator[tuple[object, ...]]:
    """A row for each case."""
    for case in cases:
        with TemporaryDirectory() as folder:
            yield check(case, Path(folder))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 where a score was not found again."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.remake", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of remake.md (docs/benchmarks)")
    options = parser.parse_args(arguments)
    rows = []
    for row in measured(CASES):
        rows.append(row)
        print(*row, flush=True)
    worst = max(float(str(row[-1])) for row in rows)
    text = f"{__doc__}\n{markdown_table(HEADERS, rows)}\nThe worst of {len(rows)} maps: {worst:.2g}."
    options.out.mkdir(parents=True, exist_ok=True)
    write_markdown(options.out / "remake.md", "Maps made again without kdb", {"Every score": text})
    return int(worst > 1)


if __name__ == "__main__":
    sys.exit(main())
