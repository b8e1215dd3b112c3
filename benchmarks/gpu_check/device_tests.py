"""Runs the tests that need a device: those of single kernels first, those of plans and queries later."""

from __future__ import annotations

import re
import subprocess
import sys
import time

from benchmarks.gpu_check.check import Check, Rows

FIRST = "convolutions or functions"
FILE = "tests/kernels/test_gpu_device.py"


def first(check: Check, rows: Rows, network: str) -> None:
    """Run the tests of single kernels."""
    _run(rows, FIRST)


def other(check: Check, rows: Rows, network: str) -> None:
    """Run all other tests."""
    _run(rows, f"not ({FIRST})")


def _run(rows: Rows, chosen: str) -> None:
    """Run pytest with ``-k chosen``; its output is passed on line by line."""
    begun = time.perf_counter()
    # This file alone, as collecting the others needs packages that a machine with a GPU may lack.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "-k", chosen, FILE]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert child.stdout is not None
    last = ""
    for line in child.stdout:
        print(line, end="", flush=True)
        last = line.strip() or last
    status = child.wait()
    summary = re.sub(r"^=+ | =+$", "", last)
    rows("Tests", chosen=chosen, exit_status=status, summary=summary, seconds=time.perf_counter() - begun)
    if status:
        raise SystemExit(status)
