"""Pointwise programs as the kernels' interpreter takes them: words of int32, registers given out by liveness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from kdb.kernels.base import Operand, Program
from kdb.kernels.programs import FUNCTIONS

OVER_CHANNELS = ("normalize", "softmax", "log_softmax")
"""Functions that read all channels of a location; each is a kernel of its own."""
INTERPRETED = tuple(name for name in FUNCTIONS if name not in OVER_CHANNELS)
"""Functions of the interpreter; their places are their numbers."""
WORDS, REGISTERS = 8, 8
"""As in ``programs.cuh``."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """``words`` int32 [instructions, WORDS], and the ``parameters`` that rows of the program's table are of."""

    words: npt.NDArray[np.int32]
    parameters: tuple[str, ...]


@lru_cache(maxsize=1024)
def encode(program: Program, inputs: int = 1) -> Encoded | None:
    """A program of ``inputs`` arrays; None where it reads whole locations, or wants more registers than there are.

    With more inputs than one, operand i names input i up to their number and instruction i - inputs from there.
    """
    if any(instruction.function in OVER_CHANNELS for instruction in program):
        return None
    last: dict[int, int] = {}
    for i, instruction in enumerate(program):
        last.update((operand, i) for operand in instruction.operands if isinstance(operand, int))
    places = {i: i for i in range(inputs)}  # of values that are still to be read, their registers
    parameters: list[str] = []
    words = np.zeros((len(program), WORDS), np.int32)

    def encoded(operand: Operand) -> tuple[int, int]:
        """Its kind and its word."""
        if isinstance(operand, str):
            if operand not in parameters:
                parameters.append(operand)
            return 2, parameters.index(operand)
        if isinstance(operand, int):
            return 0, places[operand]
        return 1, int(np.float32(operand).view(np.int32))

    for i, instruction in enumerate(program):
        operands = [encoded(operand) for operand in instruction.operands]
        places = {value: place for value, place in places.items() if last.get(value, -1) > i}
        free = [register for register in range(REGISTERS) if register not in places.values()]
        if not free:
            return None
        places[inputs + i] = free[0]
        kinds = sum(kind << 2 * j for j, (kind, _) in enumerate(operands))
        words[i, : 3 + len(operands)] = (
            INTERPRETED.index(instruction.function),
            free[0],
            kinds,
            *(w for _, w in operands),
        )
    return Encoded(words, tuple(parameters))


def runs(program: Program) -> Sequence[tuple[int, int]]:
    """The program cut into (start, stop): single functions over channels, and what lies between them.

    What lies between is one piece where only its last value is read later and it reads at most three from before;
    otherwise its instructions are pieces of their own.
    """
    bounds, start = [], 0
    for i, instruction in enumerate(program):
        if instruction.function in OVER_CHANNELS:
            bounds += [(start, i)] if i > start else []
            bounds.append((i, i + 1))
            start = i + 1
    bounds += [(start, len(program))] if start < len(program) else []
    pieces: list[tuple[int, int]] = []
    for start, stop in bounds:
        pieces += [(start, stop)] if _closed(program, start, stop) else [(i, i + 1) for i in range(start, stop)]
    return pieces


def _closed(program: Program, start: int, stop: int) -> bool:
    """Whether only the last value of a piece is read after it, and a kernel can take what it reads from before it."""
    if program[start].function in OVER_CHANNELS:
        return True
    inner = range(start + 1, stop)
    later = {o for instruction in program[stop:] for o in instruction.operands if isinstance(o, int)}
    piece, outer = cut(program, start, stop)
    return not later.intersection(inner) and len(outer) <= 3 and encode(piece, max(len(outer), 1)) is not None


def cut(program: Program, start: int, stop: int) -> tuple[Program, tuple[int, ...]]:
    """A piece as a program of its own, and the values from before it that are its inputs, in order."""
    outer = tuple(dict.fromkeys(
        o for instruction in program[start:stop] for o in instruction.operands if isinstance(o, int) and o <= start
    ))  # fmt: skip
    first = max(len(outer), 1)

    def renamed(operand: Operand) -> Operand:
        if not isinstance(operand, int):
            return operand
        return outer.index(operand) if operand in outer else operand - start - 1 + first

    piece = (type(i)(i.function, tuple(map(renamed, i.operands))) for i in program[start:stop])
    return tuple(piece), outer
