"""CALIBRATE on the device; its profile is kept beside the report and used by all sections that follow."""

from __future__ import annotations

from benchmarks.gpu_check.check import PROFILE, Check, Rows
from kdb.execution.settings import cores
from kdb.kernels.gpu import device as gpu
from kdb.planner import calibration


def calibrate(check: Check, rows: Rows, network: str) -> None:
    """The section."""
    on_gpu = check.device == "cuda"
    profile = calibration.measure_device(gpu.opened()) if on_gpu else calibration.measure(cores())
    if on_gpu:  # a CPU's is its session's affair
        (check.out / PROFILE).write_text(calibration.encoded(profile), encoding="utf-8")
    rows("Calibration", what="bandwidth, GB/s", value=profile.bandwidth / 1e9)
    rows("Calibration", what="a call, us", value=profile.call * 1e6)
    for kind, points in profile.rates.items():
        for width, rate in points:
            rows("Rates", kind=kind, width=width, TMAC_per_s=rate / 1e12)
