"""Tuning the threshold, the paper's Figure 9: SSIM by tau with its fit, and SSIM of new images at the chosen tau."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

import kdb
from benchmarks import photos
from benchmarks.figures.common import BLACK, BLUE, ORANGE, Json, Scale, panels, prose
from benchmarks.timing import markdown_table
from benchmarks.verify import TRAINED
from kdb.results.maps import HeatMap
from kdb.session.study import Study
from kdb.session.tuning import Subject, Tuning

TITLE = "Tuning the threshold"
TARGET = 0.9
SIDE = 256
"""Side of the crops in pixels; the network's preprocessing crops them further to its input."""


def tuned(folder: Path, images: NDArray[np.uint8], name: str, stride: int) -> Tuning:
    """The result of TUNE on the images, uint8 [n, H, W, 3], which are written to ``folder``."""
    (folder / name).mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / name / f"{index:02}.png")
    study = folder / f"{name}.kdb"
    with kdb.connect(study) as db:
        db.execute(f"SET threads = {torch.get_num_threads()}")
        db.execute(f"TUNE {TRAINED} ON '{folder / name}/*.png' STRIDE {stride} TO SSIM {TARGET}")
        one = db.execute(f"OCCLUDE '{folder / name}/00.png' USING {TRAINED} AT ?", [np.zeros((1, 2), np.int64)])
    assert isinstance(one, HeatMap)
    written = Study(study)
    found = written.tuning(Subject(one.model_identity, (16, 16), (stride, stride), "black", "probability"))
    written.close()
    assert found is not None
    return found


def measure(scale: Scale) -> Json:
    """Tune on one half of the crops, and test the chosen tau on the other half."""
    crops = photos.crops((SIDE, SIDE), 2 * scale.images, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        tune, test = (
            tuned(Path(folder), crops[half::2], name, scale.tuned_stride) for half, name in enumerate(("tune", "test"))
        )
    tau = tune.tau(TARGET)
    print(f"{TRAINED}: tau {tau}; {tune.share(tau, TARGET):.0%} and {test.share(tau, TARGET):.0%} have {TARGET}")
    return {
        "network": TRAINED,
        "images": scale.images,
        "stride": scale.tuned_stride,
        "taus": tune.taus,
        "tune": tune.ssim.tolist(),
        "test": test.ssim.tolist(),
        "speedup": tune.speedup.tolist(),
        "fit": [tune.fit(each) for each in tune.taus],
        "tau": tau,
        "at tau": {"tune": tune.at(tau).tolist(), "test": test.at(tau).tolist()},
    }


def section(found: Json) -> str:
    """The explanation, a table with a row for each tau, and the shares that meet the target, in Markdown."""
    rows = []
    for i, tau in enumerate(found["taus"]):
        both = [np.array(found[of])[:, i] for of in ("tune", "test")]
        rows.append([tau, f"{found['speedup'][i]:.2f}x", *(f"{each.mean():.3f}" for each in both)])
        rows[-1] += [f"{found['fit'][i]:.3f}", f"{both[0].min():.3f}"]
    shares, worst = [], []
    for of in ("tune", "test"):
        each = np.array(found["at tau"][of])
        shares.append(f"{np.mean(each >= TARGET):.0%}")
        worst.append(f"{np.mean(each >= TARGET - 0.1):.0%}")
    text = prose(
        f"The paper's Figure 9: {found['network']}, trained weights, {found['images']} crops of photographs to tune on "
        f"and as many to test, maps of stride {found['stride']}, SSIM of the coloured maps. Networks with random "
        "weights would say nothing of SSIM, so that there is one curve and not three.\n\n"
    )
    outcome = prose(
        f"\nFor a target of {TARGET} the fit gives tau = {found['tau']:g}. Of the images it was tuned on {shares[0]} "
        f"have the target there, of new ones {shares[1]}; {worst[0]} and {worst[1]} are at most .1 below it.\n"
    )
    headers = ["tau", "fewer multiply-adds", "SSIM, tuned on", "SSIM, new", "fit", "lowest, tuned on"]
    return text + markdown_table(headers, rows) + outcome


def draw(found: Json) -> Mapping[str, Figure]:
    """Plots of SSIM by tau with the fit, and of the distribution of deviations from the target."""
    figure, (by_tau, deviation) = panels(2)
    taus = np.array(found["taus"])
    for row in found["tune"]:
        by_tau.plot(taus, row, ".", color=BLUE, markersize=3)
    by_tau.plot(taus, found["fit"], "-", color=BLACK, label="fit")
    by_tau.axvline(found["tau"], color=ORANGE, linewidth=1, label=f"tau for {TARGET}")
    by_tau.invert_xaxis()
    by_tau.set_xlabel("tau")
    by_tau.set_ylabel("SSIM")
    by_tau.legend(frameon=False, fontsize=8)
    for colour, of in ((BLUE, "tune"), (ORANGE, "test")):
        off = np.sort(np.array(found["at tau"][of]) - TARGET)
        deviation.step(off, 100 * np.arange(1, len(off) + 1) / len(off), where="post", color=colour, label=of)
    deviation.axvline(0, color=BLACK, linewidth=0.8)
    deviation.set_xlabel(f"SSIM - {TARGET}")
    deviation.set_ylabel("% of images below")
    deviation.legend(frameon=False, fontsize=8)
    return {"tuning": figure}
