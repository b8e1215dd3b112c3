"""Runs one section: ``python -m benchmarks.gpu_check.child MODULE:FUNCTION SECTION NETWORK CHECK``, CHECK as JSON."""

from __future__ import annotations

import faulthandler
import sys
from importlib import import_module

from benchmarks.gpu_check.check import PROFILE, Check, Rows
from kdb.kernels.gpu import device as gpu
from kdb.planner import calibration


def main(where: str, section: str, network: str, given: str) -> None:
    """Run the section; an exception ends the process."""
    faulthandler.enable()
    check = Check.from_json(given)
    known = check.out / PROFILE
    if check.device == "cuda" and known.exists() and (profile := calibration.decoded(known.read_bytes())):
        calibration.keep(profile, calibration.device_machine(gpu.opened()))
    module, _, function = where.partition(":")
    getattr(import_module(module), function)(check, Rows(check, section), network)


if __name__ == "__main__":
    main(*sys.argv[1:])
