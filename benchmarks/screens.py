"""The pictures of the page in the documentation, in a browser without a window.

python -m benchmarks.screens [page page-compare page-volume] writes them to docs/images.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

import kdb
from benchmarks import notebooks
from kdb.ui.page import Page
from kdb.ui.server import command
from kdb.ui.server.access import Access

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
WINDOW = {"width": 1440, "height": 900}
PATIENCE = 300_000
"""Milliseconds that anything may take."""

MAP = "OCCLUDE chelsea WITH patch(16, 16) STRIDE 4 USING efficientnet_lite0"
CLASS = "OCCLUDE chelsea WITH patch(32, 32) STRIDE 8 USING efficientnet_lite0 FOR CLASS 'tiger cat'"
OTHER = "Egyptian cat"
VOLUME = "OCCLUDE head WITH patch(6, 6, 6) STRIDE 3 USING lesions FOR CLASS 'lesion'"

SIZE = (36, 48, 42)
LESION = (22, 17, 27)
"""Where the lesion of the volume is."""
STEEP = 40_000.0
"""How sure the network is of it."""


# ---- a volume, and a network that looks for what is in it


def head() -> NDArray[np.float32]:
    """float32 [*SIZE, 1]: something like a scan of a head, with a small bright lesion in it."""
    rng = np.random.default_rng(0)
    at = np.stack(np.meshgrid(*(np.arange(length) for length in SIZE), indexing="ij"), axis=-1)

    def inside(centre: tuple[float, ...], radii: tuple[float, ...]) -> NDArray[np.float32]:
        distance = np.sqrt((((at - centre) / radii) ** 2).sum(-1))
        soft = 1 / (1 + np.exp(np.clip((distance - 1) * 14, -50, 50)))
        return np.asarray(soft, np.float32)

    middle = tuple((length - 1) / 2 for length in SIZE)
    scan = 0.55 * inside(middle, (16.5, 22, 19.5)) - 0.35 * inside(middle, (15, 20.5, 18))
    scan += 0.22 * inside(middle, (14, 19.5, 17))
    for side in (-1, 1):
        scan -= 0.22 * inside((middle[0] + 1, middle[1] + 1, middle[2] + 4.5 * side), (4.5, 8, 2.6))
    scan += 0.4 * inside(LESION, (3.2, 3.6, 3.4))
    scan += 0.03 * rng.standard_normal(SIZE, np.float32)
    return np.clip(scan, 0, 1)[..., None]


def lesions() -> nn.Module:
    """Tells whether there is a blob brighter than what is around it."""
    blob = torch.zeros(1, 1, 7, 7, 7)
    grid = torch.stack(torch.meshgrid(*[torch.arange(7.0) - 3] * 3, indexing="ij"))
    distance = grid.square().sum(0).sqrt()
    near, far = (distance < 2.6).float(), ((distance >= 3) & (distance < 4.3)).float()
    blob[0, 0] = near / near.sum() - far / far.sum()
    find, decide = nn.Conv3d(1, 1, 7, padding=3), nn.Linear(1, 2)
    find.load_state_dict({"weight": blob, "bias": torch.tensor([-0.1])})
    decide.load_state_dict({"weight": torch.tensor([[-STEEP], [STEEP]]), "bias": torch.tensor([1.5, -1.5])})
    return nn.Sequential(find, nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), decide).eval()


# ---- the page


@contextmanager
def served() -> Iterator[str]:
    """The address of pages over a session that knows the volume and its network."""
    with kdb.connect() as db, command.listener(0) as listening:
        db.register_image("head", head())
        db.register_model(
            "lesions", lesions(), input_size=SIZE, n_channels=1, mean=0, std=1, labels=["healthy", "lesion"]
        )
        access = Access(listening.getsockname()[1])
        server = command.server(access, lambda post: Page(db, post, text=MAP))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/#token={access.token}"
        finally:
            server.should_exit = True
            thread.join()


def run(page: Any, text: str) -> None:
    """Have a query run to its end."""
    page.get_by_test_id("query").fill(text)
    page.get_by_test_id("run").click()
    page.wait_for_selector("[data-testid=kdb][data-state=running]", timeout=PATIENCE)
    ended(page)


def ended(page: Any) -> None:
    """Until nothing runs, and controls and text say the same."""
    page.wait_for_selector("[data-testid=kdb][data-state=done][data-settled=true]", timeout=PATIENCE)


def probed(page: Any) -> None:
    """A finished map, and a position that was clicked."""
    run(page, MAP)
    field = page.locator(".kdb-stage-field").bounding_box()
    place = field["x"] + field["width"] * 0.5, field["y"] + field["height"] * 0.62
    page.mouse.click(*place)
    page.wait_for_selector("[data-testid=probe][data-score]", timeout=PATIENCE)


def compared(page: Any) -> None:
    """The maps of two classes beside one another."""
    page.get_by_test_id("query").fill(CLASS)
    page.wait_for_selector("[data-testid=kdb][data-settled=true]", timeout=PATIENCE)
    panel = page.get_by_test_id("compare")
    panel.locator("summary").click()
    page.get_by_test_id("compare-by").select_option("class")
    page.get_by_test_id("compare-with").fill(OTHER)
    page.get_by_test_id("compare-with").press("Enter")
    page.get_by_test_id("compare-run").click()
    page.wait_for_selector("[data-testid=kdb][data-comparing=side]", timeout=PATIENCE)
    ended(page)
    page.mouse.move(0, 0)


def volume(page: Any) -> None:
    """Three slices of a volume, through the middle of what the network looks for."""
    run(page, VOLUME)
    page.wait_for_selector(".kdb-stage[data-view=slices][data-has-map=true]", timeout=PATIENCE)
    for slider, at in zip(page.locator(".kdb-stage-slider input").all(), LESION, strict=True):
        slider.fill(str(at))


SCREENS: dict[str, tuple[str, Callable[[Any], None]]] = {
    "page": ("light", probed),
    "page-compare": ("dark", compared),
    "page-volume": ("light", volume),
}
"""What is done on the page before it is drawn, by the name of its picture, and in which colours."""


def write(path: Path, screenshot: bytes) -> None:
    """A picture of few colours, which looks the same."""
    with Image.open(io.BytesIO(screenshot)) as picture:
        whole = picture.convert("RGB")
    colours = whole.quantize(256, method=Image.Quantize.MAXCOVERAGE)
    whole.quantize(palette=colours, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


def main() -> None:
    """Write the pictures, or those that are named."""
    with served() as address, notebooks.browser() as browser:
        for name in sys.argv[1:] or SCREENS:
            colours, act = SCREENS[name]
            page = browser.new_page(viewport=WINDOW, color_scheme=colours)
            page.set_default_timeout(PATIENCE)
            page.goto(address)
            page.wait_for_selector("[data-testid=kdb][data-settled=true] .kdb-stage[data-view]")
            act(page)
            page.evaluate("scrollTo(0, 0)")
            page.wait_for_timeout(500)  # until what was drawn last has faded in
            write(IMAGES / f"{name}.png", page.screenshot())
            page.close()


if __name__ == "__main__":
    main()
