"""Detectors with random weights, whose scores and boxes vary with the image."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmarks.detector_networks import Yolo
from kdb.models.torchvision_compat import import_torchvision


def lively(module: nn.Module, run: nn.Module, size: tuple[int, int]) -> nn.Module:
    """The module, with statistics of images of noise in its batch norms; ``run`` takes images."""
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.train().momentum = None
    coarse = torch.randn(4, 3, 4, 4)
    with torch.no_grad():
        run(nn.functional.interpolate(coarse, size, mode="bilinear") + 0.3 * torch.randn(4, 3, *size))
    return module.eval()


def yolo(seed: int, classes: int = 5, width: int = 8, size: tuple[int, int] = (64, 96)) -> nn.Module:
    """Of three levels; the last convolutions are larger than they begin, so that scores differ between anchors."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = Yolo(classes, width).eval()
        for last in [*(part[-1] for part in module.scores), *(part[-1] for part in module.boxes)]:
            nn.init.normal_(last.weight, std=0.4)
        return lively(module, module, size)


def retinanet(seed: int, classes: int = 4) -> Any:
    """torchvision's, on a ResNet18."""
    import_torchvision()
    from torchvision.models import resnet18
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        backbone = _resnet_fpn_extractor(resnet18(), 5, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256))
        module = RetinaNet(backbone, classes).eval()
        nn.init.normal_(module.head.classification_head.cls_logits.weight, std=0.1)
        nn.init.normal_(module.head.regression_head.bbox_reg.weight, std=0.05)
        return lively(module, backbone, (64, 96))
