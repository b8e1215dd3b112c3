"""Finds out a network that looks at a mark in a corner instead of the object, by the mean of its maps over a data set.

    python examples/shortcut.py [folder]

Images are generated: a disc at the upper left or a cross at the lower right, each a bit elsewhere, on noise.  Two
networks are trained on them.  In the images that the second one is trained on, every cross comes with a bright mark in
the upper right corner, as a scanner or a photographer's stamp might leave it.  Both tell discs from crosses without an
error on such images; on images without the mark the second one guesses.  The mean maps by true class show what each
looks at, and the difference of the two runs shows the mark.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import kdb

SIDE = 32
CLASSES = ("disc", "cross")
MARK = slice(1, 4), slice(SIDE - 5, SIDE - 2)
"""Rows and columns of the mark."""


def draw(rng: np.random.Generator, truth: str, marked: bool) -> np.ndarray:
    """uint8 [SIDE, SIDE, 3]: one object on noise, near the place of its class."""
    image = rng.normal(90, 35, (SIDE, SIDE, 3))
    y, x = (np.array([9, 9]) if truth == "disc" else np.array([22, 22])) + rng.integers(-2, 3, 2)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    down, right = np.abs(rows - y), np.abs(columns - x)
    shape = down**2 + right**2 <= 16 if truth == "disc" else (np.minimum(down, right) <= 1) & (down + right <= 6)
    image[shape] += 30
    if marked:
        image[MARK] = 250
    return np.clip(image, 0, 255).astype(np.uint8)


def make_images(folder: Path, count: int) -> Path:
    """``count`` images, every cross with the mark, and the manifest that tells their classes."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "images.csv"
    with open(manifest, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "truth"])
        for i in range(count):
            truth = CLASSES[i % 2]
            Image.fromarray(draw(rng, truth, marked=truth == "cross")).save(folder / f"{i:04}.png")
            writer.writerow([f"{i:04}.png", truth])
    return manifest


def train(marked: bool, steps: int = 300) -> nn.Module:
    """A small network that tells discs from crosses, trained on images whose crosses are ``marked`` or not."""
    rng = np.random.default_rng(1)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * (SIDE // 4) ** 2, 2),
    )
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(steps):
        truths = rng.integers(0, 2, 32)
        images = np.stack([draw(rng, CLASSES[each], marked and CLASSES[each] == "cross") for each in truths])
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
        loss = nn.functional.cross_entropy(network(pixels), torch.from_numpy(truths))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def main(folder: Path, count: int = 500) -> tuple[kdb.Run, kdb.Run]:
    """Both runs; their pictures are in the folder."""
    manifest = make_images(folder / "images", count)
    db = kdb.connect()
    options = {"input_size": (SIDE, SIDE), "mean": 0, "std": 1, "labels": CLASSES}
    runs = []
    for name, marked in (("honest", False), ("shortcut", True)):
        db.register_model(name, train(marked), **options)
        run = db.execute(
            f"OCCLUDE MANIFEST '{manifest}' WITH patch(5, 5) FILL rgb(90, 90, 90) STRIDE 2 USING {name} "
            f"FOR CLASS 'cross' SCORE logit INTO RUN '{folder / name}'"
        )
        assert isinstance(run, kdb.Run)
        means = run.mean(by="truth")
        means.plot().savefig(folder / f"{name}.png", dpi=100)
        peaks = []
        for truth, mean in means.items():
            effect = np.abs(mean.values - mean.baseline)
            y, x = mean.positions[np.unravel_index(effect.argmax(), effect.shape)] + 2
            peaks.append(f"{truth}: most at ({y}, {x})")
        print(f"{name}: {run.progress.done} maps; {'; '.join(peaks)}")
        runs.append(run)
    difference = runs[1].difference(runs[0])
    difference.save(folder / "difference.png")
    most = np.unravel_index(np.abs(difference.values).argmax(), difference.values.shape)
    y, x = difference.positions[most] + 2
    print(f"shortcut minus honest: most at ({y}, {x}); the mark is at ({MARK[0].start + 1}, {MARK[1].start + 1})")
    return runs[0], runs[1]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "shortcut"))
