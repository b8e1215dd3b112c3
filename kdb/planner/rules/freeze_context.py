"""Context freezing: gates by means of the map keep the values that they have on the unmodified image.

A squeeze-and-excitation layer multiplies every cell by a function of the map's mean, so that a change anywhere changes
every cell a little.  With such gates frozen, only cells whose windows lead to the patch change.
"""

from __future__ import annotations

from dataclasses import replace

from kdb.operators.gates import LiveGate
from kdb.operators.network import Network
from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.aggregates import gates
from kdb.planner.rules.base import Context, Rule


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """Freeze every gate, and the layers that only gates read."""
    if not context.permissions.freeze_context:
        permitted = context.permissions.approximate
        return "these positions are evaluated at full fidelity" if permitted else "the query has no APPROXIMATE"
    frozen = gates(plan.network)
    if not frozen:
        if any(isinstance(node.operator, LiveGate) for node in plan.network):
            return "every gate is live"
        return "no layer multiplies every cell by means of the map"
    if not _reaches_output(plan.network, frozen):
        return "with the gates frozen, no change would reach the output"
    return replace(plan, frozen=frozen)


def _reaches_output(network: Network, frozen: frozenset[str]) -> bool:
    changed = {network.source.name}
    for node in network.nodes[1:]:
        if node.name not in frozen and not changed.isdisjoint(node.inputs):
            changed.add(node.name)
    return network.output.name in changed


RULE = Rule("freeze_context", "gates by the whole map keep the unmodified image's values", apply, exact=False)
