"""What the forward of a module can read: everything that is reached from it, each object once.

That is its layers with their attributes, parameters, buffers and hooks; of functions and methods the code, defaults,
closures, and the globals that the code names; of containers the elements, and of other objects the attributes.  Code of
Python and of installed packages is taken as unchanged, and left out, apart from that of their layers.
"""

from __future__ import annotations

import dataclasses
import io
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache, partial
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.modules import module as nn_module
from torch.nn.parameter import is_lazy

MOST = 100_000
"""Objects reached at most; what is farther away is left out."""
ABSENT = object()
"""Stands for what an attribute or variable holds that is not there."""

_LIBRARIES = frozenset(sys.stdlib_module_names) - {"__main__"} | {"torch", "numpy", "kdb"}
_PLAIN: tuple[type, ...] = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented))
_SHOWN: tuple[type, ...] = (
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
    np.generic,
    np.dtype,
    np.ufunc,
)
"""Types whose repr says all."""
_NATIVE = (
    BuiltinFunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodWrapperType,
    WrapperDescriptorType,
    type(str.join),
    type(dict.__dict__["fromkeys"]),
)
_LEFT_OUT = (
    *("kdb", "logging", "threading", "_thread", "weakref", "multiprocessing", "concurrent", "asyncio", "_io", "io"),
    *("random", "numpy.random", "torch._C", "torch._ops", "torch._dynamo", "torch._inductor", "torch.fx"),
)
"""Where types are defined whose objects no output depends on, or only by chance; kdb's own data is looked at."""
HOOKS = ("_forward_hooks", "_forward_pre_hooks")
"""Attributes of a layer with the hooks that its call runs, by numbers that count those of the process."""
MARKS = ("_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs")
"""Those with the numbers of hooks that are called in another way."""
_NOT_READ = {
    *(*MARKS, "training", "_non_persistent_buffers_set", "_is_full_backward_hook", "_compiled_call_impl"),
    *("_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks", "_state_dict_pre_hooks"),
    *("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks", "_graph", "meta", "dynamo_ctx"),
}
"""Attributes of a module that have no say in its output in eval mode."""
_NOT_CODE = {
    *("__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__slots__"),
    *("__abstractmethods__", "_abc_impl", "__parameters__", "__orig_bases__", "__match_args__", "__hash__"),
    *("__dataclass_fields__", "__dataclass_params__", "__firstlineno__", "__static_attributes__"),
}


class Variable(NamedTuple):
    """What code may mean by a name, whether it is there or not: a module's namespace, of a user's or a library's."""

    space: dict[str, Any]
    name: str
    users: bool


class Reached:
    """Iterates over the objects reached from ``root``, each with a text that tells its content.

    The text has no addresses; it names other objects by their number in the order of iteration.  The numbers in
    tensors and arrays are not part of it.

    After the iteration ``variables`` are those that functions name, ``library`` the classes of libraries that layers
    are made of, whose functions may be replaced, and ``complete`` says that the texts depend on nothing else.
    """

    def __init__(self, root: object) -> None:
        self._variables: dict[tuple[int, str], Variable] = {}
        self.library: dict[type, None] = {}
        self.complete = True
        self._found: list[object] = []  # keeps them alive, so that ids stay theirs
        self._numbers: dict[int, int] = {}
        self._keyless: set[int] = set()
        self._whole: set[int] = set()
        self._classes: dict[type, str] = {}
        self._number(root)
        for hooks in (nn_module._global_forward_pre_hooks, nn_module._global_forward_hooks):
            self._hooks(hooks)

    @property
    def variables(self) -> Iterable[Variable]:
        """Those that functions name."""
        return self._variables.values()

    def __iter__(self) -> Iterator[tuple[object, str]]:
        at = 0
        while at < min(len(self._found), MOST):
            value = self._found[at]
            try:
                text = " ".join(self._parts(value))
            except Exception as error:  # objects may raise anything where they are looked at
                text = f"{_name(type(value))} unreadable: {type(error).__name__}"
                self.complete = False
            yield value, text + "\n"
            at += 1
        self.complete &= at == len(self._found)

    def _ref(self, value: object) -> str:
        """What stands for an object in the text of another: its own text, or its number."""
        kind = type(value)
        if kind in _PLAIN:
            return repr(value)
        if isinstance(value, _SHOWN):
            return f"{_name(kind)} {value!r}"
        if isinstance(value, FunctionType) and _is_installed(home := _home(value)):
            wraps = value.__closure__ or value.__dict__
            if not wraps or _top(home) == "kdb":  # what kdb's own hooks collect is no part of a model
                return _name(value)
        elif isinstance(value, type) and _is_installed(str(value.__module__)):
            if _is_library(str(value.__module__)) or not issubclass(value, torch.nn.Module):
                return _name(value)
        elif isinstance(value, ModuleType) and _is_installed(value.__name__):
            return value.__name__
        return self._number(value)

    def _number(self, value: object) -> str:
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._found)
            self._found.append(value)
        return f"#{self._numbers[id(value)]}"

    def _refs(self, values: Iterable[object]) -> Iterator[str]:
        return map(self._ref, values)

    def _items(self, values: Iterable[tuple[object, object]]) -> Iterator[str]:
        return (f"{self._ref(key)}:{self._ref(value)}" for key, value in values)

    def _parts(self, value: Any) -> Iterator[str]:
        kind = type(value)
        if id(value) in self._keyless:
            yield from ("hooks", *self._refs(value.values()))
        elif kind in (list, tuple, dict):
            yield kind.__name__
            yield from self._items(value.items()) if kind is dict else self._refs(value)
        elif isinstance(value, torch.nn.Module):
            yield from self._module(value)
        elif isinstance(value, torch.Tensor):
            yield from self._tensor(value)
        elif kind is FunctionType:
            yield from self._function(value)
        elif kind is MethodType:
            yield from ("method", self._ref(value.__func__), self._ref(value.__self__))
        elif kind is CellType:
            yield from ("cell", *self._refs(_content(value)))
        elif isinstance(value, type):
            yield from self._class(value)
        elif isinstance(value, ModuleType):
            yield value.__name__
            yield from self._items((key, held) for key, held in vars(value).items() if not key.startswith("__"))
        elif isinstance(value, _NATIVE):
            owner = getattr(value, "__self__", None)
            yield from (_name(value), "" if isinstance(owner, ModuleType) else self._ref(owner))
        elif kind is partial:
            yield from ("partial", *self._refs((value.func, value.args, value.keywords)))
        elif isinstance(value, property):
            yield from ("property", self._ref(value.fget))
        elif isinstance(value, staticmethod | classmethod):
            yield from (kind.__name__, self._ref(value.__func__))
        else:
            yield from self._object(value)

    def _object(self, value: Any) -> Iterator[str]:
        """Of any other object: its type, elements and attributes."""
        kind = type(value)
        yield self._ref(kind)
        if is_left_out(value):
            return
        whole = True
        for base in (bool, int, float, complex, str, bytes, bytearray):
            if isinstance(value, base):
                yield base.__repr__(value)
                break
        else:
            if isinstance(value, np.ndarray):
                yield f"{value.dtype} {value.shape}"
                if value.dtype.hasobject:
                    yield from self._refs(value.reshape(-1).tolist())
            elif isinstance(value, dict):
                yield from self._items(dict.items(value))
            elif isinstance(value, MappingProxyType):
                yield from self._items(value.items())
            elif isinstance(value, list | tuple | deque):
                yield from self._refs(value)
            elif isinstance(value, set | frozenset):
                yield from sorted(self._refs(sorted(value, key=repr)))
            else:
                whole = False
        names = slots(kind)
        if hasattr(value, "__dict__"):
            yield from self._items(vars(value).items())
        elif not whole and not names:
            yield from self._reduced(value)
        yield from (f"{name}:{self._ref(getattr(value, name))}" for name in names if hasattr(value, name))

    def _reduced(self, value: Any) -> Iterator[str]:
        """Of an object that is written in C: what a pickle of it would have."""
        self.complete = False
        try:
            parts = value.__reduce_ex__(4)
        except Exception:  # what cannot be pickled, a lock for example, says nothing
            return
        yield from self._refs(map(_listed, parts) if isinstance(parts, tuple) else [parts])

    def _tensor(self, value: torch.Tensor) -> Iterator[str]:
        yield self._ref(type(value))
        if is_lazy(value):
            return
        yield f"{value.dtype} {tuple(value.shape)} {value.device} {value.layout}"
        if value.__dict__:
            yield from self._items(vars(value).items())

    def _module(self, value: torch.nn.Module) -> Iterator[str]:
        yield self._class_of(type(value))
        if isinstance(value, torch.fx.GraphModule):
            yield value.code  # which its class, made for it alone, was made of
        for key, held in vars(value).items():
            if key in HOOKS:
                yield f"{key}:{self._hooks(held)}" if held else ""
            elif key not in _NOT_READ:
                yield f"{key}:{self._ref(held)}"
        for key in MARKS:
            if marked := vars(value).get(key):
                hooks = vars(value)[next(hooks for hooks in HOOKS if key.startswith(hooks))]
                yield f"{key}:{[number in marked for number in hooks]}"

    def _hooks(self, hooks: Any) -> str:
        """A dict of hooks, whose keys count the hooks of the process."""
        self._keyless.add(id(hooks))
        return self._ref(hooks)

    def _class_of(self, kind: type) -> str:
        """The class of a layer, and functions of the user's in the place of a library's."""
        if kind not in self._classes:
            bases = [base for base in kind.__mro__ if _is_library(str(base.__module__))]
            self.library.update(dict.fromkeys(bases))
            patched = [
                f"{base.__name__}.{key}:{self._ref(value)}"
                for base in bases
                for key, value in vars(base).items()
                if type(value) is FunctionType and not _is_library(_home(value))
            ]
            self._classes[kind] = " ".join([self._ref(kind), *patched])
        return self._classes[kind]

    def _class(self, kind: type) -> Iterator[str]:
        yield _name(kind)
        yield from self._refs(kind.__bases__)
        # A layer is not made in a forward, and what makes it names much that no forward reads.
        is_layer = issubclass(kind, torch.nn.Module)
        left_out = _NOT_CODE | ({"__init__"} if is_layer else set())
        for key, value in vars(kind).items():
            if key in left_out or isinstance(value, _NATIVE):
                continue
            if is_layer and isinstance(value, FunctionType):
                self._whole.add(id(value))
                yield f"{key}:{self._number(value)}"
            else:
                yield f"{key}:{self._ref(value)}"

    def _function(self, value: FunctionType) -> Iterator[str]:
        yield _name(value)
        cells = value.__closure__ or ()
        yield from self._refs(cells)
        yield from self._items(vars(value).items())
        if _is_installed(_home(value)) and id(value) not in self._whole:
            return  # a wrapper around what the closure holds
        yield from self._refs((value.__defaults__, value.__kwdefaults__))
        texts: list[str] = []
        names = dict.fromkeys(_code(value.__code__, texts))
        yield from texts
        yield from self._named(value.__globals__, names, set())

    def _named(self, space: dict[str, Any], names: Mapping[str, None], seen: set[int]) -> Iterator[str]:
        """The variables ``names`` of a module, and of those that are modules again such that code could mean."""
        if id(space) in seen:
            return
        seen.add(id(space))
        users = not _is_installed(str(space.get("__name__")))
        for name in names:
            self._variables[id(space), name] = Variable(space, name, users)
            if name not in space:
                continue
            value = space[name]
            if isinstance(value, ModuleType):
                yield f"{name}={value.__name__}"
                yield from self._named(vars(value), names, seen)
            else:
                yield f"{name}={self._ref(value)}"


def _content(cell: CellType) -> tuple[object, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # empty: the variable has no value yet
        return ()


def _code(code: CodeType, texts: list[str]) -> Iterator[str]:
    """The names that a function's code has, and of the functions inside; its instructions are added to ``texts``."""
    texts += [code.co_code.hex(), code.co_exceptiontable.hex(), repr((code.co_varnames, code.co_names, code.co_flags))]
    texts.append(repr((code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_freevars)))
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code(constant, texts)
        else:
            texts.append(repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant))


def slots(kind: type) -> list[str]:
    """The attributes of objects of a class that are not in their dict."""
    found: list[str] = []
    for base in kind.__mro__:
        named = vars(base).get("__slots__", ())
        found += (named,) if isinstance(named, str) else named
    return [name for name in found if not name.startswith("__")]


def _listed(part: Any) -> Any:
    """Iterators as lists: a pickle has these for the elements of a container."""
    return list(part) if isinstance(part, Iterator) else part


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"


def _top(module: str) -> str:
    return module.partition(".")[0]


def _home(function: FunctionType) -> str:
    """The module that a function was defined in; its attribute may be that of another, which it wraps."""
    return str(function.__globals__.get("__name__"))


@lru_cache(maxsize=4096)
def _is_library(module: str) -> bool:
    return _top(module) in _LIBRARIES


@lru_cache(maxsize=4096)
def _is_installed(module: str) -> bool:
    """Whether it belongs to Python or to an installed package, rather than to whoever uses them."""
    place = str(getattr(sys.modules.get(_top(module)), "__file__", ""))
    return _is_library(module) or "site-packages" in place or "dist-packages" in place


def is_left_out(value: object) -> bool:
    """Whether an object is not looked into; layers are, wherever their class comes from, as those of torch.fx."""
    if issubclass(type(value), torch.nn.Module):
        return False
    module = str(type(value).__module__)
    return _defines_none(module) and not (_top(module) == "kdb" and dataclasses.is_dataclass(value))


@lru_cache(maxsize=4096)
def _defines_none(module: str) -> bool:
    return any(module == one or module.startswith(f"{one}.") for one in _LEFT_OUT)


def is_elsewhere(tensor: torch.Tensor) -> bool:
    """Whether the numbers of a tensor are not, or not all, in memory that is its own."""
    return is_lazy(tensor) or tensor.is_meta or tensor.is_nested or tensor.layout != torch.strided


def content(value: torch.Tensor | npt.NDArray[Any]) -> Any:
    """The bytes of a tensor or array of any type, layout and device, as a buffer: if possible without a copy."""
    if isinstance(value, np.ndarray):
        return b"" if value.dtype.hasobject else np.ascontiguousarray(value)
    if is_lazy(value) or value.is_meta:
        return b""
    value = value.detach()
    if is_elsewhere(value) or value.is_quantized or type(value) is not torch.Tensor:
        torch.save(value, file := io.BytesIO())
        return file.getvalue()
    value = value.cpu().resolve_conj().resolve_neg().contiguous()
    try:
        return value.numpy()
    except TypeError:  # a type that NumPy lacks
        return value.reshape(-1).view(torch.uint8).numpy()
