"""The arguments of captum's callers, checked and brought into one form: windows, baselines, targets, outputs.

Where captum raises AssertionError, IndexError or the like, this raises BindError.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdb.adapters.adapter import Adapter, Call
from kdb.adapters.numbers import is_whole, wholes
from kdb.errors import BindError
from kdb.geometry import IntArray

Index = tuple[int | slice, ...]


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of ``shape`` on an input of ``size``, the batch aside: from the first corner on, a ``stride`` apart.

    Along an axis there are ``ceil((size - shape) / stride) + 1``; what hangs over the far edge is cut off.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    size: tuple[int, ...]

    @cached_property
    def starts(self) -> tuple[IntArray, ...]:
        """Along each axis, where they begin."""
        axes = zip(self.size, self.shape, self.strides, strict=True)
        return tuple(np.arange(-(-(n - w) // s) + 1, dtype=np.int64) * s for n, w, s in axes)

    @property
    def counts(self) -> tuple[int, ...]:
        """Along each axis, how many there are."""
        return tuple(map(len, self.starts))

    def __len__(self) -> int:
        return math.prod(self.counts)

    def place(self, number: int) -> tuple[slice, ...]:
        """What window ``number`` covers; they are counted along the first axis first."""
        found = []
        for starts, length in zip(self.starts, self.shape, strict=True):
            number, i = divmod(number, len(starts))
            found.append(slice(int(starts[i]), int(starts[i]) + length))
        return tuple(found)

    @cached_property
    def covers(self) -> tuple[npt.NDArray[np.bool_], ...]:
        """Along each axis, bool [windows, elements]: which of them cover which."""
        found = []
        for starts, length, n in zip(self.starts, self.shape, self.size, strict=True):
            before = np.arange(n) - starts[:, None]
            found.append((before >= 0) & (before < length))
        return tuple(found)

    def mean(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """``values`` [k, *counts] of the windows -> [k, *size]: at each element, the mean of those that cover it."""
        for covers in self.covers:
            # The axis in front goes, its elements come last: after all of them, the order is the old one.
            values = np.tensordot(values, covers / covers.sum(axis=0), axes=(1, 0))
        return values


def bind_inputs(inputs: Any) -> tuple[Tensor, ...]:
    """One tensor or a tuple of them, as a tuple; the first axis of each is the batch."""
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    for tensor in tensors:
        if not isinstance(tensor, Tensor) or not tensor.ndim:
            what = "a tensor without axes" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise BindError(f"inputs takes a tensor [N, ...], or a tuple of them; got {what}")
    if not tensors or any(len(tensor) != len(tensors[0]) for tensor in tensors):
        raise BindError(f"inputs must have the same batch size; got {[list(tensor.shape) for tensor in tensors]}")
    return tuple(tensor.detach() for tensor in tensors)


def bind_windows(shapes: Any, strides: Any, inputs: Sequence[Tensor]) -> tuple[Windows, ...]:
    """The windows of each input.

    ``shapes`` is a tuple of whole numbers for one input, a tuple of such tuples for several; ``strides`` the same, or
    one number an input for all its axes, or None for 1.  As in captum, a window fits into its input, and a stride is
    at most the window's length unless that is the input's, so that each element is covered.
    """
    several = len(inputs) > 1
    if not several and wholes(shapes) is not None:
        shapes = (shapes,)
    if strides is None:
        strides = (1,) * len(inputs)
    elif not several and not (isinstance(strides, Sequence) and len(strides) == 1):
        strides = (strides,)
    for what, given in (("sliding_window_shapes", shapes), ("strides", strides)):
        if not isinstance(given, Sequence) or len(given) != len(inputs):
            raise BindError(f"{what} = {given!r}: expected one for each of {len(inputs)} inputs")
    return tuple(_windows(*each) for each in zip(shapes, strides, inputs, strict=True))


def _windows(shape: Any, stride: Any, tensor: Tensor) -> Windows:
    size = tuple(tensor.shape[1:])
    lengths = wholes(shape)
    if lengths is None or len(lengths) != len(size):
        raise BindError(
            f"sliding_window_shapes = {shape!r}: expected {len(size)} whole numbers, one for each axis of {list(size)}"
        )
    steps = (stride,) * len(size) if is_whole(stride) else stride
    strides = wholes(steps)
    if strides is None or len(strides) != len(size):
        raise BindError(
            f"strides = {stride!r}: expected one whole number, or {len(size)}, one for each axis of {list(size)}"
        )
    for length, step, n in zip(lengths, strides, size, strict=True):
        if not 1 <= length <= n:
            raise BindError(f"sliding_window_shapes = {lengths}: a window does not fit into an input of {list(size)}")
        if step < 1 or (step > length and length < n):
            raise BindError(f"strides = {strides}: expected 1 to the window's {lengths}, or elements would be left out")
    return Windows(lengths, strides, size)


def bind_baselines(baselines: Any, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What covers each input, of its shape: given as a number or a tensor that broadcasts to it; zero where None."""
    given = (0,) * len(inputs) if baselines is None else baselines if isinstance(baselines, tuple) else (baselines,)
    if len(given) != len(inputs):
        raise BindError(f"baselines has {len(given)} entries for {len(inputs)} inputs")
    return tuple(_baseline(*each) for each in zip(given, inputs, strict=True))


def _baseline(value: Any, tensor: Tensor) -> Tensor:
    if not isinstance(value, Tensor | int | float):
        raise BindError(f"baselines takes numbers and tensors, not {type(value).__name__}")
    baseline = torch.as_tensor(value, device=tensor.device).detach()
    if tensor.is_floating_point():
        baseline = baseline.to(tensor.dtype)
    try:
        return baseline.broadcast_to(tensor.shape)
    except RuntimeError:
        raise BindError(
            f"baselines of {list(baseline.shape)} do not broadcast to inputs of {list(tensor.shape)}"
        ) from None


@dataclass(frozen=True)
class Target:
    """Which numbers of an output [N, ...] are explained: an index into one example's, the same for all or one each.

    ``columns`` are those of captum's lists of whole numbers, which ask for an output [N, K].
    """

    indices: tuple[Index, ...] = ((),)
    each: bool = False
    columns: bool = False

    @classmethod
    def bind(cls, target: Any) -> Target:
        """From None (all of them), a whole number, a tuple, a list of either or a tensor of whole numbers."""
        if isinstance(target, Tensor):
            if target.is_floating_point() or target.dtype == torch.bool or (target.numel() != 1 and target.ndim != 1):
                raise BindError(f"target takes a tensor of whole numbers [N]; got {target.dtype} {list(target.shape)}")
            return cls(((int(target),),)) if target.numel() == 1 else cls.bind(target.tolist())
        if target is None:
            return cls()
        if not isinstance(target, list):
            return cls((_index(target),))
        columns = all(map(is_whole, target))
        if not target or not (columns or all(isinstance(each, tuple) for each in target)):
            raise BindError(f"target = {target!r}: a list has a whole number or a tuple for each example")
        return cls(tuple(map(_index, target)), True, columns)

    def of_example(self, i: int) -> Target:
        """That of example ``i`` alone."""
        return Target(self.indices[i : i + 1] if self.each else self.indices)

    def select(self, output: Tensor, repeats: int = 1) -> Tensor:
        """[repeats * rows, ...] -> [repeats, numbers]: what is explained of each of so many batches.

        Raises BindError where the output has no such number.
        """
        rows, shape = len(output) // repeats, list(output.shape)
        parts = output.reshape(repeats, rows, *shape[1:])
        if self.each and len(self.indices) != rows:
            raise BindError(f"target has {len(self.indices)} entries for {rows} outputs")
        if self.columns and output.ndim != 2:
            raise BindError(f"a target that is a list of whole numbers needs outputs [N, K]; the model gives {shape}")
        if max(map(len, self.indices)) >= output.ndim:
            raise BindError(f"target = {self.indices[0]} has more indices than the model's output {shape} has axes")
        try:
            if not self.each:
                return parts[(slice(None), slice(None), *self.indices[0])].flatten(1)
            return torch.stack([parts[(slice(None), i, *at)] for i, at in enumerate(self.indices)], 1).flatten(1)
        except IndexError as error:
            raise BindError(f"the model's output {shape} has no such target: {error}") from error


def _index(value: Any) -> Index:
    """Indices into the axes of one example's output."""
    parts = value if isinstance(value, tuple) else (value,)
    if not all(is_whole(part) or isinstance(part, slice) for part in parts):
        raise BindError(f"target = {value!r} is neither a whole number nor a tuple of them, one an axis")
    return tuple(part if isinstance(part, slice) else operator.index(part) for part in parts)


def bind_output(output: Any) -> Tensor:
    """A model's output as a tensor with an axis of examples; a single number for the whole batch is one example."""
    if not isinstance(output, Tensor | int | float):
        raise BindError(f"the model must give a tensor or a number; it gives {type(output).__name__}")
    tensor = torch.as_tensor(output)
    return tensor if tensor.ndim else tensor.reshape(1)


@dataclass(frozen=True, eq=False)
class Question:
    """An attribution that is asked for, bound: ``windows`` and ``baselines`` are one for each of the call's inputs."""

    adapter: Adapter
    call: Call
    windows: tuple[Windows, ...]
    baselines: tuple[Tensor, ...]
    target: Target
