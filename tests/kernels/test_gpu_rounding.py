"""torch's permissions to round to tf32, whichever of its two ways a program has used; a CPU build has them too."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import pytest
import torch

from kdb.kernels.gpu import rounding

PATHS = (
    "fp32_precision",
    "cudnn.fp32_precision",
    "cudnn.conv.fp32_precision",
    "cudnn.rnn.fp32_precision",
    "cuda.matmul.fp32_precision",
    "mkldnn.matmul.fp32_precision",
    "cudnn.allow_tf32",
    "cuda.matmul.allow_tf32",
)
# What a program may have done, before and after: by the older way, the newer one, and both.
OLDER = ("b.cudnn.allow_tf32 = {}", "b.cuda.matmul.allow_tf32 = {}")
NEWER = tuple(f"b.{path} = {{!r}}" for path in PATHS if path.endswith("precision"))
DONE = [
    (),
    ("torch.set_float32_matmul_precision('medium')",),
    ("b.fp32_precision = 'bf16'",),
    *((way.format(value),) for way in OLDER for value in (False, True)),
    *((way.format(value),) for way in NEWER for value in ("ieee", "tf32")),
    ("b.fp32_precision = 'ieee'", "b.cudnn.fp32_precision = 'ieee'"),
    ("b.fp32_precision = 'ieee'", "b.cudnn.fp32_precision = 'tf32'", "b.cudnn.conv.fp32_precision = 'ieee'"),
    ("b.cuda.matmul.fp32_precision = 'tf32'", "b.cuda.matmul.allow_tf32 = False"),
    ("b.cudnn.allow_tf32 = False", "b.cudnn.conv.fp32_precision = 'tf32'"),
    ("b.cudnn.conv.fp32_precision = 'ieee'", "b.cudnn.allow_tf32 = True"),
]
LATER = ("", "b.fp32_precision = 'ieee'", "b.fp32_precision = 'tf32'", "b.cudnn.fp32_precision = 'ieee'")

# Each in a process of its own: torch's first state, which no one can set back, is one of those to be kept.
SCRIPT = """
import os, sys, torch
from kdb.kernels.gpu import rounding
b = torch.backends

def read(path):
    try:
        return eval("b." + path)
    except RuntimeError:
        return "refused"

def state():
    return [*map(read, {paths}), read("cudnn and torch.get_float32_matmul_precision()")]

def child(done, later, uses):
    for each in done:
        exec(each)
    before = state()
    if uses:
        with rounding.products_kept():
            for tf32 in (False, True, True):
                rounding.permit_products(tf32)
                assert rounding.permitted()[1] == tf32, (done, tf32)
                with rounding.rounding(not tf32):
                    assert rounding.permitted() == (not tf32, not tf32), (done, tf32)
                    assert (b.cudnn.rnn.fp32_precision == "tf32") != tf32
                assert rounding.permitted()[1] == tf32, (done, tf32)
        assert state() == before, (done, before, state())
        with rounding.rounding(True), rounding.rounding(False):
            assert rounding.permitted() == (False, False)
        assert state() == before, (done, before, state())
    exec(later)
    return state()

for done in {done}:
    for later in {later}:
        states = []
        for uses in (False, True):
            reading, writing = os.pipe()
            if not os.fork():
                try:
                    os.write(writing, repr(child(done, later, uses)).encode())
                except BaseException as error:
                    os.write(writing, repr(error).encode())
                os._exit(0)
            os.close(writing)
            with open(reading, "rb") as file:
                states.append(file.read().decode())
            os.wait()
        assert states[0] == states[1] and states[0].startswith("["), (done, later, *states)
print("all", len({done}) * len({later}))
"""


@pytest.mark.skipif(not rounding.NEWER or not hasattr(os, "fork"), reason="torch before 2.9, or no fork")
def test_all_is_left_as_it_was_found_and_goes_on_to_follow_what_it_followed() -> None:
    script = SCRIPT.format(paths=PATHS, done=DONE, later=LATER)
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=120)
    assert ended.stdout == f"all {len(DONE) * len(LATER)}\n", ended.stderr[-2000:]


class Older:
    """Products before torch 2.9: one precision behind both of the older ways."""

    precision = "highest"

    @property
    def allow_tf32(self) -> bool:
        return self.precision != "highest"

    @allow_tf32.setter
    def allow_tf32(self, allowed: bool) -> None:
        self.precision = "high" if allowed else "highest"


def test_the_older_way_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    products, cudnn = Older(), torch.backends.cudnn
    monkeypatch.setattr(rounding, "NEWER", False)
    monkeypatch.setattr(rounding, "_PRODUCTS", products)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: products.precision)
    monkeypatch.setattr(
        torch, "set_float32_matmul_precision", lambda precision: setattr(products, "precision", precision)
    )
    first = cudnn.allow_tf32
    try:
        for allowed, precision in itertools.product((False, True), ("highest", "high", "medium")):
            cudnn.allow_tf32, products.precision = allowed, precision
            with rounding.products_kept():
                for tf32 in (False, True):
                    rounding.permit_products(tf32)
                    assert (cudnn.allow_tf32, products.allow_tf32) == rounding.permitted() == (allowed, tf32)
                    with rounding.rounding(not tf32):
                        assert (cudnn.allow_tf32, products.allow_tf32) == rounding.permitted() == (not tf32, not tf32)
            assert (cudnn.allow_tf32, products.precision) == (allowed, precision)
    finally:
        cudnn.allow_tf32 = first


def test_permitting_what_is_permitted_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with rounding.products_kept():
        for tf32 in (True, False):
            rounding.permit_products(tf32)
            monkeypatch.setattr(rounding, "_PRODUCTS", _Refusing(rounding._PRODUCTS))
            rounding.permit_products(tf32)
            with pytest.raises(AssertionError, match="is written"):
                rounding.permit_products(not tf32)
            monkeypatch.undo()


class _Refusing:
    def __init__(self, level: object) -> None:
        self.__dict__["level"] = level

    def __getattr__(self, name: str) -> object:
        return getattr(self.level, name)

    def __setattr__(self, name: str, value: object) -> None:
        raise AssertionError(f"{name} is written")
