"""The parts of statements as nodes of the syntax tree: values, sources, models, patches, regions, classes, permissions.

:mod:`kdb.language.syntax` has the statements, and says what holds for all nodes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, is_dataclass
from operator import add
from typing import TypeAlias

DEFAULT_STRIDE = (4,)
"""Pixels, along every axis, where no STRIDE is written."""

_BARE = re.compile(r"[^\W\d]\w*([./]\w+)*")  # the grammar's WORD


class Node:
    """Base of every node: hashable, equal by value, printable as query text."""

    __slots__ = ()

    def to_text(self) -> str:
        """Canonical query text of this node."""
        return str(self)


# ---- sources, values, models


@dataclass(frozen=True, slots=True)
class Parameter(Node):
    """``$name``, or ``?`` with its running index (from 0, over the whole script); the other field is None."""

    name: str | None = None
    index: int | None = None

    def __str__(self) -> str:
        return "?" if self.name is None else f"${self.name}"


@dataclass(frozen=True, slots=True)
class Text(Node):
    """A quoted path or glob, with options of the files' reader."""

    value: str
    options: Options = ()

    def __str__(self) -> str:
        return quote(self.value) + options_text(self.options)


@dataclass(frozen=True, slots=True)
class Manifest(Node):
    """``MANIFEST 'images.parquet'``: a table with a column of paths.

    The options ``path``, ``id`` and ``truth`` name columns; others are of the images' reader.
    """

    value: str
    options: Options = ()

    def __str__(self) -> str:
        return f"MANIFEST {quote(self.value)}{options_text(self.options)}"


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A bare identifier: a bound parameter's name or a registered image."""

    text: str

    def __str__(self) -> str:
        return self.text


Source: TypeAlias = Text | Manifest | Parameter | Name
Scalar: TypeAlias = bool | int | float | str | Parameter
Value: TypeAlias = Scalar | tuple[Scalar, ...]
Options: TypeAlias = tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True)
class ModelRef(Node):
    """A model by name (quoted or not makes no difference) with its options; by parameter, the name is empty."""

    name: str
    options: Options = ()
    parameter: Parameter | None = None

    def __str__(self) -> str:
        return str(self.parameter or model_name_text(self.name)) + options_text(self.options)


# ---- what is laid on the image, and where


@dataclass(frozen=True, slots=True)
class Fill(Node):
    """What covers the image; kind is black, gray, white, mean, number (n), rgb (r, g, b), blur (sigma) or parameter."""

    kind: str = "black"
    args: tuple[float, ...] = ()
    parameter: Parameter | None = None

    def __str__(self) -> str:
        if self.parameter is not None:
            return str(self.parameter)
        if self.kind == "number":
            return number_text(self.args[0])
        return f"{self.kind}({', '.join(map(number_text, self.args))})" if self.args else self.kind


@dataclass(frozen=True, slots=True)
class Patch(Node):
    """The occluding patch; its ``extent`` has a number for each axis, or one for all.

    It covers the ``channels`` of these numbers, from 0, in the image's order; None for all.
    """

    extent: tuple[int, ...] = (16,)
    fill: Fill = Fill()
    channels: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return f"patch({_listed(self.extent)}){_covering(self.fill, self.channels)}"


@dataclass(frozen=True, slots=True)
class Segments(Node):
    """``WITH segments($labels) [IN SOURCE]``: each label above 0 of an int array is one update, of any shape.

    The array has the input's size or, ``in_source``, that of the source image.
    """

    parameter: Parameter
    fill: Fill = Fill()
    channels: tuple[int, ...] | None = None
    in_source: bool = False

    def __str__(self) -> str:
        return f"segments({self.parameter}){_in_source(self.in_source)}{_covering(self.fill, self.channels)}"


@dataclass(frozen=True, slots=True)
class Box(Node):
    """``WITHIN box(start.., extent..) [IN SOURCE]``: the lattice positions whose patch lies wholly in the box.

    ``start`` and ``extent`` have a number for each axis, of the input grid or ``in_source`` of the source image.
    """

    start: tuple[int, ...]
    extent: tuple[int, ...]
    in_source: bool = False

    @property
    def stop(self) -> tuple[int, ...]:
        """Where it ends along each axis."""
        return tuple(map(add, self.start, self.extent))

    def __str__(self) -> str:
        return f"WITHIN box({_listed(self.start + self.extent)}){_in_source(self.in_source)}"


@dataclass(frozen=True, slots=True)
class Mask(Node):
    """``WITHIN mask($m) [IN SOURCE]``: the lattice positions whose centre cell is true in a bool array.

    The array has the input's size or, ``in_source``, that of the source image.
    """

    parameter: Parameter
    in_source: bool = False

    def __str__(self) -> str:
        return f"WITHIN mask({self.parameter}){_in_source(self.in_source)}"


@dataclass(frozen=True, slots=True)
class At(Node):
    """``AT $positions``: an int array [n, axes] of the patches' first cells."""

    parameter: Parameter

    def __str__(self) -> str:
        return f"AT {self.parameter}"


Region: TypeAlias = Box | Mask | At


# ---- the region of a dense output that is scored


@dataclass(frozen=True, slots=True)
class OverPredicted(Node):
    """Where the class wins on the unmodified image; each class has a region of its own."""

    def __str__(self) -> str:
        return "OVER PREDICTED"


@dataclass(frozen=True, slots=True)
class OverAll(Node):
    """The whole output."""

    def __str__(self) -> str:
        return "OVER ALL"


@dataclass(frozen=True, slots=True)
class OverBox(Node):
    """``OVER box(start.., extent..)``, in cells of the output."""

    start: tuple[int, ...]
    extent: tuple[int, ...]

    @property
    def numbers(self) -> str:
        """As they are written."""
        return f"box({_listed(self.start + self.extent)})"

    def __str__(self) -> str:
        return f"OVER {self.numbers}"


@dataclass(frozen=True, slots=True)
class OverMask(Node):
    """``OVER mask($m)``, a bool array of the output's size."""

    parameter: Parameter

    def __str__(self) -> str:
        return f"OVER mask({self.parameter})"


Over: TypeAlias = OverPredicted | OverAll | OverBox | OverMask


# ---- which classes


@dataclass(frozen=True, slots=True)
class Predicted(Node):
    """The class the model predicts for the unmodified image."""

    def __str__(self) -> str:
        return "PREDICTED"


@dataclass(frozen=True, slots=True)
class ClassOf(Node):
    """One class, by index, label or parameter."""

    ref: int | str | Parameter

    def __str__(self) -> str:
        return f"CLASS {value_text(self.ref)}"


@dataclass(frozen=True, slots=True)
class Classes(Node):
    """Several classes, at least one, in the order written."""

    refs: tuple[int | str | Parameter, ...]

    def __str__(self) -> str:
        return f"CLASSES {value_text(self.refs)}"


@dataclass(frozen=True, slots=True)
class TopClasses(Node):
    """The k classes that score highest on the unmodified image."""

    k: int

    def __str__(self) -> str:
        return f"TOP {self.k}"


@dataclass(frozen=True, slots=True)
class AllClasses(Node):
    """Every class of the model."""

    def __str__(self) -> str:
        return "ALL CLASSES"


@dataclass(frozen=True, slots=True)
class Detection(Node):
    """The ``number``-th box that a detector finds in the unmodified image, from 1, or of those of one class."""

    number: int
    ref: int | str | Parameter | None = None

    def __str__(self) -> str:
        return f"DETECTION {self.number}" + ("" if self.ref is None else f" CLASS {value_text(self.ref)}")


ClassSpec: TypeAlias = Predicted | ClassOf | Classes | TopClasses | AllClasses | Detection


# ---- permissions to approximate


@dataclass(frozen=True, slots=True)
class Approximate(Node):
    """``APPROXIMATE``; an SSIM of None is the default (0.9); ``refine_top`` is in percent."""

    ssim: float | None = None
    guaranteed: bool = False
    refine_top: float | None = None

    def __str__(self) -> str:
        guaranteed = " GUARANTEED" if self.guaranteed else ""
        refine = "" if self.refine_top is None else f" REFINE TOP {number_text(self.refine_top)} PERCENT"
        return f"APPROXIMATE{to_ssim_text(self.ssim)}{guaranteed}{refine}"


@dataclass(frozen=True, slots=True)
class Threshold(Node):
    """The projective field threshold: a tau, or AUTO, the tau of a tuning, then to an SSIM (None: the default)."""

    tau: float | None = None
    auto: bool = False
    ssim: float | None = None

    def __str__(self) -> str:
        return f"THRESHOLD {'AUTO' if self.tau is None else number_text(self.tau)}{to_ssim_text(self.ssim)}"


@dataclass(frozen=True, slots=True)
class DrillDown(Node):
    """Two-stage drill-down; exactly one of ``speedup`` and ``coarse_stride`` (pixels) is set."""

    ratio: float = 0.25
    speedup: float | None = 3.0
    coarse_stride: int | None = None

    def __str__(self) -> str:
        second = (
            f"COARSE STRIDE {self.coarse_stride}" if self.speedup is None else f"SPEEDUP {number_text(self.speedup)}"
        )
        return f"DRILL DOWN {number_text(self.ratio)} {second}"


# ---- runs over data sets


@dataclass(frozen=True, slots=True)
class Local(Node):
    """In this process, one image after another."""

    def __str__(self) -> str:
        return "local"


@dataclass(frozen=True, slots=True)
class Processes(Node):
    """In so many processes of this machine."""

    count: int | Parameter

    def __str__(self) -> str:
        return f"processes({self.count})"


@dataclass(frozen=True, slots=True)
class Shard(Node):
    """In this process, the ``part``-th of ``parts``, from 1: others are computed elsewhere."""

    part: int | Parameter
    parts: int | Parameter

    def __str__(self) -> str:
        return f"shard({self.part}, {self.parts})"


@dataclass(frozen=True, slots=True)
class Ray(Node):
    """By actors on a cluster of Ray."""

    options: Options = ()

    def __str__(self) -> str:
        return "ray" + options_text(self.options).lstrip()


Via: TypeAlias = Local | Processes | Shard | Ray


@dataclass(frozen=True, slots=True)
class RunInto(Node):
    """``INTO RUN 'folder' [(format = ..)] [VIA ..]``: the folder that a run keeps its maps and journals in."""

    folder: str
    options: Options = ()
    via: Via | None = None

    def __str__(self) -> str:
        return f"INTO RUN {quote(self.folder)}{options_text(self.options)}{via_text(self.via)}"


# ---- parameters and text


def parameters(node: object) -> tuple[Parameter, ...]:
    """Every parameter in a node, statement or script, in the order of the fields, repeats kept."""
    if isinstance(node, Parameter):
        return (node,)
    if isinstance(node, tuple):
        return tuple(found for item in node for found in parameters(item))
    if is_dataclass(node):
        return tuple(found for field in fields(node) for found in parameters(getattr(node, field.name)))
    return ()


def first_placeholder(node: Node | None) -> int:
    """The lowest index of the ``?`` in a node; -1 if it has none."""
    return min((found.index for found in parameters(node) if found.index is not None), default=-1)


def quote(text: str) -> str:
    """The text as a quoted string of the language."""
    return "'" + text.replace("'", "''") + "'"


def model_name_text(name: str) -> str:
    """A model's name as it is written: quoted unless it is one word."""
    return name if _BARE.fullmatch(name) else quote(name)


def options_text(options: Options) -> str:
    """`` (key = value, ...)``; empty for no options."""
    return f" ({', '.join(f'{key} = {value_text(value)}' for key, value in options)})" if options else ""


def value_text(value: Value) -> str:
    """An option's or setting's value as it is written."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(value_text, value))})"
    return str(value)


def number_text(value: float) -> str:
    """A number without a fraction that is zero."""
    return str(value).removesuffix(".0")


def stride_text(stride: tuple[int, ...]) -> str:
    """``STRIDE n`` for one number, else ``STRIDE (y, x)``."""
    return f"STRIDE {stride[0]}" if len(stride) == 1 else f"STRIDE ({_listed(stride)})"


def via_text(via: Via | None) -> str:
    """`` VIA ..``; empty for None, which is local."""
    return "" if via is None else f" VIA {via}"


def _in_source(in_source: bool) -> str:
    return " IN SOURCE" if in_source else ""


def _covering(fill: Fill, channels: tuple[int, ...] | None) -> str:
    """The clauses behind a patch or segments that are not the defaults."""
    filled = "" if fill == Fill() else f" FILL {fill}"
    return filled + ("" if channels is None else f" CHANNELS ({_listed(channels)})")


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))


def to_ssim_text(ssim: float | None) -> str:
    """`` TO SSIM s``; empty for None, the default."""
    return "" if ssim is None else f" TO SSIM {number_text(ssim)}"
