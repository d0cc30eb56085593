"""Bytes: opening, atomic writing, and the checksummed tensor container that models and corpora are kept in.

The container
-------------
A container is a valid safetensors file, so any safetensors reader opens it. It has three parts: eight bytes with the
length of the header as a little-endian integer; the header, one JSON object in UTF-8; and the bytes of the tensors,
little-endian and in C order. The header maps each tensor's name to its `dtype`, `shape` and `data_offsets` (begin and
end, counted from the end of the header), and `__metadata__` to an object of strings.

What safetensors leaves open is decided here. The header is padded with spaces until the data begins at a multiple of
64 bytes, a cache line, and the tensors follow each other without gaps, sorted by the size of their items, largest
first, then by name: so every tensor is aligned for its type, can be used straight from a memory map, and no byte of
the file lies outside the header and the tensors. Metadata keys are sorted, JSON is written without optional spaces,
and no time or host name is kept: equal contents are equal bytes.

safetensors has no checksums; these are kept in `__metadata__`, as eight lower-case hexadecimal digits of a CRC-32
(that of zlib and PNG), which catches every altered byte and every burst of up to four. `crc32:NAME` covers the bytes of
the tensor NAME. `crc32` covers all that comes before the data, the eight length bytes and the padding included, taken
with its own digits as `00000000`. It is the first entry of `__metadata__`, which is the first entry of the header, so
its digits always stand at the same place, and a header can be checked before a parser sees it. Metadata keys that
begin with `crc32` are reserved.

A reader checks the header's own checksum, that the JSON has no duplicate key, that dtypes are known, and that shapes
and offsets agree and tile the data exactly: nothing before, between, behind or on top of each other. This costs
microseconds, reads no tensor, and is done always. Verifying reads the tensors, too, and holds them to their checksums.
A safetensors file of other software has none: it is refused when verification is asked for, which is the default,
because there would be nothing to keep that promise with, and accepted with `verify=False`.
"""

import errno
import gzip
import io
import json
import lzma
import math
import mmap
import os
import secrets
import stat
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlm.errors import FileError, ModelFileError

__all__ = [
    "Source",
    "TensorFile",
    "TensorWriter",
    "atomic_write",
    "check_writable",
    "open_binary",
    "read_blocks",
    "read_tensors",
    "write_tensors",
]

Source = str | os.PathLike[str]

DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("bool"),
}
DTYPE_CODES = {dtype.str: code for code, dtype in DTYPES.items()}
ALIGNMENT = 64
MAX_HEADER_SIZE = 100_000_000  # the limit of the safetensors library
CHECKED_START = b'{"__metadata__":{"crc32":"'  # a header with checksums begins so; its own digits follow
DIGITS = slice(8 + len(CHECKED_START), 8 + len(CHECKED_START) + 8)
ADVICE = {
    errno.ENOENT: "; check the spelling of the path",
    errno.EACCES: "; check the permissions of the file and of its directory",
    errno.EISDIR: "; give the name of a file",
    errno.ENOSPC: "; make room and try again",
}


@contextmanager
def _system_failures(action: str, path: Source) -> Iterator[None]:
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


# ---------------------------------------------------------------------------------------------- reading any file


class _ZstdReader:
    """The bytes in a .zst file of any number of frames; unlike zstandard's own readers, it notices a cut."""

    INPUT_SIZE = 1 << 14  # little at a time, because four bytes of it can stand for 128 KiB

    def __init__(self, path: Source) -> None:
        try:
            import zstandard
        except ImportError:
            raise FileError(
                f"cannot read {os.fspath(path)!r}: .zst files need the package zstandard, which is not installed; "
                "install it (pip install 'fastlm[zstd]') or decompress the file first"
            ) from None
        self.zstandard = zstandard
        self.file = Path(path).open("rb")
        self.frame: Any = None
        self.compressed = b""
        self.output = memoryview(b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()

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
    """What `inner` reads; its failures become FileErrors that name the path, in whosever hands they happen."""

    def __init__(self, inner: Any, path: Source) -> None:
        self.inner = inner
        self.path = path

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        with _system_failures("read", self.path):
            try:
                data = self.inner.read1(len(buffer))
            except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
                raise FileError(
                    f"cannot read {os.fspath(self.path)!r}: its compressed data is damaged or incomplete ({error}); "
                    "expected a file as its suffix says: compress or copy it again"
                ) from error
        buffer[: len(data)] = data
        return len(data)


def _open_inner(path: Source) -> AbstractContextManager[Any]:
    """The object that `_Reader` reads from."""
    if os.fspath(path) == "-":
        if sys.stdin is None:
            raise FileError("cannot read '-': there is no standard input; give the name of a file")
        return nullcontext(sys.stdin.buffer)
    match Path(path).suffix.lower():
        case ".gz":
            return gzip.open(path, "rb")
        case ".xz":
            return lzma.open(path, "rb")
        case ".zst":
            return _ZstdReader(path)
        case _:
            return Path(path).open("rb")


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
    >>> with open_binary(example_path) as file:  # doctest: +SKIP
    ...     file.readline()
    b'one two\n'
    """
    with _system_failures("read", path):
        opened = _open_inner(path)
    with opened as inner, io.BufferedReader(_Reader(inner, path)) as file:
        yield file


def read_blocks(path: Source, block_size: int = 1 << 20) -> Iterator[bytes]:
    """Yield a file's bytes, opened as `open_binary` does, in blocks of at most `block_size`.

    What a pipe has is yielded as it comes, so blocks may be shorter, but they are never empty.
    """
    with open_binary(path) as file:
        while block := file.read1(block_size):
            yield block


# -------------------------------------------------------------------------------------------- writing atomically


def _writable_target(path: Source) -> tuple[Path, int | None]:
    """The file that writing to `path` replaces, symbolic links followed, and its permissions if it exists."""
    name = os.fspath(path)
    target = Path(os.path.realpath(path))
    with _system_failures("write", path):
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
        with _system_failures("write", self.path):
            return super().write(data)


@contextmanager
def atomic_write(path: Source) -> Iterator[BinaryIO]:
    """Write a file so that `path` holds, at every moment, either all that it held before or all of the new.

    The bytes go to a temporary file in the same directory, reach the disk, and only then take the name of `path`. If
    anything fails on the way, an exception in the block included, the temporary file is removed. An existing file
    keeps its permissions, and where `path` is a symbolic link, the file that it points to is replaced.

    Parameters
    ----------
    path : str or path-like
        The file to write.

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
    temporary = target.with_name(f".fastlm-{secrets.token_hex(8)}.tmp")
    try:
        with _system_failures("write", path):
            raw = _TemporaryFile(temporary, path, 0o666 if mode is None else mode)
        with io.BufferedWriter(raw) as file:
            yield file
            with _system_failures("write", path):
                file.flush()
                os.fsync(file.fileno())
        with _system_failures("write", path):
            if mode is not None:
                temporary.chmod(mode)
            temporary.replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    _sync_directory(target.parent)


def _sync_directory(directory: Path) -> None:
    """Bring a renaming to the disk, where the system can; the file is whole either way."""
    if os.name == "posix":
        with suppress(OSError):
            descriptor = os.open(directory, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


# ------------------------------------------------------------------------------------------------- the container


def _crc32(data: Any) -> str:
    return f"{zlib.crc32(data):08x}"


def _little_endian(name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which a tensor is stored."""
    stored = dtype.newbyteorder("<")
    if stored.str not in DTYPE_CODES:
        known = ", ".join(known.name for known in DTYPES.values())
        raise ValueError(f"tensor {name!r} has dtype {dtype}, which cannot be stored; expected one of {known}")
    return stored


def _entry(dtype: np.dtype[Any], shape: tuple[int, ...], begin: int) -> dict[str, Any]:
    """What the header says of a tensor whose bytes start at `begin`."""
    end = begin + math.prod(shape) * dtype.itemsize
    return {"dtype": DTYPE_CODES[dtype.str], "shape": shape, "data_offsets": (begin, end)}


def _header(
    metadata: Mapping[str, str], entries: Mapping[str, Any], checksums: Mapping[str, str], room: int = 0
) -> bytes:
    """All that comes before the data, at least `room` bytes, with its own checksum in place."""
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str) or key.startswith("crc32"):
            raise ValueError(f"metadata {key!r}: {value!r} cannot be stored: expected strings, the key not 'crc32…'")
    if "__metadata__" in entries:
        raise ValueError("a tensor cannot be named '__metadata__', which is the header's own word; name it otherwise")
    notes = {f"crc32:{name}": checksum for name, checksum in checksums.items()} | dict(metadata)
    content = {"__metadata__": {"crc32": "00000000"} | dict(sorted(notes.items())), **entries}
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    size = max(room, -(-(8 + len(text)) // ALIGNMENT) * ALIGNMENT) - 8
    if size > MAX_HEADER_SIZE:
        raise ValueError(f"the header has {size:,} bytes, more than the {MAX_HEADER_SIZE:,} that readers accept")
    header = bytearray(size.to_bytes(8, "little") + text.ljust(size))
    header[DIGITS] = _crc32(header).encode()
    return bytes(header)


def write_tensors(path: Source, metadata: Mapping[str, str], tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays and metadata as one container, atomically; equal contents give equal bytes.

    Parameters
    ----------
    path : str or path-like
        The file to write.
    metadata : mapping of str to str
        Anything; keys that begin with "crc32" are reserved.
    tensors : mapping of str to array
        Arrays of any shape, of float16 to float64, int8 to int64, uint8 to uint64, or bool.

    Raises
    ------
    FileError
        If the file cannot be written; an old file is then untouched.
    ValueError
        If a dtype or the metadata cannot be stored.

    Examples
    --------
    >>> write_tensors("rows.safetensors", {"made by": "hand"}, {"rows": np.eye(2)})  # doctest: +SKIP
    >>> read_tensors("rows.safetensors").tensors["rows"]  # doctest: +SKIP
    array([[1., 0.],
           [0., 1.]])
    """
    arrays = {name: np.asarray(values) for name, values in tensors.items()}
    arrays = {name: np.asarray(a, dtype=_little_endian(name, a.dtype), order="C") for name, a in arrays.items()}
    arrays = dict(sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])))
    contents = {name: array.reshape(-1).view(np.uint8).data for name, array in arrays.items()}
    entries, end = {}, 0
    for name, array in arrays.items():
        entries[name] = _entry(array.dtype, array.shape, end)
        end += array.nbytes
    header = _header(metadata, entries, {name: _crc32(content) for name, content in contents.items()})
    with atomic_write(path) as file:
        file.write(header)
        for content in contents.values():
            file.write(content)


class TensorWriter:
    """Write a container with one tensor of one dimension whose length shows only at the end, in bounded memory.

    A context manager: leaving it without an exception puts the file in place, as `atomic_write` does.

    Parameters
    ----------
    path : str or path-like
        The file to write.
    name : str
        The tensor's name.
    dtype : dtype
        The tensor's type.
    metadata : mapping of str to str, optional
        What is known at the start.

    Attributes
    ----------
    metadata : dict of str to str
        May be changed until the end: counts of what was written, for example.
    size : int
        Number of items written.

    Examples
    --------
    >>> with TensorWriter("ids.safetensors", "ids", np.uint16) as writer:  # doctest: +SKIP
    ...     writer.append(np.array([5, 3, 1], np.uint16))
    ...     writer.metadata["sentences"] = "1"
    """

    HEADER_ROOM = 4096  # reserved, because the header can only be written at the end

    def __init__(self, path: Source, name: str, dtype: DTypeLike, metadata: Mapping[str, str] | None = None) -> None:
        self.path = path
        self.name = name
        self.dtype = _little_endian(name, np.dtype(dtype))
        self.metadata = dict(metadata or {})
        self.size = 0
        self._checksum = 0
        self._room = self.HEADER_ROOM + len(self._header(room=0))

    def append(self, values: NDArray[Any]) -> None:
        """Write the next items: an array of one dimension and of the tensor's dtype."""
        if values.ndim != 1 or values.dtype != self.dtype:
            raise ValueError(
                f"tensor {self.name!r} cannot take an array of shape {values.shape} and dtype {values.dtype}; "
                f"expected one dimension and dtype {self.dtype}"
            )
        content = np.asarray(values, dtype=self.dtype, order="C").view(np.uint8).data
        self._file.write(content)
        self._checksum = zlib.crc32(content, self._checksum)
        self.size += len(values)

    def _header(self, room: int) -> bytes:
        entry = _entry(self.dtype, (self.size,), 0)
        return _header(self.metadata, {self.name: entry}, {self.name: f"{self._checksum:08x}"}, room)

    @contextmanager
    def _writing(self) -> Iterator[Self]:
        with atomic_write(self.path) as self._file:
            self._file.seek(self._room)
            yield self
            header = self._header(self._room)
            if len(header) > self._room:
                raise ValueError(
                    f"the metadata for {os.fspath(self.path)!r} grew by more than {self.HEADER_ROOM} bytes while the "
                    "tensor was written; give the long entries at the start"
                )
            self._file.seek(0)
            self._file.write(header)

    def __enter__(self) -> Self:
        self._context = self._writing()
        return self._context.__enter__()

    def __exit__(self, *exception: Any) -> bool | None:
        return self._context.__exit__(*exception)


@dataclass(frozen=True)
class TensorFile:
    """An open container.

    Attributes
    ----------
    path : str
        Where it was read from.
    metadata : dict of str to str
        The metadata, without the checksums.
    tensors : dict of str to array
        Read-only views of the file's memory map, which stays open as long as one of them lives.
    checksums : dict of str to str, or None
        The CRC-32 that each tensor should have; None for a plain safetensors file, which has no checksums.
    """

    path: str
    metadata: dict[str, str]
    tensors: dict[str, NDArray[Any]]
    checksums: dict[str, str] | None

    def verify(self) -> None:
        """Read all tensors and hold them to their checksums; ModelFileError if they differ or there are none."""
        with _damage(self.path):
            if self.checksums is None:
                raise ValueError(
                    "it is a safetensors file without this package's checksums, so it cannot be verified; "
                    "if you trust it, open it with verify=False"
                )
            for name, array in self.tensors.items():
                stored, found = self.checksums.get(name), _crc32(array.reshape(-1).view(np.uint8).data)
                if found != stored:
                    raise ValueError(f"the CRC-32 of tensor {name!r} is {found}, expected {stored}")
                if array.dtype == bool and array.view(np.uint8).max(initial=0) > 1:
                    raise ValueError(f"tensor {name!r} is BOOL, but has bytes other than 0 and 1")


@contextmanager
def _damage(path: str) -> Iterator[None]:
    """Turn what is wrong with a container's contents into a ModelFileError that names the file."""
    try:
        yield
    except RecursionError:
        raise ModelFileError(
            f"cannot use {path!r}: its header is nested too deeply; it is not a file of fastlm"
        ) from None
    except ValueError as error:
        raise ModelFileError(f"cannot use {path!r}: {error}") from error


def read_tensors(path: Source, *, verify: bool = True) -> TensorFile:
    """Open a container through a memory map.

    Parameters
    ----------
    path : str or path-like
        The file. It must not be changed in place while it is open; `atomic_write` replaces it, which is safe.
    verify : bool, default True
        Read all of the file once and check it against its checksums. Without, only the header and the lengths are
        checked, no tensor is read until it is used, and plain safetensors files of other software are accepted.

    Returns
    -------
    TensorFile
        Metadata and read-only tensors, which share the file's pages with all processes that open it.

    Raises
    ------
    FileError
        If the file cannot be opened.
    ModelFileError
        If it is not a whole, unaltered container.
    """
    name = os.fspath(path)
    data = _memory_map(path)
    with _damage(name):
        content, begin, checked = _parsed_header(data)
        metadata = content.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("its __metadata__ is not an object of strings")
        layout = _layout(content, len(data) - begin)
        tensors = {name: _view(data, begin + first, dtype, shape) for name, (dtype, shape, first, _) in layout.items()}
    checksums = None
    if checked:
        checksums = {key[6:]: metadata.pop(key) for key in list(metadata) if key.startswith("crc32")}
    file = TensorFile(name, metadata, tensors, checksums)
    if verify:
        file.verify()
    return file


def _memory_map(path: Source) -> mmap.mmap:
    with _system_failures("read", path), Path(path).open("rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise FileError(f"cannot read {os.fspath(path)!r}: it is not a regular file; copy its contents into one")
        if status.st_size < 8:
            raise ModelFileError(
                f"cannot use {os.fspath(path)!r}: it has {status.st_size} bytes, too few for a model or corpus; "
                "it is cut off or something else"
            )
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _parsed_header(data: mmap.mmap) -> tuple[dict[str, Any], int, bool]:
    """The header's JSON, where the data begins, and whether there are checksums, of which the header's is right."""
    size = int.from_bytes(data[:8], "little")
    begin = 8 + size
    if size > MAX_HEADER_SIZE or begin > len(data):
        raise ValueError(
            f"its first eight bytes announce a header of {size:,} bytes, but the file has {len(data):,} in all; "
            "it is cut off, or no file of fastlm"
        )
    header = bytearray(data[:begin])
    checked = header.startswith(CHECKED_START, 8)
    if checked:
        stored, header[DIGITS] = header[DIGITS], b"00000000"
        if stored != _crc32(header).encode():
            raise ValueError(f"the CRC-32 of its header is {_crc32(header)}, expected {stored!r}; the file is damaged")
    try:
        content = json.loads(header[8:].decode(), object_pairs_hook=_checked_object, parse_constant=_refused_constant)
    except ValueError as error:
        raise ValueError(
            f"its header is not the JSON of a safetensors file ({error}); it is damaged or something else"
        ) from error
    if not isinstance(content, dict):
        raise ValueError("its header is not a JSON object; it is damaged or something else")
    return content, begin, checked


def _checked_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, refused if a key is there twice or a string cannot be UTF-8 (a lone surrogate)."""
    for key, value in pairs:
        key.encode()
        if isinstance(value, str):
            value.encode()
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("duplicate key")
    return content


def _refused_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _layout(entries: dict[str, Any], data_size: int) -> dict[str, tuple[np.dtype[Any], list[int], int, int]]:
    """Dtype, shape, begin and end of each tensor, in the order of the data, which they tile exactly."""
    layout = {name: _checked_entry(name, entry) for name, entry in entries.items()}
    layout = dict(sorted(layout.items(), key=lambda item: item[1][2:]))
    position = 0
    for name, (_, _, begin, end) in layout.items():
        if begin != position:
            raise ValueError(
                f"tensor {name!r} begins at byte {begin} of the data, expected {position}: a gap or overlap"
            )
        position = end
    if position != data_size:
        raise ValueError(
            f"its tensors have {position:,} bytes, but the file has {data_size:,} after the header; "
            "it is cut off, or something was added"
        )
    return layout


def _checked_entry(name: str, entry: Any) -> tuple[np.dtype[Any], list[int], int, int]:
    """What the header says of one tensor, held against itself."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the header's entry of tensor {name!r} is not dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"tensor {name!r} has dtype {dtype!r}, expected one of {', '.join(DTYPES)}")
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError(f"tensor {name!r} has {numbers!r} where a list of sizes is expected")
    if len(offsets) != 2 or offsets[1] - offsets[0] != math.prod(shape) * DTYPES[dtype].itemsize:
        raise ValueError(f"tensor {name!r} of dtype {dtype} and shape {shape} cannot fill the bytes {offsets}")
    return DTYPES[dtype], shape, offsets[0], offsets[1]


def _view(data: mmap.mmap, begin: int, dtype: np.dtype[Any], shape: list[int]) -> NDArray[Any]:
    array: NDArray[Any] = np.ndarray(shape, dtype, buffer=data, offset=begin)
    if not array.flags.aligned:  # only in files of other software
        array = array.copy()
        array.flags.writeable = False
    return array
