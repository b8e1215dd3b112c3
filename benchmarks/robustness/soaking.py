"""What a long-lived process does with kdb: queries of all kinds, each with the results thrown away.

The networks are NETWORKS random ones, taken again and again under new names: PyTorch's exporter never frees all that it
took for a module, with or without kdb, so that each is exported once.  kdb translates them anew each time.

``python -m benchmarks.robustness.soaking MINUTES [--seed N] [--every SECONDS] [--only STEP ..]`` is such a process: it
prints a line of JSON for every minute, or so many seconds.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

import kdb
from benchmarks import photos
from benchmarks.robustness.small_networks import broken_networks, exported_once, network, onnx_file
from kdb.captum import Occlusion
from kdb.results.maps import HeatMap
from kdb.results.several import HeatMaps
from kdb.session.session import Session

NETWORKS = 24
FILLS = ("black", "gray", "white", "mean", "rgb(200, 30.5, 90)", "blur(2)", "$colours")
CLASSES = ("", "FOR PREDICTED", "FOR CLASS 2", "FOR CLASS 'c1'", "FOR CLASSES (0, 2)", "FOR TOP 2", "FOR ALL CLASSES")
SCORES = ("", "SCORE probability", "SCORE drop", "SCORE logit", "SCORE logit_drop")
REGIONS = ("STRIDE 4", "STRIDE (3, 5)", "WITHIN box(2, 3, 20, 18)", "WITHIN mask($mask)", "AT $at")
APPROXIMATE = (
    "STRIDE 1 APPROXIMATE",
    "STRIDE 1 APPROXIMATE TO SSIM 0.8 REFINE TOP 10 PERCENT",
    "STRIDE 1 APPROXIMATE TO SSIM 0.9 GUARANTEED",
    "STRIDE 1 BUDGET 0.05 SECONDS",
    "STRIDE 2 DRILL DOWN",
    "STRIDE 2 DRILL DOWN 0.2 COARSE STRIDE 6",
    "STRIDE 3 THRESHOLD 0.6",
    "STRIDE 4 PRECISION bf16",
)
SETTINGS = ("threads = 1", "kernels = native", "kernels = taps", "batch_size = 7", "preset = krypton", "verify = 12")
MISTAKES = (
    "OCCLUDE $image WITH patch(4, 4) STIDE 4 USING {0}",
    "OCCLUDE 'no such file.png' USING {0}",
    "OCCLUDE 'no/*.png' USING {0}",
    "OCCLUDE '{1}/broken.png' USING {0}",
    "OCCLUDE '{1}' USING {0}",
    "OCCLUDE $missing USING {0}",
    "OCCLUDE $image USING no_such_model",
    "OCCLUDE $image WITH patch(400, 4) USING {0}",
    "OCCLUDE $image WITH patch(4, 4) USING {0} FOR CLASS 99",
    "OCCLUDE $image WITH patch(4, 4) USING {0} FOR CLASS 'nobody'",
    "OCCLUDE $image WITH patch(4, 4) USING {0} EXACT APPROXIMATE",
    "OCCLUDE $image WITH patch(4, 4) USING {0} WITHIN box(0, 0, 2, 2)",
    "OCCLUDE $image WITH patch(4, 4) USING {0} INTO 'map.txt'",
    "OCCLUDE $image WITH patch(4, 4) USING {0} INTO '{1}/no/folder/map.npz'",
    "OCCLUDE $image WITH patch(4, 4) USING {0} THRESHOLD AUTO",
    "OCCLUDE $image WITH patch(4, 4) STRIDE 8 USING $random (input = (28, 30))",
    "OCCLUDE $image WITH patch(4, 4) STRIDE 8 USING $raises (input = (28, 30))",
    "OCCLUDE $image WITH patch(4, 4) STRIDE 8 USING $infinite (input = (28, 30))",
    "VERIFY '{1}/broken.npz'",
    "CREATE MODEL broken FROM '{1}/broken.onnx'",
    "CREATE MODEL broken FROM '{1}/broken.pt' (arch = 'resnet18')",
    "DROP MODEL nobody",
    "SET threads = none",
    "EXPLAIN (FORMAT xml) OCCLUDE $image USING {0}",
)
"""Texts that kdb refuses; {0} is a model, {1} the folder."""


class Raw(Exception):
    """kdb raised what is not its own, or took what it should refuse."""


class Soak:
    """A session that lives for a while, its models, and a folder of files; each method whose name has no underscore is
    a step.
    """

    size = (28, 30)

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._draw = folder, np.random.default_rng(seed)
        self.maps = 0
        self._names: list[str] = []
        for name in ("chelsea", "coffee", "rocket"):
            Image.fromarray(photos.photo(name, (40, 50))).save(folder / f"{name}.png")
        Image.fromarray(photos.photo("moon", (33, 33))).convert("L").save(folder / "moon.jpg")
        for name in ("broken.png", "broken.npz", "broken.onnx", "broken.pt"):
            (folder / name).write_bytes(b"\x89PNG\r\n\x1a\n nothing that can be read")
        self._image = photos.photo("chelsea", self.size)
        self.broken = broken_networks()
        self._parameters = {
            "image": self._image,
            "mask": np.arange(self.size[0] * self.size[1]).reshape(self.size) % 3 == 0,
            "at": np.array([(0, 0), (7, 9), (20, 20), (7, 9)]),
            "colours": np.full((4, 5, 3), 90, np.uint8),
            **self.broken,
        }
        self.networks = [network(self._draw, self.size) for _ in range(NETWORKS)]
        self._db = kdb.connect()

    # ---- what steps are made of

    def _any(self, choices: Sequence[str]) -> str:
        return choices[int(self._draw.integers(len(choices)))]

    def _network(self) -> nn.Module:
        return self.networks[self._draw.integers(NETWORKS)]

    def _text(self, source: str = "$image", clauses: str | None = None) -> str:
        clauses = self._any(REGIONS) if clauses is None else clauses
        fill, model, classes = self._any(FILLS), self._any(self._names), self._any(CLASSES)
        return f"OCCLUDE {source} WITH patch(4, 5) FILL {fill} {clauses} USING {model} {classes} {self._any(SCORES)}"

    def _run(self, text: str, db: Session | None = None) -> Any:
        found = (db or self._db).execute(text, self._parameters)
        self.maps += isinstance(found, HeatMap)
        return found

    def _map(self, *arguments: str) -> HeatMap:
        found = self._run(self._text(*arguments))
        assert isinstance(found, HeatMap)
        return found

    # ---- steps

    def models(self) -> None:
        """A network under a new name; of more than three the oldest is dropped."""
        name = f"net{self._draw.integers(1 << 30)}"
        self._db.register_model(
            name,
            self._network(),
            input_size=self.size,
            mean=0.45,
            std=0.25,
            labels=["c0", "c1", "c2", "c3"],
        )
        self._names.append(name)
        self._run(self._text())
        if len(self._names) > 3:
            self._run(f"DROP MODEL {self._names.pop(0)}; SHOW MODELS")

    def changed_model(self) -> None:
        """A module whose weights change between two queries."""
        module: Any = network(self._draw, self.size)
        parameters = {**self._parameters, "net": module}
        for _ in range(2):
            self._db.execute("OCCLUDE $image STRIDE 6 USING $net (input = (28, 30))", parameters)
            self.maps += 1
            with torch.no_grad():
                module[0].weight.mul_(-1)

    def arrays(self) -> None:
        """Any clauses."""
        self._map()

    def other_images(self) -> None:
        """An image that was not seen before, so that views are computed."""
        self._parameters["image"] = np.roll(self._image, int(self._draw.integers(1 << 20)), axis=(0, 1))
        self._map()

    def files(self) -> None:
        """One file."""
        self._map(f"'{self._folder / 'coffee.png'}'", "STRIDE 4")

    def globs(self) -> None:
        """Several files, of which one is broken."""
        found = self._run(self._text(f"'{self._folder}/*.??g'", "STRIDE 6"))
        assert isinstance(found, HeatMaps)
        self.maps += sum(isinstance(outcome, HeatMap) for outcome in found.outcomes())

    def written(self) -> None:
        """A file of each format; npz is verified."""
        extension = self._any(("npz", "png", "jpg", "pdf", "svg"))
        file = self._folder / "out" / f"map.{extension}"
        file.parent.mkdir(exist_ok=True)
        self._map("$image", f"STRIDE 6 INTO '{file}'")
        if extension == "npz":
            self._run(f"VERIFY '{file}'")
            HeatMap.load(file)

    def shown(self) -> None:
        """What is made of a map in Python."""
        found = self._map("$image", "STRIDE 6")
        found.upsample(), found.to_source(), repr(found)
        found._repr_html_()
        with suppress(kdb.ExecutionError):  # where pandas or xarray is not installed
            found.to_dataframe(), found.to_xarray()

    def explained(self) -> None:
        """Plans."""
        form = self._any(("text", "json", "dot"))
        self._db.explain(self._text(), self._parameters, analyze=bool(self._draw.integers(2)), format=form)

    def described(self) -> None:
        """Statements that make no map."""
        self._run(f"DESCRIBE MODEL {self._any(self._names)}; SHOW SETTINGS; SHOW RULES; SHOW MODELS")

    def approximate(self) -> None:
        """Approximate maps of all kinds."""
        self._map("$image", self._any(APPROXIMATE))

    def streamed(self) -> None:
        """A stream that is broken off."""
        for i, _ in enumerate(self._db.stream(self._text("$image", "STRIDE 1"), self._parameters)):
            self.maps += 1
            if i == 2:
                break

    def verified(self) -> None:
        """VERIFY."""
        self._run(f"VERIFY {self._text('$image', 'STRIDE 4')}")
        self.maps += 1

    def tuned(self) -> None:
        """TUNE on two images."""
        self._run(f"TUNE {self._any(self._names)} ON '{self._folder}/c*.png' WITH patch(4, 4) STRIDE 4 TO SSIM 0.8")

    def settings(self) -> None:
        """A setting that holds for one query."""
        setting = self._any(SETTINGS)
        self._run(f"SET {setting}")
        self._map()
        self._run(f"RESET {setting.partition(' ')[0]}")

    def mistakes(self) -> None:
        """What is refused."""
        text = self._any(MISTAKES).format(self._any(self._names), self._folder)
        try:
            self._run(text)
        except kdb.Error:
            return
        raise Raw(f"{text} is not refused")

    def shortcut(self) -> None:
        """kdb.occlude, of a module and of several images."""
        kdb.occlude(self._image, self._network(), patch=4, stride=5, target=[0, 2], score="drop")
        maps = kdb.occlude([self._image] * 2, self._network(), 4, 8, input_size=self.size)
        assert isinstance(maps, HeatMaps)
        self.maps += 1 + len(list(maps))

    def captum(self) -> None:
        """The adapter, by deltas and in full."""
        x = torch.from_numpy(self._image.copy()).permute(2, 0, 1)[None].float() / 255
        module = self._network()
        for model in (module, lambda x: module(x)):
            Occlusion(model).attribute(x, (3, 5, 5), (3, 5, 5), target=1)
            self.maps += 1

    def sessions(self) -> None:
        """Sessions that are opened and closed, some with a study; of two that share one, one is not closed."""
        study = self._folder / "study.kdb"
        with kdb.connect(study) as db:
            db.register_model("net", self._network(), input_size=self.size)
            db.execute("SET threads = 2; RESET threads")
            self._run("OCCLUDE $image STRIDE 6 USING net", db)
        kdb.connect(study).execute("SHOW SETTINGS")
        if self._draw.integers(20) == 0:
            study.unlink()

    def new_session(self) -> None:
        """The session itself is left, with all its models, for another."""
        self._db, self._names = kdb.connect(), []
        self.models()

    def onnx(self) -> None:
        """A model from a file."""
        file = self._folder / "net.onnx"
        if not file.exists() and not onnx_file(file, self.size):
            return
        self._run(f"CREATE OR REPLACE MODEL filed FROM '{file}'; OCCLUDE $image STRIDE 8 USING filed")
        self._run("DROP MODEL filed")

    def cancelled(self) -> None:
        """Ctrl-C in the middle of a map."""
        if threading.current_thread() is not threading.main_thread():
            return

        def stop(done: int, total: int) -> None:
            if done:
                signal.raise_signal(signal.SIGINT)

        self._db.progress = stop
        try:
            self._run("SET batch_size = 20")
            self._map("$image", "STRIDE 2")
        except kdb.Interrupted as error:
            self.maps += error.partial is not None
        finally:
            self._db.progress = None
            self._run("RESET batch_size")

    def callbacks(self) -> None:
        """A callback that counts, and one that fails."""

        def count(done: int, total: int) -> None:
            pass

        def fail(done: int, total: int) -> None:
            raise ZeroDivisionError

        for reply in (count, fail):
            self._db.progress = reply
            try:
                self._map("$image", "STRIDE 3")
            except (kdb.Error, ZeroDivisionError):
                pass
            finally:
                self._db.progress = None

    def threads(self) -> None:
        """Three threads that share the session."""
        texts = [self._text("$image", "STRIDE 5") for _ in range(3)]
        others = [threading.Thread(target=self._run, args=(text,)) for text in texts]
        for each in others:
            each.start()
        for each in others:
            each.join()


@contextmanager
def soaking(folder: Path, seed: int) -> Iterator[Soak]:
    """One that can take steps inside the context."""
    soak = Soak(folder, seed)
    with exported_once([*soak.networks, *soak.broken.values()]):
        soak.models()
        yield soak


STEPS = tuple(name for name in vars(Soak) if not name.startswith("_") and callable(getattr(Soak, name)))
RARE = {"new_session": 0.1, "tuned": 0.2, "models": 0.5, "changed_model": 0.01, "onnx": 0.01}
"""How often these come, relative to others; the last two are exported each time."""


def resident() -> int:
    """Resident memory of this process in bytes, by /proc."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def sample() -> dict[str, int]:
    """Memory in bytes, threads, open files, and objects that the collector of garbage knows."""
    gc.collect()
    threads, files = (len(os.listdir(f"/proc/self/{each}")) for each in ("task", "fd"))
    return {"memory": resident(), "threads": threads, "files": files, "objects": len(gc.get_objects())}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command of that process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robustness.soaking", description=__doc__)
    parser.add_argument("minutes", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=float, default=60.0, help="seconds from line to line")
    parser.add_argument("--only", nargs="+", choices=STEPS, default=STEPS, help="these steps alone")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", kdb.VerificationWarning)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    draw = np.random.default_rng(options.seed)
    weights = np.array([RARE.get(step, 1.0) for step in options.only])
    done = 0
    raw: dict[str, str] = {}
    start = said = time.monotonic()
    end = start + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, soaking(Path(folder), options.seed) as soak:
        while said < end:
            step = str(draw.choice(options.only, p=weights / weights.sum()))
            try:
                getattr(soak, step)()
            except Exception as error:  # none may come; each is told with the step, once
                raw[step] = f"{type(error).__name__}: {error}"
            done += 1
            now = time.monotonic()
            if now >= min(said + options.every, end):
                said = now
                line = {"seconds": round(now - start), **sample(), "maps": soak.maps, "steps": done, "raw": raw}
                print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
