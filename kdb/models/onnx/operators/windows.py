"""Windows of convolutions and pools: kernel, strides, dilations, and the padding before and behind each axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from kdb.errors import ModelError
from kdb.models.onnx.graph import Node, bounded


@dataclass(frozen=True)
class Windows:
    """One number an axis of the map in each."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    behind: tuple[int, ...]

    @classmethod
    def of(cls, node: Node, size: Sequence[int], kernel: Sequence[int]) -> Windows:
        """What the node says, for maps of ``size``; ``auto_pad`` is worked out."""
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
        """Elements from a window's first to its last."""
        return [(k - 1) * g + 1 for k, g in zip(self.kernel, self.dilation, strict=True)]

    def output(self, size: Sequence[int], ceil: bool) -> list[int]:
        """How many windows an axis: with ``ceil`` also one that is cut off, unless it starts behind the map."""
        counts = []
        for n, s, span, a, b in zip(size, self.stride, self.spans, self.before, self.behind, strict=True):
            room = n + a + b - span
            count = (-(-room // s) if ceil else room // s) + 1
            counts.append(count - 1 if ceil and (count - 1) * s >= n + a else count)
        return counts

    @property
    def symmetric(self) -> bool:
        """Whether there is as much padding before each axis as behind."""
        return self.before == self.behind and min(self.before, default=0) >= 0

    def padded(self, x: torch.Tensor, value: float) -> torch.Tensor:
        """``x`` with its padding."""
        pairs = list(zip(self.before, self.behind, strict=True))
        return F.pad(x, [n for pair in reversed(pairs) for n in pair], value=value)
