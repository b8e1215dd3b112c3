"""A snapshot of a module tells whether anything that its forward can read has changed, and puts it back.

More of what a forward reads changes in tests/models/test_stale.py; tests/models/test_untouched.py has one that writes.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Callable
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from kdb.frontends.state import snapshot as snapshots
from kdb.frontends.state.snapshot import Snapshot


class Slotted:
    __slots__ = ("here", "later")

    def __init__(self) -> None:
        self.here = 1


class Named(dict[str, int]):
    """Says that it is empty."""

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0


class Unreadable:
    """Without a dict, or anything else that could be looked at."""

    __slots__ = ("x",)

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


def network(held: object = None) -> nn.Module:
    module = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.ReLU())
    module.held = held  # type: ignore[assignment]
    return module


def library() -> ModuleType:
    module = ModuleType("some_module")
    module.gain = 1.0  # type: ignore[attr-defined]
    return module


def variable() -> Callable[[], int]:
    x = 1

    def read() -> int:
        return x

    return read


def replaced(value: Any) -> None:
    value.__dict__ = {"number": 2}


class Plain:
    def __init__(self) -> None:
        self.number = 1


TABLE = {"gain": 1.0}

PUT_BACK: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "a list": (lambda: [1, 2], lambda v: v.append(3)),
    "the order of a list": (lambda: [1, 2], lambda v: v.reverse()),
    "a dict": (lambda: {"a": 1}, lambda v: v.update(a=2)),
    "a key of a dict": (lambda: {"a": 1}, lambda v: (v.pop("a"), v.update(b=1))),
    "the order of a dict": (lambda: OrderedDict(a=1, b=1), lambda v: v.move_to_end("a")),
    "an attribute of a dict": (lambda: OrderedDict(a=1), lambda v: setattr(v, "scale", 2)),
    "a dict of a subclass": (lambda: Named(a=1), lambda v: v.update(a=2)),
    "a deque": (lambda: deque([1, 2]), lambda v: v.rotate()),
    "a set": (lambda: {1, 2}, lambda v: v.discard(1)),
    "what a tuple holds": (lambda: ([1], 2), lambda v: v[0].append(1)),
    "a slot": (Slotted, lambda v: setattr(v, "here", 2)),
    "a slot that was empty": (Slotted, lambda v: setattr(v, "later", 2)),
    "an attribute": (Plain, lambda v: setattr(v, "number", 2)),
    "an attribute more": (Plain, lambda v: setattr(v, "more", 2)),
    "an attribute less": (Plain, lambda v: delattr(v, "number")),
    "all attributes": (Plain, replaced),
    "bytes": (lambda: bytearray(b"ab"), lambda v: v.__setitem__(0, 99)),
    "an array": (lambda: np.zeros(3), lambda v: v.__setitem__(1, -0.0)),
    "an array of NaN": (lambda: np.full(3, np.nan), lambda v: v.__setitem__(1, 0.0)),
    "an array of objects": (lambda: np.array([1, "a"], dtype=object), lambda v: v.__setitem__(0, 2)),
    "a tensor": (lambda: torch.zeros(3), lambda v: v.add_(1)),
    "a tensor that is read across": (lambda: torch.zeros(3, 4).T, lambda v: v[0].add_(1)),
    "a part of a tensor": (lambda: torch.zeros(3, 4)[:, 1:3], lambda v: v.add_(1)),
    "a tensor in half precision": (lambda: torch.zeros(3, dtype=torch.bfloat16), lambda v: v.add_(1)),
    "the data of a tensor": (lambda: torch.zeros(3), lambda v: setattr(v, "data", torch.ones(3))),
    "the shape of a tensor": (lambda: torch.zeros(3, 4), lambda v: v.t_()),
    "whether it needs a gradient": (lambda: torch.zeros(3), lambda v: v.requires_grad_(True)),
    "an attribute of a tensor": (lambda: torch.zeros(3), lambda v: setattr(v, "scale", 1.0)),
    "a variable of a closure": (variable, lambda v: setattr(v.__closure__[0], "cell_contents", 2)),
    "a class": (lambda: type("Own", (), {"x": 1, "__module__": "mine"}), lambda v: setattr(v, "x", 2)),
    "a method more": (lambda: type("Own", (), {"__module__": "mine"}), lambda v: setattr(v, "call", lambda: 1)),
}
COMPARED: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "a view of a dict": (lambda: MappingProxyType(TABLE), lambda v: TABLE.update(gain=TABLE["gain"] + 1)),
    "a module of Python's": (library, lambda v: setattr(v, "gain", 2.0)),
    "a sparse tensor": (lambda: torch.eye(3).to_sparse(), lambda v: v.values().mul_(2)),
    "numbers that NumPy only reads": (lambda: np.broadcast_to(np.zeros(1), 3), lambda v: v.base.fill(1)),
    "the shape of an array": (lambda: np.zeros((2, 3)), lambda v: setattr(v, "shape", (3, 2))),
    "bases of a class": (lambda: type("Own", (Plain,), {}), lambda v: setattr(v, "__bases__", (nn.Module,))),
}


@pytest.mark.parametrize("name", [*PUT_BACK, *COMPARED])
def test_a_snapshot_tells_a_change_and_puts_it_back(name: str) -> None:
    made, change = {**PUT_BACK, **COMPARED}[name]
    module = network(made())
    before, snapshot = Snapshot(module).fingerprint, Snapshot(module)
    assert snapshot.same() and snapshot.same(weights=False) and snapshot.fingerprint == before
    change(module.held)
    assert not snapshot.same()
    if name in PUT_BACK:
        assert not snapshot.same(weights=False)
        snapshot.restore()
        assert snapshot.same() and Snapshot(module).fingerprint == before


def test_weights_are_compared_and_not_put_back() -> None:
    module = network()
    snapshot = Snapshot(module)
    with torch.no_grad():
        module[0].weight += 1  # type: ignore[index,operator]
    assert snapshot.same(weights=False) and not snapshot.same()
    snapshot.restore()
    assert not snapshot.same()


def test_a_traced_module_has_attributes_too() -> None:
    module = torch.fx.symbolic_trace(network())
    module.scale = 1.0  # type: ignore[assignment]
    meta, snapshot = module.meta, Snapshot(module)
    module.scale = 2.0  # type: ignore[assignment]
    module.meta = {}
    assert not snapshot.same()
    snapshot.restore()
    assert snapshot.same() and module.scale == 1.0 and module.meta is meta


@pytest.mark.parametrize("made", [Unreadable, lambda: re.compile("a")])
def test_what_cannot_be_looked_at_may_have_changed(made: Callable[[], object]) -> None:
    snapshot = Snapshot(network([made()]))
    assert not snapshot.same()
    snapshot.restore()


def test_a_snapshot_that_would_copy_much_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "MOST_KEPT", 100)
    assert Snapshot(network(torch.zeros(10))).same() and not Snapshot(network(torch.zeros(100))).same()


def test_what_is_not_copied_is_compared_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "MOST_COPIED", 100)
    module = network(torch.zeros(100))
    snapshot = Snapshot(module)
    module.held += 1  # type: ignore[assignment,operator]
    assert not snapshot.same() and snapshot.same(weights=False)


def test_what_changes_while_a_snapshot_is_taken_is_noticed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    module = network([1])
    before = Snapshot(module).fingerprint

    def late(*arguments: Any, found: Any = snapshots.places_of) -> Any:
        module.held.append(2)  # type: ignore[operator,union-attr]
        return found(*arguments)

    monkeypatch.setattr(snapshots, "places_of", late)
    snapshot = Snapshot(module)
    assert snapshot.fingerprint == before and not snapshot.same()


LEAVES = st.one_of(st.integers(), st.text(max_size=3), st.builds(Plain), st.builds(lambda: torch.zeros(2)))
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(deque)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3).map(OrderedDict)
    ),
    max_leaves=12,
)


def mutable(value: Any, found: list[Any]) -> list[Any]:
    """All that can be written in a tree."""
    if isinstance(value, list | deque | dict | Plain | Tensor):
        found.append(value)
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list | deque | tuple) else ()
    ):
        mutable(inner, found)
    return found


def shown(value: Any) -> Any:
    """A tree with the identities of what it is made of."""
    if isinstance(value, dict):
        return id(value), [(key, shown(inner)) for key, inner in value.items()]
    if isinstance(value, list | deque | tuple):
        return id(value), [shown(inner) for inner in value]
    return id(value), value.tolist() if isinstance(value, Tensor) else vars(value) if isinstance(
        value, Plain
    ) else value


def written(value: Any, data: st.DataObject) -> None:
    if isinstance(value, dict):
        if value and data.draw(st.booleans()):
            del value[next(iter(value))]
        else:
            value[data.draw(st.sampled_from(["", "new"]))] = object()
    elif isinstance(value, Tensor):
        value += 1
    elif isinstance(value, Plain):
        value.number += 1
    elif value and data.draw(st.booleans()):
        value.pop()
    else:
        value.append(object())


@given(st.lists(TREES, min_size=1, max_size=3), st.data())
def test_whatever_a_forward_writes_is_put_back(tree: list[Any], data: st.DataObject) -> None:
    module = network(tree)
    before, snapshot = shown(tree), Snapshot(module)
    for _ in range(data.draw(st.integers(1, 3))):
        written(data.draw(st.sampled_from(mutable(tree, []))), data)
    changed = shown(tree) != before
    assert not changed or not snapshot.same()
    snapshot.restore()
    assert snapshot.same() and shown(tree) == before
