"""Compiles the C sources beside it into one library, with all variants; of the standard library alone.

``hatch_build.py`` loads this file by its path, where kdb itself cannot be imported yet.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
NAME = "kdb_kernels.so"

VARIANTS = {
    "avx512": ("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"),
    "avx2": ("-mavx2", "-mfma"),
}
"""What the compiler may use in each variant, the best first; features.c says where one can run."""
LANES = {"avx512": 16, "avx2": 8}
"""Float32 numbers of a vector."""
FLAGS = (
    "-std=gnu99",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
)
COMPILERS = ("cc", "gcc", "clang")
SECONDS = 300
"""The longest that a compiler may take for one variant."""


class BuildError(Exception):
    """No library could be made; its text says why."""


def digest() -> str:
    """A hash of all that the library is made of: the sources, and this file with its flags."""
    found = hashlib.sha256()
    for path in sorted([*FOLDER.glob("*.[ch]"), FOLDER / "build.py"]):
        text = path.read_bytes().replace(b"\r\n", b"\n")
        found.update(f"{path.name} {len(text)}\n".encode() + text)
    return found.hexdigest()


def compiler() -> list[str]:
    """The command of the C compiler: ``CC`` of the environment, or the first of COMPILERS that there is.

    Raises BuildError where there is none, or the processor is not of the kind that the variants are for.
    """
    if platform.machine().lower() not in ("x86_64", "amd64") or os.name != "posix":
        raise BuildError(f"there are no compiled kernels for {platform.system()} on {platform.machine()}")
    named = os.environ.get("CC")
    for command in [shlex.split(named)] if named else [[name] for name in COMPILERS]:
        if command and shutil.which(command[0]):
            return command
    raise BuildError(f"there is no C compiler: {named or ', '.join(COMPILERS)}")


def current(library: Path) -> bool:
    """Whether a library is there that was made of what there is."""
    try:
        return digest().encode() in library.read_bytes()
    except OSError:
        return False


def build(target: Path) -> None:
    """Compile the library to ``target``, unless it is current; raises BuildError where that is not possible."""
    if current(target):
        return
    command = compiler()
    try:
        with tempfile.TemporaryDirectory() as folder:
            objects = [Path(folder, f"{name}.o") for name in (*VARIANTS, "features")]
            calls = [
                [*FLAGS, *flags, f"-DVARIANT={name}", "-c", str(FOLDER / "variant.c"), "-o", str(made)]
                for (name, flags), made in zip(VARIANTS.items(), objects, strict=False)
            ]
            calls.append([*FLAGS, f'-DSOURCES="{digest()}"', "-c", str(FOLDER / "features.c"), "-o", str(objects[-1])])
            _all(command, calls)
            made = Path(folder, NAME)
            _all(command, [["-shared", *map(str, objects), "-o", str(made)]])
            target.parent.mkdir(parents=True, exist_ok=True)
            # In place of another in one step: a process that has that one loaded keeps it.
            beside = target.with_name(f"{target.name}.{os.getpid()}")
            shutil.copyfile(made, beside)
            os.replace(beside, target)
    except OSError as error:
        raise BuildError(f"the compiled kernels cannot be written: {error}") from error


def _all(command: list[str], calls: list[list[str]]) -> None:
    """Run the compiler with each list of arguments, all at once."""
    running = [
        subprocess.Popen(
            [*command, *call], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        for call in calls
    ]
    try:
        for process in running:
            output, _ = process.communicate(timeout=SECONDS)
            if process.returncode:
                raise BuildError(f"{shlex.join(command)} failed: {output.strip()[-2000:]}")
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{shlex.join(command)} took more than {SECONDS} s") from error
    finally:
        for process in running:
            process.kill()
            process.wait()


def tag() -> str:
    """The tag of a wheel with the library: any Python 3, this platform."""
    return f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


if __name__ == "__main__":
    try:
        build(FOLDER / NAME)
    except BuildError as error:
        print(f"kdb does without compiled kernels: {error}", file=sys.stderr)
