"""A crew of actors on a cluster of Ray.

Only paths go in and rows come out.  Actors are Ray's, but who works on what, and what becomes of an image whose actor
dies, is decided by :mod:`kdb.runs.driving`, as for processes: Ray's own pools wait for ever for an actor that died.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from kdb.errors import BindError, Error, ExecutionError, did_you_mean, reason
from kdb.results.frames import import_optional
from kdb.runs.driving import Event
from kdb.runs.images import Item
from kdb.runs.starts.opening import Opening
from kdb.runs.state import DEATHS

SILENCE = 120.0
"""Seconds without an answer to a sign of life after which an actor is taken for dead."""
BEAT = 10.0
"""Seconds between two signs of life."""
PLACED = 600.0
"""Seconds that an actor may wait for a place on the cluster."""


@dataclass(frozen=True)
class Wanted:
    """What ``VIA ray(..)`` asks for.

    address   of the cluster, as ``ray.init`` takes it; None for the one that the process is connected to, or one that
              is found, or else a new one on this machine
    workers   actors; None for as many as the cluster has room for
    cpus      cores of each, and its worker threads
    gpus      of each; 0 for none
    retries   how often an image is tried again whose worker died
    """

    address: str | None = None
    workers: int | None = None
    cpus: int = 1
    gpus: float = 0
    retries: int = DEATHS - 1

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Wanted:
        """Checked; raises BindError for options that are none, or out of range."""
        least = {"workers": 1, "cpus": 1, "gpus": 0, "retries": 0}
        known = ("address", *least)
        for name, value in options.items():
            if name not in known:
                raise BindError(f"ray has no option '{name}'{did_you_mean(name, known)}; it has {', '.join(known)}")
            if name == "address":
                if not isinstance(value, str):
                    raise BindError(f"address is a text, as 'auto' or '10.0.0.1:6379'; not {value!r}")
                continue
            kinds = int | float if name == "gpus" else int
            if isinstance(value, bool) or not isinstance(value, kinds) or value < least[name]:
                raise BindError(f"{name} takes numbers from {least[name]}; not {value!r}")
        return cls(**options)


class Actor:
    """What runs in each actor: a worker of the run.

    It is made with nothing but texts, so that an actor that is started again needs nothing of its driver's.
    """

    def __init__(self, opening: dict[str, Any], gpus: bool) -> None:
        if not gpus:  # before anything loads CuPy: an actor without a GPU of its own uses none
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self._opening = opening

    def open(self) -> None:
        """Open the run; raises what keeps every worker from it."""
        self._worker = Opening(**self._opening).worker()

    def work(self, item: Item, accept_changed: bool) -> dict[str, Any]:
        """The row of an image."""
        return self._worker.work(item, accept_changed)

    def beat(self) -> None:
        """A sign of life, answered beside the work."""


class Actors:
    """So many workers on a cluster."""

    def __init__(self, wanted: Wanted, opening: Opening) -> None:
        self._ray = ray = import_optional("ray")
        if not ray.is_initialized():
            _connect(ray, wanted.address)
        self.size = wanted.workers or self._room(wanted)
        self._opening = opening.plain()
        self._class = ray.remote(
            num_cpus=wanted.cpus,
            num_gpus=wanted.gpus,
            max_restarts=0,
            concurrency_groups={"work": 1, "beat": 1},
            runtime_env={"env_vars": {"OMP_NUM_THREADS": str(wanted.cpus)}},
        )(Actor)
        self._gpus = wanted.gpus > 0
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, tuple[int, str]] = {}
        self._heard: dict[int, float] = {}
        self._beaten = time.monotonic()
        self._numbers = count()

    def _room(self, wanted: Wanted) -> int:
        """How many such workers the cluster has room for."""
        there = self._ray.cluster_resources()
        by_gpu = int(there.get("GPU", 0) / wanted.gpus) if wanted.gpus else None
        by_cpu = int(there.get("CPU", 0) / wanted.cpus)
        return max(1, by_cpu if by_gpu is None else min(by_cpu, by_gpu))

    def start(self) -> int:
        """Ask for one more actor."""
        number = next(self._numbers)
        actor = self._class.remote(self._opening, self._gpus)
        self._actors[number] = actor
        self._heard[number] = time.monotonic() + PLACED
        self._pending[actor.open.options(concurrency_group="work").remote()] = number, "ready"
        return number

    def give(self, worker: int, item: Item, accept_changed: bool) -> None:
        """Give it an image."""
        call = self._actors[worker].work.options(concurrency_group="work").remote(item, accept_changed)
        self._pending[call] = worker, "row"

    def next(self, seconds: float) -> Event | None:
        """The next answer of any actor, or the news that one is dead."""
        self._beat()
        if not self._pending:
            time.sleep(seconds)
            return None
        done, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=seconds)
        if not done:
            return self._silent()
        worker, kind = self._pending.pop(done[0])
        if worker not in self._actors:
            return None
        exceptions = self._ray.exceptions
        try:
            answer = self._ray.get(done[0])
        except exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, Error):
                return Event(worker, "broken", error=cause)
            return self._ended(worker, f"{type(cause).__name__}: {cause}")
        except exceptions.RayError as error:  # the actor died, its node is gone, or it has no place
            return self._ended(worker, str(error).strip().partition("\n")[0])
        self._heard[worker] = max(self._heard[worker], time.monotonic()) if kind == "beat" else time.monotonic()
        if kind == "beat":
            return None
        return Event(worker, kind, row=answer if kind == "row" else None)

    def close(self) -> None:
        """Kill all actors that are left."""
        for number in list(self._actors):
            self._ended(number, "")

    def _beat(self) -> None:
        """Ask all actors for a sign of life, now and then."""
        if time.monotonic() - self._beaten < BEAT:
            return
        self._beaten = time.monotonic()
        asked = {worker for worker, kind in self._pending.values() if kind == "beat"}
        for number, actor in self._actors.items():
            if number not in asked:
                self._pending[actor.beat.options(concurrency_group="beat").remote()] = number, "beat"

    def _silent(self) -> Event | None:
        now = time.monotonic()
        silent = next((number for number in self._actors if now - self._heard[number] > SILENCE), None)
        return None if silent is None else self._ended(silent, "no sign of life")

    def _ended(self, number: int, how: str) -> Event:
        self._ray.kill(self._actors.pop(number), no_restart=True)
        for call in [call for call, (worker, _) in self._pending.items() if worker == number]:
            del self._pending[call]
        return Event(number, "died", text=f"an actor ended: {how}")


def _connect(ray: Any, address: str | None) -> None:
    """Connect to the cluster at an address; without one to that of this machine, or else a new one.

    Raises ExecutionError where there is none at the address.
    """
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        _check_listening(address)
        ray.init(address=address or "auto", **quiet)
    except Exception as error:  # Ray's own are of many kinds
        if address is not None:
            raise ExecutionError(f"there is no cluster of Ray at '{address}': {reason(error)}") from error
        ray.init(include_dashboard=False, **quiet)


def _check_listening(address: str | None) -> None:
    """Raise OSError where nobody listens at HOST:PORT: Ray itself would try for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()
