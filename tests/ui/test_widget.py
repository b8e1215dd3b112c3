"""``kdb.widget`` without a notebook: its query, its page, and its end."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import kdb
from kdb.errors import BindError, ExecutionError
from kdb.language.parser import parse_one
from kdb.ui import widget
from kdb.ui.widget import first_query

IMAGE = np.zeros((32, 40, 3), np.uint8)
NET = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()


class TestFirstQuery:
    def test_nothing_is_left_to_the_page(self) -> None:
        assert first_query(None, None, {}) == ("", {})

    @pytest.mark.parametrize("path", ["cat.png", Path("a folder") / "it's.png"])
    def test_a_path_stands_in_the_query(self, path: str | Path) -> None:
        text, parameters = first_query(path, "resnet18", {})
        assert parse_one(text).source.value == str(path)  # type: ignore[union-attr]
        assert "USING resnet18" in text and parameters == {}

    def test_what_is_no_text_is_a_parameter(self) -> None:
        text, parameters = first_query(IMAGE, NET, {"labels": ["a", "b", "c"]})
        assert "OCCLUDE $image" in text and "USING $model (" in text and "labels = $labels" in text
        assert parameters["image"] is IMAGE and parameters["model"] is NET
        assert parameters["labels"] == ["a", "b", "c"] and tuple(parameters["input_size"]) == (32, 40)
        with kdb.connect() as db:
            db.execute(text.replace("STRIDE 4", "STRIDE 16"), parameters)

    def test_a_model_has_a_sample_to_begin_with_and_an_image_a_model(self) -> None:
        text, parameters = first_query(None, NET, {"input_size": 32})
        assert "OCCLUDE chelsea" in text and "input_size = $input_size" in text and parameters["input_size"] == 32
        assert "USING efficientnet_lite0" in first_query("cat.png", None, {})[0]

    def test_names_are_written_as_queries_write_them(self) -> None:
        text, _ = first_query("cat.png", "nets/my model.pt", {"weights": "random"})
        assert parse_one(text).model.name == "nets/my model.pt"  # type: ignore[union-attr]

    def test_an_unknown_keyword_is_refused(self) -> None:
        with pytest.raises(BindError, match=r"widget\(\) has no keyword 'inputsize'; did you mean 'input_size'"):
            first_query("cat.png", NET, {"inputsize": 3})


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widget, "find_spec", lambda name: None)
    with pytest.raises(ExecutionError, match=r"kdb\.widget needs anywidget: pip install 'kdb-occlusion\[ui\]'"):
        kdb.widget()


class Page:
    """What the widget needs of a page."""

    def __init__(self, session: kdb.Session, post: Any, *, text: str, parameters: dict[str, Any]) -> None:
        self.session, self.post, self.text, self.parameters = session, post, text, parameters
        self.heat_map = None
        self.requests: list[tuple[object, list[bytes]]] = []
        self.closed = 0

    def write(self, text: str) -> None:
        self.text = text

    def receive(self, content: dict[str, Any], buffers: Sequence[memoryview | bytes]) -> None:
        self.requests.append((content, [bytes(each) for each in buffers]))

    def close(self) -> None:
        self.closed += 1


@pytest.mark.ui
class TestWidget:
    @pytest.fixture(autouse=True)
    def page(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("anywidget")
        from kdb.ui import jupyter

        monkeypatch.setattr(jupyter, "Page", Page)

    def test_messages_go_to_the_page_and_its_events_to_the_browser(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shown = kdb.widget()
        sent = []
        monkeypatch.setattr(type(shown), "send", lambda self, content, buffers=None: sent.append((content, buffers)))
        page: Any = shown._page
        shown._handle_custom_msg({"kind": "hello", "id": 1}, [memoryview(b"123")])
        shown._handle_custom_msg("no request", [])
        assert page.requests == [({"kind": "hello", "id": 1}, [b"123"])]
        thread = threading.Thread(target=page.post, args=({"kind": "map"}, [b"45"]))
        thread.start()
        thread.join()
        assert sent == [({"kind": "map"}, [b"45"])]
        assert shown.query == page.text and shown.heat_map is None
        shown.close()

    def test_closing_ends_the_page_and_its_own_session_and_leaves_what_was_found(self) -> None:
        shown = kdb.widget()
        page: Any = shown._page
        page.text, page.heat_map = "OCCLUDE cat USING net", "a map"
        for _ in range(2):
            shown.close()
        shown._handle_custom_msg({"kind": "hello", "id": 1}, [])
        assert page.closed == 1 and page.requests == []
        assert (shown.query, shown.heat_map) == ("OCCLUDE cat USING net", "a map")

    def test_a_session_that_is_given_is_not_closed(self, tmp_path: Path) -> None:
        with kdb.connect(tmp_path / "study.kdb") as db:
            shown = kdb.widget(db=db)
            page: Any = shown._page
            assert page.session is db
            shown.close()
            assert db.execute("SHOW SETTINGS")

    def test_one_whose_cell_was_run_again_is_closed_by_the_next(self) -> None:
        first, second = kdb.widget(), kdb.widget()
        pages: list[Any] = [first._page, second._page]
        first.comm._closed = True  # as marimo does
        third = kdb.widget()
        assert [each.closed for each in pages] == [1, 0]
        for each in (second, third):
            each.close()

    def test_what_is_wrong_is_told_in_the_cell(self) -> None:
        with pytest.raises(kdb.ExecutionError, match=r"nope\.png"):
            kdb.widget("nope.png", "efficientnet_lite0")
        with pytest.raises(kdb.BindError, match="did you mean 'resnet18'"):
            kdb.widget(IMAGE, "resnet19")
        with pytest.raises(kdb.Error):
            kdb.widget(NET, "efficientnet_lite0")
        with pytest.raises(kdb.Error):
            kdb.widget(5)
        with pytest.raises(kdb.BindError, match="has 3 classes, but 1 labels"):
            kdb.widget(IMAGE, NET, labels=["a"])
        with pytest.raises(kdb.ModelError, match="fails on an input"):
            kdb.widget(IMAGE, nn.Sequential(nn.Flatten(), nn.Linear(10, 2)))

    def test_the_query_can_be_set_and_a_mistake_in_it_is_told(self) -> None:
        shown = kdb.widget(IMAGE, NET)
        text = shown.query.replace("STRIDE 4", "STRIDE 8")
        shown.query = text
        assert shown.query == text and repr(shown) == f"<kdb.widget of {text!r}: no map yet>"
        with pytest.raises(kdb.ParseError, match="OCLUDE"):
            shown.query = "OCLUDE $image"
        assert shown.query == text
        shown.close()
        with pytest.raises(kdb.ExecutionError, match="was closed"):
            shown.query = text
        assert repr(shown).endswith("no map yet, closed>")

    def test_what_is_shown_is_the_page_that_was_built(self) -> None:
        shown = kdb.widget()
        assert "render" in shown._esm and shown._css
        shown.close()
