"""Pointwise layers over one map become one: silu arrives as sigmoid and mul, hard-swish as add, clamp, mul, div."""

from __future__ import annotations

from kdb.kernels.base import Instruction, Operand, Program
from kdb.operators.base import Operator
from kdb.operators.combine import Add, Multiply
from kdb.operators.network import Network, Node
from kdb.operators.pointwise import Affine, Pointwise
from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.base import Context, Rule
from kdb.planner.rules.rewriting import rewritten

JOINS: dict[type[Operator], str] = {Add: "add", Multiply: "mul"}


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """g(f(x)) -> (g . f)(x) and f(x) + g(x) -> h(x), where nothing else reads what lies between."""
    network, merged = plan.network, 0
    while (step := _next(network)) is not None:
        network, merged = step, merged + 1
    return plan.with_network(network) if merged else "no pointwise layers to merge"


def _next(network: Network) -> Network | None:
    """Every merge that can be made at once, or None."""
    replaced: dict[str, tuple[Operator, tuple[str, ...]]] = {}
    touched: set[str] = set()
    for node in network:
        merge = _merge(network, node)
        if merge is not None and not touched & {node.name, *node.inputs}:
            replaced[node.name] = merge
            touched |= {node.name, *node.inputs}
    return rewritten(network, replaced) if replaced else None


def _program(node: Node) -> Program | None:
    """What a layer computes from its one input, if that is pointwise."""
    if isinstance(node.operator, Pointwise):
        return node.operator.program
    if isinstance(node.operator, Affine):
        return (Instruction("mul", (0, node.operator.scale)), Instruction("add", (1, node.operator.shift)))
    return None


def _merge(network: Network, node: Node) -> tuple[Operator, tuple[str, ...]] | None:
    own, join = _program(node), JOINS.get(type(node.operator))
    sources = [network[name] for name in node.inputs]
    if own is not None:
        before = _program(sources[0])
        if before is None or len(network.readers(sources[0].name)) != 1:
            return None
        program, _ = _inlined(own, before, len(before))
        return Pointwise((*before, *program)), sources[0].inputs
    if join is None:
        return None
    # f(x) . g(x): each operand is the root itself or a pointwise map of it that only this join reads.
    for root in {node.inputs[0], *sources[0].inputs, *sources[1].inputs}:
        parts = [() if s.name == root else _program(s) if s.inputs == (root,) else None for s in sources]
        private = all(s.name == root or len(network.readers(s.name)) == 1 for s in sources)
        if None not in parts and any(parts) and private:
            first, second = (part or () for part in parts)
            moved, last = _inlined(second, first, 0)
            left, right = len(first), last if second else 0
            return Pointwise((*first, *moved, Instruction(join, (left, right)))), (root,)
    return None


def _inlined(program: Program, before: Program, root: int) -> tuple[Program, int]:
    """``program`` to stand behind ``before``, reading its input from register ``root``; and its last register."""
    offset = len(before)

    def moved(operand: Operand) -> Operand:
        return operand if not isinstance(operand, int) else root if operand == 0 else operand + offset

    instructions = tuple(Instruction(i.function, tuple(map(moved, i.operands))) for i in program)
    return instructions, offset + len(program)


RULE = Rule(
    "merge_pointwise",
    "chains and joins of pointwise layers over one map become one layer",
    apply,
    on_network=True,
)
