"""``kdb.occlude``: one heat map in one call, by an OCCLUDE query that its keywords describe."""

from __future__ import annotations

import inspect
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from torch import nn

from kdb.errors import BindError, ClauseError, Error, did_you_mean
from kdb.geometry import MOST_AXES, Size
from kdb.images.preprocessing import choice
from kdb.images.reading import array_of
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.models import carried
from kdb.models.zoo import MODEL_KEYWORDS, RESOLVE_OPTIONS
from kdb.queries.fill import GRAYS
from kdb.results.maps import HeatMap, Score
from kdb.results.several import HeatMaps
from kdb.session.environment import Environment
from kdb.session.statements import Statements
from kdb.session.study import Study

KEYWORDS = {
    "AT": "at",
    "CHANNELS": "channels",
    "FILL": "fill",
    "OVER": "over",
    "SCORE": "score",
    "FILL rgb": "fill = (r, g, b)",
    "FILL $patch": "an array [h, w, C]",
    "STRIDE": "stride",
    "TO SSIM": "ssim",
    "segments": "segments",
    "WITHIN": "within",
}
"""What error messages call a clause here."""
_STATEMENT = re.compile(r"SHOW MODELS|SET rule\.\w+ = off")
"""Statements that error messages recommend."""


def occlude(
    image: object,
    model: object,
    patch: Sequence[int] | int = 16,
    stride: Sequence[int] | int | None = None,
    *,
    fill: object = "black",
    channels: object = None,
    segments: object = None,
    target: int | str | Sequence[int | str] | None = None,
    detection: int | None = None,
    score: str = "probability",
    to: object = None,
    over: object = None,
    at: object = None,
    within: object = None,
    ssim: float | None = None,
    threads: int | None = None,
    **model_options: object,
) -> HeatMap | HeatMaps:
    """The heat map of one image, or of each of a list of images.

    ``image`` is a path, a ``PIL.Image`` or an array or tensor [*size, C] or [*size] of uint8, uint16 or floats;
    ``model`` a name, or an ``nn.Module`` whose keywords, those of ``register_model``, follow; its ``input_size`` is the
    image's own where an array is given without.  ``patch`` and ``stride`` (4) are in cells, a number for each axis or
    one for all.  ``fill`` is black, gray, white, mean, a number, (r, g, b), or an array [*patch, C], of uint8 or for
    images of floats of floats; ``channels`` are the numbers of those that it covers, from 0, left out all.
    ``segments``, an int array of the input's size, hides each label above 0 in place of a patch.  ``target``
    is a class or a sequence of classes, left out the predicted one; ``detection`` the number of a detector's box, from
    1, where there is a ``target`` among those of that class; ``to`` the image that the scores cosine and cosine_drop
    compare with; ``over`` the region of a dense output that is scored, 'predicted', 'all', a box (start.., extent..) or
    a bool mask of the output's size.  ``at`` int [n, axes] are first cells, (y, x) in an image, and exclude ``stride``;
    ``within`` is a box or a bool mask of the input's size.
    With ``ssim`` the map is approximate, of that expected similarity to the exact one.

    Raises what :meth:`kdb.session.session.Session.execute` raises.
    """
    given = dict(model_options)
    if isinstance(channels, str):  # a model's option has that name too
        given["channels"], channels = channels, None
    options = options_of(occlude, image, model, given)
    values: dict[str, Any] = {
        "image": image,
        "model": model,
        "fill": fill,
        "segments": segments,
        "to": to,
        "over": over,
        "at": at,
        "within": within,
    }
    values |= {f"option_{key}": value for key, value in options.items()}
    classes, class_values = _classes(target, detection)
    query = syntax.Occlude(
        _parameter("image"),
        syntax.ModelRef("", tuple((key, _parameter(f"option_{key}")) for key in options), _parameter("model")),
        _laid(patch, segments, fill, channels),
        None if stride is None else _by_axis("stride", stride),
        classes,
        *_score(score, to),
        _over(over),
        _region(at, within),
        approximate=None if ssim is None else syntax.Approximate(_ssim(ssim)),
    )
    environment = Environment(Study())
    if threads is not None:
        environment.settings.set("threads", threads)
    try:
        result = Statements(environment).run(query, Arguments(values | class_values))
    except ClauseError as error:
        raise BindError(error.said_with(KEYWORDS)) from None
    except Error as error:
        error.args = (_STATEMENT.sub(r'db.execute("\g<0>") in a session, db = kdb.connect(),', str(error)),)
        raise
    assert isinstance(result, HeatMap | HeatMaps), "OCCLUDE gives heat maps"
    return result


def options_of(
    called: Callable[..., object], image: object, model: object, given: Mapping[str, object]
) -> dict[str, object]:
    """The options of a ``model``, by name or a module, that are given beside an ``image``, and its size if need be.

    Raises BindError for a keyword that is no option; it suggests those of what was ``called``.
    """
    _refuse_unknown(called, given, MODEL_KEYWORDS if not isinstance(model, str) else RESOLVE_OPTIONS)
    array = None if isinstance(model, str) or {"input", "input_size"} & {*given} else array_of(image)
    return {**given, **({} if array is None else _as_large_as(array, model, given))}


def _as_large_as(array: npt.NDArray[Any], model: object, options: Mapping[str, object]) -> dict[str, object]:
    """The options of a ``model`` that takes images as large as ``array``, of the axes of its first convolution."""
    axes = (carried.axes(model) if isinstance(model, nn.Module) else None) or 2
    found: dict[str, object] = {"input_size": array.shape[:axes]}
    if axes != 2 and "n_channels" not in options:
        found["n_channels"] = array.shape[axes] if array.ndim > axes else 1
    return found


def _refuse_unknown(called: Callable[..., object], options: Mapping[str, object], known: Sequence[str]) -> None:
    """Raise BindError for a keyword that neither what was ``called`` has nor a model; its keywords are ``known``."""
    own = [each.name for each in inspect.signature(called).parameters.values() if each.kind != each.VAR_KEYWORD]
    for key in options:
        if key not in known:
            hint = did_you_mean(key, [*own, *known]) or f"; those of the model are {', '.join(known)}"
            raise BindError(f"{called.__name__}() has no keyword '{key}'{hint}")


def _parameter(name: str) -> syntax.Parameter:
    return syntax.Parameter(name)


def _region(at: object, within: Any) -> syntax.Region | None:
    if at is not None and within is not None:
        raise BindError("at names the positions, so it excludes within")
    if at is not None:
        return syntax.At(_parameter("at"))
    if within is None:
        return None
    if _axes(within) != 1:
        return syntax.Mask(_parameter("within"))
    return syntax.Box(*_box("within", within))


def _score(score: Any, to: object) -> tuple[str, syntax.Parameter | None]:
    kind = choice("score", score, get_args(Score))
    if kind.startswith("cosine") == (to is None):
        raise BindError(
            "to is the image that score = 'cosine' or 'cosine_drop' compares with, and belongs to these alone"
        )
    return kind, None if to is None else _parameter("to")


def _over(over: Any) -> syntax.Over | None:
    if over is None:
        return None
    if isinstance(over, str):
        return syntax.OverAll() if choice("over", over, ("predicted", "all")) == "all" else syntax.OverPredicted()
    return syntax.OverBox(*_box("over", over)) if _axes(over) == 1 else syntax.OverMask(_parameter("over"))


def _box(what: str, value: Any) -> tuple[Size, Size]:
    """A start and an extent along each axis."""
    try:
        box = [operator.index(number) for number in value]
    except TypeError:
        box = []
    axes, rest = divmod(len(box), 2)
    if rest or not 1 <= axes <= MOST_AXES or min(box) < 0:
        raise BindError(
            f"{what} = {value!r}: a box is (y, x, height, width), or for other axes a start and an extent for each, "
            "whole numbers of cells, 0 or more"
        )
    return tuple(box[:axes]), tuple(box[axes:])


def _axes(value: Any) -> int | None:
    """The number of its axes as an array; None for lists of different lengths, which are none."""
    try:
        return np.ndim(value)
    except ValueError:
        return None


def _classes(target: Any, detection: Any) -> tuple[syntax.ClassSpec, dict[str, Any]]:
    """The classes that ``target`` names, or the box of one, by parameters, and the values of these."""
    if detection is not None:
        if isinstance(detection, bool) or not isinstance(detection, Integral):
            raise BindError(f"detection is the number of a box, from 1; got {detection!r}")
        if target is None:
            return syntax.Detection(int(detection)), {}
        return syntax.Detection(int(detection), _parameter("class")), {"class": target}
    if target is None:
        return syntax.Predicted(), {}
    if not isinstance(target, Sequence) or isinstance(target, str):
        return syntax.ClassOf(_parameter("class")), {"class": target}
    if not target:
        raise BindError("target is an empty sequence; it takes at least one class")
    values = {f"class_{i}": each for i, each in enumerate(target)}
    return syntax.Classes(tuple(map(_parameter, values))), values


def _laid(patch: Any, segments: object, fill: object, channels: Any) -> syntax.Patch | syntax.Segments:
    """What is laid over the image: a patch, or segments in its place."""
    if segments is not None:
        return syntax.Segments(_parameter("segments"), _fill(fill), _channels(channels))
    return syntax.Patch(_by_axis("patch", patch), _fill(fill), _channels(channels))


def _channels(channels: Any) -> tuple[int, ...] | None:
    if channels is None:
        return None
    try:
        numbers = tuple(operator.index(number) for number in (channels if isinstance(channels, Sequence) else ()))
    except TypeError:
        numbers = ()
    if not numbers or min(numbers) < 0:
        raise BindError(f"channels is a sequence of whole numbers from 0, or 'RGB' or 'BGR'; got {channels!r}")
    return numbers


def _ssim(ssim: Any) -> float:
    if not isinstance(ssim, Real) or not 0 < float(ssim) <= 1:
        raise BindError(f"ssim is a number above 0, at most 1; not {ssim!r}")
    return float(ssim)


def _by_axis(what: str, value: Any) -> tuple[int, ...]:
    """A number for each axis, or one for all."""
    try:
        numbers = tuple(operator.index(number) for number in (value if isinstance(value, Sequence) else (value,)))
    except TypeError:
        numbers = ()
    if not 1 <= len(numbers) <= MOST_AXES:
        raise BindError(f"{what} is a whole number of cells, or one for each axis, as in (y, x); got {value!r}")
    return numbers


def _fill(fill: Any) -> syntax.Fill:
    if isinstance(fill, str):
        return syntax.Fill(choice("fill", fill, (*GRAYS, "mean")))
    if isinstance(fill, Real) and not isinstance(fill, bool) and math.isfinite(float(fill)):
        return syntax.Fill("number", (float(fill),))
    if isinstance(fill, tuple | list) and all(isinstance(number, Real) for number in fill):
        if len(fill) != 3 or not all(0 <= number <= 255 for number in fill):
            raise BindError(f"fill = {fill!r}: a colour is three numbers from 0 to 255")
        return syntax.Fill("rgb", tuple(map(float, fill)))
    if _axes(fill) == 0:
        kinds = f"{', '.join(GRAYS)}, mean, a number, (r, g, b) and an array [h, w, C]"
        raise BindError(f"fill = {fill!r} is none of {kinds}")
    return syntax.Fill("parameter", parameter=_parameter("fill"))
