"""Files that are mapped into memory, and what becomes of them when somebody writes to them meanwhile."""

import mmap
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import FileError, ModelFileError
from fastlm.storage.files import Source, system_failures
from fastlm.storage.header import checksum

__all__ = ["check_unchanged", "map_file"]


class _Mapping(mmap.mmap):
    """A mapped file, with what tells whether it has been changed since.

    Attributes
    ----------
    path : Path
    status : os.stat_result
        As the file was.
    checksums : dict of (int, int) to str
        What is known of its contents: the CRC-32 of the bytes from one place to another.
    """

    path: Path
    status: os.stat_result
    checksums: dict[tuple[int, int], str]

    def is_unchanged(self) -> bool:
        try:
            now = self.path.stat()
        except OSError:  # removed, or moved: whoever has it open still does
            return True
        if not os.path.samestat(now, self.status):  # another file has its name
            return True
        if (now.st_size, now.st_mtime_ns) == (self.status.st_size, self.status.st_mtime_ns):
            return True
        if now.st_size != self.status.st_size or not self.checksums:
            return False
        data = memoryview(self)
        if any(checksum(data[begin:end]) != digits for (begin, end), digits in self.checksums.items()):
            return False
        self.status = now  # it was only touched
        return True


def map_file(path: Source) -> _Mapping:
    """Map a regular file, read-only."""
    with system_failures("read", path), Path(path).open("rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise FileError(f"cannot read {os.fspath(path)!r}: it is not a regular file; copy its contents into one")
        if status.st_size < 8:
            raise ModelFileError(
                f"cannot use {os.fspath(path)!r}: it has {status.st_size} bytes, too few for a model or corpus; "
                "it is cut off or something else"
            )
        data = _Mapping(file.fileno(), 0, access=mmap.ACCESS_READ)
    data.path, data.status, data.checksums = Path(path).absolute(), status, {}
    return data


def check_unchanged(array: NDArray[Any]) -> None:
    """Raise FileError if the file that an array is mapped from was written to since it was mapped.

    To read what a file has lost would end the process without a word. An array in memory, and one of a file that was
    replaced or removed, stay as they are.

    Parameters
    ----------
    array : array
        A tensor of a `TensorFile`, a view of one, or any other.

    Raises
    ------
    FileError
        If its size, or its contents, are others than they were.

    Examples
    --------
    >>> check_unchanged(np.arange(9))
    """
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, _Mapping) and not owner.is_unchanged():
        raise FileError(
            f"{str(owner.path)!r} was changed while it was in use; put back what it was, and change only copies of it"
        )
