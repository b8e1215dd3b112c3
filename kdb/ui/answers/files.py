"""Files: what there is under the root, the galleries of runs, and maps as files."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdb.errors import BindError
from kdb.results.maps import HeatMap
from kdb.ui import folders, maps
from kdb.ui import gallery as cards
from kdb.ui.desk import Desk
from kdb.ui.history import Kept
from kdb.ui.wire import Buffer, Content, Packing


def browse(desk: Desk, content: Content, buffers: Sequence[Buffer]) -> None:
    """Post what a folder has."""

    def show() -> None:
        if not desk.browsing:
            raise BindError("this page lists no folders")
        found = folders.listed(desk.session.root, str(content["folder"]))
        desk.post({"kind": "folder", "id": content["id"], **found}, [])

    desk.ask("browse", content["id"], show)


def gallery(desk: Desk, content: Content, buffers: Sequence[Buffer]) -> None:
    """Post some cards of a run."""

    def show() -> None:
        folder, label = str(content["folder"]), content.get("label")
        run, offset = desk.session.open_run(folder), max(int(content.get("offset") or 0), 0)
        found = cards.of_run(run, folder, offset, None if label is None else str(label))
        desk.send(found, id=content["id"])

    desk.ask("gallery", content["id"], show)


def card(desk: Desk, content: Content, buffers: Sequence[Buffer]) -> None:
    """Post the map of one image of a run, in slot a."""

    def show() -> None:
        found = desk.session.open_run(str(content["folder"])).map(str(content["image"]))
        kept = Kept(desk.history.number(), found, {}, thumbnail=maps.thumbnail(found))
        desk.show(kept, "a", content["id"])
        desk.list_history()

    desk.ask("card", content["id"], show)


def export(desk: Desk, content: Content, buffers: Sequence[Buffer]) -> None:
    """Post a map as a file."""

    def save() -> None:
        found, extension = desk.history[int(content["map"])].heat_map, str(content["format"])
        if extension not in maps.formats(found):
            raise BindError(f"this map is not saved as {extension!r}; there are {', '.join(maps.formats(found))}")
        name = _name_of(found)
        with tempfile.TemporaryDirectory(prefix="kdb-") as folder:
            data = found.save(Path(folder) / f"{name}.{extension}").read_bytes()
        packing = Packing()
        file: Content = {"name": f"{name}.{extension}", "type": "application/octet-stream"}
        file["data"] = packing(np.frombuffer(data, np.uint8))
        desk.post({"kind": "file", "id": content["id"], **file}, packing.buffers)

    desk.ask(f"export {content['id']}", content["id"], save)


def _name_of(heat_map: HeatMap) -> str:
    """What an exported file is called, without its extension."""
    source = Path(heat_map.source or "image").name.split(".")[0]
    label = heat_map.by_class()[2][0].split(",")[0]
    return re.sub(r"[^\w-]+", "-", f"{source}-{heat_map.model}-{label}").strip("-")[:80] or "map"
