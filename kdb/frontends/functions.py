"""The functions that a trace from the cache may call: those of ATen that compute tensors from tensors and numbers.

PyTorch has thousands of functions, and some of them read files, load libraries, draw random numbers or write into their
arguments.  A file in the cache names functions, so it may name these alone; a trace of a module that needs another one
is not kept.
"""

from __future__ import annotations

from kdb.frontends.aten import TRANSLATORS

_MADE = """
    arange arange.start arange.start_step eye eye.m full full_like lift_fresh_copy linspace scalar_tensor zeros
    zeros_like ones ones_like tril triu
"""
_COMPARED = """
    eq.Scalar eq.Tensor ne.Scalar ne.Tensor lt.Scalar lt.Tensor le.Scalar le.Tensor gt.Scalar gt.Tensor ge.Scalar
    ge.Tensor where.self maximum minimum isnan isinf logical_and logical_or logical_not logical_xor bitwise_and.Tensor
    bitwise_and.Scalar bitwise_or.Tensor bitwise_or.Scalar bitwise_not bitwise_xor.Tensor bitwise_xor.Scalar
    any any.dim argmax argmin
"""
_COMPUTED = """
    ceil floor round trunc sign sin cos tan asin acos atan atan2 sinh cosh log1p log2 log10 expm1 cumsum prod
    prod.dim_int amin max.dim min.dim mean sum pow.Tensor_Tensor pow.Scalar remainder.Scalar remainder.Tensor
    fmod.Scalar fmod.Tensor
"""
_MOVED = """
    copy diagonal flip gather index_put repeat scatter.src scatter.value select_scatter sort topk
"""

ATEN = (
    frozenset(TRANSLATORS)
    .union(*(text.split() for text in (_MADE, _COMPARED, _COMPUTED, _MOVED)))
    .difference({"_native_batch_norm_legit"})  # it writes the statistics of the batch into its arguments
)
"""Names and overloads, without ``.default``: those that have a translator, and those that give constants."""

OF_SIZES = frozenset({"getitem", "aten.sym_size.int", "add", "sub", "mul", "floordiv", "mod", "neg"})
"""What else is in a trace: an output of several, the size of the batch, and Python's arithmetic with it."""


def is_plain(target: str) -> bool:
    """Whether a trace from the cache may call the function ``target`` (``aten.relu.default``, ``getitem``)."""
    return target in OF_SIZES or (
        target.startswith("aten.") and target.removeprefix("aten.").removesuffix(".default") in ATEN
    )
