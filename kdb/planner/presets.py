"""Whole ways to plan, by name: kdb's own, and the paper's, so that its figures can be measured beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kdb.kernels.kernel import Recompute


@dataclass(frozen=True)
class Preset:
    """What a preset decides where the user leaves it open, and the rules it does without.

    ``kernels`` and ``batch_size`` are as the settings of those names, ``device_batch_size`` is that of a GPU;
    ``bounded`` boxes are those of the paper's equations 15, 16 and 33 instead of the exact ones.
    """

    kernels: str = "auto"
    batch_size: int | None = None
    device_batch_size: int | None = None
    bounded: bool = False
    without: frozenset[str] = frozenset()


_AFTER_THE_PAPER = frozenset(
    {
        *("coarse_first", "distribute", "cut_over", "constant_interior", "rebatch", "null_deltas", "share_duplicates"),
        "few_positions",
    }
)

PRESETS: Mapping[str, Preset] = {
    "kdb": Preset(),
    # Algorithm 1 in every layer, batches of 16 on a CPU and 128 on a GPU (section 6), and none of what came after it.
    "krypton": Preset(Recompute.setting, 16, 128, True, _AFTER_THE_PAPER),
}
