"""ONNX's operators by torch: a table of small functions, a file a family.

Written in the terms that kdb's frontend knows, where there is a choice: what is in its vocabulary stays incremental.
"""

from __future__ import annotations

from kdb.models.onnx.operators import arithmetic, layers, layout, pooling, quantized, resize
from kdb.models.onnx.operators.types import Operator

OPERATORS: dict[str, Operator] = {
    **layers.OPERATORS,
    **pooling.OPERATORS,
    **arithmetic.OPERATORS,
    **layout.OPERATORS,
    **resize.OPERATORS,
    **quantized.OPERATORS,
}
"""By name, behind ``com.microsoft::`` for the fused ones of ONNX Runtime; their arguments are those of opset 13 and
later."""
