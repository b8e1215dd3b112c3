"""Caches traces between processes: torch.export takes seconds, and gives the same graph for the same code.

A file holds a digest and the graph as JSON.  Its name is a hash of all that determines the graph.  A file that is
damaged, that names a function outside :mod:`kdb.frontends.functions`, or whose graph is no sound network of the given
module, is ignored and replaced.
"""

from __future__ import annotations

import hashlib
import logging
import platform
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from kdb.errors import printable
from kdb.frontends.functions import is_plain
from kdb.frontends.graph import Graph
from kdb.frontends.translate import translate
from kdb.kernels.base import Tail
from kdb.operators.network import Network
from kdb.operators.sources import Opaque
from kdb.system import cache
from kdb.version import __version__

log = logging.getLogger(__name__)

FORMAT = 4
"""Version of the file format and of the export; raise it when either changes."""


def trace(module: torch.nn.Module, shape: tuple[int, ...], recipe: str | None) -> Network:
    """The network of ``module`` in eval mode for images of ``shape`` (C, H, W), from the cache if it is there.

    ``recipe`` identifies the code of the module's forward; without one the cache is not used.  Raises what
    :func:`kdb.frontends.torch_export.trace` raises.
    """
    if recipe is None:
        return _export(module, shape)[0]
    key = _key(module, shape, recipe)
    path = cache.traces() / f"{key}.json"
    network = _load(path, key, module, shape)
    if network is None:
        network, graph = _export(module, shape)
        _store(path, key, network, graph)
    return network


def _export(module: torch.nn.Module, shape: tuple[int, ...]) -> tuple[Network, Graph]:
    from kdb.frontends.torch_export import traced  # imports the exporter, which a cached trace does not need

    return traced(module, shape)


def _key(module: torch.nn.Module, shape: tuple[int, ...], recipe: str) -> str:
    versions = (FORMAT, __version__, platform.python_version(), torch.__version__, str(torch.get_default_dtype()))
    state = chain(module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False))
    tensors = [(name, str(value.dtype), str(value.device), tuple(value.shape)) for name, value in state]
    return hashlib.sha256(repr((versions, recipe, shape, tensors)).encode()).hexdigest()


def _load(path: Path, key: str, module: torch.nn.Module, shape: tuple[int, ...]) -> Network | None:
    data = cache.read(path)
    if data is None:
        return None
    digest, _, text = data.partition(b"\n")
    try:
        if digest != _digest(key, text):
            raise ValueError("its digest is wrong")
        graph = Graph.from_json(text)
        if (other := _other_function(graph)) is not None:
            raise ValueError(f"it calls {other}")
        network = translate(graph, graph.state(module), shape, _no_tail)
    except Exception as error:  # whatever is wrong with the file, the module can be exported again
        log.warning("ignoring the damaged trace %s", printable(f"{path}: {error}"))
        return None
    log.debug("read the trace %s", path)
    return network


def _store(path: Path, key: str, network: Network, graph: Graph) -> None:
    if any(isinstance(node.operator, Opaque) for node in network):
        log.debug("not caching a trace with layers outside the vocabulary")  # they are PyTorch's graph, not JSON
        return
    if (other := _other_function(graph)) is not None:
        log.debug("not caching a trace that calls %s", printable(other))
        return
    try:
        text = graph.to_json().encode()
    except (TypeError, ValueError, RuntimeError) as error:
        log.debug("not caching a trace that cannot be written as JSON: %s", error)
        return
    cache.write(path, _digest(key, text) + b"\n" + text)
    cache.bound(path.parent, cache.TRACES)


def _other_function(graph: Graph) -> str | None:
    """A function of the graph that a trace from the cache may not call; None if there is none."""
    return next((call.target for call in graph.calls if not is_plain(call.target)), None)


def _digest(key: str, text: bytes) -> bytes:
    """Includes the key, so that a file that was renamed to another key is not accepted."""
    return hashlib.sha256(key.encode() + text).hexdigest().encode()


def _no_tail(opaque: Mapping[str, str], values: Mapping[str, Any]) -> tuple[Tail, tuple[str, ...]]:
    raise ValueError("it has layers outside the vocabulary")
