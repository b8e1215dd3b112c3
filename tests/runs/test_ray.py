"""Runs by actors of Ray, on a cluster of two nodes on this machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kdb
from kdb.errors import BindError, ExecutionError
from kdb.session.session import Session
from tests.runs.conftest import WITH, network, picture

pytest.importorskip("pyarrow")
ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.runs, pytest.mark.xdist_group("ray")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()


def test_actors_do_what_a_process_does_and_one_may_be_killed(cluster: Any, db: Session) -> None:
    for i in range(24):
        picture(f"many/{i:02}.png", i)
    Path("many/broken.png").write_bytes(b"no image")
    db.execute("SET threads = 1")
    alone = db.execute(f"OCCLUDE 'many/*.png' {WITH} INTO RUN 'alone'")
    killed = []

    def kill(done: int, total: int) -> None:
        if done == 5:
            killed.extend(path for path in Path("/proc").glob("[0-9]*/cmdline") if b"ray::Actor" in path.read_bytes())
            os.kill(int(killed[0].parent.name), signal.SIGKILL)

    address = f"address = '{cluster.address}', workers = 2"
    run = db.execute(f"OCCLUDE 'many/*.png' {WITH} INTO RUN 'r' VIA ray({address})", progress=kill)
    assert isinstance(run, kdb.Run) and isinstance(alone, kdb.Run)
    assert len(killed) == 2
    assert (run.progress.done, run.progress.failed) == (24, 1)
    for made, expected in zip(run.maps(), alone.maps(), strict=True):
        assert np.array_equal(made.values, expected.values)
    assert sum(row["attempts"] for row in run.table().to_pylist()) <= 26

    # A module of the session is refused, and a model that an actor cannot load stops the run, told by its own words.
    db.register_model("mine", network(), input_size=(16, 16), mean=0, std=1)
    with pytest.raises(BindError, match="lives in this session"):
        db.execute(f"OCCLUDE 'many/*.png' WITH patch(4, 4) USING mine INTO RUN 'm' VIA ray({address})")
    text = Path("alone/run.json").read_text()
    Path("alone/maps/00.png.npz").unlink()
    Path("alone/run.json").write_text(text.replace("net.onnx", "gone.onnx"))
    with pytest.raises(kdb.Error, match=r"gone\.onnx"):
        kdb.connect().execute(f"RESUME RUN 'alone' VIA ray({address})")


def test_a_cluster_that_is_not_there_is_told(db: Session) -> None:
    ray.shutdown()
    with pytest.raises(ExecutionError, match="no cluster of Ray at"):
        db.execute(f"OCCLUDE 'scans/a/*.png' {WITH} INTO RUN 'r' VIA ray(address = '127.0.0.1:1')")
