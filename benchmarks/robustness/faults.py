"""Faults inside kdb, drawn at random and installed for the time of one map.

A fault is a place (a function of kdb's that is called while a map is planned or computed) and what becomes of its
arguments or result there.  This file knows kdb's insides, unlike the rest of the examination: where a place has moved,
installing the fault raises AttributeError, and its name here is to be updated.
"""

from __future__ import annotations

import functools
import importlib
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from kdb.frontends.aten import TRANSLATORS
from kdb.geometry import Boxes, Part
from kdb.kernels.programs import FUNCTIONS

Wrapper = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Draw:
    """What a fault's details are drawn from: ``seed`` fixes them, ``size`` is relative, from 1e-5 to 1."""

    seed: int
    size: float
    hits: list[int] = field(default_factory=lambda: [0])

    def below(self, count: int, salt: int = 0) -> int:
        """A number below ``count``, the same each time, whatever has been drawn before."""
        return int(np.random.default_rng((self.seed, salt)).integers(max(count, 1)))

    def hit(self) -> None:
        """The fault has changed something."""
        self.hits[0] += 1


# ---- arrays [n, h, w, C], or [n, K]


def _factor(x: Any, d: Draw) -> Any:
    return x * np.float32(1 + d.size)


def _channel(x: Any, d: Draw) -> Any:
    x[..., d.below(x.shape[-1])] *= np.float32(1 + d.size)
    return x


def _channel_lost(x: Any, d: Draw) -> Any:
    x[..., d.below(x.shape[-1])] = 0
    return x


def _channels_swapped(x: Any, d: Draw) -> Any:
    c = d.below(x.shape[-1])
    x[..., [c, c - 1]] = x[..., [c - 1, c]]
    return x


def _edge(x: Any, d: Draw) -> Any:
    """The first or last row or column of each box."""
    axis, end = 1 + d.below(2), (0, -1)[d.below(2, 1)]
    if x.ndim == 4:
        x[(slice(None),) * axis + (end,)] *= np.float32(1 - d.size)
    return x


def _edge_lost(x: Any, d: Draw) -> Any:
    return _edge(x, replace(d, size=1.0))


def _moved(x: Any, d: Draw) -> Any:
    return np.roll(x, (1, -1)[d.below(2)], 1 + d.below(2, 1)) if x.ndim == 4 else x


def _transposed(x: Any, d: Draw) -> Any:
    return np.ascontiguousarray(x.swapaxes(1, 2)) if x.ndim == 4 and x.shape[1] == x.shape[2] else x


def _offset(x: Any, d: Draw) -> Any:
    return x + np.float32(d.size) * np.abs(x).max(initial=0)


def _first_position(x: Any, d: Draw) -> Any:
    x[0] *= np.float32(1 + d.size)
    return x


def _positions_reversed(x: Any, d: Draw) -> Any:
    return x[::-1].copy()


def _cell(x: Any, d: Draw) -> Any:
    if x.ndim == 4:
        x[:, d.below(x.shape[1]), d.below(x.shape[2], 1)] *= np.float32(1 - d.size)
    return x


def _noise(x: Any, d: Draw) -> Any:
    normal = np.random.default_rng(d.seed).standard_normal(x.shape, np.float32)
    return x + np.float32(d.size) * x.std() * normal


def _zero(x: Any, d: Draw) -> Any:
    x[...] = 0
    return x


def _in_some_calls(how: Callable[[Any, Draw], Any]) -> Callable[[Any, Draw], Any]:
    """In one call of twelve, whichever thread makes it: by the content."""

    def alter(x: Any, d: Draw) -> Any:
        return how(x, d) if zlib.crc32(x[:1].tobytes()) % 12 == d.below(12, 2) else x

    return alter


def _last_position(x: Any, d: Draw) -> Any:
    x[-1] = x[0]
    return x


ON_ARRAYS: Mapping[str, Callable[[Any, Draw], Any]] = {
    "a factor": _factor,
    "a channel": _channel,
    "a channel lost": _channel_lost,
    "channels swapped": _channels_swapped,
    "an edge": _edge,
    "an edge lost": _edge_lost,
    "moved by a cell": _moved,
    "transposed": _transposed,
    "an offset": _offset,
    "the first of a batch": _first_position,
    "a batch reversed": _positions_reversed,
    "a cell": _cell,
    "noise": _noise,
    "all lost": _zero,
    "the last of a batch taken for the first": _last_position,
    "a factor, in some calls": _in_some_calls(_factor),
    "an edge lost, in some calls": _in_some_calls(_edge_lost),
    "moved by a cell, in some calls": _in_some_calls(_moved),
    "the last of a batch, in some calls": _in_some_calls(_last_position),
}


def _altered(x: Any, how: Callable[[Any, Draw], Any], d: Draw) -> Any:
    """What ``how`` makes of a copy of x; x itself where that is the same."""
    if not isinstance(x, np.ndarray) or not x.size or x.ndim < 2:
        return x
    found = np.ascontiguousarray(how(np.array(x, np.float32), d), np.float32)
    if np.array_equal(found, x):
        return x
    d.hit()
    return found


def _on_result(how: Callable[[Any, Draw], Any]) -> Callable[[Wrapper, Draw], Wrapper]:
    def wrap(original: Wrapper, d: Draw) -> Wrapper:
        @functools.wraps(original)
        def wrapped(*args: Any, **keywords: Any) -> Any:
            return _altered(original(*args, **keywords), how, d)

        return wrapped

    return wrap


# ---- logits [n, K] of the positions ``members``


def _routed(logits: Any, members: Any, d: Draw) -> Any:
    return np.roll(logits, 1, axis=0)


def _some(share: float) -> Callable[[Any, Any, Draw], Any]:
    def alter(logits: Any, members: Any, d: Draw) -> Any:
        chosen = np.array([np.random.default_rng((d.seed, int(m))).random() < share for m in members])
        logits[chosen] += np.float32(d.size) * np.abs(logits).max()
        return logits

    return alter


def _class(logits: Any, members: Any, d: Draw) -> Any:
    logits[:, d.below(logits.shape[1])] *= np.float32(1 + d.size)
    return logits


def _class_offset(logits: Any, members: Any, d: Draw) -> Any:
    c = d.below(logits.shape[1])
    logits[:, c] += np.float32(d.size) * np.abs(logits[:, c]).max()
    return logits


def _classes_swapped(logits: Any, members: Any, d: Draw) -> Any:
    return _channels_swapped(logits, d)


def _one(logits: Any, members: Any, d: Draw) -> Any:
    logits[members == d.below(250)] *= np.float32(1 + d.size)
    return logits


def _corner(logits: Any, members: Any, d: Draw) -> Any:
    """The first few positions."""
    logits[members < 1 + d.below(12)] *= np.float32(1 + d.size)
    return logits


def _pair(logits: Any, members: Any, d: Draw) -> Any:
    """Two of a group exchanged."""
    i = d.below(len(logits))
    logits[[i, i - 1]] = logits[[i - 1, i]]
    return logits


def _late(logits: Any, members: Any, d: Draw) -> Any:
    """From some position on, as an index that overflows."""
    logits[members > 150 + d.below(140)] *= np.float32(1 + d.size)
    return logits


ON_LOGITS: Mapping[str, Callable[[Any, Any, Draw], Any]] = {
    "to the next position": _routed,
    "1% of the positions": _some(0.01),
    "10% of the positions": _some(0.1),
    "a class": _class,
    "a class's offset": _class_offset,
    "classes swapped": _classes_swapped,
    "one position": _one,
    "from a position on": _late,
    "the first positions": _corner,
    "two positions exchanged": _pair,
}


def _on_logits(how: Callable[[Any, Any, Draw], Any]) -> Callable[[Wrapper, Draw], Wrapper]:
    def wrap(original: Wrapper, d: Draw) -> Wrapper:
        def wrapped(execution: Any, result: Any) -> Any:
            logits = _altered(result.logits, lambda x, d: how(x, result.members, d), d)
            return original(execution, replace(result, logits=logits))

        return wrapped

    return wrap


# ---- geometry


def _spans(start: int, stop: int) -> Callable[[Wrapper, Draw], Wrapper]:
    """Spans of windows of more than one cell (or, by chance, of those with a step) moved by so much at their ends."""

    def wrap(original: Wrapper, d: Draw) -> Wrapper:
        def wrapped(window: Any, *args: Any) -> Any:
            spans = original(window, *args)
            if window.stride < 2 if d.below(3) == 0 else window.kernel < 2:
                return spans
            d.hit()
            first = np.maximum(spans.start + start, 0)
            return replace(spans, start=first, stop=np.maximum(spans.stop + stop, first))

        return wrapped

    return wrap


def _read_elsewhere(original: Wrapper, d: Draw) -> Wrapper:
    def wrapped(window: Any, start: Any, extent: int) -> Any:
        first, count = original(window, start, extent)
        if window.kernel < 2:
            return first, count
        d.hit()
        return first + (1, -1)[d.below(2)], count

    return wrapped


def _boxes_elsewhere(original: Wrapper, d: Draw) -> Wrapper:
    def wrapped(footprint: Any, members: Any, size: Any) -> Any:
        boxes = original(footprint, members, size)
        by = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)][d.below(4)])
        origins = np.clip(boxes.origins + by, 0, np.array(size) - boxes.extent)
        if size[0] < 4 + d.below(12, 1) or (origins == boxes.origins).all():
            return boxes
        d.hit()
        return Boxes(origins, boxes.extent)

    return wrapped


def _boxes_smaller(original: Wrapper, d: Draw) -> Wrapper:
    def wrapped(spans: Any, members: Any, length: int) -> Any:
        origins, extent = original(spans, members, length)
        if extent < 3 + d.below(6) or extent == length:
            return origins, extent
        d.hit()
        return origins + d.below(2, 1), extent - 1

    return wrapped


def _boxes_at_the_border(original: Wrapper, d: Draw) -> Wrapper:
    """Those that end where the map does begin a cell early."""

    def wrapped(footprint: Any, members: Any, size: Any) -> Any:
        boxes = original(footprint, members, size)
        axis = d.below(2)
        last = (boxes.origins[:, axis] + boxes.extent[axis] == size[axis]) & (boxes.origins[:, axis] > 0)
        if not last.any():
            return boxes
        d.hit()
        origins = boxes.origins.copy()
        origins[last, axis] -= 1
        return Boxes(origins, boxes.extent)

    return wrapped


def _core_larger(original: Wrapper, d: Draw) -> Wrapper:
    def wrapped(footprint: Any, members: Any, boxes: Any) -> Any:
        part = original(footprint, members, boxes)
        if part is None or part.start[-1] + part.extent[-1] >= boxes.extent[-1]:
            return part
        d.hit()
        return Part(part.start, (*part.extent[:-1], part.extent[-1] + 1))

    return wrapped


def _hull_forgotten(original: Wrapper, d: Draw) -> Wrapper:
    def wrapped(spans: Any, other: Any) -> Any:
        found = original(spans, other)
        if np.array_equal(found.spread(found.start), spans.spread(spans.start)) and np.array_equal(
            found.spread(found.stop), spans.spread(spans.stop)
        ):
            return found
        d.hit()
        return spans

    return wrapped


# ---- weights


def _tensor(x: Any, d: Draw) -> Any:
    """A weight, as an array or tensor: filters permuted, taps flipped, the first two axes swapped, a filter scaled."""
    is_tensor = isinstance(x, torch.Tensor)
    a = np.array(x.float().numpy() if is_tensor else x, np.float32)
    if a.ndim == 0 or a.size < 2:
        return x
    which = d.below(5)
    if which == 0:
        a = np.roll(a, 1, axis=0)
    elif which == 1 and a.ndim == 4:
        a = a[..., ::-1]
    elif which == 2 and a.ndim >= 2 and a.shape[0] == a.shape[1]:
        a = a.swapaxes(0, 1)
    elif which == 3:
        a = a.copy()
        a.reshape(-1)[d.below(a.size, 1)] *= 1 - d.size
    else:
        a[d.below(len(a), 1)] *= 1 + d.size
    a = np.ascontiguousarray(a)
    if np.array_equal(a, np.asarray(x.float().numpy() if is_tensor else x)):
        return x
    d.hit()
    if not is_tensor:
        return a
    found = torch.from_numpy(a).to(x.dtype)
    channels_last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return found.contiguous(memory_format=torch.channels_last) if channels_last else found


def _layout(original: Wrapper, d: Draw) -> Wrapper:
    def wrapped(weight: Any, name: str, derive: Wrapper) -> Any:
        return original(weight, name, lambda array: _tensor(derive(array), d))

    return wrapped


def _recorded_weight(original: Wrapper, d: Draw) -> Wrapper:
    def wrapped(builder: Any, tensor: Any, *rest: Any) -> Any:
        chosen = tensor.ndim > 1 or d.below(2) == 0
        return original(builder, _tensor(tensor.detach(), d) if chosen else tensor, *rest)

    return wrapped


# ---- translators and functions of programs


def _arguments(**changes: Callable[[Any, Draw], Any]) -> Callable[[Wrapper, Draw], Wrapper]:
    """The arguments at these places (``_0`` is the first behind the builder and the shape) changed."""

    def wrap(original: Wrapper, d: Draw) -> Wrapper:
        def wrapped(builder: Any, shape: Any, *args: Any, **keywords: Any) -> Any:
            given = list(args)
            for place, change in changes.items():
                i = int(place[1:])
                if i < len(given) and given[i] is not None:
                    given[i] = change(given[i], d)
                    d.hit()
            return original(builder, shape, *given, **keywords)

        return wrapped

    return wrap


def _swapped(i: int, j: int) -> Callable[[Wrapper, Draw], Wrapper]:
    def wrap(original: Wrapper, d: Draw) -> Wrapper:
        def wrapped(builder: Any, shape: Any, *args: Any, **keywords: Any) -> Any:
            given = list(args)
            if max(i, j) < len(given):
                given[i], given[j] = given[j], given[i]
                d.hit()
            return original(builder, shape, *given, **keywords)

        return wrapped

    return wrap


def _changed_result(function: str, number: Callable[[Draw], float]) -> Callable[[Wrapper, Draw], Wrapper]:
    """A translator whose result is changed by a pointwise ``function`` of it and a ``number``."""

    def wrap(original: Wrapper, d: Draw) -> Wrapper:
        def wrapped(builder: Any, shape: Any, *args: Any, **keywords: Any) -> Any:
            found = original(builder, shape, *args, **keywords)
            if isinstance(found, tuple | list):
                return found
            d.hit()
            return builder.pointwise(function, found, number(d))

        return wrapped

    return wrap


_result_scaled = _changed_result("mul", lambda d: 1 + d.size)
_result_offset = _changed_result("add", lambda d: d.size)


def _ignored(original: Wrapper, d: Draw) -> Wrapper:
    def wrapped(builder: Any, shape: Any, x: Any, *args: Any, **keywords: Any) -> Any:
        d.hit()
        return x

    return wrapped


def _reversed(original: Wrapper, d: Draw) -> Wrapper:
    def wrapped(builder: Any, shape: Any, parts: Any, *args: Any) -> Any:
        d.hit()
        return original(builder, shape, list(parts)[::-1], *args)

    return wrapped


def _times(x: Any, d: Draw) -> Any:
    return x * (1 + d.size)


def _plus(x: Any, d: Draw) -> Any:
    return x + d.size


def _lost(x: Any, d: Draw) -> Any:
    return None


def _other_padding(x: Any, d: Draw) -> Any:
    return [max(n - 1, 0) for n in x]


ON_TRANSLATORS: Mapping[str, Mapping[str, Callable[[Wrapper, Draw], Wrapper]]] = {
    "convolution": {
        "bias dropped": _arguments(_2=_lost),
        "bias scaled": _arguments(_2=_times),
        "weight scaled": _arguments(_1=_times),
        "weight changed": _arguments(_1=lambda x, d: _tensor(x, d)),
        "padding": _arguments(_4=_other_padding),
    },
    "linear": {
        "bias dropped": _arguments(_2=_lost),
        "bias scaled": _arguments(_2=_times),
        "weight changed": _arguments(_1=lambda x, d: _tensor(x, d)),
    },
    "_native_batch_norm_legit_no_training": {
        "eps": _arguments(_6=_plus),
        "mean": _arguments(_3=_times),
        "variance": _arguments(_4=_times),
        "weight and bias swapped": _swapped(1, 2),
        "mean and variance swapped": _swapped(3, 4),
    },
    "relu": {
        "offset": _result_offset,
        "scaled": _result_scaled,
        "ignored": _ignored,
    },
    "hardtanh": {"bound": _arguments(_2=_times), "ignored": _ignored},
    "mean.dim": {
        "scaled": _result_scaled,
        "offset": _result_offset,
    },
    "add.Tensor": {"scaled": _result_scaled, "ignored": _ignored},
    "mul.Tensor": {"scaled": _result_scaled, "ignored": _ignored},
    "sigmoid": {"scaled": _result_scaled, "ignored": _ignored},
    "cat": {"reversed": _reversed},
}


def _function(original: Wrapper, d: Draw) -> Wrapper:
    def wrapped(*args: Any, out: Any = None) -> Any:
        d.hit()
        found = np.asarray(original(*args) * np.float32(1 + d.size), np.float32)
        if out is None:
            return found
        out[...] = found
        return out

    return wrapped


# ---- places


def _arrays(kind: str, *targets: str) -> dict[str, tuple[str, Mapping[str, Callable[[Wrapper, Draw], Wrapper]]]]:
    ways = {name: _on_result(how) for name, how in ON_ARRAYS.items()}
    return dict.fromkeys(targets, (kind, ways))


CPU = "kdb.kernels.cpu"
PLACES: Mapping[str, tuple[str, Mapping[str, Callable[[Wrapper, Draw], Wrapper]]]] = {
    **_arrays(
        "kernel",
        f"{CPU}.library:convolve",
        f"{CPU}.library:max_pool",
        f"{CPU}.library:sum_pool",
        f"{CPU}.convolution:CpuConvolution.delta",
        f"{CPU}.convolution:CpuConvolution.scattered",
        f"{CPU}.taps:convolve",
        f"{CPU}.taps:reduce_windows",
        f"{CPU}.winograd:convolve",
        f"{CPU}.recompute:CpuRecompute.delta",
        f"{CPU}.dense:Product.run",
        f"{CPU}.winograd_c:CompiledWinograd.delta",
        f"{CPU}.depthwise_c:CompiledDepthwise.delta",
        f"{CPU}.taps_c:CompiledTaps.delta",
        f"{CPU}.dense_c:CompiledDense.run",
        f"{CPU}.pointwise_c:CompiledPointwise.delta",
        f"{CPU}.max_pool_c:CompiledMaxPool.run",
        f"{CPU}.union_c:CompiledUnion.run",
    ),
    **_arrays(
        "verb",
        f"{CPU}.windows:CpuWindows.max_pool_delta",
        f"{CPU}.windows:CpuWindows.average_pool_delta",
        f"{CPU}.windows:CpuWindows.mean",
        f"{CPU}.deltas:CpuDeltas.occlude",
        f"{CPU}.deltas:CpuDeltas.superimposed",
        f"{CPU}.deltas:CpuDeltas.embed",
        f"{CPU}.deltas:CpuDeltas.union",
        f"{CPU}.deltas:CpuDeltas.stack",
        f"{CPU}.deltas:CpuDeltas.product",
        f"{CPU}.deltas:CpuDeltas.pointwise",
        f"{CPU}.maps:CpuMaps.pointwise",
        f"{CPU}.maps:CpuMaps.add",
        f"{CPU}.maps:CpuMaps.multiply",
        f"{CPU}.maps:CpuMaps.concatenate",
    ),
    **_arrays("box", f"{CPU}.boxed:gather", f"{CPU}.boxed:read_in", f"{CPU}.boxed:embed"),
    **_arrays(
        "delta rule",
        "kdb.operators.convolution:Convolution.delta",
        "kdb.operators.pointwise:Pointwise.delta",
        "kdb.operators.pointwise:Affine.delta",
        "kdb.operators.dense:Dense.delta",
        "kdb.operators.dense:DenseMap.delta",
        "kdb.operators.dense:Flatten.delta",
        "kdb.operators.pooling:MaxPool.delta",
        "kdb.operators.pooling:AveragePool.delta",
        "kdb.operators.pooling:GlobalMean.delta",
        "kdb.operators.combine:Add.delta",
        "kdb.operators.combine:Multiply.delta",
        "kdb.operators.combine:Concatenate.delta",
    ),
    **_arrays(
        "value",
        "kdb.operators.convolution:Convolution.evaluate",
        "kdb.operators.convolution:Convolution.constant",
        "kdb.operators.pointwise:Pointwise.evaluate",
        "kdb.operators.dense:Dense.evaluate",
        "kdb.operators.pooling:GlobalMean.evaluate",
        "kdb.operators.combine:Add.evaluate",
    ),
    "kdb.geometry:Window.project": (
        "geometry",
        {"a cell less in front": _spans(1, 0), "a cell less behind": _spans(0, -1), "a cell on": _spans(1, 1)},
    ),
    "kdb.geometry:Window.enclose": (
        "geometry",
        {"a cell more in front": _spans(-1, 0), "a cell more behind": _spans(0, 1)},
    ),
    "kdb.geometry:Window.read_in": ("geometry", {"a cell off": _read_elsewhere}),
    "kdb.geometry:Footprint.boxes": (
        "geometry",
        {"a cell off": _boxes_elsewhere, "a cell off at the border": _boxes_at_the_border},
    ),
    "kdb.geometry:Footprint.core": ("geometry", {"a column more": _core_larger}),
    "kdb.geometry:Spans.uniform": ("geometry", {"a cell less": _boxes_smaller}),
    "kdb.geometry:Spans.hull": ("geometry", {"one forgotten": _hull_forgotten}),
    "kdb.planner.rules.fold_batch_norm:_scaled": ("rule", {"scale": lambda f, d: _on_weight(f, d)}),
    "kdb.planner.rules.fold_batch_norm:_shifted": ("rule", {"shift": lambda f, d: _on_weight(f, d)}),
    "kdb.kernels.base:Weight.layout": ("layout", {"a weight": _layout}),
    "kdb.frontends.builder:Builder.weight": ("layout", {"a recorded weight": _recorded_weight}),
    "kdb.execution.executor:_Execution._deliver": (
        "logits",
        {name: _on_logits(how) for name, how in ON_LOGITS.items()},
    ),
    **{f"translator:{name}": ("translator", ways) for name, ways in ON_TRANSLATORS.items()},
    **{
        f"function:{name}": ("program", {"scaled": _function})
        for name in ("maximum", "minimum", "sigmoid", "mul", "add", "div")
    },
}


def _on_weight(original: Wrapper, d: Draw) -> Wrapper:
    return lambda *args: _tensor(original(*args), d)


@dataclass(frozen=True, eq=False)
class Fault:
    """One fault: a place, what is done there, and the details."""

    place: str
    how: str
    draw: Draw

    @property
    def kind(self) -> str:
        """Of the place: kernel, verb, box, delta rule, value, geometry, rule, layout, logits, translator, program."""
        return PLACES[self.place][0]

    def __str__(self) -> str:
        return f"{self.place.removeprefix('kdb.')}: {self.how}, {self.draw.size:.1e}"

    @contextmanager
    def installed(self) -> Iterator[None]:
        """The fault is in kdb inside the context, and out of it behind."""
        wrap = PLACES[self.place][1][self.how]
        table, _, name = self.place.partition(":")
        holder: Any = {"translator": TRANSLATORS, "function": FUNCTIONS}.get(table)
        if holder is not None:
            before = holder[name]
            holder[name] = wrap(before, self.draw)
            try:
                yield
            finally:
                holder[name] = before
            return
        holder = importlib.import_module(table)
        *owners, attribute = name.split(".")
        for owner in owners:
            holder = getattr(holder, owner)
        before = vars(holder)[attribute] if owners else getattr(holder, attribute)
        setattr(holder, attribute, wrap(before, self.draw))
        try:
            yield
        finally:
            setattr(holder, attribute, before)


def fault(seed: int) -> Fault:
    """The fault of a seed: its kind, place and details are drawn one after another, all alike."""
    draw = np.random.default_rng(seed)
    kinds = list(dict.fromkeys(kind for kind, _ in PLACES.values()))
    kind = kinds[draw.integers(len(kinds))]
    places = [place for place, (of, _) in PLACES.items() if of == kind]
    place = places[draw.integers(len(places))]
    ways = list(PLACES[place][1])
    how = ways[draw.integers(len(ways))]
    return Fault(place, how, Draw(seed, float(10 ** draw.uniform(-5, 0))))
