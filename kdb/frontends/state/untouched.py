"""Runs a module of the user's, and leaves it as it was."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

from kdb.errors import ModelError, printable
from kdb.frontends.check import first_line
from kdb.frontends.state.snapshot import Snapshot
from kdb.system.interrupts import deferred
from kdb.system.locks import MODULES

log = logging.getLogger(__name__)

Restore = Callable[[], object]


@contextmanager
def untouched(module: torch.nn.Module, taken: Callable[[], Snapshot] | None = None) -> Iterator[None]:
    """Put the module into eval mode; on exit, it and all that its forward can write is as it was, also after errors.

    That is the modes of all layers, buffers (in place: the tensors stay the same objects), hooks, whether tensors
    require a gradient, attributes and what they hold, such as counters and lists, variables of closures and of modules,
    and the random numbers that PyTorch, NumPy and Python draw next.  Values that a forward writes into a parameter in
    place stay.  Threads take turns.  Where a snapshot of the module as it is may be there already, ``taken`` gives it.
    """
    with MODULES:
        yield from _untouched(module, taken() if taken is not None else Snapshot(module))


def _untouched(module: torch.nn.Module, snapshot: Snapshot) -> Iterator[None]:
    drawn = [*_random_states(), *(each for value in snapshot.generators for each in _generator(value))]
    modes = {part: part.training for part in module.modules()}
    trains = any(modes.values())  # else there is nothing to change, and both calls take a millisecond
    try:
        try:
            if trains:
                module.eval()
        except Exception as error:  # a module may define eval, train and how its attributes are set
            raise ModelError(f"{_raiser(module, error)} cannot be put into eval mode: {first_line(error)}") from error
        yield
    finally:
        with deferred():
            # First for modules that do more than set their flag; then the flags themselves, whatever these make of it.
            back: list[Restore] = [partial(module.train, modes[module])] if trains else []
            back += [partial(vars(part).__setitem__, "training", mode) for part, mode in modes.items()]
            for each in [*back, *drawn, snapshot.restore]:
                try:
                    each()
                except Exception as error:  # objects may raise anything; the others are put back all the same
                    log.warning("something that a model wrote cannot be put back: %s", printable(str(error)))


def _raiser(module: torch.nn.Module, error: Exception) -> str:
    """In words, the innermost part of the module that was at work when the ``error`` was raised."""
    names = {id(part): name for name, part in module.named_modules()}
    found, trace = module, error.__traceback__
    while trace is not None:
        at_work = trace.tb_frame.f_locals.get("self")
        if isinstance(at_work, torch.nn.Module) and id(at_work) in names:
            found = at_work
        trace = trace.tb_next
    name, kind = names[id(found)], type(found).__name__
    return f"layer '{name}' ({kind})" if name else f"the model ({kind})"


def _random_states() -> Iterator[Restore]:
    yield partial(torch.set_rng_state, torch.get_rng_state())
    yield partial(np.random.set_state, np.random.get_state())
    yield partial(random.setstate, random.getstate())
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        yield partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())


def _generator(value: Any) -> Iterator[Restore]:
    if isinstance(value, random.Random):
        yield partial(value.setstate, value.getstate())
    elif isinstance(value, torch.Generator):
        yield partial(value.set_state, value.get_state())
    elif isinstance(value, np.random.RandomState):
        yield partial(value.set_state, value.get_state(legacy=False))
    elif isinstance(value, np.random.Generator):
        yield partial(setattr, value.bit_generator, "state", value.bit_generator.state)
