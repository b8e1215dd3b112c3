"""A data set of small images in two folders, and a model in a file, which other processes can load too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import kdb
from kdb.session.session import Session
from tests.onnx_files import exported

SIDE = 16
WITH = "WITH patch(4, 4) STRIDE 4 USING net"


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))


def picture(path: Path | str, seed: int, side: int = SIDE) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(network(), (3, SIDE, SIDE), tmp_path_factory.mktemp("model") / "net.onnx")


def make_data(folder: Path, count: int = 6) -> None:
    for i in range(count):
        picture(folder / "scans" / "ab"[i % 2] / f"x{i // 2}.png", i)


def connected(model_file: Path, **options: object) -> Session:
    db = kdb.connect(**options)  # type: ignore[arg-type]
    db.execute(f"CREATE MODEL net FROM '{model_file}' (mean = 0, std = 1)")
    return db


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_file: Path) -> Iterator[Session]:
    """In a folder with scans/a/x0.png to scans/b/x2.png, with a model called net."""
    monkeypatch.chdir(tmp_path)
    make_data(tmp_path)
    with connected(model_file) as session:
        yield session
    assert os.getcwd() == str(tmp_path)
