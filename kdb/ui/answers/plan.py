"""The plan of a query, as EXPLAIN has it."""

from __future__ import annotations

from collections.abc import Sequence

from kdb.errors import BindError
from kdb.ui import plans
from kdb.ui.desk import Desk, shown_query_of
from kdb.ui.wire import Buffer, Content


def explain(desk: Desk, content: Content, buffers: Sequence[Buffer]) -> None:
    """Post the plan of the query."""
    id, text = content["id"], str(content["text"])

    def show() -> None:
        query = shown_query_of(text)
        if query is None:
            raise BindError("only OCCLUDE has a plan")
        desk.register_sample(query)
        explained = desk.session.explain(str(query), desk.parameters, format="json")
        desk.post({**plans.of_explained(text, explained), "id": id}, [])

    desk.ask("explain", id, show, text)
