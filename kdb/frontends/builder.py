"""Collects the layers and weights of a network while a model is translated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from kdb.errors import ModelError
from kdb.frontends.axes import Atom, Dim, Traced, Unsupported, length
from kdb.geometry import AXES, IntArray, Part
from kdb.kernels.base import Instruction, Operand, Origin
from kdb.operators.base import Operator, Shape
from kdb.operators.combine import Concatenate
from kdb.operators.dense import Flatten
from kdb.operators.indexing import SelectCells
from kdb.operators.network import Network, ParameterStore
from kdb.operators.pointwise import Pointwise, SelectChannels
from kdb.operators.sequences import Ravel
from kdb.operators.sources import Constant, Source

MOST_FOLDED = 16
"""Most cells folded into the channels of one; more, as the windows of an attention layer, would gain nothing."""


class Builder:
    """The layers so far; ``layer`` is the path of the module whose nodes are being translated."""

    def __init__(self, shape: Shape) -> None:
        self.layer = ""
        self._layers: list[tuple[str, Operator, tuple[str, ...]]] = [("image", Source(shape), ())]
        self._shapes: dict[str, Shape] = {"image": shape}
        self._weights: dict[str, Origin] = {}
        self.image = Traced.map("image", *shape)

    def emit(self, operator: Operator, *inputs: str) -> str:
        """Append a layer and return its name: the module's path or else the operator's name, numbered if taken.

        Raises Unsupported for inputs of shapes that the operator does not take.
        """
        try:
            shape = operator.output_shape([self._shapes[name] for name in inputs])
        except ValueError as error:
            raise Unsupported(str(error)) from error
        base = self.layer or operator.label
        name, n = base, 2
        while name in self._shapes:
            name, n = f"{base}#{n}", n + 1
        self._layers.append((name, operator, inputs))
        self._shapes[name] = shape
        return name

    def shape(self, name: str) -> Shape:
        """The output shape of layer ``name``."""
        return self._shapes[name]

    def map(self, operator: Operator, *inputs: str) -> Traced:
        """Append a layer and return its output in PyTorch's usual layout, [N, C, H, W]."""
        name = self.emit(operator, *inputs)
        return Traced.map(name, *self._shapes[name])

    def like(self, operator: Operator, value: Traced, *inputs: str) -> Traced:
        """Append a layer whose output has the shape and the dimensions of ``value``."""
        return replace(value, name=self.emit(operator, *inputs))

    def pointwise(self, function: str, value: Traced, *operands: float | str) -> Traced:
        """Append the pointwise ``function(value, *operands)``; an operand is a number or the name of a parameter."""
        numbers: list[Operand] = [o if isinstance(o, str) else float(o) for o in operands]
        return self.like(Pointwise((Instruction(function, (0, *numbers)),)), value, value.name)

    def weight(self, tensor: torch.Tensor, what: str, columns: IntArray | None = None) -> str:
        """Add a parameter, as float32 and without a copy if possible, and return its name: the layer's and ``what``.

        ``columns`` reorders the columns of a matrix, which is done when the parameter is first read.
        """
        array = np.ascontiguousarray(tensor.detach().to(torch.float32).numpy())
        base = f"{self.layer}.{what}" if self.layer else what
        name, n = base, 2
        while name in self._weights:
            name, n = f"{base}#{n}", n + 1
        moved = columns is not None and not np.array_equal(columns, np.arange(len(columns)))
        self._weights[name] = partial(np.take, array, columns, axis=1) if moved else array
        return name

    def constant(self, tensor: torch.Tensor, shape: Shape) -> str:
        """Append a layer with the constant value ``tensor`` [H, W, C], and return its name."""
        return self.emit(Constant(self.weight(tensor, "value"), shape))

    def aligned(self, value: Traced) -> Traced:
        """``value`` with all channels in one dimension, in memory order; a permutation is emitted if necessary.

        Raises Unsupported if the channels are in several dimensions.
        """
        holding = [dim for dim in value.dims if any(atom.role == "c" for atom in dim)]
        if not value.channels or (len(holding) == 1 and holding[0] == value.channels):
            return value
        if len(holding) != 1 or set(holding[0]) != set(value.channels):
            raise Unsupported("channels spread over several dimensions")
        order = value.channel_index(holding[0]).reshape(-1)
        name = self.emit(SelectChannels(tuple(int(i) for i in order)), value.name)
        return replace(value, name=name, channels=holding[0])

    def merged(self, value: Traced) -> Traced:
        """``value`` aligned, its channels a single factor, so that another reshape can split them in another way."""
        value = self.aligned(value)
        whole: Dim = (Atom("c", length(value.channels)),) if value.channels else ()
        dims = tuple(whole if dim and dim == value.channels else dim for dim in value.dims)
        return replace(value, channels=whole, dims=dims)

    def folded(self, value: Traced, shape: Sequence[int]) -> Traced:
        """``value`` after space-to-depth, so that a reshape to ``shape`` which splits an axis becomes possible.

        Of an axis [length] = [outer, inner] the inner part becomes a factor of the channels.
        """
        cuts, size = _cuts(value, shape), self.shape(value.name).size
        factors = [1 if axis is None else cuts.get(axis, 1) for axis in value.axes]
        if not 1 < math.prod(factors) <= MOST_FOLDED:
            raise Unsupported("a reshape that cuts an axis of the map, as into windows")
        parts = []
        for first in np.ndindex(*factors):
            cells = tuple(tuple(range(*each)) for each in zip(first, size, factors, strict=True))
            parts.append(self.emit(SelectCells(cells), value.name))
        inner = {axis: Atom("c", count) for axis, count in cuts.items()}
        outer = {axis: Atom(axis.role, axis.length // n) if axis.length > n else None for axis, n in cuts.items()}
        axes = tuple(outer.get(axis, axis) if axis else None for axis in value.axes)
        split = {axis: tuple(part for part in (outer[axis], inner[axis]) if part) for axis in cuts}
        dims = tuple(tuple(part for atom in dim for part in split.get(atom, (atom,))) for dim in value.dims)
        channels = (*(inner[axis] for axis in value.spatial if axis in inner), *value.channels)
        return Traced(self.emit(Concatenate(), *parts), channels, axes, dims)

    def usual(self, value: Traced) -> Traced:
        """``value`` aligned, if it is in PyTorch's usual layout, [N, C, H, W]; raises Unsupported otherwise."""
        value = self.aligned(value)
        for role, expected in zip(value.roles, value.usual, strict=False):
            if role not in (expected, "-"):
                raise Unsupported("an unusual layout")
        if len(value.dims) != len(value.usual):
            raise Unsupported(f"a tensor of {len(value.dims)} dimensions")
        return value

    def flattened(self, value: Traced, dim: int) -> Traced:
        """``value`` with a Flatten emitted, if its dimension ``dim`` merges the axes of the map and the channels."""
        atoms = value.dims[dim]
        if all(atom.role == "c" for atom in atoms):
            return value
        if {*atoms} != {*value.spatial, *value.channels}:
            raise Unsupported("a reshape that merges some of the axes")
        renamed = {atom: Atom("c", atom.length) for atom in value.spatial}
        channels: Dim = (*renamed.values(), *value.channels)
        dims = list(value.dims)
        dims[dim] = tuple(renamed.get(atom, atom) for atom in atoms)
        return replace(value.vector(self.emit(Flatten(), value.name)), channels=channels, dims=tuple(dims))

    def raveled(self, value: Traced, dim: int) -> Traced:
        """``value`` with its cells, which are its dimension ``dim``, along the map's first axis, by a Ravel if need be.

        Raises Unsupported for a dimension of other things.
        """
        cells = value.dims[dim]
        if cells != value.spatial:
            raise Unsupported("a reshape that merges some of the axes")
        if all(axis is None for axis in value.axes[1:]):
            return value
        size = self.shape(value.name).size
        row = Part.whole((math.prod(size), *(1 for _ in size[1:])))
        axis = Atom(AXES[len(size)][0], math.prod(size))
        made = replace(value, name=self.emit(Ravel(row), value.name), axes=(axis, *(None for _ in size[1:])))
        return made.with_dims([(axis,) if place == dim else own for place, own in enumerate(value.dims)])

    def finish(self, value: Traced | str) -> None:
        """Make ``value`` the output: [n, 1, 1, K] of logits [N, K], or the map of a dense output [N, K, H, W].

        Raises ModelError if it is neither.
        """
        if isinstance(value, Traced):
            try:
                if len(value.dims) == len(value.usual) and any(value.dims[2:]):
                    value = self.raveled(value, 2) if len(value.dims[2]) > 1 else value
                    name = self.usual(value).name
                    self._layers.sort(key=lambda layer: layer[0] == name)
                    return
                if len(value.dims) != 2:
                    value = value.viewed([2, int(np.prod([a.length for d in value.dims for a in d])) // 2])
                name = self.aligned(self.flattened(value, 1)).name
            except Unsupported as error:
                raise ModelError(f"the model must return logits [N, K]; its output has {error}") from error
        else:
            name = value
        # The output must be the last layer, even if others were emitted after it.
        self._layers.sort(key=lambda layer: layer[0] == name)

    def network(self) -> Network:
        """A network of the layers so far."""
        return Network.build(self._layers, ParameterStore().extended(self._weights))


def _cuts(value: Traced, shape: Sequence[int]) -> dict[Atom, int]:
    """For each axis of the map that a reshape to ``shape`` splits in two, the length of the inner part."""
    pending = [(atom, atom.length) for dim in value.dims for atom in dim]
    cuts: dict[Atom, int] = {}
    for missing in shape:
        while missing > 1 and pending:
            atom, left = pending.pop(0)
            if missing % left:
                if left % missing or atom in cuts or atom.role == "n":
                    raise Unsupported("a reshape that does not fit")
                left //= missing
                if atom.role != "c":
                    cuts[atom] = left
                pending.insert(0, (atom, left))
                break
            missing //= left
    return cuts


def only_tensor(values: Sequence[Any]) -> None:
    """Raise Unsupported unless all values are traced tensors."""
    if not all(isinstance(value, Traced) for value in values):
        raise Unsupported("a constant where the image was expected")
