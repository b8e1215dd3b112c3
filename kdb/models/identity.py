"""Digests by which a model is known: of its weights, and of all else that a network computes with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from kdb.frontends.fallback import TorchTail
from kdb.frontends.state.reach import Reached, content
from kdb.kernels.base import FloatArray, Weight
from kdb.operators.dense import Flatten
from kdb.operators.network import Network, Node
from kdb.operators.sources import Opaque

_EPSILON = 1e-5  # of PyTorch's batch norm, unless it is given

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Parts:
    """SHA-256 digests, in hexadecimal, of what a model is made of; that of the labels is empty where it has none."""

    graph: str
    weights: str
    preprocessing: str
    labels: str


def joined(*digests: str) -> str:
    """The SHA-256, in hexadecimal, of several digests."""
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def labels_digest(labels: Sequence[str] | None) -> str:
    """The SHA-256, in hexadecimal, of the labels in their order, as a list in JSON; empty for None."""
    return "" if labels is None else hashlib.sha256(json.dumps([*labels]).encode()).hexdigest()


def weights_digest(module: nn.Module) -> str:
    """The SHA-256, in hexadecimal, of all parameters and buffers: names, dtypes, shapes and bytes."""
    sha = hashlib.sha256()
    for name, tensor in _state(module):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        sha.update(content(tensor))
    return sha.hexdigest()


def unexplained(network: Network, module: nn.Module) -> str:
    """A digest of what ``network`` computes with and neither its structure nor the weights of ``module`` tell.

    Such are constants, numbers that went into a weight (the epsilon of a batch norm), weights that the forward derives
    or exchanges, and layers outside the vocabulary.  It is empty for a network without any, as most are: all that it
    computes with are parameters and buffers, under their own names.
    """
    tensors = dict(_state(module))
    digest = hashlib.sha256()
    for node in network:
        if isinstance(node.operator, Opaque):
            tail = node.operator.tail
            told = tail.digest if isinstance(tail, TorchTail) else _read_digest(tail)
            digest.update(f"{node.name} {told}".encode())
        for name in node.operator.weights():
            if not _is_explained(name, network, node, tensors):
                array, columns = _origin(network.parameters[name])
                digest.update(f"{name} {array.shape} {columns is None};".encode())
                digest.update(content(array))
                digest.update(b"" if columns is None else content(columns))
    return "" if digest.digest() == hashlib.sha256().digest() else digest.hexdigest()


def _state(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _is_explained(name: str, network: Network, node: Node, tensors: Tensors) -> bool:
    """Whether a weight follows from its name, the network's structure and the module's ``tensors``."""
    array, columns = _origin(network.parameters[name])
    if columns is not None:
        usual = _flattened(network, node)
        if usual is None or not np.array_equal(columns, usual):
            return False
    path, _, what = name.partition("#")[0].rpartition(".")
    prefix = f"{path}." if path else ""
    expected = tensors.get(prefix + {"slope": "weight"}.get(what, what))
    if what in ("scale", "shift"):
        expected = _normalization(prefix, what, tensors)
    return expected is not None and _equal(array, expected)


def _origin(weight: Weight) -> tuple[FloatArray, npt.NDArray[Any] | None]:
    """The array that a weight is or is made from, and the order of its columns if it is moved."""
    origin = weight.origin
    if isinstance(origin, partial) and origin.func is np.take:
        return origin.args[0], origin.args[1]
    return weight.array, None


def _flattened(network: Network, node: Node) -> npt.NDArray[Any] | None:
    """The order in which a dense layer has the columns of its weight behind a map that was flattened."""
    before = network[node.inputs[0]]
    while not isinstance(before.operator, Flatten) and len(before.inputs) == 1:
        before = network[before.inputs[0]]
    if not isinstance(before.operator, Flatten):
        return None
    shape = network.input_shapes(before)[0]
    return np.moveaxis(np.arange(shape.elements).reshape(shape.dimensions), 0, -1).reshape(-1)


def _normalization(prefix: str, what: str, tensors: Tensors) -> torch.Tensor | None:
    """The factor or the summand of a batch norm of PyTorch's usual epsilon."""
    mean, variance = tensors.get(f"{prefix}running_mean"), tensors.get(f"{prefix}running_var")
    weight, bias = tensors.get(f"{prefix}weight"), tensors.get(f"{prefix}bias")
    if mean is None or variance is None:
        return None
    with torch.no_grad():
        scale = torch.rsqrt(variance.double() + _EPSILON) * (1 if weight is None else weight.double())
        return scale if what == "scale" else (0 if bias is None else bias.double()) - mean.double() * scale


def _equal(array: FloatArray, tensor: torch.Tensor) -> bool:
    if array.size != tensor.numel():
        return False
    expected = np.ascontiguousarray(tensor.detach().cpu().float().numpy())
    if expected.ctypes.data == array.ctypes.data and expected.strides == array.strides:
        return True
    return bool(np.array_equal(array.reshape(-1), expected.reshape(-1)))


def _read_digest(tail: object) -> str:
    """The SHA-256, in hexadecimal, of what a tail can read."""
    sha = hashlib.sha256()
    for value, text in Reached(tail):
        sha.update(text.encode(errors="backslashreplace"))
        if isinstance(value, torch.Tensor | np.ndarray):
            with suppress(Exception):  # a tensor of a kind that can neither be read nor saved
                sha.update(content(value))
    return sha.hexdigest()
