"""CALIBRATE on the device; the profile is stored next to the report and used by all later sections."""

from __future__ import annotations

from benchmarks.gpu_check.check import PROFILE, Check, Rows
from kdb.execution.settings import cores
from kdb.kernels.gpu import device as gpu
from kdb.planner import calibration


def calibrate(check: Check, rows: Rows, network: str) -> None:
    """Measure the cost profile of the device, and report its rates."""
    on_gpu = check.device == "cuda"
    profile = calibration.measure_device(gpu.opened()) if on_gpu else calibration.measure(cores())
    if on_gpu:  # sessions on a CPU measure their own
        (check.out / PROFILE).write_text(calibration.encoded(profile), encoding="utf-8")
    rows("Calibration", what="bandwidth, GB/s", value=profile.bandwidth / 1e9)
    rows("Calibration", what="a call, us", value=profile.call * 1e6)
    for kind, points in profile.rates.items():
        for width, rate in points:
            rows("Rates", kind=kind, width=width, TMAC_per_s=rate / 1e12)
