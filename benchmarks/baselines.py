"""The competitors, as their users run them: plain torch and captum, and of kdb its setting of the allocator alone.

An engine is only as fast as its strongest competitor is slow, so :class:`Naive` does what a careful user would do by
hand: batch-norm folded away, the faster memory layout, ``inference_mode``, batches, every thread torch was given.  It
is timed with freed memory retained, as kdb does it for itself, which takes up to a fifth off.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from benchmarks.oracle import Positions, full_inference
from kdb.system.allocation import retained

LAYOUTS = (torch.channels_last, torch.contiguous_format)
TRIALS = 3


class Naive:
    """Full inference on every occluded image, set up once and then called.

    ``module`` is left as it is; a copy is put in eval mode on ``device``.  ``layout`` is one of torch's memory formats,
    or None: :meth:`prepare` then runs one batch in each and keeps the faster, as neither wins on every network.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        batch: int = 16,
        device: str | torch.device = "cpu",
        layout: torch.memory_format | None = None,
    ) -> None:
        if batch < 1:
            raise ValueError(f"a batch holds at least one image, not {batch}")
        self.batch = batch
        self.device = torch.device(device)
        self.layout = layout
        self.module = module
        self.folded = 0
        self._ready = False

    def prepare(self, size: tuple[int, int]) -> Naive:
        """Fold the batch-norms, choose the layout on images of ``size`` (H, W) and warm up: all that is not timed.

        Each layout's time is its best of ``TRIALS``, in turns: a neighbour on the machine may not choose.  ``folded``
        is then how many batch-norms are gone and ``layout`` the one in use.
        """
        module, self.folded = fold_batch_norms(self.module)
        module = module.to(self.device)
        images = torch.zeros(self.batch, 3, *size, device=self.device)
        seconds = dict.fromkeys([self.layout] if self.layout else LAYOUTS, math.inf)
        with retained(), torch.inference_mode():
            for _ in range(1 + TRIALS):  # the first run warms up: it is never the best
                for layout, best in seconds.items():
                    trial = _laid_out(module, layout)
                    seconds[layout] = min(best, self._clock(trial, images.contiguous(memory_format=layout)))
        self.layout = min(seconds, key=lambda layout: seconds[layout])
        self.module = _laid_out(module, self.layout)
        self._ready = True
        return self

    def _clock(self, module: nn.Module, images: Tensor) -> float:
        start = time.perf_counter()
        module(images)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - start

    def __call__(self, image: Tensor, fill: Tensor, patch: tuple[int, int], positions: Positions) -> Tensor:
        """The logits [n, K] on the CPU, so that the work is done; arguments as of ``benchmarks.oracle.occlude``.

        Raises:
            RuntimeError: :meth:`prepare` was not called.
        """
        if self.layout is None or not self._ready:
            raise RuntimeError("call prepare() first: its work is not to be timed")
        return full_inference(
            self.module, image.to(self.device), fill, patch, positions, batch=self.batch, layout=self.layout
        ).cpu()

    def seconds(self, image: Tensor, fill: Tensor, patch: tuple[int, int], positions: Positions) -> float:
        """How long a call with these arguments takes, memory retained."""
        with retained():
            start = time.perf_counter()
            self(image, fill, patch, positions)
            return time.perf_counter() - start


def _laid_out(module: nn.Module, layout: torch.memory_format) -> nn.Module:
    """The module itself, its weights in the memory format."""
    laid_out: nn.Module = module.to(memory_format=layout)  # type: ignore[call-overload]
    return laid_out


def naive(
    module: nn.Module, image: Tensor, fill: Tensor, patch: tuple[int, int], positions: Positions, batch: int = 16
) -> Tensor:
    """:class:`Naive`, prepared and called at once: the logits float32 [n, K]."""
    prepared = Naive(module, batch=batch).prepare((image.shape[-2], image.shape[-1]))
    return prepared(image, fill, patch, positions)


def fold_batch_norms(module: nn.Module) -> tuple[nn.Module, int]:
    """A copy in eval mode whose every batch-norm that directly follows a convolution is folded into it; how many were.

    Only where the convolution feeds nothing else: of DenseNet, which has norm before convolution, half stay.  A module
    that ``torch.fx`` cannot trace is returned as it is, with 0.
    """
    plain = copy.deepcopy(module).eval()
    try:
        traced = fx.symbolic_trace(plain)
    except (fx.proxy.TraceError, TypeError, RuntimeError):
        return plain, 0
    count = 0
    for node in list(traced.graph.nodes):
        source = node.args[0] if node.args else None
        if node.op != "call_module" or not isinstance(source, fx.Node) or source.op != "call_module":
            continue
        norm, convolution = traced.get_submodule(str(node.target)), traced.get_submodule(str(source.target))
        if isinstance(norm, nn.BatchNorm2d) and isinstance(convolution, nn.Conv2d) and len(source.users) == 1:
            traced.set_submodule(str(source.target), fuse_conv_bn_eval(convolution, norm))
            node.replace_all_uses_with(source)
            traced.graph.erase_node(node)
            count += 1
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced, count


def captum_occlusion(
    module: nn.Module | Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    target: int,
    fill: Tensor,
    patch: tuple[int, int] = (16, 16),
    stride: tuple[int, int] = (4, 4),
    batch: int = 16,
) -> Tensor:
    """captum's ``Occlusion`` of one image [C, H, W], as its documentation shows it: attributions [C, H, W].

    An attribution is the drop of the logit ``target``, averaged over the patches that cover the pixel.  ``fill`` is
    [C], the same everywhere: captum's baseline is an image, not a patch.  captum takes ``ceil((H - h) / s) + 1``
    positions an axis, clips the last at the edge and refuses a stride wider than the patch.
    """
    from captum.attr import Occlusion

    attributions = Occlusion(module).attribute(
        image[None],
        sliding_window_shapes=(image.shape[0], *patch),
        strides=(image.shape[0], *stride),
        baselines=fill.to(image)[None, :, None, None].expand(1, *image.shape),
        target=target,
        perturbations_per_eval=batch,
    )
    assert isinstance(attributions, Tensor)
    return attributions[0]


class _Enough(Exception):
    """Leaves captum's loop."""


def captum_seconds(
    module: nn.Module,
    image: Tensor,
    *,
    target: int,
    fill: Tensor,
    patch: tuple[int, int] = (16, 16),
    stride: tuple[int, int] = (4, 4),
    batch: int = 16,
    batches: int = 4,
) -> float:
    """Seconds captum takes a position, measured in the middle of a real run that is then broken off.

    captum accepts no list of positions and no wide stride, and a whole map takes minutes.  Its loop does the same work
    for each batch: build masks and images of full size, run the network, add to a map of full size.  So the clock
    runs from the entry of its first batch into the network to that of batch ``batches`` + 1, which is ``batches``
    whole turns, without the set-up and without the one run on the unmodified image.

    Raises:
        ValueError: fewer batches in the whole map than are to be timed, or none asked.
    """
    entered: list[float] = []

    def forward(images: Tensor) -> Tensor:
        if images.is_cuda:
            torch.cuda.synchronize(images.device)
        entered.append(time.perf_counter())
        if len(entered) == batches + 2:  # the unmodified image, the timed batches, and the one that ends the last
            raise _Enough
        output = module(images)
        assert isinstance(output, Tensor)
        return output

    if batches < 1:
        raise ValueError(f"at least one batch is to be timed, not {batches}")
    try:
        captum_occlusion(forward, image, target=target, fill=fill, patch=patch, stride=stride, batch=batch)
    except _Enough:
        return (entered[-1] - entered[1]) / (batches * batch)
    raise ValueError(f"the whole map takes {len(entered) - 1} batches: too few to time {batches}")
