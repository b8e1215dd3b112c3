"""Files that torch.save wrote: whether reading them as weights alone takes no more than the file holds.

PyTorch's own reader runs no code from them, but unpacks archives, makes types of any size, and hashes what a few bytes
fold out to.
"""

from __future__ import annotations

import os
import pickletools
import zipfile
from typing import IO

from kdb.errors import ModelError

_BEFORE_WEIGHTS = 3
"""Pickles before the one of the weights in files of versions before 1.6: a magic number, the version, the system."""
_MOST_PARTS = 1 << 16
"""Parts of a tuple, those of its parts counted each time: a key of the weights is a text, a shape has a few numbers."""
_OF_ANY_SIZE = ("builtins bytearray", "__builtin__ bytearray")
"""The one type that PyTorch's reader makes as large as a number in the file says."""


def check(path: str) -> None:
    """Raise ModelError for a file that would unpack to more than it holds; torch.save packs nothing.

    A file that is no archive and no pickle may raise any exception.
    """
    with open(path, "rb") as file:
        if file.read(2) == b"PK":
            _check_archive(path)
            return
        file.seek(0)
        for _ in range(_BEFORE_WEIGHTS + 1):
            _check_pickle(path, file)


def _check_archive(path: str) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            what = "a TorchScript archive, or another that is compressed"
            raise ModelError(f"'{path}' is {what}; save the state_dict() of the module by torch.save")
        if sum(part.file_size for part in parts) > os.path.getsize(path):
            raise ModelError(f"'{path}' says that its parts are larger than the whole: it is damaged")
        for part in parts:
            if part.filename.endswith(".pkl"):
                with archive.open(part) as file:
                    _check_pickle(path, file)


def _check_pickle(path: str, file: IO[bytes]) -> None:
    """Follow the instructions of one pickle with the sizes of values in place of values."""
    stack: list[int] = []
    marks: list[int] = []
    memo: dict[object, int] = {}
    for instruction, argument, _ in pickletools.genops(file):
        name, takes = instruction.name, instruction.stack_before
        if name == "GLOBAL" and argument in _OF_ANY_SIZE:
            raise ModelError(f"'{path}' holds a bytearray, which no weights need; save the state_dict()")
        if name == "MARK":
            marks.append(len(stack))
        elif name.endswith("PUT"):
            memo[argument] = stack[-1]
        elif name.endswith("GET"):
            stack.append(memo[argument])
        else:
            left = len(stack) - len(takes)
            if pickletools.markobject in takes:
                left = marks.pop() - takes.index(pickletools.markobject)
            taken, stack[left:] = stack[left:], []
            size = 1 + sum(taken) if name.startswith("TUPLE") or name == "REDUCE" else 1
            if size > _MOST_PARTS:
                raise ModelError(f"'{path}' holds tuples of tuples, which fold out to more than weights need")
            stack += [size] * len(instruction.stack_after)
