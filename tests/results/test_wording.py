"""Numbers in words."""

from __future__ import annotations

import math

from kdb.results.wording import checked, compared, count, seconds, size, times


def test_ratios_have_two_or_three_digits() -> None:
    assert [times(ratio) for ratio in (0.62, 1.62, 9.94, 9.96, 12.4, 1234.0)] == [
        "0.6", "1.6", "9.9", "10", "12", "1230",
    ]  # fmt: skip


def test_arithmetic_is_compared_with_full_inference() -> None:
    assert compared(1.62) == "1.6 times less arithmetic than full inference"
    assert compared(1.0) == "as much arithmetic as full inference"
    assert compared(0.5) == "2.0 times as much arithmetic as full inference"
    assert compared(math.inf) == "no arithmetic at all"


def test_units_are_those_that_leave_few_digits() -> None:
    assert [count(n) for n in (999, 529_200, 4.76e6, 3.52e12)] == ["999", "529,200", "4.76 M", "3.52 T"]
    assert [size(n) for n in (0, 2**19, 402 * 2**20, 3 * 2**31)] == ["0.0 KiB", "512 KiB", "402 MiB", "6.0 GiB"]
    assert [seconds(n) for n in (0.00113, 4.24, 111.2)] == ["0.0011 s", "4.2 s", "111 s"]


def test_what_became_of_a_check() -> None:
    assert checked(6, 0.2) == "checked at 6 positions" and checked(1, 1.0) == "checked at 1 position"
    assert checked(0, 0.0) == "checked on the unmodified image"
    for worst in (1.5, math.inf, math.nan):
        assert checked(6, worst) == "check failed, evaluated in full"
