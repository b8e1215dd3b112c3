"""One open page: takes its requests and posts events, as ui/src/protocol.ts has them.

What the text alone decides is answered at once, in the thread that brings the request; all else is work for the page's
own thread.  While a map grows other requests are answered between two of its maps.
"""

from __future__ import annotations

import logging
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from kdb.errors import BindError, Cancel, Error, ExecutionError, ParseError, printable
from kdb.language import syntax
from kdb.language.parser import parse, parse_one
from kdb.results.maps import HeatMap
from kdb.results.tables import Headed, Table
from kdb.session.session import Session
from kdb.ui import folders, form, gallery, maps, one, pictures, plans, samples
from kdb.ui.history import History, Kept
from kdb.ui.wire import Buffer, Content, Packing, bytes_of
from kdb.ui.worker import Worker
from kdb.version import __version__

log = logging.getLogger(__name__)

Post = Callable[[Content, list[Buffer]], None]
"""Sends an event to the browser: its content and buffers."""

FIRST = "OCCLUDE chelsea WITH patch(16, 16) STRIDE 4 USING efficientnet_lite0"
"""The query of a page that nothing else is known of."""
UPLOAD_LIMIT = 256 << 20
"""Bytes of an image that is dropped on the page."""
TELLING = 0.1
"""Seconds between two events of progress."""

_FORM = ("edit", "change", "upload", "hello")
"""Requests that set the query's text, and so replace one another."""
_FILLS = ("black", "gray", "white", "mean", "blur(8)")


class Page:
    """The engine of one page over a ``session``, which other pages may share.

    ``post`` is called from the page's own thread and from those that call :meth:`receive`.  The page begins with the
    query ``text``, whose ``parameters`` are by name.  With ``browsing`` it lists folders under the session's root.
    """

    def __init__(
        self,
        session: Session,
        post: Post,
        *,
        text: str = "",
        parameters: Mapping[str, Any] | None = None,
        browsing: bool = False,
    ) -> None:
        self._session, self._post, self._browsing = session, post, browsing
        self.text = text or FIRST
        self._parameters: dict[str, Any] = dict(parameters or {})
        self._history = History()
        self._pictures: set[str] = set()
        self._labels: set[str] = set()
        self._uploads = tempfile.TemporaryDirectory(prefix="kdb-")
        self._worker = Worker("kdb page")
        self.heat_map: HeatMap | None = None
        """The map that was shown last."""

    def close(self) -> None:
        """End what is under way, and the page's thread; further requests do nothing."""
        self._worker.close()
        self._uploads.cleanup()

    def receive(self, content: Content, buffers: Sequence[Buffer] = ()) -> None:
        """Take a request; returns at once, and answers whatever is wrong with it by an event."""
        kind, id = content.get("kind"), content.get("id")
        answer = getattr(self, f"_on_{kind}", None) if isinstance(kind, str) and kind.isalpha() else None
        if answer is None or not isinstance(id, int):
            return
        self._guarded(id, lambda: answer(content, list(buffers)))

    def _guarded(self, id: int, job: Callable[[], object]) -> None:
        """Run a job of a request; what stops it is an event."""
        try:
            job()
        except Error as error:
            self._refuse(id, error)
        except Exception as error:  # of a request that no page sends, or a fault of kdb's: the page must live on
            log.exception("a request of the page failed")
            self._refuse(id, ExecutionError(f"this failed: {type(error).__name__}: {error}"))

    def _refuse(self, id: int, error: Error) -> None:
        self._post({"kind": "refused", "id": id, "error": refusal(error)}, [])

    def _ask(self, kind: str, id: int, job: Callable[[], object]) -> None:
        self._worker.ask(kind, lambda: self._guarded(id, job))

    def _send(self, message: tuple[Content, Packing], **more: Any) -> None:
        content, packing = message
        self._post({**content, **more}, packing.buffers)

    # ---- the query and its controls

    def _on_hello(self, content: Content, buffers: list[Buffer]) -> None:
        self._pictures.clear()  # it is a new page, or the same one loaded again
        self._labels.clear()
        root = self._session.root.folder
        self._post(
            {
                "kind": "welcome",
                "id": content["id"],
                "version": __version__,
                "text": self.text,
                "samples": samples.listed(),
                "models": [
                    {"name": name, "from": origin, "input": size} for name, origin, size in self._session.models()
                ],
                "scores": [*form.SCORES],
                "fills": [*_FILLS],
                "root": root if self._browsing else None,
                "upload_limit": UPLOAD_LIMIT,
            },
            [],
        )
        self._show_form(content["id"], self.text)
        self._list_history()

    def _on_edit(self, content: Content, buffers: list[Buffer]) -> None:
        self._show_form(content["id"], str(content["text"]))

    def _on_change(self, content: Content, buffers: list[Buffer]) -> None:
        query = _query_of(str(content["text"]))
        if query is None:
            raise BindError("the controls are of one OCCLUDE query, and the text is none")
        control, value = str(content["control"]), content.get("value")
        if control == "mask" and value is not None:
            self._ask("form", content["id"], lambda: self._paint(content["id"], query, bytes_of(buffers)))
            return
        self._show_form(content["id"], str(form.changed(query, control, value)))

    def _paint(self, id: int, query: syntax.Occlude, mask: bytes) -> None:
        size = self._session.subject(str(query), self._parameters).prepared.pixels.shape[:-1]
        cells = np.frombuffer(mask, np.uint8)
        if cells.size != int(np.prod(size)):
            raise BindError(f"the mask has {cells.size} cells, and the model's input {int(np.prod(size))}")
        self._parameters = {**self._parameters, form.MASK: cells.reshape(size).astype(bool)}
        self._show_form(id, str(form.changed(query, "mask", form.MASK)))

    def _on_upload(self, content: Content, buffers: list[Buffer]) -> None:
        def take() -> None:
            data = bytes_of(buffers)
            if len(data) > UPLOAD_LIMIT:
                raise BindError(f"the image has {len(data):,} bytes, more than {UPLOAD_LIMIT:,}")
            given = Path(str(content["name"])).name
            name = _name_of(given, self._session.images)
            path = Path(self._uploads.name) / f"{name}{''.join(Path(given).suffixes[-2:])[:16]}"
            path.write_bytes(data)
            self._session.register_image(name, path)
            query = _query_of(str(content["text"])) or parse_one(FIRST)
            assert isinstance(query, syntax.Occlude), "others have no image"
            self._show_form(content["id"], str(form.changed(query, "source", name)))

        self._ask("form", content["id"], take)

    def _show_form(self, id: int, text: str) -> None:
        """Post what the text alone says, and have the rest found out."""
        self.text = text
        try:
            query = _query_of(text)
        except ParseError as error:
            self._post_form(id, text, None, error)
            return
        if query is None:
            self._post_form(id, text, None, None)
            return
        self._register_sample(query)
        fields = form.of_query(query)
        unknown = {"size": None, "axes": None, "dense": False, "picture": None, "labels": None}
        self._post_form(id, text, {**fields, **unknown}, None)
        self._ask("form", id, lambda: self._complete(id, text, query, {**fields, **unknown}))

    def _complete(self, id: int, text: str, query: syntax.Occlude, fields: Content) -> None:
        """Post what the query's model and image say, and last what tracing the model does."""
        notes: list[str] = []
        try:
            subject = self._session.subject(text, self._parameters)
            prepared = subject.prepared
            key = pictures.key_of(prepared.image, prepared.source_box, prepared.axes)
            if key not in self._pictures:
                self._pictures.add(key)
                self._send(pictures.of_subject(subject, key))
            fields |= form.of_query(subject.query) | {
                "size": [*prepared.pixels.shape[:-1]],
                "axes": prepared.axes,
                "picture": key,
                "labels": self._show_labels(subject.model.labels),
            }
            notes = [*dict.fromkeys((*subject.model.notes, *prepared.notes))]
            self._post_form(id, text, fields, None, notes)
            fields["dense"] = self._session.region(text, self._parameters) is not None
        except Error as error:
            self._post_form(id, text, fields, error, notes)
            return
        if fields["dense"]:
            self._post_form(id, text, fields, None, notes)

    def _post_form(
        self, id: int, text: str, fields: Content | None, error: Error | None, notes: Sequence[str] = ()
    ) -> None:
        told = None if error is None else refusal(error)
        self._post({"kind": "form", "id": id, "text": text, "form": fields, "error": told, "notes": [*notes]}, [])

    def _show_labels(self, labels: Sequence[str] | None) -> str | None:
        """The key of a model's labels, which are posted once."""
        if labels is None:
            return None
        key = f"{hash(tuple(labels)):x}"
        if key not in self._labels:
            self._labels.add(key)
            self._post({"kind": "labels", "key": key, "labels": [*map(printable, labels)]}, [])
        return key

    def _register_sample(self, query: syntax.Occlude) -> None:
        """Give the image of a query its name, if it is a sample that was not used before."""
        source = query.source
        if isinstance(source, syntax.Name) and source.text in samples.SAMPLES:
            name = source.text
            if name not in self._parameters and name not in self._session.images and samples.path(name).is_file():
                self._session.register_image(name, samples.path(name))

    def _on_explain(self, content: Content, buffers: list[Buffer]) -> None:
        id, text = content["id"], str(content["text"])

        def explain() -> None:
            query = _query_of(text)
            if query is None:
                raise BindError("only OCCLUDE has a plan")
            self._register_sample(query)
            explained = self._session.explain(text, self._parameters, format="json")
            self._post({**plans.of_explained(text, explained), "id": id}, [])

        self._ask("explain", id, explain)

    # ---- maps

    def _on_run(self, content: Content, buffers: list[Buffer]) -> None:
        id, text = content["id"], str(content["text"])
        query = _query_of(text)
        self.text = text
        if query is not None:
            self._begin(id, [("a", text, query)])
            return
        statements = parse(text)
        for statement in statements:
            if isinstance(statement, syntax.ResumeRun | syntax.Occlude):
                raise BindError("the page runs one OCCLUDE at a time, and no runs over data sets: those are for `kdb`")
        self._ask(f"statement {id}", id, lambda: self._tell(id, text))

    def _on_compare(self, content: Content, buffers: list[Buffer]) -> None:
        queries = []
        for slot, text in zip(("a", "b"), map(str, content["texts"]), strict=True):
            query = _query_of(text)
            if query is None:
                raise BindError("two OCCLUDE queries are compared")
            queries.append((slot, text, query))
        self._begin(content["id"], queries)

    def _on_stop(self, content: Content, buffers: list[Buffer]) -> None:
        self._worker.stop()

    def _begin(self, id: int, queries: list[tuple[str, str, syntax.Occlude]]) -> None:
        for _, _, query in queries:
            if query.into is not None or query.run is not None:
                raise BindError("INTO writes files, which the page does by Export; leave INTO out")
            self._register_sample(query)
        parameters = self._parameters

        def job() -> Iterator[object]:
            for slot, text, _ in queries:
                yield from self._stream(id, slot, text, parameters)
                if self._worker.stopped:
                    return

        self._worker.begin(job)

    def _stream(self, id: int, slot: str, text: str, parameters: Mapping[str, Any]) -> Iterator[object]:
        """Post the maps of a query, each better than the one before; yields between two of them."""
        self._post({"kind": "started", "id": id, "slot": slot, "text": text}, [])
        begun, number, found = time.perf_counter(), self._history.number(), None
        try:
            region = self._session.region(text, parameters)
            stream = self._session.stream(text, parameters, progress=self._telling(id, slot, begun))
            for found in stream:
                if not found.complete and self._worker.replaced:
                    break
                self._show(Kept(number, found, parameters, region), slot, id)
                yield None
                self._worker.check()
        except Cancel:
            pass
        except Error as error:
            self._refuse(id, error)
            return
        except Exception as error:
            log.exception("a query of the page failed")
            self._refuse(id, ExecutionError(f"this failed: {type(error).__name__}: {error}"))
            return
        if found is not None:
            with suppress(BindError):  # so many maps since that it is forgotten
                self._history.done(number, maps.thumbnail(found))
            self._list_history()
        seconds, stopped = time.perf_counter() - begun, self._worker.stopped
        last = None if found is None else number
        self._post(
            {"kind": "finished", "id": id, "slot": slot, "map": last, "stopped": stopped, "seconds": seconds}, []
        )

    def _telling(self, id: int, slot: str, begun: float) -> Callable[[int, int], None]:
        """What the query calls while it runs: it tells the page, not too often, and ends the query if it must."""
        told, first = 0.0, (0.0, 0)

        def tell(done: int, total: int) -> None:
            nonlocal told, first
            self._worker.check()
            now = time.perf_counter()
            if not first[0] or done < first[1]:
                first = now, done
            if now - told < TELLING and done < total:
                return
            told = now
            left = None if done <= first[1] else (now - first[0]) * (total - done) / (done - first[1])
            counts = {"done": done, "total": total, "seconds": now - begun, "left": left}
            self._post({"kind": "progress", "id": id, "slot": slot, **counts}, [])

        return tell

    def _show(self, kept: Kept, slot: str, id: int) -> None:
        """Post a map, and keep it."""
        heat_map = kept.heat_map
        key = pictures.key_of(heat_map.image, heat_map.source_box, heat_map.axes)
        if key not in self._pictures:
            self._pictures.add(key)
            self._send(pictures.of_map(heat_map, key))
        self._history.keep(kept)
        self.heat_map = heat_map
        self._send(maps.of_map(heat_map, kept.number, key, kept.region), id=id, slot=slot)

    def _list_history(self) -> None:
        packing = Packing()
        entries = [
            {
                "map": kept.number,
                "text": kept.heat_map.query,
                "label": kept.heat_map.by_class()[2][0],
                "seconds": kept.heat_map.stats.seconds["total"],
                "exact": kept.heat_map.exact,
                "complete": kept.heat_map.complete,
                "thumbnail": packing(kept.thumbnail),
            }
            for kept in self._history
            if kept.thumbnail is not None
        ]
        self._post({"kind": "history", "entries": entries}, packing.buffers)

    def _tell(self, id: int, text: str) -> None:
        """Post the last result of statements that make no map."""
        result = self._session.execute(text, self._parameters)
        if not isinstance(result, Table):
            raise BindError("this makes no table to show")
        rows = [[_cell(each) for each in row] for row in result.rows]
        lines = [*result.lines] if isinstance(result, Headed) else []
        self._post({"kind": "table", "id": id, "columns": [*result.columns], "rows": rows, "lines": lines}, [])

    def _on_recall(self, content: Content, buffers: list[Buffer]) -> None:
        id = content["id"]
        self._ask("recall", id, lambda: self._show(self._history[int(content["map"])], "a", id))

    def _on_layer(self, content: Content, buffers: list[Buffer]) -> None:
        def show() -> None:
            kept, which = self._history[int(content["map"])], int(content["class"])
            if not 0 <= which < len(kept.heat_map.by_class()[1]):
                raise BindError(f"the map has no class number {which}")
            self._send(maps.of_layer(kept.heat_map, which, kept.region), id=content["id"], map=kept.number)

        self._ask("layer", content["id"], show)

    # ---- one position

    def _on_probe(self, content: Content, buffers: list[Buffer]) -> None:
        def probe() -> None:
            kept, at, which = self._place(content)
            begun = time.perf_counter()
            query, parameters = one.query_at(kept.heat_map, kept.parameters, at, which)
            found = self._session.execute(str(query), parameters)
            assert isinstance(found, HeatMap), "it is of one image"
            packing = Packing()
            content_ = {
                "kind": "probe",
                "id": content["id"],
                "map": kept.number,
                "position": _position(kept.heat_map, at),
                "score": float(found.values.reshape(-1)[0]),
                "baseline": float(np.ravel(found.baseline)[0]),
                "milliseconds": 1e3 * (time.perf_counter() - begun),
                "occluded": packing(maps.occluded(kept.heat_map, at)),
            }
            self._post(content_, packing.buffers)

        self._ask("probe", content["id"], probe)

    def _on_check(self, content: Content, buffers: list[Buffer]) -> None:
        def check() -> None:
            kept, at, which = self._place(content)
            begun = time.perf_counter()
            query, parameters = one.query_at(kept.heat_map, kept.parameters, at, which)
            table = self._session.execute(f"VERIFY {query}", parameters)
            assert isinstance(table, Table), "VERIFY gives one"
            row = dict(zip(table.columns, table.rows[0], strict=True))
            allowed = float(row["allowed"])
            found = {
                "position": _position(kept.heat_map, at),
                "kdb": float(row["kdb"]),
                "model": float(row["model"]),
                "difference": float(row["difference"]),
                "ratio": maps.finite(float(row["difference"]) / allowed) if allowed else None,
                "milliseconds": 1e3 * (time.perf_counter() - begun),
            }
            self._post({"kind": "checked", "id": content["id"], "map": kept.number, **found}, [])

        self._ask("check", content["id"], check)

    def _place(self, content: Content) -> tuple[Kept, int, int]:
        """The map of a request, the flat index of its position, and the class."""
        kept = self._history[int(content["map"])]
        position = [int(each) for each in content["position"]]
        if len(position) != len(kept.heat_map.axes):
            raise BindError(f"a position has {len(kept.heat_map.axes)} numbers; got {position}")
        which = int(content.get("class") or maps.first_class(kept.heat_map))
        return kept, maps.nearest(kept.heat_map, position), min(which, len(kept.heat_map.by_class()[1]) - 1)

    # ---- files

    def _on_browse(self, content: Content, buffers: list[Buffer]) -> None:
        def browse() -> None:
            if not self._browsing:
                raise BindError("this page lists no folders")
            found = folders.listed(self._session.root, str(content["folder"]))
            self._post({"kind": "folder", "id": content["id"], **found}, [])

        self._ask("browse", content["id"], browse)

    def _on_gallery(self, content: Content, buffers: list[Buffer]) -> None:
        def show() -> None:
            folder, label = str(content["folder"]), content.get("label")
            run = self._session.open_run(folder)
            offset = max(int(content.get("offset") or 0), 0)
            self._send(gallery.of_run(run, folder, offset, None if label is None else str(label)), id=content["id"])

        self._ask("gallery", content["id"], show)

    def _on_card(self, content: Content, buffers: list[Buffer]) -> None:
        def show() -> None:
            found = self._session.open_run(str(content["folder"])).map(str(content["image"]))
            kept = Kept(self._history.number(), found, {}, thumbnail=maps.thumbnail(found))
            self._show(kept, "a", content["id"])
            self._list_history()

        self._ask("card", content["id"], show)

    def _on_export(self, content: Content, buffers: list[Buffer]) -> None:
        def export() -> None:
            found, extension = self._history[int(content["map"])].heat_map, str(content["format"])
            if extension not in maps.formats(found):
                raise BindError(f"this map is not saved as {extension!r}; there are {', '.join(maps.formats(found))}")
            name = _file_name(found)
            with tempfile.TemporaryDirectory(prefix="kdb-") as folder:
                data = found.save(Path(folder) / f"{name}.{extension}").read_bytes()
            packing = Packing()
            described = packing(np.frombuffer(data, np.uint8))
            kind = {"kind": "file", "name": f"{name}.{extension}", "type": "application/octet-stream"}
            self._post({**kind, "id": content["id"], "data": described}, packing.buffers)

        self._ask(f"export {content['id']}", content["id"], export)


def refusal(error: Error) -> Content:
    """An error as ``Refusal`` in ui/src/protocol.ts has it; of one in the text its place, and the message alone."""
    if not isinstance(error, ParseError):
        nowhere: Content = {"line": None, "column": None, "expected": [], "suggestion": None}
        return {"type": type(error).__name__, "message": str(error), **nowhere}
    message = str(error).split("\n")[0].removesuffix(f" (line {error.line}, column {error.column})")
    return {
        "type": "ParseError",
        "message": message,
        "line": error.line,
        "column": error.column,
        "expected": [*error.expected],
        "suggestion": error.suggestion,
    }


def _query_of(text: str) -> syntax.Occlude | None:
    """The only OCCLUDE of a text, explained or not; None for other statements.  Raises ParseError."""
    statements = parse(text)
    if not statements:
        raise ParseError("there is no query yet: it begins with OCCLUDE and an image", text=text)
    return statements[0] if len(statements) == 1 and isinstance(statements[0], syntax.Occlude) else None


def _position(heat_map: HeatMap, at: int) -> list[int]:
    found: list[int] = heat_map.positions.reshape(-1, len(heat_map.axes))[at].tolist()
    return found


def _cell(value: object) -> str | int | float | bool | None:
    """A cell of a table as JSON has it."""
    if isinstance(value, float | np.floating):
        return maps.finite(float(value))
    if isinstance(value, int | None):
        return value
    return printable(str(value))


def _name_of(file: str, taken: Sequence[str]) -> str:
    """A bare name for an image that was dropped: like its file's, and none that is taken."""
    stem = re.sub(r"\W+", "_", file.split(".")[0]).strip("_")
    stem = stem if stem.isidentifier() else f"image_{stem}".rstrip("_")
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}_{number}", number + 1
    return name


def _file_name(heat_map: HeatMap) -> str:
    """What an exported file is called, without its extension."""
    source = Path(heat_map.source or "image").name.split(".")[0]
    label = heat_map.by_class()[2][0].split(",")[0]
    return re.sub(r"[^\w-]+", "-", f"{source}-{heat_map.model}-{label}").strip("-")[:80] or "map"
