"""The paper's Algorithm 1 in plain torch: a baseline without custom kernels.

Each layer gathers the context of a box from the view and superimposes the new values on it, by slices, one position at
a time, as the paper's naive incremental inference does.  The plan is the paper's (bounded boxes, fixed batches, no
cut-over); layers hand on new values, not deltas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from kdb.execution.engine import Engine
from kdb.geometry import Boxes
from kdb.kernels.base import Program
from kdb.operators.combine import Add, Concatenate
from kdb.operators.convolution import Convolution
from kdb.operators.dense import Dense, Flatten
from kdb.operators.network import Network, Node
from kdb.operators.pointwise import Affine, Pointwise, SelectChannels
from kdb.operators.pooling import AveragePool, GlobalMean, MaxPool

FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "mul": torch.mul,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
}


@dataclass(frozen=True, eq=False)
class Updated:
    """A layer's new ``values`` float32 [n, C, h, w] in ``boxes``; elsewhere its output equals its view."""

    boxes: Boxes
    values: Tensor


class Algorithm1:
    """Logits of an occluded image by Algorithm 1.

    Raises NotImplementedError for an operator that none of the paper's networks has.
    """

    def __init__(self, engine: Engine, network: Network, image: Tensor, device: str) -> None:
        """``image`` is the normalised input, float32 [C, H, W]; the engine's preset must be ``krypton``."""
        self._engine, self._network, self._device = engine, network, torch.device(device)
        self._weights: dict[str, Tensor] = {}
        self._image = image.to(self._device)

    def __call__(self, fill: Tensor, patch: tuple[int, int], positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits float32 [n, K] of the image with the patch at each position; the views are recomputed each time.

        ``fill`` is the patch's normalised colour [C], ``patch`` (h, w) and ``positions`` int64 [n, 2] are in pixels.
        """
        logical = self._engine.plan(self._network, positions, tuple(patch)).physical.logical
        network, device = logical.network, self._device
        with torch.inference_mode():
            views = self._views(network)
            logits = torch.empty(len(logical.positions), network.output.shape.channels, device=device)
            for members in logical.batches:
                updated: dict[str, Updated] = {}
                for node in network:
                    boxes = logical.geometry.boxes(node, members)
                    if boxes is None:
                        continue
                    if node is network.source:
                        content = fill.to(device)[None, :, None, None].expand(len(boxes), -1, *boxes.extent)
                        updated[node.name] = Updated(boxes, content)
                    else:
                        updated[node.name] = Updated(boxes, self._layer(network, node, boxes, updated, views))
                logits[torch.from_numpy(members).to(device)] = updated[network.output.name].values.flatten(1)
            found: NDArray[np.float32] = logits.cpu().numpy()
        return found if logical.duplicates is None else found[logical.duplicates]

    def _views(self, network: Network) -> dict[str, Tensor]:
        views = {network.source.name: self._image}
        for node in network.nodes[1:]:
            inputs = [views[name][None] for name in node.inputs]
            margins = node.operator.padding if isinstance(node.operator, Convolution | MaxPool | AveragePool) else None
            if margins is not None:
                inputs = [self._padded(node, inputs[0])]
            views[node.name] = self._apply(network, node, inputs, Boxes.whole(1, node.shape.size))[0]
        return views

    @staticmethod
    def _padded(node: Node, x: Tensor) -> Tensor:
        """The input with the operator's padding applied, for windows without padding."""
        operator = node.operator
        assert isinstance(operator, Convolution | MaxPool | AveragePool), "no other operator reads windows"
        frames = Boxes.whole(1, node.shape.size).read_in(operator.sliding.windows(operator.padding))
        top, left = -int(frames.origins[0, 0]), -int(frames.origins[0, 1])
        height, width = frames.extent
        bottom, right = height - top - x.shape[2], width - left - x.shape[3]
        return F.pad(x, (left, right, top, bottom), value=_outside(node))

    def _layer(
        self, network: Network, node: Node, boxes: Boxes, updated: Mapping[str, Updated], views: Mapping[str, Tensor]
    ) -> Tensor:
        """The layer's new values in ``boxes``: of each input the context that they read, superimposed, then applied."""
        operator, inputs = node.operator, []
        for name in node.inputs:
            if isinstance(operator, Convolution | MaxPool | AveragePool):
                frames = boxes.read_in(operator.sliding.windows(operator.padding))
            elif isinstance(operator, GlobalMean | Flatten):
                frames = Boxes.whole(len(boxes), network[name].shape.size)
            else:
                frames = boxes
            inputs.append(_context(views[name], updated.get(name), frames, _outside(node)))
        return self._apply(network, node, inputs, boxes)

    def _weight(self, network: Network, name: str) -> Tensor:
        if name not in self._weights:
            self._weights[name] = torch.from_numpy(network.parameters[name].array.copy()).to(self._device)
        return self._weights[name]

    def _apply(self, network: Network, node: Node, inputs: Sequence[Tensor], boxes: Boxes) -> Tensor:
        operator, x = node.operator, inputs[0]

        def weight(name: str | None) -> Tensor | None:
            return None if name is None else self._weight(network, name)

        if isinstance(operator, Convolution):
            filters, sliding = self._weight(network, operator.weight), operator.sliding
            bias = weight(operator.bias)
            return F.conv2d(x, filters, bias, sliding.stride, 0, sliding.dilation, operator.groups)
        if isinstance(operator, MaxPool):
            return F.max_pool2d(x, operator.kernel, operator.stride, 0, operator.dilation)
        if isinstance(operator, AveragePool):
            sums = F.avg_pool2d(x, operator.kernel, operator.stride, divisor_override=1)
            size = network.input_shapes(node)[0].size
            counts = torch.from_numpy(operator.divisors(size).array[..., 0]).to(self._device)
            return sums / _context(counts[None], None, boxes, 1.0)
        if isinstance(operator, Pointwise):
            return self._program(network, operator.program, x)
        if isinstance(operator, Affine):
            scale, shift = self._weight(network, operator.scale), self._weight(network, operator.shift)
            return x * scale[:, None, None] + shift[:, None, None]
        if isinstance(operator, SelectChannels):
            return x[:, list(operator.order)]
        if isinstance(operator, Add):
            return x + inputs[1]
        if isinstance(operator, Concatenate):
            return torch.cat(list(inputs), 1)
        if isinstance(operator, GlobalMean):
            return x.mean((2, 3), keepdim=True)
        if isinstance(operator, Flatten):
            return x.permute(0, 2, 3, 1).reshape(len(x), -1, 1, 1)
        if isinstance(operator, Dense):
            return F.linear(
                x.permute(0, 2, 3, 1), self._weight(network, operator.weight), weight(operator.bias)
            ).permute(0, 3, 1, 2)
        raise NotImplementedError(f"{operator.label} is in none of the paper's networks")

    def _program(self, network: Network, program: Program, x: Tensor) -> Tensor:
        registers = [x]
        for instruction in program:
            operands = [
                registers[o] if isinstance(o, int) else torch.tensor(o, device=x.device) if isinstance(o, float)
                else self._weight(network, o)[:, None, None]
                for o in instruction.operands
            ]  # fmt: skip
            registers.append(FUNCTIONS[instruction.function](*operands))
        return registers[-1]


def _outside(node: Node) -> float:
    """The value that a window reads outside the map."""
    return -torch.inf if isinstance(node.operator, MaxPool) else 0.0


def _context(view: Tensor, update: Updated | None, frames: Boxes, outside: float) -> Tensor:
    """The view [C, H, W] in each frame, with the update superimposed: [n, C, h, w]; ``outside`` beyond the map."""
    (height, width), limits = frames.extent, view.shape[1:]
    contexts = view.new_full((len(frames), len(view), height, width), outside)
    for i, (top, left) in enumerate(frames.origins.tolist()):
        y, x = _overlap(top, height, 0, limits[0]), _overlap(left, width, 0, limits[1])
        contexts[i, :, y.start - top : y.stop - top, x.start - left : x.stop - left] = view[:, y, x]
        if update is not None:
            own_y, own_x = update.boxes.origins[i].tolist()
            own_height, own_width = update.boxes.extent
            y, x = _overlap(top, height, own_y, own_height), _overlap(left, width, own_x, own_width)
            if y.stop > y.start and x.stop > x.start:
                part = update.values[i, :, y.start - own_y : y.stop - own_y, x.start - own_x : x.stop - own_x]
                contexts[i, :, y.start - top : y.stop - top, x.start - left : x.stop - left] = part
    return contexts


def _overlap(first: int, length: int, other: int, other_length: int) -> slice:
    """The intersection of two intervals of an axis, given by first cell and length."""
    start = max(first, other)
    return slice(start, max(min(first + length, other + other_length), start))
