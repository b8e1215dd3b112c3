"""What the page's controls show of a query, and what moving one of them makes of it.

The query's syntax tree stands between text and controls: a clause that no control has is kept as it is, and so are
comments, line ends and the order of clauses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from kdb.errors import BindError, ParseError
from kdb.language import syntax
from kdb.language.parser import parse_one
from kdb.language.places import rewritten
from kdb.queries.clauses import approximations
from kdb.sampling.choose import DEFAULT_SSIM

Change = Callable[[syntax.Occlude, Any], syntax.Occlude]

MASK = "painted"
"""The parameter of a mask that was painted."""
SCORES = ("probability", "drop", "logit", "logit_drop")


def of_query(query: syntax.Occlude) -> dict[str, Any]:
    """The fields of ``Form`` in ui/src/protocol.ts that the text alone decides."""
    patch, region = query.patch, query.region
    return {
        "source": str(query.source),
        "model": str(query.model),
        "classes": _classes(query.classes),
        "score": query.score,
        "patch": list(patch.extent) if isinstance(patch, syntax.Patch) else None,
        "stride": list(query.stride or syntax.DEFAULT_STRIDE),
        "fill": str(patch.fill),
        "region": {
            "kind": {syntax.Box: "box", syntax.Mask: "mask", syntax.At: "at", type(None): "none"}[type(region)],
            "box": [*region.start, *region.extent] if isinstance(region, syntax.Box) and not region.in_source else None,
        },
        "over": None if query.over is None else str(query.over).removeprefix("OVER ").lower(),
        "effort": _effort(query),
        "others": _others(query),
    }


def _classes(spec: syntax.ClassSpec) -> dict[str, Any]:
    if isinstance(spec, syntax.ClassOf) and not isinstance(spec.ref, syntax.Parameter):
        return {"kind": "class", "value": spec.ref}
    if isinstance(spec, syntax.TopClasses):
        return {"kind": "top", "value": spec.k}
    if isinstance(spec, syntax.Detection) and spec.ref is None:
        return {"kind": "detection", "value": spec.number}
    kinds: dict[type, str] = {syntax.Predicted: "predicted", syntax.AllClasses: "all"}
    kind = kinds.get(type(spec), "several")
    return {"kind": kind, "value": str(spec) if kind == "several" else None}


def _effort(query: syntax.Occlude) -> dict[str, Any]:
    permitting = approximations(query)
    if not permitting:
        return {"kind": "exact"}
    approximate = query.approximate
    if permitting == ["APPROXIMATE"] and approximate is not None and approximate.refine_top is None:
        ssim = DEFAULT_SSIM if approximate.ssim is None else approximate.ssim
        return {"kind": "ssim", "ssim": ssim, "guaranteed": approximate.guaranteed}
    if permitting == ["BUDGET"]:
        return {"kind": "seconds", "seconds": query.budget_seconds}
    return {"kind": "other", "text": ", ".join(permitting)}


def _others(query: syntax.Occlude) -> list[str]:
    """The clauses that no control shows, as they are written; those that permit an approximation are the effort's."""
    patch, region = query.patch, query.region
    clauses = {
        f"WITH {patch}": isinstance(patch, syntax.Segments),
        f"CHANNELS ({', '.join(map(str, patch.channels or ()))})": patch.channels is not None,
        f"SCORE {query.score} TO {query.to}": query.to is not None,
        f"FOR {query.classes}": _classes(query.classes)["kind"] == "several",
        str(region): region is not None and not _is_controlled(region),
        str(query.over): isinstance(query.over, syntax.OverBox | syntax.OverMask),
        f"ON {query.device}": query.device != "auto",
    }
    return [text for text, there in clauses.items() if there]


def _is_controlled(region: syntax.Region) -> bool:
    """Whether the page draws the region: a box in cells of the input, or the mask that was painted."""
    if isinstance(region, syntax.Mask):
        return region.parameter.name == MASK and not region.in_source
    return isinstance(region, syntax.Box) and not region.in_source


# ---- changes


def changed(query: syntax.Occlude, control: str, value: Any) -> syntax.Occlude:
    """The query after a control was set to ``value``, as ``Change`` in ui/src/protocol.ts has them.

    Raises ParseError for a text that is no such part of a query, and BindError for a control or value there is none of.
    """
    change = _CHANGES.get(control)
    if change is None:
        raise BindError(f"there is no control '{control}'; there are {', '.join(_CHANGES)}")
    try:
        return change(query, value)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise BindError(f"the control '{control}' cannot be set to {value!r}") from error


def written(text: str, query: syntax.Occlude, control: str, value: Any) -> str:
    """The text of a query after a control was set: what the control does not change is as it was written."""
    return rewritten(text, changed(query, control, value))


def _part(text: str) -> syntax.Occlude:
    """A query of which one part was typed into a control: its source, model or fill."""
    query = parse_one(text)
    if not isinstance(query, syntax.Occlude):
        raise BindError("a control is of a query")
    return query


def _source(query: syntax.Occlude, value: str) -> syntax.Occlude:
    return replace(query, source=_part(f"OCCLUDE {value} USING x").source)


def _model(query: syntax.Occlude, value: str) -> syntax.Occlude:
    try:
        return replace(query, model=_part(f"OCCLUDE x USING {value}").model)
    except ParseError:  # a name that is written in quotes
        return replace(query, model=syntax.ModelRef(str(value)))


def _set_classes(query: syntax.Occlude, value: Mapping[str, Any]) -> syntax.Occlude:
    kinds: dict[str, Callable[[Any], syntax.ClassSpec]] = {
        "predicted": lambda _: syntax.Predicted(),
        "class": lambda ref: syntax.ClassOf(ref if isinstance(ref, str) else int(ref)),
        "top": lambda k: syntax.TopClasses(int(k)),
        "all": lambda _: syntax.AllClasses(),
        "detection": lambda number: syntax.Detection(int(number)),
    }
    return replace(query, classes=kinds[value["kind"]](value["value"]))


def _score(query: syntax.Occlude, value: str) -> syntax.Occlude:
    if value not in SCORES:
        raise BindError(f"the control 'score' is one of {', '.join(SCORES)}; not {value!r}")
    return replace(query, score=value, to=None)


def _patch(query: syntax.Occlude, value: list[int]) -> syntax.Occlude:
    return replace(query, patch=syntax.Patch(_numbers(value), query.patch.fill, query.patch.channels))


def _stride(query: syntax.Occlude, value: list[int]) -> syntax.Occlude:
    return replace(query, stride=_numbers(value))


def _fill(query: syntax.Occlude, value: str) -> syntax.Occlude:
    fill = _part(f"OCCLUDE x WITH patch(1) FILL {value} USING x").patch.fill
    return replace(query, patch=replace(query.patch, fill=fill))


def _box(query: syntax.Occlude, value: list[int] | None) -> syntax.Occlude:
    if value is None:
        return replace(query, region=None)
    numbers, axes = _numbers(value), len(value) // 2
    return replace(query, region=syntax.Box(numbers[:axes], numbers[axes:]))


def _mask(query: syntax.Occlude, value: str | None) -> syntax.Occlude:
    return replace(query, region=None if value is None else syntax.Mask(syntax.Parameter(MASK)))


def _over(query: syntax.Occlude, value: str | None) -> syntax.Occlude:
    kinds: dict[str | None, syntax.Over | None] = {
        None: None,
        "predicted": syntax.OverPredicted(),
        "all": syntax.OverAll(),
    }
    return replace(query, over=kinds[value])


def _set_effort(query: syntax.Occlude, value: Mapping[str, Any]) -> syntax.Occlude:
    kind = value["kind"]
    plain = replace(
        query, exact=False, approximate=None, threshold=None, drill_down=None, budget_seconds=None, precision="fp32"
    )
    if kind == "ssim":
        return replace(plain, approximate=syntax.Approximate(float(value["ssim"]), bool(value["guaranteed"])))
    if kind == "seconds":
        return replace(plain, budget_seconds=float(value["seconds"]))
    if kind != "exact":
        raise ValueError(kind)
    return plain


def _numbers(value: list[int]) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise TypeError(value)
    return tuple(map(int, value))


_CHANGES: Mapping[str, Change] = {
    "source": _source,
    "model": _model,
    "classes": _set_classes,
    "score": _score,
    "patch": _patch,
    "stride": _stride,
    "fill": _fill,
    "box": _box,
    "mask": _mask,
    "over": _over,
    "effort": _set_effort,
}
