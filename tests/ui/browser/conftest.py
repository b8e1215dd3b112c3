"""A server, a browser, and pages in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import kdb
from benchmarks import notebooks, photos
from tests.ui.pages import slow_batches

if TYPE_CHECKING:  # it skips what imports it where playwright is missing
    from tests.ui.browser.browsing import Server, Shown

LABELS = ["cat", "dog", "<img src=x onerror=alert(1)>", "fish", "cow, ox"]
SIZE = (48, 48)


def network(seed: int, width: int = 8) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(4),
        nn.Flatten(), nn.Linear(128, 5),
    ).eval()  # fmt: skip


def others() -> dict[str, tuple[nn.Module, dict[str, Any]]]:
    """Networks of one and of three axes, and one that gives a map for each class."""
    torch.manual_seed(0)
    volume = nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(2), nn.Flatten(), nn.Linear(32, 3)
    )
    signal = nn.Sequential(
        nn.Conv1d(2, 4, 5, padding=2), nn.ReLU(), nn.AdaptiveAvgPool1d(8), nn.Flatten(), nn.Linear(32, 3)
    )
    dense = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))
    raw = {"mean": 0, "std": 1}
    return {
        "scan": (volume.eval(), {"input_size": (12, 14, 16), "n_channels": 1, **raw}),
        "ecg": (signal.eval(), {"input_size": 120, **raw}),
        "street": (dense.eval(), {"input_size": (32, 40), "labels": ["road", "car", "sky"]}),
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs."""
    root = tmp_path_factory.mktemp("root")
    (root / "pets").mkdir()
    Image.fromarray(photos.photo("chelsea", (96, 128))).save(root / "pets" / "it's <b>.png")
    Image.fromarray(photos.photo("coffee", (48, 48))).save(root / "<img src=x onerror=alert(1)>.png")
    (root / "notes.txt").write_text("nothing to see")
    return root


@pytest.fixture(scope="module")
def db(root: Path) -> Iterator[kdb.Session]:
    with kdb.connect(root=root) as session:
        for seed, name in enumerate(("net", "second")):
            session.register_model(name, network(seed), input_size=SIZE, labels=LABELS)
        for name, (module, options) in others().items():
            session.register_model(name, module, **options)
        session.register_image("photo", photos.photo("chelsea", SIZE))
        session.register_image("large", photos.photo("astronaut", (200, 300)))
        grey = photos.photo("camera", (14, 16))[..., 0].astype(np.float32) / 255
        session.register_image("volume", np.stack([np.roll(grey, k, 0) for k in range(12)])[..., None])
        session.register_image("trace", photos.photo("moon", (2, 120))[..., 0].T.astype(np.float32) / 255)
        session.execute("SET threads = 1")
        yield session


@pytest.fixture(scope="module")
def server(db: kdb.Session) -> Iterator[Server]:
    from tests.ui.browser.browsing import QUERY, serving

    with serving(db, QUERY) as server:
        yield server


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with notebooks.browser() as browser:
        yield browser


@pytest.fixture
def tab(chromium: Any) -> Iterator[Callable[..., Shown]]:
    """Makes tabs of browsers of their own, in which nothing may go wrong unseen."""
    from tests.ui.browser.browsing import Shown

    made: list[Shown] = []

    def make(**options: Any) -> Shown:
        given = {"viewport": {"width": 1280, "height": 860}, **options}
        made.append(Shown(chromium.new_context(**given).new_page()))
        return made[-1]

    yield make
    for each in made:
        each.page.context.close()
    assert [each.errors for each in made] == [[]] * len(made)


@pytest.fixture
def shown(tab: Callable[..., Shown], server: Server) -> Shown:
    """The page, as it begins."""
    return tab().open(server.address())


@pytest.fixture
def mapped(tab: Callable[..., Shown], server: Server) -> Shown:
    """The page with the map of its first query, which a link runs at once."""
    from tests.ui.browser.browsing import QUERY

    shown = tab().open(server.address(QUERY))
    shown.ended()
    return shown


@pytest.fixture
def slow(db: kdb.Session) -> Iterator[None]:
    """Makes every batch take a while."""
    with slow_batches(db, 8, 0.15):
        yield
