"""What every test shares: hypothesis profiles, one torch thread, real photographs, and what the marks mean."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from tests.exporter import hasten

settings.register_profile(
    "ci",
    max_examples=30,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("fuzz", settings.get_profile("ci"), derandomize=False, max_examples=300)
# Every random draw is the same from run to run; `make fuzz` draws others.
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks; the whole run leaves nothing out but ``gpu``."""
    config.addinivalue_line("markers", "gpu: needs CuPy and a CUDA device; skipped where there is none")
    config.addinivalue_line("markers", "law: goes with the tests of hypothesis, which `make quick` runs")
    config.addinivalue_line("markers", "slow: takes ten seconds of a core, or so")
    # Two test processes share a small machine: more threads each would only wait for one another.
    torch.set_num_threads(1)
    # A shell that starts the tests in the background has them ignore Ctrl-C, and what they start too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is left when the time of `make fuzz` is over; hide from the collector what there is before a test."""
    if time.time() > float(os.environ.get("FUZZ_UNTIL", "inf")):
        pytest.skip("the time is over")
    # PyTorch's exporter is millions of objects, and keeps more of each module. To walk over them again in every
    # collection took a third of the tests' time. What is frozen is freed all the same when nobody holds it.
    gc.collect()
    gc.freeze()
    if "kdb.frontends.torch_export" in sys.modules:  # which takes a second to import, and most processes need it
        hasten()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the ``gpu`` tests, with the reason, where nothing can run them; several processes begin with the slow ones.

    Otherwise one of them may be left alone with the last, while the others wait.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    if not (marked := [item for item in items if item.get_closest_marker("gpu")]):
        return
    if reason := _no_gpu():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))


def _no_gpu() -> str:
    """Why no CUDA device can be used, or the empty string."""
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"no CUDA device: {error}"
    return "" if count else "no CUDA device"


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the tests' own, empty at first and shared by all their processes; the user's is left alone."""
    with pytest.MonkeyPatch.context() as patch:
        base = tmp_path_factory.getbasetemp()
        folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
        patch.setenv("KDB_CACHE", str(folder))
        yield folder


ABOUT_TRACES = ("frontends", "models", "test_first_version.py")
"""Folders and files whose tests are about traces, and make each anew."""


@pytest.fixture(scope="module", autouse=True)
def traces(cache: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """Sessions and adapters of all other tests find what was traced of a like module in the tests' cache."""
    if {*ABOUT_TRACES} & {request.path.name, request.path.parent.name}:
        yield
        return
    from kdb.models import catalog
    from kdb.models import traces as of_adapters
    from tests.kept_traces import kept

    with kept(catalog, of_adapters):
        yield


ABOUT_FEW_POSITIONS = ("planner", "project", "runs", "ui", "test_few_positions.py")
"""Folders and files whose tests are of plans as users get them, also of a few positions."""


@pytest.fixture(scope="module", autouse=True)
def deltas(request: pytest.FixtureRequest) -> Iterator[None]:
    """All other tests are of deltas, though they have few positions, which the model itself would evaluate."""
    with pytest.MonkeyPatch.context() as patched:
        if not {*ABOUT_FEW_POSITIONS} & {request.path.name, request.path.parent.name}:
            from kdb.planner.rules import few_positions

            patched.setattr(few_positions, "full_batch", lambda *_: 0)
        yield


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without compiled kernels, so that plans are the same whether there are any."""
    monkeypatch.setenv("KDB_COMPILED", "off")


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A photograph of a cat, uint8 [224, 224, 3]; read-only, as every test sees the same one."""
    from benchmarks.photos import photo as load

    image = load("chelsea", (224, 224))
    image.setflags(write=False)
    return image
