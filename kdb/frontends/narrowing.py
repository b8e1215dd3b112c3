"""A result that is a part of what the forward makes: the part is taken earlier, so that the rest need not be made.

As with a projection in a relational plan, a slice behind a concatenation is one of what is concatenated.  A detector's
class scores, a slice of boxes and scores together, are so separated from the boxes.
"""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import torch
from torch import fx

from kdb.frontends.aten.shape import EVERYTHING
from kdb.frontends.fallback import result_of

aten = torch.ops.aten
_ELEMENTWISE = tuple(getattr(aten, name).default for name in ("sigmoid", "relu", "silu", "tanh", "exp", "neg", "clone"))
_RESHAPES = (aten.view.default, aten._unsafe_view.default)
_AXES_ADDED = (aten.unsqueeze.default,)


class Cut(NamedTuple):
    """The indices from ``start`` to before ``stop`` of a dimension."""

    dim: int
    start: int
    stop: int


def narrow(graph: fx.Graph) -> None:
    """Where the result is a slice, or one index of a dimension, take it as early as can be; values are the same."""
    node = result_of(graph)
    while node.target in (*_AXES_ADDED, *_ELEMENTWISE) or _takes_all(node) or _index(node) is not None:
        if (one := _index(node)) is not None:
            with graph.inserting_before(node):
                part = _part(graph, node.all_input_nodes[0], one)
                node.replace_all_uses_with(_call(graph, node, node.target, part, one.dim, 0))
            node = part
        else:
            node = node.all_input_nodes[0]
    cut = _cut(node)
    if cut is not None:
        with graph.inserting_before(node):
            node.replace_all_uses_with(_part(graph, node.all_input_nodes[0], cut))
    graph.eliminate_dead_code()


def _index(node: fx.Node) -> Cut | None:
    """The one index that a selection takes; None for other nodes, and for one of the batch."""
    if node.target is not aten.select.int:
        return None
    given: tuple[Any, ...] = node.args
    dim, length = given[1] % len(_shape(given[0])), _shape(given[0])[given[1]]
    if dim == 0 or not isinstance(length, int) or not isinstance(given[2], int):
        return None
    return Cut(dim, given[2] % length, given[2] % length + 1)


def _takes_all(node: fx.Node) -> bool:
    """Whether it is a slice of everything, as ``x[:]`` is."""
    return node.target is aten.slice.Tensor and tuple(node.args[2:]) in ((), (0, EVERYTHING))


def _cut(node: fx.Node) -> Cut | None:
    """What a slice of one dimension takes; None for other nodes, and for slices with a step or of the batch."""
    if node.target is not aten.slice.Tensor:
        return None
    given: tuple[Any, ...] = node.args
    rest: tuple[Any, ...] = (0, None, None, 1)
    source, dim, start, stop, step = given + rest[len(given) - 1 :]
    dim %= len(_shape(source))
    length = _shape(source)[dim]
    if dim == 0 or step != 1 or not all(each is None or isinstance(each, int) for each in (start, stop, length)):
        return None
    taken = range(length)[slice(start, stop)]
    return Cut(dim, taken.start, taken.stop) if taken else None


def _part(graph: fx.Graph, node: fx.Node, cut: Cut) -> fx.Node:
    """A node with this part of ``node``'s value."""
    given: tuple[Any, ...] = node.args
    if _takes_all(node):
        return _part(graph, given[0], cut)
    if node.target is aten.cat.default:
        return _of_joined(graph, node, cut)
    if node.target in _ELEMENTWISE:
        return _call(graph, node, node.target, _part(graph, given[0], cut), *given[1:])
    if node.target in _RESHAPES and _keeps(node, cut.dim):
        size = list(given[1])
        size[cut.dim] = cut.stop - cut.start
        return _call(graph, node, node.target, _part(graph, given[0], cut), size)
    if node.target is aten.permute.default:
        moved = cut._replace(dim=given[1][cut.dim])
        return _call(graph, node, node.target, _part(graph, given[0], moved), given[1])
    if node.target is aten.slice.Tensor and given[1] % len(_shape(node)) != cut.dim:
        return _call(graph, node, node.target, _part(graph, given[0], cut), *given[1:])
    if node.target is aten.select.int:
        before = cut._replace(dim=cut.dim + (cut.dim >= given[1] % len(_shape(given[0]))))
        return _call(graph, node, node.target, _part(graph, given[0], before), *given[1:])
    source, own = _piece(node) or (node, None)
    if own is not None and own.dim == cut.dim:
        return _part(graph, source, Cut(cut.dim, own.start + cut.start, own.start + cut.stop))
    whole = (cut.start, cut.stop) == (0, _shape(node)[cut.dim])
    return node if whole else _call(graph, node, aten.slice.Tensor, node, *cut)


def _of_joined(graph: fx.Graph, node: fx.Node, cut: Cut) -> fx.Node:
    """The part of a concatenation: of those of its inputs that have some of it."""
    given: tuple[Any, ...] = node.args
    parts, along = given[0], (*given, 0)[1] % len(_shape(node))
    if along != cut.dim:
        return _call(graph, node, node.target, [_part(graph, part, cut) for part in parts], along)
    found, before = [], 0
    for part in parts:
        length = _shape(part)[along]
        start, stop = max(cut.start - before, 0), min(cut.stop - before, length)
        if start < stop:
            found.append(_part(graph, part, Cut(along, start, stop)))
        before += length
    return found[0] if len(found) == 1 else _call(graph, node, node.target, found, along)


def _piece(node: fx.Node) -> tuple[fx.Node, Cut] | None:
    """What a node takes a part of, and which; None for other nodes."""
    if (cut := _cut(node)) is not None:
        return node.all_input_nodes[0], cut
    if node.target is not operator.getitem:
        return None
    split, number = node.args
    if not isinstance(split, fx.Node) or split.target is not aten.split_with_sizes.default:
        return None
    given: tuple[Any, ...] = split.args
    source, sizes, dim = (*given, 0)[:3]
    start = sum(sizes[:number])
    return source, Cut(dim % len(_shape(source)), start, start + sizes[number])


def _keeps(node: fx.Node, dim: int) -> bool:
    """Whether a reshape leaves all dimensions up to this one as they are."""
    was, now = _shape(node.all_input_nodes[0]), _shape(node)
    return len(was) > dim and all(bool(a == b) for a, b in zip(was[: dim + 1], now[: dim + 1], strict=True))


def _shape(node: fx.Node) -> tuple[Any, ...]:
    return tuple(node.meta["val"].shape)


def _call(graph: fx.Graph, like: fx.Node, target: Any, *args: Any) -> fx.Node:
    """A new node in the place of ``like``, which knows its value for the example as those of the export do."""
    made = graph.call_function(target, args)
    made.meta = {**like.meta, "val": target(*fx.map_arg(args, lambda node: node.meta["val"]))}
    return made
