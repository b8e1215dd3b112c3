"""Windows of convolutions and pooling: kernel, strides, dilations, and the padding before and after each axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from kdb.errors import ModelError
from kdb.models.onnx.graph import Node, bounded


@dataclass(frozen=True)
class Windows:
    """Each field has one number per axis of the map."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    behind: tuple[int, ...]

    @classmethod
    def of(cls, node: Node, size: Sequence[int], kernel: Sequence[int]) -> Windows:
        """The windows of a node for maps of ``size``, with ``auto_pad`` resolved into padding."""
        rank = len(size)
        stride, dilation = (tuple(node.get(name, (1,) * rank)) for name in ("strides", "dilations"))
        pads = tuple(node.get("pads", (0,) * (2 * rank)))
        if not len(kernel) == len(stride) == len(dilation) == rank or len(pads) != 2 * rank:
            raise ModelError(f"{node} has attributes for another number of axes than {rank}")
        if min((*kernel, *stride, *dilation)) < 1:
            raise ModelError(f"{node} has a kernel, a stride or a dilation below 1")
        auto = node.get("auto_pad", "NOTSET")
        if auto == "VALID":
            pads = (0,) * (2 * rank)
        elif auto in ("SAME_UPPER", "SAME_LOWER"):
            spans = [(k - 1) * g + 1 for k, g in zip(kernel, dilation, strict=True)]
            totals = [max((-(-n // s) - 1) * s + span - n, 0) for n, s, span in zip(size, stride, spans, strict=True)]
            less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
            pads = (*less, *more) if auto == "SAME_UPPER" else (*more, *less)
        before, behind = pads[:rank], pads[rank:]
        bounded([n + a + b for n, a, b in zip(size, before, behind, strict=True)], node)
        return cls(tuple(kernel), stride, dilation, before, behind)

    @property
    def spans(self) -> list[int]:
        """The length of a dilated window along each axis."""
        return [(k - 1) * g + 1 for k, g in zip(self.kernel, self.dilation, strict=True)]

    def output(self, size: Sequence[int], ceil: bool) -> list[int]:
        """The number of windows along each axis; with ``ceil`` a last, partial one counts if it starts within the
        map.
        """
        counts = []
        for n, s, span, a, b in zip(size, self.stride, self.spans, self.before, self.behind, strict=True):
            room = n + a + b - span
            count = (-(-room // s) if ceil else room // s) + 1
            counts.append(count - 1 if ceil and (count - 1) * s >= n + a else count)
        return counts

    @property
    def symmetric(self) -> bool:
        """Whether the padding before and after each axis is the same, and not negative."""
        return self.before == self.behind and min(self.before, default=0) >= 0

    def padded(self, x: torch.Tensor, value: float) -> torch.Tensor:
        """``x`` padded with ``value``."""
        pairs = list(zip(self.before, self.behind, strict=True))
        return F.pad(x, [n for pair in reversed(pairs) for n in pair], value=value)
