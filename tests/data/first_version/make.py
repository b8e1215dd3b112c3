"""What the files beside it were made with: the first version of kdb, 0.1.0 before its parts were renamed.

Later versions have other names for rules, settings and kernels, and must still read these files, so that this is not to
be run again: ``python -m tests.data.first_version.make`` on that version wrote

- ``model.onnx``: a small network with a batch norm and a gate by the whole map, of random weights;
- ``study.kdb``: a study with that model, settings, a tuning and a calibration.  The model's path is kept as its file's
  name alone, without the folder it was made in: it is found where that is the current folder;
- ``map.npz``, ``sampled.npz``, ``held.npz``: heat maps, exact, sampled, and by the threshold that was tuned;
- ``cache/``: the trace of a torchvision network and the profile of one thread, as they are kept between processes.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from benchmarks import photos
from tests.onnx_files import model, node, saved

FOLDER = Path(__file__).resolve().parent
SIZE = 48
QUERY = "OCCLUDE $image WITH patch(6, 6) STRIDE 3 USING first FOR CLASS 'dog'"
TRACED = "OCCLUDE $image STRIDE 16 USING squeezenet1_1 (weights = 'random', input = (64, 64))"
SETTINGS = (
    "SET rule.hold_context = off; SET rule.merge_location_wise = off; SET kernels = winograd; SET preset = krypton;"
    "SET batch_size = 12"
)


def write_model() -> None:
    """3x3 and 5x5 convolutions, a batch norm, max-pooling, squeeze-and-excitation, a dense layer."""
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32) * np.float32(1.5 / np.prod(shape[1:]) ** 0.5)

    weights = {"w1": drawn(8, 3, 3, 3), "w2": drawn(8, 8, 5, 5), "w3": drawn(8, 8, 3, 3), "w4": drawn(12, 8, 5, 5)}
    weights |= {"squeeze": drawn(4, 12, 1, 1), "excite": drawn(12, 4, 1, 1), "dense": drawn(3, 12 * 12 * 12)}
    for name in ("scale", "shift", "mean", "variance"):
        weights[name] = rng.uniform(0.5, 1.5, 8).astype(np.float32)
    nodes = [
        node("Conv", "x w1", "a", pads=[1] * 4),
        node("BatchNormalization", "a scale shift mean variance", "b"),
        node("Relu", "b", "c"),
        node("Conv", "c w2", "d", pads=[2] * 4),
        node("Relu", "d", "e"),
        node("MaxPool", "e", "h", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "h w3", "i", pads=[1] * 4),
        node("Relu", "i", "j"),
        node("MaxPool", "j", "k", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "k w4", "l", pads=[2] * 4),
        node("Relu", "l", "m"),
        node("GlobalAveragePool", "m", "g1"),
        node("Conv", "g1 squeeze", "g2"),
        node("Relu", "g2", "g3"),
        node("Conv", "g3 excite", "g4"),
        node("Sigmoid", "g4", "g5"),
        node("Mul", "m g5", "f"),
        node("Flatten", "f", "n"),
        node("Gemm", "n dense", "y", transB=1),
    ]
    saved(model(nodes, ("n", 3, SIZE, SIZE), weights), FOLDER)


def main() -> None:
    """Write all files."""
    os.environ["KDB_CACHE"] = str(FOLDER / "cache")
    os.chdir(FOLDER)  # no file says where it was made
    import kdb

    write_model()
    study = FOLDER / "study.kdb"
    study.unlink(missing_ok=True)
    image = {"image": photos.photo("chelsea", (SIZE, SIZE))}
    with TemporaryDirectory() as folder, kdb.connect(study) as db:
        for name in ("astronaut", "coffee", "rocket"):
            Image.fromarray(photos.photo(name, (SIZE, SIZE))).save(f"{folder}/{name}.png")
        db.execute("SET threads = 1")
        db.execute("CREATE MODEL first FROM 'model.onnx' (mean = 0.5, std = 0.25, labels = ('cat', 'dog', 'fish'))")
        print(db.execute(f"TUNE first ON '{folder}/*.png' WITH patch(6, 6) STRIDE 3 TO SSIM 0.9"))
        print(db.execute("CALIBRATE"))
        db.execute(QUERY, image).save("map.npz")
        db.execute(f"{QUERY.replace('STRIDE 3', 'STRIDE 1')} APPROXIMATE TO SSIM 0.9", image).save("sampled.npz")
        db.explain(TRACED)
        db.execute(SETTINGS)
        db.execute(f"{QUERY} THRESHOLD AUTO TO SSIM 0.9", image).save("held.npz")
    with sqlite3.connect(study) as database:
        for (path,) in database.execute("SELECT path FROM models").fetchall():
            database.execute("UPDATE models SET path = ?", (Path(path).name,))
    database.close()


if __name__ == "__main__":
    main()
