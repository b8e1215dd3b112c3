"""What kdb wrote itself: heat maps, studies and cached traces, damaged, and opened again."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import kdb
from benchmarks.robustness.hostile import damage
from benchmarks.robustness.hostile.networks import PIXELS, graph
from benchmarks.robustness.hostile.queries import network
from kdb.frontends import trace_cache
from kdb.models import catalog


def map_of(db: kdb.Session, clauses: str) -> kdb.HeatMap:
    """A map of the image."""
    found = db.execute(f"OCCLUDE $image WITH patch(4, 4) {clauses}", {"image": PIXELS, "at": [[0, 1]]})
    assert isinstance(found, kdb.HeatMap)
    return found


def npz(folder: Path) -> Callable[[random.Random], str]:
    """Maps of all kinds; damaged anywhere or within an array; loaded, drawn, saved again and verified."""
    module = network()
    db = kdb.connect()
    db.register_model("m", module, input_size=16, labels=["a", "b", "c"])
    clauses = ("STRIDE 4", "STRIDE 2 FOR ALL CLASSES SCORE drop", "AT $at", "STRIDE 1 APPROXIMATE", "FOR TOP 2")
    samples = []
    for clause in clauses:
        map_of(db, f"{clause} USING m").save(folder / "map.npz")
        samples.append((folder / "map.npz").read_bytes())
    path = folder / "damaged.npz"
    map_of(db, "USING m").save(folder / "again.png")  # imports what draws, and finds the fonts

    def attempt(draw: random.Random) -> str:
        data = draw.choice(samples)
        path.write_bytes(damage.damaged(data, draw) if draw.random() < 0.3 else damage.archive(data, draw))
        found = kdb.HeatMap.load(path)
        repr(found)
        found.save(folder / "again.npz")
        if draw.random() < 0.02:
            found.save(folder / "again.png")
        if draw.random() < 0.1:
            db.execute("VERIFY $path USING m", {"path": str(path)})
        return "answered"

    return attempt


def study(folder: Path) -> Callable[[random.Random], str]:
    """A study with a model, settings, a tuning and a calibration: bytes of its file or values of its rows replaced, and
    tables changed; opened, shown and used."""
    sample, path = folder / "sample.kdb", folder / "damaged.kdb"
    torch.save(network().state_dict(), folder / "weights.pt")
    (folder / "net.onnx").write_bytes(graph().SerializeToString())
    Image.fromarray(PIXELS).save(folder / "photo.png")
    db = kdb.connect(str(sample))
    db.execute(f"CREATE MODEL n FROM '{folder / 'net.onnx'}'; SET threads = 1; SET seed = 4; SET rule.cut_over = off")
    db.close()
    with sqlite3.connect(sample) as database:
        tuning = (
            "i",
            "4x4",
            "2x2",
            "black",
            "probability",
            json.dumps({"ssim": [[0.9, 0.8]], "speedup": [1.5, 2.0], "taus": [0.9, 0.8]}),
        )
        database.execute("INSERT INTO tunings VALUES (?, ?, ?, ?, ?, ?)", tuning)
        database.execute("INSERT INTO calibrations VALUES ('here', ?)", (json.dumps({"rates": [1.0]}),))
    database.close()
    data = sample.read_bytes()

    def attempt(draw: random.Random) -> str:
        for suffix in ("", "-journal", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        if draw.random() < 0.4:
            path.write_bytes(damage.damaged(data, draw))
        else:
            shutil.copyfile(sample, path)
            _change(path, draw)
        db = kdb.connect(str(path))
        try:
            for query in ("SHOW SETTINGS", "SHOW MODELS", "SET seed = 2", "OCCLUDE $image WITH patch(4, 4) USING n"):
                db.execute(query, {"image": PIXELS} if "$" in query else {})
        finally:
            db.close()
        return "answered"

    return attempt


SCHEMES = (
    "DROP TABLE settings",
    "DROP TABLE models; CREATE VIEW models AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) "
    "SELECT n AS name, n AS path, n AS sha256, n AS options, n AS origin, n AS input FROM r",
    "CREATE TRIGGER t AFTER INSERT ON settings BEGIN DELETE FROM models; END",
    "ALTER TABLE models ADD COLUMN more TEXT",
    "ALTER TABLE settings RENAME COLUMN value TO worth",
    "PRAGMA user_version = 99",
    "PRAGMA application_id = 3",
    "INSERT INTO settings VALUES ('nothing', '1')",
)


def _change(path: Path, draw: random.Random) -> None:
    database = sqlite3.connect(path)
    with database:
        if draw.random() < 0.3:
            database.executescript(draw.choice(SCHEMES))
        else:
            table = draw.choice(("settings", "models", "tunings", "calibrations"))
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            column = draw.choice(columns)
            (old,) = database.execute(f"SELECT {column} FROM {table} ORDER BY random() LIMIT 1").fetchone()
            new = _other(old, draw)
            database.execute(f"UPDATE OR REPLACE {table} SET {column} = ?", (new,))
    database.close()


def _other(old: object, draw: random.Random) -> str | int | float | bytes:
    if isinstance(old, str) and draw.random() < 0.5:
        try:
            return json.dumps(damage.tree(json.loads(old), draw))
        except ValueError:
            pass
    new = damage.value(old, draw)
    if isinstance(new, str):
        return new.encode("utf-8", "replace").decode()
    return new if isinstance(new, float) or (isinstance(new, int) and abs(new) < 2**63) else b"\xff\0"


def trace(folder: Path) -> Callable[[random.Random], str]:
    """A cached trace: bytes, or functions, arguments, names and shapes replaced, under a digest that is right.

    A new session reads it.  A trace of something else is told by the check of the map, which then is made right.
    """
    # Traces of modules that are registered are not cached, since nothing says where their code is from.
    vars(catalog)["trace"] = lambda module, shape, _: trace_cache.trace(module, shape, "hostile")
    module = network()

    def ask() -> np.ndarray:
        db = kdb.connect()
        db.register_model("n", module, input_size=16)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", kdb.VerificationWarning)
            return map_of(db, "STRIDE 4 USING n").values

    expected = ask()
    (path,) = (folder / "cache" / "traces").glob("*.json")
    data = path.read_bytes()
    text = data.partition(b"\n")[2]

    def attempt(draw: random.Random) -> str:
        if draw.random() < 0.2:
            path.write_bytes(damage.damaged(data, draw))
        else:
            changed = json.dumps(_other_functions(damage.tree(json.loads(text), draw), draw)).encode()
            path.write_bytes(trace_cache._digest(path.stem, changed) + b"\n" + changed)
        off = float(np.abs(ask() - expected).max())
        if off > 1e-5:
            raise ArithmeticError(f"another map, off by {off:.3g}")
        return "answered"

    return attempt


FUNCTIONS = (
    "load_library", "aten.from_file.default", "aten.relu_.default", "aten.empty.memory_format", "aten.rand.default",
    "aten.save.default", "prim.device.default", "aten.resize_.default", "aten.sigmoid.default", "aten.neg.default",
    "aten._print.default", "os.system", "inductor._alloc_from_pool.default", "aten.set_.source_Tensor",
)  # fmt: skip
"""Some that may be in a trace, and some that may not."""


def _other_functions(graph: object, draw: random.Random) -> object:
    """One function of the graph exchanged for another, as often as not."""
    calls = graph.get("calls") if isinstance(graph, dict) else None
    if calls and draw.random() < 0.5:
        call = draw.choice(calls)
        if isinstance(call, list) and len(call) > 1:  # its name, its function, its arguments ..
            call[1] = draw.choice(FUNCTIONS)
    return graph
