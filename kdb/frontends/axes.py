"""Which axis is which: tensors of a trace described as dimensions made of atoms, so that layout changes vanish.

A network's maps are [n, y, x, channels].  A traced tensor may be any view of one: permuted, with channels split into
groups, merged into a vector.  Each dimension is a tuple of *atoms* (batch, y, x, or a factor of the channels); a
dimension of length one has none.  Permuting, splitting and merging only rearrange atoms; a node is emitted when an
operator needs an order that the memory does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt


class Unsupported(Exception):
    """A layer outside the vocabulary; the message names it."""


@dataclass(frozen=True, eq=False)
class Atom:
    """An indivisible axis: ``role`` is n, y, x or c."""

    role: str
    length: int


Dim = tuple[Atom, ...]

BATCH = Atom("n", 2)
"""The batch axis; its length is that of the example that models are traced with."""


def length(dim: Dim) -> int:
    """Number of elements along a dimension."""
    return int(np.prod([atom.length for atom in dim], dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Traced:
    """A tensor of the trace: a view of node ``name``'s map.

    ``channels`` are the map's channel factors in memory order, ``y`` and ``x`` its axes (None of length one), ``dims``
    the tensor's dimensions over the same atoms.
    """

    name: str
    channels: Dim
    y: Atom | None
    x: Atom | None
    dims: tuple[Dim, ...]

    @classmethod
    def map(cls, name: str, channels: int, height: int, width: int) -> Traced:
        """A plain [N, C, H, W] tensor."""
        c: Dim = (Atom("c", channels),) if channels > 1 else ()
        y, x = (Atom(role, n) if n > 1 else None for role, n in (("y", height), ("x", width)))
        return cls(name, c, y, x, ((BATCH,), c, _dim(y), _dim(x)))

    @property
    def roles(self) -> tuple[str, ...]:
        """One of n, c, y, x or - (length one) a dimension; Unsupported where a dimension is anything else."""
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
        """The same map seen otherwise."""
        return replace(self, dims=tuple(dims))

    def viewed(self, shape: Sequence[int]) -> Traced:
        """The tensor reshaped to ``shape``; splits channel factors where it must."""
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
        """For each index along ``dim`` (channel atoms only) and each combination of the others, the channel in memory.

        int64 [length(dim), others].
        """
        if any(atom not in self.channels for atom in dim):
            raise Unsupported("an operation along the batch or the map's axes")
        index = np.arange(length(self.channels)).reshape([atom.length for atom in self.channels])
        rest = [atom for atom in self.channels if atom not in dim]
        order = [self.channels.index(atom) for atom in (*dim, *rest)]
        return index.transpose(order).reshape(length(dim), -1)


def _dim(atom: Atom | None) -> Dim:
    return () if atom is None else (atom,)
