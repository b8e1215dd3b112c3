"""Pointwise layers in C: the view read in, the program run twice and the difference written, in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kdb.geometry import Boxes
from kdb.kernels.base import Delta, Epilogue, Parameters, Program
from kdb.kernels.compiled.library import Library, address
from kdb.kernels.kernel import PointwiseKernel
from kdb.kernels.work import Rates, Work

if TYPE_CHECKING:
    from kdb.kernels.cpu.backend import CpuBackend

FloatArray = npt.NDArray[np.float32]

BLOCK = 512
"""Numbers that are computed together, unless a cell is to be and has more."""
BEYOND = 16
"""Numbers behind the last one that a vector may read."""
COSTLY = 8
"""The simple functions that take as long as one by a series does."""
_SIMPLE = frozenset(
    {"add", "sub", "mul", "div", "reciprocal", "sqrt", "maximum", "minimum", "neg", "abs", "leaky_relu"}
)

_INSTRUCTION = np.dtype([("function", np.int32), ("a", np.int32), ("b", np.int32)])
_OPERAND = np.dtype([("numbers", np.uintp), ("step", np.int64)])


@cache
def _encoded(program: Program, functions: tuple[str, ...]) -> tuple[npt.NDArray[np.void], tuple[float | str, ...]]:
    """The instructions as pointwise.c reads them, and the operands that do not change."""
    fixed: list[float | str] = []
    rows = []
    for instruction in program:
        operands = []
        for operand in instruction.operands:
            if isinstance(operand, int):
                operands.append(operand)
            else:
                fixed.append(operand)
                operands.append(-len(fixed))
        rows.append((functions.index(instruction.function), operands[0], operands[-1]))
    return np.array(rows, _INSTRUCTION), tuple(fixed)


def _repeated(values: FloatArray, period: int) -> FloatArray:
    """Values of each channel, or one of all, for ``period`` numbers, with some behind them."""
    return np.resize(values, period + BEYOND)


class CompiledPointwise(PointwiseKernel):
    """Programs of the functions that the library has."""

    setting = "compiled"
    optional = True
    timed = False
    rates: Mapping[str, Rates] = {"pointwise.c": ((1, 7e9),)}

    def applies(self, backend: CpuBackend, program: Program) -> bool:
        """Where there is a library, and it has all functions."""
        compiled = backend.compiled
        return compiled is not None and all(i.function in compiled.functions and len(i.operands) <= 2 for i in program)

    def work(self, program: Program, numbers: int, incremental: bool) -> Work:
        """Each function once, of a delta twice, and what the passes over memory take in the time of such."""
        steps = sum(1 if instruction.function in _SIMPLE else COSTLY for instruction in program)
        return Work("pointwise.c", numbers * (4 + 2 * steps if incremental else 1 + steps))

    def evaluate(
        self, backend: CpuBackend, x: FloatArray, program: Program, parameters: Parameters, donate: bool
    ) -> FloatArray:
        """``f(x)``."""
        compiled, x = _library(backend), np.ascontiguousarray(x)
        out = x if donate and x.flags.writeable else np.empty_like(x)
        given = arguments(compiled, program, parameters, x.shape[-1])
        compiled.pointwise(1, 1, 1, x.size, address(x), None, None, 0, 0, *given.passed, address(out))
        return out

    def delta(self, backend: CpuBackend, delta: Delta, epilogue: Epilogue) -> FloatArray:
        """``f(view[B] + d) - f(view[B])``."""
        compiled, values = _library(backend), np.ascontiguousarray(delta.values)
        out = values if delta.donate and values.flags.writeable else np.empty_like(values)
        seen, channels = place(epilogue.view, delta.boxes), values.shape[-1]
        given = arguments(compiled, epilogue.program, epilogue.parameters, channels)
        compiled.pointwise(
            *lines(delta.boxes, channels), address(values), *seen.passed, *given.passed, address(out)
        )  # fmt: skip
        return out


def _library(backend: CpuBackend) -> Library:
    assert backend.compiled is not None, "it applies where there is a library"
    return backend.compiled


class Arguments(NamedTuple):
    """Some of a call's arguments; ``held`` are arrays that are not to go while it reads them."""

    passed: tuple[int | None, ...]
    held: Sequence[npt.NDArray[Any]]


NOTHING = Arguments((None, None, 0, 0, 0, None, None, 1, 1, 1, None), ())
"""Of a layer with no pointwise layer behind it."""


def arguments(compiled: Library, program: Program, parameters: Parameters, channels: int) -> Arguments:
    """Those of a program on cells of so many ``channels``."""
    period = max(BLOCK // channels, 1) * channels
    block = period if any(i.function in compiled.cellwise for i in program) else BLOCK
    instructions, fixed = _encoded(program, tuple(compiled.functions))
    operands = np.empty(len(fixed), _OPERAND)
    held = [instructions, operands]
    for i, operand in enumerate(fixed):
        if isinstance(operand, str):
            numbers = parameters[operand].layout(f"repeated/{period}", lambda values: _repeated(values, period))
        else:
            numbers = np.full(BEYOND, operand, np.float32)
        held.append(numbers)
        operands[i] = address(numbers), int(isinstance(operand, str))
    scratch = compiled.scratch(2 * (len(program) + 1) * (block + compiled.lanes))
    passed = len(instructions), address(instructions), address(operands), channels, period, block, scratch
    return Arguments(passed, held)


def place(view: FloatArray, boxes: Boxes) -> Arguments:
    """The view, where each box begins in it, and how far planes and rows lie apart."""
    view = np.ascontiguousarray(view)
    starts = boxes.origins @ (np.array(view.strides[:-1], np.int64) // view.itemsize)
    *_, depth, row = (0, 0, *(stride // view.itemsize for stride in view.strides[:-2]))
    return Arguments((address(view), address(starts), depth, row), (view, starts))


def behind(compiled: Library, epilogue: Epilogue | None, boxes: Boxes, channels: int) -> Arguments:
    """Those of a pointwise layer behind another one, or of none."""
    if epilogue is None:
        return NOTHING
    seen = place(epilogue.view, boxes)
    given = arguments(compiled, epilogue.program, epilogue.parameters, channels)
    return Arguments((*seen.passed, *given.passed), (*seen.held, *given.held))


def lines(boxes: Boxes, channels: int) -> tuple[int, int, int, int]:
    """Boxes as rows of numbers: how many boxes, planes and rows there are, and numbers of a row."""
    planes, rows, cells = (1,) * (3 - len(boxes.extent)) + boxes.extent
    return len(boxes), planes, rows, cells * channels


POINTWISE_C = CompiledPointwise("pointwise.c")
