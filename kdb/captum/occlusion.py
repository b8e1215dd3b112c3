"""``Occlusion``: captum's class, its arguments checked and its attributions asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from kdb.adapters.adapter import Adapter, Call, Report
from kdb.captum import full, incremental
from kdb.captum.arguments import Question, Target, bind_baselines, bind_inputs, bind_output, bind_windows
from kdb.errors import BindError
from kdb.execution.settings import Settings


class Occlusion:
    """captum's ``Occlusion``: what an output loses when a window of the input is covered by a baseline.

    ``forward_func`` is the model: an ``nn.Module`` in eval mode, if kdb's engine is to be used, or any function of
    tensors.  ``settings`` are those of a session, as in ``occlusion.settings.set("threads", 1)``.

    ``report`` says how the last attribution was computed.  Where that was by full inference, a FullInferenceWarning
    says why, once for each reason.
    """

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        self._adapter = Adapter(forward_func)
        self.forward_func = forward_func
        self.report: Report | None = None

    @property
    def settings(self) -> Settings:
        """Those of the engine."""
        return self._adapter.settings

    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        sliding_window_shapes: Any,
        strides: Any = None,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
    ) -> Any:
        """The attribution of each element of ``inputs`` [N, ...]: float32 of that shape, a tuple for a tuple.

        It is the mean, over the windows that cover the element, of the output as it is less the output where the window
        is covered.  The first axis has one entry for each number that ``target`` chooses: N, as a rule.

        ``sliding_window_shapes`` is (C, h, w) or the like; ``strides`` whole numbers (1); ``baselines`` numbers, or
        tensors that broadcast to the inputs (0); ``target`` a whole number, a tuple, or a list or tensor of one for
        each example.  With several inputs, the first three are tuples of one each.  ``additional_forward_args`` follow
        the inputs.  Full inference takes ``perturbations_per_eval`` windows at a time, the engine its own batches.

        Raises BindError for arguments that do not fit, ModelError where the model itself fails, and Interrupted.
        """
        tensors = bind_inputs(inputs)
        windows, covers = bind_windows(sliding_window_shapes, strides, tensors), bind_baselines(baselines, tensors)
        chosen, arguments = Target.bind(target), _as_tuple(additional_forward_args)
        batch: Any = perturbations_per_eval
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise BindError(f"perturbations_per_eval is a whole number from 1; not {batch!r}")
        with self._adapter.running():
            call = self._call(tensors, arguments)
            chosen.select(call.output)  # what is wrong with the target is said now
            question = Question(self._adapter, call, windows, covers, chosen)
            by_engine, in_full = (
                partial(incremental.attributions, question),
                partial(full.attributions, question, batch),
            )
            steps = sum(map(len, windows))
            maps, self.report = self._adapter.answer(
                call, by_engine, in_full, steps * len(tensors[0]), steps, show_progress
            )
        results = tuple(torch.from_numpy(each).float().to(x.device) for each, x in zip(maps, tensors, strict=True))
        return results if isinstance(inputs, tuple) else results[0]

    def why_not(self, inputs: Tensor | tuple[Tensor, ...], additional_forward_args: Any = None) -> str | None:
        """Why these would take full inference; None where the engine can do it.  Runs the model once, and traces it.

        Raises what :meth:`attribute` raises.
        """
        tensors, arguments = bind_inputs(inputs), _as_tuple(additional_forward_args)
        with self._adapter.running():
            suited = self._adapter.suited(self._call(tensors, arguments))
        return suited if isinstance(suited, str) else None

    def _call(self, inputs: tuple[Tensor, ...], arguments: tuple[Any, ...]) -> Call:
        return Call(inputs, bind_output(self._adapter.output(inputs, arguments)), arguments)


def _as_tuple(arguments: Any) -> tuple[Any, ...]:
    return () if arguments is None else arguments if isinstance(arguments, tuple) else (arguments,)
