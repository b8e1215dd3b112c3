"""Runs a module of the user's, and leaves it as it was."""

from __future__ import annotations

import logging
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from operator import is_
from types import CellType, ModuleType
from typing import Any

import numpy as np
import torch

from kdb.errors import ModelError, printable
from kdb.frontends.check import first_line
from kdb.frontends.reach import HOOKS, MARKS, Reached, content, is_elsewhere, is_left_out, slots
from kdb.system.interrupts import deferred

log = logging.getLogger(__name__)

MOST_KEPT = 1 << 30
"""Bytes of tensors and arrays that are kept beside the parameters."""

Restore = Callable[[], object]
_WITHOUT: frozenset[type] = frozenset({dict, list, tuple, set, frozenset, CellType})
"""Built-in types whose objects have no attributes of their own."""


@contextmanager
def untouched(module: torch.nn.Module) -> Iterator[None]:
    """Put the module into eval mode; on exit, it and all that its forward can write is as it was, also after errors.

    That is the modes of all layers, buffers (in place: the tensors stay the same objects), hooks, whether tensors
    require a gradient, attributes and what they hold, such as counters and lists, variables of closures and of modules,
    and the random numbers that PyTorch, NumPy and Python draw next.  Values that a forward writes into a parameter in
    place stay.
    """
    restore = _restores(module)
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
            for each in [*back, *restore]:
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


def _restores(module: torch.nn.Module) -> list[Restore]:
    """Functions that put back what is reached from ``module``; each does nothing where nothing changed."""
    found = [*_random_states()]
    left = MOST_KEPT
    reached = Reached(module)
    for value, _ in reached:
        nbytes = _copied_bytes(value)
        with suppress(Exception):  # objects may raise anything where they are looked at
            found += _restores_of(value, nbytes <= left)
        left -= nbytes if nbytes <= left else 0
    return found + [_variable(space, name) for space, name in reached.globals]


def _copied_bytes(value: object) -> int:
    """The bytes that have to be copied, so that the numbers of a tensor or array can be put back."""
    if isinstance(value, torch.nn.Parameter) or not isinstance(value, torch.Tensor | np.ndarray):
        return 0
    return 0 if isinstance(value, torch.Tensor) and is_elsewhere(value) else value.nbytes


def _restores_of(value: Any, whole: bool) -> Iterator[Restore]:
    """Those of one object; of the numbers of a tensor or array only if ``whole``."""
    if isinstance(value, torch.Tensor):
        yield _tensor(value, whole and not isinstance(value, torch.nn.Parameter))
    elif isinstance(value, np.ndarray):
        yield _array(value, whole)
    elif isinstance(value, CellType):
        yield from _cell(value)
    elif isinstance(value, dict | list | deque | set):
        yield _container(value)
    elif isinstance(value, torch.nn.Module):
        hooks = [held for name in (*HOOKS, *MARKS) if (held := vars(value).get(name)) is not None]
        yield from (_container(held) for held in hooks if held)
        yield partial(_clear, [held for held in hooks if not held])
    elif isinstance(value, type):
        yield _class(value)
    yield from _generator(value) if is_left_out(value) else _attributes(value)


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


def _tensor(tensor: torch.Tensor, whole: bool) -> Restore:
    """Where a tensor's numbers lie, and whether it requires a gradient; the numbers too, if ``whole``."""
    needs_gradient = tensor.requires_grad
    before = None if is_elsewhere(tensor) else tensor.detach()
    numbers = before.clone() if before is not None and whole else None

    def restore() -> None:
        if tensor.requires_grad != needs_gradient:
            tensor.requires_grad_(needs_gradient)
        if before is not None and _place(tensor) != _place(before):
            tensor.data = before
        if before is not None and numbers is not None and not _same(before, numbers):
            with torch.inference_mode(before.is_inference()), torch.no_grad():
                before.copy_(numbers)

    return restore


def _place(tensor: torch.Tensor) -> tuple[object, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def _same(one: Any, other: Any) -> bool:
    """Whether two tensors or arrays are the same bit by bit, as NaN is the same as itself, and -0 not as 0."""
    return memoryview(content(one)).tobytes() == memoryview(content(other)).tobytes()


def _array(array: Any, whole: bool) -> Restore:
    before = array.copy() if whole and array.flags.writeable else None

    def restore() -> None:
        if before is not None and (array.dtype.hasobject or not _same(array, before)):
            array[...] = before

    return restore


def _cell(cell: CellType) -> Iterator[Restore]:
    with suppress(ValueError):  # it is empty
        yield partial(setattr, cell, "cell_contents", cell.cell_contents)


def _container(value: Any) -> Restore:
    """The elements of a dict, list, deque or set, by the methods of these types, whatever a subclass makes of them."""
    kind: Any = next(base for base in (OrderedDict, dict, list, deque, set) if isinstance(value, base))
    if not kind.__len__(value):
        return partial(kind.clear, value)
    before = dict(dict.items(value)) if isinstance(value, dict) else list(kind.__iter__(value))

    def restore() -> None:
        same = kind.__len__(value) == len(before) and all(map(is_, kind.__iter__(value), before))
        if same and isinstance(before, dict):
            same = all(map(is_, dict.values(value), before.values()))
        if not same:
            kind.clear(value)
            (kind.extend if isinstance(value, list | deque) else kind.update)(value, before)

    return restore


def _clear(containers: list[Any]) -> None:
    for each in containers:
        each.clear()


def _attributes(value: Any) -> Iterator[Restore]:
    """The attributes of an object, in its dict and in slots; those of built-in types have none."""
    if type(value) in _WITHOUT:
        return
    with suppress(TypeError):  # it has none
        if isinstance(attributes := vars(value), dict) and not isinstance(value, ModuleType):
            yield _container(attributes)
    for name in slots(type(value)):
        if hasattr(value, name):
            yield _attribute(value, name, getattr(value, name))


def _attribute(value: Any, name: str, before: object) -> Restore:
    def restore() -> None:
        if getattr(value, name, None) is not before:
            (type if isinstance(value, type) else object).__setattr__(value, name, before)

    return restore


def _class(kind: type) -> Restore:
    """The attributes of a class of the user's."""
    before = dict(vars(kind))

    def restore() -> None:
        for name, value in dict(vars(kind)).items():
            if name not in before:
                type.__delattr__(kind, name)
            elif value is not before[name]:
                type.__setattr__(kind, name, before[name])

    return restore


def _variable(space: dict[str, Any], name: str) -> Restore:
    before = space[name]

    def restore() -> None:
        if space.get(name) is not before:
            space[name] = before

    return restore
