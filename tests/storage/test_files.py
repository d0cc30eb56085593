import bz2
import doctest
import errno
import gzip
import io
import lzma
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlm.errors import FileError
from fastlm.storage import (
    atomic_write,
    atomic_write_named,
    check_writable,
    files,
    is_compressed,
    open_binary,
    read_blocks,
    remove_temporaries,
)

TEXT = b"".join(b"line %d of a text that can be compressed\n" % number for number in range(5000))
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
    ".GZ": gzip.compress,
}
COMPRESSED = [suffix for suffix in COMPRESS if suffix]


def read(path: Path) -> bytes:
    return b"".join(read_blocks(path))


# Reading


@pytest.mark.parametrize("suffix", COMPRESS)
def test_reads_every_compression(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"text.txt{suffix}"
    path.write_bytes(COMPRESS[suffix](TEXT))
    blocks = list(read_blocks(path, 10_000))
    assert b"".join(blocks) == TEXT
    assert all(0 < len(block) <= 10_000 for block in blocks)
    with open_binary(str(path)) as file:
        assert file.read() == TEXT


@pytest.mark.parametrize("suffix", COMPRESS)
def test_says_how_much_of_the_file_was_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"text.txt{suffix}"
    path.write_bytes(COMPRESS[suffix](TEXT))
    steps: list[int] = []
    assert b"".join(read_blocks(path, 10_000, progress=steps.append)) == TEXT
    assert sum(steps) == path.stat().st_size
    assert is_compressed(path) == bool(suffix)


def test_reads_a_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT)
    for begin, end in [(0, 25_000), (7, 8), (20_000, 20_000), (100, len(TEXT) + 1000)]:
        steps: list[int] = []
        assert b"".join(read_blocks(path, 10_000, begin=begin, end=end, progress=steps.append)) == TEXT[begin:end]
        assert sum(steps) == len(TEXT[begin:end])


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_reads_files_that_were_put_together(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"text{suffix}"
    path.write_bytes(COMPRESS[suffix](b"one\n") + COMPRESS[suffix](b"") + COMPRESS[suffix](b"two\n"))
    assert read(path) == b"one\ntwo\n"


def test_reads_zstd_with_a_skippable_frame_and_a_long_window(tmp_path: Path) -> None:
    path = tmp_path / "text.zst"
    skippable = (0x184D2A50).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=28)  # readers' usual limit is 27
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    path.write_bytes(skippable + stream.compress(TEXT) + stream.flush())
    assert read(path) == TEXT


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_a_cut_at_any_byte_is_noticed(tmp_path: Path, suffix: str) -> None:
    whole = COMPRESS[suffix](b"a short text, and a short text again")
    path = tmp_path / f"text{suffix}"
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(FileError, match="damaged or incomplete") as caught:
            read(path)
        assert repr(str(path)) in str(caught.value)


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_an_altered_byte_is_a_file_error_or_harmless(tmp_path: Path, suffix: str) -> None:
    text = b"a short text, and a short text again"
    compress = zstandard.ZstdCompressor(write_checksum=True).compress if suffix == ".zst" else COMPRESS[suffix]
    whole = compress(text)
    path = tmp_path / f"text{suffix}"
    noticed = 0
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:
            assert read(path) == text  # a byte of the header that says nothing about the contents
        except FileError:
            noticed += 1
    assert noticed > len(whole) // 2


@pytest.mark.parametrize("suffix", COMPRESSED)
@settings(max_examples=30)
@given(garbage=st.binary(min_size=1, max_size=100))
def test_garbage_is_a_file_error(tmp_path_factory: pytest.TempPathFactory, suffix: str, garbage: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / f"garbage{suffix}"
    path.write_bytes(b"not compressed" + garbage)
    with pytest.raises(FileError):
        read(path)


def test_the_wrong_suffix_is_named(tmp_path: Path) -> None:
    path = tmp_path / "text.gz"
    path.write_bytes(bz2.compress(TEXT))
    with pytest.raises(FileError, match="Not a gzipped file"), open_binary(path) as file:
        file.read()


@pytest.mark.parametrize("name", ["missing.txt", "missing.gz", "missing.xz", "missing.zst", "no/such/file"])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileError, match=r"cannot read .*No such file.*check the spelling") as caught:
        read(tmp_path / name)
    assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_directory(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"directory{suffix}"
    path.mkdir()
    with pytest.raises(FileError, match="Is a directory; give the name of a file"):
        read(path)


def test_zst_without_zstandard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text.zst"
    path.write_bytes(zstandard.compress(TEXT))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(FileError, match="pip install"):
        read(path)


def test_standard_input_is_read_and_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b"one\ntwo\n"))
    monkeypatch.setattr(sys, "stdin", stdin)
    with open_binary("-") as file:
        assert file.readline() == b"one\n"
    assert not stdin.buffer.closed


def test_no_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(FileError, match="there is no standard input"):
        list(read_blocks("-"))


def test_what_a_pipe_holds_is_not_held_back() -> None:
    reading, writing = os.pipe()
    try:
        blocks = read_blocks(f"/dev/fd/{reading}")
        os.write(writing, b"one\n")
        assert next(blocks) == b"one\n"  # though the other end is open, and may go on
        blocks.close()  # type: ignore[attr-defined]
    finally:
        os.close(reading)
        os.close(writing)


def test_failures_of_the_callers_own_are_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT)
    with pytest.raises(EOFError, match="mine"), open_binary(path):
        raise EOFError("mine")
    with pytest.raises(FileNotFoundError) as caught, atomic_write(path):
        (tmp_path / "missing").read_bytes()
    assert not isinstance(caught.value, FileError)


# Writing


def entries(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


def test_writes_a_new_file_and_replaces_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for contents in (b"old", b"new"):
        with atomic_write(path) as file:
            file.write(contents)
        assert path.read_bytes() == contents
    assert entries(tmp_path) == {"file"}


def test_the_old_contents_stay_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new" * 10_000)
        file.flush()
        assert path.read_bytes() == b"old"
        temporary = next(name for name in entries(tmp_path) if name != "file")
        assert temporary.startswith(".fastlm-")
    assert path.read_bytes() == b"new" * 10_000


@pytest.mark.parametrize("exception", [RuntimeError, KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("old", [b"old", None])
def test_an_exception_leaves_everything_as_it_was(
    tmp_path: Path, exception: type[BaseException], old: bytes | None
) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    before = entries(tmp_path)
    with pytest.raises(exception), atomic_write(path) as file:
        file.write(b"half")
        raise exception
    assert entries(tmp_path) == before
    assert old is None or path.read_bytes() == old


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow beyond 1000 bytes; not as a fixture, or pytest could not write its own output to a file."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("size", [1001, 100_000, 1_000_000])
def test_a_full_disk_while_writing(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with (
        pytest.raises(FileError, match=r"cannot write .*file.*: File too large") as caught,
        full_disk(),
        atomic_write(path) as file,
    ):
        file.write(bytes(size))
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert entries(tmp_path) == {"file"}


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace", "os.open"])
def test_a_failure_of_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(step, fail)
    with pytest.raises(FileError, match="No space left on device; make room"), atomic_write(path) as file:
        file.write(b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert entries(tmp_path) == {"file"}


def test_the_bytes_reach_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def recorded_fsync(descriptor: int) -> None:
        mode = os.fstat(descriptor)
        steps.append("directory" if stat.S_ISDIR(mode.st_mode) else f"file of {mode.st_size}")
        fsync(descriptor)

    def recorded_replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "replace", recorded_replace)
    with atomic_write(tmp_path / "file") as file:
        file.write(b"12345")
    assert steps == ["file of 5", "rename", "directory"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_an_existing_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    with atomic_write(path) as file:
        file.write(b"new")
        temporary = next(entry for entry in tmp_path.iterdir() if entry.name != "file")
        assert stat.S_IMODE(temporary.stat().st_mode) & ~mode == 0  # what was private is never public
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_usual_permissions(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "file"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    real, link, link_to_link = tmp_path / "directory/real", tmp_path / "link", tmp_path / "link to link"
    link.symlink_to("directory/real")
    link_to_link.symlink_to("link")
    for contents in (b"first", b"second"):  # the link dangles at first
        check_writable(link_to_link)
        with atomic_write(link_to_link) as file:
            file.write(contents)
        assert real.read_bytes() == contents
    assert link.is_symlink()
    assert link_to_link.is_symlink()
    assert entries(tmp_path / "directory") == {"real"}


def test_a_name_as_long_as_the_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    with atomic_write(path) as file:
        file.write(b"long")
    assert path.read_bytes() == b"long"


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    names = {"file", "other", "link", ".fastlm-notes.tmp"}
    for name in ("file", "other"):
        before = entries(tmp_path)
        with atomic_write(tmp_path / name):
            (temporary,) = entries(tmp_path) - before
            for end in ("0.tmp", "1.tmp"):  # as of two processes that were killed
                (tmp_path / temporary.replace(".tmp", end)).touch()
    (tmp_path / "link").symlink_to("other")
    (tmp_path / ".fastlm-notes.tmp").touch()
    assert len(entries(tmp_path)) == len(names) + 4
    remove_temporaries(tmp_path / "file")
    assert len(entries(tmp_path)) == len(names) + 2
    remove_temporaries(tmp_path / "link")
    assert entries(tmp_path) == names
    remove_temporaries(tmp_path / "missing" / "file")


def make_link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


UNWRITABLE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    # what "target" is made, what is written then, what is said
    "directory": (Path.mkdir, "target", "it names a directory"),
    "future directory": (str, "target/", "it names a directory"),
    "missing parent": (str, "target/file", "/target' does not exist; create it first"),
    "link into nowhere": (make_link("nowhere/file"), "target", "/nowhere' does not exist; create it first"),
    "parent is a file": (Path.touch, "target/file", "Not a directory"),
    "pipe": (os.mkfifo, "target", "not a regular file"),
    "device": (make_link(os.devnull), "target", "not a regular file"),
    "loop of links": (make_link("target"), "target", "symbolic links"),
    "long name": (str, "n" * 256, "File name too long"),
}


@pytest.mark.parametrize("case", UNWRITABLE)
def test_what_cannot_be_written_is_said_before_and_when_writing(tmp_path: Path, case: str) -> None:
    make, name, expected = UNWRITABLE[case]
    make(tmp_path / "target")
    path = f"{tmp_path}/{name}"
    before = entries(tmp_path)
    for write in (check_writable, lambda path: atomic_write(path).__enter__()):
        with pytest.raises(FileError) as caught:
            write(path)
        assert str(caught.value).startswith(f"cannot write {path!r}: ")
        assert expected in str(caught.value)
    assert entries(tmp_path) == before


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be somebody who is not root, whom permissions do not bind, inside the block."""
    if os.getuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Make a directory that others than its owner can reach, too."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        yield directory
        directory.chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "setresuid"), reason="needs to be somebody else for a while")
def test_missing_permissions(open_directory: Path) -> None:
    new, path = open_directory / "new", open_directory / "file"
    path.write_bytes(b"old")
    path.chmod(0o400)
    open_directory.chmod(0o555)
    with unprivileged(), pytest.raises(FileError, match="files cannot be created in the directory"):
        check_writable(new)
    open_directory.chmod(0o777)
    with unprivileged():
        check_writable(new)
        with pytest.raises(FileError, match="the file is write-protected"):
            check_writable(path)
        with pytest.raises(FileError, match="the file is write-protected"), atomic_write(path):
            pass
    path.chmod(0o000)
    with unprivileged(), pytest.raises(FileError, match=r"cannot read .*Permission denied; check the permissions"):
        read(path)


def test_an_empty_path() -> None:
    with pytest.raises(FileError, match="cannot write '': it names a directory"):
        check_writable("")


def test_checking_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    before = [entry.stat() for entry in (tmp_path, path)]
    check_writable(path)
    check_writable(tmp_path / "new")
    assert entries(tmp_path) == {"file"}
    after = [entry.stat() for entry in (tmp_path, path)]
    assert [entry.st_mtime_ns for entry in after] == [entry.st_mtime_ns for entry in before]


def test_names_that_promise_compression(tmp_path: Path) -> None:
    for name, expected in (("a", b"one"), ("A.GZ", gzip.compress(b"one", mtime=0))):
        with atomic_write_named(tmp_path / name) as file:
            file.write(b"one")
        with open_binary(tmp_path / name) as read:
            assert read.read() == b"one"
        assert (tmp_path / name).read_bytes()[:4] == expected[:4]
    with pytest.raises(RuntimeError), atomic_write_named(tmp_path / "A.GZ") as file:
        file.write(b"two")
        raise RuntimeError
    assert gzip.decompress((tmp_path / "A.GZ").read_bytes()) == b"one"
    for name in ("a.zst", "a.xz"):
        with pytest.raises(ValueError, match="which is read but not written"), atomic_write_named(tmp_path / name):
            pass
    assert entries(tmp_path) == {"a", "A.GZ"}


def test_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(files)
    assert results.attempted > 0
    assert results.failed == 0
