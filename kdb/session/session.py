"""The public face and composition root: a session takes query text and gives results.

It resolves what statements name (models, images, settings) and hands OCCLUDE to the engine.  A session may be shared
by threads; executions take turns.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import singledispatchmethod
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any

from kdb.errors import BindError, did_you_mean
from kdb.execution.engine import Engine, Progress, default_settings
from kdb.execution.settings import shown
from kdb.geometry import Size
from kdb.images import reading as images
from kdb.images.reading import SourceImage
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.language.parser import parse, parse_one
from kdb.models.catalog import Catalog, CreatedModel, TracedModel
from kdb.planner import calibration
from kdb.planner.cost import CostProfile
from kdb.planner.explain import FORMATS, explain, render
from kdb.planner.rules import RULES
from kdb.queries import bind, evaluation, sources
from kdb.queries.evaluation import Task
from kdb.queries.sources import Found
from kdb.results.files import filled_in
from kdb.results.maps import HeatMap, HeatMaps
from kdb.results.tables import PlanText, Table
from kdb.sampling.choose import DEFAULT_SSIM
from kdb.session import tuning
from kdb.session.describe import describe
from kdb.session.study import Study
from kdb.system.interrupts import interruptible

Result = HeatMap | HeatMaps | Table
Parameters = Mapping[str, Any] | Sequence[Any] | None


class Session:
    """A connection: its models, images, settings, and the views it keeps between queries.

    ``progress`` is told (positions finished, positions in all) while a map is computed.  ``study`` is the path of a
    file that keeps models, settings, tunings and calibrations; without one they last as long as the session.
    """

    def __init__(self, progress: Progress | None = None, study: str | os.PathLike[str] | None = None) -> None:
        self.progress = progress
        self.settings = default_settings()
        self._study = Study(study)
        self._catalog = Catalog()
        self._images: dict[str, SourceImage] = {}
        self._engine = Engine(self.settings, self._profile)
        self._lock = RLock()
        for name, value in self._study.settings().items():
            with suppress(BindError):  # of a version that had other settings
                self.settings.set(name, value)
        for created in self._study.models():
            self._catalog.defer(created)

    # ---- what users call

    def execute(self, text: str, parameters: Parameters = None) -> Result:
        """Run a script and return its last statement's result.

        OCCLUDE gives a :class:`HeatMap`, or :class:`HeatMaps` for a glob or a list of images; all else a
        :class:`Table`.  ``parameters`` is a dict for ``$name`` and bare names, a sequence for ``?``.

        Raises ParseError, BindError, ModelError, ExecutionError or Interrupted, all of them :class:`kdb.Error`.
        """
        last = deque(self.run(text, parameters), maxlen=1)
        if not last:
            raise BindError("there is no statement to execute")
        return last[0]

    def run(self, text: str, parameters: Parameters = None) -> Iterator[Result]:
        """The result of each statement of a script, in order; the whole script is parsed before the first one runs."""
        statements, arguments = parse(text, self._catalog.names), Arguments(parameters)
        return (self._run(statement, arguments) for statement in statements)

    def stream(self, text: str, parameters: Parameters = None) -> Iterator[HeatMap]:
        """Heat maps of an OCCLUDE query of one image, each better than the one before; the last is the query's result.

        A query that permits no approximation is sampled all the same, until all is evaluated: its last map is exact.
        Other statements may run between two maps.  Whoever has seen enough stops iterating.
        """
        asked = parse_one(text, self._catalog.names)
        if not isinstance(asked, syntax.Occlude):
            raise BindError("only OCCLUDE has heat maps to stream")
        return self._stream(asked, Arguments(parameters))

    def _stream(self, asked: syntax.Occlude, arguments: Arguments) -> Iterator[HeatMap]:
        with self._lock, interruptible():
            found = self._checked(asked, arguments)[0]
            if len(found) != 1:
                raise BindError(f"a stream is of one image; {len(found)} are given")
            task = self._task(asked, arguments, *found[0])
        steps = evaluation.stream(self._engine, task, self.progress, anytime=True)
        last = None
        while True:
            with self._lock, interruptible():
                step = next(steps, None)
            if step is None:
                break
            last = step.heat_map
            yield last
        if last is not None:
            _save(last, asked, found)

    def explain(self, text: str, parameters: Parameters = None, *, analyze: bool = False, format: str = "text") -> str:
        """The plan of an OCCLUDE query as ``text``, ``json`` or ``dot``; ``analyze`` also runs it and measures."""
        if format not in FORMATS:
            raise BindError(f"unknown format '{format}'{did_you_mean(format, FORMATS)}; there are {', '.join(FORMATS)}")
        statement = parse_one(text, self._catalog.names)
        if isinstance(statement, syntax.Explain):
            statement = statement.query
        if not isinstance(statement, syntax.Occlude):
            raise BindError("only OCCLUDE has a plan to explain")
        return str(self._run(syntax.Explain(statement, analyze, format), Arguments(parameters)))

    def register_model(self, name: str, module: object, **keywords: object) -> None:
        """Give an ``nn.Module`` that maps [N, C, H, W] to logits [N, K] a name for this session.

        Keywords: ``input_size`` (or ``input``; required), ``mean``, ``std``, ``scale``, ``layout``, ``channels``,
        ``n_channels``, ``activation``, ``resize``, ``labels``; see :func:`kdb.models.zoo.make_model`.  The module is
        used in eval mode.
        """
        with self._lock:
            self._catalog.register(name, module, **keywords)

    def load_exported(
        self, path: str | os.PathLike[str], name: str | None = None, *, trusted: bool = False, **keywords: object
    ) -> str:
        """Register the model in an exported program (``.pt2``) and return its name, by default that of the file.

        Loading one can run code that the file holds, so that it takes ``trusted=True``; queries never load one.
        Keywords are those of :meth:`register_model`; ``input_size`` defaults to the program's own.
        """
        if not trusted:
            raise BindError(f"'{path}' can run code while it loads; where you trust it, write trusted=True")
        with self._lock:
            name = Path(path).stem if name is None else name
            self._catalog.load_exported(name, path, keywords)
        return name

    def register_image(self, name: str, image: object) -> None:
        """Give an image (path, ``PIL.Image``, uint8 array) a bare name; it is read now, as it is now."""
        if not isinstance(name, str) or not name.isidentifier():
            raise BindError(f"an image's name is a word of letters, digits and _; got {name!r}")
        with self._lock:
            self._images[name] = images.load_image(image)

    def close(self) -> None:
        """Free the views and let go of the study file; a session without one stays usable."""
        with self._lock:
            self._engine.views.clear()
            self._study.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- statements

    def _run(self, statement: syntax.Statement, arguments: Arguments) -> Result:
        with self._lock, interruptible():
            return self._statement(statement, arguments)

    @singledispatchmethod
    def _statement(self, statement: Any, arguments: Arguments) -> Result:
        raise NotImplementedError(type(statement).__name__)

    @_statement.register
    def _occlude(self, asked: syntax.Occlude, arguments: Arguments) -> Result:
        found, several = self._checked(asked, arguments)
        if not several:
            heat_map = self._heat_map(asked, arguments, *found[0]).heat_map
            _save(heat_map, asked, found)
            return heat_map

        def compute(i: int) -> HeatMap:
            with self._lock, interruptible():
                return self._heat_map(asked, arguments, *found[i]).heat_map

        if found:
            self._bind(asked, arguments)  # what is wrong with the query is said now, not once an image
        heat_maps = HeatMaps(sources.names(found), compute)
        if asked.into is not None:
            heat_maps.save(asked.into)
        return heat_maps

    @_statement.register
    def _explain(self, statement: syntax.Explain, arguments: Arguments) -> Result:
        asked = statement.query
        bind.check(asked)
        if not statement.analyze:
            bound = self._bind(asked, arguments)
            planned, note = evaluation.first_round(self._engine, bound.asked, bound.traced, bound.selection)
            explained = explain(str(asked), planned.physical, planned.history, planned.context, note, bound.tuned)
        else:
            found, several = self._checked(asked, arguments)
            if several and len(found) != 1:
                raise BindError(f"EXPLAIN ANALYZE runs one image; {len(found)} are given")
            task = replace(self._task(asked, arguments, *found[0]), analyze=True)
            step = evaluation.run(self._engine, task, self.progress)
            heat_map, planned = step.heat_map, step.planned
            _save(heat_map, asked, found)
            wall, tuned = heat_map.stats.seconds["execute"], self._bind(asked, arguments).tuned
            explained = explain(
                str(asked),
                planned.physical,
                planned.history,
                planned.context,
                step.note,
                tuned,
                step.measured.layers,
                wall,
            )
        return PlanText(("plan",), tuple((line,) for line in render(explained, statement.format).split("\n")))

    @_statement.register
    def _set(self, statement: syntax.SetOption, arguments: Arguments) -> Result:
        value = arguments.plain(statement.value)
        self.settings.set(statement.name, value)
        self._study.keep_setting(statement.name.lower(), value)
        return self._setting(statement.name)

    @_statement.register
    def _reset(self, statement: syntax.ResetOption, arguments: Arguments) -> Result:
        if statement.name.lower() == "all":
            self.settings.reset_all()
            self._study.forget_setting()
            return self._show_settings(syntax.ShowSettings(), arguments)
        self.settings.reset(statement.name)
        self._study.forget_setting(statement.name.lower())
        return self._setting(statement.name)

    def _setting(self, name: str) -> Table:
        return Table(("setting", "value"), ((name.lower(), shown(self.settings[name.lower()])),))

    @_statement.register
    def _show_settings(self, statement: syntax.ShowSettings, arguments: Arguments) -> Result:
        rows = tuple((s.name, shown(value), shown(s.default), s.summary) for s, value in self.settings)
        return Table(("setting", "value", "default", "meaning"), rows)

    @_statement.register
    def _show_rules(self, statement: syntax.ShowRules, arguments: Arguments) -> Result:
        rows = tuple((r.name, shown(self.settings[f"rule.{r.name}"]), r.exact, r.summary) for r in RULES)
        return Table(("rule", "switch", "exact", "meaning"), rows)

    @_statement.register
    def _show_models(self, statement: syntax.ShowModels, arguments: Arguments) -> Result:
        return Table(("model", "from", "input"), tuple(self._catalog.listed()))

    @_statement.register
    def _calibrate(self, statement: syntax.Calibrate, arguments: Arguments) -> Result:
        rows: list[tuple[object, ...]] = []
        for i, (machine, profile) in enumerate(self._engine.calibrate().items()):
            self._study.keep_profile(machine, calibration.encoded(profile))
            on, rates = "gpu " if i else "", profile.rates
            rows += [(on + kind, width, round(rate / 1e9, 1)) for kind in sorted(rates) for width, rate in rates[kind]]
        return Table(("work", "width", "Gmac/s"), tuple(rows))

    @_statement.register
    def _create_model(self, statement: syntax.CreateModel, arguments: Arguments) -> Result:
        options = {key: arguments.plain(value) for key, value in statement.options}
        model = self._catalog.create(statement.name, statement.path, options, statement.replace)
        dimensions = "x".join(map(str, model.input_shape))
        if self._study.path is not None:
            self._study.keep_model(CreatedModel.of(model, statement.path, options))
        return Table(("created", "from", "input"), ((model.name, model.weights_note, dimensions),))

    @_statement.register
    def _describe_model(self, statement: syntax.DescribeModel, arguments: Arguments) -> Result:
        traced = self._catalog.traced(self._catalog.find(statement.model, arguments))
        size, patch = traced.network.source.shape.size, statement.patch or syntax.Patch()
        asked = Size(patch.height, patch.width)
        return describe(traced, asked if statement.patch else Size(*map(min, asked, size)))

    @_statement.register
    def _drop_model(self, statement: syntax.DropModel, arguments: Arguments) -> Result:
        self._catalog.drop(statement.name)
        self._study.forget_model(statement.name)
        return Table(("dropped",), ((statement.name,),))

    @_statement.register
    def _tune(self, statement: syntax.Tune, arguments: Arguments) -> Result:
        ssim = DEFAULT_SSIM if statement.ssim is None else statement.ssim
        asked = syntax.Occlude(
            statement.source, statement.model, statement.patch, statement.stride, score=statement.score
        )
        bind.check(replace(asked, threshold=syntax.Threshold(auto=True, ssim=ssim)))
        found, _ = sources.find(statement.source, arguments, self._images)
        # All images are read before the first map is made: one that is broken is told at once.
        tasks = [self._task(asked, arguments, *found[i]) for i in tuning.sample(len(found), self.settings["seed"])]
        tuned = tuning.measure(self._engine, tasks, self.progress)
        self._study.keep_tuning(tuning.subject(asked, tasks[0].traced, arguments), tuned)
        return tuned.table(ssim)

    def _profile(self, machine: str) -> CostProfile | None:
        """What was measured on this machine, and kept in the study or the cache."""
        text = self._study.profile(machine)
        return (None if text is None else calibration.decoded(text)) or calibration.kept(machine)

    # ---- OCCLUDE

    def _bind(self, asked: syntax.Occlude, arguments: Arguments) -> _Bound:
        """All that planning needs."""
        model = self._catalog.find(asked.model, arguments)
        patch = Size(asked.patch.height, asked.patch.width)
        selection = bind.select(asked, Size(*model.input_shape[1:]), arguments)
        bind.check_fill(asked.patch.fill, patch, model.preprocessing.image_channels, arguments)
        traced = self._catalog.traced(model)
        if asked.threshold is None or not asked.threshold.auto:
            return _Bound(asked, traced, selection)
        tuned = self._study.tuning(tuning.subject(asked, traced, arguments))
        if tuned is None:
            raise tuning.untuned(asked)
        ssim = DEFAULT_SSIM if asked.threshold.ssim is None else asked.threshold.ssim
        tau = tuned.tau(ssim)
        return _Bound(replace(asked, threshold=syntax.Threshold(tau)), traced, selection, tuned.note(tau, ssim))

    def _checked(self, asked: syntax.Occlude, arguments: Arguments) -> tuple[list[Found], bool]:
        """The query's images, and whether they are several by form, once all is checked that can be without them."""
        bind.check(asked)
        if asked.into is not None:
            sources.check_writable(asked.into)
        found, several = sources.find(asked.source, arguments, self._images)
        if asked.into is not None:
            sources.check_apart(asked.into, found, several)
        return found, several

    def _heat_map(
        self, asked: syntax.Occlude, arguments: Arguments, source: str | None, load: Callable[[], SourceImage]
    ) -> evaluation.Step:
        return evaluation.run(self._engine, self._task(asked, arguments, source, load), self.progress)

    def _task(
        self, asked: syntax.Occlude, arguments: Arguments, source: str | None, load: Callable[[], SourceImage]
    ) -> Task:
        image = load()  # before the model, which takes longer to fail
        start = time.perf_counter()
        bound = self._bind(asked, arguments)
        seconds = time.perf_counter() - start
        prepared = bound.traced.model.preprocessing.prepare(image)
        return Task(bound.asked, bound.traced, bound.selection, prepared, source, arguments, traced_in=seconds)


@dataclass(frozen=True, eq=False)
class _Bound:
    """A query with its model, traced, and its positions; ``tuned`` says where its threshold comes from, if tuned."""

    asked: syntax.Occlude
    traced: TracedModel
    selection: bind.Selection
    tuned: str = ""


def _save(heat_map: HeatMap, asked: syntax.Occlude, found: Sequence[Found]) -> None:
    """Write the map of the only image where the query says, if it says."""
    if asked.into is not None:
        heat_map.save(filled_in(asked.into, sources.names(found)[0]))


def connect(path: str | os.PathLike[str] | None = None, *, progress: Progress | None = None) -> Session:
    """A new session, in memory or with the study file at ``path``, which is made where there is none.

    A study keeps created models, settings, tunings and calibrations; :class:`kdb.session.study.Study` says what it
    raises.
    """
    return Session(progress, path)
