"""``Occlusion``: decides between kdb's engine and full inference, runs one of them, and says which and why."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from kdb.captum import full, incremental
from kdb.captum.arguments import (
    OnProgress,
    Question,
    Target,
    bind_baselines,
    bind_inputs,
    bind_output,
    bind_windows,
)
from kdb.errors import BindError, Error, ExecutionError, FullInferenceWarning, ModelError, VerificationWarning
from kdb.execution.engine import Engine, default_settings
from kdb.execution.occluder import Work
from kdb.execution.verification import Checked, CheckFailed
from kdb.frontends.check import first_line
from kdb.models.traces import TracedModule, Traces
from kdb.system import memory
from kdb.system.interrupts import interruptible
from kdb.system.locks import ProcessLock
from kdb.system.progress import ProgressBar
from kdb.system.threads import after_fork


@dataclass(frozen=True)
class Report:
    """How an attribution was computed: by kdb's engine, or by full inference, and then ``why_not`` says why.

    ``windows`` counts those of all inputs and examples; ``work`` is known of the engine alone.  ``checked`` are the
    windows for which the engine's result was compared with the model itself, and the worst difference over what is
    allowed: 1e-4 of the largest output, 1e-3 of the range of the outputs, or twice the model's own error in float32.
    """

    windows: int
    seconds: float
    work: Work | None = None
    why_not: str | None = None
    checked: tuple[int, float] | None = None

    @property
    def incremental(self) -> bool:
        """Whether kdb's engine computed it."""
        return self.work is not None

    def __str__(self) -> str:
        how = f"full inference: {self.why_not}"
        if self.work is not None:
            how = f"incremental, {self.work.naive_macs / max(self.work.executed_macs, 1):.1f}x fewer multiply-adds"
        return f"{self.windows} windows in {self.seconds:.2f} s ({how})"


class Occlusion:
    """captum's ``Occlusion``: what an output loses when a window of the input is covered by a baseline.

    ``forward_func`` is the model: an ``nn.Module`` in eval mode, if kdb's engine is to be used, or any function of
    tensors.  ``settings`` are those of a session, as in ``occlusion.settings.set("threads", 1)``.

    ``report`` says how the last attribution was computed.  Where that was by full inference, a FullInferenceWarning
    says why, once for each reason.
    """

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        if not callable(forward_func):
            raise BindError(f"a model is a module or a function, not {type(forward_func).__name__}")
        self.forward_func = forward_func
        self.settings = default_settings()
        self.report: Report | None = None
        self._engine = Engine(self.settings)
        self._traces = Traces(forward_func) if isinstance(forward_func, nn.Module) else None
        self._warned: set[str] = set()
        self._lock = ProcessLock()

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
        with self._lock, interruptible(), memory.told(), after_fork(), torch.no_grad():
            output = self._forward(tensors, arguments)
            chosen.select(output)  # what is wrong with the target is said now
            question = Question(self._forward, tensors, arguments, windows, covers, chosen, output)
            maps, self.report = self._answer(question, batch, show_progress)
        results = tuple(torch.from_numpy(each).float().to(x.device) for each, x in zip(maps, tensors, strict=True))
        return results if isinstance(inputs, tuple) else results[0]

    def _answer(self, question: Question, batch: int, shown: bool) -> tuple[Sequence[npt.NDArray[np.float64]], Report]:
        """An attribution for each input, by the engine if that is possible."""
        start = time.perf_counter()
        steps = sum(map(len, question.windows))
        count = steps * len(question.inputs[0])
        checked: Checked | None = None
        suited = self._suited(question.inputs, question.arguments, question.output)
        traced_anew = False
        while isinstance(suited, TracedModule):
            try:
                with _bar(count, shown) as on_progress:
                    found, work, checked = incremental.attributions(self._engine, suited, question, on_progress)
                return (found,), Report(count, time.perf_counter() - start, work, checked=checked)
            except CheckFailed as error:
                again = self._traced_anew(question, suited) if error.unmodified and not traced_anew else None
                traced_anew = True
                suited, checked = again or str(error), error.checked
            except (ModelError, ExecutionError) as error:
                suited = str(error)
        if checked is not None:
            said = f"{suited}. It is evaluated in full by the model, and so is right"
            warnings.warn(said, VerificationWarning, stacklevel=3)
        elif suited not in self._warned:
            self._warned.add(suited)
            warnings.warn(f"full inference for each window: {suited}", FullInferenceWarning, stacklevel=3)
        with _bar(steps, shown) as on_progress:
            maps = full.attributions(question, batch, on_progress)
        return maps, Report(count, time.perf_counter() - start, why_not=suited, checked=checked)

    def why_not(self, inputs: Tensor | tuple[Tensor, ...], additional_forward_args: Any = None) -> str | None:
        """Why these would take full inference; None where the engine can do it.  Runs the model once, and traces it.

        Raises what :meth:`attribute` raises.
        """
        tensors, arguments = bind_inputs(inputs), _as_tuple(additional_forward_args)
        with self._lock, interruptible(), memory.told(), after_fork(), torch.no_grad():
            suited = self._suited(tensors, arguments, self._forward(tensors, arguments))
        return None if isinstance(suited, TracedModule) else suited

    def _traced_anew(self, question: Question, before: TracedModule) -> TracedModule | None:
        """The model's trace as it is now, where no fingerprint shows a change; None if that is as it was."""
        assert self._traces is not None, "it was traced before"
        self._traces.forget()
        again = self._suited(question.inputs, question.arguments, question.output)
        return again if isinstance(again, TracedModule) and again.identity != before.identity else None

    def _suited(self, inputs: tuple[Tensor, ...], arguments: tuple[Any, ...], output: Tensor) -> TracedModule | str:
        """The model's trace, or why the engine cannot be used."""
        why_not = incremental.why_not(self.forward_func, inputs, arguments, output)
        if why_not is not None:
            return why_not
        assert self._traces is not None, "only modules are suitable"
        try:
            return self._traces.get(inputs[0], output)
        except ModelError as error:
            return str(error)

    def _forward(self, inputs: Sequence[Tensor], arguments: Sequence[Any]) -> Tensor:
        try:
            output = self.forward_func(*inputs, *arguments)
        except Error:
            raise
        except Exception as error:  # a model may raise anything
            shapes = ", ".join(str(list(tensor.shape)) for tensor in inputs)
            raise ModelError(f"the model fails on an input of {shapes}: {first_line(error)}") from error
        return bind_output(output)


def _as_tuple(arguments: Any) -> tuple[Any, ...]:
    return () if arguments is None else arguments if isinstance(arguments, tuple) else (arguments,)


@contextmanager
def _bar(total: int, shown: bool) -> Iterator[OnProgress]:
    """A callback that draws a progress bar on standard error, if ``shown``."""
    if not shown:
        yield lambda done: None
        return
    bar = ProgressBar("windows", delay=0.0, leave=True)
    try:
        bar(0, total)
        yield lambda done: bar(done, total)
    finally:
        bar.close()
