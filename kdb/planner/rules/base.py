"""What a rule is, and what it may look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kdb.planner.cost import CostModel
from kdb.planner.permissions import EXACT, Permissions
from kdb.planner.plan import LogicalPlan


@dataclass(frozen=True)
class Context:
    """What rules decide by, besides the plan: costs, worker threads, the user's choices, the query's permissions.

    A ``batch_size`` of None leaves the choice to the planner.  ``buffer_bytes`` and ``buffer_positions`` bound what
    one worker gathers between stages.
    """

    costs: CostModel
    threads: int = 1
    batch_size: int | None = None
    buffer_bytes: int = 256 << 20
    buffer_positions: int = 256
    permissions: Permissions = EXACT
    compared: int = 0
    """Images that the model itself evaluates after an incremental plan, to check what that has found."""


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
