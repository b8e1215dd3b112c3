"""One map of one model, compared with the model itself: what was asked, how far off it is, and how it was made.

Errors are in units of what Exact allows, so that 1 is the most that is right.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

import kdb
from benchmarks.oracle import RANGE_BOUND, SCALE_BOUND, SIGNAL_BOUND, full_inference
from benchmarks.verify import cover
from kdb.results.maps import HeatMap
from kdb.session.session import Session

Ints = tuple[int, int]
Logits = NDArray[np.float64]

FLAT_BOUND = 1e-5
"""Largest error where a class's range is below SIGNAL_BOUND of its largest logit, relative to that logit."""
NAME = "examined"
"""What sessions call the model."""

MATCHED, IN_FULL, REFUSED, WRONG, RAW = OUTCOMES = ("matched", "in full", "refused", "wrong", "raw")


@dataclass(frozen=True, eq=False)
class Trial:
    """A query for the logits of all classes.

    Attributes:
        module: in eval mode.
        image: uint8 or uint16 [H, W, 3], [H, W] or [H, W, C]; of uint16, 257 is one step of uint8.
        patch: (h, w) in pixels.
        positions: int64 [n, 2], the (y, x) of the patch.
        fill: as queries write it; black for images that do not have three channels.
        exact: the dtype that decides; float32 for modules that compute something else in float64.
        batch: how many images the module itself is given at a time; 1 where one might depend on the others.
        mean: of every channel, for pixels in [0, 1].
        std: likewise.
    """

    module: nn.Module
    image: NDArray[np.uint8] | NDArray[np.uint16]
    patch: Ints
    positions: NDArray[np.int64]
    fill: str = "black"
    exact: torch.dtype = torch.float64
    batch: int = 32
    mean: float = 0.45
    std: float = 0.25

    @property
    def size(self) -> Ints:
        """(H, W) of the image."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def channels(self) -> int:
        """Of the image, 1 for a grey one."""
        return self.image.shape[2] if self.image.ndim == 3 else 1

    @property
    def query(self) -> str:
        """The text; its parameters are ``image`` and ``positions``."""
        height, width = self.patch
        return (
            f"OCCLUDE $image WITH patch({height}, {width}) FILL {self.fill} AT $positions USING {NAME} "
            "FOR ALL CLASSES SCORE logit"
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """Those of the query."""
        return {"image": self.image, "positions": self.positions}

    def connect(self) -> Session:
        """A new session with the module."""
        db = kdb.connect()
        db.execute("SET rule.few_positions = off")  # what is tried are deltas
        db.register_model(
            NAME,
            self.module,
            input_size=self.size,
            mean=self.mean,
            std=self.std,
            n_channels=self.channels,
            activation="none",
        )
        return db

    def prepared(self) -> tuple[Tensor, Tensor, bool]:
        """The network's input [C, H, W], what covers it, and whether that covers all of the image; see `cover`."""
        pixels = np.atleast_3d(self.image).astype(np.float32)
        if self.image.dtype == np.uint16:
            pixels /= np.float32(257)
        if self.channels == 3:
            content, aligned = cover(self.fill, self.patch, pixels, np.zeros((*self.patch, 3), np.uint8))
        else:
            content, aligned = np.zeros((*self.patch, self.channels), np.float32), False
        return self._normalised(pixels), self._normalised(content), aligned

    def _normalised(self, pixels: NDArray[np.float32]) -> Tensor:
        """Pixels [h, w, C] in [0, 255] as float32 [C, h, w]."""
        scaled = (pixels / np.float32(255) - np.float32(self.mean)) / np.float32(self.std)
        return torch.from_numpy(np.ascontiguousarray(scaled.astype(np.float32))).movedim(-1, 0)

    def truth(self) -> tuple[Logits, Logits]:
        """The module's own logits float64 [n + 1, K] at the positions and of the unmodified image: exact, in float32.

        Where the module does not run in float64, float32 decides, and what it gives for other batches tells how far it
        rounds.
        """
        image, content, aligned = self.prepared()
        plain = self._logits(torch.float32, image, content, aligned, self.batch)
        if self.exact != torch.float32:
            try:
                return self._logits(torch.float64, image, content, aligned, self.batch), plain
            except (RuntimeError, TypeError):  # as it mixes dtypes
                pass
        others = [self._logits(torch.float32, image, content, aligned, batch) for batch in (1, 5, 48)]
        furthest = np.argmax([np.abs(other - plain) for other in others], axis=0)
        return plain, np.take_along_axis(np.stack(others), furthest[None], axis=0)[0]

    def _logits(self, dtype: torch.dtype, image: Tensor, content: Tensor, aligned: bool, batch: int) -> Logits:
        module = copy.deepcopy(self.module).eval().to(dtype)
        image, content = image.to(dtype, copy=True), content.to(dtype)
        height, width = self.patch
        if aligned:
            parts = [
                full_inference(module, image, content[:, y : y + height, x : x + width], self.patch, np.array([[y, x]]))
                for y, x in self.positions
            ]
        else:
            parts = [full_inference(module, image, content, self.patch, self.positions, batch=batch)]
        with torch.inference_mode():
            parts.append(module(image[None]))
        return np.asarray(torch.cat(parts).flatten(1).numpy(), np.float64)


def allowance(truth: ArrayLike, plain: ArrayLike) -> Logits:
    """The largest error of each class that Exact allows, float64 [K].

    ``truth`` and ``plain`` [n, K] are the model's own logits in float64 and float32.
    """
    exact, rounded = np.asarray(truth, np.float64), np.asarray(plain, np.float64)
    scale, extent = np.abs(exact).max(axis=0), np.ptp(exact, axis=0)
    bound = np.where(
        extent < SIGNAL_BOUND * scale, FLAT_BOUND * scale, np.minimum(SCALE_BOUND * scale, RANGE_BOUND * extent)
    )
    return np.asarray(np.maximum(bound, 2 * np.abs(rounded - exact).max(axis=0)))


def errors(given: ArrayLike, truth: ArrayLike, plain: ArrayLike) -> Logits:
    """The error at each position, of the worst class, over what is allowed: float64 [n]; NaN becomes infinity.

    Raises:
        ValueError: the arrays [n, K] differ in shape.
    """
    values, exact = np.asarray(given, np.float64), np.asarray(truth, np.float64)
    if values.shape != exact.shape or exact.shape != np.shape(plain) or exact.ndim != 2:
        raise ValueError(f"logits of shapes {values.shape}, {exact.shape} and {np.shape(plain)} cannot be compared")
    off = np.abs(values - exact)
    with np.errstate(divide="ignore", invalid="ignore"):
        use = np.where(off == 0, 0.0, off / allowance(exact, plain))
    return np.asarray(np.nan_to_num(use, nan=np.inf, posinf=np.inf).max(axis=1))


@dataclass(frozen=True)
class Finding:
    """What became of a trial.

    Attributes:
        outcome: one of OUTCOMES.
        error: the largest error over what is allowed; None where there is no map.
        share: of the positions, how many are off by more than is allowed.
        signal: the largest range of a class over the largest logit.
        own: layers that kdb computes itself; of these, those that carry deltas: ``deltas``.
        outside: the layers outside the vocabulary, and why.
        warned: the first line of the VerificationWarning; empty if there was none.
        checked: (positions compared, worst difference) as the map says; None if it says nothing.
        problem: the error's first line.
    """

    outcome: str
    error: float | None = None
    share: float = 0.0
    signal: float = 0.0
    own: int = 0
    deltas: int = 0
    outside: str = ""
    warned: str = ""
    checked: tuple[int, float] | None = None
    problem: str = ""


def classify(error: float, own: int, warned: bool) -> str:
    """The outcome of a map: ``error`` is its largest over what is allowed, ``own`` the number of layers kdb computed.

    A map that kdb evaluated by the model itself, from the start or after a check has failed, is ``in full``.
    """
    if not error <= 1:
        return WRONG
    return IN_FULL if warned or not own else MATCHED


def examine(trial: Trial) -> Finding:
    """Run the query and compare it with the model; whatever is raised is part of the finding."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            db = trial.connect()
            heat_map = db.execute(trial.query, trial.parameters)
        plan = json.loads(db.explain(trial.query, trial.parameters, format="json"))
    except kdb.Error as error:
        return Finding(REFUSED if str(error).strip() else RAW, problem=first_line(error))
    except Exception as error:  # just what must not happen
        return Finding(RAW, problem=f"{type(error).__name__}: {first_line(error)}")
    assert isinstance(heat_map, HeatMap)
    truth, plain = trial.truth()
    use = errors(logits_of(heat_map), truth, plain)
    layers = [layer for layer in plan["layers"] if layer["operator"] not in ("source", "opaque", "constant")]
    warned = verification(caught)
    return Finding(
        outcome=classify(float(use.max()), len(layers), bool(warned)),
        error=float(use.max()),
        share=float((use > 1).mean()),
        signal=signal(truth),
        own=len(layers),
        deltas=sum(layer["stage"] == "deltas" for layer in layers),
        outside="; ".join(plan["outside"]),
        warned=warned,
        checked=getattr(heat_map, "checked", None),
    )


def logits_of(heat_map: HeatMap) -> Logits:
    """The logits [n + 1, K] of a map of all classes: those of its positions, and those of the unmodified image."""
    values = heat_map.values.reshape(len(heat_map.values), -1).T
    return np.concatenate([values, np.asarray(heat_map.baseline)[None]]).astype(np.float64)


def signal(truth: Logits) -> float:
    """The largest range of a class, relative to the largest logit; 0 where all logits are 0."""
    largest = float(np.abs(truth).max())
    return float(np.ptp(truth, axis=0).max()) / largest if largest else 0.0


def verification(caught: Sequence[warnings.WarningMessage]) -> str:
    """The first line of the VerificationWarning among these; empty if there is none."""
    found = [each.message for each in caught if each.category.__name__ == "VerificationWarning"]
    return first_line(found[0]) or "VerificationWarning" if found else ""


def first_line(error: object) -> str:
    """Of an error's message, shortened."""
    return next((line.strip()[:200] for line in str(error).splitlines() if line.strip()), "")


def places(size: Ints, patch: Ints, count: int, seed: int) -> NDArray[np.int64]:
    """``count`` positions int64 [n, 2]: the four corners, the middle of each border, and random ones."""
    bottom, right = size[0] - patch[0], size[1] - patch[1]
    draw = np.random.default_rng(seed)
    points = draw.integers((0, 0), (bottom + 1, right + 1), size=(max(count, 8), 2))
    points[:8] = [
        *((0, 0), (0, right), (bottom, 0), (bottom, right)),
        *((0, right // 2), (bottom, right // 2), (bottom // 2, 0), (bottom // 2, right)),
    ]
    return points[:count]
