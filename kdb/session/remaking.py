"""VERIFY of a file: a saved map beside the one that is made of it again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kdb.errors import BindError, ParseError, UnknownName, did_you_mean
from kdb.images.preprocessing import Prepared
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.language.parser import parse_one
from kdb.queries import evaluation
from kdb.queries.bind import BoundQuery, ImageQuery
from kdb.queries.sources import Found
from kdb.results import wording
from kdb.results.maps import HeatMap
from kdb.session import origins
from kdb.session.binding import Binder
from kdb.session.environment import Call, Environment
from kdb.session.verifying import AGREES, NOTHING, Own, Row, Verification

FILL = "fill of the map"
"""The parameter, which no query can name, that stands for what the file says covered the image."""


def of_file(environment: Environment, statement: syntax.VerifyFile, call: Call) -> Verification:
    """The map in a file beside the one that its query makes now, of the same image by the same model.

    Raises ExecutionError for a file that is no heat map, BindError where it does not say enough to make the map again.
    """
    saved = HeatMap.load(environment.root.path(statement.path))
    written = _written(saved, statement.path)
    unused = _unused(written, statement, call.arguments)
    query, arguments = _as_saved(saved, written, statement, call.arguments)
    binder = Binder(environment)
    found = _image(saved, query, arguments, environment, binder)
    bound = _bound(binder, query, arguments, statement)
    source = None if found is None else found[1](bound.traced.model.preprocessing)
    again = _stored(saved, bound, statement.path) if source is None else bound.on(source, saved.source)
    made = evaluation.run(environment.engine, again, call.on_progress).heat_map
    rows: list[Row] = [
        *([("parameters", None, f"not used: {', '.join(unused)}", None)] if unused else []),
        *origins.rows(saved, made, found, FILL not in arguments.named),
        ("class", *map(_classes, (saved, made)), origins.same_classes(saved, made)),
        *_detection(saved, made),
        ("score", saved.score, made.score, _same(saved, made, "score")),
        ("patch", *map(wording.hidden, (saved, made)), wording.hidden(saved) == wording.hidden(made)),
        ("stride", *(origins.extent(each.stride) for each in (saved, made)), _same(saved, made, "stride")),
        ("positions", *map(_count, (saved, made)), _same_positions(saved, made)),
        *_values(saved, made, again),
        *_changes(saved, made),
        ("exact", saved.exact, made.exact, _same(saved, made, "exact")),
        *([] if saved.complete else [("complete", saved.complete, made.complete, None)]),
        ("checked", *(_check(each.checked) for each in (saved, made)), None),
    ]
    differing = [str(row[0]) for row in rows if row[-1] is False]
    compared = any(row[0] == "values" and row[-1] is not None for row in rows)
    line = f"differs in {', '.join(differing)}" if differing else AGREES if compared else NOTHING
    return Verification(("field", "saved", "now", "agrees"), tuple(rows), (line, saved.query))


def _written(saved: HeatMap, path: str) -> syntax.Occlude:
    """The query of a saved map; raises BindError for one that cannot be run."""
    try:
        query = parse_one(saved.query)
    except ParseError as error:
        raise BindError(f"the query of the map in '{path}' is none that this kdb reads: {error}") from None
    if not isinstance(query, syntax.Occlude):
        raise BindError(f"the map in '{path}' was not made by a query that can be run again: {saved.query}")
    return query


def _unused(query: syntax.Occlude, statement: syntax.VerifyFile, arguments: Arguments) -> list[str]:
    """The parameters given that nothing takes; raises BindError where one looks like one of ``query`` that is missing.

    Other statements of a script may take them.
    """
    path, taken = statement.path, {each.name or "" for each in syntax.parameters((query, statement))}
    taken |= {query.source.text} if isinstance(query.source, syntax.Name) else set()
    unused = [name for name in arguments.named if name not in taken]
    for name in unused:
        if hint := did_you_mean(name, taken - arguments.named.keys()):
            raise BindError(f"the query of the map in '{path}' has no parameter ${name}{hint}")
    return [f"${name}" for name in unused]


def _as_saved(
    saved: HeatMap, query: syntax.Occlude, statement: syntax.VerifyFile, arguments: Arguments
) -> tuple[syntax.Occlude, Arguments]:
    """The ``query`` of a saved map and what its parameters are; raises BindError where one cannot be known.

    Positions, classes, masks, segments and fills that are not given are those of the map.
    """
    path = statement.path

    def known(part: object) -> bool:
        return all(each.name in arguments.named for each in syntax.parameters(part))

    def of_the_map(name: str, value: npt.NDArray[Any]) -> syntax.Parameter:
        """A parameter for what the map has; no query can name it."""
        nonlocal arguments
        arguments = arguments.beside({name: value})
        return syntax.Parameter(name)

    if isinstance(query.region, syntax.At) and not known(query.region):
        query = replace(query, region=syntax.At(of_the_map("positions of the map", saved.positions)))
    if isinstance(query.region, syntax.Mask) and not known(query.region):
        query = replace(query, region=syntax.Mask(of_the_map("mask of the map", _mask(saved))))
    fill = query.patch.fill
    if saved.fill is not None and fill.parameter is not None and not known(fill):
        given = replace(fill, parameter=of_the_map(FILL, _whole(saved.fill)))
        query = replace(query, patch=replace(query.patch, fill=given))
    if not known(query.classes):
        index = saved.class_index
        query = replace(query, classes=_of_indices(query.classes, index))
    if statement.model is None and not known(query.model):
        raise BindError(
            f"the model of the map in '{path}' was the parameter {query.model}; "
            f"{_remedy(query.model, arguments)}, or write VERIFY {syntax.quote(path)} USING and the model"
        )
    if isinstance(query.patch, syntax.Segments) and saved.labels is not None and not known(query.patch.parameter):
        labels = of_the_map("labels of the map", saved.labels)
        query = replace(query, patch=replace(query.patch, parameter=labels, in_source=False))
    if not known(query.patch):
        raise BindError(
            f"the map in '{path}' was made with {query.patch}, which its file does not keep; "
            f"{_remedy(query.patch, arguments)}"
        )
    return replace(query, model=statement.model or query.model), arguments


def _of_indices(classes: syntax.ClassSpec, index: int | tuple[int, ...]) -> syntax.ClassSpec:
    """The ``classes`` of a query by their indices in the map."""
    if isinstance(index, tuple):
        return syntax.Classes(index)
    return replace(classes, ref=index) if isinstance(classes, syntax.Detection) else syntax.ClassOf(index)


def _mask(saved: HeatMap) -> npt.NDArray[np.bool_]:
    """bool, of the input's size: the centres of the patches at which the map has values."""
    centres = saved.positions.reshape(-1, len(saved.axes))[_there(saved)] + np.floor_divide(saved.patch, 2)
    mask = np.zeros(saved.image.shape[:-1], bool)
    mask[tuple(centres.T)] = True
    return mask


def _whole(pixels: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """The pixels as uint8, of which a fill is; as they are where they are no such."""
    whole = np.clip(pixels, 0, 255).astype(np.uint8)
    return whole if np.array_equal(whole, pixels) else pixels


def _remedy(part: object, arguments: Arguments) -> str:
    """What to do about the parameters in a part of a saved query that were not given."""
    missing = [each for each in syntax.parameters(part) if each.name not in arguments.named]
    if any(each.name is None for each in missing):
        return "VERIFY cannot be given what a ? stood for: make the map by a query with $names"
    return f"give VERIFY {', '.join(sorted(set(map(str, missing))))}, as the query was given"


def _image(
    saved: HeatMap, query: syntax.Occlude, arguments: Arguments, environment: Environment, binder: Binder
) -> Found | None:
    """The image of a saved map: the one given by the name in its query, else the file it names; None without either."""
    source, registered = query.source, environment.images
    name = source.text if isinstance(source, syntax.Name) else None
    name = source.name if isinstance(source, syntax.Parameter) else name
    if name in arguments.named or (isinstance(source, syntax.Name) and name in registered):
        found, _ = binder.find(source, query.model, arguments)
        of_that_name = found if len(found) == 1 else [each for each in found if each[0] == saved.source]
        if len(of_that_name) != 1:
            raise BindError(f"a map is of one image; {source} are {len(found)}, of which the map does not name one")
        return of_that_name[0]
    if saved.source is None or saved.source == name:
        return None
    try:
        file = environment.root.path(saved.source)
    except BindError as error:
        raise BindError(f"{error}; the map names it as its image") from None
    return binder.of_saved(query, arguments, saved.source) if os.path.exists(file) else None


def _bound(binder: Binder, query: syntax.Occlude, arguments: Arguments, statement: syntax.VerifyFile) -> BoundQuery:
    try:
        return binder.bind(query, arguments)
    except UnknownName as error:
        if statement.model is not None:
            raise
        path = statement.path
        raise UnknownName(
            f"{error}; the map in '{path}' was made by it: "
            f"register it, or write VERIFY {syntax.quote(path)} USING and the model",
            error.name,
            error.suggestion,
        ) from None


def _stored(saved: HeatMap, bound: BoundQuery, path: str) -> ImageQuery:
    """The query on the copy of its image that the map has; raises BindError where that is no input of the model."""
    wanted, model = bound.traced.model.preprocessing, bound.traced.model.name
    if saved.image.shape != (*wanted.input_size, wanted.image_channels):
        shape = origins.extent(saved.image.shape)
        raise BindError(
            f"the image of the map in '{path}' is not at hand, and its copy in the file, {shape}, "
            f"is no input of '{model}'; give the image as a parameter of the name {saved.source or '$image'}"
        )
    floats = saved.provenance is not None and saved.provenance.floats
    prepared = Prepared(saved.image.astype(np.float32), saved.source_box, saved.source_size, floats)
    return bound.on_prepared(prepared, saved.source)


def _values(saved: HeatMap, made: HeatMap, again: ImageQuery) -> Iterator[Row]:
    """Rows that compare baselines, values that both maps evaluated, and estimates.

    Each of two maps may be off by what Exact allows: up to twice as much agrees.
    """
    (before, indices, _), (after, now, _) = saved.by_class(), made.by_class()
    if indices != now or not np.array_equal(saved.positions, made.positions):
        yield "values", _span(before), _span(after), None  # of other classes or positions; another row says so
        return
    without = np.isnan(np.ravel(made.baseline))  # classes that have no region of a dense output
    if not np.array_equal(without, np.isnan(np.ravel(saved.baseline))):
        yield "values", _span(before), _span(after), False
        return
    most = Own(again, indices).allowed(np.where(without[:, None], 0, after))
    ratio = np.where(without, 0, np.abs(np.ravel(saved.baseline) - np.ravel(made.baseline)) / most)
    worst = int(np.argmax(ratio))
    baselines = (float(np.ravel(each.baseline)[worst]) for each in (saved, made))
    yield "baseline", *baselines, bool(ratio[worst] <= 2)

    both = saved.evaluated.reshape(-1) & made.evaluated.reshape(-1)
    for field, among in (("values", both), ("estimates", ~both)):
        there = among & _there(saved) & _there(made)
        if not there.any():
            continue
        difference = np.abs(before - after)[:, there]
        ratios = np.where(without[:, None], 0, difference / most[:, None])
        at = np.unravel_index(int(np.argmax(ratios)), ratios.shape)
        position = ", ".join(map(str, saved.positions.reshape(-1, len(saved.axes))[there][at[1]]))
        text = f"largest difference {difference[at]:.2g} at ({position}), {ratios[at]:.2g} of what Exact allows"
        yield field, _span(before[:, there]), text if difference[at] else "equal bit for bit", bool(ratios[at] <= 2)


def _same(saved: HeatMap, made: HeatMap, field: str) -> bool:
    return bool(getattr(saved, field) == getattr(made, field))


def _classes(heat_map: HeatMap) -> str:
    _, indices, labels = heat_map.by_class()
    names = [f"{label} ({index})" for label, index in zip(labels, indices, strict=True)]
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} more"


def _detection(saved: HeatMap, made: HeatMap) -> list[Row]:
    """The row of the box that is explained, which is the same up to a hundredth of a cell; none of other models."""

    def box(heat_map: HeatMap) -> npt.NDArray[np.float32] | None:
        number, boxes = heat_map.detection, heat_map.boxes
        return None if number is None or boxes is None else boxes[number - 1]

    def told(heat_map: HeatMap) -> str:
        own = box(heat_map)
        if own is None:
            return "none"
        y, x, height, width = own.tolist()
        return f"{heat_map.detection}: {height:.1f} x {width:.1f} at ({y:.1f}, {x:.1f})"

    one, two = box(saved), box(made)
    if one is None and two is None:
        return []
    same = one is not None and two is not None and bool(np.allclose(one, two, rtol=0, atol=0.01))
    return [("detection", told(saved), told(made), same)]


def _changes(saved: HeatMap, made: HeatMap) -> Iterator[Row]:
    """The rows of which cells of a dense output change; equal up to rounding, a ten thousandth of the largest."""
    for name in ("changed_mean", "changed_max"):
        one, two = getattr(saved, name), getattr(made, name)
        if one is None and two is None:
            continue
        told = ["none" if each is None else f"at most {each.max():.4g}" for each in (one, two)]
        same = one is not None and two is not None and one.shape == two.shape
        yield name, *told, same and bool(np.abs(one - two).max() <= 1e-4 * max(one.max(), 1e-6))


def _there(heat_map: HeatMap) -> npt.NDArray[np.bool_]:
    """[n]: where the map has values."""
    return np.asarray(np.isfinite(heat_map.by_class()[0]).any(axis=0))


def _same_positions(saved: HeatMap, made: HeatMap) -> bool | None:
    """Whether both maps are of the same positions; of a partial one, those that it lacks may be any.

    None where others were evaluated, as a sampled map may do.
    """
    if not saved.is_aligned_with(made):
        return False
    before, now = _there(saved), _there(made)
    if not np.array_equal(before, now if saved.complete else now & before):
        return False
    return True if np.array_equal(saved.evaluated.reshape(-1), made.evaluated.reshape(-1) & before) else None


def _count(heat_map: HeatMap) -> str:
    there = _there(heat_map)
    grid = "" if there.all() else f", on a grid of {there.size}"
    evaluated = int((heat_map.evaluated.reshape(-1) & there).sum())
    return f"{evaluated} of {int(there.sum())} evaluated{grid}"


def _check(found: tuple[int, float] | None) -> str | None:
    if found is None:
        return None
    count, worst = found
    what = "the unmodified image alone" if not count else f"{count} position{'' if count == 1 else 's'}"
    return f"{what}, at worst {worst:.2g} of what Exact allows"


def _span(values: npt.NDArray[np.float32]) -> str:
    """The number of values [classes, n] and their range, without those that are NaN."""
    there = values[np.isfinite(values)]
    return f"{there.size} from {there.min():.4g} to {there.max():.4g}" if there.size else "none"
