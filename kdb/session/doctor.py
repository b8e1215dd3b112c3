"""``kdb doctor``: what this installation has, what is missing, and what is broken.

Everything is imported where it is looked at, so that a package that does not load is a row and not a traceback.
"""

from __future__ import annotations

import os
import platform
import re
import stat
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, TextIO

from packaging.requirements import Requirement

from kdb.errors import DeviceError, Error
from kdb.results.tables import Table
from kdb.results.wording import size
from kdb.system import cache
from kdb.version import __version__

DISTRIBUTION = "kdb-occlusion"
OK, MISSING, WARNING, BROKEN = "ok", "missing", "warning", "broken"
"""States: all is well; an extra is not installed; something works less well than it could; something does not work."""

_MODULES = {"pillow": "PIL", "scikit-image": "skimage", "pyjpegls": "jpeg_ls", "python-gdcm": "gdcm"}
"""What is imported of a distribution, where its name does not tell."""
_OF_NO_USER = ("all", "dev", "screens")

Row = tuple[str, str, str]
"""What was looked at, what was found, and its state."""


def main(study: str | None, root: str | None, form: str, out: TextIO) -> int:
    """Print all rows in a format of the command; the exit status is 1 if one is broken."""
    from kdb.results import exports

    table = examined(study, root)
    print({"json": exports.as_json, "csv": exports.as_csv}.get(form, str)(table), file=out)
    return 1 if any(state == BROKEN for *_, state in table) else 0


def examined(study: str | None = None, root: str | None = None) -> Table:
    """A row for each thing that was looked at."""
    rows: list[Row] = []
    parts: list[Callable[[], Iterator[Row]]] = [
        _versions, _extras, _threads, _compiled, _memory, _devices, _caches, lambda: _study(study, root),
    ]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part in parts:
            try:
                rows += part()
            except Exception as error:  # what is broken may raise anything, and the other parts are still of interest
                rows.append((part.__name__.strip("_"), f"{type(error).__name__}: {error}", BROKEN))
    return Table(("part", "state", "found"), tuple((part, state, found) for part, found, state in rows))


# ---- packages


def _versions() -> Iterator[Row]:
    yield "kdb", f"{__version__} in {Path(__file__).resolve().parents[1]}", OK
    recent = sys.version_info >= (3, 11)
    yield "python", f"{platform.python_version()} on {platform.platform()}", OK if recent else BROKEN
    for requirement in _requirements():
        if requirement.marker is None:
            found, state = _package(requirement)
            yield requirement.name, found, BROKEN if state == MISSING else state


def _extras() -> Iterator[Row]:
    extras: dict[str, list[Requirement]] = {}
    for requirement in _requirements():
        for extra in re.findall(r'extra == "([\w-]+)"', str(requirement.marker or "")):
            if requirement.marker is not None and requirement.marker.evaluate({"extra": extra}):
                extras.setdefault(extra, []).append(requirement)
    for extra, requirements in extras.items():
        if extra in _OF_NO_USER:
            continue
        found = {requirement.name: _package(requirement) for requirement in requirements}
        texts = [f"{name} {text}" for name, (text, _) in found.items()]
        states = {state for _, state in found.values()}
        if MISSING in states:
            texts.append(f"pip install '{DISTRIBUTION}[{extra}]'")
        worst = next(state for state in (BROKEN, WARNING, MISSING, OK) if state in states)
        yield f"extra {extra}", "; ".join(texts), worst


def _requirements() -> list[Requirement]:
    try:
        found = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # run from a folder of files
        return []
    return [each for each in map(Requirement, found) if each.name != DISTRIBUTION]


def _package(requirement: Requirement) -> tuple[str, str]:
    """The version of a package, and whether it is there, new enough, and can be imported."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return "is not installed", MISSING
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{version}, where kdb needs {requirement.specifier}", BROKEN
    try:
        _load(requirement.name)
    except Exception as error:
        reason = str(error).strip() or type(error).__name__
        return f"{version} cannot be imported: {reason.splitlines()[0]}", BROKEN
    if requirement.name == "torchvision" and import_module("kdb.models.torchvision_compat").misfit():
        return (
            f"{version}, whose operators do not fit the installed torch; kdb does without them",
            WARNING,
        )
    return version, OK


def _load(name: str) -> None:
    if name == "torchvision":
        import_module("kdb.models.torchvision_compat").import_torchvision()  # as kdb imports it
    else:
        import_module("cupy" if name.startswith("cupy-") else _MODULES.get(name, name.replace("-", "_")))


# ---- the machine


def _threads() -> Iterator[Row]:
    import torch
    from threadpoolctl import threadpool_info

    from kdb.execution.settings import cores

    yield "cores", f"{cores()} for this process, of {os.cpu_count()}", OK
    chosen = {
        name: os.environ[name] for name in ("KDB_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ
    }
    told = "".join(f"; {name}={value}" for name, value in chosen.items())
    yield "threads", f"torch {torch.get_num_threads()}{told}", OK
    for pool in threadpool_info():
        if pool["user_api"] == "blas":
            kind = f" for {pool['architecture']}" if pool.get("architecture") else ""
            yield "BLAS", f"{pool['internal_api']} {pool['version']}{kind}, {pool['num_threads']} threads", OK
    mkldnn: Any = torch.backends.mkldnn  # which has no type hints
    there = mkldnn.is_available()
    onednn = "oneDNN" if there else "no oneDNN, so that convolutions are slow"
    yield "torch on CPU", f"{torch.backends.cpu.get_cpu_capability()}, {onednn}", OK if there else WARNING


def _compiled() -> Iterator[Row]:
    from kdb.kernels.compiled import library

    try:
        library_found, text = library.found()
    except Error as error:
        yield "compiled kernels", str(error), BROKEN
        return
    left_out = library_found is None and not text.startswith("off")
    yield "compiled kernels", f"none: {text}" if left_out else text, WARNING if left_out else OK


def _memory() -> Iterator[Row]:
    with suppress(AttributeError, ValueError, OSError):  # not on Windows
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        text = size(total)
        with suppress(OSError):
            if found := re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text()):
                text += f", {size(int(found[1]) * 1024)} available"
        with suppress(OSError, ValueError):  # of a container
            limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
            text += f", limited to {size(limit)}"
        yield "memory", text, OK


def _devices() -> Iterator[Row]:
    from kdb.kernels.gpu import device

    try:
        opened = device.opened()
    except DeviceError as error:
        yield "GPU", f"none: {error}", OK
        return
    torch_too = "" if opened.has_torch else "; this torch has no CUDA, so that its convolutions do not compete"
    yield "GPU", f"{opened.title}{torch_too}", WARNING if torch_too else OK


# ---- folders and files


def _caches() -> Iterator[Row]:
    import torch

    from kdb.execution.settings import default_threads
    from kdb.planner import calibration

    folder = cache.folder()
    yield "cache", *_folder(folder)
    files = [each for each in cache.traces().glob("*.json") if each.is_file()] if cache.traces().is_dir() else []
    total = sum(each.stat().st_size for each in files)
    yield "traces", f"{len(files)} in {size(total)}, of {size(cache.TRACES)} at most", OK
    machine = calibration.machine(default_threads())
    profile = calibration.kept(machine)
    if profile is not None:
        yield "calibration", f"of {profile.measured or 'an unknown day'}, for {default_threads()} threads", OK
    elif cache.read(folder / f"profile-{machine}.json") is not None:
        yield "calibration", "damaged or outdated; CALIBRATE makes it anew", WARNING
    else:
        yield "calibration", "none; CALIBRATE measures this machine", OK
    yield "weights", *_folder(Path(torch.hub.get_dir()))


def _folder(folder: Path) -> tuple[str, str]:
    """A folder that is written to, or is to be made, and whether that is possible and safe."""
    if not os.path.lexists(folder):
        above = next((each for each in folder.parents if each.exists()), folder)
        if above.is_dir() and os.access(above, os.W_OK):
            return f"{folder}, which is made when it is needed", OK
        return f"{folder}, which cannot be made: nothing is kept there", WARNING
    if not folder.is_dir():
        return f"{folder} is no folder: nothing is kept there", WARNING
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return f"{folder} is not writable: nothing is kept there", WARNING
    status = folder.stat()
    if os.name == "posix" and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{folder}, where other users can write: chmod go-w", WARNING
    if os.name == "posix" and status.st_uid not in (os.getuid(), 0):
        return f"{folder}, which belongs to another user", WARNING
    return str(folder), OK


def _study(study: str | None, root: str | None) -> Iterator[Row]:
    if study is None and root is None:
        return
    from kdb.session.study import Study
    from kdb.system.paths import Root

    try:
        permitted = Root.at(root)
        if root is not None:
            yield "root", str(permitted.folder), OK
        if study is None:
            return
        path = permitted.path(study)
        if not os.path.lexists(path):
            yield "study", f"there is no '{study}' yet", WARNING
            return
        opened = Study(path)
        try:
            models, settings = opened.models(), opened.settings()
        finally:
            opened.close()
    except Error as error:
        yield "study" if study is not None else "root", str(error), BROKEN
        return
    changed = [each.name for each in models if not os.path.isfile(each.path)]
    gone = f"; the file of '{changed[0]}' is not there" if changed else ""
    yield "study", f"{study}: {len(models)} models, {len(settings)} settings{gone}", WARNING if changed else OK
