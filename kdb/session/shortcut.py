"""``kdb.occlude``: one heat map in one call, by way of the query language."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from numbers import Real
from typing import Any, get_args

from kdb.errors import BindError
from kdb.images.preprocessing import choice
from kdb.images.reading import array_of
from kdb.queries.fill import GRAYS
from kdb.results.maps import HeatMap, HeatMaps, Score
from kdb.session.session import Session


def occlude(
    image: object,
    model: object,
    patch: tuple[int, int] | int = (16, 16),
    stride: tuple[int, int] | int | None = None,
    *,
    fill: object = "black",
    target: int | str | Sequence[int | str] | None = None,
    score: str = "probability",
    at: object = None,
    within: object = None,
    ssim: float | None = None,
    threads: int | None = None,
    **model_options: object,
) -> HeatMap | HeatMaps:
    """The heat map of one image, or of each of a list of images.

    ``image`` is a path, a ``PIL.Image`` or a uint8 array or tensor [H, W, C] or [H, W]; ``model`` a name, or an
    ``nn.Module`` whose keywords, those of ``register_model``, follow; its ``input_size`` is the image's own where
    an array is given without.  ``patch`` (height, width) and ``stride`` (sy, sx; 4) are in pixels, one number for
    both.  ``fill`` is black, gray, white, mean, (r, g, b), or a uint8 array [h, w, 3]; ``target`` a class or a
    sequence of classes, left out the predicted one; ``at`` int [n, 2] of (y, x), which excludes ``stride``;
    ``within`` a box (y, x, height, width) or a bool mask [H, W].  With ``ssim`` the map is approximate, of that
    expected similarity to the exact one.

    Raises what :meth:`kdb.session.session.Session.execute` raises.
    """
    arguments: dict[str, Any] = {"image": image, "model": model, "fill": fill, "at": at, "within": within}
    options = dict(model_options)
    array = None if isinstance(model, str) or {"input", "input_size"} & {*options} else array_of(image)
    if array is not None:
        options["input_size"] = array.shape[:2]
    arguments |= {f"option_{key}": value for key, value in options.items()}
    clauses = ["OCCLUDE $image", f"WITH patch{_pair('patch', patch)} FILL {_fill(fill)}", "USING $model"]
    if options:
        clauses.append(f"({', '.join(f'{key} = $option_{key}' for key in options)})")
    if stride is not None:
        clauses.append(f"STRIDE {_pair('stride', stride)}")
    if at is not None:
        clauses.append("AT $at")
    if isinstance(within, tuple | list) and len(within) == 4 and all(isinstance(n, int) and n >= 0 for n in within):
        clauses.append(f"WITHIN box({', '.join(map(str, within))})")
    elif within is not None:
        clauses.append("WITHIN mask($within)")
    if isinstance(target, Sequence) and not isinstance(target, str):
        if not target:
            raise BindError("the sequence of classes is empty")
        arguments |= {f"class_{i}": each for i, each in enumerate(target)}
        clauses.append(f"FOR CLASSES ({', '.join(f'$class_{i}' for i in range(len(target)))})")
    elif target is not None:
        arguments["class"] = target
        clauses.append("FOR CLASS $class")
    clauses.append(f"SCORE {choice('score', score, get_args(Score))}")
    if ssim is not None:
        if not isinstance(ssim, Real) or not 0 < ssim <= 1:
            raise BindError(f"ssim is a number above 0, at most 1; not {ssim!r}")
        clauses.append(f"APPROXIMATE TO SSIM {float(ssim)}")
    session = Session()
    if threads is not None:
        session.settings.set("threads", threads)
    result = session.execute(" ".join(clauses), arguments)
    assert isinstance(result, HeatMap | HeatMaps), "OCCLUDE gives heat maps"
    return result


def _pair(what: str, value: Any) -> str:
    try:
        numbers = [operator.index(number) for number in (value if isinstance(value, Sequence) else (value, value))]
    except TypeError:
        numbers = []
    if len(numbers) != 2:
        raise BindError(f"{what} is a whole number of pixels, or a pair (y, x) of them; got {value!r}")
    return f"({numbers[0]}, {numbers[1]})"


def _fill(fill: Any) -> str:
    if isinstance(fill, str):
        return choice("fill", fill, (*GRAYS, "mean"))
    if isinstance(fill, tuple | list) and all(isinstance(number, Real) for number in fill):
        if len(fill) != 3 or not all(0 <= number <= 255 for number in fill):
            raise BindError(f"fill = {fill!r}: a colour is three numbers from 0 to 255")
        return f"rgb({', '.join(str(float(number)) for number in fill)})"
    return "$fill"
