"""ONNX's operators in terms of PyTorch's: a table of small functions, one file per family.

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
"""By name, with the prefix ``com.microsoft::`` for ONNX Runtime's fused operators; arguments are those of opset 13 and
later."""
