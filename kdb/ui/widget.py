"""``kdb.widget``: the page in a notebook."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from kdb.errors import ExecutionError
from kdb.language import syntax

if TYPE_CHECKING:
    from kdb.session.session import Session
    from kdb.ui.jupyter import Widget


def widget(image: object = None, model: object = None, *, db: Session | None = None, **model_options: object) -> Widget:
    """The page on an image and a model, in the output of a notebook's cell.

    ``image`` is a path, a ``PIL.Image`` or an array, and ``model`` a name or an ``nn.Module``, as in
    :func:`kdb.occlude`, whose keywords for models follow; what is left out is a photograph of kdb's dependencies, or
    efficientnet_lite0.  In the query both stand by name, ``$image`` and ``$model`` where they are no texts.  ``db`` is
    the session to ask, left out a new one.

    The widget's ``query`` is the text that the page shows, which can be set, and ``heat_map`` the map; ``close()`` ends
    it.

    Raises ExecutionError where anywidget is not installed or the image cannot be read, BindError for an unknown keyword
    or a model that does not exist, ModelError where it cannot be loaded or cannot run on the image.
    """
    if find_spec("anywidget") is None:
        raise ExecutionError("kdb.widget needs anywidget: pip install 'kdb-occlusion[ui]'")
    from kdb.session.session import connect
    from kdb.ui.jupyter import Widget

    text, parameters = first_query(image, model, model_options)
    session = connect() if db is None else db
    if image is not None:  # what is wrong is told in the cell, and not on the page alone
        session.subject(text, parameters)
        session.region(text, parameters)  # which traces the model: the page's first query needs that in any case
    return Widget(text, parameters, session, is_own=db is None)


def first_query(image: object, model: object, options: Mapping[str, object]) -> tuple[str, dict[str, Any]]:
    """The query that a page begins with, and the values of its parameters; the text is empty for the page's own."""
    from kdb.language.parser import parse_one
    from kdb.session.shortcut import options_of
    from kdb.ui.page import FIRST

    if image is None and model is None and not options:
        return "", {}
    first = parse_one(FIRST)
    assert isinstance(first, syntax.Occlude)
    parameters: dict[str, Any] = {}
    source: syntax.Source = first.source
    if isinstance(image, str | os.PathLike):
        source = syntax.Text(os.fsdecode(image))
    elif image is not None:
        source, parameters["image"] = syntax.Parameter("image"), image
    named = first.model.name if model is None else model
    found = options_of(widget, image, named, options)
    parameters |= found
    pairs = tuple((key, syntax.Parameter(key)) for key in found)
    if isinstance(named, str):
        return str(syntax.Occlude(source, syntax.ModelRef(named, pairs))), parameters
    parameters["model"] = named
    return str(syntax.Occlude(source, syntax.ModelRef("", pairs, syntax.Parameter("model")))), parameters
