"""Tracks the axes of traced tensors, so that permutations and reshapes need no layers.

A network's maps are [n, y, x, channels], or of one axis or three.  A traced tensor may be any view of one: permuted,
with its channels split into groups, or flattened.  Each dimension is a tuple of *atoms* (batch, an axis of the map, or
a factor of the channels); a dimension of length one has none.  Permuting, splitting and merging only rearrange atoms; a
layer that reorders memory is emitted only where an operator needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kdb.geometry import AXES


class Unsupported(Exception):
    """Raised for a node outside the vocabulary; the message says what is not supported."""


@dataclass(frozen=True, eq=False)
class Atom:
    """An axis, or a factor of the channels: ``role`` is n, c, or of the map's axes the name, as in AXES."""

    role: str
    length: int


Dim = tuple[Atom, ...]

BATCH = Atom("n", 2)
"""The batch axis; its length is that of the example images that models are traced with."""


def length(dim: Dim) -> int:
    """Number of elements along a dimension."""
    return int(np.prod([atom.length for atom in dim], dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Traced:
    """A tensor of the trace, as a view of the map of layer ``name``.

    ``channels`` are the factors of the map's channels in memory order, ``axes`` its other axes (None if of length
    one); ``dims`` are the tensor's dimensions in terms of the same atoms.
    """

    name: str
    channels: Dim
    axes: tuple[Atom | None, ...]
    dims: tuple[Dim, ...]

    @classmethod
    def map(cls, name: str, channels: int, size: Sequence[int]) -> Traced:
        """The map of layer ``name`` as a tensor [N, C, H, W], or with as many axes as ``size`` has."""
        c: Dim = (Atom("c", channels),) if channels > 1 else ()
        axes = tuple(Atom(role, n) if n > 1 else None for role, n in zip(AXES[len(size)], size, strict=True))
        return cls(name, c, axes, ((BATCH,), c, *map(_dim, axes)))

    @property
    def usual(self) -> tuple[str, ...]:
        """The roles of the dimensions in PyTorch's usual layout: n, c, y, x."""
        return "n", "c", *AXES[len(self.axes)]

    @property
    def spatial(self) -> Dim:
        """The map's axes longer than one."""
        return tuple(axis for axis in self.axes if axis is not None)

    def vector(self, name: str) -> Traced:
        """The tensor as a view of the layer ``name``, which has one cell."""
        return replace(self, name=name, axes=(None,) * len(self.axes))

    @property
    def roles(self) -> tuple[str, ...]:
        """For each dimension its role, or - if it has length one; raises Unsupported if a dimension mixes axes."""
        roles = []
        for dim in self.dims:
            if dim == self.channels and dim:
                roles.append("c")
            elif len(dim) <= 1 and all(atom.role != "c" for atom in dim):
                roles.append(dim[0].role if dim else "-")
            else:
                raise Unsupported("a layout that mixes axes")
        return tuple(roles)

    def with_dims(self, dims: Sequence[Dim]) -> Traced:
        """A view of the same map with other dimensions."""
        return replace(self, dims=tuple(dims))

    def viewed(self, shape: Sequence[int]) -> Traced:
        """The tensor reshaped to ``shape``; factors of the channels are split where necessary.

        Raises Unsupported if the reshape would split the batch or an axis of the map.
        """
        pending = [atom for dim in self.dims for atom in dim]
        channels = list(self.channels)
        dims: list[Dim] = []
        for size in shape:
            dim: list[Atom] = []
            missing = size
            while missing > 1:
                if not pending:
                    raise Unsupported("a reshape that does not fit")
                atom = pending.pop(0)
                if missing % atom.length:
                    # Part of this atom belongs to the dimension after: split it, most significant factor first.
                    if atom.role != "c" or atom.length % missing:
                        raise Unsupported("a reshape that cuts an axis of the map")
                    outer, inner = Atom("c", missing), Atom("c", atom.length // missing)
                    i = channels.index(atom)
                    channels[i : i + 1] = [outer, inner]
                    pending.insert(0, inner)
                    atom = outer
                dim.append(atom)
                missing //= atom.length
            dims.append(tuple(dim))
        if pending:
            raise Unsupported("a reshape that does not fit")
        return replace(self, channels=tuple(channels), dims=tuple(dims))

    def channel_index(self, dim: Dim) -> npt.NDArray[np.int64]:
        """int64 [length(dim), others]: the channel in memory for each index along ``dim`` and each combination of the
        other factors of the channels.  Raises Unsupported if ``dim`` has an atom that is no factor of the channels.
        """
        if any(atom not in self.channels for atom in dim):
            raise Unsupported("an operation along the batch or the map's axes")
        index = np.arange(length(self.channels)).reshape([atom.length for atom in self.channels])
        rest = [atom for atom in self.channels if atom not in dim]
        order = [self.channels.index(atom) for atom in (*dim, *rest)]
        return index.transpose(order).reshape(length(dim), -1)


def _dim(atom: Atom | None) -> Dim:
    return () if atom is None else (atom,)
