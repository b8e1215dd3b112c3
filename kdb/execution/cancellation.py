"""How far a delta may be trusted where it nearly cancels the view that it is added to.

A layer computes with ``x = view + delta``, whose rounding error is relative to the larger of the two: next to nothing,
unless they nearly cancel and a layer divides by the sum.  For each position the change of the layer's output is
estimated that such an error of its input makes; a position for which it is too large is evaluated in full.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kdb.kernels import programs
from kdb.kernels.base import Array, Backend
from kdb.operators.network import Network, Node
from kdb.operators.pointwise import Pointwise
from kdb.system.threads import quiet

Doubts = npt.NDArray[np.float32]
"""[n]: by position, the estimated relative error of a layer's output; 0 where no layer is watched."""

MOST = 3e-5
"""Largest estimated error that is left as it is: a third of what Exact allows, relative to the largest logit."""


def doubts(
    k: Backend, network: Network, node: Node, views: Sequence[Array], inputs: Sequence[Array], noise: float
) -> Doubts:
    """The estimated relative error of the output of ``node`` at each of n positions.

    ``inputs`` [n, H, W, C] are its inputs, ``views`` [H, W, C] those on the unmodified image.  ``noise`` is the error
    of ``view + delta`` relative to the larger, by the plan's kernels.  Infinite where the output's error has no bound,
    as beside the root of zero.
    """
    with quiet():
        if isinstance(node.operator, Pointwise):
            x, view = (k.memory.download(each).reshape(-1, each.shape[-1]) for each in (inputs[0], views[0][None]))
            return _of_program(node.operator, network, view, x, noise)
        found: Doubts = np.maximum.reduce([_of_maps(k, view, x, noise) for view, x in zip(views, inputs, strict=True)])
        return found


def _of_program(operator: Pointwise, network: Network, view: Array, x: Array, noise: float) -> Doubts:
    """By evaluating the program once more, at inputs [n, C] that are off by the noise of ``view`` [1, C]."""
    signs = np.where(np.random.default_rng(0).random(x.shape[1]) < 0.5, -1, 1)  # noise has no common direction
    noisy = x + np.float32(noise) * np.maximum(np.abs(view), np.abs(x)) * signs.astype(np.float32)
    values, others = np.empty_like(x), np.empty_like(x)
    programs.evaluate(operator.program, x, network.parameters, values)
    programs.evaluate(operator.program, noisy, network.parameters, others)
    return _ratio(np.linalg.norm(others - values, axis=1), np.linalg.norm(values, axis=1))


def _of_maps(k: Backend, view: Array, x: Array, noise: float) -> Doubts:
    """The noise of a ``view`` [H, W, C] relative to maps ``x`` [n, H, W, C]."""
    here = np.sqrt(k.memory.download((x * x).sum(axis=tuple(range(1, x.ndim)))).astype(np.float64))
    there = np.sqrt(k.memory.download((view * view).sum()[None]).astype(np.float64))
    return _ratio(noise * np.maximum(here, there), here)


def _ratio(error: npt.NDArray[np.floating], value: npt.NDArray[np.floating]) -> Doubts:
    found = np.where(error == 0, 0, error / value)
    return np.nan_to_num(found, nan=np.inf, posinf=np.inf).astype(np.float32)
