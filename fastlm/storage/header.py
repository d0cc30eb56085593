"""The head of a container: a safetensors header with checksums; how it is built and what is believed of it.

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
import reprlib
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "Entry",
    "Header",
    "build_header",
    "checksum",
    "is_header",
    "joined_checksum",
    "parse_header",
    "stored_dtype",
]

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
CRC_POLYNOMIAL = 0xEDB88320
X_TO_THE_8 = 1 << (31 - 8)
MAX_DIMENSIONS = 32  # the limit of NumPy 1
MAX_TEXT_SIZE = 100_000_000  # the limit of the safetensors library
CHECKED_START = b'{"__metadata__":{"crc32":"'  # a header with checksums begins so; its own digits follow
DIGITS = slice(8 + len(CHECKED_START), 8 + len(CHECKED_START) + 8)


_brief = reprlib.Repr()  # what a damaged file says can be of any length
_brief.maxstring = _brief.maxother = 200
shown = _brief.repr


class Entry(NamedTuple):
    """Where a tensor lies: its bytes are `begin` to `end`, counted from the end of the header."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int

    @classmethod
    def at(cls, begin: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> "Entry":
        """Return the entry of a tensor whose bytes start at `begin`."""
        return cls(dtype, shape, begin, begin + math.prod(shape) * dtype.itemsize)


class Header(NamedTuple):
    """What a header says; `checksums` is None for the plain file of other software."""

    size: int
    entries: dict[str, Entry]
    metadata: dict[str, str]
    checksums: dict[str, str] | None


def checksum(data: Any, before: str = "00000000") -> str:
    """Return the CRC-32 of `data` as it is kept in files, going on from that of the bytes `before`."""
    return f"{zlib.crc32(data, int(before, 16)):08x}"


def joined_checksum(first: str, second: str, second_size: int) -> str:
    """Return the CRC-32 of two pieces behind each other from those of the pieces; the second has `second_size` bytes.

    A CRC is the remainder of a polynomial over two elements; bytes that follow multiply it by powers of x.
    """
    power, shift = X_TO_THE_8, 1 << 31  # x^8, and 1, the highest bit being the lowest power
    while second_size:
        if second_size & 1:
            shift = _multiply(power, shift)
        power = _multiply(power, power)
        second_size >>= 1
    return f"{_multiply(shift, int(first, 16)) ^ int(second, 16):08x}"


def _multiply(one: int, other: int) -> int:
    """Multiply polynomials modulo that of CRC-32."""
    product = 0
    for bit in range(31, -1, -1):
        if one >> bit & 1:
            product ^= other
        other = other >> 1 ^ (CRC_POLYNOMIAL if other & 1 else 0)
    return product


def stored_dtype(name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which the tensor `name` is stored."""
    stored = dtype.newbyteorder("<")
    if stored.str not in DTYPE_CODES:
        known = ", ".join(known.name for known in DTYPES.values())
        raise ValueError(f"tensor {name!r} has dtype {dtype}, which cannot be stored; expected one of {known}")
    return stored


def build_header(
    metadata: Mapping[str, str], entries: Mapping[str, Entry], checksums: Mapping[str, str], min_size: int = 0
) -> bytes:
    """Return all that comes before the data, with its own checksum in place."""
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str) or key.startswith("crc32"):
            raise ValueError(f"metadata {key!r}: {value!r} cannot be stored: expected strings, the key not 'crc32…'")
    for name in entries:
        if not isinstance(name, str) or name == "__metadata__":
            raise ValueError(f"a tensor cannot be named {name!r}; expected a string other than '__metadata__'")
    strings = {f"crc32:{name}": digits for name, digits in checksums.items()} | dict(metadata)
    content: dict[str, Any] = {"__metadata__": {"crc32": "00000000"} | dict(sorted(strings.items()))}
    for name, entry in entries.items():
        offsets = (entry.begin, entry.end)
        content[name] = {"dtype": DTYPE_CODES[entry.dtype.str], "shape": entry.shape, "data_offsets": offsets}
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    size = max(min_size, -(-(8 + len(text)) // ALIGNMENT) * ALIGNMENT) - 8
    if size > MAX_TEXT_SIZE:
        raise ValueError(f"the header has {size:,} bytes, more than the {MAX_TEXT_SIZE:,} that readers accept")
    header = bytearray(size.to_bytes(8, "little") + text.ljust(size))
    header[DIGITS] = checksum(header).encode()
    return bytes(header)


def is_header(first_bytes: bytes) -> bool:
    """Tell whether a file begins as those with checksums do; no text has such bytes."""
    return first_bytes.startswith(CHECKED_START, 8)


def _is_text(first_bytes: bytes) -> bool:
    """Tell whether a file begins as text does: the length of a header is not UTF-8 without zeros."""
    start = first_bytes.decode(errors="replace")
    return bool(start) and "\0" not in start and "\ufffd" not in start[:-1]  # the last character may be cut off


def parse_header(data: Any) -> Header:
    """Read the head of a whole file; ValueError or RecursionError if it is not right or does not fit the data."""
    size = 8 + int.from_bytes(data[:8], "little")
    if _is_text(bytes(data[:8])):
        raise ValueError("it is a text, or an ARPA file, of which fastlm convert makes a model")
    if size > min(8 + MAX_TEXT_SIZE, len(data)):
        raise ValueError(
            f"its first eight bytes announce a header of {size - 8:,} bytes, but the whole file has {len(data):,}; "
            "it is cut off, or something else"
        )
    head = bytearray(data[:size])
    checked = head.startswith(CHECKED_START, 8)
    if checked:
        expected = head[DIGITS].decode("ascii", "backslashreplace")
        head[DIGITS] = b"00000000"
        if checksum(head) != expected:
            raise ValueError(f"the CRC-32 of its header is {checksum(head)}, expected {expected}; it is damaged")
    content = _parse_json(head[8:])
    metadata = content.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("the __metadata__ in its header is not an object of strings; it is damaged or something else")
    entries = _tiling({name: _checked_entry(name, entry) for name, entry in content.items()}, len(data) - size)
    if not checked:
        return Header(size, entries, metadata, None)
    checksums = {name: metadata.pop(f"crc32:{name}", "missing") for name in entries}
    del metadata["crc32"]
    return Header(size, entries, metadata, checksums)


def _parse_json(text: bytearray) -> dict[str, Any]:
    try:
        content = json.loads(text.decode(), object_pairs_hook=_checked_object, parse_constant=_refuse_constant)
    except ValueError as error:
        raise ValueError(f"its header is not safetensors JSON ({error}); it is damaged or something else") from error
    if not isinstance(content, dict):
        raise ValueError("its header is not a JSON object; it is damaged or something else")
    return content


def _checked_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object; refuse a key that is there twice and a string that cannot be UTF-8 (a lone surrogate)."""
    for key, value in pairs:
        key.encode()
        if isinstance(value, str):
            value.encode()
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key is there twice")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _checked_entry(name: str, entry: Any) -> Entry:
    """Hold what the header says of one tensor against itself."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {shown(name)} has {shown(entry)} in the header, expected dtype, shape, data_offsets")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise ValueError(f"tensor {shown(name)} has dtype {shown(code)}, expected one of {', '.join(DTYPES)}")
    for sizes in (shape, offsets):
        if not isinstance(sizes, list) or not all(type(size) is int and 0 <= size < 1 << 63 for size in sizes):
            raise ValueError(f"tensor {shown(name)} has {shown(sizes)} in the header, expected a list of sizes")
    if len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"tensor {shown(name)} has {len(shape)} dimensions, expected at most {MAX_DIMENSIONS}")
    right = Entry.at(offsets[0] if offsets else 0, DTYPES[code], tuple(shape))
    if offsets != [right.begin, right.end]:
        raise ValueError(
            f"tensor {shown(name)} of dtype {code} and shape {shown(shape)} cannot lie at {shown(offsets)}, "
            f"expected {shown([right.begin, right.end])}"
        )
    return right


def _tiling(entries: dict[str, Entry], data_size: int) -> dict[str, Entry]:
    """Return the entries in the order of the data, which they must tile exactly."""
    position = 0
    ordered = dict(sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)))
    for name, entry in ordered.items():
        if entry.begin != position:
            raise ValueError(
                f"tensor {shown(name)} begins at {entry.begin:,} in the data, expected {position:,}; "
                "tensors overlap or leave a gap"
            )
        position = entry.end
    if position != data_size:
        raise ValueError(
            f"its header describes {position:,} bytes of data, but the file has {data_size:,}; "
            "it is cut off, or something was added"
        )
    return ordered
