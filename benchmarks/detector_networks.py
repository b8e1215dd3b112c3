"""A one-stage detector as YOLOv8 is built: a backbone, a pyramid up and down, and a head at three levels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BINS = 16
"""Of the distribution that gives each distance from a cell to a side of its box."""


def _conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs, eps=1e-3), nn.SiLU())


class _Bottleneck(nn.Module):
    def __init__(self, width: int, residual: bool) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(_conv(width, width, 3), _conv(width, width, 3))
        self._residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convolutions(x)
        return x + y if self._residual else y


class _Stage(nn.Module):
    """Half of the channels through so many bottlenecks; what each of them gives is kept (C2f)."""

    def __init__(self, inputs: int, outputs: int, count: int, residual: bool = False) -> None:
        super().__init__()
        half = outputs // 2
        self.first, self.last = _conv(inputs, outputs), _conv((2 + count) * half, outputs)
        self.parts = nn.ModuleList(_Bottleneck(half, residual) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        kept = list(self.first(x).chunk(2, 1))
        for part in self.parts:
            kept.append(part(kept[-1]))
        joined: Tensor = self.last(torch.cat(kept, 1))
        return joined


class _Pyramid(nn.Module):
    """Maxima over three sizes of window, by one pool three times (SPPF)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last, self.pool = _conv(width, width // 2), _conv(2 * width, width), nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        kept = [self.first(x)]
        for _ in range(3):
            kept.append(self.pool(kept[-1]))
        joined: Tensor = self.last(torch.cat(kept, 1))
        return joined


class Yolo(nn.Module):
    """[N, 3, H, W] -> [N, 4 + classes, A]: box (x, y, width, height) in cells of the input and score of each class.

    The A anchors are the cells at strides 8, 16 and 32.  The n of YOLOv8 has a ``width`` of 16 and one repetition.
    """

    def __init__(self, classes: int = 80, width: int = 16, repeats: int = 1) -> None:
        super().__init__()
        w = [width * 2**level for level in range(5)]
        self.stem = _conv(3, w[0], 3, 2)
        counts = (repeats, 2 * repeats, 2 * repeats, repeats)
        self.down = nn.ModuleList(
            nn.Sequential(_conv(inputs, outputs, 3, 2), _Stage(outputs, outputs, count, True))
            for inputs, outputs, count in zip(w, w[1:], counts, strict=False)
        )
        self.pyramid, self.up = _Pyramid(w[4]), nn.Upsample(scale_factor=2)
        self.join = nn.ModuleList(
            [
                _Stage(w[4] + w[3], w[3], repeats),
                _Stage(w[3] + w[2], w[2], repeats),
                _Stage(w[2] + w[3], w[3], repeats),
                _Stage(w[3] + w[4], w[4], repeats),
            ]
        )
        self.coarser = nn.ModuleList([_conv(w[2], w[2], 3, 2), _conv(w[3], w[3], 3, 2)])
        inner, scored = max(16, w[2] // 4, 4 * BINS), max(w[2], min(classes, 100))
        self.boxes = nn.ModuleList(
            nn.Sequential(_conv(c, inner, 3), _conv(inner, inner, 3), nn.Conv2d(inner, 4 * BINS, 1)) for c in w[2:]
        )
        self.scores = nn.ModuleList(
            nn.Sequential(_conv(c, scored, 3), _conv(scored, scored, 3), nn.Conv2d(scored, classes, 1)) for c in w[2:]
        )
        self._classes = classes

    def forward(self, x: Tensor) -> Tensor:
        """Boxes and scores together, as exports have them."""
        maps, x = [], self.stem(x)
        for stage in self.down:
            x = stage(x)
            maps.append(x)
        _, fine, middle, coarse = maps
        coarse = self.pyramid(coarse)
        middle = self.join[0](torch.cat([self.up(coarse), middle], 1))
        fine = self.join[1](torch.cat([self.up(middle), fine], 1))
        middle = self.join[2](torch.cat([self.coarser[0](fine), middle], 1))
        coarse = self.join[3](torch.cat([self.coarser[1](middle), coarse], 1))
        levels = [fine, middle, coarse]
        found = [torch.cat([b(m), s(m)], 1) for b, s, m in zip(self.boxes, self.scores, levels, strict=True)]
        joined = torch.cat([each.view(each.shape[0], 4 * BINS + self._classes, -1) for each in found], 2)
        distances, scores = joined[:, : 4 * BINS], joined[:, 4 * BINS :]
        return torch.cat([self._boxes(distances, levels), scores.sigmoid()], 1)

    @staticmethod
    def _boxes(distances: Tensor, levels: list[Tensor]) -> Tensor:
        """From distributions of the distances to the sides [N, 4 BINS, A] to boxes [N, 4, A]."""
        n, _, anchors = distances.shape
        bins = torch.arange(BINS, dtype=distances.dtype)
        sides = (distances.view(n, 4, BINS, anchors).softmax(2) * bins[:, None]).sum(2)
        centres, strides = [], []
        for level, stride in zip(levels, (8, 16, 32), strict=True):
            rows, columns = (torch.arange(length, dtype=distances.dtype) + 0.5 for length in level.shape[2:])
            y, x = torch.meshgrid(rows, columns, indexing="ij")
            centres.append(torch.stack([x.reshape(-1), y.reshape(-1)]))
            strides.append(torch.full((1, rows.numel() * columns.numel()), float(stride), dtype=distances.dtype))
        centre, stride_of = torch.cat(centres, 1), torch.cat(strides, 1)
        low, high = centre - sides[:, :2], centre + sides[:, 2:]
        return torch.cat([(low + high) / 2, high - low], 1) * stride_of
