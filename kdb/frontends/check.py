"""Checks what traces and delta rules assume of a module, by running it on random images.

It must accept images of the given shape, return logits [N, K], and give an image the same logits each time, whatever
else is in the batch.  Errors name the layer that does not.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

from kdb.errors import ModelError, printable

ALLOWED = 1e-4
"""Of the largest logit, as a map that is exact allows."""
_SAMPLES = 4096
"""Elements compared, per image, of each layer's inputs and of its outputs."""

Note = Callable[[str, Any, Any], None]
"""Called with a layer's path, its inputs and its outputs."""


class _LayerCall(NamedTuple):
    """Samples of a layer's inputs and outputs in one call, for one image of the batch."""

    layer: str
    given: torch.Tensor
    made: torch.Tensor


def examples(module: torch.nn.Module, shape: Sequence[int]) -> torch.Tensor:
    """Random images of ``shape`` (N, C, H, W), with the dtype and device of the module's first floating-point weight.

    Image i has values from 0 to (i + 1) / N, so that statistics of the batch differ from those of each image.
    """
    weight = next((weight for weight in module.parameters() if weight.is_floating_point()), torch.empty(0))
    images = torch.rand(*shape, generator=torch.Generator().manual_seed(0))
    images *= along_batch(torch.arange(1, len(images) + 1) / len(images), images)
    return images.to(weight.device, weight.dtype)


def along_batch(numbers: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """``numbers`` [N], so that they broadcast over ``images`` [N, C, *size]."""
    return numbers.reshape(-1, *(1,) * (images.ndim - 1))


def logits_of(module: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The module's output for ``images`` [N, C, H, W]: logits [N, K], or maps of them [N, K, H', W'].

    Raises ModelError if the module fails or gives anything else.
    """
    out = _run(module, images)
    wanted = "the model must return logits [N, K], or maps of them with as many axes as its input"
    if not isinstance(out, torch.Tensor):
        several = isinstance(out, dict | tuple | list)
        how = "name the one that is meant, as in output = 'out'" if several else "wrap it in a module that does"
        raise ModelError(f"{wanted}; {outputs(out)}: {how}")
    vectors = out.ndim >= 2 and out.numel() and out[0].numel() == out.shape[1]
    maps = out.ndim == images.ndim and out.numel()
    if not (vectors or maps) or out.shape[0] != images.shape[0]:
        raise ModelError(f"{wanted}; it returns {list(out.shape)} for N = {len(images)}")
    return out


def outputs(given: Any) -> str:
    """In words, what a module returns that is no tensor, and which of several the option ``output`` can pick."""
    if isinstance(given, dict):
        return f"it returns a dict with {printable(', '.join(map(repr, given)))}"
    if isinstance(given, tuple | list):
        return f"it returns {len(given)} outputs, counted from 0"
    return f"it returns {type(given).__name__}"


def check_independence(module: torch.nn.Module, images: torch.Tensor, logits: torch.Tensor) -> None:
    """Raise ModelError unless each image has the same ``logits`` alone as in the batch ``images``, up to rounding."""
    for i in range(len(images)):
        image = images[i : i + 1]
        if _agree_alone(module, images, logits, i):
            continue
        by_chance = not agree(logits, logits_of(module, images))
        again = _calls(module, images, i) if by_chance else _calls(module, image, 0)
        layer = _first_difference(_calls(module, images, i), again)
        where = f"the output of layer '{layer}'" if layer else "the model's output"
        how = "differs from run to run" if by_chance else "differs between an image alone and the same image in a batch"
        why = "on chance" if by_chance else "on the other images of its batch"
        raise ModelError(f"{where} {how}; it may not depend {why}")


def _agree_alone(module: torch.nn.Module, images: torch.Tensor, logits: torch.Tensor, i: int) -> bool:
    """Whether image ``i`` alone has the ``logits`` that it has in the batch, up to what Exact allows.

    Where rounding may have been magnified, the module in float64 decides.
    """
    image, together = images[i : i + 1], logits[i : i + 1]
    alone = logits_of(module, image)
    if _share(together, alone) <= ALLOWED:
        return True
    try:
        exact = doubled(module)
        with torch.no_grad():
            both = exact(images.double())[i : i + 1], exact(image.double())
    except Exception:  # modules may refuse to be copied, and functions to take float64
        return agree(together, alone)
    return _share(*both) <= ALLOWED


def _share(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference, relative to the largest number; infinite where only one is finite."""
    a, b = a.detach().double(), b.detach().double()
    if a.shape != b.shape or not torch.equal(a.isfinite(), b.isfinite()):
        return float("inf")
    difference = (a - b).nan_to_num(0, 0, 0).abs().amax() if a.numel() else torch.zeros(())
    return float(difference / a.nan_to_num(0, 0, 0).abs().amax().clamp(min=torch.finfo(a.dtype).tiny))


def doubled(module: torch.nn.Module) -> torch.nn.Module:
    """A copy in eval mode and float64, plain tensor attributes included; raises whatever copying it raises."""
    double = copy.deepcopy(module).eval().double()
    for part in double.modules():
        for name, value in vars(part).items():
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                setattr(part, name, value.double())
    return double


def first_line(error: Exception) -> str:
    """The first line of the error's message that is not blank, as it may be shown, or else the name of its type."""
    return printable(next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__))


def _run(module: torch.nn.Module, images: torch.Tensor, note: Note | None = None) -> Any:
    """The module's output; ``note`` is called for each layer when that returns."""
    entered: list[tuple[str, torch.nn.Module, Any]] = []

    def enter(layer: str, part: torch.nn.Module, given: Any) -> None:
        entered.append((layer, part, given))

    def leave(layer: str, _: torch.nn.Module, given: Any, made: Any) -> None:
        entered.pop()
        if note is not None:
            note(layer, given, made)

    hooks = []
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):  # it takes no hooks
            continue
        hooks.append(part.register_forward_pre_hook(partial(enter, name)))
        hooks.append(part.register_forward_hook(partial(leave, name)))
    try:
        with torch.no_grad():
            return module(images.clone())  # a forward may write into its input
    except Exception as error:
        name, part, given = entered[-1] if entered else ("", module, ())
        layer = f"layer '{name}'" if name else "the model"
        if (wanted := _other_channels(part, given, images.shape[1])) is not None:
            has = f"images of {images.shape[1]} channels"
            raise ModelError(f"{layer} takes {wanted} channels, not {has}: set n_channels = {wanted}") from error
        raise ModelError(f"{layer} fails on an input of shape {tuple(images.shape)}: {first_line(error)}") from error
    finally:
        for hook in hooks:
            hook.remove()


def _other_channels(part: torch.nn.Module, given: Any, channels: int) -> int | None:
    """The channels that ``part`` takes, if it is a convolution given images of another number of ``channels``."""
    if not isinstance(part, torch.nn.Conv2d) or part.in_channels == channels:
        return None
    images = [each for each in _tensors(given) if each.ndim == 4 and each.shape[1] == channels]
    return part.in_channels if images else None


def agree(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors agree in a third of their digits, as they do if only the order of summation differs."""
    if a.shape != b.shape:
        return False
    third = torch.finfo(a.dtype).eps ** (1 / 3) if a.is_floating_point() else 0.0
    a, b = a.detach().double(), b.detach().double()
    largest = float(torch.nan_to_num(a, nan=0, posinf=0, neginf=0).abs().amax()) if a.numel() else 0.0
    return torch.allclose(a, b, rtol=0, atol=third * largest, equal_nan=True)


def _calls(module: torch.nn.Module, images: torch.Tensor, image: int) -> list[_LayerCall]:
    """The calls of all layers, in the order in which they return, for ``images[image]``."""
    found: list[_LayerCall] = []

    def note(layer: str, given: Any, made: Any) -> None:
        found.append(_LayerCall(layer, _sample(given, len(images), image), _sample(made, len(images), image)))

    _run(module, images, note)
    return found


def _sample(value: Any, batch: int, image: int) -> torch.Tensor:
    """Evenly spaced elements of the tensors in ``value`` whose first axis is the batch, for one image."""
    rows = [each[image].reshape(-1) for each in _tensors(value) if each.ndim and each.shape[0] == batch]
    return torch.cat([row[:: max(1, len(row) // _SAMPLES)] for row in rows]) if rows else torch.empty(0)


def _tensors(value: Any) -> Iterable[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [each for part in value for each in _tensors(part)] if isinstance(value, tuple | list) else []


def _first_difference(once: Iterable[_LayerCall], again: Iterable[_LayerCall]) -> str:
    """The path of the first layer with equal inputs and different outputs; empty if that is the model itself."""
    for a, b in zip(once, again, strict=False):
        if agree(a.given, b.given) and not agree(a.made, b.made):
            return a.layer
    return ""
