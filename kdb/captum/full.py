"""Attributions by full inference, some windows at a time: whatever the model, and whatever its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdb.adapters.adapter import OnProgress
from kdb.captum.arguments import Question, bind_output
from kdb.errors import BindError


def attributions(question: Question, batch: int, on_progress: OnProgress) -> tuple[npt.NDArray[np.float64], ...]:
    """For each input [numbers explained, ...], from ``batch`` windows at a time; raises what the model does."""
    before = question.target.select(question.call.output).double()
    found, finished = [], 0
    for i, windows in enumerate(question.windows):
        drops = []
        for first in range(0, len(windows), batch):
            numbers = range(first, min(first + batch, len(windows)))
            drops.append((before - _occluded(question, i, numbers)).cpu().numpy())
            finished += len(numbers)
            on_progress(finished)
        values = np.concatenate(drops).T  # [numbers explained, windows], the first axis of these the fastest
        found.append(windows.mean(values.reshape((len(values), *windows.counts), order="F")))
    return tuple(found)


def _occluded(question: Question, which: int, numbers: range) -> Tensor:
    """float64 [windows, numbers explained]: the output where the windows ``numbers`` of input ``which`` are covered."""
    image, repeats, rows = question.call.inputs[which], len(numbers), len(question.call.output)
    covered = torch.zeros((repeats, 1, *image.shape[1:]), dtype=torch.bool, device=image.device)
    for mask, number in zip(covered, numbers, strict=True):
        mask[(0, *question.windows[which].place(number))] = True
    inputs = [_repeated(tensor, repeats) for tensor in question.call.inputs]
    inputs[which] = torch.where(covered, question.baselines[which], image).flatten(0, 1)
    arguments = [_repeated(each, repeats) for each in question.call.arguments]
    output = bind_output(question.adapter.output(inputs, arguments))
    if len(output) != repeats * rows:
        raise BindError(
            f"the model gives {rows} outputs for the inputs alone, but {len(output)} for {repeats} windows at a time; "
            "where it makes one of a whole batch, perturbations_per_eval has to be 1"
        )
    return question.target.select(output, repeats).double()


def _repeated(value: Any, times: int) -> Any:
    """A tensor with an axis of examples, so many times one after another; anything else as it is."""
    return torch.cat([value] * times) if isinstance(value, Tensor) and value.ndim else value
