"""What planner and executor know of a device: plain data, so that neither asks which device it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DeviceTraits:
    """The traits of one kind of device; sizes are in bytes, batches in positions."""

    computes_on_host: bool
    """Whether arrays are in the host's memory and the caller's cores compute.

    If so, looking at a value waits for nothing, and a part of an array can be computed by itself for the work of that
    part.  Otherwise the host only launches: reading a value waits for all launches before it, and each part is one
    more launch."""
    fuses_epilogues: bool
    """Whether some kernels also compute the pointwise layer behind them in the same pass."""
    workers: int | None
    """Workers that a plan has; None for as many as ``SET threads`` says."""
    groups_in_flight: int
    """Groups that a worker leaves to the device while it begins another one."""
    batch_sizes: tuple[int, ...]
    """The sizes of delta batches that the planner chooses from, in ascending order."""
    usual_batch: int | None
    """The one that is taken unless another is expected to be clearly faster; None for the fastest."""
    most_positions: int | None
    """The largest batch that kernels can take; None for any."""
    buffer_bytes: int
    """What all workers together gather at most between two stages."""
    buffer_positions: int
    """What one worker gathers at most between two stages, in positions."""
    full_batch_bytes: int
    """The largest layer of a batch that is evaluated in full."""
    full_batch: int
    """The largest batch that is evaluated in full."""
