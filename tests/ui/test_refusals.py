"""Where in a query's text an error is, and what is to stand there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from torch import nn

import kdb
from kdb.ui.refusals import refusal

NET = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kdb.Session]:
    root = tmp_path_factory.mktemp("root")
    (root / "it's").mkdir()
    for name in ("cat.png", "it's/dog.png"):
        (root / name).write_bytes(b"not read")
    with kdb.connect(root=root) as session:
        session.register_model("net", NET, input_size=(24, 24), labels=["tiger cat", "dog", "it's"])
        session.register_image("photo", np.zeros((24, 24, 3), np.uint8))
        yield session


@pytest.mark.parametrize(
    ("text", "wrong", "suggestion"),
    [
        ("OCCLUDE photo USING nett", "nett", "net"),
        ("OCCLUDE photo USING net FOR CLASS 'tigercat'", "'tigercat'", "'tiger cat'"),
        ("OCCLUDE photo USING net FOR CLASS 'its'", "'its'", "'it''s'"),
        ("OCCLUDE photo USING net FOR CLASS 'zebra'", "'zebra'", None),
        ("OCCLUDE photo USING net FOR CLASS 17", "17", None),
        ("OCCLUDE photos USING net", "photos", "photo"),
        ("OCCLUDE chelse USING net", "chelse", "chelsea"),
        ("OCCLUDE 'cat.pgn' USING net", "'cat.pgn'", "'cat.png'"),
        ("OCCLUDE 'it''s/dgo.png' USING net", "'it''s/dgo.png'", "'it''s/dog.png'"),
        ("OCCLUDE 'nowhere/dog.png' USING net", "'nowhere/dog.png'", None),
        ("OCCLUDE photo WITH patch(8, 8)\nFILL purple USING net", "purple", "rgb(128, 0, 128)"),
        ("OCCLUDE photo USING net SCORE drp", "drp", "drop"),
        ("SET thread = 2", "thread", "threads"),
    ],
)
def test_what_is_wrong_is_found_in_the_text(db: kdb.Session, text: str, wrong: str, suggestion: str | None) -> None:
    with pytest.raises(kdb.Error) as caught:
        db.execute(text)
    told = refusal(caught.value, text, db)
    assert told["line"] is not None, told["message"]
    at = text.split("\n")[told["line"] - 1][told["column"] - 1 :]
    assert at.startswith(wrong) and told["suggestion"] == suggestion


@pytest.mark.parametrize("message", ["no image 'cat'", "it's wrong", "", "class '' is no class", "'photo' is 'net'"])
def test_a_message_about_nothing_in_the_text_has_no_place(message: str) -> None:
    told = refusal(kdb.BindError(message), "OCCLUDE photo USING net")
    assert (told["line"], told["suggestion"]) == (None, None) and told["message"] == message
