"""What docs/runs.md and the examples say is what happens."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import kdb
from kdb.errors import OmissionWarning
from tests.runs.conftest import picture

pytest.importorskip("pyarrow")
pytest.importorskip("efficientnet_lite_pytorch")
pytestmark = pytest.mark.runs

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.compile(r"<!-- not run: [^\n]*tests/runs/test_page\.py[^\n]* -->\n```python\n(.*?)```", re.DOTALL)


@pytest.mark.slow
def test_the_page_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skimage import data

    pytest.importorskip("duckdb")
    monkeypatch.chdir(tmp_path)
    for name in ("a/cat", "a/coffee", "b/cat", "b/rocket"):
        Path("photos", name).parent.mkdir(parents=True, exist_ok=True)
        photo = getattr(data, name[2:].replace("cat", "chelsea"))()
        Image.fromarray(photo).resize((256, 256)).save(f"photos/{name}.png")
    text = "\n".join(BLOCKS.findall((ROOT / "docs" / "runs.md").read_text()))
    assert text.count("INTO RUN") == 3
    found: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OmissionWarning)
        exec(compile(text, "docs/runs.md", "exec"), found)
    assert found["means"].keys() == {"tabby", "espresso", "missile"}  # type: ignore[attr-defined]
    assert Path("tabby.png").exists() and Path("report.html").exists()
    assert Path("cats-fiftyone/samples.json").exists()


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    """In which the command kdb is this one."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    (folder / "kdb").write_text(f'#!/bin/sh\nexec {sys.executable} -P -m kdb "$@"\n')
    (folder / "kdb").chmod(0o755)
    paths = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return {**os.environ, **paths, **more}


@pytest.mark.slow
def test_the_scripts_for_slurm_and_cron_compute_a_run(tmp_path: Path, model_file: Path) -> None:
    (tmp_path / "data").mkdir()
    shutil.copy(model_file, tmp_path / "data" / "classifier.onnx")
    for i in range(4):
        picture(tmp_path / "data" / f"{i}.png", i)
    (tmp_path / "data" / "images.csv").write_text("path\n0.png\n1.png\n2.png\n3.png\nmissing.png\n")
    for part in ("1", "2"):
        more = {"SLURM_ARRAY_TASK_ID": part, "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_CPUS_PER_TASK": "1"}
        job = subprocess.run(
            ["bash", ROOT / "examples" / "slurm.sh"],
            cwd=tmp_path,
            env=environment(tmp_path, **more),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert job.returncode == (1 if part == "1" else 0), job.stderr  # the image that is missing is of the first
    run = kdb.connect().open_run(tmp_path / "audit")
    assert (run.progress.done, run.progress.failed) == (4, 1)
    (tmp_path / "audit/maps/2.png.npz").unlink()
    picture(tmp_path / "data" / "missing.png", 9)
    night = subprocess.run(
        ["bash", ROOT / "examples" / "resume.sh", "audit", "100s"],
        cwd=tmp_path,
        env=environment(tmp_path, WORKERS="1"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert night.returncode == 0, night.stderr
    assert (run.progress.done, run.progress.failed) == (5, 0)


def test_the_cluster_file_is_what_ray_takes() -> None:
    found = yaml.safe_load((ROOT / "examples" / "ray-cluster.yaml").read_text())
    assert {"cluster_name", "provider", "auth", "head_start_ray_commands", "worker_start_ray_commands"} <= set(found)
    jsonschema = pytest.importorskip("jsonschema")
    ray = pytest.importorskip("ray")
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(found, json.loads(schema.read_text()))


@pytest.mark.slow
def test_the_planted_shortcut_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    from examples import shortcut

    honest, found_out = shortcut.main(tmp_path, 40)

    def strongest(run: kdb.Run, truth: str) -> tuple[int, int]:
        means = run.mean(by="truth")
        mean = means[truth]  # type: ignore[index]
        effect = np.abs(mean.values - mean.baseline)  # type: ignore[union-attr]
        y, x = mean.positions[np.unravel_index(effect.argmax(), effect.shape)] + 2  # type: ignore[union-attr]
        return int(y), int(x)

    for truth, (y, x) in {"disc": (9, 9), "cross": (22, 22)}.items():
        assert np.hypot(*np.subtract(strongest(honest, truth), (y, x))) < 5
    assert strongest(found_out, "cross")[0] < 6 and strongest(found_out, "cross")[1] > 25
    for name in ("honest.png", "shortcut.png", "difference.png"):
        assert (tmp_path / name).stat().st_size > 1000
