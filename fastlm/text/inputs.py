"""The files of a text: found by name, pattern or folder, and cut into parts that can be read side by side."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from fastlm.errors import FileError
from fastlm.storage import Source, is_compressed, read_blocks
from fastlm.storage.files import system_failures

__all__ = ["Input", "Part", "Piece", "cut_into_parts", "find_inputs", "lines_before"]

SEARCH_SIZE = 1 << 16  # bytes that are read to find the end of a line


class Input(NamedTuple):
    """A file of the text, and by what a later change of it is noticed; a pipe has neither size nor time."""

    path: str
    size: int | None
    changed: int | None

    @classmethod
    def of(cls, path: str) -> "Input":
        """Look at a file; "-" is standard input."""
        if path == "-" or (Path(path).exists() and not Path(path).is_file()):
            return cls(path, None, None)
        with system_failures("read", path):
            status = Path(path).stat()
        return cls(path, status.st_size, status.st_mtime_ns)

    @property
    def is_stream(self) -> bool:
        """Whether it can be read once only."""
        return self.size is None


class Piece(NamedTuple):
    """Bytes of a file; `end` is None for all of what is compressed or a pipe."""

    path: str
    begin: int
    end: int | None


Part = list[Piece]


def find_inputs(sources: Source | Sequence[Source]) -> list[Input]:
    """Find the files that are meant.

    Parameters
    ----------
    sources : str, path-like, or sequence of them
        Names of files in their order, "-" for standard input; patterns (``*``, ``?``, ``[…]``, ``**``), which stand for
        the files that match, sorted; folders, which stand for all files below them, sorted. Names that begin with a
        dot are passed over in patterns and folders.

    Returns
    -------
    list of Input

    Raises
    ------
    FileError
        If a name stands for no file.
    ValueError
        If there are no sources, or standard input is among them twice.
    """
    names = [os.fspath(source) for source in ([sources] if isinstance(sources, str | os.PathLike) else sources)]
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"got {sources!r}: expected the paths of one text or more")
    if names.count("-") > 1:
        raise ValueError("standard input (-) is there twice, but it can be read once only")
    return [Input.of(path) for name in names for path in _matching(name)]


def _matching(name: str) -> list[str]:
    if Path(name).is_dir():
        found = _below(name)
    elif name == "-" or Path(name).exists() or not glob.has_magic(name):
        return [name]
    else:
        matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - a pattern may be absolute
        found = [path for match in matches for path in (_below(match) if Path(match).is_dir() else [match])]
        found = list(dict.fromkeys(found))  # with ** a file matches by itself and by its folder
    if not found:
        raise FileError(f"cannot read {name!r}: there is no file in it, or none matches; check the spelling")
    return found


def _below(folder: str) -> list[str]:
    """List the files in a folder and the folders in it."""

    def fail(error: OSError) -> NoReturn:
        with system_failures("read", error.filename):
            raise error

    found = []
    for where, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [inner for inner in folders if not inner.startswith(".")]
        found += [str(Path(where, file)) for file in files if not file.startswith(".")]
    return sorted(found)


def cut_into_parts(inputs: Sequence[Input], num_parts: int) -> list[Part]:
    """Cut a text into parts of about equal size, at ends of lines.

    Plain files are cut, and small ones put together; what is compressed stays whole. There may be fewer parts than
    wanted.
    """
    total = sum(item.size or 0 for item in inputs)
    size = max(1, -(-total // num_parts))
    parts: list[Part] = [[]]
    left = size
    for item in inputs:
        for piece in _pieces(item, left, size):
            if left <= 0:
                parts.append([])
                left = size
            parts[-1].append(piece)
            left -= (item.size or 0) if piece.end is None else piece.end - piece.begin
    return parts


def _pieces(item: Input, first_size: int, size: int) -> Iterator[Piece]:
    """Cut a file behind lines: a piece of the first size, where there is room for one, then pieces of the other."""
    if item.size is None or is_compressed(item.path):
        yield Piece(item.path, 0, None)
        return
    begin, wanted = 0, first_size if first_size > 0 else size
    while begin < item.size:
        end = _line_end(item.path, begin + wanted, item.size)
        yield Piece(item.path, begin, end)
        begin, wanted = end, size


def _line_end(path: str, at: int, size: int) -> int:
    """Return the place behind the line that byte `at` - 1 is in."""
    for block in read_blocks(path, SEARCH_SIZE, begin=at - 1, end=size) if at < size else ():
        found = block.find(b"\n")
        if found >= 0:
            return at + found
        at += len(block)
    return size


def lines_before(piece: Piece) -> int:
    """Count the lines of the file before the piece."""
    return sum(block.count(b"\n") for block in read_blocks(piece.path, begin=0, end=piece.begin))
