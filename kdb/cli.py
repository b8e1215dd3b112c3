"""The ``kdb`` command: runs one query, a file, standard input, or a shell.

    kdb "OCCLUDE 'cat.png' USING efficientnet_lite0 INTO 'heat.png'"
    kdb -f script.kdb
    kdb < script.kdb
    kdb

The exit status is 0, 1 after an error, which is printed on standard error, or 130 after Ctrl-C.  Modules that take
time to import are imported inside :func:`main`, which handles Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from kdb.errors import Error, ExecutionError, Interrupted, OmissionWarning, ParseError, VerificationWarning, printable
from kdb.system.interrupts import deferred
from kdb.system.progress import ProgressBar
from kdb.version import __version__

if TYPE_CHECKING:
    from kdb.results.maps import HeatMap
    from kdb.session.session import Result, Session

PROMPT, MORE = "kdb> ", "...> "

HELP = """\
Statements end with ; and may run over several lines; an empty line ends one too.

    OCCLUDE 'cat.png' WITH patch(16, 16) STRIDE 4 USING efficientnet_lite0 INTO 'heat.png';
    EXPLAIN OCCLUDE 'cat.png' USING resnet18;        EXPLAIN ANALYZE OCCLUDE ...;
    VERIFY OCCLUDE 'cat.png' USING resnet18;         VERIFY 'heat.npz';
    SHOW MODELS;  SHOW SETTINGS;  SHOW RULES;  SET threads = 2;  RESET threads;

    .help     this text
    .read F   run the statements of the file F
    .quit     leave, as Ctrl-D does; Ctrl-C stops a query
"""

WORDS = {"help": ".help", "quit": ".quit", "exit": ".quit"}
"""Commands of other shells that work here too, at the beginning of a statement."""

SUMMARIZED = 20
"""Most classes that a summary shows."""


class Client:
    """Runs scripts in a session, and prints results to ``out`` and errors to ``err``."""

    def __init__(self, session: Session, out: TextIO, err: TextIO) -> None:
        self.session, self.out, self.err = session, out, err
        self.bar = ProgressBar("positions", err) if err.isatty() else None
        session.progress = self.bar

    def run(self, text: str) -> int:
        """Run a script, print each result as soon as it is there, and return the exit status."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OmissionWarning)  # the image's error is printed instead
            warnings.simplefilter("always", VerificationWarning)  # of each map, and not of the first alone
            warnings.showwarning = self._warn
            return self._run(text)

    def _run(self, text: str) -> int:
        try:
            results = self.session.run(text)
            status = 0
            while True:
                result = next(results, None)
                if result is None:
                    return status
                self._close_bar()
                status = max(status, self.show(result))
        except Interrupted as stopped:
            self._close_bar()
            print(stopped, file=self.err)
            return 130
        except Error as error:
            self._close_bar()
            print(f"{_kind(error)}: {error}", file=self.err)
            return 1

    def _warn(self, message: Warning | str, *_: Any, **__: Any) -> None:
        self._close_bar()
        print(f"warning: {message}", file=self.err)

    def _close_bar(self) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, result: Result) -> int:
        """Print a result, and return the exit status: 1 if one of several images failed."""
        from kdb.results.maps import HeatMap, HeatMaps

        status = 0
        if isinstance(result, HeatMap):
            print(summary(result), file=self.out)
        elif isinstance(result, HeatMaps):
            for source, outcome in zip(result.sources, result.outcomes(), strict=True):
                self._close_bar()
                if isinstance(outcome, Error):
                    print(f"{_kind(outcome)}: {outcome}", file=self.err)
                    status = 1
                else:
                    print(f"{printable(source)}: {summary(outcome)}", file=self.out)
        else:
            print(result, file=self.out)
        self.out.flush()
        return status


def _kind(error: Error) -> str:
    """The error's kind, as it is printed before the message."""
    return "syntax error" if isinstance(error, ParseError) else "error"


def summary(heat_map: HeatMap) -> str:
    """One line per class with its baseline and the position that changes its score most, then the cost."""
    import numpy as np

    from kdb.results.wording import checked, compared

    values, indices, labels = heat_map.by_class()
    corners = heat_map.positions.reshape(-1, 2)
    baselines = np.ravel(heat_map.baseline)
    whole = "logit" if heat_map.score.startswith("logit") else "probability"
    shown = sorted(np.argsort(-baselines, kind="stable")[:SUMMARIZED].tolist())
    lines = []
    for row, index, label, baseline in ((values[i], indices[i], labels[i], baselines[i]) for i in shown):
        centre = 0.0 if heat_map.score.endswith("drop") else baseline
        change = np.where(np.isnan(row), 0, row - centre)
        most = int(np.argmax(np.abs(change)))
        y, x = corners[most]
        lines.append(
            f"{printable(label)} ({index}): {whole} {baseline:.4g}; {heat_map.score} {row[most]:.4g} "
            f"with the patch at ({y}, {x})"
        )
    if left := len(baselines) - len(shown):
        lines.append(f"and {left} more classes with a smaller {whole}")
    stats = heat_map.stats
    cost = f"{stats.evaluated} of {stats.positions} positions in {stats.seconds['total']:.1f} s"
    if heat_map.ssim_estimate is not None and not heat_map.exact:
        cost += f", approximate: SSIM {heat_map.ssim_estimate:.2f} expected"
    check = "" if heat_map.checked is None else f"; {checked(*heat_map.checked)}"
    return "\n".join([*lines, f"{cost}; {compared(stats.speedup)}{check}"])


def shell(client: Client, read: Callable[[str], str] = input) -> int:
    """Read and run statements until the end of the input or ``.quit``; returns the exit status."""
    print(f"kdb {__version__}; .help for help, .quit to leave", file=client.out)
    lines: list[str] = []
    while True:
        try:
            line = read(MORE if lines else PROMPT)
        except EOFError:
            print(file=client.out)
            return 0
        except KeyboardInterrupt:  # at the prompt: forget what was typed
            print(file=client.out)
            lines = []
            continue
        command = line.strip()
        if not lines:
            command = WORDS.get(command.rstrip("; ").lower(), command)
        if not lines and command.startswith("."):
            if command in (".quit", ".exit"):
                return 0
            _dot_command(client, command)
            continue
        if command:
            lines.append(line)
        if lines and (not command or command.endswith(";")):
            client.run("\n".join(lines))
            lines = []


def _dot_command(client: Client, command: str) -> None:
    name, _, rest = command.partition(" ")
    if name == ".help":
        print(HELP, end="", file=client.out)
    elif name == ".read":
        try:
            text = _read_file(rest.strip())
        except Error as error:
            print(f"error: {error}", file=client.err)
        else:
            client.run(text)
    else:
        print(f"error: there is no {name}; .help lists what there is", file=client.err)


@contextlib.contextmanager
def _history() -> Iterator[None]:
    """Line editing, and a history that is kept between shells, if the platform has readline."""
    try:
        import readline
    except ImportError:
        yield
        return
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    file = state / "kdb" / "history"
    with contextlib.suppress(OSError):
        readline.read_history_file(file)
    readline.set_history_length(1000)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(file)


def _read_file(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ExecutionError(f"cannot read '{path}': {reason}") from error


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kdb", description="Occlusion-based explanations of CNNs, as queries.")
    parser.add_argument("query", nargs="?", help="a script; without one, standard input or a shell")
    parser.add_argument("-f", "--file", help="run the statements of a file")
    parser.add_argument("--study", metavar="FILE", help="keep models, settings and tunings in this file")
    parser.add_argument("--version", action="version", version=f"kdb {__version__}")
    arguments, others = parser.parse_known_args(argv)
    if others:
        hint = "" if others[0].startswith("-") else "; a query is one argument: put it in double quotes"
        parser.error(f"unrecognized arguments: {' '.join(others)}{hint}")
    if arguments.query is not None and arguments.file is not None:
        parser.error("give a query or a file, not both")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """The command's entry point; returns the exit status."""
    try:
        arguments = _arguments(argv)
        with deferred():
            from kdb.session.session import connect

        client = Client(connect(arguments.study), sys.stdout, sys.stderr)
        if arguments.query is not None:
            return client.run(arguments.query)
        if arguments.file is not None:
            return client.run(_read_file(arguments.file))
        if not sys.stdin.isatty():
            return client.run(sys.stdin.read())
        with _history():
            return shell(client)
    except Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of the output has exited; keep the interpreter from reporting that once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # there is nothing left to stop
