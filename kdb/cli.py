"""The ``kdb`` command: runs one query, a file, standard input, or a shell.

    kdb "OCCLUDE 'cat.png' USING efficientnet_lite0 INTO 'heat.png'"
    kdb -f script.kdb -p image=cat.png --format json
    kdb < script.kdb
    kdb
    kdb doctor
    kdb ui --root pictures

The exit status is 0, 1 after an error, which is printed on standard error, or 130 after Ctrl-C.  Modules that take
time to import are imported inside :func:`main`, which handles Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from kdb.errors import (
    Error,
    ExecutionError,
    Interrupted,
    OmissionWarning,
    ParseError,
    VerificationWarning,
    printable,
    reason,
)
from kdb.system.interrupts import deferred
from kdb.system.progress import ProgressBar
from kdb.version import __version__

if TYPE_CHECKING:
    from kdb.results.maps import HeatMap
    from kdb.runs.watch import Progress as RunProgress
    from kdb.session.session import Result, Session

PROMPT, MORE = "kdb> ", "...> "

HELP = """\
Statements end with ; and may run over several lines; an empty line ends one too.

    OCCLUDE 'cat.png' WITH patch(16, 16) STRIDE 4 USING efficientnet_lite0 INTO 'heat.png';
    EXPLAIN OCCLUDE 'cat.png' USING resnet18;        EXPLAIN ANALYZE OCCLUDE ...;
    VERIFY OCCLUDE 'cat.png' USING resnet18;         VERIFY 'heat.npz';
    SHOW MODELS;  SHOW SETTINGS;  SHOW RULES;  SHOW CALIBRATION;
    SET threads = 2;  RESET threads;  CALIBRATE;  RESET CALIBRATION;

    .help     this text
    .read F   run the statements of the file F
    .quit     leave, as Ctrl-D does; Ctrl-C stops a query
"""

WORDS = {"help": ".help", "quit": ".quit", "exit": ".quit"}
"""Commands of other shells that work here too, at the beginning of a statement."""

SUMMARIZED = 20
"""Most classes that a summary shows."""


FORMATS = ("text", "json", "csv")


class Client:
    """Runs scripts in a session, and prints results to ``out`` and errors to ``err``.

    ``parameters`` are the values of ``$name`` in all scripts; ``form`` is one of ``FORMATS``, that of results.
    """

    def __init__(
        self,
        session: Session,
        out: TextIO,
        err: TextIO,
        parameters: Mapping[str, object] | None = None,
        form: str = "text",
    ) -> None:
        self.session, self.out, self.err = session, out, err
        self.parameters, self.form = parameters, form
        self.bar = ProgressBar("positions", err) if err.isatty() else None
        session.progress = self.bar
        self.images = ProgressBar("images", err) if err.isatty() else None
        session.run_progress = None if self.images is None else self._show_run

    def run(self, text: str) -> int:
        """Run a script, print each result as soon as it is there, and return the exit status."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OmissionWarning)  # the image's error is printed instead
            warnings.simplefilter("always", VerificationWarning)  # of each map, and not of the first alone
            warnings.showwarning = self._warn
            return self._run(text)

    def _run(self, text: str) -> int:
        try:
            results = self.session.run(text, self.parameters)
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

    def _show_run(self, now: RunProgress) -> None:
        assert self.images is not None, "there is a terminal"
        self.images(now.done + now.failed, now.total, f"{now.failed} failed" if now.failed else "")

    def _close_bar(self) -> None:
        for bar in (self.bar, self.images):
            if bar is not None:
                bar.close()

    def show(self, result: Result) -> int:
        """Print a result, and return the exit status: 1 if one of several images failed."""
        from kdb.results import exports
        from kdb.results.maps import HeatMap
        from kdb.results.several import HeatMaps
        from kdb.runs.run import Run

        status = 0
        if isinstance(result, Run):
            progress, result = result.progress, result.summary()
            status = 1 if progress.failed else 0
        if self.form != "text":
            text = exports.as_json(result) if self.form == "json" else exports.as_csv(result)
            self._close_bar()
            print(text, file=self.out)
            for error in result.errors.values() if isinstance(result, HeatMaps) else ():
                print(f"{_kind(error)}: {error}", file=self.err)
                status = 1
            if isinstance(result, HeatMap):
                self._print_notes(result, set())
        elif isinstance(result, HeatMap):
            print(summary(result), file=self.out)
            self._print_notes(result, set())
        elif isinstance(result, HeatMaps):
            told: set[str] = set()
            for source, outcome in zip(result.sources, result.outcomes(), strict=True):
                self._close_bar()
                if isinstance(outcome, Error):
                    print(f"{_kind(outcome)}: {outcome}", file=self.err)
                    status = 1
                else:
                    print(f"{printable(source)}: {summary(outcome)}", file=self.out)
                    self._print_notes(outcome, told)
        else:
            print(result, file=self.out)
        self.out.flush()
        return status

    def _print_notes(self, heat_map: HeatMap, told: set[str]) -> None:
        """Print the notes of a map, but for those that were ``told`` of one before it."""
        self.out.flush()
        for note in heat_map.notes:
            if note not in told:
                print(f"note: {printable(note)}", file=self.err)
        told.update(heat_map.notes)


def _kind(error: Error) -> str:
    """The error's kind, as it is printed before the message."""
    return "syntax error" if isinstance(error, ParseError) else "error"


def summary(heat_map: HeatMap) -> str:
    """One line per class with its baseline and the position that changes its score most, then the cost."""
    from kdb.results.exports import strongest
    from kdb.results.wording import checked, compared

    whole = "probability" if heat_map.score == "drop" else heat_map.score.removesuffix("_drop")
    classes = [each for each in strongest(heat_map) if not math.isnan(each.baseline)]  # others have no region
    likeliest = sorted(range(len(classes)), key=lambda i: -classes[i].baseline)[:SUMMARIZED]
    lines = [
        f"{printable(each.label)} ({each.index}): {whole} {each.baseline:.4g}; {heat_map.score} {each.score:.4g} "
        f"with the patch at ({', '.join(map(str, each.position))})"
        for each in (classes[i] for i in sorted(likeliest))
    ]
    if left := len(classes) - len(likeliest):
        lines.append(f"and {left} more classes with a smaller {whole}")
    stats = heat_map.stats
    cost = f"{stats.evaluated} of {stats.positions} positions in {stats.seconds['total']:.1f} s"
    if heat_map.ssim_estimate is not None:
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
            text = _read_file(client.session.root.path(rest.strip()))
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
    try:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    except RuntimeError:  # a process without a home
        yield
        return
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
    except (OSError, ValueError) as error:
        raise ExecutionError(f"cannot read '{path}': {reason(error)}") from error


def _read_input() -> str:
    if sys.stdin is None:  # closed
        raise ExecutionError("there is no query: standard input is closed")
    try:
        return sys.stdin.read().removeprefix("\ufeff")  # a byte order mark, which files may begin with too
    except (OSError, UnicodeDecodeError) as error:
        raise ExecutionError(f"cannot read standard input: {reason(error)}") from error


def _parameter(text: str) -> tuple[str, object]:
    """``name=value``, the value as JSON if it is, else as the text that it is."""
    name, equals, value = text.partition("=")
    name = name.removeprefix("$")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kdb", description="Occlusion-based explanations of CNNs, as queries.")
    parser.add_argument(
        "query",
        nargs="?",
        help="a script; without one, standard input or a shell; 'doctor' looks at the installation; "
        "'ui' serves a page to a browser: see kdb ui --help",
    )
    parser.add_argument("-f", "--file", help="run the statements of a file")
    parser.add_argument("--study", metavar="FILE", help="keep models, settings and tunings in this file")
    parser.add_argument("--root", metavar="DIR", help="read and write no files elsewhere; paths are relative to it")
    parser.add_argument(
        "-p",
        "--parameter",
        metavar="NAME=VALUE",
        dest="parameters",
        type=_parameter,
        action="append",
        default=[],
        help="the value of $NAME: JSON, or else text; may be repeated",
    )
    parser.add_argument("--format", choices=FORMATS, default="text", help="of results")
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
    out, err = _printing(sys.stdout), _printing(sys.stderr)
    argv = sys.argv[1:] if argv is None else argv
    try:
        if list(argv[:1]) == ["ui"]:
            from kdb.ui.server import command

            return command.main(argv[1:], out)
        return _run(_arguments(argv), out, err)
    except Error as error:
        print(f"error: {error}", file=err)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=err)
        return 130
    except OSError as error:  # of the output: those of files are kdb.Errors
        if not isinstance(error, BrokenPipeError):  # its reader has exited
            with contextlib.suppress(OSError):
                print(f"error: cannot write the output: {reason(error)}", file=err)
        # Keep the interpreter from trying once more at exit.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # there is nothing left to stop


def _run(arguments: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    if arguments.query == "doctor":
        from kdb.session import doctor

        return doctor.main(arguments.study, arguments.root, arguments.format, out)
    with deferred():
        from kdb.session.session import connect

    session = connect(arguments.study, root=arguments.root)
    client = Client(session, out, err, dict(arguments.parameters), arguments.format)
    if arguments.query is not None:
        return client.run(arguments.query)
    if arguments.file is not None:
        return client.run(_read_file(arguments.file))
    if sys.stdin is None or not sys.stdin.isatty():
        return client.run(_read_input())
    with _history():
        return shell(client)


def _printing(stream: TextIO | None) -> TextIO:
    """A standard stream that takes any text: what its encoding lacks is written as an escape.

    One that is closed takes, and forgets, what is printed.
    """
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream
