"""The query's text and what the controls show of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdb.errors import BindError, Error, ParseError, UnknownName, printable
from kdb.language import syntax
from kdb.models import zoo
from kdb.ui import form, pictures, samples
from kdb.ui.desk import Desk, query_of, shown_query_of
from kdb.ui.refusals import refusal
from kdb.ui.wire import UPLOAD_LIMIT, Buffer, Content, bytes_of
from kdb.version import __version__

_KIND = "form"
"""Of the work on the query's text: one request replaces another."""
_UNKNOWN: Content = {"size": None, "axes": None, "dense": False, "picture": None, "labels": None}
"""What the text alone does not tell."""
_FILLS = ("black", "gray", "white", "mean", "blur(8)")


def hello(desk: Desk, content: Content, buffers: Sequence[Buffer]) -> None:
    """A browser opens the page: what there is to begin with."""
    desk.ask("hello", content["id"], lambda: _welcome(desk, content["id"]))


def _welcome(desk: Desk, id: int) -> None:
    desk.begin()
    # Before the welcome, which a browser answers at once by another request of the kind.
    _show(desk, id, desk.text)
    desk.post(
        {
            "kind": "welcome",
            "id": id,
            "version": __version__,
            "text": desk.text,
            "samples": samples.listed(),
            "models": [
                {"name": name, "from": zoo.needs(name) or origin if origin == "built in" else origin, "input": size}
                for name, origin, size in desk.list_models()
            ],
            "scores": [*form.SCORES],
            "fills": [*_FILLS],
            "root": desk.session.root.folder if desk.browsing else None,
            "upload_limit": UPLOAD_LIMIT,
        },
        [],
    )
    desk.list_history()


def edit(desk: Desk, content: Content, buffers: Sequence[Buffer]) -> None:
    """The text was edited."""
    _show(desk, content["id"], str(content["text"]))


def change(desk: Desk, content: Content, buffers: Sequence[Buffer]) -> None:
    """A control was moved: the text is rewritten."""
    text = str(content["text"])
    query = shown_query_of(text)
    if query is None:
        raise BindError("the controls are of one OCCLUDE query, and the text is none")
    control, value, id = str(content["control"]), content.get("value"), content["id"]
    if control == "mask" and value is not None:
        desk.ask(_KIND, id, lambda: _paint(desk, id, text, query, bytes_of(buffers)))
    elif _is_listed(desk, query, control, value):
        _show(desk, id, form.written(text, query, control, value))
    else:
        desk.ask(_KIND, id, lambda: _show(desk, id, _with_model(desk, text, query, value)))


def _is_listed(desk: Desk, query: syntax.Occlude, control: str, value: Any) -> bool:
    """Whether nothing has to be looked up: of models, the name of one that was listed, or of timm's."""
    if control != "model":
        return True
    ref = form.changed(query, control, value).model
    return ref.parameter is not None or "/" in ref.name or ref.name in desk.models


def _with_model(desk: Desk, text: str, query: syntax.Occlude, value: Any) -> str:
    """The text with another model, which may have come since they were listed."""
    desk.list_models()
    if not _is_listed(desk, query, "model", value):
        name = form.changed(query, "model", value).model.name
        raise UnknownName.of_model(name, desk.models, "; timm's are written timm/NAME")
    return form.written(text, query, "model", value)


def vary(desk: Desk, content: Content, buffers: Sequence[Buffer]) -> None:
    """A second query is made of the text by one change; the page's own query stays the text."""
    text, id = str(content["text"]), content["id"]
    query = query_of(text)
    if query is None:
        raise BindError("two OCCLUDE queries are compared, and the text is none")
    control, value = str(content["control"]), content.get("value")
    is_listed = _is_listed(desk, query, control, value)
    varied = form.written(text, query, control, value)
    if is_listed:
        desk.post({"kind": "varied", "id": id, "text": varied, "error": None}, [])

    def check() -> None:
        if not is_listed:
            _with_model(desk, text, query, value)
            desk.post({"kind": "varied", "id": id, "text": varied, "error": None}, [])
        other = query_of(varied)
        assert other is not None, "it is the query, changed"
        desk.register_sample(other)
        try:
            desk.session.subject(varied, desk.parameters)
        except Error as error:
            desk.post({"kind": "varied", "id": id, "text": varied, "error": refusal(error, varied)}, [])

    desk.ask("vary", id, check)


def upload(desk: Desk, content: Content, buffers: Sequence[Buffer]) -> None:
    """An image was dropped: it gets a name, and is the query's."""

    def take() -> None:
        data, given = bytes_of(buffers), Path(str(content["name"])).name
        if len(data) > UPLOAD_LIMIT:
            raise BindError(f"the image has {len(data):,} bytes, more than {UPLOAD_LIMIT:,}")
        text = str(content["text"])
        query = shown_query_of(text)
        if query is None:
            raise BindError("an image is for an OCCLUDE query, and the text is none")
        name = _name_of(given, desk.session.images)
        path = desk.uploads / f"{name}{''.join(Path(given).suffixes[-2:])[:16]}"
        path.write_bytes(data)
        try:
            desk.session.register_image(name, path)
        except Error as error:  # of the file that was dropped, and not of where it is kept
            error.args = (str(error).replace(str(path), given), *error.args[1:])
            raise
        _show(desk, content["id"], form.written(text, query, "source", name))

    desk.ask(_KIND, content["id"], take)


def _paint(desk: Desk, id: int, text: str, query: syntax.Occlude, mask: bytes) -> None:
    size = desk.subject(query).prepared.pixels.shape[:-1]
    cells = np.frombuffer(mask, np.uint8)
    if cells.size != int(np.prod(size)):
        raise BindError(f"the mask has {cells.size} cells, and the model's input {int(np.prod(size))}")
    desk.parameters = {**desk.parameters, form.MASK: cells.reshape(size).astype(bool)}
    _show(desk, id, form.written(text, query, "mask", form.MASK))


def _name_of(file: str, taken: Sequence[str]) -> str:
    """A bare name for an image that was dropped: like its file's, and none that is taken."""
    stem = re.sub(r"\W+", "_", file.split(".")[0]).strip("_")
    stem = stem if stem.isidentifier() else f"image_{stem}".rstrip("_")
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}_{number}", number + 1
    return name


# ---- the form


def _show(desk: Desk, id: int, text: str) -> None:
    """Post what the text alone says, and have the rest found out."""
    desk.text = text
    try:
        query = shown_query_of(text)
    except ParseError as error:
        _post(desk, id, text, None, error)
        return
    if query is None:
        _post(desk, id, text, None, None)
        return
    fields = {**form.of_query(query), **_UNKNOWN}
    _post(desk, id, text, fields, None)
    desk.ask(_KIND, id, lambda: _complete(desk, id, text, query, fields))


def _complete(desk: Desk, id: int, text: str, query: syntax.Occlude, fields: Content) -> None:
    """Post what the query's model and image say, and last what tracing the model does."""
    notes: list[str] = []
    try:
        desk.register_sample(query)
        subject = desk.subject(query)
        prepared, model = subject.prepared, subject.model
        key = pictures.key_of(prepared.image, prepared.source_box, prepared.axes)
        if desk.once(key):
            desk.send(pictures.of_subject(subject, key))
        fields |= {
            **form.of_query(subject.query),
            "size": [*prepared.pixels.shape[:-1]],
            "axes": prepared.axes,
            "picture": key,
            "labels": _show_labels(desk, model.labels),
        }
        notes = [*dict.fromkeys((*model.notes, *prepared.notes))]
        _post(desk, id, text, fields, None, notes)
        fields["dense"] = desk.session.region(str(query), desk.parameters) is not None
    except Error as error:
        _post(desk, id, text, fields, error, notes)
        return
    if fields["dense"]:
        _post(desk, id, text, fields, None, notes)


def _post(
    desk: Desk, id: int, text: str, fields: Content | None, error: Error | None, notes: Sequence[str] = ()
) -> None:
    told = None if error is None else refusal(error, text, desk.session)
    desk.post({"kind": "form", "id": id, "text": text, "form": fields, "error": told, "notes": [*notes]}, [])


def _show_labels(desk: Desk, labels: Sequence[str] | None) -> str | None:
    """The key of a model's labels, which are posted once."""
    if labels is None:
        return None
    key = f"labels {hash(tuple(labels)):x}"
    if desk.once(key):
        desk.post({"kind": "labels", "key": key, "labels": [*map(printable, labels)]}, [])
    return key
