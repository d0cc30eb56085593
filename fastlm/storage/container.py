"""Containers: named tensors and metadata in one checksummed safetensors file; `header` describes the format."""

import mmap
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlm.errors import FileError, ModelFileError
from fastlm.storage.files import Source, atomic_write, system_failures
from fastlm.storage.header import Entry, build_header, checksum, parse_header, stored_dtype

__all__ = ["TensorFile", "TensorWriter", "read_tensors", "write_tensors"]


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
    >>> write_tensors("rows.safetensors", {"made by": "hand"}, {"rows": np.eye(2)})
    >>> read_tensors("rows.safetensors").tensors["rows"]
    array([[1., 0.],
           [0., 1.]])
    """
    arrays = {name: np.asarray(values) for name, values in tensors.items()}
    arrays = {name: np.asarray(a, dtype=stored_dtype(name, a.dtype), order="C") for name, a in arrays.items()}
    arrays = dict(sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])))
    contents = {name: array.reshape(-1).view(np.uint8).data for name, array in arrays.items()}
    entries, end = {}, 0
    for name, array in arrays.items():
        entries[name] = Entry.at(end, array.dtype, array.shape)
        end += array.nbytes
    header = build_header(metadata, entries, {name: checksum(content) for name, content in contents.items()})
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
    >>> with TensorWriter("ids.safetensors", "ids", np.uint16) as writer:
    ...     writer.append(np.array([5, 3, 1], np.uint16))
    ...     writer.metadata["sentences"] = "1"
    """

    HEADER_ROOM = 4096  # reserved, because the header can only be written at the end

    def __init__(self, path: Source, name: str, dtype: DTypeLike, metadata: Mapping[str, str] | None = None) -> None:
        self.path = path
        self.name = name
        self.dtype = stored_dtype(name, np.dtype(dtype))
        self.metadata = dict(metadata or {})
        self.size = 0
        self._checksum = checksum(b"")
        self._room = self.HEADER_ROOM + len(self._header())

    def append(self, values: NDArray[Any]) -> None:
        """Write the next items: an array of one dimension and of the tensor's dtype."""
        if values.ndim != 1 or values.dtype != self.dtype:
            raise ValueError(
                f"tensor {self.name!r} cannot take an array of shape {values.shape} and dtype {values.dtype}; "
                f"expected one dimension and dtype {self.dtype}"
            )
        content = np.asarray(values, dtype=self.dtype, order="C").view(np.uint8).data
        self._file.write(content)
        self._checksum = checksum(content, self._checksum)
        self.size += len(values)

    def _header(self, min_size: int = 0) -> bytes:
        entry = Entry.at(0, self.dtype, (self.size,))
        return build_header(self.metadata, {self.name: entry}, {self.name: self._checksum}, min_size)

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
                found = checksum(array.reshape(-1).view(np.uint8).data)
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
        header = parse_header(data)
        tensors = {key: _view(data, header.size, entry) for key, entry in header.entries.items()}
    file = TensorFile(name, header.metadata, tensors, header.checksums)
    if verify:
        file.verify()
    return file


def _memory_map(path: Source) -> mmap.mmap:
    with system_failures("read", path), Path(path).open("rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise FileError(f"cannot read {os.fspath(path)!r}: it is not a regular file; copy its contents into one")
        if status.st_size < 8:
            raise ModelFileError(
                f"cannot use {os.fspath(path)!r}: it has {status.st_size} bytes, too few for a model or corpus; "
                "it is cut off or something else"
            )
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _view(data: mmap.mmap, header_size: int, entry: Entry) -> NDArray[Any]:
    array: NDArray[Any] = np.ndarray(entry.shape, entry.dtype, buffer=data, offset=header_size + entry.begin)
    if not array.flags.aligned:  # only in files of other software
        array = array.copy()
        array.flags.writeable = False
    return array
