"""The memory that a plan is expected to take, before anything is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from kdb.kernels.work import ELEMENT
from kdb.operators.network import Network
from kdb.planner.plan import PhysicalPlan, Step
from kdb.system.memory import allowed, megabytes

SCRATCH = 2
"""Bytes that a kernel needs beside its inputs and output, relative to these: copies of boxes with what lies around
them, and what it sums up.  By measurements of whole processes, as are the next two."""
LIBRARIES = 20 << 20
"""Bytes that libraries and the allocator take for each worker, whatever it computes."""
CHECK = 1 << 28
"""Bytes that the model may take while it is compared with: fewer images at a time, down to one, if one takes much.

So they are faster, too: of a 3-D U-Net seven at a time take twice as long each as one, of ResNet18 three quarters.
"""
_known: WeakKeyDictionary[Network, int] = WeakKeyDictionary()
"""What a full inference of each network holds."""


@dataclass(frozen=True)
class Memory:
    """Bytes, beside those of the process and of the model's weights.

    ``result`` is the map; ``views`` are shared by all workers, and so are ``layouts``, what kernels derive of weights.
    ``worker`` are the arrays that each of the ``workers`` holds at a time, ``scratch`` what its kernels need beside
    them.  ``full`` is what one full inference takes, before there are workers, and ``check`` the comparison with the
    model afterwards, of ``checked`` images at a time.  ``limit`` is the most that all may take, None for any: what is
    available (``is_auto``), or what was set.  There are no ``workers`` where the model itself evaluates everything.
    """

    views: int
    layouts: int
    worker: int
    scratch: int
    workers: int
    full: int
    check: int = 0
    checked: int = 1
    result: int = 0
    limit: int | None = None
    is_auto: bool = True

    @property
    def total(self) -> int:
        """The expected peak."""
        return self.result + self.views + self.layouts + self.working

    @property
    def working(self) -> int:
        """What is held for a while: by a full inference, then by workers, then by the check."""
        return max(self.full, self.workers * (self.worker + self.scratch), self.check)

    @property
    def fits(self) -> bool:
        """Whether it is within the limit."""
        return self.limit is None or self.total <= self.limit

    def said(self) -> str:
        """In words, what it takes and how much there is."""
        assert self.limit is not None, "without a limit nothing is too much"
        parts = {"of result": self.result, "of views": self.views, "of layouts of weights": self.layouts}
        parts["while it computes"] = self.working
        found = ", ".join(f"{megabytes(nbytes)} {what}" for what, nbytes in parts.items() if nbytes)
        return f"{megabytes(self.total)} ({found}), and {allowed(self.limit, self.is_auto)}"


def memory(
    plan: PhysicalPlan,
    result: int = 0,
    limit: int | None = None,
    is_auto: bool = True,
    checked: int = 0,
    model: Network | None = None,
) -> Memory:
    """The memory of a plan whose result takes so many bytes, beside the most that it may take.

    At most ``checked`` images at a time are given to the model itself afterwards, whose network is ``model``: the
    plan's may be a part of it.
    """
    logical = plan.logical
    alone = _full(logical.network if model is None else model)
    if logical.by_model:
        whole = logical.full_batch * alone
        return Memory(0, 0, 0, 0, 0, 0, whole, logical.full_batch, result, limit, is_auto)
    workers = min(plan.threads, len(logical.groups))
    worker, scratch = _worker(plan)
    views = sum(logical.network[name].shape.elements for name in plan.views) * ELEMENT
    works = [step.work for stage in plan.stages for step in stage.steps]
    checked = min(checked, max(CHECK // max(alone, 1), 1))
    return Memory(
        views=views,
        layouts=sum(work.derived for work in works) + workers * max((work.deriving for work in works), default=0),
        worker=worker,
        scratch=scratch + LIBRARIES,
        workers=workers,
        full=_full(logical.network),
        check=checked * alone,
        checked=max(checked, 1),
        result=result,
        limit=limit,
        is_auto=is_auto,
    )


def _worker(plan: PhysicalPlan) -> tuple[int, int]:
    """The most that a worker's arrays take at a time, and its kernels' scratch then: the values of a batch, and what is
    gathered between stages."""
    logical = plan.logical
    largest = max(len(batch) for batch in logical.batches)
    group = max(sum(len(logical.batches[i]) for i in batches) for batches in logical.groups)
    most, most_with_scratch, gathered = 0, 0, 0
    for stage in plan.stages:
        n = largest if stage.batch is None else min(stage.batch, group)
        gathers = stage is not plan.stages[-1]
        kept = group * sum(logical.network[name].shape.elements for name in stage.keeps) * ELEMENT if gathers else 0
        live: dict[str, int] = {}
        for step in stage.steps:
            node, nbytes = step.node, n * _elements(step) * ELEMENT
            donated = any(d and live.get(source) == nbytes for d, source in zip(step.donate, node.inputs, strict=True))
            held = gathered + kept + sum(live.values()) + (0 if donated else nbytes)
            moved = nbytes + sum(live.get(name, 0) for name in node.inputs)
            most = max(most, held)
            most_with_scratch = max(most_with_scratch, held + SCRATCH * moved)
            live[node.name] = nbytes
            for name in step.releases:
                live.pop(name, None)
        gathered = kept
    return most, most_with_scratch - most


def _elements(step: Step) -> int:
    """Numbers that a step makes for one position."""
    return math.prod(step.extent) * step.node.shape.channels


def _full(network: Network) -> int:
    """The most that one full inference holds at a time, beside the views."""
    if network not in _known:
        _known[network] = _most(network)
    return _known[network]


def _most(network: Network) -> int:
    """:func:`_full`, counted."""
    last = dict(zip((node.name for node in network), network.last_read, strict=True))
    live, most = dict[str, int](), 0
    for i, node in enumerate(network):
        nbytes = node.shape.elements * ELEMENT
        moved = nbytes + sum(network[name].shape.elements * ELEMENT for name in node.inputs)
        most = max(most, sum(live.values()) + nbytes + SCRATCH * moved)
        live[node.name] = nbytes
        for name in node.inputs:
            if last[name] == i:
                live.pop(name, None)
    return most
