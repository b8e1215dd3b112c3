"""Published networks for signals, written down from their papers: with random weights, for measurements of speed."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn


class Inception(nn.Module):
    """One module of InceptionTime: kernels of three lengths behind a bottleneck, and a pool, side by side."""

    def __init__(self, channels: int, filters: int = 32) -> None:
        super().__init__()
        self.bottleneck = nn.Conv1d(channels, filters, 1, bias=False)
        self.branches = nn.ModuleList(
            nn.Conv1d(filters, filters, length, padding=length // 2, bias=False) for length in (39, 19, 9)
        )
        self.pooled = nn.Sequential(nn.MaxPool1d(3, 1, 1), nn.Conv1d(channels, filters, 1, bias=False))
        self.norm = nn.BatchNorm1d(4 * filters)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, L] -> [N, 4 filters, L]."""
        narrow = self.bottleneck(x)
        parts = [*(branch(narrow) for branch in self.branches), self.pooled(x)]
        return torch.relu(self.norm(torch.cat(parts, 1)))


class InceptionTime(nn.Module):
    """Six modules, with a shortcut around each three (Ismail Fawaz et al., 2020)."""

    def __init__(self, channels: int = 12, classes: int = 5, width: int = 128) -> None:
        super().__init__()
        inner = (channels, *[width] * 5)
        self.modules_ = nn.ModuleList(map(Inception, inner))
        self.shortcuts = nn.ModuleList(
            nn.Sequential(nn.Conv1d(each, width, 1, bias=False), nn.BatchNorm1d(width)) for each in (channels, width)
        )
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, L] -> logits [N, classes]."""
        before = x
        for i, module in enumerate(self.modules_):
            x = module(x)
            if i % 3 == 2:
                x = torch.relu(x + self.shortcuts[i // 3](before))
                before = x
        logits: Tensor = self.head(x.mean(2))
        return logits


class Residual(nn.Module):
    """One block of the network for electrocardiograms: two long kernels, and a pool and a 1x1 kernel around them."""

    def __init__(self, inner: int, outer: int, length: int, step: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv1d(inner, outer, length, padding=length // 2, bias=False), nn.BatchNorm1d(outer)
        )
        self.second = nn.Conv1d(outer, outer, length, step, padding=length // 2, bias=False)
        self.skip = nn.Sequential(nn.MaxPool1d(step, step), nn.Conv1d(inner, outer, 1, bias=False))
        self.after = nn.BatchNorm1d(outer)

    def forward(self, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """What goes on, and what goes around the next block: the sum before its norm."""
        x, around = pair
        total = self.second(torch.relu(self.first(x))) + self.skip(around)
        return torch.relu(self.after(total)), total


class Electrocardiogram(nn.Module):
    """Four residual blocks that each keep a quarter of the samples (Ribeiro et al., 2020)."""

    def __init__(self, leads: int = 12, classes: int = 6, length: int = 17) -> None:
        super().__init__()
        widths = (64, 128, 196, 256, 320)
        self.stem = nn.Sequential(
            nn.Conv1d(leads, widths[0], length, padding=length // 2, bias=False), nn.BatchNorm1d(widths[0]), nn.ReLU()
        )
        pairs = itertools.pairwise(widths)
        self.blocks = nn.ModuleList(Residual(inner, outer, length, 4) for inner, outer in pairs)
        self.head = nn.LazyLinear(classes)

    def forward(self, x: Tensor) -> Tensor:
        """[N, leads, samples] -> logits [N, classes]."""
        x = self.stem(x)
        pair = (x, x)
        for block in self.blocks:
            pair = block(pair)
        logits: Tensor = self.head(pair[0].flatten(1))
        return logits
