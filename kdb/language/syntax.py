"""The query as a frozen syntax tree, one dataclass a node.

This is what was written, with the language's defaults filled in; nothing here has been looked up, checked against
a model or planned (that is the binder's work), and nothing here reads text (that is the parser's).

``str(node)``, also ``node.to_text()``, is canonical query text, and a law holds: for the statements ``s`` of a
script, ``parse("; ".join(map(str, s))) == s``.  Sizes and coordinates are in pixels of the model's input grid, in
the order (y, x), (height, width).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, is_dataclass
from typing import TypeAlias

DEFAULT_STRIDE = (4, 4)
"""Pixels, (y, x), where no STRIDE is written."""

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
    """A quoted path or glob."""

    value: str

    def __str__(self) -> str:
        return quote(self.value)


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A bare identifier: a bound parameter's name or a registered image."""

    text: str

    def __str__(self) -> str:
        return self.text


Source: TypeAlias = Text | Parameter | Name
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
        return str(self.parameter or _model_name(self.name)) + _options(self.options)


# ---- what is laid on the image, and where


@dataclass(frozen=True, slots=True)
class Fill(Node):
    """What covers the image; kind is black, gray, white, mean, rgb (r, g, b), blur (sigma) or parameter."""

    kind: str = "black"
    args: tuple[float, ...] = ()
    parameter: Parameter | None = None

    def __str__(self) -> str:
        if self.parameter is not None:
            return str(self.parameter)
        return f"{self.kind}({', '.join(map(_number, self.args))})" if self.args else self.kind


@dataclass(frozen=True, slots=True)
class Patch(Node):
    """The occluding patch."""

    height: int = 16
    width: int = 16
    fill: Fill = Fill()

    def __str__(self) -> str:
        return f"patch({self.height}, {self.width})" + ("" if self.fill == Fill() else f" FILL {self.fill}")


@dataclass(frozen=True, slots=True)
class Box(Node):
    """``WITHIN box(y, x, height, width)``: the lattice positions whose patch lies wholly in the box."""

    y: int
    x: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"WITHIN box({self.y}, {self.x}, {self.height}, {self.width})"


@dataclass(frozen=True, slots=True)
class Mask(Node):
    """``WITHIN mask($m)``: the lattice positions whose centre pixel is true in a bool array [H, W]."""

    parameter: Parameter

    def __str__(self) -> str:
        return f"WITHIN mask({self.parameter})"


@dataclass(frozen=True, slots=True)
class At(Node):
    """``AT $positions``: an int array [n, 2] of the (y, x) of top left corners."""

    parameter: Parameter

    def __str__(self) -> str:
        return f"AT {self.parameter}"


Region: TypeAlias = Box | Mask | At


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
        return f"CLASS {_value(self.ref)}"


@dataclass(frozen=True, slots=True)
class Classes(Node):
    """Several classes, at least one, in the order written."""

    refs: tuple[int | str | Parameter, ...]

    def __str__(self) -> str:
        return f"CLASSES {_value(self.refs)}"


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


ClassSpec: TypeAlias = Predicted | ClassOf | Classes | TopClasses | AllClasses


# ---- permissions to approximate


@dataclass(frozen=True, slots=True)
class Approximate(Node):
    """``APPROXIMATE``; an SSIM of None is the default (0.9); ``refine_top`` is in percent."""

    ssim: float | None = None
    guaranteed: bool = False
    refine_top: float | None = None

    def __str__(self) -> str:
        guaranteed = " GUARANTEED" if self.guaranteed else ""
        refine = "" if self.refine_top is None else f" REFINE TOP {_number(self.refine_top)} PERCENT"
        return f"APPROXIMATE{_to_ssim(self.ssim)}{guaranteed}{refine}"


@dataclass(frozen=True, slots=True)
class Threshold(Node):
    """The projective field threshold: a tau, or AUTO, the tau of a tuning, then to an SSIM (None: the default)."""

    tau: float | None = None
    auto: bool = False
    ssim: float | None = None

    def __str__(self) -> str:
        return f"THRESHOLD {'AUTO' if self.tau is None else _number(self.tau)}{_to_ssim(self.ssim)}"


@dataclass(frozen=True, slots=True)
class DrillDown(Node):
    """Two-stage drill-down; exactly one of ``speedup`` and ``coarse_stride`` (pixels) is set."""

    ratio: float = 0.25
    speedup: float | None = 3.0
    coarse_stride: int | None = None

    def __str__(self) -> str:
        second = f"COARSE STRIDE {self.coarse_stride}" if self.speedup is None else f"SPEEDUP {_number(self.speedup)}"
        return f"DRILL DOWN {_number(self.ratio)} {second}"


# ---- statements


@dataclass(frozen=True, slots=True)
class Occlude(Node):
    """One ``OCCLUDE`` query.  A stride of None was not written; ``exact`` is True only where EXACT was."""

    source: Source
    model: ModelRef
    patch: Patch = Patch()
    stride: tuple[int, int] | None = None
    classes: ClassSpec = Predicted()
    score: str = "probability"
    region: Region | None = None
    exact: bool = False
    approximate: Approximate | None = None
    threshold: Threshold | None = None
    drill_down: DrillDown | None = None
    budget_seconds: float | None = None
    precision: str = "fp32"
    device: str = "auto"
    into: str | None = None

    def __str__(self) -> str:
        clauses: list[tuple[Node | None, str]] = [(self.patch, f"WITH {self.patch}")]
        if self.stride is not None:
            clauses.append((None, _stride(self.stride)))
        clauses.append((self.model, f"USING {self.model}"))
        if self.classes != Predicted():
            clauses.append((self.classes, f"FOR {self.classes}"))
        if self.score != "probability":
            clauses.append((None, f"SCORE {self.score}"))
        if self.exact:
            clauses.append((None, "EXACT"))
        for node in (self.region, self.approximate, self.threshold, self.drill_down):
            if node is not None:
                clauses.append((node, str(node)))
        if self.budget_seconds is not None:
            clauses.append((None, f"BUDGET {_number(self.budget_seconds)} SECONDS"))
        if self.precision != "fp32":
            clauses.append((None, f"PRECISION {self.precision}"))
        if self.device != "auto":
            clauses.append((None, f"ON {self.device}"))
        if self.into is not None:
            clauses.append((None, f"INTO {quote(self.into)}"))
        # A `?` is known by its place in the text, so the clauses that hold one keep the order they were written in.
        clauses.sort(key=lambda clause: _first_placeholder(clause[0]))
        return " ".join([f"OCCLUDE {self.source}", *(text for _, text in clauses)])


@dataclass(frozen=True, slots=True)
class Explain(Node):
    """``EXPLAIN``; format is text, json or dot."""

    query: Occlude
    analyze: bool = False
    format: str = "text"

    def __str__(self) -> str:
        analyze = " ANALYZE" if self.analyze else ""
        return f"EXPLAIN{analyze}{'' if self.format == 'text' else f' (FORMAT {self.format})'} {self.query}"


@dataclass(frozen=True, slots=True)
class Tune(Node):
    """``TUNE``: the projective field threshold on sample images, to an SSIM (None: the default)."""

    model: ModelRef
    source: Source
    patch: Patch = Patch()
    stride: tuple[int, int] | None = None
    score: str = "probability"
    ssim: float | None = None

    def __str__(self) -> str:
        stride = "" if self.stride is None else " " + _stride(self.stride)
        score = "" if self.score == "probability" else f" SCORE {self.score}"
        return f"TUNE {self.model} ON {self.source} WITH {self.patch}{stride}{score}{_to_ssim(self.ssim)}"


@dataclass(frozen=True, slots=True)
class CreateModel(Node):
    """``CREATE [OR REPLACE] MODEL name FROM 'file'``."""

    name: str
    path: str
    options: Options = ()
    replace: bool = False

    def __str__(self) -> str:
        create = "CREATE OR REPLACE" if self.replace else "CREATE"
        return f"{create} MODEL {_model_name(self.name)} FROM {quote(self.path)}{_options(self.options)}"


@dataclass(frozen=True, slots=True)
class DropModel(Node):
    """``DROP MODEL name``."""

    name: str

    def __str__(self) -> str:
        return f"DROP MODEL {_model_name(self.name)}"


@dataclass(frozen=True, slots=True)
class DescribeModel(Node):
    """``DESCRIBE MODEL name [WITH patch(height, width)]``, any model that USING takes."""

    model: ModelRef
    patch: Patch | None = None

    def __str__(self) -> str:
        return f"DESCRIBE MODEL {self.model}" + ("" if self.patch is None else f" WITH {self.patch}")


@dataclass(frozen=True, slots=True)
class SetOption(Node):
    """``SET name = value``; a name may be dotted, as ``rule.fold_batch_norm``."""

    name: str
    value: Value

    def __str__(self) -> str:
        return f"SET {self.name} = {_value(self.value)}"


@dataclass(frozen=True, slots=True)
class ResetOption(Node):
    """``RESET name``; the name ``ALL``, in any case, is every setting's."""

    name: str

    def __str__(self) -> str:
        return f"RESET {self.name}"


@dataclass(frozen=True, slots=True)
class ShowModels(Node):
    """``SHOW MODELS``."""

    def __str__(self) -> str:
        return "SHOW MODELS"


@dataclass(frozen=True, slots=True)
class ShowSettings(Node):
    """``SHOW SETTINGS``."""

    def __str__(self) -> str:
        return "SHOW SETTINGS"


@dataclass(frozen=True, slots=True)
class ShowRules(Node):
    """``SHOW RULES``."""

    def __str__(self) -> str:
        return "SHOW RULES"


@dataclass(frozen=True, slots=True)
class Calibrate(Node):
    """``CALIBRATE``: measure this machine for the cost model."""

    def __str__(self) -> str:
        return "CALIBRATE"


Statement: TypeAlias = (
    Occlude
    | Explain
    | Tune
    | CreateModel
    | DropModel
    | DescribeModel
    | SetOption
    | ResetOption
    | ShowModels
    | ShowSettings
    | ShowRules
    | Calibrate
)
Script: TypeAlias = tuple[Statement, ...]


def parameters(node: object) -> tuple[Parameter, ...]:
    """Every parameter in a node, statement or script, in the order of the fields, repeats kept."""
    if isinstance(node, Parameter):
        return (node,)
    if isinstance(node, tuple):
        return tuple(found for item in node for found in parameters(item))
    if is_dataclass(node):
        return tuple(found for field in fields(node) for found in parameters(getattr(node, field.name)))
    return ()


def _first_placeholder(node: Node | None) -> int:
    return min((found.index for found in parameters(node) if found.index is not None), default=-1)


def quote(text: str) -> str:
    """The text as a quoted string of the language."""
    return "'" + text.replace("'", "''") + "'"


def _model_name(name: str) -> str:
    return name if _BARE.fullmatch(name) else quote(name)


def _options(options: Options) -> str:
    return f" ({', '.join(f'{key} = {_value(value)}' for key, value in options)})" if options else ""


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_value, value))})"
    return str(value)


def _number(value: float) -> str:
    return str(value).removesuffix(".0")


def _stride(stride: tuple[int, int]) -> str:
    return f"STRIDE ({stride[0]}, {stride[1]})" if stride[0] != stride[1] else f"STRIDE {stride[0]}"


def _to_ssim(ssim: float | None) -> str:
    return "" if ssim is None else f" TO SSIM {_number(ssim)}"
