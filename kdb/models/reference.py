"""The model itself, as it is at the moment: what every map is checked against while it is made.

Nothing of kdb's trace, rules or kernels is used here: images go in, and what the module gives comes out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any
from weakref import WeakSet

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from kdb.errors import ModelError
from kdb.frontends.check import doubled, first_line
from kdb.frontends.state.snapshot import Snapshot
from kdb.frontends.state.untouched import untouched
from kdb.kernels.base import Array

Logits = npt.NDArray[np.float64]

CHANNELS_LAST = 4
"""Images of two axes, [n, H, W, C], are given to the module in the memory layout that they have: PyTorch's convolutions
are faster so, depthwise ones twice as fast."""
_contiguous: WeakSet[nn.Module] = WeakSet()
"""Modules that take no other layout than the usual one: ``view`` of a map refuses any other."""
_in_eval_mode: WeakSet[nn.Module] = WeakSet()
"""Modules that kdb alone holds, and has put into it."""
_ACTIVATIONS = ("_softmax", "_log_softmax", "sigmoid", "softmax", "log_softmax")


class ModuleReference:
    """Runs ``module`` in eval mode on images as its network takes them: float32 [n, *size, C].

    Where the network leaves out the activation with which the module ends (``before_activation``), so does this.  A
    module that is ``shared`` with Python code besides kdb is left as it was; ``snapshot`` gives one of it as it is, if
    whoever holds the module keeps one.
    """

    def __init__(
        self,
        module: nn.Module,
        before_activation: bool = False,
        shared: bool = True,
        snapshot: Callable[[], Snapshot] | None = None,
    ) -> None:
        self._module, self._before_activation, self._shared = module, before_activation, shared
        self._snapshot = snapshot
        self._guarded = False

    @contextmanager
    def several(self) -> Iterator[None]:
        """Around several calls: the module is put back as it was once, after all of them."""
        if not self._shared and self._module not in _in_eval_mode:
            self._module.eval()
            _in_eval_mode.add(self._module)
        if self._guarded or not self._shared:
            yield
            return
        self._guarded = True
        try:
            with untouched(self._module, self._snapshot):
                yield
        finally:
            self._guarded = False

    def logits(self, images: Array) -> Logits:
        """[n, K], all images in one batch; raises ModelError where the module fails."""
        return self._run(self._module, images, _dtype(self._module))

    def in_float64(self, images: Array) -> Logits | None:
        """[n, K] by a copy of the module in float64; None where it cannot be copied or does not run so."""
        try:
            return self._run(doubled(self._module), images, torch.float64)
        except Exception:  # whatever a module does in its forward, or holds that cannot be copied
            return None

    def layers(self, image: Array) -> Mapping[str, Array]:
        """What each part without parts of its own gives for ``image`` [H, W, C]: [h, w, c] by path, if it is one map.

        Of a part that is called several times, what it gives last.
        """
        found: dict[str, Array] = {}

        def note(path: str, part: nn.Module, given: Any, made: Any) -> None:
            if isinstance(made, Tensor) and made.ndim in (2, image.ndim + 1) and len(made) == 1 and path:
                whole = made[0].float().cpu()
                map_ = whole.movedim(0, -1) if whole.ndim == image.ndim else whole.reshape(*(1,) * (image.ndim - 1), -1)
                found[path] = map_.numpy().copy()

        leaves = ((path, part) for path, part in self._module.named_modules() if not any(part.children()))
        told = ((path, part) for path, part in leaves if not isinstance(part, torch.jit.ScriptModule))
        hooks = [part.register_forward_hook(partial(note, path)) for path, part in told]
        try:
            self._run(self._module, image[None], _dtype(self._module))
        finally:
            for hook in hooks:
                hook.remove()
        return found

    def _run(self, module: nn.Module, images: Array, dtype: torch.dtype) -> Logits:
        weight = next(module.parameters(), torch.empty(0))
        batch = torch.from_numpy(np.ascontiguousarray(images)).movedim(-1, 1).to(weight.device, dtype)
        if dtype != torch.float32 or images.ndim != CHANNELS_LAST or module in _contiguous:
            batch = batch.contiguous()
        try:
            output = self._output(module, batch)
        except Exception as error:  # a module may raise anything
            if batch.is_contiguous():
                raise ModelError(f"the model fails on images {list(batch.shape)}: {first_line(error)}") from error
            _contiguous.add(module)
            return self._run(module, images, dtype)
        return np.asarray(output.reshape(len(images), -1).double().cpu().numpy())

    def _output(self, module: nn.Module, batch: Tensor) -> Tensor:
        activations = _Activations()
        with self.several(), torch.no_grad(), activations if self._before_activation else nullcontext():
            output = module(batch)
        return activations.before(output)


def _dtype(module: nn.Module) -> torch.dtype:
    return next((weight.dtype for weight in module.parameters() if weight.is_floating_point()), torch.float32)


class _Activations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what the last calls of softmax and sigmoid were given, to tell what the last of all was."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._calls: deque[tuple[Tensor, Tensor]] = deque(maxlen=2)  # an attention layer's maps may be large

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in _ACTIVATIONS:
            self._calls.append((made, args[0]))
        return made

    def before(self, output: Tensor) -> Tensor:
        """What the activation was given that made ``output``; the output itself where none was noted.

        Raises ModelError where others were.
        """
        if not self._calls:
            return output
        for made, given in reversed(self._calls):
            if made.numel() == output.numel() and torch.equal(made.reshape(-1).to(output.dtype), output.reshape(-1)):
                return given
        raise ModelError("the model's activation cannot be told from its output")
