"""Whatever is typed or opened, kdb answers with a result or with an error of its own, and runs nothing."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import kdb
from kdb.execution.engine import Engine
from kdb.frontends import torch_export
from kdb.models import catalog
from kdb.planner.calibration import CostProfile

QUERIES = (
    "OCCLUDE $image WITH patch(4, 4) FILL gray STRIDE 4 USING m FOR CLASS 1 SCORE logit",
    "OCCLUDE image WITH patch(3, 5) FILL rgb(1, 2, 3) STRIDE (4, 8) USING m FOR TOP 2 SCORE drop INTO 'out.npz'",
    "OCCLUDE 'photo.png' WITH patch(8, 8) FILL blur(2) USING 'm' FOR CLASSES ('a', 2) WITHIN box(0, 0, 12, 12)",
    "OCCLUDE ? USING m AT $positions FOR ALL CLASSES EXACT ON cpu; OCCLUDE $image USING m WITHIN mask($mask)",
    "EXPLAIN (FORMAT json) OCCLUDE 'photo.png' STRIDE 8 USING m (resize = 'stretch') PRECISION bf16",
    "CREATE OR REPLACE MODEL other FROM 'weights.pt' (arch = 'squeezenet1_1', classes = 3, mean = (0.5, 0.5, 0.5))",
    "DESCRIBE MODEL m WITH patch(4, 4); SHOW MODELS; DROP MODEL m; SHOW RULES",
    "SET threads = 1; SET rule.cut_over = off; RESET threads; SHOW SETTINGS; RESET ALL",
    "VERIFY 'map.npz' USING m; VERIFY OCCLUDE $image WITH patch(4, 4) STRIDE 4 USING m APPROXIMATE",
    "TUNE m ON '*.png' TO SSIM 0.9; OCCLUDE 'a*.png' USING m DRILL DOWN 0.25 SPEEDUP 3 BUDGET 2 SECONDS",
)
WORDS = sorted({word for text in QUERIES for word in text.replace("(", " ( ").replace(")", " ) ").split()})
SYMBOLS = "'\"();,$?=.-*/\\\n\t\0 0123456789eE_aZ\N{GREEK SMALL LETTER ALPHA}\N{SNOWMAN}"


def mutated(rng: random.Random) -> str:
    """A query with some of its characters and words left out, doubled, swapped or replaced."""
    text = rng.choice(QUERIES)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if rng.random() < 0.5:
            at = rng.randrange(len(text) + 1)
            text = text[:at] + rng.choice(["", rng.choice(SYMBOLS)]) + text[at + rng.randint(0, 2) :]
        else:
            words = text.split(" ")
            i, j = rng.randrange(len(words)), rng.randrange(len(words))
            change = rng.randrange(4)
            if change == 0:
                words[i] = rng.choice(WORDS)
            elif change == 1:
                words[i], words[j] = words[j], words[i]
            elif change == 2:
                words.insert(i, words[j])
            else:
                del words[i]
            text = " ".join(words)
    return text


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def test_ten_thousand_mutated_queries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Both take seconds, and are not what is tested.
    monkeypatch.setattr(Engine, "calibrate", lambda self: CostProfile())
    monkeypatch.setattr(catalog, "trace", cache(lambda module, shape, _: torch_export.trace(module, shape)))
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save("photo.png")
    torch.save({"w": torch.zeros(3)}, "weights.pt")
    named = {"image": pixels, "positions": np.array([[0, 0], [3, 4]]), "mask": np.eye(16, dtype=bool)}
    rng, outcomes = random.Random(0), Counter[str]()
    module = network()
    kdb.occlude(pixels, module, 4).save("map.npz")  # type: ignore[union-attr]
    db = kdb.connect()
    for i in range(10_000):
        if i % 50 == 0:  # what one query drops or sets is not to hide the next ones'
            db = kdb.connect()
            db.register_model("m", module, input_size=16, labels=["a", "b", "c"])
            db.execute("SET threads = 1")
        text = mutated(rng)
        try:
            db.execute(text, [pixels] if "?" in text else named)
            outcomes["answered"] += 1
        except kdb.Error as error:
            assert str(error).strip(), text
            outcomes[type(error).__name__] += 1
        except Exception as error:
            raise AssertionError(f"{text!r} raised {type(error).__name__}: {error}") from error
    assert min(outcomes[name] for name in ("answered", "ParseError", "BindError")) > 200, outcomes


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "bmp", "gif", "webp", "ppm"])
def test_mutated_images(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
    good, bad = tmp_path / f"good.{suffix}", tmp_path / f"bad.{suffix}"
    Image.fromarray(pixels).save(good)
    data, rng = good.read_bytes(), random.Random(0)
    db = kdb.connect()
    db.register_model("m", network(), input_size=16)
    outcomes: Counter[bool] = Counter()
    for _ in range(60):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 20)):
            changed[rng.randrange(min(len(changed), 200))] = rng.randrange(256)
        bad.write_bytes(changed[: rng.choice([len(changed), rng.randrange(1, len(changed))])])
        try:
            db.execute(f"OCCLUDE '{bad}' STRIDE 16 USING m")
            outcomes[True] += 1
        except kdb.Error:
            outcomes[False] += 1
    assert outcomes[False], "nothing was damaged"
