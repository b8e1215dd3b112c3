"""Queries with characters and words left out, doubled, exchanged or replaced."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import kdb
from kdb.execution.engine import Engine
from kdb.frontends import torch_export
from kdb.models import catalog

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
SYMBOLS = "'\"();,$?=.-*/\\\n\t\0 0123456789eE_aZ\N{GREEK SMALL LETTER ALPHA}\N{SNOWMAN}\x1b\N{RIGHT-TO-LEFT OVERRIDE}"


def mutated(draw: random.Random) -> str:
    """A query with some changes."""
    text = draw.choice(QUERIES)
    for _ in range(draw.choice((1, 1, 2, 4))):
        if draw.random() < 0.5:
            at = draw.randrange(len(text) + 1)
            text = text[:at] + draw.choice(["", draw.choice(SYMBOLS)]) + text[at + draw.randint(0, 2) :]
        else:
            words = text.split(" ")
            i, j = draw.randrange(len(words)), draw.randrange(len(words))
            change = draw.randrange(4)
            if change == 0:
                words[i] = draw.choice(WORDS)
            elif change == 1:
                words[i], words[j] = words[j], words[i]
            elif change == 2:
                words.insert(i, words[j])
            else:
                del words[i]
            text = " ".join(words)
    return text


def network() -> nn.Module:
    """A small network for colour images of any size, of three classes."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def prepare(folder: Path) -> Callable[[random.Random], str]:
    """Sessions with a small network and an image; one serves fifty queries, so that what one query drops or sets hides
    little from others.  Changes to ``folder``, where relative paths of queries lead.

    Calibration is left out and traces are shared: both take seconds and are not what is damaged.  The root keeps a
    query to its folder that names a file elsewhere.  matplotlib starts a program once to look for fonts: here.
    """
    os.chdir(folder)
    import_module("matplotlib.font_manager")
    Engine.calibrate = lambda self: {}  # type: ignore[method-assign]
    vars(catalog)["trace"] = cache(lambda module, shape, _: torch_export.trace(module, shape))
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save("photo.png")
    torch.save({"w": torch.zeros(3)}, "weights.pt")
    module = network()
    kdb.occlude(pixels, module, 4).save("map.npz")
    named = {"image": pixels, "positions": np.array([[0, 0], [3, 4]]), "mask": np.eye(16, dtype=bool)}
    sessions: list[kdb.Session] = []
    made = 0

    def attempt(draw: random.Random) -> str:
        nonlocal made
        if made % 50 == 0:
            sessions[:] = [kdb.connect(root=folder)]
            sessions[0].register_model("m", module, input_size=16, labels=["a", "b", "c"])
            sessions[0].execute("SET threads = 1")
        made += 1
        text = mutated(draw)
        sessions[0].execute(text, [pixels] if "?" in text else named)
        return "answered"

    return attempt
