"""The query as a frozen syntax tree, one dataclass a node.

This is what was written, with the language's defaults filled in; nothing here has been looked up, checked against
a model or planned (that is the binder's work), and nothing here reads text (that is the parser's).

``str(node)``, also ``node.to_text()``, is canonical query text, and a law holds: for the statements ``s`` of a
script, ``parse("; ".join(map(str, s))) == s``.  Sizes and coordinates are in cells of the model's input grid, in the
order of its axes, (y, x) for images; a patch and a stride of one number are so long along every axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from kdb.language.nodes import (
    DEFAULT_STRIDE,
    AllClasses,
    Approximate,
    At,
    Box,
    Classes,
    ClassOf,
    ClassSpec,
    Detection,
    DrillDown,
    Fill,
    Local,
    Manifest,
    Mask,
    ModelRef,
    Name,
    Node,
    Options,
    Over,
    OverAll,
    OverBox,
    OverMask,
    OverPredicted,
    Parameter,
    Patch,
    Predicted,
    Processes,
    Ray,
    Region,
    RunInto,
    Scalar,
    Segments,
    Shard,
    Source,
    Text,
    Threshold,
    TopClasses,
    Value,
    Via,
    first_placeholder,
    model_name_text,
    number_text,
    options_text,
    parameters,
    quote,
    stride_text,
    to_ssim_text,
    value_text,
    via_text,
)

_PATCH, _PREDICTED = Patch(), Predicted()

CLAUSES = (
    "patch", "stride", "model", "classes", "score", "over", "exact", "region", "approximate", "threshold", "drill_down",
    "budget_seconds", "precision", "device", "into", "run",
)  # fmt: skip
"""The fields of a query that clauses set, in the order of the canonical text."""

__all__ = [
    "CLAUSES",
    "DEFAULT_STRIDE",
    "AllClasses",
    "Approximate",
    "At",
    "Box",
    "Calibrate",
    "ClassOf",
    "ClassSpec",
    "Classes",
    "CreateModel",
    "DescribeModel",
    "Detection",
    "DrillDown",
    "DropModel",
    "Explain",
    "Fill",
    "Local",
    "Manifest",
    "Mask",
    "ModelRef",
    "Name",
    "Node",
    "Occlude",
    "Options",
    "Over",
    "OverAll",
    "OverBox",
    "OverMask",
    "OverPredicted",
    "Parameter",
    "Patch",
    "Predicted",
    "Processes",
    "Ray",
    "Region",
    "ResetOption",
    "ResumeRun",
    "RunInto",
    "Scalar",
    "Script",
    "Segments",
    "SetOption",
    "Shard",
    "ShowCalibration",
    "ShowModels",
    "ShowRules",
    "ShowRun",
    "ShowSettings",
    "Source",
    "Statement",
    "Text",
    "Threshold",
    "TopClasses",
    "Tune",
    "Value",
    "VerifyFile",
    "VerifyQuery",
    "Via",
    "parameters",
    "quote",
    "stride_text",
]


@dataclass(frozen=True, slots=True)
class Occlude(Node):
    """One ``OCCLUDE`` query.  A stride of None was not written; ``exact`` is True only where EXACT was.

    The scores cosine and cosine_drop are of the likeness ``to`` an image; others have none.
    """

    source: Source
    model: ModelRef
    patch: Patch | Segments = _PATCH
    stride: tuple[int, ...] | None = None
    classes: ClassSpec = _PREDICTED
    score: str = "probability"
    to: Source | None = None
    over: Over | None = None
    region: Region | None = None
    exact: bool = False
    approximate: Approximate | None = None
    threshold: Threshold | None = None
    drill_down: DrillDown | None = None
    budget_seconds: float | None = None
    precision: str = "fp32"
    device: str = "auto"
    into: str | None = None
    run: RunInto | None = None

    def clauses(self) -> dict[str, str]:
        """The clauses of the canonical text behind the source, by the fields of ``CLAUSES``, in their order."""
        found: dict[str, tuple[Node | None, str]] = {"patch": (self.patch, f"WITH {self.patch}")}
        if self.stride is not None:
            found["stride"] = None, stride_text(self.stride)
        found["model"] = self.model, f"USING {self.model}"
        if self.classes != Predicted():
            found["classes"] = self.classes, f"FOR {self.classes}"
        if self.to is not None:
            found["score"] = self.to, f"SCORE {self.score} TO {self.to}"
        elif self.score != "probability":
            found["score"] = None, f"SCORE {self.score}"
        if self.over is not None:
            found["over"] = self.over, str(self.over)
        if self.exact:
            found["exact"] = None, "EXACT"
        for name, node in (
            ("region", self.region),
            ("approximate", self.approximate),
            ("threshold", self.threshold),
            ("drill_down", self.drill_down),
        ):
            if node is not None:
                found[name] = node, str(node)
        if self.budget_seconds is not None:
            found["budget_seconds"] = None, f"BUDGET {number_text(self.budget_seconds)} SECONDS"
        if self.precision != "fp32":
            found["precision"] = None, f"PRECISION {self.precision}"
        if self.device != "auto":
            found["device"] = None, f"ON {self.device}"
        if self.into is not None:
            found["into"] = None, f"INTO {quote(self.into)}"
        if self.run is not None:
            found["run"] = self.run, str(self.run)
        # A `?` is known by its place in the text, so the clauses that hold one keep the order they were written in.
        ordered = sorted(found.items(), key=lambda item: first_placeholder(item[1][0]))
        return {name: text for name, (_, text) in ordered}

    def __str__(self) -> str:
        return " ".join([f"OCCLUDE {self.source}", *self.clauses().values()])


@dataclass(frozen=True, slots=True)
class ResumeRun(Node):
    """``RESUME RUN 'folder' [VIA ..]``: what is left of a run, or failed."""

    folder: str
    via: Via | None = None

    def __str__(self) -> str:
        return f"RESUME RUN {quote(self.folder)}{via_text(self.via)}"


@dataclass(frozen=True, slots=True)
class ShowRun(Node):
    """``SHOW RUN 'folder'``: how far a run is, also while it goes on elsewhere."""

    folder: str

    def __str__(self) -> str:
        return f"SHOW RUN {quote(self.folder)}"


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
class VerifyQuery(Node):
    """``VERIFY OCCLUDE ..``: the query's map beside the model's own scores."""

    query: Occlude

    def __str__(self) -> str:
        return f"VERIFY {self.query}"


@dataclass(frozen=True, slots=True)
class VerifyFile(Node):
    """``VERIFY 'map.npz' [USING model]``: a saved map, made again."""

    path: str
    model: ModelRef | None = None

    def __str__(self) -> str:
        return f"VERIFY {quote(self.path)}" + ("" if self.model is None else f" USING {self.model}")


@dataclass(frozen=True, slots=True)
class Tune(Node):
    """``TUNE``: the projective field threshold on sample images, to an SSIM (None: the default)."""

    model: ModelRef
    source: Source
    patch: Patch = _PATCH
    stride: tuple[int, ...] | None = None
    score: str = "probability"
    ssim: float | None = None

    def __str__(self) -> str:
        stride = "" if self.stride is None else " " + stride_text(self.stride)
        score = "" if self.score == "probability" else f" SCORE {self.score}"
        return f"TUNE {self.model} ON {self.source} WITH {self.patch}{stride}{score}{to_ssim_text(self.ssim)}"


@dataclass(frozen=True, slots=True)
class CreateModel(Node):
    """``CREATE [OR REPLACE] MODEL name FROM 'file'``."""

    name: str
    path: str
    options: Options = ()
    replace: bool = False

    def __str__(self) -> str:
        create = "CREATE OR REPLACE" if self.replace else "CREATE"
        return f"{create} MODEL {model_name_text(self.name)} FROM {quote(self.path)}{options_text(self.options)}"


@dataclass(frozen=True, slots=True)
class DropModel(Node):
    """``DROP MODEL name``."""

    name: str

    def __str__(self) -> str:
        return f"DROP MODEL {model_name_text(self.name)}"


@dataclass(frozen=True, slots=True)
class DescribeModel(Node):
    """``DESCRIBE MODEL name [WITH patch(..)]``, any model that USING takes."""

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
        return f"SET {self.name} = {value_text(self.value)}"


@dataclass(frozen=True, slots=True)
class ResetOption(Node):
    """``RESET name``; the name ``ALL``, in any case, is every setting's, and ``CALIBRATION`` this machine's rates'."""

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
class ShowCalibration(Node):
    """``SHOW CALIBRATION``."""

    def __str__(self) -> str:
        return "SHOW CALIBRATION"


@dataclass(frozen=True, slots=True)
class Calibrate(Node):
    """``CALIBRATE``: measure this machine for the cost model."""

    def __str__(self) -> str:
        return "CALIBRATE"


Statement: TypeAlias = (
    Occlude
    | Explain
    | VerifyQuery
    | VerifyFile
    | Tune
    | ResumeRun
    | CreateModel
    | DropModel
    | DescribeModel
    | SetOption
    | ResetOption
    | ShowModels
    | ShowSettings
    | ShowRules
    | ShowCalibration
    | ShowRun
    | Calibrate
)
Script: TypeAlias = tuple[Statement, ...]
