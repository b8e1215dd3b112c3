"""PyTorch's exporter without what it looks up anew in each export of a process, and finds as it was."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch._C import DispatchKey
from torch._ops import OperatorBase

Kernel = Callable[..., Any]


@functools.cache
def hasten() -> None:
    """Of an export of a small network these take a third: a search of all operators, and the notes of what they do."""
    from torch._export import utils
    from torch.export import decomp_utils, exported_program

    users = utils, decomp_utils, exported_program
    if not all(hasattr(user, "_collect_all_valid_cia_ops") for user in users):
        return  # another release has it elsewhere, and takes longer
    found = _found(utils._collect_all_valid_cia_ops)
    for user in users:
        user._collect_all_valid_cia_ops = found  # type: ignore[attr-defined, unused-ignore]
    OperatorBase.py_impl = _py_impl(OperatorBase.py_impl)  # type: ignore[method-assign, unused-ignore]


def _found(search: Callable[[], set[Any]]) -> Callable[[], set[Any]]:
    """``search``, once for the operators that there are; its callers copy what they change."""
    known: dict[tuple[int, tuple[str, ...]], set[Any]] = {}

    def found() -> set[Any]:
        composite = torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")
        operators = len(torch._C._dispatch_get_all_op_names()), tuple(composite)
        if operators not in known:
            known[operators] = search()
        return known[operators]

    return found


def _py_impl(usual: Callable[..., Any]) -> Callable[..., Any]:
    """Of thousands of kernels an export notes each in a function of its own, whose annotations are made anew."""

    def py_impl(operator: Any, key: Any) -> Callable[[Kernel], Kernel]:
        if not isinstance(key, DispatchKey) or key == DispatchKey.Python or key in operator.py_kernels:
            found: Callable[[Kernel], Kernel] = usual(operator, key)
            return found

        def noted(kernel: Kernel) -> Kernel:
            operator.py_kernels[key] = kernel
            operator._dispatch_cache.clear()
            return kernel

        return noted

    return py_impl
