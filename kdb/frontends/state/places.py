"""Places that a forward can read or write: what is there, whether it is still the same, and putting it back.

Objects are compared by identity, as each has places of its own; numbers bit by bit, as NaN is the same as itself, and
-0 not as 0.  What a subclass makes of the methods of a built-in type has no say.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from operator import attrgetter, is_
from types import CellType, FunctionType, MappingProxyType, ModuleType
from typing import Any, Protocol

import numpy as np
import torch
from xxhash import xxh3_128_digest

from kdb.frontends.state.reach import ABSENT, HOOKS, MARKS, Variable, content, is_elsewhere, is_left_out, slots


class Place(Protocol):
    """A place, as it is when this is made."""

    @abstractmethod
    def same(self) -> bool:
        """Whether it still is so."""

    def restore(self) -> None:
        """Make it so again, unless it is the same, or of a kind that no forward changes."""
        if not self.same():
            self._put_back()

    def _put_back(self) -> None:
        """Make it so again."""
        return


class _Unreadable(Place):
    """What cannot be looked at, and so may have changed."""

    def same(self) -> bool:
        return False


class _Types(Place):
    """The type of each of several objects."""

    def __init__(self, values: Sequence[object]) -> None:
        self._values, self._before = values, list(map(type, values))

    def same(self) -> bool:
        return all(map(is_, map(type, self._values), self._before))


class _Dicts(Place):
    """All keys and values of many dicts, compared in one go: modules have hundreds, and most never change."""

    def __init__(self, kind: type[dict[Any, Any]], dicts: Sequence[dict[Any, Any]]) -> None:
        self._kind, self._dicts = kind, dicts
        self._lengths = list(map(len, dicts))
        self._keys, self._values = list(self._all_keys()), list(self._all_values())

    def _all_keys(self) -> Iterator[object]:
        return chain.from_iterable(self._dicts)

    def _all_values(self) -> Iterator[object]:
        return chain.from_iterable(map(self._kind.values, self._dicts))

    def same(self) -> bool:
        same = list(map(len, self._dicts)) == self._lengths
        return same and all(map(is_, self._all_keys(), self._keys)) and all(map(is_, self._all_values(), self._values))

    def _put_back(self) -> None:
        end = 0
        for each, length in zip(self._dicts, self._lengths, strict=True):
            start, end = end, end + length
            keys, values = self._keys[start:end], self._values[start:end]
            same = len(each) == length and all(map(is_, each, keys))
            if not (same and all(map(is_, self._kind.values(each), values))):
                self._kind.clear(each)
                self._kind.update(each, zip(keys, values, strict=True))


class _Elements(Place):
    """Those of a list, deque, set, or of a dict of a subclass."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self._kind: Any = next(base for base in (OrderedDict, dict, list, deque, set) if isinstance(value, base))
        self._before = self._now()

    def _now(self) -> list[Any]:
        keys = list(self._kind.__iter__(self._value))
        return [*keys, *self._kind.values(self._value)] if isinstance(self._value, dict) else keys

    def same(self) -> bool:
        now = self._now()
        return len(now) == len(self._before) and all(map(is_, now, self._before))

    def _put_back(self) -> None:
        self._kind.clear(self._value)
        if isinstance(self._value, dict):
            middle = len(self._before) // 2
            self._kind.update(self._value, zip(self._before[:middle], self._before[middle:], strict=True))
        else:
            (self._kind.update if isinstance(self._value, set) else self._kind.extend)(self._value, self._before)


class _Members(Place):
    """Those of a mapping that is only read: the attributes of a library's class, or of a module of Python's."""

    def __init__(self, members: Mapping[str, object]) -> None:
        self._members, self._before = members, dict(members)

    def same(self) -> bool:
        before = self._before
        if len(self._members) != len(before) or not all(map(is_, self._members, before)):
            return False
        return all(map(is_, self._members.values(), before.values()))


class _Class(_Members):
    """The attributes of a class, which are put back, and its bases."""

    def __init__(self, kind: type) -> None:
        super().__init__(vars(kind))
        self._kind, self._order = kind, kind.__mro__

    def same(self) -> bool:
        return self._kind.__mro__ is self._order and super().same()

    def _put_back(self) -> None:
        for name, value in dict(self._members).items():
            if name not in self._before:
                type.__delattr__(self._kind, name)
            elif value is not self._before[name]:
                type.__setattr__(self._kind, name, self._before[name])


class _Attribute(Place):
    """An attribute that is in no dict."""

    def __init__(self, value: Any, name: str) -> None:
        self._value, self._name, self._before = value, name, getattr(value, name, ABSENT)

    def same(self) -> bool:
        return getattr(self._value, self._name, ABSENT) is self._before

    def _put_back(self) -> None:
        if self._before is ABSENT:
            object.__delattr__(self._value, self._name)
        else:
            object.__setattr__(self._value, self._name, self._before)


class _Cell(Place):
    """What a variable of a closure holds, if it does."""

    def __init__(self, cell: CellType) -> None:
        self._cell = cell
        self._before = self._now()

    def _now(self) -> object:
        with suppress(ValueError):
            return self._cell.cell_contents
        return ABSENT

    def same(self) -> bool:
        return self._now() is self._before

    def _put_back(self) -> None:
        if self._before is ABSENT:
            del self._cell.cell_contents
        else:
            self._cell.cell_contents = self._before


class _Global(Place):
    """A variable of a module, that code names; it is put back if it is ``users``, and no library's."""

    def __init__(self, space: dict[str, Any], name: str, users: bool) -> None:
        self._space, self._name, self._users, self._before = space, name, users, space.get(name, ABSENT)

    def same(self) -> bool:
        return self._space.get(self._name, ABSENT) is self._before

    def _put_back(self) -> None:
        if self._users and self._before is ABSENT:
            del self._space[self._name]
        elif self._users:
            self._space[self._name] = self._before


class _Laid(Place):
    """Where the numbers of tensors lie, as far as that can be told, and whether each requires a gradient."""

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        self._tensors = tensors
        self._strided = [tensor for tensor in tensors if not is_elsewhere(tensor)]
        self._before = [tensor.detach() for tensor in self._strided]
        self._needs_gradient, self._where = self._needing(tensors), self._places(self._strided)

    @staticmethod
    def _needing(tensors: Iterable[torch.Tensor]) -> list[bool]:
        return list(map(_needs_gradient, tensors))

    @staticmethod
    def _places(tensors: Sequence[torch.Tensor]) -> tuple[list[object], ...]:
        return tuple(list(map(told, tensors)) for told in _WHERE)

    def same(self) -> bool:
        return self._needing(self._tensors) == self._needs_gradient and self._places(self._strided) == self._where

    def _put_back(self) -> None:
        for tensor, needed in zip(self._tensors, self._needs_gradient, strict=True):
            if tensor.requires_grad != needed:
                tensor.requires_grad_(needed)
        for tensor, before in zip(self._strided, self._before, strict=True):
            if self._places([tensor]) != self._places([before]):
                tensor.data = before


_needs_gradient = attrgetter("requires_grad")
_WHERE = (torch.Tensor.data_ptr, attrgetter("shape"), torch.Tensor.stride, attrgetter("dtype"))


class Numbers(Place):
    """Those of a tensor or array, by a digest; ``kept`` ones are put back from a copy."""

    def __init__(self, value: Any, kept: bool) -> None:
        self.kept, self.nbytes = kept, value.nbytes if kept else 0
        self._before = value.detach() if isinstance(value, torch.Tensor) and not is_elsewhere(value) else value
        self._copy = _copied(self._before) if kept else None
        data = content(value)
        self.digest = xxh3_128_digest(data)
        # Those of most tensors are their own memory, and need not be looked up again.
        self._data = data if isinstance(data, np.ndarray) and _is_memory_of(data, value) else None

    def same(self) -> bool:
        """Whether they have the digest that they had."""
        data: Any = content(self._before) if self._data is None else self._data
        return xxh3_128_digest(data) == self.digest

    def _put_back(self) -> None:
        if self._copy is None:
            return
        if isinstance(self._before, torch.Tensor):
            with torch.inference_mode(self._before.is_inference()), torch.no_grad():
                self._before.copy_(self._copy)
        else:
            self._before[...] = self._copy


class _Objects(Place):
    """The elements of an array of objects."""

    def __init__(self, array: Any) -> None:
        self._array, self._before = array, array.copy()

    def same(self) -> bool:
        return self._array.shape == self._before.shape and all(map(is_, self._array.flat, self._before.flat))

    def _put_back(self) -> None:
        self._array[...] = self._before


class _Arranged(Place):
    """The shape and type of an array."""

    def __init__(self, array: Any) -> None:
        self._array, self._before = array, self._now(array)

    @staticmethod
    def _now(array: Any) -> tuple[object, ...]:
        return array.shape, array.strides, array.dtype

    def same(self) -> bool:
        return self._now(self._array) == self._before


class _Bytes(Place):
    """Those of a bytearray."""

    def __init__(self, value: bytearray) -> None:
        self._value, self._before = value, bytes(value)

    def same(self) -> bool:
        return bytes(self._value) == self._before

    def _put_back(self) -> None:
        self._value[:] = self._before


class _Attributes(Place):
    """The dicts that hold the attributes of several objects: which these are, not what they hold."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = values
        self.dicts: list[Any] = list(map(vars, values))

    def same(self) -> bool:
        return all(map(is_, map(vars, self._values), self.dicts))

    def _put_back(self) -> None:
        for value, before in zip(self._values, self.dicts, strict=True):
            if vars(value) is not before:
                object.__setattr__(value, "__dict__", before)


def places_of(values: Sequence[Any], named: Iterable[Variable], classes: Iterable[type], most: int) -> list[Place]:
    """All places of ``values`` that a walk has reached, of variables that code names, and of layers' library classes.

    Numbers besides parameters are copied, to be put back, until that takes ``most`` bytes.
    """
    found: list[Place] = [_Types(values)]
    dicts: dict[type, list[Any]] = {dict: [], OrderedDict: []}
    tensors: list[torch.Tensor] = []
    holders: list[Any] = []
    slotted: dict[type, list[str]] = {}
    hooks = chain.from_iterable(map(_hooks, values))  # a walk leaves out those that are empty
    for value in chain(values, hooks):
        if type(value) in dicts:
            dicts[type(value)].append(value)
            holders += [] if type(value) is dict else [value]  # others have attributes as well
            continue
        try:
            if type(value) in _TENSORS:
                tensors.append(value)
            elif isinstance(value, torch.Tensor):
                found.append(_Laid([value]))
            own = list(_own(value, most))
            most -= sum(each.nbytes for each in own if isinstance(each, Numbers) and each.kept)
            found += own
            if type(value) not in _WITHOUT and not isinstance(value, type | ModuleType) and not is_left_out(value):
                if type(value) not in slotted:
                    slotted[type(value)] = slots(type(value))
                found += [_Attribute(value, name) for name in slotted[type(value)]]
                attributes = getattr(value, "__dict__", None)
                if type(attributes) is dict and vars(value) is attributes:
                    holders.append(value)
        except Exception:  # objects may raise anything where they are looked at
            found.append(_Unreadable())
    held = _Attributes(holders)
    found += [_Laid(tensors), held, _Dicts(dict, held.dicts), *(_Dicts(kind, each) for kind, each in dicts.items())]
    return [*found, *(_Global(*each) for each in named), *(_Members(vars(kind)) for kind in classes)]


_WITHOUT: frozenset[type] = frozenset({list, tuple, set, frozenset, CellType})
"""Built-in types, besides dicts, whose objects have no attributes."""
_TENSORS = (torch.Tensor, torch.nn.Parameter)
"""Types whose tensors raise nothing where they are looked at, so that all of them are in one go."""
_OF_FUNCTIONS = ("__code__", "__defaults__", "__kwdefaults__")


def _hooks(value: object) -> list[Any]:
    if not issubclass(type(value), torch.nn.Module):
        return []
    return [held for name in (*HOOKS, *MARKS) if (held := vars(value).get(name)) is not None]


def _own(value: Any, most: int) -> Iterator[Place]:
    """Of one object, what is no attribute."""
    if isinstance(value, torch.Tensor):
        free = isinstance(value, torch.nn.Parameter) or is_elsewhere(value)
        yield Numbers(value, not free and value.nbytes <= most)
    elif isinstance(value, np.ndarray):
        yield _Arranged(value)
        yield (
            _Objects(value) if value.dtype.hasobject else Numbers(value, value.flags.writeable and value.nbytes <= most)
        )
    elif isinstance(value, CellType):
        yield _Cell(value)
    elif isinstance(value, dict | list | deque | set):
        yield _Elements(value)
    elif isinstance(value, MappingProxyType):
        yield _Members(value)
    elif isinstance(value, ModuleType):
        yield _Members(vars(value))
    elif isinstance(value, bytearray):
        yield _Bytes(value)
    elif isinstance(value, FunctionType):
        yield from (_Attribute(value, name) for name in _OF_FUNCTIONS)
    elif isinstance(value, type):
        yield _Class(value)


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value.copy()


def _is_memory_of(data: np.ndarray[Any, Any], value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return np.may_share_memory(data, value)
    return data.size > 0 and data.ctypes.data == value.data_ptr()
