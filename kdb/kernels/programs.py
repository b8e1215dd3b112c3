"""The functions of pointwise programs, on numpy: each maps arrays [..., channels] to the same shape.

A program is the readable form of what an activation, a normalization over channels or a gate by constants does at
each location; a GPU backend writes the same vocabulary as one fused kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from kdb.kernels.base import Operand, Parameters, Program

FloatArray = npt.NDArray[np.float32]


def _leaky_relu(x: FloatArray, slope: float) -> FloatArray:
    return np.where(x > 0, x, x * np.float32(slope))


def _elu(x: FloatArray, alpha: float, scale: float, input_scale: float) -> FloatArray:
    return np.where(x > 0, x * scale, np.expm1(np.minimum(x, 0) * input_scale) * (alpha * scale))


def _gelu(x: FloatArray) -> FloatArray:
    y: FloatArray = x * special.ndtr(x)
    return y


def _gelu_tanh(x: FloatArray) -> FloatArray:
    inner = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x * x * x)
    y: FloatArray = np.float32(0.5) * x * (1 + np.tanh(inner))
    return y


def _softplus(x: FloatArray) -> FloatArray:
    y: FloatArray = np.logaddexp(x, np.float32(0))
    return y


def _normalize(x: FloatArray, eps: float) -> FloatArray:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    y: FloatArray = centred / np.sqrt(variance + np.float32(eps))
    return y


def _softmax(x: FloatArray) -> FloatArray:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    y: FloatArray = powers / powers.sum(axis=-1, keepdims=True)
    return y


def _log_softmax(x: FloatArray) -> FloatArray:
    shifted = x - x.max(axis=-1, keepdims=True)
    y: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return y


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "pow": np.power,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "neg": np.negative,
    "abs": np.abs,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "reciprocal": np.reciprocal,
    "tanh": np.tanh,
    "sigmoid": special.expit,
    "erf": special.erf,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "softplus": _softplus,
    "normalize": _normalize,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
}

PASSES: Mapping[str, int] = {
    "pow": 3,
    "sigmoid": 8,
    "erf": 35,
    "gelu": 40,
    "gelu_tanh": 9,
    "leaky_relu": 5,
    "elu": 15,
    "softplus": 45,
    "normalize": 6,
    "softmax": 8,
    "log_softmax": 7,
}
"""How many additions a function takes as long as, of those that take longer than two."""

UFUNCS = frozenset(name for name, function in FUNCTIONS.items() if isinstance(function, np.ufunc))
"""Those that write where they are told, over an operand too."""


def evaluate(program: Program, x: FloatArray, parameters: Parameters, out: FloatArray) -> None:
    """The value of ``program`` at ``x`` [..., C], written to ``out``, which may be ``x``."""
    last_use: dict[int, int] = {}
    for i, instruction in enumerate(program):
        for operand in instruction.operands:
            if isinstance(operand, int):
                last_use[operand] = i
    registers: list[FloatArray] = [x]
    holder = 0 if out is x else -1  # the register that lies in ``out``

    def value(operand: Operand) -> Any:
        if isinstance(operand, str):
            return parameters[operand].array
        return registers[operand] if isinstance(operand, int) else np.float32(operand)

    for i, instruction in enumerate(program):
        function, operands = FUNCTIONS[instruction.function], list(map(value, instruction.operands))
        if instruction.function in UFUNCS and last_use.get(holder, -1) <= i:
            registers.append(function(*operands, out=out))
            holder = i + 1
        else:
            registers.append(function(*operands))
    if holder != len(program):
        out[...] = registers[-1]
