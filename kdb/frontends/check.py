"""Whether a module can be explained at all: what a trace, and the delta rules after it, take for granted.

A module runs on an image, gives logits, and gives an image the same logits each time, whatever other images are beside
it.  Found by running it, and named by layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch

from kdb.errors import ModelError

_SAMPLES = 4096
"""Elements an image that are compared of what goes into and comes out of a layer."""

Note = Callable[[str, Any, Any], None]
"""Told a layer's path, what went in and what came out."""


class _Pass(NamedTuple):
    """A layer's call: samples of its inputs and of its outputs, for one image of the batch."""

    layer: str
    given: torch.Tensor
    made: torch.Tensor


@contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """The module in eval mode; afterwards it and all its submodules are in the modes that they were in."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        module.train(modes[module])  # first, for modules that do more than set their flag
        for part, mode in modes.items():
            part.training = mode


def examples(module: torch.nn.Module, shape: Sequence[int]) -> torch.Tensor:
    """Random images of ``shape`` (N, C, H, W), of the weights' dtype and on their device.

    Image i goes from 0 to (i + 1) / N: of one brightness and contrast, they would leave the batch's mean and variance
    what they are in each.
    """
    weight = next((weight for weight in module.parameters() if weight.is_floating_point()), torch.empty(0))
    images = torch.rand(*shape, generator=torch.Generator().manual_seed(0))
    images *= torch.arange(1, len(images) + 1).reshape(-1, 1, 1, 1) / len(images)
    return images.to(weight.device, weight.dtype)


def logits_of(module: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What the module gives for ``images`` [N, C, H, W]; raises ModelError where that fails or is not [N, K]."""
    out = _run(module, images)
    if not isinstance(out, torch.Tensor):
        what = f"it returns {type(out).__name__}, so wrap it in a module whose forward takes the logits out"
        raise ModelError(f"the model must return logits [N, K]; {what}")
    if out.ndim < 2 or out.shape[0] != images.shape[0] or out[0].numel() != out.shape[1]:
        raise ModelError(f"the model must return logits [N, K]; it returns {list(out.shape)} for N = {len(images)}")
    return out


def check_independence(module: torch.nn.Module, images: torch.Tensor, logits: torch.Tensor) -> None:
    """Raise ModelError unless each image alone has the ``logits`` that it has beside the others, up to rounding."""
    for i in range(len(images)):
        image = images[i : i + 1]
        if agree(logits[i : i + 1], logits_of(module, image)):
            continue
        by_chance = not agree(logits, logits_of(module, images))
        again = _passes(module, images, i) if by_chance else _passes(module, image, 0)
        layer = _first_difference(_passes(module, images, i), again)
        where = f"layer '{layer}' gives" if layer else "the model gives"
        how = "other values each time" if by_chance else "an image other values alone than in a batch"
        why = "on chance" if by_chance else "on the other images of its batch"
        raise ModelError(f"{where} {how}: the output for an image may not depend {why}")


def first_line(error: Exception) -> str:
    """The first line of a message that says something, or else the kind of the error."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _run(module: torch.nn.Module, images: torch.Tensor, note: Note | None = None) -> Any:
    """The module's output; ``note`` is told each layer's inputs and outputs when it returns."""
    entered: list[tuple[str, torch.nn.Module, Any]] = []

    def enter(layer: str, part: torch.nn.Module, given: Any) -> None:
        entered.append((layer, part, given))

    def leave(layer: str, _: torch.nn.Module, given: Any, made: Any) -> None:
        entered.pop()
        if note is not None:
            note(layer, given, made)

    hooks = []
    for name, part in module.named_modules():
        hooks.append(part.register_forward_pre_hook(partial(enter, name)))
        hooks.append(part.register_forward_hook(partial(leave, name)))
    try:
        with torch.no_grad():
            return module(images)
    except Exception as error:
        name, part, given = entered[-1] if entered else ("", module, ())
        layer = f"layer '{name}'" if name else "the model"
        if (wanted := _other_channels(part, given, images.shape[1])) is not None:
            has = f"images of {images.shape[1]} channels"
            raise ModelError(f"{layer} takes {wanted} channels, and not {has}: set n_channels = {wanted}") from error
        raise ModelError(f"{layer} fails on an input of shape {tuple(images.shape)}: {first_line(error)}") from error
    finally:
        for hook in hooks:
            hook.remove()


def _other_channels(part: torch.nn.Module, given: Any, channels: int) -> int | None:
    """How many channels ``part`` takes, where it is a convolution of images that have another number, ``channels``."""
    if not isinstance(part, torch.nn.Conv2d) or part.in_channels == channels:
        return None
    images = [each for each in _tensors(given) if each.ndim == 4 and each.shape[1] == channels]
    return part.in_channels if images else None


def agree(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors agree in a third of their digits: rounding, in whatever order of sums, leaves that many."""
    if a.shape != b.shape:
        return False
    third = torch.finfo(a.dtype).eps ** (1 / 3) if a.is_floating_point() else 0.0
    a, b = a.detach().double(), b.detach().double()
    largest = float(torch.nan_to_num(a, nan=0, posinf=0, neginf=0).abs().amax()) if a.numel() else 0.0
    return torch.allclose(a, b, rtol=0, atol=third * largest, equal_nan=True)


def _passes(module: torch.nn.Module, images: torch.Tensor, image: int) -> list[_Pass]:
    """The calls of all layers in the order in which they return, sampled for one image of ``images``."""
    found: list[_Pass] = []

    def note(layer: str, given: Any, made: Any) -> None:
        found.append(_Pass(layer, _sample(given, len(images), image), _sample(made, len(images), image)))

    _run(module, images, note)
    return found


def _sample(value: Any, batch: int, image: int) -> torch.Tensor:
    """Elements, evenly spread, of the tensors in ``value`` that have the batch as their first axis."""
    rows = [each[image].reshape(-1) for each in _tensors(value) if each.ndim and each.shape[0] == batch]
    return torch.cat([row[:: max(1, len(row) // _SAMPLES)] for row in rows]) if rows else torch.empty(0)


def _tensors(value: Any) -> Iterable[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [each for part in value for each in _tensors(part)] if isinstance(value, tuple | list) else []


def _first_difference(once: Iterable[_Pass], again: Iterable[_Pass]) -> str:
    """The innermost layer that makes different things of the same; its path, empty for the model itself."""
    for a, b in zip(once, again, strict=False):
        if agree(a.given, b.given) and not agree(a.made, b.made):
            return a.layer
    return ""
