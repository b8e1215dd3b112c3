"""Traces kept between processes: torch.export takes seconds, and gives the same graph for the same code.

A file holds a digest and the graph's text.  It is looked up by all that decides the graph; one that is damaged, or that
does not give a sound network of the module at hand, counts as not there.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from kdb.frontends.graph import Graph
from kdb.frontends.translate import walk
from kdb.kernels.base import Tail
from kdb.operators.network import Network
from kdb.operators.sources import Opaque
from kdb.system import cache
from kdb.version import __version__

FORMAT = 1
"""Of the text, and of what is exported: to be raised when either changes."""


def trace(module: torch.nn.Module, shape: tuple[int, int, int], recipe: str | None) -> Network:
    """The network of ``module`` in eval mode for images of ``shape`` (C, H, W), as torch_export.trace gives it.

    ``recipe`` identifies the code of the module's forward; without one, nothing is read or kept.
    """
    if recipe is None:
        return _export(module, shape)[0]
    key = _key(module, shape, recipe)
    path = cache.folder() / "traces" / f"{key}.json"
    network = _kept(path, key, module, shape)
    if network is None:
        network, graph = _export(module, shape)
        _keep(path, key, network, graph)
    return network


def _export(module: torch.nn.Module, shape: tuple[int, int, int]) -> tuple[Network, Graph]:
    from kdb.frontends.torch_export import traced  # loads the exporter, which a kept trace does without

    return traced(module, shape)


def _key(module: torch.nn.Module, shape: tuple[int, int, int], recipe: str) -> str:
    versions = (FORMAT, __version__, platform.python_version(), torch.__version__, str(torch.get_default_dtype()))
    state = chain(module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False))
    tensors = [(name, str(value.dtype), str(value.device), tuple(value.shape)) for name, value in state]
    return hashlib.sha256(repr((versions, recipe, shape, tensors)).encode()).hexdigest()


def _kept(path: Path, key: str, module: torch.nn.Module, shape: tuple[int, int, int]) -> Network | None:
    digest, _, text = (cache.read(path) or b"").partition(b"\n")
    if digest != _digest(key, text):
        return None
    try:
        graph = Graph.from_json(text)
        return walk(graph, graph.state(module), shape, _no_tail)
    except Exception:  # whatever is wrong with it, the module itself is at hand
        return None


def _keep(path: Path, key: str, network: Network, graph: Graph) -> None:
    if any(isinstance(node.operator, Opaque) for node in network):
        return  # its tail is PyTorch's own graph, which has no text
    try:
        text = graph.to_json().encode()
    except (TypeError, ValueError, RuntimeError):
        return
    cache.write(path, _digest(key, text) + b"\n" + text)


def _digest(key: str, text: bytes) -> bytes:
    """Of the key too, so that a file under another's name is not taken for it."""
    return hashlib.sha256(key.encode() + text).hexdigest().encode()


def _no_tail(opaque: Mapping[str, str], values: Mapping[str, Any]) -> tuple[Tail, tuple[str, ...]]:
    raise ValueError("no trace with a tail is kept")
