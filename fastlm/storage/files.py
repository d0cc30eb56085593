"""Files as bytes: read whatever their compression, written atomically, and failures of the system in clear words."""

import errno
import gzip
import io
import lzma
import os
import secrets
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from fastlm.errors import FileError

__all__ = [
    "Source",
    "atomic_write",
    "atomic_write_named",
    "check_writable",
    "is_compressed",
    "open_binary",
    "read_blocks",
    "remove_temporaries",
    "system_failures",
]

Source = str | os.PathLike[str]

ADVICE = {
    errno.ENOENT: "; check the spelling of the path",
    errno.EACCES: "; check the permissions of the file and of its directory",
    errno.EISDIR: "; give the name of a file",
    errno.ENOSPC: "; make room and try again",
}


@contextmanager
def system_failures(action: str, path: Source) -> Iterator[None]:
    """Turn a failure of the system inside the block into a FileError that says what could not be done, and why."""
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        failure = FileError(f"cannot {action} {os.fspath(path)!r}: {reason}{ADVICE.get(error.errno or 0, '')}")
        failure.errno = error.errno
        raise failure from error


class _ZstdReader:
    """The bytes in a .zst file of any number of frames; unlike zstandard's own readers, it notices a cut."""

    INPUT_SIZE = 1 << 14  # little at a time, because four bytes of it can stand for 128 KiB

    def __init__(self, file: BinaryIO, path: Source) -> None:
        try:
            import zstandard
        except ImportError:
            raise FileError(
                f"cannot read {os.fspath(path)!r}: .zst files need the package zstandard, which is not installed; "
                "install it (pip install 'fastlm[zstd]') or decompress the file first"
            ) from None
        self.zstandard = zstandard
        self.file = file
        self.frame: Any = None
        self.compressed = b""
        self.output = memoryview(b"")

    def read1(self, size: int) -> memoryview:
        while not self.output:
            self.compressed = self.compressed or self.file.read(self.INPUT_SIZE)
            if not self.compressed and self.frame is None:
                break
            self._decompress()
        part, self.output = self.output[:size], self.output[size:]
        return part

    def _decompress(self) -> None:
        if not self.compressed:
            raise EOFError("the file ends inside a frame")
        self.frame = self.frame or self.zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
        try:
            self.output = memoryview(self.frame.decompress(self.compressed))
        except self.zstandard.ZstdError as error:
            raise EOFError(str(error)) from error
        self.compressed = b""
        if self.frame.eof:
            self.compressed, self.frame = self.frame.unused_data, None


class _Reader(io.RawIOBase):
    """What `inner` reads; its failures become FileErrors that name the path, in whosever hands they happen.

    `file` is what it reads from: the same, or the compressed bytes.
    """

    def __init__(self, inner: Any, file: BinaryIO, path: Source) -> None:
        self.inner = inner
        self.file = file
        self.path = path

    def readable(self) -> bool:
        return True

    def read1(self, size: int) -> bytes:
        """Return some bytes, at most `size`; none at the end."""
        with system_failures("read", self.path):
            try:
                return bytes(self.inner.read1(size))
            except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
                raise FileError(
                    f"cannot read {os.fspath(self.path)!r}: its compressed data is damaged or incomplete ({error}); "
                    "expected a file as its suffix says: compress or copy it again"
                ) from error

    def readinto(self, buffer: Any, /) -> int:
        data = self.read1(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def is_compressed(path: Source) -> bool:
    """Tell by its name whether a file is read through a decompressor."""
    return Path(path).suffix.lower() in (".gz", ".xz", ".zst")


@contextmanager
def _open_reader(path: Source) -> Iterator[_Reader]:
    if os.fspath(path) == "-":
        if sys.stdin is None:
            raise FileError("cannot read '-': there is no standard input; give the name of a file")
        yield _Reader(sys.stdin.buffer, sys.stdin.buffer, path)
        return
    with system_failures("read", path):
        opened = Path(path).open("rb")  # noqa: SIM115 - closed by the next line
    with opened as file:
        inner: Any
        match Path(path).suffix.lower():
            case ".gz":
                inner = gzip.GzipFile(fileobj=file, mode="rb")
            case ".xz":
                inner = lzma.LZMAFile(file)  # noqa: SIM115 - there is nothing to close but the file
            case ".zst":
                inner = _ZstdReader(file, path)
            case _:
                inner = file
        yield _Reader(inner, file, path)


@contextmanager
def open_binary(path: Source) -> Iterator[io.BufferedReader]:
    """Open a file for reading its bytes, decompressed if its name ends in .gz, .xz or .zst.

    Parameters
    ----------
    path : str or path-like
        The file; "-" is standard input, which is read as it is and left open.

    Yields
    ------
    io.BufferedReader
        The bytes. Whatever goes wrong while they are read is a FileError, too.

    Raises
    ------
    FileError
        If the file cannot be opened, read or decompressed.

    Examples
    --------
    >>> with atomic_write("words.txt") as file:
    ...     _ = file.write(b"one two\\n")
    >>> with open_binary("words.txt") as file:
    ...     file.readline()
    b'one two\\n'
    """
    with _open_reader(path) as raw, io.BufferedReader(cast(Any, raw)) as file:
        yield file


def read_blocks(
    path: Source,
    block_size: int = 1 << 20,
    *,
    begin: int = 0,
    end: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Iterator[bytes]:
    """Yield a file's bytes, opened as `open_binary` does, in blocks of at most `block_size`.

    What a pipe has is yielded as it comes, so blocks may be shorter, but they are never empty.

    Parameters
    ----------
    path : str or path-like
    block_size : int
    begin, end : int, optional
        A part of a file that is not compressed.
    progress : callable, optional
        Told how many bytes of the file, compressed as it may be, the last block was.
    """
    with _open_reader(path) as reader:
        if begin:
            reader.file.seek(begin)
        before = begin
        while block := reader.read1(block_size if end is None else min(block_size, end - before)):
            yield block
            after = reader.file.tell() if reader.file.seekable() else before + len(block)
            if progress is not None:
                progress(after - before)
            before = after


def _writable_target(path: Source) -> tuple[Path, int | None]:
    """Find the file that writing to `path` replaces, symbolic links followed, and its permissions if it exists."""
    name = os.fspath(path)
    target = Path(os.path.realpath(path))
    with system_failures("write", path):
        try:
            mode = target.stat().st_mode
        except FileNotFoundError:
            mode = None
    if not name or name.endswith(os.sep) or (mode is not None and stat.S_ISDIR(mode)):
        raise FileError(f"cannot write {name!r}: it names a directory; give the name of a file")
    if mode is not None and not stat.S_ISREG(mode):
        raise FileError(
            f"cannot write {name!r}: it is not a regular file (a device, pipe or socket); give another name"
        )
    if mode is not None and not os.access(target, os.W_OK):
        raise FileError(f"cannot write {name!r}: the file is write-protected; allow writing or give another name")
    if not target.parent.is_dir():
        raise FileError(f"cannot write {name!r}: the directory {str(target.parent)!r} does not exist; create it first")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise FileError(
            f"cannot write {name!r}: files cannot be created in the directory {str(target.parent)!r}; "
            "change its permissions or write elsewhere"
        )
    return target, None if mode is None else stat.S_IMODE(mode)


def check_writable(path: Source) -> None:
    """Check that `atomic_write` could write to `path`, before the work whose result goes there; nothing is touched.

    Raises
    ------
    FileError
        If `path` is a directory or a device, its directory does not exist, or permissions are missing.
    """
    _writable_target(path)


class _TemporaryFile(io.FileIO):
    """A new file that will become `path`; failing to write it (a full disk, say) is a FileError that names `path`."""

    def __init__(self, temporary: Path, path: Source, mode: int) -> None:
        super().__init__(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode))
        self.path = path

    def write(self, data: Any, /) -> int | None:  # type: ignore[override]
        with system_failures("write", self.path):
            return super().write(data)


@contextmanager
def atomic_write(path: Source, *, temporary_in: Source | None = None, sync: bool = True) -> Iterator[BinaryIO]:
    """Write a file so that `path` holds, at every moment, either all that it held before or all of the new.

    The bytes go to a temporary file in the same directory, reach the disk, and only then take the name of `path`. If
    anything fails on the way, an exception in the block included, the temporary file is removed; only a process that is
    killed outright leaves one behind, named ".fastlm-….tmp" (see `remove_temporaries`). An existing file keeps its
    permissions, and where `path` is a symbolic link, the file that it points to is replaced.

    Parameters
    ----------
    path : str or path-like
        The file to write.
    temporary_in : str or path-like, optional
        Another directory, of the same file system, for the temporary file.
    sync : bool, default True
        Wait until the bytes have reached the disk. Without, a failure of power can leave a broken file: for what can be
        made again, and is checked before it is used.

    Yields
    ------
    BinaryIO
        A buffered file, open for writing and seeking.

    Raises
    ------
    FileError
        If the file cannot be written; the old one is then untouched.
    """
    target, mode = _writable_target(path)
    folder = target.parent if temporary_in is None else Path(temporary_in)
    temporary = folder / f"{_temporary_prefix(target)}{secrets.token_hex(8)}.tmp"
    try:
        with system_failures("write", path):
            raw = _TemporaryFile(temporary, path, 0o666 if mode is None else mode)
        with io.BufferedWriter(raw) as file:
            yield file
            with system_failures("write", path):
                file.flush()
                if sync:
                    os.fsync(file.fileno())
        with system_failures("write", path):
            if mode is not None:
                temporary.chmod(mode)
            temporary.replace(target)
    except BaseException:
        with suppress(OSError):  # what stopped the writing is the news
            temporary.unlink()
        raise
    if sync:
        _sync_directory(target.parent)


@contextmanager
def atomic_write_named(path: Source) -> Iterator[BinaryIO]:
    """Write a file as `atomic_write` does, compressed if its name ends in .gz, so that it can be read by that name.

    Parameters
    ----------
    path : path

    Raises
    ------
    ValueError
        If the name ends in .xz or .zst, which are only read.
    FileError
        As `atomic_write`.

    Examples
    --------
    >>> with atomic_write_named("words.txt.gz") as file:
    ...     _ = file.write(b"one two")
    >>> with open_binary("words.txt.gz") as file:
    ...     file.read()
    b'one two'
    """
    ending = Path(path).suffix.lower()
    if ending in (".xz", ".zst"):
        raise ValueError(f"{os.fspath(path)!r} ends in {ending}, which is read but not written; take .gz, or neither")
    with atomic_write(path) as file:
        if ending != ".gz":
            yield file
            return
        # Without a name or a clock time: equal contents are equal bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as compressed:
            yield cast(BinaryIO, compressed)


def remove_temporaries(path: Source) -> None:
    """Remove what killed processes have left of writing `path`, where nobody else can be writing it now.

    Parameters
    ----------
    path : str or path-like
        The file that `atomic_write` was to write.

    Examples
    --------
    >>> remove_temporaries("words.txt")
    """
    target = Path(os.path.realpath(path))
    for temporary in target.parent.glob(f"{_temporary_prefix(target)}*.tmp"):
        with system_failures("remove", temporary):
            temporary.unlink(missing_ok=True)


def _temporary_prefix(target: Path) -> str:
    """Return how the names of a file's temporaries begin: its own name may be as long as the system allows."""
    return f".fastlm-{zlib.crc32(os.fsencode(target.name)):08x}-"


def _sync_directory(directory: Path) -> None:
    """Bring a renaming to the disk, where the system can; the file is whole either way."""
    if os.name == "posix":
        with suppress(OSError):
            descriptor = os.open(directory, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
