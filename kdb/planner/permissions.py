"""What a query permits the planner beyond exact arithmetic in float32 on the CPU."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Permissions:
    """What a plan may do; the defaults permit no approximation.

    precision       'bf16' or 'tf32' permits kernels for deltas that round to fewer bits than float32; a CPU has no
                    tf32
    threshold       the share of a map, on either axis, to which boxes may be limited; None permits no limit
    freeze_context  whether gates by the whole map may keep the values that they have on the unmodified image
    live            for how many scores gates by the whole map may be corrected to first order, where they follow it in
                    the boxes of a change alone; 0 for none
    device          'cpu', 'gpu', or 'auto': a GPU where there is one and it is expected to take less time
    approximate     whether the query has APPROXIMATE, which permits low fidelity in some rounds; this plan is of such
                    a round if it also has ``freeze_context`` or ``live``
    alone           whether the plan is of all of the query's positions and the model itself is at hand, so that it may
                    evaluate them

    That the patch is of one colour is no permission but a property of the patch; see :meth:`Engine.plan`.
    """

    precision: str = "fp32"
    threshold: float | None = None
    freeze_context: bool = False
    device: str = "cpu"
    approximate: bool = False
    live: int = 0
    alone: bool = False

    @property
    def exact(self) -> bool:
        """Whether results are the model's own, but for rounding in float32."""
        return self.precision == "fp32" and self.threshold is None and not self.freeze_context and not self.live


EXACT = Permissions()
"""Nothing but exact arithmetic in float32 on the CPU."""
