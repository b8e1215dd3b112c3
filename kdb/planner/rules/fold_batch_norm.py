"""An affine map by channel (batch norm in inference) becomes part of the convolution or dense layer before it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from kdb.kernels.base import FloatArray, Origin, Weight
from kdb.operators.base import Operator
from kdb.operators.convolution import Convolution
from kdb.operators.dense import Dense
from kdb.operators.pointwise import Affine
from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.base import Context, Rule
from kdb.planner.rules.rewriting import rewritten


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """``a (W x + b) + c = (a W) x + (a b + c)``, where nothing else reads ``W x + b``."""
    network, weights = plan.network, plan.network.parameters
    replaced: dict[str, tuple[Operator, tuple[str, ...]]] = {}
    added: dict[str, Origin] = {}
    for node in network:
        if not isinstance(node.operator, Affine):
            continue
        source = network[node.inputs[0]]
        linear = source.operator
        if not isinstance(linear, Convolution | Dense) or len(network.readers(source.name)) != 1:
            continue
        scale, shift = (weights[name] for name in node.operator.weights())
        weight, bias = (f"{linear.weight}*{name}" for name in node.operator.weights())
        added[weight] = partial(_scaled, weights[linear.weight], scale)
        added[bias] = partial(_shifted, None if linear.bias is None else weights[linear.bias], scale, shift)
        replaced[node.name] = (replace(linear, weight=weight, bias=bias), source.inputs)
    if not replaced:
        return "no affine map follows a convolution or dense layer"
    return plan.with_network(rewritten(network, replaced, added))


# In float64, so that folding costs one rounding.


def _scaled(weight: Weight, scale: Weight) -> FloatArray:
    """``a W``: a factor for each output channel, the first axis."""
    factors = scale.array.astype(np.float64).reshape(-1, *(1,) * (weight.array.ndim - 1))
    return (weight.array * factors).astype(np.float32)


def _shifted(bias: Weight | None, scale: Weight, shift: Weight) -> FloatArray:
    """``a b + c``."""
    moved = 0 if bias is None else bias.array * scale.array.astype(np.float64)
    return (moved + shift.array.astype(np.float64)).astype(np.float32)


RULE = Rule("fold_batch_norm", "batch normalization becomes part of the layer before it", apply, on_network=True)
