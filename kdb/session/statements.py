"""What each statement does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial, singledispatchmethod
from typing import Any

from kdb.errors import BindError, Cancel, Interrupted, Timeout
from kdb.execution.engine import Progress
from kdb.execution.settings import earlier_names, shown
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.models.catalog import CreatedModel, under
from kdb.models.model import Model
from kdb.planner import calibration
from kdb.planner.cost import MEASURED
from kdb.planner.explain import explain
from kdb.planner.rendering import render
from kdb.planner.rules import RULES
from kdb.queries import checking, clauses, evaluation, planning, sources
from kdb.queries.bind import ImageQuery
from kdb.queries.sources import Found
from kdb.results.files import files_of_several, filled_in
from kdb.results.maps import HeatMap
from kdb.results.several import HeatMaps
from kdb.results.tables import Headed, PlanText, Table
from kdb.runs.run import Run
from kdb.sampling.choose import DEFAULT_SSIM
from kdb.session import remaking, tuning, verifying
from kdb.session.binding import Binder, changed
from kdb.session.describe import describe
from kdb.session.environment import Call, Environment
from kdb.session.running import Running
from kdb.system import memory
from kdb.system.threads import checkpoint

Result = HeatMap | HeatMaps | Run | Table


class Statements:
    """Runs statements in one session's environment."""

    def __init__(self, environment: Environment) -> None:
        self._environment, self._binder = environment, Binder(environment)
        self.runs = Running(environment)

    def run(self, statement: syntax.Statement, arguments: Arguments, progress: Progress | None = None) -> Result:
        """The result of one statement; ``progress`` is called while it computes maps, in place of the session's."""
        if isinstance(statement, syntax.ResumeRun) or (isinstance(statement, syntax.Occlude) and statement.run):
            return self.runs.execute(statement, arguments, progress)  # takes turns image by image
        call = self._environment.call(arguments, progress)
        with self._environment.turn(call):
            return self._run(statement, call)

    @singledispatchmethod
    def _run(self, statement: Any, call: Call) -> Result:
        raise NotImplementedError(type(statement).__name__)

    # ---- queries

    @_run.register
    def _occlude(self, query: syntax.Occlude, call: Call) -> Result:
        environment, binder, arguments = self._environment, self._binder, call.arguments
        found, several = binder.find_images(query, arguments)
        if not several:
            try:
                with _telling(query):
                    heat_map = self._evaluated(binder.bind_on(query, arguments, found[0]), call)
            except Cancel as cancelled:
                return _partial(cancelled)
            self._save(heat_map, query, found)
            return heat_map
        # Bound once, so that what is wrong with the query is said now, not once an image.
        bound = binder.bind(query, arguments) if found else None
        made = False

        def compute(i: int) -> HeatMap:
            nonlocal bound, made
            assert bound is not None, "there are images"
            name, load = found[i]
            with environment.engine.views.passing(), memory.told():  # what is missing is this image's error
                checkpoint()
                image = load(bound.traced.model.preprocessing)
                heat_map = self._evaluated(binder.again(bound).on(image, name), call)
            if heat_map.model_identity != bound.traced.identity:  # the check of the map has found a change
                if made:
                    raise changed(bound)
                bound = binder.retraced(bound)
            made = True
            return heat_map

        heat_maps = HeatMaps(sources.names(found), compute, partial(environment.turn, call))
        if query.into is not None:
            paths = [environment.root.path(each) for each in files_of_several(query.into, heat_maps.sources)]
            with suppress(Cancel):  # those that were finished are there
                heat_maps.save_to(paths)
        return heat_maps

    def _evaluated(self, query: ImageQuery, call: Call) -> HeatMap:
        return evaluation.run(self._environment.engine, query, call.on_progress).heat_map

    def stream(
        self, query: syntax.Occlude, arguments: Arguments, progress: Progress | None = None
    ) -> Iterator[HeatMap]:
        """The heat maps of a query of one image, each better than the one before; the last is the query's result.

        The session is free for other statements between two of them.  ``progress`` as of :meth:`run`.
        """
        environment = self._environment
        _check_no_run(query, "a stream is of one image")
        call = environment.call(arguments, progress)
        with environment.turn(call):
            found = self._binder.find_images(query, arguments)[0]
            if len(found) != 1:
                raise BindError(f"a stream is of one image; {len(found)} are given")
            bound_on = self._binder.bind_on(query, arguments, found[0])
        evaluations = evaluation.stream(environment.engine, bound_on, call.on_progress, anytime=True)
        last = None
        while True:
            try:
                with environment.turn(call):
                    evaluated = next(evaluations, None)
            except Cancel as cancelled:
                yield _partial(cancelled)
                return
            if evaluated is None:
                break
            last = evaluated.heat_map
            yield last
        if last is not None:
            self._save(last, query, found)

    def _save(self, heat_map: HeatMap, query: syntax.Occlude, found: Sequence[Found]) -> None:
        """Write the map of the only image to the file that the query names, if it names one."""
        if query.into is not None:
            heat_map.save(self._environment.root.path(filled_in(query.into, sources.names(found)[0])))

    @_run.register
    def _explain(self, statement: syntax.Explain, call: Call) -> Result:
        query, engine = statement.query, self._environment.engine
        if not statement.analyze:
            bind = self._binder.bind if query.run is None else self.runs.bound
            bound = bind(query, call.arguments)
            into = () if query.run is None else self.runs.explained(query, call.arguments)
            planned, note = planning.first_round(engine, bound)
            check = checking.planned(engine, bound, planned)
            explained = explain(
                str(clauses.on_axes(query, bound.size)),
                planned.physical,
                planned.history,
                planned.context,
                note,
                bound.tuned,
                check,
                taken=planned.memory,
                notes=(*bound.notes, *into),
                network=planned.network,
            )
        else:
            _check_no_run(query, "EXPLAIN ANALYZE runs one image")
            found, several = self._binder.find_images(query, call.arguments)
            if several and len(found) != 1:
                raise BindError(f"EXPLAIN ANALYZE runs one image; {len(found)} are given")
            bound_on = self._binder.bind_on(query, call.arguments, found[0])
            with _telling(query):
                run = evaluation.run(engine, bound_on, call.on_progress, analyze=True)
            self._save(run.heat_map, query, found)
            explained = explain(
                str(clauses.on_axes(query, bound_on.bound.size)),
                run.planned.physical,
                run.planned.history,
                run.planned.context,
                run.note,
                bound_on.bound.tuned,
                checking.found(run.heat_map.checked, run.measured.cancelled),
                run.measured.layers,
                run.heat_map.stats.seconds["execute"],
                run.planned.memory,
                run.heat_map.notes,
                run.planned.network,
            )
        return PlanText(("plan",), tuple((line,) for line in render(explained, statement.format).split("\n")))

    @_run.register
    def _verify_query(self, statement: syntax.VerifyQuery, call: Call) -> Result:
        query = statement.query
        _check_no_run(query, "VERIFY runs one image")
        found, several = self._binder.find_images(query, call.arguments)
        if several and len(found) != 1:
            raise BindError(f"VERIFY runs one image; {len(found)} are given")
        bound_on = self._binder.bind_on(query, call.arguments, found[0])
        with _telling(query):
            heat_map = self._evaluated(bound_on, call)
        self._save(heat_map, query, found)
        try:
            return verifying.of_query(self._environment, bound_on, heat_map)
        except KeyboardInterrupt as stopped:
            written = "" if query.into is None else f", which is written to '{query.into}'"
            raise Interrupted(
                f"interrupted while the model itself was run, after the map was made{written}"
            ) from stopped

    @_run.register
    def _verify_file(self, statement: syntax.VerifyFile, call: Call) -> Result:
        return remaking.of_file(self._environment, statement, call)

    @_run.register
    def _show_run(self, statement: syntax.ShowRun, call: Call) -> Result:
        return self.runs.show(statement)

    @_run.register
    def _tune(self, statement: syntax.Tune, call: Call) -> Result:
        environment = self._environment
        ssim = DEFAULT_SSIM if statement.ssim is None else statement.ssim
        query = syntax.Occlude(
            statement.source, statement.model, statement.patch, statement.stride, score=statement.score
        )
        clauses.check(replace(query, threshold=syntax.Threshold(auto=True, ssim=ssim)))
        found, _ = self._binder.find(statement.source, statement.model, call.arguments)
        chosen = [found[i] for i in tuning.sample(len(found), environment.settings["seed"])]
        if not chosen:
            raise BindError("no image to tune on")
        first = self._binder.bind_on(query, call.arguments, chosen[0])
        wanted = first.bound.traced.model.preprocessing
        # All images are read before the first map is made: one that is broken is told at once.
        image_queries = [first, *(first.bound.on(load(wanted), name) for name, load in chosen[1:])]
        tuned = tuning.measure(environment.engine, image_queries, call.on_progress)
        environment.study.keep_tuning(tuning.subject(query, first.bound.traced, call.arguments), tuned)
        return tuned.table(ssim)

    # ---- models

    @_run.register
    def _show_models(self, statement: syntax.ShowModels, call: Call) -> Result:
        return Table(("model", "from", "input"), tuple(self._environment.catalog.listed()))

    @_run.register
    def _create_model(self, statement: syntax.CreateModel, call: Call) -> Result:
        catalog, study, root = self._environment.catalog, self._environment.study, self._environment.root
        options = under(root, {key: call.arguments.plain(value) for key, value in statement.options})
        path = root.path(statement.path)

        def keep(model: Model) -> None:
            if study.path is not None:
                study.keep_model(CreatedModel.of(model, path, options))

        model = catalog.create(statement.name, path, options, statement.replace, keep)
        dimensions = "x".join(map(str, model.input_shape))
        row = (model.name, model.weights_note, dimensions, "; ".join((*model.facts, *model.notes)))
        return Table(("created", "from", "input", "images"), (row,))

    @_run.register
    def _describe_model(self, statement: syntax.DescribeModel, call: Call) -> Result:
        catalog = self._environment.catalog
        traced = catalog.traced(catalog.find(statement.model, call.arguments))
        size, patch = traced.network.source.shape.size, statement.patch or syntax.Patch()
        extent = clauses.by_axis("patch", patch.extent, size)
        return describe(traced, extent if statement.patch else tuple(map(min, extent, size)))

    @_run.register
    def _drop_model(self, statement: syntax.DropModel, call: Call) -> Result:
        self._environment.catalog.check_registered(statement.name)
        self._environment.study.forget_model(statement.name)
        self._environment.catalog.drop(statement.name)
        return Table(("dropped",), ((statement.name,),))

    # ---- settings: the study has a change before it takes effect, so that one that fails changes nothing

    @_run.register
    def _set(self, statement: syntax.SetOption, call: Call) -> Result:
        settings, value = self._environment.settings, call.arguments.plain(statement.value)
        name = settings.check(statement.name, value)
        self._environment.study.keep_setting(name, value, *earlier_names(name))
        settings.set(name, value)
        return self._setting(name)

    @_run.register
    def _reset(self, statement: syntax.ResetOption, call: Call) -> Result:
        settings, study = self._environment.settings, self._environment.study
        if statement.name.lower() == "calibration":
            study.forget_profiles(self._environment.engine.machines())
            self._environment.engine.forget_profiles()
            return self._show_calibration(syntax.ShowCalibration(), call)
        if statement.name.lower() == "all":
            study.forget_settings()
            settings.reset_all()
            return self._show_settings(syntax.ShowSettings(), call)
        name = settings.named(statement.name)
        study.forget_settings(name, *earlier_names(name))
        settings.reset(name)
        return self._setting(name)

    def _setting(self, name: str) -> Table:
        settings = self._environment.settings
        columns, rows = ("setting", "value"), ((name, shown(settings[name])),)
        note = settings.note(name)
        return Table(columns, rows) if note is None else Headed(columns, rows, (f"note: {note}",))

    @_run.register
    def _show_settings(self, statement: syntax.ShowSettings, call: Call) -> Result:
        settings = self._environment.settings
        rows = tuple((s.name, shown(value), shown(s.default), s.summary) for s, value in settings)
        return Table(("setting", "value", "default", "meaning"), rows)

    @_run.register
    def _show_rules(self, statement: syntax.ShowRules, call: Call) -> Result:
        settings = self._environment.settings
        rows = tuple((r.name, shown(settings[f"rule.{r.name}"]), r.exact, r.summary) for r in RULES)
        return Table(("rule", "switch", "exact", "meaning"), rows)

    @_run.register
    def _show_calibration(self, statement: syntax.ShowCalibration, call: Call) -> Result:
        environment = self._environment
        shown = {machine: (device, profile, True) for machine, (device, profile) in environment.engine.rates().items()}
        for machine, text in environment.study.profiles().items():
            if machine not in shown and (kept := calibration.decoded(text)) is not None:
                shown[machine] = "cpu" if kept.name == MEASURED else kept.name, kept, False
        rows = tuple(
            (machine, device, *rate, profile.origin, profile.measured or None, used)
            for machine, (device, profile, used) in shown.items()
            for rate in profile.listed()
        )
        return Table(("machine", "device", "work", "width", "rate", "unit", "origin", "date", "used"), rows)

    @_run.register
    def _calibrate(self, statement: syntax.Calibrate, call: Call) -> Result:
        rows: list[tuple[object, ...]] = []
        for i, (machine, profile) in enumerate(self._environment.engine.calibrate().items()):
            self._environment.study.keep_profile(machine, calibration.encoded(profile))
            on, rates = "gpu " if i else "", profile.rates
            rows += [(on + kind, width, round(rate / 1e9, 1)) for kind in sorted(rates) for width, rate in rates[kind]]
        return Table(("work", "width", "Gmac/s"), tuple(rows))


@contextmanager
def _telling(query: syntax.Occlude) -> Iterator[None]:
    """Around the work on the map of the only image: what stops it says what became of the file that the query names."""
    try:
        yield
    except (Interrupted, Timeout) as stop:
        if query.into is None:
            raise
        raise type(stop)(f"{stop}; nothing is written to '{query.into}'", stop.partial) from stop


def _check_no_run(query: syntax.Occlude, why: str) -> None:
    if query.run is not None:
        raise BindError(f"{why}, so it excludes INTO RUN")


def _partial(cancelled: Cancel) -> HeatMap:
    """The partial heat map of a query that its callback cancelled; raises the Cancel where there is none."""
    if cancelled.partial is None:
        raise cancelled
    found: HeatMap = cancelled.partial
    return found
