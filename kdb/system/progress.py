"""A progress bar by tqdm, on a terminal or in a notebook."""

from __future__ import annotations

from typing import Any, TextIO

DELAY = 2.0
"""Seconds of work before a bar appears."""


class ProgressBar:
    """A progress callback, ``bar(done, total)``: a bar with the time left, removed when the work is done or closed.

    It is drawn on ``stream`` (standard error), or in the notebook that the process serves; work that takes less than
    ``delay`` seconds shows nothing.  With ``leave`` a finished bar stays.  A call with another ``total``, or with fewer
    ``done`` than before, begins a new bar.
    """

    def __init__(
        self, unit: str, stream: TextIO | None = None, delay: float | None = None, leave: bool = False
    ) -> None:
        self._unit, self._stream, self._leave = unit, stream, leave
        self._delay = DELAY if delay is None else delay
        self._bar: Any = None

    def __call__(self, done: int, total: int, remark: str = "") -> None:
        """Show that ``done`` of ``total`` units are done, and a ``remark`` behind them."""
        if self._bar is not None and (self._bar.total != total or self._bar.n > done):
            self.close()
        if self._bar is None:
            if done == total:
                return
            self._bar = self._new(total)
        if remark:
            self._bar.set_postfix_str(remark, refresh=False)
        self._bar.update(done - self._bar.n)
        if done == total:
            self.close()

    def close(self) -> None:
        """End the bar, if there is one."""
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()

    def _new(self, total: int) -> Any:
        from tqdm.auto import tqdm  # takes a tenth of a second

        return tqdm(total=total, unit=f" {self._unit}", file=self._stream, delay=self._delay, leave=self._leave)
