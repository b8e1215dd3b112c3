"""Detectors: models that give boxes with a score for each class, and what of that is a dense output.

Every head ends as a module with the output [N, 4 + K, A] of YOLO's exports: for each of A anchors a box (x, y, width,
height), its centre first, in cells of the input, and K scores.  The scores are a map of A cells; the boxes are read on
the unmodified image alone, where the suppression of boxes that overlap decides which anchor is the k-th.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from kdb.errors import BindError, ModelError
from kdb.frontends.check import outputs as told

IOU = 0.7
"""Of two boxes of a class that overlap more, the one with the lower score is suppressed, by default."""
BOX = 4
"""The numbers of a box."""


@dataclass(frozen=True, eq=False)
class Detections:
    """The boxes of an image that are left after suppression, by descending score.

    ``boxes`` float32 [n, 4] are (y, x, height, width) in cells of the model's input, with the first cell's corner at 0;
    ``scores`` float32 [n], ``classes`` int64 [n] and ``anchors`` int64 [n] are of each.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]
    anchors: npt.NDArray[np.int64]
    chosen: int = 0
    """The number, from 0, of the one that is explained."""

    def first(self, count: int, chosen: int) -> Detections:
        """The first ``count``, of which one is chosen."""
        return Detections(self.boxes[:count], self.scores[:count], self.classes[:count], self.anchors[:count], chosen)

    def __len__(self) -> int:
        return len(self.scores)


def detections(outputs: npt.NDArray[Any], iou: float) -> Detections:
    """Of ``outputs`` [4 + K, A]: each anchor has the class of its largest score, and suppression is class by class.

    Of equal scores the first anchor's is kept.
    """
    scores = outputs[BOX:]
    classes = scores.argmax(axis=0)
    best = scores[classes, np.arange(scores.shape[1])]
    x, y, width, height = outputs[:BOX]
    corners = np.stack([y - height / 2, x - width / 2, y + height / 2, x + width / 2], axis=1)
    order = np.argsort(-best, kind="stable")
    kept: list[int] = []
    while len(order):
        first, order = int(order[0]), order[1:]
        kept.append(first)
        same = classes[order] == classes[first]
        order = order[~(same & (_overlaps(corners[first], corners[order]) > iou))]
    found = np.array(kept, np.int64)
    boxes = np.concatenate([corners[found, :2], corners[found, 2:] - corners[found, :2]], axis=1)
    return Detections(boxes.astype(np.float32), best[found].astype(np.float32), classes[found].astype(np.int64), found)


def _overlaps(box: npt.NDArray[Any], others: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[n]: the common area of a box and each of the ``others`` [n, 4], corners, over the area of both."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod() - common
    return np.asarray(common / np.where(areas > 0, areas, 1))


class ClassScores(nn.Module):
    """The scores of a ``detector`` as a dense output [N, K, A, 1]."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, x: Tensor) -> Tensor:
        """The scores for x, float32 [N, C, H, W]; raises ModelError for an output that is not [N, 4 + K, A]."""
        given: Any = self.detector(x)
        if not isinstance(given, Tensor) or given.ndim != 3 or given.shape[1] <= BOX or given.shape[2] < 2:
            tensor = isinstance(given, Tensor)
            shape = f"it is {list(given.shape)}" if tensor else f"{told(given)}: name the one that is meant by output"
            raise ModelError(
                f"the output of a detector is [N, 4 + K, A], boxes and K scores at A anchors, at least two; {shape}"
            )
        if given.shape[1] > given.shape[2]:
            raise ModelError(
                f"the output of a detector is [N, 4 + K, A], and {list(given.shape)} has fewer anchors than rows: "
                "it looks transposed; give x.transpose(1, 2)"
            )
        return given[:, BOX:].unsqueeze(-1)


class RetinaNet(nn.Module):
    """torchvision's RetinaNet with the output [N, 4 + K, A]: its boxes by their anchors, its scores after the sigmoid.

    Its own forward scales images and suppresses boxes, which depends on the values that it finds.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """Boxes and scores for normalised images x, float32 [N, 3, H, W]."""
        module: Any = self.module
        levels = list(module.backbone(x).values())
        scored, boxed = module.head.classification_head, module.head.regression_head
        scores = [_by_anchor(scored.cls_logits(scored.conv(each)), scored.num_classes) for each in levels]
        moves = torch.cat([_by_anchor(boxed.bbox_reg(boxed.conv(each)), BOX) for each in levels], 2)
        anchors = _of_levels(module.anchor_generator, x, levels)
        low, size = anchors[:2], anchors[2:] - anchors[:2]
        weights = torch.tensor(module.box_coder.weights, dtype=x.dtype)[:, None]
        dx, dy, dw, dh = (moves / weights).unbind(1)
        most = module.box_coder.bbox_xform_clip
        centre = torch.stack([dx, dy], 1) * size + low + size / 2
        extent = torch.stack([dw, dh], 1).clamp(max=most).exp() * size
        return torch.cat([centre, extent, torch.cat(scores, 2).sigmoid()], 1)


def _by_anchor(x: Tensor, numbers: int) -> Tensor:
    """[N, anchors a cell * numbers, h, w] -> [N, numbers, anchors], those of one shape together."""
    return torch.cat([each.flatten(2) for each in torch.split(x, numbers, 1)], 2)


def _of_levels(generator: Any, x: Tensor, levels: list[Tensor]) -> Tensor:
    """[4, anchors]: corners (x, y, x, y) of all levels' anchors, in the order of :func:`_by_anchor`."""
    sizes = [level.shape[-2:] for level in levels]
    strides = [[torch.tensor(side // own) for side, own in zip(x.shape[-2:], size, strict=True)] for size in sizes]
    generator.set_cell_anchors(x.dtype, x.device)
    by_level = zip(generator.grid_anchors(sizes, strides), generator.num_anchors_per_location(), strict=True)
    return torch.cat([each.view(-1, n, BOX).transpose(0, 1).reshape(-1, BOX) for each, n in by_level]).T


PROPOSED = (
    "a detector of two stages scores the boxes that its first stage proposes, which depend on each occluded image; "
    "of one stage, head = 'yolo' or 'retinanet' has scores at anchors that are fixed"
)


def refused(module: nn.Module) -> str:
    """Why a module that proposes boxes cannot be explained; empty for others."""
    return PROPOSED if hasattr(module, "rpn") and hasattr(module, "roi_heads") else ""


_PARTS = (
    *("backbone", "anchor_generator.cell_anchors", "box_coder.weights"),
    *("head.classification_head.cls_logits", "head.regression_head.bbox_reg"),
)
"""What RetinaNet has; SSD and FCOS, which are built likewise, lack one or another."""


def _has(module: nn.Module, path: str) -> bool:
    try:
        attrgetter(path)(module)
    except AttributeError:
        return False
    return True


def _retinanet(module: nn.Module) -> nn.Module:
    if why := refused(module):
        raise BindError(f"head = 'retinanet' is not for {type(module).__name__}: {why}")
    if not all(_has(module, path) for path in _PARTS):
        raise BindError(f"head = 'retinanet' is of torchvision's RetinaNet, not of {type(module).__name__}")
    return RetinaNet(module)


HEADS: Mapping[str, Callable[[nn.Module], nn.Module]] = {"yolo": lambda module: module, "retinanet": _retinanet}
"""By the option ``head``: from a module to one with the output [N, 4 + K, A]; raises BindError for one of another kind.
"""
