"""The container that models and corpora are kept in: safetensors with checksums.

The format
----------
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

import json
import math
import mmap
import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlm.errors import FileError, ModelFileError
from fastlm.storage.files import Source, atomic_write, system_failures

__all__ = ["TensorFile", "TensorWriter", "read_tensors", "write_tensors"]

DTYPES: dict[str, np.dtype[Any]] = {
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


def _crc32(data: Any) -> str:
    return f"{zlib.crc32(data):08x}"


def _little_endian(name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which a tensor is stored."""
    stored = dtype.newbyteorder("<")
    if stored.str not in DTYPE_CODES:
        known = ", ".join(known.name for known in DTYPES.values())
        raise ValueError(f"tensor {name!r} has dtype {dtype}, which cannot be stored; expected one of {known}")
    return stored


def _entry(dtype: np.dtype[Any], shape: tuple[int, ...], begin: int) -> dict[str, Any]:
    """Describe a tensor whose bytes start at `begin`, as the header does."""
    end = begin + math.prod(shape) * dtype.itemsize
    return {"dtype": DTYPE_CODES[dtype.str], "shape": shape, "data_offsets": (begin, end)}


def _header(
    metadata: Mapping[str, str], entries: Mapping[str, Any], checksums: Mapping[str, str], room: int = 0
) -> bytes:
    """Build all that comes before the data, at least `room` bytes, with its own checksum in place."""
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


def _parsed_header(data: mmap.mmap) -> tuple[dict[str, Any], int, bool]:
    """Return the header's JSON, where the data begins, and whether there are checksums; the header's own is right."""
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
    """Build a JSON object; refuse a key that is there twice and a string that cannot be UTF-8 (a lone surrogate)."""
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
    """Return dtype, shape, begin and end of each tensor, in the order of the data, which they tile exactly."""
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
    """Hold what the header says of one tensor against itself."""
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
