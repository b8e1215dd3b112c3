"""What a page answers to each kind of request: a function each, which is given the desk, the content and the buffers.

They run in the thread that brings the request, and leave what takes time to the page's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kdb.ui.answers import files, plan, position, query, run, shown
from kdb.ui.desk import Desk
from kdb.ui.wire import Buffer, Content

Answer = Callable[[Desk, Content, Sequence[Buffer]], object]

ANSWERS: Mapping[str, Answer] = {
    "hello": query.hello,
    "edit": query.edit,
    "change": query.change,
    "vary": query.vary,
    "upload": query.upload,
    "explain": plan.explain,
    "run": run.run,
    "compare": run.compare,
    "stop": run.stop,
    "recall": shown.recall,
    "layer": shown.layer,
    "probe": position.probe,
    "check": position.check,
    "browse": files.browse,
    "gallery": files.gallery,
    "card": files.card,
    "export": files.export,
}
