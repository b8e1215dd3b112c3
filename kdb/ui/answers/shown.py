"""Maps of the history, shown again or by another class."""

from __future__ import annotations

from collections.abc import Sequence

from kdb.errors import BindError
from kdb.ui import maps
from kdb.ui.desk import Desk
from kdb.ui.wire import Buffer, Content


def recall(desk: Desk, content: Content, buffers: Sequence[Buffer]) -> None:
    """Post a map of the history in slot a."""
    id = content["id"]
    desk.ask("recall", id, lambda: desk.show(desk.history[int(content["map"])], "a", id))


def layer(desk: Desk, content: Content, buffers: Sequence[Buffer]) -> None:
    """Post the scores of another class of a map."""

    def show() -> None:
        kept, which = desk.history[int(content["map"])], int(content["class"])
        if not 0 <= which < len(kept.heat_map.by_class()[1]):
            raise BindError(f"the map has no class number {which}")
        desk.send(maps.of_layer(kept.heat_map, which, kept.region), id=content["id"], map=kept.number)

    desk.ask("layer", content["id"], show)
