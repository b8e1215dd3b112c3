"""An affine map by channel (batch norm in inference) becomes part of the convolution or dense layer before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from kdb.operators.base import Operator
from kdb.operators.convolution import Convolution
from kdb.operators.locationwise import Affine, Dense
from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.base import Context, Rule
from kdb.planner.rules.rewriting import rewritten


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """``a (W x + b) + c = (a W) x + (a b + c)``, where nothing else reads ``W x + b``."""
    network = plan.network
    replaced: dict[str, tuple[Operator, tuple[str, ...]]] = {}
    arrays: dict[str, npt.NDArray[np.float32]] = {}
    for node in network:
        if not isinstance(node.operator, Affine):
            continue
        source = network[node.inputs[0]]
        linear = source.operator
        if not isinstance(linear, Convolution | Dense) or len(network.readers(source.name)) != 1:
            continue
        # In float64, so that folding costs one rounding.
        parameters = network.parameters
        scale, shift = (parameters[name].array.astype(np.float64) for name in node.operator.weights())
        weight = parameters[linear.weight].array * scale.reshape(-1, *(1,) * (parameters[linear.weight].array.ndim - 1))
        bias = shift if linear.bias is None else parameters[linear.bias].array * scale + shift
        names = (f"{linear.weight}*{node.operator.scale}", f"{linear.weight}*{node.operator.shift}")
        for name, array in zip(names, (weight, bias), strict=True):
            arrays[name] = array.astype(np.float32)
        replaced[node.name] = (replace(linear, weight=names[0], bias=names[1]), source.inputs)
    if not replaced:
        return "no affine map follows a convolution or dense layer"
    return plan.with_network(rewritten(network, replaced, arrays))


RULE = Rule("fold_batch_norm", "batch normalization becomes part of the layer before it", apply, on_network=True)
