"""A session under a root: whatever a statement names, no file elsewhere is read or written."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import kdb
from kdb.errors import BindError
from kdb.models.torchvision_compat import import_torchvision
from kdb.results.maps import HeatMap
from kdb.results.several import HeatMaps
from kdb.session.session import Session

QUERY = "WITH patch(8, 8) STRIDE 8 USING net"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "net.pt"
    torch.save(import_torchvision().models.squeezenet1_1(num_classes=3).state_dict(), path)
    return path


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> tuple[Path, Path]:
    """A root and a folder beside it, both with images, labels and maps; links in the root lead to the other."""
    base = tmp_path_factory.mktemp("base")
    root, outside = base / "root", base / "outside"
    rng = np.random.default_rng(0)
    for folder in (root / "images", outside):
        folder.mkdir(parents=True)
        for name in ("a.png", "b.png"):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / name)
        (folder / "labels.txt").write_text("cat\ndog\nfish\n")
        shutil.copy(weights, folder)
    (root / "leak.png").symlink_to(outside / "a.png")
    (root / "leaks").symlink_to(outside)
    (root / "within.png").symlink_to(root / "images" / "a.png")
    (root / "dangling.npz").symlink_to(outside / "new.npz")
    free = kdb.connect()
    free.register_model("net", network(), input_size=(32, 32))
    foreign = free.execute(f"OCCLUDE '{outside / 'a.png'}' {QUERY}")
    assert isinstance(foreign, HeatMap)
    for path in (outside / "saved.npz", root / "images" / "foreign.npz"):
        foreign.save(path)
    return root, outside


@pytest.fixture(scope="module")
def session(folders: tuple[Path, Path]) -> Iterator[Session]:
    with kdb.connect("study.kdb", root=folders[0]) as session:
        session.register_model("net", network(), input_size=(32, 32))
        yield session


@pytest.fixture
def db(session: Session, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(folders[1])  # relative paths are relative to the root all the same
    return session


def test_what_lies_under_the_root_works_by_names_relative_to_it(db: Session, folders: tuple[Path, Path]) -> None:
    root, _ = folders
    hm = db.execute(f"OCCLUDE 'images/a.png' {QUERY} INTO 'a.npz'")
    assert isinstance(hm, HeatMap) and hm.source == "images/a.png" and (root / "a.npz").is_file()
    assert (root / "study.kdb").is_file()
    for same in ("within.png", str(root / "images" / "a.png"), "images/../images/a.png"):
        again = db.execute(f"OCCLUDE '{same}' {QUERY}")
        assert isinstance(again, HeatMap) and again.source == same
        np.testing.assert_array_equal(hm.values, again.values)
    for pattern in ("images/*.png", f"{root}/images/?.png", "**/images/*.png"):
        several = db.execute(f"OCCLUDE '{pattern}' {QUERY} INTO '{{stem}}.npz'")
        assert isinstance(several, HeatMaps) and several.sources == ("images/a.png", "images/b.png")
        assert (root / "b.npz").is_file()
    verified = db.execute("VERIFY 'a.npz'")
    assert ("image", "images/a.png", "images/a.png", True) in list(verified)
    options = "arch = 'squeezenet1_1', input = 32, labels = 'images/labels.txt'"
    db.execute(f"CREATE MODEL made FROM 'images/net.pt' ({options})")
    assert isinstance(db.execute("OCCLUDE 'images/a.png' STRIDE 16 USING made FOR CLASS 'dog'"), HeatMap)
    with kdb.connect("study.kdb", root=root) as later:
        assert isinstance(later.execute("OCCLUDE 'images/a.png' STRIDE 16 USING made FOR CLASS 'dog'"), HeatMap)


@pytest.mark.parametrize(
    "statement",
    [
        "OCCLUDE '../outside/a.png' {QUERY}",
        "OCCLUDE '{outside}/a.png' {QUERY}",
        "OCCLUDE 'leak.png' {QUERY}",
        "OCCLUDE 'leaks/a.png' {QUERY}",
        "OCCLUDE 'images/../../outside/a.png' {QUERY}",
        "OCCLUDE '*.png' {QUERY}",
        "OCCLUDE 'leaks/*.png' {QUERY}",
        "OCCLUDE 'l*/*.png' {QUERY}",
        "OCCLUDE '*/../../outside/*.png' {QUERY}",
        "OCCLUDE '../outside/*.png' {QUERY}",
        "OCCLUDE '{outside}/*.png' {QUERY}",
        "OCCLUDE $path {QUERY}",
        "OCCLUDE $paths {QUERY}",
        "OCCLUDE $fspath {QUERY}",
        "EXPLAIN ANALYZE OCCLUDE 'leak.png' {QUERY}",
        "VERIFY OCCLUDE 'leak.png' {QUERY}",
        "TUNE net ON 'leaks/*.png'",
        "OCCLUDE 'images/a.png' {QUERY} INTO '../outside/new.npz'",
        "OCCLUDE 'images/a.png' {QUERY} INTO '{outside}/new.png'",
        "OCCLUDE 'images/a.png' {QUERY} INTO 'leaks/new.png'",
        "OCCLUDE 'images/a.png' {QUERY} INTO 'dangling.npz'",
        "OCCLUDE 'images/*.png' {QUERY} INTO 'leaks/{{stem}}.npz'",
        "VERIFY 'leaks/saved.npz'",
        "VERIFY '{outside}/saved.npz'",
        "VERIFY 'images/foreign.npz'",
        "CREATE MODEL m FROM '../outside/net.pt' (arch = 'squeezenet1_1', input = 32)",
        "CREATE MODEL m FROM 'leaks/net.pt' (arch = 'squeezenet1_1', input = 32)",
        "CREATE MODEL m FROM 'images/net.pt' (arch = 'squeezenet1_1', input = 32, labels = '{outside}/labels.txt')",
        "CREATE MODEL m FROM 'images/net.pt' (arch = 'squeezenet1_1', input = 32, labels = 'leaks/labels.txt')",
        "OCCLUDE 'images/a.png' USING $net (input = 32, labels = '../outside/labels.txt')",
    ],
)
def test_what_leads_out_of_the_root_is_refused(db: Session, folders: tuple[Path, Path], statement: str) -> None:
    _, outside = folders
    before = {path: path.read_bytes() for path in sorted(outside.iterdir())}
    parameters = {
        "path": "../outside/a.png",
        "paths": ["images/a.png", str(outside / "b.png")],
        "fspath": outside / "a.png",
        "net": network(),
    }

    opened: list[str] = []

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str | os.PathLike):
            opened.append(os.path.realpath(arguments[0]))

    AUDITS.append(audit)
    try:
        with pytest.raises(BindError, match="is outside the root"):
            db.execute(statement.format(QUERY=QUERY, outside=outside), parameters)
    finally:
        AUDITS.remove(audit)
    through_a_link = "'*.png'" in statement or "'l*/" in statement  # a glob lists what links in the root lead to
    assert through_a_link or not [path for path in opened if Path(path).is_relative_to(outside)]
    assert {path: path.read_bytes() for path in sorted(outside.iterdir())} == before


AUDITS: list = []
"""Called for each audit event; a hook of the interpreter cannot be taken off again."""


@pytest.fixture(scope="module", autouse=True)
def audited() -> None:
    sys.addaudithook(lambda event, arguments: [audit(event, arguments) for audit in AUDITS] and None)


def test_a_study_lies_under_the_root_and_so_do_the_models_that_it_names(folders: tuple[Path, Path]) -> None:
    root, outside = folders
    for wrong in ("../study.kdb", outside / "study.kdb", "leaks/study.kdb"):
        with pytest.raises(BindError, match="is outside the root"):
            kdb.connect(wrong, root=root)
    assert not (outside / "study.kdb").exists()
    with kdb.connect(root / "study.kdb") as free:
        free.execute(f"CREATE MODEL m FROM '{outside / 'net.pt'}' (arch = 'squeezenet1_1', input = 32)")
    with (
        kdb.connect("study.kdb", root=root) as confined,
        pytest.raises(BindError, match=r"outside/net.pt' is outside the root"),
    ):
        confined.execute("OCCLUDE 'images/a.png' USING m")


def test_external_weights_of_onnx_files_stay_under_the_root(folders: tuple[Path, Path]) -> None:
    onnx = pytest.importorskip("onnx")
    from tests.onnx_files import classifier, node  # what other tests of ONNX make their files of

    root, outside = folders
    model = classifier(node("Softmax", "d", "y"))
    path = root / "images" / "net.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="net.bin", size_threshold=0)
    shutil.move(root / "images" / "net.bin", outside / "net.bin")
    (root / "images" / "net.bin").symlink_to(outside / "net.bin")
    with kdb.connect(root=root) as db, pytest.raises(kdb.ModelError, match="outside its folder"):
        db.execute("CREATE MODEL m FROM 'images/net.onnx'")


def test_a_root_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BindError, match="is no folder"):
        kdb.connect(root=tmp_path / "none")
