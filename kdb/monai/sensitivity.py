"""``OcclusionSensitivity``: MONAI's class, its arguments checked and its maps made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdb.adapters.adapter import Adapter, Call, OnProgress, Report
from kdb.errors import BindError, Error, ExecutionError, ModelError
from kdb.execution.engine import Engine
from kdb.execution.occluder import Occluder, Work
from kdb.execution.settings import Settings
from kdb.execution.verification import Checked
from kdb.frontends.check import first_line
from kdb.geometry import IntArray
from kdb.kernels.base import Array
from kdb.models.traces import TracedModule
from kdb.monai.modes import Mode, bind_mode, check_mode
from kdb.monai.windows import Windows, bind_windows, central, even
from kdb.system.allocation import retained
from kdb.system.threads import quiet


class OcclusionSensitivity:
    """MONAI's ``OcclusionSensitivity``: what a classifier gives where a window of the image is hidden.

    ``nn_module`` is the model: an ``nn.Module``, if kdb's engine is to be used, or any function of tensors.  It gives
    [N, K] for images [N, C, *size] of one, two or three axes.

    ``mask_size``   the window's cells, one number for all axes or one each
    ``n_batch``     images that full inference and ``activate`` take at a time; the engine has its own batches
    ``verbose``     whether a progress bar is drawn on standard error
    ``mode``        what becomes of the part of the image under the window: a number in its place; ``mean_img``, the
                    image's mean in its place; ``gaussian``, the part times 1 less a Gaussian, 0 in its centre;
                    ``mean_patch``, the part times its mean, as MONAI 1.6 computes it; or a function of the image
                    [1, C, *size] and the part [1, C, *mask_size], called by several threads.  Means are over all
                    channels
    ``overlap``     of windows next to one another, from 0 to below 1
    ``activate``    True for a sigmoid where the image has one channel, and a softmax where it has more; False for none;
                    or a function of outputs [n, K]

    ``settings`` are those of a session.  ``report`` says how the last map was computed.  Where that was by full
    inference, a FullInferenceWarning says why, once for each reason.

    Raises BindError for arguments that there are not.
    """

    def __init__(
        self,
        nn_module: Callable[..., Any],
        mask_size: int | Sequence[int] = 16,
        n_batch: int = 16,
        verbose: bool = True,
        mode: str | float | Callable[..., Any] = "gaussian",
        overlap: float | Sequence[float] = 0.6,
        activate: bool | Callable[[Tensor], Tensor] = True,
    ) -> None:
        check_mode(mode)
        if isinstance(n_batch, bool) or not isinstance(n_batch, int) or n_batch < 1:
            raise BindError(f"n_batch is a whole number from 1; not {n_batch!r}")
        self._adapter = Adapter(nn_module)
        self.nn_module, self.mask_size, self.n_batch, self.verbose = nn_module, mask_size, n_batch, verbose
        self.mode, self.overlap, self.activate = mode, overlap, activate
        self.report: Report | None = None

    @property
    def settings(self) -> Settings:
        """Those of the engine."""
        return self._adapter.settings

    def __call__(self, x: Tensor, b_box: Sequence[int] | None = None, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """The occlusion map of an image ``x`` [1, C, *size], float32 [1, K, *size], and the largest class at each cell.

        The latter is int64 [1, 1, *size].  The map has the output for each class where the cell is hidden: the mean
        over the windows that cover it; with ``mode="gaussian"`` they count the more, the nearer their centres are.

        ``b_box`` is (first, end) of each axis, one after the other, ends excluded and -1 for the image's own; maps are
        cut to it.  ``kwargs`` are the model's.  The model is in eval mode meanwhile.

        Raises BindError for arguments that do not fit, ModelError where the model fails, ExecutionError where a
        function that was given fails, and Interrupted.
        """
        image = _bind_image(x)
        windows = bind_windows(self.mask_size, self.overlap, b_box, tuple(image.shape[2:]))
        with self._adapter.running(), _in_eval_mode(self.nn_module):
            call = Call((image,), _bind_output(self._adapter.output([image], (), kwargs), 1), (), kwargs)
            mode = bind_mode(self.mode, image, windows.mask)
            outputs, self.report = self._adapter.answer(
                call,
                partial(_by_engine, call, windows, mode),
                partial(self._in_full, call, windows, mode),
                windows=len(windows),
                steps=len(windows),
                shown=self.verbose,
            )
            scores = torch.cat([self._activated(part, image.shape[1]) for part in torch.split(outputs, self.n_batch)])
            weights = (central if self.mode == "gaussian" else even)(windows).to(image)
            found = windows.blended(scores.to(image), weights).float()
        return found, found.argmax(dim=1, keepdim=True)

    def why_not(self, x: Tensor, **kwargs: Any) -> str | None:
        """Why this would take full inference; None where the engine can do it.  Runs the model once, and traces it.

        Raises what a call raises.
        """
        image = _bind_image(x)
        with self._adapter.running(), _in_eval_mode(self.nn_module):
            output = _bind_output(self._adapter.output([image], (), kwargs), 1)
            suited = self._adapter.suited(Call((image,), output, (), kwargs))
        return suited if isinstance(suited, str) else None

    def _in_full(self, call: Call, windows: Windows, mode: Mode, on_progress: OnProgress) -> Tensor:
        """The outputs [n, K] of all windows, ``n_batch`` at a time."""
        (image,), outputs, finished = call.inputs, [], 0
        for positions in np.array_split(windows.positions, range(self.n_batch, len(windows), self.n_batch)):
            images = image.repeat(len(positions), *[1] * (image.ndim - 1))
            for each, at in zip(images, positions.tolist(), strict=True):
                part = each[:, *(slice(start, start + n) for start, n in zip(at, windows.mask, strict=True))]
                part[...] = mode.altered(part[None])[0]
            outputs.append(_bind_output(self._adapter.output([images], (), call.keywords), len(images)))
            finished += len(positions)
            on_progress(finished)
        return torch.cat(outputs)

    def _activated(self, outputs: Tensor, channels: int) -> Tensor:
        """Outputs [n, K] of an image of so many channels, as ``activate`` has them."""
        if not callable(self.activate):
            return outputs if not self.activate else outputs.sigmoid() if channels == 1 else outputs.softmax(1)
        try:
            made = self.activate(outputs)
        except Error:
            raise
        except Exception as error:  # it may raise anything
            raise ExecutionError(f"activate fails on outputs {list(outputs.shape)}: {first_line(error)}") from error
        if not isinstance(made, Tensor) or made.ndim != 2 or len(made) != len(outputs):
            raise ExecutionError(f"activate must give a tensor [{len(outputs)}, K] for outputs {list(outputs.shape)}")
        return made


@retained()
@quiet()
def _by_engine(
    call: Call, windows: Windows, mode: Mode, engine: Engine, traced: TracedModule, on_progress: OnProgress
) -> tuple[Tensor, Work, Checked | None]:
    """The outputs [n, K] of all windows, the work they took, and how far they were checked against the model itself."""
    (image,) = call.inputs
    occlusion = mode.occlusion(windows.mask, image.shape[1])
    occluder = Occluder(
        engine,
        traced.network,
        traced.identity,
        traced.reference,
        windows.positions,
        windows.mask,
        uniform=mode.constant is not None,
    )
    viewed = occluder.view(np.ascontiguousarray(image[0].movedim(0, -1).numpy()), call.output[0])
    outputs = np.empty((len(windows), call.output.shape[1]), np.float32)

    def take(members: IntArray, logits: Array) -> None:
        if not np.isfinite(logits).all():
            raise ExecutionError("the output for an occluded image is not finite (NaN or infinity)")
        outputs[members] = logits

    doubts = occluder.run(viewed, occlusion, take, lambda done, total: on_progress(done))
    found = outputs.T[:, None].astype(np.float64)
    checked = occluder.check(viewed, [occlusion], found, doubts[None], lambda logits: logits.T)
    return torch.from_numpy(outputs), occluder.work, checked


def _bind_image(x: Any) -> Tensor:
    """One image [1, C, *size] as a plain tensor, whatever subclass of it (MONAI's MetaTensor) is given."""
    if not isinstance(x, Tensor) or not 3 <= x.ndim <= 5 or len(x) != 1 or not x.is_floating_point():
        what = f"{x.dtype} {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise BindError(f"x is one image [1, C, *size] of floating-point numbers, of one to three axes; got {what}")
    return x.detach().as_subclass(Tensor)


def _bind_output(output: Any, images: int) -> Tensor:
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != images:
        what = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ModelError(f"the model must give a tensor [{images}, K] for so many images; it gives {what}")
    return output.as_subclass(Tensor)


@contextmanager
def _in_eval_mode(model: object) -> Iterator[None]:
    """Put the model, where it is a module, into eval mode, and each part of it back into its own."""
    if not isinstance(model, nn.Module):
        yield
        return
    modes = {part: part.training for part in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
