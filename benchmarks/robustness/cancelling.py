"""Part: heads that magnify what is left of a vector where the patch cancels nearly all of it.

The layers below have no biases and black is zero, so that the map of a black image is zero: where the patch covers all
that is not black, the exact vector is tiny or zero, and the rounding of a delta is all that a careless engine keeps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks import photos
from benchmarks.robustness.constructs import Apply, Construct, apply
from benchmarks.robustness.part import Part, Row
from benchmarks.robustness.trial import IN_FULL, MATCHED, RAW, REFUSED, WRONG, Ints, Trial, examine, places
from benchmarks.timing import markdown_table

SIDE, SQUARE, CORNER = 32, 5, 13
"""Pixels of the image and of the square in it, and where it begins."""
Image = NDArray[np.uint8] | NDArray[np.uint16]


# ---- heads


def pooled(middle: nn.Module) -> nn.Module:
    """On the mean of the map, [N, 16]."""
    return _behind(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), middle, nn.LazyLinear(4)))


def on_map(middle: nn.Module) -> nn.Module:
    """On the map [N, 16, 14, 14]; then its mean, if it is still a map."""
    return _behind(nn.Sequential(middle, apply(lambda x: x.flatten(2).mean(2) if x.ndim == 4 else x), nn.LazyLinear(4)))


def _behind(head: nn.Module) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, bias=False), nn.ReLU(), head),
    )


def _signed_root(x: Tensor) -> Tensor:
    return torch.sign(x) * torch.sqrt(x.abs())


def _gram(x: Tensor) -> Tensor:
    return torch.einsum("nip,njp->nij", x, x) / x.shape[2]


def _covariance(x: Tensor) -> Tensor:
    x = x.flatten(2)
    return _gram(x - x.mean(2, keepdim=True))


def _entropy(x: Tensor) -> Tensor:
    p = (x + 1e-12) / (x + 1e-12).sum(1, keepdim=True)
    return torch.cat([p, -(p * p.log()).sum(1, keepdim=True)], 1)


def _cosine(scale: float) -> nn.Module:
    return Apply(lambda m, x: scale * F.normalize(x) @ F.normalize(m.w).T, w=nn.Parameter(torch.randn(8, 16)))


def _tiny_variance(size: int, norm: Callable[[int], Any]) -> nn.Module:
    made = norm(size)
    made.running_var.fill_(1e-12)
    made.eps = 1e-14
    return nn.Sequential(made, apply(torch.tanh))


HEADS: Mapping[str, tuple[Callable[[nn.Module], nn.Module], Callable[[], nn.Module]]] = {
    "cosine": (pooled, lambda: _cosine(1)),
    "cosine, temperature 1/64": (pooled, lambda: _cosine(64)),
    "cosine similarity": (
        pooled,
        lambda: Apply(lambda m, x: F.cosine_similarity(x[:, None], m.w, dim=2), w=nn.Parameter(torch.randn(8, 16))),
    ),
    "generalised mean, p = 3": (on_map, lambda: apply(lambda x: x.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3))),
    "generalised mean, p = 8": (on_map, lambda: apply(lambda x: x.clamp(min=1e-6).pow(8).mean((2, 3)).pow(1 / 8))),
    "log-sum-exp, r = 1": (on_map, lambda: apply(lambda x: torch.logsumexp(x, (2, 3)))),
    "log-sum-exp, r = 10": (on_map, lambda: apply(lambda x: (10 * x).exp().mean((2, 3)).log() / 10)),
    "log-sum-exp, r = 100": (on_map, lambda: apply(lambda x: torch.logsumexp(100 * x, (2, 3)) / 100)),
    "layer norm": (pooled, lambda: nn.LayerNorm(16)),
    "layer norm, eps 1e-12": (pooled, lambda: nn.LayerNorm(16, eps=1e-12)),
    "rms norm": (pooled, lambda: nn.RMSNorm(16, eps=1e-12)),
    "sum of one": (pooled, lambda: apply(lambda x: F.normalize(x, p=1))),
    "largest of one": (pooled, lambda: apply(lambda x: x / (x.amax(1, True) + 1e-12))),
    "signed root": (pooled, lambda: apply(_signed_root)),
    "signed root, unit length": (pooled, lambda: apply(lambda x: F.normalize(_signed_root(x)))),
    "bilinear, signed root, unit length": (
        on_map,
        lambda: apply(lambda x: F.normalize(_signed_root(_gram(x.flatten(2)).flatten(1)))),
    ),
    "covariance, signed root, unit length": (
        on_map,
        lambda: apply(lambda x: F.normalize(_signed_root(_covariance(x).flatten(1)))),
    ),
    "correlation": (
        on_map,
        lambda: apply(
            lambda x: (
                (c := _covariance(x))
                .div((c.diagonal(dim1=1, dim2=2)[:, :, None] * c.diagonal(dim1=1, dim2=2)[:, None] + 1e-24).sqrt())
                .flatten(1)
            )
        ),
    ),
    "standard deviation": (on_map, lambda: apply(lambda x: x.std((2, 3)))),
    "coefficient of variation": (on_map, lambda: apply(lambda x: x.std((2, 3)) / (x.mean((2, 3)) + 1e-9))),
    "4-norm of the map": (on_map, lambda: apply(lambda x: torch.linalg.vector_norm(x, 4, (2, 3)))),
    "2-norm of the map": (on_map, lambda: apply(lambda x: x.norm(dim=(2, 3)))),
    "softmax over the cells": (on_map, lambda: apply(lambda x: ((9 * x).flatten(2).softmax(2) * x.flatten(2)).sum(2))),
    "share of each cell": (
        on_map,
        lambda: apply(lambda x: (x.flatten(2) / (x.flatten(2).sum(2, True) + 1e-12)).square().sum(2)),
    ),
    "least to largest": (
        pooled,
        lambda: apply(lambda x: (x - x.amin(1, True)) / (x.amax(1, True) - x.amin(1, True) + 1e-12)),
    ),
    "logarithm of the mean": (pooled, lambda: apply(lambda x: torch.log(x + 1e-7))),
    "logarithm of the mean, eps 1e-4": (pooled, lambda: apply(lambda x: torch.log(x + 1e-4))),
    "harmonic mean": (on_map, lambda: apply(lambda x: 1 / (1 / (x + 1e-4)).mean((2, 3)))),
    "geometric mean": (on_map, lambda: apply(lambda x: (x + 1e-6).log().mean((2, 3)).exp())),
    "global response": (
        on_map,
        lambda: apply(
            lambda x: (
                x.mean((2, 3)) * x.norm(dim=(2, 3)) / (x.norm(dim=(2, 3)).mean(1, True) + 1e-9) + x.norm(dim=(2, 3))
            )
        ),
    ),
    "response over its mean": (on_map, lambda: apply(lambda x: (g := x.norm(dim=(2, 3))) / (g.mean(1, True) + 1e-12))),
    "group norm before the pool": (on_map, lambda: nn.Sequential(nn.GroupNorm(4, 16, eps=1e-10), nn.ReLU())),
    "instance norm before the pool": (on_map, lambda: nn.Sequential(nn.InstanceNorm2d(16, eps=1e-10), nn.ReLU())),
    "layer norm of each cell": (
        on_map,
        lambda: Apply(lambda m, x: m.n(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), n=nn.LayerNorm(16, eps=1e-12)),
    ),
    "unit length of each cell": (on_map, lambda: apply(F.normalize)),
    "root of each cell": (on_map, lambda: apply(torch.sqrt)),
    "logarithm of each cell": (on_map, lambda: apply(lambda x: torch.log(x + 1e-7))),
    "root of the mean": (pooled, lambda: apply(torch.sqrt)),
    "entropy": (pooled, lambda: apply(_entropy)),
    "ratios": (pooled, lambda: apply(lambda x: x[:, :8] / (x[:, 8:] + 1e-9))),
    "shares": (pooled, lambda: apply(lambda x: x / (x.sum(1, True) + 1e-12))),
    "angles": (pooled, lambda: apply(lambda x: torch.atan2(x[:, :8], x[:, 8:]))),
    "signs": (pooled, lambda: apply(lambda x: torch.sign(x - 1e-9))),
    "softmax of a tiny temperature": (pooled, lambda: apply(lambda x: (x / 1e-4).softmax(1))),
    "batch norm of tiny variance, on vectors": (pooled, lambda: _tiny_variance(16, nn.BatchNorm1d)),
    "batch norm of tiny variance, on the map": (on_map, lambda: _tiny_variance(16, nn.BatchNorm2d)),
    "large gain": (pooled, lambda: apply(lambda x: torch.tanh(1e6 * x))),
    "distance to prototypes": (
        pooled,
        lambda: Apply(
            lambda m, x: torch.sqrt((x[:, None] - m.w).square().sum(2) + 1e-16),
            w=torch.cat([torch.zeros(1, 16), 1e-3 * torch.randn(7, 16)]),
        ),
    ),
    "logarithm of a distance": (
        pooled,
        lambda: Apply(lambda m, x: torch.log((x[:, None] - m.w).norm(dim=2) + 1e-9), w=1e-3 * torch.randn(8, 16)),
    ),
    "standardised vector": (pooled, lambda: apply(lambda x: (x - x.mean(1, True)) / (x.std(1, keepdim=True) + 1e-12))),
    "differences of twins": (pooled, lambda: apply(lambda x: F.normalize(x[:, :8] - x[:, 8:]))),
}


def module(name: str) -> nn.Module:
    """The network with a head, in eval mode."""
    around, build = HEADS[name]
    return Construct(name, lambda: around(build()), (SIDE, SIDE)).module_as_built()


# ---- images


def _square(value: float, background: Image | None = None) -> NDArray[np.uint16]:
    image = np.zeros((SIDE, SIDE, 3), np.uint16) if background is None else background.astype(np.uint16)
    image[CORNER : CORNER + SQUARE, CORNER : CORNER + SQUARE] = round(value * 65535)
    return image


def _noise() -> Image:
    return np.random.default_rng(0).integers(0, 8, (SIDE, SIDE, 3)).astype(np.uint16)  # of 65535: about 1e-4


def _two() -> Image:
    image = _square(1.0)
    image[3:7, 24:29] = 40
    return image


def _left_over() -> Image:
    image = _square(1.0)
    image[CORNER + SQUARE, CORNER + SQUARE] = 2000
    return image


def _photo() -> Image:
    return photos.photo("chelsea", (SIDE, SIDE))


def _around(patch: Ints) -> NDArray[np.int64]:
    """Positions at which the patch covers the square wholly or in part, and others."""
    rows, columns = (range(max(CORNER - length + 1, 0), min(CORNER + SQUARE, SIDE - length + 1)) for length in patch)
    near = np.array([(y, x) for y in rows for x in columns], np.int64)
    chosen = np.random.default_rng(0).permutation(near)[:60]
    exactly = np.array([[CORNER + SQUARE - patch[0], CORNER + SQUARE - patch[1]], [CORNER, CORNER]])
    exactly = np.clip(exactly, 0, np.array([SIDE, SIDE]) - patch)
    return np.concatenate([exactly, chosen, places((SIDE, SIDE), patch, 20, 1)])


IMAGES: Mapping[str, tuple[Callable[[], Image], Ints]] = {
    "a white square, covered exactly": (lambda: _square(1.0), (5, 5)),
    "a white square, larger patch": (lambda: _square(1.0), (8, 7)),
    "a faint square": (lambda: _square(0.002), (5, 5)),
    "two squares": (_two, (6, 6)),
    "a pixel is left": (_left_over, (5, 5)),
    "noise of 1e-4": (lambda: _square(1.0, _noise()), (5, 5)),
    "a photograph": (_photo, (29, 28)),
}


# ---- the part


def cases() -> list[str]:
    """Each head on each image."""
    return [f"{head}: {image}" for head in HEADS for image in IMAGES]


def trial(case: str) -> Trial:
    """The query of a case."""
    head, _, image = case.partition(": ")
    make, patch = IMAGES[image]
    return Trial(module(head), make(), patch, _around(patch), mean=0.0, std=1.0)


def examined(case: str) -> dict[str, Any]:
    """The finding of one head on one image."""
    return asdict(examine(trial(case)))


def failures(rows: Sequence[Row]) -> list[str]:
    """Heads that are wrong or raise an error, with the images on which they do: all models give finite numbers."""
    said = []
    for head, mine in _by_head(rows).items():
        wrong = {row["case"].partition(": ")[2]: row["error"] for row in mine if row["outcome"] == WRONG}
        if wrong:
            said.append(f"{head}: {max(wrong.values()):.3g} times what is allowed; {', '.join(wrong)}")
        for outcome in (REFUSED, RAW):
            bad = {row["case"].partition(": ")[2]: row["problem"] for row in mine if row["outcome"] == outcome}
            if bad:
                said.append(f"{head}: {outcome} ({next(iter(bad.values()))}); {', '.join(bad)}")
    return said


def _by_head(rows: Sequence[Row]) -> dict[str, list[Row]]:
    heads: dict[str, list[Row]] = {}
    for row in rows:
        heads.setdefault(row["case"].partition(": ")[0], []).append(row)
    return heads


def totals(rows: Sequence[Row]) -> dict[str, Any]:
    """Heads, those that are right on all images, and cases by outcome."""
    right = sum(all(row["outcome"] in (MATCHED, IN_FULL) for row in mine) for mine in _by_head(rows).values())
    count = Counter(row["outcome"] for row in rows)
    return {"heads": len(_by_head(rows)), "right on all images": right, **dict(sorted(count.items()))}


def report(rows: Sequence[Row]) -> str:
    """A row for each head: its error on each image."""
    lines = []
    for head, mine in _by_head(rows).items():
        shown = {row["case"].partition(": ")[2]: _cell(row) for row in mine}
        lines.append([head, *(shown.get(image, "-") for image in IMAGES)])
    return f"{DESCRIPTION}\n\n{markdown_table(['head', *IMAGES], lines)}"


def _cell(row: Row) -> str:
    if row["outcome"] in (REFUSED, RAW):
        return str(row["outcome"])
    mark = {MATCHED: "", IN_FULL: " (in full)", WRONG: " **wrong**"}[row["outcome"]]
    return f"{row['error']:.2g}{mark}"


DESCRIPTION = f"""\
Heads behind convolutions without biases, on images of {SIDE} x {SIDE} in which the patch can cover all that is not
black. Each figure is the largest error over what Exact allows, at up to 82 positions: at most 1 is right."""

PART = Part("cancelling", "Vectors that cancel", cases, examined, report, failures, totals)
