"""The paper's Algorithm 1 in plain torch, without kernels of its own: contexts gathered and superimposed by slices.

A position at a time, as the paper's naive incremental inference does.

The plan is the paper's (its boxes, fixed batches, no cut-over); new values of a box are carried, not deltas.
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
from kdb.geometry import Boxes, Size
from kdb.kernels.base import Program
from kdb.operators.combine import Add, Concatenate
from kdb.operators.convolution import Convolution
from kdb.operators.network import Network, Node
from kdb.operators.pointwise import Affine, Dense, Flatten, Pointwise, SelectChannels
from kdb.operators.pooling import AveragePool, GlobalMean, MaxPool

FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "mul": torch.mul,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
}


@dataclass(frozen=True, eq=False)
class Updated:
    """New values [n, C, h, w] of a layer in ``boxes``; outside, its view."""

    boxes: Boxes
    values: Tensor


class Algorithm1:
    """A traced network's views of one image, and the logits of occluded ones."""

    def __init__(self, engine: Engine, network: Network, image: Tensor, device: str) -> None:
        """``image`` is [C, H, W], as the network takes it; the engine's preset is to be the paper's."""
        self._engine, self._network, self._device = engine, network, torch.device(device)
        self._weights: dict[str, Tensor] = {}
        self._image = image.to(self._device)

    def __call__(self, fill: Tensor, patch: tuple[int, int], positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits [n, K] on the host, with ``fill`` [C] laid on; the views are computed anew."""
        logical = self._engine.plan(self._network, positions, Size(*patch)).physical.logical
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
        """What all outputs read, as windows without padding take it."""
        operator = node.operator
        assert isinstance(operator, Convolution | MaxPool | AveragePool), "only those read windows"
        frames = Boxes.whole(1, node.shape.size).read_in(*operator.sliding.windows(operator.padding))
        top, left = -int(frames.origins[0, 0]), -int(frames.origins[0, 1])
        bottom, right = frames.extent.height - top - x.shape[2], frames.extent.width - left - x.shape[3]
        return F.pad(x, (left, right, top, bottom), value=_outside(node))

    def _layer(
        self, network: Network, node: Node, boxes: Boxes, updated: Mapping[str, Updated], views: Mapping[str, Tensor]
    ) -> Tensor:
        """Read in, superimpose, apply: for each input in the frame that the operator reads of it."""
        operator, inputs = node.operator, []
        for name in node.inputs:
            if isinstance(operator, Convolution | MaxPool | AveragePool):
                frames = boxes.read_in(*operator.sliding.windows(operator.padding))
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
            shape = network.input_shapes(node)[0]._replace(channels=1)
            counts = torch.from_numpy(operator.divisors(shape).array[..., 0]).to(self._device)
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
    """What a window reads off the map."""
    return -torch.inf if isinstance(node.operator, MaxPool) else 0.0


def _context(view: Tensor, update: Updated | None, frames: Boxes, outside: float) -> Tensor:
    """The view [C, H, W] in each frame with the update laid on it, a position at a time: [n, C, h, w]."""
    (height, width), limits = frames.extent, view.shape[1:]
    contexts = view.new_full((len(frames), len(view), height, width), outside)
    for i, (top, left) in enumerate(frames.origins.tolist()):
        y, x = _meeting(top, height, 0, limits[0]), _meeting(left, width, 0, limits[1])
        contexts[i, :, y.start - top : y.stop - top, x.start - left : x.stop - left] = view[:, y, x]
        if update is not None:
            own_y, own_x = update.boxes.origins[i].tolist()
            y = _meeting(top, height, own_y, update.boxes.extent.height)
            x = _meeting(left, width, own_x, update.boxes.extent.width)
            if y.stop > y.start and x.stop > x.start:
                part = update.values[i, :, y.start - own_y : y.stop - own_y, x.start - own_x : x.stop - own_x]
                contexts[i, :, y.start - top : y.stop - top, x.start - left : x.stop - left] = part
    return contexts


def _meeting(first: int, length: int, other: int, other_length: int) -> slice:
    """The cells of an axis that two intervals share."""
    start = max(first, other)
    return slice(start, max(min(first + length, other + other_length), start))
