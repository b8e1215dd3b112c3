"""Pointwise layers in C: the view read in, the program run twice and the difference written, in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

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
_SIMPLE = frozenset({"add", "sub", "mul", "maximum", "minimum", "neg", "abs", "leaky_relu"})

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
        x = np.ascontiguousarray(x)
        out = x if donate and x.flags.writeable else np.empty_like(x)
        _run(backend, x, (1, 1, 1, x.size), None, (0, 0), program, parameters, out)
        return out

    def delta(self, backend: CpuBackend, delta: Delta, epilogue: Epilogue) -> FloatArray:
        """``f(view[B] + d) - f(view[B])``."""
        values, boxes = np.ascontiguousarray(delta.values), delta.boxes
        out = values if delta.donate and values.flags.writeable else np.empty_like(values)
        view = np.ascontiguousarray(epilogue.view)
        *size, channels = view.shape
        planes, rows, cells = (1,) * (3 - len(size)) + boxes.extent
        *_, depth, row = (0, 0, *(stride // view.itemsize for stride in view.strides[:-2]))
        shape = len(boxes), planes, rows, cells * channels
        starts = boxes.origins @ (np.array(view.strides[:-1], np.int64) // view.itemsize)
        _run(backend, values, shape, (view, starts), (depth, row), epilogue.program, epilogue.parameters, out)
        return out


def _run(
    backend: CpuBackend,
    x: FloatArray,
    shape: tuple[int, int, int, int],
    seen: tuple[FloatArray, npt.NDArray[np.int64]] | None,
    apart: tuple[int, int],
    program: Program,
    parameters: Parameters,
    out: FloatArray,
) -> None:
    """Call the library: x as boxes of planes of rows of numbers, and where they begin in a view."""
    compiled = backend.compiled
    assert isinstance(compiled, Library), "it applies where there is one"
    channels = x.shape[-1]
    period = max(BLOCK // channels, 1) * channels
    block = period if any(i.function in compiled.cellwise for i in program) else BLOCK
    scratch = compiled.scratch(2 * (len(program) + 1) * (block + compiled.lanes))
    instructions, fixed = _encoded(program, tuple(compiled.functions))
    operands = np.empty(len(fixed), _OPERAND)
    held = []  # what the library reads is not to go while it does
    for i, operand in enumerate(fixed):
        if isinstance(operand, str):
            numbers = parameters[operand].layout(f"repeated/{period}", lambda values: _repeated(values, period))
        else:
            numbers = np.full(BEYOND, operand, np.float32)
        held.append(numbers)
        operands[i] = address(numbers), int(isinstance(operand, str))
    view, starts = seen or (None, None)
    compiled.pointwise(
        *shape, address(x), address(view), address(starts), *apart,
        len(instructions), address(instructions), address(operands), channels, period, block, scratch, address(out),
    )  # fmt: skip


POINTWISE_C = CompiledPointwise("pointwise.c")
