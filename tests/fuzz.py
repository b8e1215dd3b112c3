"""Hypothesis tests with fresh seeds, again and again: ``python -m tests.fuzz MINUTES``, or ``make fuzz MINUTES=5``."""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def command(seed: int, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-q", "-m", "hypothesis", f"--hypothesis-seed={seed}", *arguments]


def run(seed: int, until: float, *arguments: str) -> tuple[bool, list[str]]:
    """Whether all tests pass, and the ids of those that do not; what has not begun at the time ``until`` is skipped."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "HYPOTHESIS_PROFILE": "fuzz", "FUZZ_UNTIL": str(until)}
        private = "-o", f"cache_dir={cache}", "-r", "fE"
        status = subprocess.run([*command(seed, *private), *arguments], cwd=ROOT, env=environment).returncode
        failed = Path(cache) / "v" / "cache" / "lastfailed"
        return status == 0, sorted(json.loads(failed.read_text())) if failed.exists() else []


def main(arguments: list[str] | None = None) -> int:
    """Rounds until the minutes are over or a test fails; 1 if one does, and the command that repeats it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", type=float)
    parser.add_argument("rest", nargs="*", help="pytest's arguments, after --: a folder, -n 2, -k ...")
    chosen = parser.parse_args(arguments)
    until = time.time() + 60 * chosen.minutes
    rounds = 0
    while not rounds or time.time() < until:
        rounds, seed = rounds + 1, random.SystemRandom().randrange(2**32)
        print(f"round {rounds}: seed {seed}", flush=True)
        passed, failed = run(seed, until, *chosen.rest)
        if not passed:
            print("to repeat it:")
            print(f"  HYPOTHESIS_PROFILE=fuzz {shlex.join(command(seed, *(failed or chosen.rest)))}")
            return 1
    print(f"rounds: {rounds}, no failure")
    return 0


if __name__ == "__main__":
    sys.exit(main())
