import doctest
import json
import math
import mmap
import os
import re
import subprocess
import sys
import threading
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fastlm.errors import FileError, ModelFileError
from fastlm.storage import TensorFile, TensorRun, TensorWriter, container, is_container, read_tensors, write_tensors
from fastlm.storage.header import checksum, joined_checksum

Tensors = dict[str, NDArray[Any]]

DTYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "bool"]
NAMES = st.text(max_size=8).filter(lambda name: name.isprintable() and name != "__metadata__")
ARRAYS = st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0)))
METADATA = st.dictionaries(st.text(max_size=8).filter(lambda key: not key.startswith("crc32")), st.text(max_size=20))
SMALL: Tensors = {
    "weights": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "counts": np.array([3, 2, 1], np.int64),
    "flags": np.array([True, False, True]),
    "ids": np.array([7, 65535], np.uint16),
    "nothing": np.zeros((0, 4)),
    "scalar": np.array(-1, np.int8),
}

quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.safetensors"


def assert_same(tensors: Tensors, expected: Tensors) -> None:
    assert tensors.keys() == expected.keys()
    for name, array in expected.items():
        assert tensors[name].dtype == array.dtype
        assert tensors[name].shape == array.shape
        assert tensors[name].tobytes() == array.tobytes()


def parts(contents: bytes) -> tuple[dict[str, Any], bytes]:
    """Split a file into header and data, by the description of the format alone."""
    size = int.from_bytes(contents[:8], "little")
    return json.loads(contents[8 : 8 + size]), contents[8 + size :]


def plain(header: object, data: bytes = b"") -> bytes:
    """Make a file of other software, without checksums."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def forged(header: dict[str, Any], data: bytes) -> bytes:
    """Make a file whose header lies, and has the right checksum nevertheless."""
    header["__metadata__"]["crc32"] = "00000000"
    text = json.dumps(header, separators=(",", ":")).encode()
    head = len(text).to_bytes(8, "little") + text
    return head.replace(b'"crc32":"00000000"', b'"crc32":"%08x"' % zlib.crc32(head), 1) + data


# What is written is read


@quick
@given(tensors=st.dictionaries(NAMES, ARRAYS, max_size=5), metadata=METADATA)
def test_round_trip_here_and_in_safetensors(path: Path, tensors: Tensors, metadata: dict[str, str]) -> None:
    write_tensors(path, metadata, tensors)
    for verify in (True, False):
        file = read_tensors(path, verify=verify)
        assert file.metadata == metadata
        assert_same(file.tensors, tensors)
    assert_same(safetensors.numpy.load(path.read_bytes()), tensors)
    with safetensors.safe_open(path, "np") as theirs:
        assert metadata.items() <= theirs.metadata().items()


@quick
@given(tensors=st.dictionaries(NAMES, ARRAYS, max_size=5), metadata=METADATA)
def test_reads_what_safetensors_writes(path: Path, tensors: Tensors, metadata: dict[str, str]) -> None:
    safetensors.numpy.save_file(tensors, path, metadata or None)
    file = read_tensors(path, verify=False)
    assert file.metadata == metadata
    assert file.checksums is None
    assert_same(file.tensors, tensors)
    with pytest.raises(ModelFileError, match=r"without this package's checksums.*verify=False"):
        read_tensors(path)


@quick
@given(tensors=st.dictionaries(NAMES, ARRAYS, max_size=5), metadata=METADATA)
def test_the_layout_is_as_described(path: Path, tensors: Tensors, metadata: dict[str, str]) -> None:
    write_tensors(path, metadata, tensors)
    contents = path.read_bytes()
    header, data = parts(contents)
    assert (len(contents) - len(data)) % 64 == 0
    strings = header.pop("__metadata__")
    assert list(strings) == ["crc32", *sorted([f"crc32:{name}" for name in tensors] + list(metadata))]
    assert list(header) == sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    position = 0
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        assert begin == position
        assert begin % tensors[name].itemsize == 0
        assert strings[f"crc32:{name}"] == f"{zlib.crc32(data[begin:end]):08x}"
        position = end
    assert position == len(data)
    head = contents[: len(contents) - len(data)]
    zeroed = re.sub(rb'^(.{8}\{"__metadata__":\{"crc32":")[0-9a-f]{8}', rb"\g<1>00000000", head, flags=re.DOTALL)
    assert strings["crc32"] == f"{zlib.crc32(zeroed):08x}"


def test_equal_contents_are_equal_bytes(tmp_path: Path) -> None:
    metadata = {"b": "1", "a": "2"}
    write_tensors(tmp_path / "one", metadata, SMALL)
    write_tensors(tmp_path / "two", dict(reversed(metadata.items())), dict(reversed(SMALL.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.arange(12.0)[::-2],
        np.arange(5, dtype=">i4"),
        np.broadcast_to(np.float32(2), (3, 2)),
        np.asfortranarray(np.eye(3, dtype=">f8")),
    ],
)
def test_arrays_of_any_order_are_stored_in_one(path: Path, array: NDArray[Any]) -> None:
    write_tensors(path, {}, {"array": array})
    loaded = read_tensors(path).tensors["array"]
    np.testing.assert_array_equal(loaded, array)
    assert loaded.dtype.isnative
    assert loaded.flags.c_contiguous


def test_views_of_the_map_are_read_only_and_not_copied(path: Path) -> None:
    write_tensors(path, {}, SMALL)
    for verify in (True, False):
        for array in read_tensors(path, verify=verify).tensors.values():
            assert isinstance(array.base, mmap.mmap)
            assert array.flags.aligned
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0


def test_opening_unverified_reads_no_tensor(path: Path) -> None:
    # 16 GiB of holes: reading them would take a minute, mapping them takes nothing.
    size = 1 << 34
    with path.open("wb") as file:
        file.write(plain(b'{"big":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (size, size)))
        file.truncate(file.tell() + size)
    assert read_tensors(path, verify=False).tensors["big"].nbytes == size


def test_unaligned_tensors_of_other_software_are_usable(path: Path) -> None:
    header = b'{"x":{"dtype":"F64","shape":[2],"data_offsets":[0,16]}}'
    path.write_bytes(plain(header + b" " * (9 - len(header) % 8), np.array([1.5, 2.5]).tobytes()))
    array = read_tensors(path, verify=False).tensors["x"]
    assert array.tolist() == [1.5, 2.5]
    assert array.flags.aligned
    assert not array.flags.writeable


@pytest.mark.parametrize("dtype", ["c8", "O", "S3", "U3", "M8[s]", "f4,i4", "g"])
def test_other_types_are_refused(path: Path, dtype: str) -> None:
    with pytest.raises(ValueError, match=r"tensor 'array' has dtype .* cannot be stored; expected one of float64"):
        write_tensors(path, {}, {"array": np.zeros(2, dtype)})
    assert not path.exists()


@pytest.mark.parametrize("metadata", [{"crc32": "1"}, {"crc32:x": "1"}, {"a": 1}, {1: "a"}, {"a": "\ud800"}])
def test_metadata_that_cannot_be_stored(path: Path, metadata: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"cannot be stored|surrogates not allowed"):
        write_tensors(path, metadata, {})
    assert not path.exists()


@pytest.mark.parametrize("name", ["__metadata__", 3])
def test_names_that_cannot_be_stored(path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be named"):
        write_tensors(path, {}, {name: np.zeros(2)})


# Damage


@pytest.fixture
def small(path: Path) -> bytes:
    write_tensors(path, {"format": "a test", "text": 'with "crc32":" in it'}, SMALL)
    return path.read_bytes()


def use(file: TensorFile) -> None:
    for array in file.tensors.values():
        array.sum()


def test_a_cut_at_any_byte_is_refused(path: Path, small: bytes) -> None:
    for length in range(len(small)):
        path.write_bytes(small[:length])
        for verify in (True, False):
            with pytest.raises(ModelFileError, match="cannot use "):
                read_tensors(path, verify=verify)


def test_any_altered_bit_is_refused(path: Path, small: bytes) -> None:
    for position in range(len(small)):
        for mask in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            path.write_bytes(small[:position] + bytes([small[position] ^ mask]) + small[position + 1 :])
            with pytest.raises(ModelFileError, match="cannot use "):
                read_tensors(path)
            with suppress(ModelFileError):
                use(read_tensors(path, verify=False))


def test_unverified_headers_are_checked_all_the_same(path: Path, small: bytes) -> None:
    begin = small.index(b'"text":"with') + 8
    path.write_bytes(small[:begin] + b"W" + small[begin + 1 :])
    with pytest.raises(ModelFileError, match=r"the CRC-32 of its header is [0-9a-f]{8}, expected [0-9a-f]{8}"):
        read_tensors(path, verify=False)


def test_damaged_data_names_the_tensor(path: Path, small: bytes) -> None:
    path.write_bytes(small[:-1] + b"\0")
    with pytest.raises(ModelFileError, match=f"cannot use '{path}': the CRC-32 of tensor 'scalar' is .*, expected"):
        read_tensors(path)
    file = read_tensors(path, verify=False)
    with pytest.raises(ModelFileError, match="'scalar'"):
        file.verify()


@pytest.mark.parametrize("added", [b"\0", b"\n", b" " * 64])
def test_trailing_bytes_are_refused(path: Path, small: bytes, added: bytes) -> None:
    path.write_bytes(small + added)
    with pytest.raises(ModelFileError, match="something was added"):
        read_tensors(path, verify=False)


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


NESTED = b'{"x":' + b"[" * 1_000_000
LIES: list[tuple[object, str]] = [
    (b"", "not safetensors JSON"),
    (b"[]", "not a JSON object"),
    (b"null", "not a JSON object"),
    (b"{", "not safetensors JSON"),
    (b"\xff\xfe{}", "not safetensors JSON"),
    ("{}".encode("utf-16"), "not safetensors JSON"),
    (b"\xef\xbb\xbf{}", "not safetensors JSON"),
    (b'{"x":NaN}', "NaN is not JSON"),
    (b'{"a\\ud800":{}}', "surrogates"),
    (b'{"x":' + b"9" * 5000 + b"}", "not safetensors JSON"),
    (NESTED, "nested too deeply"),
    (b'{"x":%b,"x":%b}' % ((json.dumps(entry()).encode(),) * 2), "a key is there twice"),
    (b'{"__metadata__":{"a":"b","a":"c"}}', "a key is there twice"),
    ({"__metadata__": {"a": 1}}, "not an object of strings"),
    ({"__metadata__": "a"}, "not an object of strings"),
    ({"x": 3}, "expected dtype, shape, data_offsets"),
    ({"x": {"dtype": "F32", "shape": [2]}}, "expected dtype, shape, data_offsets"),
    ({"x": {**entry(), "more": 1}}, "expected dtype, shape, data_offsets"),
    ({"x": entry("BF16", [4])}, "has dtype 'BF16', expected one of F64"),
    ({"x": entry(["F32"])}, "has dtype"),
    ({"x": entry(None)}, "has dtype"),
    ({"x": entry(shape=2)}, "expected a list of sizes"),
    ({"x": entry(shape=[2.0])}, "expected a list of sizes"),
    ({"x": entry(shape=[True, 2])}, "expected a list of sizes"),
    ({"x": entry(shape=[-2, -1])}, "expected a list of sizes"),
    ({"x": entry(shape=[3])}, "cannot lie at"),
    ({"x": entry(shape=[1 << 62, 1 << 62])}, "cannot lie at"),
    ({"x": entry(shape=[1] * 999 + [2])}, "1000 dimensions, expected at most 32"),
    ({"x": entry(offsets=[0])}, "cannot lie at"),
    ({"x": entry(offsets=[])}, "cannot lie at"),
    ({"x": entry(offsets=[0, 8, 8])}, "cannot lie at"),
    ({"x": entry(offsets=[8, 0])}, "cannot lie at"),
    ({"x": entry(offsets=[-8, 0])}, "expected a list of sizes"),
    ({"x": entry(shape=[1 << 62], offsets=[0, 1 << 64])}, "expected a list of sizes"),
    ({"x": entry(shape=[1 << 61], offsets=[0, 1 << 63])}, "expected a list of sizes"),
    ({"x": entry(shape=[1 << 60], offsets=[0, 1 << 62])}, "but the file has 8"),
    ({"x": entry(shape=[0, 1 << 70], offsets=[0, 0]), "y": entry()}, "expected a list of sizes"),
    ({"x": entry(shape=[0, 1 << 62, 1 << 62], offsets=[0, 0]), "y": entry()}, "array is too big"),
    ({"x": entry(offsets=[4, 12])}, "overlap or leave a gap"),
    ({"x": entry(), "y": entry()}, "overlap or leave a gap"),
    ({"x": entry(), "y": entry("U8", [1], [7, 8])}, "overlap or leave a gap"),
    ({"x": entry("F32", [1], [0, 4])}, "but the file has 8"),
    ({}, "but the file has 8"),
]


@pytest.mark.parametrize(("header", "expected"), LIES)
def test_headers_that_lie(path: Path, header: object, expected: str) -> None:
    path.write_bytes(plain(header, bytes(8)))
    with pytest.raises(ModelFileError, match=re.escape(expected)) as caught:
        read_tensors(path, verify=False)
    assert len(str(caught.value)) < 2000
    if isinstance(header, dict) and header.get("__metadata__", {}) == {}:
        path.write_bytes(forged({"__metadata__": {"crc32": ""}, **header}, bytes(8)))
        for verify in (True, False):
            with pytest.raises(ModelFileError, match=re.escape(expected)):
                read_tensors(path, verify=verify)


def test_a_tensor_without_checksum_is_not_verified(path: Path) -> None:
    path.write_bytes(forged({"__metadata__": {"crc32": ""}, "x": entry()}, bytes(8)))
    with pytest.raises(ModelFileError, match="expected missing"):
        read_tensors(path)


def test_truth_values_are_zero_and_one(path: Path) -> None:
    data = b"\1\0\2\1"
    metadata = {"crc32": "", "crc32:x": f"{zlib.crc32(data):08x}"}
    path.write_bytes(forged({"__metadata__": metadata, "x": entry("BOOL", [4], [0, 4])}, data))
    with pytest.raises(ModelFileError, match="other than 0 and 1"):
        read_tensors(path)


@pytest.mark.parametrize("size", [0, 1, 7])
def test_files_too_short_for_anything(path: Path, size: int) -> None:
    path.write_bytes(bytes(size))
    with pytest.raises(ModelFileError, match=f"it has {size} bytes, too few"):
        read_tensors(path)


@pytest.mark.parametrize("size", [1, 100_000_001, 1 << 32, (1 << 63) - 8, (1 << 64) - 1])
def test_absurd_header_lengths(path: Path, size: int) -> None:
    path.write_bytes(size.to_bytes(8, "little"))
    with pytest.raises(ModelFileError, match=f"announce a header of {size:,} bytes, but the whole file has 8"):
        read_tensors(path, verify=False)


@quick
@given(st.binary(max_size=200))
def test_garbage_is_refused(path: Path, garbage: bytes) -> None:
    for contents in (garbage, plain(garbage), plain(b"{" + garbage)):
        path.write_bytes(contents)
        with pytest.raises(ModelFileError):
            read_tensors(path)


@settings(quick, max_examples=300)
@given(
    tensors=st.lists(
        st.tuples(st.sampled_from(["F32", "U8", "F64"]), st.lists(st.integers(0, 3), max_size=3)), max_size=4
    ),
    lie=st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 2]), st.integers(-8, 8)) | st.none(),
    surplus=st.sampled_from([0, 0, 0, 1, 8]),
)
def test_accepts_what_safetensors_accepts_and_nothing_else(
    path: Path, tensors: list[tuple[str, list[int]]], lie: tuple[int, int, int] | None, surplus: int
) -> None:
    header: dict[str, dict[str, Any]] = {}
    end = 0
    for index, (dtype, shape) in enumerate(tensors):
        begin, end = end, end + math.prod(shape) * {"F32": 4, "U8": 1, "F64": 8}[dtype]
        header[str(index)] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    if lie is not None and str(lie[0]) in header:
        index, place, change = lie
        numbers = [header[str(index)]["data_offsets"], header[str(index)]["shape"]][place == 2]
        if numbers:
            numbers[place % 2 % len(numbers)] += change
    contents = plain(header, np.random.default_rng(end).bytes(end + surplus))
    path.write_bytes(contents)
    try:
        expected = safetensors.numpy.load(contents)
    except (safetensors.SafetensorError, OverflowError):
        with pytest.raises(ModelFileError):
            read_tensors(path, verify=False)
    else:
        assert_same(read_tensors(path, verify=False).tensors, expected)


def test_a_missing_file_and_a_directory(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file"):
        read_tensors(tmp_path / "missing")
    with pytest.raises(FileError, match="Is a directory"):
        read_tensors(tmp_path)
    with pytest.raises(FileError, match="not a regular file"):
        read_tensors("/dev/null")


# Many at once


WRITE_AGAIN_AND_AGAIN = """
import sys
import numpy as np
from fastlm.storage import write_tensors
for _ in range(30):
    write_tensors(sys.argv[1], {"value": sys.argv[2]}, {"x": np.full(10_000, int(sys.argv[2]))})
"""


def test_two_processes_write_while_others_read(path: Path) -> None:
    write_tensors(path, {"value": "0"}, {"x": np.zeros(10_000, np.int64)})
    held = read_tensors(path, verify=False)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-P", "-c", WRITE_AGAIN_AND_AGAIN, str(path)]
    writers = [subprocess.Popen([*command, value], env=environment) for value in ("1", "2")]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        file = read_tensors(path)
        seen.add(file.metadata["value"])
        assert (file.tensors["x"] == int(file.metadata["value"])).all()
    assert [writer.returncode for writer in writers] == [0, 0]
    assert read_tensors(path).metadata["value"] in {"1", "2"}
    assert {"1", "2"} & seen
    assert not held.tensors["x"].any()  # an open file stays what it was
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_threads_read_one_file(path: Path) -> None:
    expected = np.arange(100_000)
    write_tensors(path, {}, {"x": expected})
    shared = read_tensors(path, verify=False)
    failures: list[object] = []

    def read() -> None:
        try:
            for _ in range(10):
                shared.verify()
                np.testing.assert_array_equal(shared.tensors["x"], expected)
                np.testing.assert_array_equal(read_tensors(path).tensors["x"], expected)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_failed_save_leaves_the_old_file(path: Path, small: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be stored"):
        write_tensors(path, {}, {"x": np.array(["text"])})
    assert path.read_bytes() == small


# Streams


@quick
@given(st.sampled_from(DTYPES), st.lists(st.integers(0, 50), max_size=5), METADATA, METADATA)
def test_a_stream_is_read_as_one_tensor(
    path: Path, dtype: str, lengths: list[int], before: dict[str, str], after: dict[str, str]
) -> None:
    chunks = [np.random.default_rng(length).integers(0, 2, length).astype(dtype) for length in lengths]
    with TensorWriter(path, "stream", dtype, before) as writer:
        for chunk in chunks:
            writer.append(chunk)
        writer.metadata.update(after)
    expected = np.concatenate([np.zeros(0, dtype), *chunks])
    assert writer.size == len(expected)
    file = read_tensors(path)
    assert_same(file.tensors, {"stream": expected})
    assert file.metadata == before | after
    contents = path.read_bytes()
    assert_same(safetensors.numpy.load(contents), {"stream": expected})
    assert (len(contents) - expected.nbytes) % 64 == 0


def test_streams_in_other_chunks_are_equal_bytes(tmp_path: Path) -> None:
    ids = np.arange(1000, dtype=np.uint16)
    for name, step in (("one", 1000), ("two", 7)):
        with TensorWriter(tmp_path / name, "ids", np.uint16) as writer:
            for begin in range(0, 1000, step):
                writer.append(ids[begin : begin + step])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("values", [np.zeros(3, np.int32), np.zeros((2, 2), np.uint16), np.array(3, np.uint16)])
def test_a_stream_takes_what_it_was_made_for(path: Path, small: bytes, values: NDArray[Any]) -> None:
    with (
        pytest.raises(ValueError, match="expected one dimension and dtype uint16"),
        TensorWriter(path, "ids", np.uint16) as writer,
    ):
        writer.append(values)
    assert path.read_bytes() == small
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_stream_cut_off_by_an_exception_leaves_the_old_file(path: Path, small: bytes) -> None:
    with pytest.raises(KeyboardInterrupt), TensorWriter(path, "ids", np.uint16) as writer:
        writer.append(np.zeros(100_000, np.uint16))
        raise KeyboardInterrupt
    assert path.read_bytes() == small
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_metadata_of_a_stream_that_outgrows_its_room(path: Path, small: bytes) -> None:
    with pytest.raises(ValueError, match="grew by more than 4096 bytes"), TensorWriter(path, "ids", "u2") as writer:
        writer.append(np.zeros(10, np.uint16))
        writer.metadata["long"] = "x" * 5000
    assert path.read_bytes() == small
    with TensorWriter(path, "ids", "u2", {"long": "x" * 100_000}) as writer:
        writer.append(np.zeros(10, np.uint16))
        writer.metadata["more"] = "y" * 3900
    assert len(read_tensors(path).metadata["long"]) == 100_000


OTHERS = {
    "wide": np.arange(5, dtype=np.int64),
    "also": np.arange(3, dtype=np.uint16),
    "zero": np.zeros((2, 3), np.uint16),
    "narrow": np.frombuffer(b"bytes", np.uint8),
}


def test_a_stream_among_other_tensors(path: Path) -> None:
    ids = np.arange(1000, dtype=np.uint16)
    with TensorWriter(path, "ids", np.uint16, {"some": "thing"}, OTHERS) as writer:
        writer.append(ids[:300])
        writer.append(ids[300:])
    file = read_tensors(path)
    assert_same(file.tensors, OTHERS | {"ids": ids})
    assert list(file.tensors) == ["wide", "also", "ids", "zero", "narrow"]  # as write_tensors places them
    assert_same(safetensors.numpy.load(path.read_bytes()), OTHERS | {"ids": ids})


@quick
@given(st.lists(st.integers(0, 400), min_size=1, max_size=9), st.randoms(use_true_random=False))
def test_runs_are_written_in_any_order(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], rng: Any) -> None:
    folder = tmp_path_factory.mktemp("runs")
    parts = [np.random.default_rng(size).integers(0, 1000, size).astype(np.int32) for size in sizes]
    with TensorWriter(folder / "appended", "ids", np.int32, None, OTHERS) as writer:
        for part in parts:
            writer.append(part)
    with TensorWriter(folder / "run", "ids", np.int32, None, OTHERS) as writer:
        pieces = [(writer.run(len(part)), iter(np.array_split(part, 3))) for part in parts] * 3
        rng.shuffle(pieces)
        for run, left in pieces:
            run.append(next(left))
    assert (folder / "run").read_bytes() == (folder / "appended").read_bytes()


def test_runs_are_written_by_threads(path: Path) -> None:
    ids = np.arange(1_000_000, dtype=np.uint16)
    with TensorWriter(path, "ids", np.uint16) as writer:
        runs = [(writer.run(100_000), ids[begin : begin + 100_000]) for begin in range(0, 1_000_000, 100_000)]

        def write(run: TensorRun, values: NDArray[Any]) -> None:
            for part in np.array_split(values, 50):
                run.append(part)

        threads = [threading.Thread(target=write, args=pair) for pair in runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert np.array_equal(read_tensors(path).tensors["ids"], ids)


def test_a_run_takes_its_size_and_no_more(path: Path, small: bytes) -> None:
    with (
        pytest.raises(ValueError, match="5 items do not fit in a run of 7 with 4 left"),
        TensorWriter(path, "ids", "u2") as w,
    ):
        run = w.run(7)
        run.append(np.zeros(3, np.uint16))
        run.append(np.zeros(5, np.uint16))
    with (
        pytest.raises(ValueError, match="a run of 7 items for tensor 'ids' is 4 short"),
        TensorWriter(path, "ids", "u2") as w,
    ):
        w.run(7).append(np.zeros(3, np.uint16))
    assert path.read_bytes() == small


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_checksums_of_pieces_are_joined(first: bytes, second: bytes) -> None:
    assert joined_checksum(checksum(first), checksum(second), len(second)) == checksum(first + second)


def test_checksums_of_large_pieces_are_joined() -> None:
    first, second = b"abc" * 1000, bytes(range(256)) * 40_000
    assert joined_checksum(checksum(first), checksum(second), len(second)) == checksum(first + second)


def test_containers_are_told_from_text(tmp_path: Path, path: Path, small: bytes) -> None:
    text = tmp_path / "text"
    text.write_text('{"__metadata__":{"crc32":"')
    empty = tmp_path / "empty"
    empty.touch()
    assert [is_container(file) for file in (path, text, empty, tmp_path, tmp_path / "nothing", "-")] == [True] + 5 * [
        False
    ]


def test_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(container)
    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.parametrize("text", ["the cat sat on the mat\n", "고양이가 방석 위에\n", "\\data\\\nngram 1=3\n"])
def test_a_text_is_said_to_be_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "text"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ModelFileError, match="it is a text, or an ARPA file, of which fastlm convert makes a model"):
        read_tensors(path)
