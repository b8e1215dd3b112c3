"""A few positions: the model itself takes them and the unmodified image in one batch, where that is cheaper.

An incremental plan costs inferences that have nothing to do with its positions: that of the unmodified image, whose
layers are the views, and those by the model itself, which the map is compared with.  Where the model itself evaluates
everything there is no view, and nothing to compare.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kdb.planner.plan import ByModel, LogicalPlan
from kdb.planner.rules.base import Context, Rule
from kdb.planner.rules.rebatch import full_batch
from kdb.results.wording import seconds

MARGIN = 1.6
"""How much faster an incremental plan of few positions has to be by its estimate.

Rates are of full batches.  A few small deltas take longer than these say, by small calls and weights that are read for
two or three positions, and views and check are an inference of one image each.  With 4 positions estimates were 1.3 to
1.4 times in favour of incremental plans of ResNet18 and MobileNetV2, which then took 1.3 to 1.9 times as long.
"""


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """Leave all positions to the model itself, unless deltas are estimated to be clearly faster.

    What deltas take is only estimated where the other inferences do not decide: planning would take as long.
    """
    n, network = len(plan.positions), plan.network
    if not context.permissions.alone:
        return "others of the query's positions have a plan of their own"
    if not context.permissions.exact:
        return "the query permits an approximation"
    if not context.costs.backend.traits.computes_on_host:
        return "the model itself does not run on the device"
    if n + 1 > full_batch(network.nodes[1:], replace(context, batch_size=None)):
        return "with the unmodified image they are more than a batch"
    inference = context.costs.inference(network, n + 1) / (n + 1)
    own, fixed = inference * (n + 1), inference * (1 + context.compared)
    decided = own <= MARGIN * fixed
    incremental = fixed if decided else fixed + _deltas(plan, context)
    own_, incremental_ = (seconds(each / context.threads) for each in (own, incremental))
    other = f"{incremental_}{' or more' if decided else ''} of views, deltas and check"
    because = f"{own_} expected with the unmodified image, {other}"
    if own > MARGIN * incremental:
        return f"the model itself: {because}"
    batches, size = (np.arange(n),), min(n + 1, context.batch_size or n + 1)
    by_model = ByModel(inference * n, because)
    return replace(plan, batches=batches, groups=((0,),), full_batch=size, by_model=by_model)


def _deltas(plan: LogicalPlan, context: Context) -> float:
    """Thread-seconds of all positions in a batch for each worker, every layer by its delta rule or in full."""
    network, costs, n = plan.network, context.costs, len(plan.positions)
    extents, each = plan.extents(), -(-n // context.threads)
    total = 0.0
    for node in network.nodes[1:]:
        if extents[node.name] is not None:
            delta = costs.delta(network, node, extents, each)
            full = costs.full(network, node, each).seconds
            total += full if delta is None else min(delta.seconds, full)
    return total * n / each


RULE = Rule("few_positions", "a few positions are left to the model itself unless deltas are clearly cheaper", apply)
