"""Sections for the test of the check: one that succeeds, and one for each way to fail."""

from __future__ import annotations

import os
import signal
import time

from benchmarks.gpu_check.check import Check, Rows


def well(check: Check, rows: Rows, network: str) -> None:
    rows("Well", network=network, left_s=check.left)


def crashes(check: Check, rows: Rows, network: str) -> None:
    rows("Before the crash", seen=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def hangs(check: Check, rows: Rows, network: str) -> None:
    rows("Before the hang", seen=True)
    print("about to hang", flush=True)
    time.sleep(600)


def raises(check: Check, rows: Rows, network: str) -> None:
    rows("Before the error", seen=True)
    raise ValueError("as an illegal access would")
