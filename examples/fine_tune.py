"""Retrain a network's last layer for other classes, as the KRYPTON paper's appendix B does, and explain the result.

    python examples/fine_tune.py FOLDER [--arch efficientnet_lite0] [--out model.pt]

FOLDER holds a folder of images a class.  The images are split 60 / 20 / 20 into training, validation and test, class by
class.  Only the last layer is trained, so that what goes into it is computed once an image: 25 epochs of Adam on
cross-entropy with L2 regularization, at each learning rate and regularization of 1e-2, 1e-4 and 1e-6; the pair with the
best validation accuracy is kept.  Written are the state dict, its labels beside it, and the statement that gives the
model to kdb.
"""

from __future__ import annotations

import argparse
import itertools
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

import kdb
from kdb.images.reading import load_image
from kdb.models import zoo
from kdb.models.model import Model

RATES = (1e-2, 1e-4, 1e-6)
EPOCHS, BATCH = 25, 32
SPLIT = (0.6, 0.8)
SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder of images a class")
    parser.add_argument("--arch", default="efficientnet_lite0", help="a trained network known to kdb")
    parser.add_argument("--out", type=Path, default=Path("model.pt"), help="where the state dict goes")
    parser.add_argument("--seed", type=int, default=0, help="of the split and of the training")
    asked = parser.parse_args()
    if not asked.folder.is_dir() or not asked.out.absolute().parent.is_dir():
        raise SystemExit(f"there must be a folder {asked.folder}, and one for {asked.out}")
    torch.manual_seed(asked.seed)
    labels, parts = split(asked.folder, asked.seed)
    print(f"{len(labels)} classes; {' / '.join(str(len(part)) for part in parts)} images to train, validate and test")
    model = zoo.resolve(asked.arch)
    model = model.with_preprocessing(replace(model.preprocessing, resize="bilinear"))  # as created models are fed
    name, last = last_layer(model.module)
    train, validation, test = (features(model, last, part) for part in parts)
    best, settings, accuracy = tuned(last.in_features, len(labels), train, validation)
    rate, strength = settings
    print(f"chosen: learning rate {rate:g}, regularization {strength:g}; validation accuracy {accuracy:.1%}")
    print(f"train accuracy {accuracy_of(best, *train):.1%}, test accuracy {accuracy_of(best, *test):.1%}")
    model.module.set_submodule(name, best)
    torch.save(model.module.state_dict(), asked.out)
    file = asked.out.with_suffix(".labels.txt")
    file.write_text("\n".join(labels) + "\n", encoding="utf-8")
    wanted = model.preprocessing
    print(f"CREATE MODEL '{asked.out.stem}' FROM '{asked.out}' (arch = '{asked.arch}', labels = '{file}',")
    print(f"    input = {wanted.input_size}, mean = {wanted.mean}, std = {wanted.std});")


def split(folder: Path, seed: int) -> tuple[list[str], list[list[tuple[Path, int]]]]:
    """The classes, and (file, class) of the three parts."""
    labels = sorted(each.name for each in folder.iterdir() if each.is_dir())
    if len(labels) < 2:
        raise SystemExit(f"{folder} must hold a folder of images for each of two classes or more")
    shuffled, parts = random.Random(seed), [[], [], []]  # type: ignore[var-annotated]
    for index, label in enumerate(labels):
        files = sorted(each for each in (folder / label).rglob("*") if each.suffix.lower() in SUFFIXES)
        shuffled.shuffle(files)
        cuts = [round(len(files) * share) for share in SPLIT]
        for part, chosen in zip(parts, (files[: cuts[0]], files[cuts[0] : cuts[1]], files[cuts[1] :]), strict=True):
            part += [(file, index) for file in chosen]
    if not all(parts):
        raise SystemExit(f"{folder} holds too few images to be split in three")
    return labels, parts


def last_layer(module: nn.Module) -> tuple[str, nn.Linear]:
    """The last dense layer and its path."""
    return [(name, part) for name, part in module.named_modules() if isinstance(part, nn.Linear)][-1]


@torch.no_grad()
def features(model: Model, last: nn.Linear, part: list[tuple[Path, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """What goes into the last layer, [n, in], and the classes [n]."""
    found: list[torch.Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    wanted = model.preprocessing
    for start in range(0, len(part), BATCH):
        prepared = [wanted.prepare(load_image(file)).pixels for file, _ in part[start : start + BATCH]]
        model.module(torch.from_numpy(wanted.normalise(np.stack(prepared)).transpose(0, 3, 1, 2).copy()))
    hook.remove()
    return torch.cat(found), torch.tensor([index for _, index in part])


def tuned(
    width: int,
    classes: int,
    train: tuple[torch.Tensor, torch.Tensor],
    validation: tuple[torch.Tensor, torch.Tensor],
) -> tuple[nn.Linear, tuple[float, float], float]:
    """The layer with the best validation accuracy over both grids, its learning rate and regularization, and that."""
    tried = []
    for rate, strength in itertools.product(RATES, RATES):
        layer = trained(nn.Linear(width, classes), *train, rate, strength)
        tried.append((accuracy_of(layer, *validation), (rate, strength), layer))
        print(f"learning rate {rate:g}, regularization {strength:g}: validation accuracy {tried[-1][0]:.1%}")
    accuracy, settings, layer = max(tried, key=lambda each: each[0])
    return layer, settings, accuracy


def trained(layer: nn.Linear, x: torch.Tensor, y: torch.Tensor, rate: float, strength: float) -> nn.Linear:
    """The layer after EPOCHS of Adam on cross-entropy plus ``strength`` times the squared weights."""
    optimizer = torch.optim.Adam(layer.parameters(), rate)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(x)).split(BATCH):
            loss = nn.functional.cross_entropy(layer(x[chosen]), y[chosen]) + strength * layer.weight.square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return layer


@torch.no_grad()
def accuracy_of(layer: nn.Linear, x: torch.Tensor, y: torch.Tensor) -> float:
    return float((layer(x).argmax(1) == y).float().mean())


if __name__ == "__main__":
    try:
        main()
    except kdb.Error as error:
        raise SystemExit(f"error: {error}") from None
