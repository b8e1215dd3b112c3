"""The competitors as their users run them: full inference in plain torch, and captum.

A speedup means something only against a strong baseline, so :class:`Naive` does what a careful user would do by hand:
batch-norms folded, the faster memory layout, ``inference_mode``, batches, all threads of torch.  It is timed with kdb's
allocator settings, which retain freed memory and make it up to a fifth faster.
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
    """Full inference on every occluded image: prepared once, then called.

    Args:
        module: the network; it is not modified, but copied, in eval mode, to ``device``.
        batch: images per inference; raises ValueError below 1.
        device: where to run it.
        layout: one of torch's memory formats; None lets :meth:`prepare` choose the faster of LAYOUTS, as neither is
            faster on every network.
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
        """Fold batch-norms, choose the layout on images of ``size`` (H, W) and warm up; returns itself.

        The layouts take turns and each counts by its fastest of TRIALS runs, so that other load on the machine does not
        decide.  Afterwards ``folded`` is the number of folded batch-norms and ``layout`` the chosen layout.
        """
        module, self.folded = fold_batch_norms(self.module)
        module = module.to(self.device)
        images = torch.zeros(self.batch, 3, *size, device=self.device)
        seconds = dict.fromkeys([self.layout] if self.layout else LAYOUTS, math.inf)
        with retained(), torch.inference_mode():
            for _ in range(1 + TRIALS):  # the first run warms up and is never the fastest
                for layout, best in seconds.items():
                    trial = _in_layout(module, layout)
                    seconds[layout] = min(best, self._clock(trial, images.contiguous(memory_format=layout)))
        self.layout = min(seconds, key=lambda layout: seconds[layout])
        self.module = _in_layout(module, self.layout)
        self._ready = True
        return self

    def _clock(self, module: nn.Module, images: Tensor) -> float:
        start = time.perf_counter()
        module(images)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - start

    def __call__(self, image: Tensor, fill: Tensor, patch: tuple[int, int], positions: Positions) -> Tensor:
        """Logits float32 [n, K], on the CPU so that all work is finished; arguments of ``benchmarks.oracle.occlude``.

        Raises:
            RuntimeError: :meth:`prepare` was not called.
        """
        if self.layout is None or not self._ready:
            raise RuntimeError("call prepare() first, so that its work is not timed")
        return full_inference(
            self.module, image.to(self.device), fill, patch, positions, batch=self.batch, layout=self.layout
        ).cpu()

    def seconds(self, image: Tensor, fill: Tensor, patch: tuple[int, int], positions: Positions) -> float:
        """Seconds that a call with these arguments takes, with freed memory retained."""
        with retained():
            start = time.perf_counter()
            self(image, fill, patch, positions)
            return time.perf_counter() - start


def _in_layout(module: nn.Module, layout: torch.memory_format) -> nn.Module:
    """Convert the module's weights to the memory format, in place; returns the module."""
    converted: nn.Module = module.to(memory_format=layout)  # type: ignore[call-overload]
    return converted


def naive(
    module: nn.Module, image: Tensor, fill: Tensor, patch: tuple[int, int], positions: Positions, batch: int = 16
) -> Tensor:
    """:class:`Naive`, prepared and called at once: the logits float32 [n, K]."""
    prepared = Naive(module, batch=batch).prepare((image.shape[-2], image.shape[-1]))
    return prepared(image, fill, patch, positions)


def fold_batch_norms(module: nn.Module) -> tuple[nn.Module, int]:
    """A copy in eval mode with batch-norms folded into the convolutions before them, and the number of those folded.

    A batch-norm is folded if it directly follows a convolution that feeds nothing else; in DenseNet, where convolutions
    follow norms, half of them remain.  A module that ``torch.fx`` cannot trace is copied without folding.
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
    """captum's ``Occlusion`` of one image [C, H, W], called as in its documentation: attributions [C, H, W].

    An attribution is the drop of the logit ``target``, averaged over the patches that cover the pixel.  ``fill`` [C] is
    one colour, as captum's baseline is an image and not a patch; ``patch`` (h, w) and ``stride`` (y, x) are in pixels;
    ``batch`` is ``perturbations_per_eval``.  captum takes ``ceil((H - h) / s) + 1`` positions along an axis, clips the
    last patch at the edge, and rejects strides larger than the patch.
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


class _Stop(Exception):
    """Raised within captum's loop to leave it."""


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
    """captum's seconds per position, measured on the first batches of a run that is then abandoned.

    captum accepts neither a list of positions nor a wide stride, and a whole map takes minutes.  Its loop does the same
    work for each batch: build masks and images of full size, run the network, add to a map of full size.  The time
    is taken from when its first batch enters the network until batch ``batches`` + 1 does.  These are ``batches`` whole
    iterations, without the set-up and the inference on the unmodified image.  Other arguments are those of
    :func:`captum_occlusion`.

    Raises:
        ValueError: ``batches`` is below 1, or the whole map has fewer batches.
    """
    entered: list[float] = []

    def forward(images: Tensor) -> Tensor:
        if images.is_cuda:
            torch.cuda.synchronize(images.device)
        entered.append(time.perf_counter())
        if len(entered) == batches + 2:  # the unmodified image, the timed batches, and the one that ends the last
            raise _Stop
        output = module(images)
        assert isinstance(output, Tensor)
        return output

    if batches < 1:
        raise ValueError(f"at least one batch is to be timed, not {batches}")
    try:
        captum_occlusion(forward, image, target=target, fill=fill, patch=patch, stride=stride, batch=batch)
    except _Stop:
        return (entered[-1] - entered[1]) / (batches * batch)
    raise ValueError(f"the whole map takes {len(entered) - 1} batches: too few to time {batches}")
