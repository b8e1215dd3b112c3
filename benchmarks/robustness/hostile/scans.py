"""Volumes, video and signals: small files of each kind, damaged, and explained by a small network of their axes."""

from __future__ import annotations

import gzip
import io
import random
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import kdb
from benchmarks.robustness.hostile import damage

Attempt = Callable[[random.Random], str]
Files = Mapping[str, bytes]
"""By name; the first is the one that is asked about."""

SIZES = {1: (32,), 3: (4, 8, 8)}
DRAW = np.random.default_rng(0)


def _network(axes: int, channels: int) -> nn.Module:
    torch.manual_seed(0)
    convolution, mean = ((nn.Conv1d, nn.AdaptiveAvgPool1d), (nn.Conv3d, nn.AdaptiveAvgPool3d))[axes // 2]
    return nn.Sequential(convolution(channels, 4, 3), nn.ReLU(), mean(1), nn.Flatten(), nn.Linear(4, 3))


def opening(folder: Path, axes: int, channels: int, samples: Sequence[Files], most: int = 1000) -> Attempt:
    """Damages one of the files of one of the samples, within its first ``most`` bytes, and asks for a map of it."""
    db = kdb.connect()
    db.register_model("m", _network(axes, channels), input_size=SIZES[axes], n_channels=channels)

    def asked(files: Files) -> None:
        for name, data in files.items():
            (folder / name).write_bytes(data)
        db.execute("OCCLUDE $path WITH patch(4) STRIDE 8 USING m", {"path": str(folder / next(iter(files)))})

    for sample in samples:  # unharmed, they can be read
        asked(sample)

    def attempt(draw: random.Random) -> str:
        sample = dict(draw.choice(samples))
        name = draw.choice(list(sample))
        sample[name] = damage.damaged(sample[name], draw, most)
        asked(sample)
        return "answered"

    return attempt


def npy(folder: Path) -> Attempt:
    """Floats, whole numbers and Fortran's order."""
    volume = DRAW.normal(size=(5, 9, 10)).astype(np.float32)
    arrays = (volume, volume.astype(np.float64), np.asfortranarray(volume), (40 * volume).clip(0).astype(np.uint8))
    samples = []
    for array in arrays:
        file = io.BytesIO()
        np.save(file, array)
        samples.append({"damaged.npy": file.getvalue()})
    return opening(folder, 3, 1, samples, 200)


def nifti(folder: Path) -> Attempt:
    """Plain and compressed, several types of numbers; damaged under the compression too."""
    nibabel: Any = import_module("nibabel")
    plain = [
        nibabel.Nifti1Image((100 * DRAW.normal(size=(5, 9, 10))).astype(kind), np.eye(4)).to_bytes()
        for kind in (np.int16, np.float32, np.uint8, np.float64)
    ]
    attempts = [
        opening(folder, 3, 1, [{"damaged.nii": data} for data in plain], 400),
        opening(folder, 3, 1, [{"damaged.nii.gz": gzip.compress(data)} for data in plain]),
    ]

    def under(draw: random.Random) -> str:
        path = folder / "under.nii.gz"
        path.write_bytes(gzip.compress(damage.damaged(draw.choice(plain), draw, 400)))
        db.execute("OCCLUDE $path WITH patch(4) STRIDE 8 USING m", {"path": str(path)})
        return "answered"

    db = kdb.connect()
    db.register_model("m", _network(3, 1), input_size=SIZES[3], n_channels=1)
    return lambda draw: draw.choice([*attempts, under])(draw)


def video(folder: Path) -> Attempt:
    """MP4 and AVI."""
    av: Any = import_module("av")
    samples = []
    for suffix, codec in (("mp4", "mpeg4"), ("avi", "mpeg4"), ("mp4", "mjpeg"), ("avi", "mjpeg")):
        path = folder / f"whole.{suffix}"
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height = 32, 16
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for _ in range(6):
                pixels = DRAW.integers(0, 256, (16, 32, 3), dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
        samples.append({f"damaged.{suffix}": path.read_bytes()})
    return opening(folder, 3, 3, samples, 3000)


def wfdb(folder: Path) -> Attempt:
    """A header with its signals, one of which is damaged."""
    package: Any = import_module("wfdb")
    samples = []
    for form in ("16", "80", "212"):
        package.wrsamp(
            "damaged",
            fs=100,
            units=["mV", "mV"],
            sig_name=["I", "II"],
            p_signal=DRAW.normal(size=(60, 2)),
            fmt=[form, form],
            write_dir=str(folder),
        )
        samples.append({name: (folder / name).read_bytes() for name in ("damaged.hea", "damaged.dat")})
    return opening(folder, 1, 2, samples, 300)


def edf(folder: Path) -> Attempt:
    """Two signals."""
    edfio: Any = import_module("edfio")
    signals = [edfio.EdfSignal(DRAW.normal(size=200), sampling_frequency=100, label=name) for name in ("C3", "C4")]
    path = folder / "whole.edf"
    edfio.Edf(signals).write(path)
    return opening(folder, 1, 2, [{"damaged.edf": path.read_bytes()}])
