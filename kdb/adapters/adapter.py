"""Decides between kdb's engine and full inference, runs one of them, and says which and why."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from kdb.errors import BindError, Error, ExecutionError, FullInferenceWarning, ModelError, VerificationWarning
from kdb.execution.engine import Engine, default_settings
from kdb.execution.occluder import Work
from kdb.execution.verification import Checked, CheckFailed
from kdb.frontends.check import first_line
from kdb.models.traces import TracedModule, Traces, why_unsuitable, why_untraceable
from kdb.system import memory
from kdb.system.interrupts import interruptible
from kdb.system.locks import ProcessLock
from kdb.system.progress import ProgressBar
from kdb.system.threads import after_fork

OnProgress = Callable[[int], None]
"""Called with the number of windows finished."""
Result = TypeVar("Result")
Incremental = Callable[[Engine, TracedModule, OnProgress], tuple[Result, Work, Checked | None]]
"""Computes a result by the engine: raises CheckFailed, or another ExecutionError where an output is not finite."""


@dataclass(frozen=True)
class Report:
    """How a result was computed: by kdb's engine, or by full inference, and then ``why_not`` says why.

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


@dataclass(frozen=True, eq=False)
class Call:
    """What a model is called with: ``inputs``, of which windows are hidden, and ``arguments`` and ``keywords`` behind.

    ``output`` is what it gives for the inputs as they are.
    """

    inputs: tuple[Tensor, ...]
    output: Tensor
    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)


class Adapter:
    """A model as it is given to another library: an ``nn.Module``, or any function of tensors."""

    def __init__(self, model: Callable[..., Any]) -> None:
        if not callable(model):
            raise BindError(f"a model is a module or a function, not {type(model).__name__}")
        self.model = model
        self.settings = default_settings()
        self._engine = Engine(self.settings)
        self._traces = Traces(model) if isinstance(model, nn.Module) else None
        self._warned: set[str] = set()
        self._lock = ProcessLock()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around all that runs the model, one caller at a time; raises Interrupted on Ctrl-C."""
        with self._lock, interruptible(), memory.told(), after_fork(), torch.no_grad():
            yield

    def output(
        self, inputs: Sequence[Tensor], arguments: Sequence[Any] = (), keywords: Mapping[str, Any] | None = None
    ) -> Any:
        """What the model gives; raises ModelError where it fails."""
        try:
            return self.model(*inputs, *arguments, **(keywords or {}))
        except Error:
            raise
        except Exception as error:  # a model may raise anything
            shapes = ", ".join(str(list(tensor.shape)) for tensor in inputs)
            raise ModelError(f"the model fails on an input of {shapes}: {first_line(error)}") from error

    def suited(self, call: Call) -> TracedModule | str:
        """The model's trace, or why the engine cannot be used."""
        if len(call.inputs) > 1:
            return "there are several inputs"
        if call.arguments or call.keywords:
            return "there are additional arguments"
        (images,) = call.inputs
        why_not = why_untraceable(self.model, images) or why_unsuitable(call.output, images)
        if why_not is not None:
            return why_not
        assert self._traces is not None, "only modules are suitable"
        try:
            return self._traces.get(images, call.output)
        except ModelError as error:
            return str(error)

    def answer(
        self,
        call: Call,
        incremental: Incremental[Result],
        in_full: Callable[[OnProgress], Result],
        windows: int,
        steps: int,
        shown: bool,
    ) -> tuple[Result, Report]:
        """The result for so many ``windows``, by the engine if that is possible.

        Full inference takes ``steps``, each of a window of all examples.  With ``shown`` a progress bar is drawn on
        standard error.
        """
        start = time.perf_counter()
        checked: Checked | None = None
        suited = self.suited(call)
        traced_anew = False
        while isinstance(suited, TracedModule):
            try:
                with _bar(windows, shown) as on_progress:
                    found, work, checked = incremental(self._engine, suited, on_progress)
                return found, Report(windows, time.perf_counter() - start, work, checked=checked)
            except CheckFailed as error:
                again = self._traced_anew(call, suited) if error.unmodified and not traced_anew else None
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
            found = in_full(on_progress)
        return found, Report(windows, time.perf_counter() - start, why_not=suited, checked=checked)

    def _traced_anew(self, call: Call, before: TracedModule) -> TracedModule | None:
        """The model's trace as it is now, where no fingerprint shows a change; None if that is as it was."""
        assert self._traces is not None, "it was traced before"
        self._traces.forget()
        again = self.suited(call)
        return again if isinstance(again, TracedModule) and again.identity != before.identity else None


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
