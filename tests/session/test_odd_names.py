"""Files whose names are bytes of no text are files like others, and every text of kdb about them can be printed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import kdb
from kdb.results.maps import HeatMap
from kdb.results.several import HeatMaps
from kdb.session.session import Session

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")

NAME = os.fsdecode(b"n\xff.png")
QUERY = "WITH patch(8, 8) STRIDE 8 USING net"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    with open(folder / NAME, "wb") as file:
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(file, "png")
    return folder


@pytest.fixture(scope="module")
def db() -> Session:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    session = kdb.connect()
    session.register_model("net", net, input_size=(32, 32))
    return session


def test_results(db: Session, folder: Path) -> None:
    hm = db.execute(f"OCCLUDE '{folder}/{NAME}' {QUERY} INTO '{folder}/{{stem}}.npz'")
    several = db.execute(f"OCCLUDE '{folder}/n*.png' {QUERY}")
    assert isinstance(hm, HeatMap) and isinstance(several, HeatMaps) and several[0].source == hm.source
    saved = folder / NAME.replace("png", "npz")
    assert HeatMap.load(saved).source == f"{folder}/{NAME}"
    for extension in ("png", "jpg", "pdf", "svg"):
        assert hm.save(folder / f"m{NAME[1]}.{extension}").stat().st_size
    verified = db.execute(f"VERIFY '{saved}'")
    query = f"OCCLUDE '{folder}/{NAME}' {QUERY}"
    texts = [db.explain(query, format=form) for form in ("text", "json", "dot")]
    for shown in (hm, several, verified):
        texts += [repr(shown), shown._repr_html_()]
    for text in texts:
        text.encode()
    assert r"n\udcff.png" in texts[0] and r"n\udcff.png" in str(verified)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (f"OCCLUDE '/no/{NAME}' {QUERY}", r"cannot read '/no/n\udcff.png': no such file"),
        (f"OCCLUDE '/no/*{NAME}' {QUERY}", r"no file matches '/no/*n\udcff.png'"),
        (f"OCCLUDE cat {QUERY} INTO '/{NAME[1]}/a.png'", r"there is no folder '/\udcff'"),
        (f"CREATE MODEL m FROM '/no/{NAME[1]}.pt'", r"there is no file '/no/\udcff.pt'"),
        (f"OCCLUDE 'a.png' {NAME[1]}", r"did not expect"),
    ],
)
def test_errors(db: Session, statement: str, said: str) -> None:
    with pytest.raises(kdb.Error) as caught:
        db.execute(statement)
    assert said in str(caught.value)
    str(caught.value).encode()
