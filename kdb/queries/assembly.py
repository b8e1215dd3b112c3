"""From what the rounds of a query have found to its heat map; nothing is computed here but the map's own layout."""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kdb.execution.changes import Changes
from kdb.execution.engine import Planned
from kdb.execution.measured import Measured
from kdb.execution.verification import Checked
from kdb.geometry import Segments
from kdb.models.detection import Detections
from kdb.planner import calibration
from kdb.planner.plan import PhysicalPlan
from kdb.queries.bind import ImageQuery
from kdb.queries.clauses import approximations
from kdb.queries.positions import Selection
from kdb.queries.scoring import Scorer
from kdb.results.maps import HeatMap, Score, Stats
from kdb.results.provenance import Provenance
from kdb.sampling.strategy import Estimate
from kdb.version import __version__


def heat_map(
    image_query: ImageQuery,
    scorer: Scorer,
    estimate: Estimate,
    planned: Planned,
    stats: Stats,
    complete: bool,
    checked: Checked | None,
    changes: Changes | None = None,
) -> HeatMap:
    """The heat map of an ``estimate``; ``complete`` unless an interruption left some of it out.

    ``planned`` is its first round; ``changes`` are those of a dense output.
    """
    bound, prepared = image_query.bound, image_query.prepared
    query, model, selection = bound.query, bound.traced.model, bound.selection
    several = scorer.has_axis
    baseline = tuple(float(value) for value in np.where(scorer.without, np.nan, scorer.baseline))
    kind: Any = scorer.kind
    score: Score = kind

    def on_grid(values: NDArray[np.floating]) -> NDArray[np.float32]:
        """[classes, n] of the selected positions -> [classes, *grid], without the first axis for one class."""
        laid = _on_grid(values, selection)
        laid[scorer.without] = np.nan
        return laid if several else laid[0]

    evaluated = np.zeros(math.prod(selection.grid.shape[:-1]), bool)
    evaluated[selection.cells] = estimate.evaluated
    # Where nothing permits an approximation, an anytime map is one as long as any value is an estimate.
    exact = not approximations(query) and not np.isfinite(estimate.values[:, ~estimate.evaluated]).any()
    return HeatMap(
        values=on_grid(estimate.values),
        positions=selection.grid,
        baseline=baseline if several else baseline[0],
        class_index=scorer.classes if several else scorer.classes[0],
        label=scorer.labels if several else scorer.labels[0],
        score=score,
        patch=(1,) * len(bound.size) if isinstance(bound.patch, Segments) else bound.patch,
        segments=None if selection.segments is None else selection.segments.ids,
        labels=None if selection.segments is None else selection.segments.labels,
        stride=bound.stride,
        **_boxes(image_query.detections),
        **_changes(changes, several),
        image=prepared.image,
        source=image_query.name,
        source_files=() if image_query.origin is None else image_query.origin.files,
        source_box=prepared.source_box,
        source_size=prepared.source_size,
        axes=prepared.axes,
        space=prepared.space,
        query=str(replace(query, into=None)),
        model=model.name,
        model_identity=bound.traced.identity,
        version=__version__,
        exact=bool(exact),
        complete=complete,
        evaluated=evaluated.reshape(selection.grid.shape[:-1]),
        error=None if exact or estimate.error is None else on_grid(estimate.error),
        ssim_estimate=None if exact else estimate.ssim,
        checked=None if checked is None else (checked.positions, checked.worst),
        fill=image_query.cover.pixels,
        provenance=_provenance(image_query, planned),
        notes=image_query.notes,
        stats=stats,
    )


def _changes(changes: Changes | None, several: bool) -> dict[str, Any]:
    """A map's fields of which cells of a dense output change."""
    if changes is None:
        return {}
    mean, most = changes.mean, changes.most
    return {"changed_mean": mean if several else mean[0], "changed_max": most if several else most[0]}


def _boxes(found: Detections | None) -> dict[str, Any]:
    """A map's fields of a detector's boxes."""
    if found is None:
        return {}
    return {
        "boxes": found.boxes,
        "box_scores": found.scores,
        "box_classes": found.classes,
        "detection": found.chosen + 1,
    }


def _provenance(image_query: ImageQuery, planned: Planned) -> Provenance:
    """What a map is made of, by what, and where."""
    traced, origin, plan = image_query.bound.traced, image_query.origin, planned.physical
    preprocessing, floats = traced.model.preprocessing, image_query.prepared.floats
    profile = planned.context.costs.profile
    packages = {"pillow"}  # which resizes what others read, too, but for arrays of one axis or three
    packages |= {"scikit-image"} if preprocessing.rank != 2 else set()
    packages |= {origin.reader} if origin is not None and origin.reader else set()
    packages |= {"scipy"} if image_query.cover.aligned else set()  # it blurs
    return Provenance(
        preprocessing={
            **asdict(preprocessing),
            "scale": preprocessing.scale_of(floats),
            "floats": floats,
            "activation": traced.activation,
            "layout": traced.model.layout,
        },
        source_of=None if origin is None else origin.of,
        source_sha256=None if origin is None else origin.sha256,
        parts=asdict(traced.parts),
        versions={**versions(), **{name: _version(name) for name in sorted(packages)}},
        processor=calibration.processor(),
        device=plan.backend.name,
        threads=plan.threads,
        precision=image_query.bound.query.precision,
        rates=profile.origin,
        rates_date=profile.measured,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=platform.node(),
    )


def versions() -> dict[str, str]:
    """Of kdb, and of what every map depends on."""
    return {
        "kdb": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # it was put there by other means than an installer
        return "unknown"


def statistics(plan: PhysicalPlan, measured: Measured, positions: int, seconds: Mapping[str, float]) -> Stats:
    """The statistics of a map of so many ``positions``: the ``plan`` of its first round, and what all rounds measured.

    ``seconds`` are by phase; those of each stage, summed over its workers, are added to them.
    """
    steps = [] if plan.logical.by_model else [step for stage in plan.stages for step in stage.steps]
    return Stats(
        naive_macs=plan.logical.full_macs * positions,
        executed_macs=measured.macs,
        positions=positions,
        evaluated=measured.evaluated,
        seconds={**seconds, **{f"{name} (threads)": value for name, value in measured.stages.items()}},
        kernels=dict(sorted(Counter(step.kernel.name for step in steps).items())),
    )


def _on_grid(values: NDArray[np.floating], selection: Selection) -> NDArray[np.float32]:
    """[classes, n] of the selected positions -> float32 [classes, *grid], NaN at all others; not copied if need be."""
    shape = selection.grid.shape[:-1]
    count = math.prod(shape)
    if values.dtype == np.float32 and np.array_equal(selection.cells, np.arange(count)):
        return np.asarray(values.reshape(len(values), *shape), np.float32)
    grid = np.full((len(values), count), np.nan, np.float32)
    grid[:, selection.cells] = values
    return grid.reshape(len(values), *shape)
