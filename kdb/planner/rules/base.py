"""What a rule is, and what it may look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kdb.planner.cost import CostModel
from kdb.planner.plan import LogicalPlan


@dataclass(frozen=True)
class Context:
    """The planner's surroundings: costs, worker threads, and the user's choices (None: the planner's).

    ``buffer_bytes`` bounds what one worker gathers between stages; ``buffer_positions`` does so in positions.
    ``threshold`` is the projective field threshold that the query permits; ``freeze`` is whether context may be frozen.
    """

    costs: CostModel
    threads: int = 1
    batch_size: int | None = None
    buffer_bytes: int = 256 << 20
    buffer_positions: int = 256
    threshold: float | None = None
    freeze: bool = False


@dataclass(frozen=True)
class Rule:
    """One rewrite: ``apply`` returns the new plan, or a text that says why it leaves the plan as it is.

    ``exact`` rules never change a result beyond rounding; ``on_network`` ones look at the network alone, so that what
    they made of it serves every later query; ``summary`` is what SHOW RULES prints.
    """

    name: str
    summary: str
    apply: Callable[[LogicalPlan, Context], LogicalPlan | str]
    exact: bool = True
    on_network: bool = False
