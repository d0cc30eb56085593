"""Containers: named tensors and metadata in one checksummed safetensors file; `header` describes the format."""

import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlm.errors import ModelFileError
from fastlm.storage.files import Source, atomic_write, system_failures
from fastlm.storage.header import Entry, build_header, checksum, is_header, joined_checksum, parse_header, stored_dtype
from fastlm.storage.mapping import map_file

__all__ = ["TensorFile", "TensorRun", "TensorWriter", "is_container", "read_tensors", "write_tensors"]


def write_tensors(
    path: Source, metadata: Mapping[str, str], tensors: Mapping[str, NDArray[Any]], *, sync: bool = True
) -> None:
    """Write named arrays and metadata as one container, atomically; equal contents give equal bytes.

    Parameters
    ----------
    path : str or path-like
        The file to write.
    metadata : mapping of str to str
        Anything; keys that begin with "crc32" are reserved.
    tensors : mapping of str to array
        Arrays of any shape, of float16 to float64, int8 to int64, uint8 to uint64, or bool.
    sync : bool, default True
        See `atomic_write`.

    Raises
    ------
    FileError
        If the file cannot be written; an old file is then untouched.
    ValueError
        If a dtype or the metadata cannot be stored.

    Examples
    --------
    >>> write_tensors("rows.safetensors", {"made by": "hand"}, {"rows": np.eye(2)})
    >>> read_tensors("rows.safetensors").tensors["rows"]
    array([[1., 0.],
           [0., 1.]])
    """
    arrays = _stored(tensors)
    entries = _laid_out({name: (array.dtype, array.shape) for name, array in arrays.items()})
    contents = {name: _bytes_of(arrays[name]) for name in entries}
    header = build_header(metadata, entries, {name: checksum(content) for name, content in contents.items()})
    with atomic_write(path, sync=sync) as file:
        file.write(header)
        for content in contents.values():
            file.write(content)


class TensorWriter:
    """Write a container with one tensor of one dimension that comes in pieces, in bounded memory.

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
    others : mapping of str to array, optional
        Tensors that are known at the start.
    temporary_in, sync
        See `atomic_write`.

    Attributes
    ----------
    metadata : dict of str to str
        May be changed until the end: counts of what was written, for example.
    size : int
        Number of items written, or set apart to be.

    Examples
    --------
    >>> with TensorWriter("ids.safetensors", "ids", np.uint16) as writer:
    ...     writer.append(np.array([5, 3, 1], np.uint16))
    ...     writer.metadata["sentences"] = "1"
    """

    HEADER_ROOM = 4096  # reserved, because the header can only be written at the end

    def __init__(
        self,
        path: Source,
        name: str,
        dtype: DTypeLike,
        metadata: Mapping[str, str] | None = None,
        others: Mapping[str, NDArray[Any]] | None = None,
        *,
        temporary_in: Source | None = None,
        sync: bool = True,
    ) -> None:
        self.path = path
        self.name = name
        self.dtype = stored_dtype(name, np.dtype(dtype))
        self.metadata = dict(metadata or {})
        self.size = 0
        self._temporary_in = temporary_in
        self._sync = sync
        self._others = _stored(others or {})
        self._checksums = {other: checksum(_bytes_of(array)) for other, array in self._others.items()}
        self._checksum = checksum(b"")
        self._runs: list[TensorRun] = []
        self._lock = Lock()
        self._room = self.HEADER_ROOM + len(self._header())
        self._begin = self._room + self._layout()[name].begin

    def append(self, values: NDArray[Any]) -> None:
        """Write the next items: an array of one dimension and of the tensor's dtype."""
        content = self._content(values)
        self._write(self.size, content)
        self._checksum = checksum(content, self._joined())
        self._runs = []
        self.size += len(values)

    def run(self, size: int) -> "TensorRun":
        """Set the next `size` items apart: they can be written in any order with other runs, and by other threads."""
        run = TensorRun(self, self.size, size)
        self._runs.append(run)
        self.size += size
        return run

    def _content(self, values: NDArray[Any]) -> memoryview:
        if values.ndim != 1 or values.dtype != self.dtype:
            raise ValueError(
                f"tensor {self.name!r} cannot take an array of shape {values.shape} and dtype {values.dtype}; "
                f"expected one dimension and dtype {self.dtype}"
            )
        return _bytes_of(np.asarray(values, dtype=self.dtype, order="C"))

    def _write(self, at: int, content: memoryview) -> None:
        """Write behind `at` items of the tensor."""
        with self._lock:
            self._file.seek(self._begin + at * self.dtype.itemsize)
            self._file.write(content)

    def _joined(self) -> str:
        """Return the checksum of all that was appended or run."""
        result = self._checksum
        for run in self._runs:
            if run.left:
                raise ValueError(f"a run of {run.size} items for tensor {self.name!r} is {run.left} short")
            result = joined_checksum(result, run.checksum, run.size * self.dtype.itemsize)
        return result

    def _layout(self) -> dict[str, Entry]:
        shapes = {name: (array.dtype, array.shape) for name, array in self._others.items()}
        return _laid_out(shapes | {self.name: (self.dtype, (self.size,))})

    def _header(self, min_size: int = 0) -> bytes:
        checksums = self._checksums | {self.name: self._joined()}
        return build_header(self.metadata, self._layout(), checksums, min_size)

    @contextmanager
    def _writing(self) -> Iterator[Self]:
        with atomic_write(self.path, temporary_in=self._temporary_in, sync=self._sync) as self._file:
            yield self
            header = self._header(self._room)
            if len(header) > self._room:
                raise ValueError(
                    f"the metadata for {os.fspath(self.path)!r} grew by more than {self.HEADER_ROOM} bytes while the "
                    "tensor was written; give the long entries at the start"
                )
            self._file.seek(0)
            self._file.write(header)
            for name, entry in self._layout().items():
                if name != self.name:
                    self._file.seek(self._room + entry.begin)
                    self._file.write(_bytes_of(self._others[name]))

    def __enter__(self) -> Self:
        self._context = self._writing()
        return self._context.__enter__()

    def __exit__(self, *exception: Any) -> bool | None:
        return self._context.__exit__(*exception)


class TensorRun:
    """Items of a `TensorWriter`'s tensor that are written by themselves; made by its `run`.

    Attributes
    ----------
    size, left : int
        Number of items; how many of them are still to be written.
    checksum : str
        Of those that are.
    """

    def __init__(self, writer: TensorWriter, begin: int, size: int) -> None:
        self.size = self.left = size
        self.checksum = checksum(b"")
        self._writer = writer
        self._end = begin + size

    def append(self, values: NDArray[Any]) -> None:
        """Write the next items; not for several threads at once."""
        content = self._writer._content(values)
        if len(values) > self.left:
            raise ValueError(f"{len(values)} items do not fit in a run of {self.size} with {self.left} left")
        self._writer._write(self._end - self.left, content)
        self.checksum = checksum(content, self.checksum)
        self.left -= len(values)


def _stored(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return arrays as they are stored."""
    arrays = {name: np.asarray(values) for name, values in tensors.items()}
    return {name: np.asarray(a, dtype=stored_dtype(name, a.dtype), order="C") for name, a in arrays.items()}


def _laid_out(shapes: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]) -> dict[str, Entry]:
    """Place tensors behind each other, those with the largest items first."""
    entries, end = {}, 0
    for name, (dtype, shape) in sorted(shapes.items(), key=lambda item: (-item[1][0].itemsize, item[0])):
        entries[name] = Entry.at(end, dtype, shape)
        end = entries[name].end
    return entries


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


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
                found = checksum(_bytes_of(array))
                if found != self.checksums[name]:
                    raise ValueError(
                        f"the CRC-32 of tensor {name!r} is {found}, expected {self.checksums[name]}; it is damaged"
                    )
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


def is_container(path: Source) -> bool:
    """Tell by the first bytes whether a file is a container of this package; nothing else of it is looked at.

    Raises
    ------
    FileError
        If it is a regular file that cannot be opened. What is none, a pipe for example, is left alone.
    """
    if os.fspath(path) == "-" or not Path(path).is_file():
        return False
    with system_failures("read", path), Path(path).open("rb") as file:
        return is_header(file.read(64))


def read_tensors(path: Source, *, verify: bool = True) -> TensorFile:
    """Open a container through a memory map.

    Parameters
    ----------
    path : str or path-like
        The file. It must not be changed in place while it is open (see `fastlm.storage.mapping`); `atomic_write`
        replaces it, which is safe.
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
    data = map_file(path)
    with _damage(name):
        header = parse_header(data)
        tensors = {key: _view(data, header.size, entry) for key, entry in header.entries.items()}
        for key, digits in (header.checksums or {}).items():
            entry = header.entries[key]
            data.checksums[header.size + entry.begin, header.size + entry.end] = digits
    file = TensorFile(name, header.metadata, tensors, header.checksums)
    if verify:
        file.verify()
    return file


def _view(data: mmap.mmap, header_size: int, entry: Entry) -> NDArray[Any]:
    array: NDArray[Any] = np.ndarray(entry.shape, entry.dtype, buffer=data, offset=header_size + entry.begin)
    if not array.flags.aligned:  # only in files of other software
        array = array.copy()
        array.flags.writeable = False
    return array
