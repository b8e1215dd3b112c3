"""What is damaged: the list of targets, each with how many attempts a full run makes."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.robustness.hostile import kept, networks, pictures, queries, scans
from benchmarks.robustness.hostile.guard import Prepare


@dataclass(frozen=True)
class Target:
    """One target: a full run makes ``count`` attempts, in cases of ``each``."""

    prepare: Prepare
    count: int
    each: int


TARGETS = {
    "queries": Target(queries.prepare, 1_000_000, 10_000),
    "png": Target(pictures.png, 25_000, 1_250),
    "jpeg": Target(pictures.jpeg, 25_000, 1_250),
    "tiff": Target(pictures.tiff, 25_000, 1_250),
    "others": Target(pictures.others, 4_000, 1_000),
    "npz": Target(kept.npz, 25_000, 1_250),
    "dicom": Target(pictures.dicom, 2_000, 500),
    "npy": Target(scans.npy, 2_000, 500),
    "nifti": Target(scans.nifti, 2_000, 500),
    "video": Target(scans.video, 2_000, 500),
    "wfdb": Target(scans.wfdb, 2_000, 500),
    "edf": Target(scans.edf, 2_000, 500),
    "onnx": Target(networks.onnx_files, 2_000, 500),
    "pt": Target(networks.weights, 2_000, 500),
    "safetensors": Target(networks.safetensors, 2_000, 500),
    "study": Target(kept.study, 2_000, 500),
    "trace": Target(kept.trace, 2_000, 500),
}
