"""Traces of like modules, exported once: tests build the same networks again and again, in sessions of their own."""

from __future__ import annotations

import hashlib
import io
import itertools
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from kdb.frontends import trace_cache
from kdb.operators.network import Network


class _Content(pickle.Pickler):
    """A module's whole state and the names of its classes, without the values of its weights, which no graph has.

    Other tensors become constants of the graph: by their bytes.
    """

    def __init__(self, file: io.BytesIO, module: nn.Module) -> None:
        super().__init__(file)
        state = itertools.chain(module.parameters(), module.buffers())
        self._weights = {id(tensor): number for number, tensor in enumerate(state)}  # which layers may share

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, torch.Tensor):
            return None
        if (number := self._weights.get(id(obj))) is not None:
            return number, str(obj.dtype), tuple(obj.shape)
        content = obj.detach().contiguous().flatten().view(torch.uint8).numpy()
        return str(obj.dtype), tuple(obj.shape), hashlib.sha256(content).hexdigest()


def recipe(module: nn.Module) -> str | None:
    """Equal for modules of one graph; None where one cannot be pickled, as where a class is local to a test."""
    file = io.BytesIO()
    try:
        _Content(file, module).dump(module)
    except Exception:  # whatever a module holds
        return None
    return hashlib.sha256(file.getvalue()).hexdigest()


def trace(module: nn.Module, shape: tuple[int, ...], known: str | None = None) -> Network:
    """Kept in the tests' cache, as those of named models are."""
    network = trace_cache.trace(module, shape, known or recipe(module))
    for weight in network.parameters.values():
        _ = weight.array  # all were read of a network that was just exported, and identities tell
    return network


@contextmanager
def kept(*users: ModuleType) -> Iterator[None]:
    """What ``users`` trace is kept."""
    with pytest.MonkeyPatch.context() as patch:
        for user in users:
            patch.setattr(user, "trace", trace)
        yield
