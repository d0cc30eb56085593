"""Reading text: the same lines from files, compressed files, standard input and iterables; and its faults."""

import gzip
import io
import logging
import lzma
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import fastlm.text.source
from fastlm.errors import DataError, FileError
from fastlm.text.source import SkippedLine, TextReader

TEXT = "one two\n\n  \nthree\tfour 가나다\r\nthe last line"
LINES = ["one two", "", "  ", "three\tfour 가나다", "the last line"]


def read_lines(source: object, errors: str = "strict") -> list[str]:
    return [line for block in TextReader(source, errors).line_blocks() for line in block]  # type: ignore[arg-type]


@pytest.fixture
def tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastlm.text.source, "BLOCK_SIZE", 7)


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".zst"])
def test_files(tmp_path: Path, suffix: str, tiny_blocks: None) -> None:
    path = tmp_path / f"text.txt{suffix}"
    compress = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.ZstdCompressor().compress}
    path.write_bytes(compress[suffix](TEXT.encode()))
    assert read_lines(path) == read_lines(str(path)) == LINES


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert read_lines("-") == LINES


def test_iterables_with_and_without_line_ends() -> None:
    assert read_lines(LINES) == read_lines([line + "\n" for line in LINES]) == read_lines(iter(LINES)) == LINES
    assert read_lines(io.StringIO(TEXT, newline="\n")) == LINES
    assert read_lines(line for line in LINES) == LINES
    assert read_lines(["two\nlines", "one\r\n"]) == ["two", "lines", "one"]


@given(st.binary(max_size=60), st.integers(1, 9), st.booleans())
def test_blocks_of_any_size_give_the_same_text(text: bytes, size: int, whole_lines: bool) -> None:
    reader = TextReader([], errors="replace")
    reader._raw_blocks = iter([text[start : start + size] for start in range(0, len(text), size)])
    blocks = list(reader._checked_blocks(whole_lines=whole_lines))
    expected = text.removeprefix(b"\xef\xbb\xbf") + (b"" if text.endswith(b"\n") or not text else b"\n")
    replaced = expected.decode(errors="replace").replace("\0", "\ufffd")
    assert b"".join(blocks).decode() == replaced
    assert all(block.endswith((b"\n",) if whole_lines else (b"\n", b" ", b"\t")) for block in blocks)
    assert reader.num_characters == len(replaced)
    assert reader.num_bytes == len(replaced.encode())
    assert reader.num_lines == replaced.count("\n")
    assert reader.num_replaced == replaced.count("\ufffd") - expected.decode(errors="ignore").count("\ufffd")


def test_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n")
    reader = TextReader(path)
    assert [line for block in reader.line_blocks() for line in block] == ["one", "\ufefftwo"]
    assert (reader.num_characters, reader.num_bytes) == (9, 11)


def test_a_carriage_return_is_dropped_only_before_a_line_feed() -> None:
    reader = TextReader(["a\r\r\n", "b\rc\n", "\r\n", "d\r"])
    assert [line for block in reader.line_blocks() for line in block] == ["a\r", "b\rc", "", "d"]
    assert reader.num_characters == reader.num_bytes == len("a\r\nb\rc\n\nd\n")


@pytest.mark.parametrize(
    ("bad", "what"),
    [(b"\xff", "invalid UTF-8 (byte 0xff)"), (b"\xea\xb0", "invalid UTF-8 (byte 0xea)"), (b"\0", "a NUL byte")],
)
@pytest.mark.parametrize("size", [3, 1 << 20])
def test_invalid_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: bytes, what: str, size: int) -> None:
    monkeypatch.setattr(fastlm.text.source, "BLOCK_SIZE", size)
    path = tmp_path / "text.txt"
    path.write_bytes(b"one\ntwo \ntwo " + bad + b" three\nfour " + bad)
    with pytest.raises(DataError) as failure:
        read_lines(path)
    assert str(failure.value).startswith(f"{path}, line 3: {what}; expected text in UTF-8")
    assert "let errors (--errors) be 'replace'" in str(failure.value)
    assert read_lines(path, "replace") == ["one", "two ", "two \ufffd three", "four \ufffd"]
    assert read_lines(path, "skip") == ["one", "two ", "", ""]  # their line ends stay; they are not counted
    reader = TextReader(path, "skip")
    lines = [line for block in reader.line_blocks() for line in block]
    assert len(lines) == reader.num_lines == 4
    assert [isinstance(line, SkippedLine) for line in lines] == [False, False, True, True]
    assert (reader.num_skipped, reader.num_characters, reader.num_bytes) == (2, 9, 9)


def test_a_lone_surrogate_in_a_string() -> None:
    with pytest.raises(DataError, match=r"text, line 2: invalid UTF-8"):
        read_lines(["fine", "not \ud800"])


def test_what_is_no_text() -> None:
    for source in (3, None, b"bytes"):
        with pytest.raises(ValueError, match="expected a path or an iterable of lines"):
            TextReader(source)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"line 2: expected lines of text \(str\), got PosixPath"):
        read_lines(["a", Path("b")])
    with pytest.raises(ValueError, match="errors='ignore': expected 'strict', 'replace' or 'skip'"):
        TextReader([], errors="ignore")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"nothing\.txt"):
        read_lines(tmp_path / "nothing.txt")


def test_a_line_longer_than_all_blocks_is_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("word " * 1_000_000)
    sizes = [len(block) for block in TextReader(path)._checked_blocks(whole_lines=False)]
    assert sum(sizes) == 5_000_001
    assert max(sizes) <= fastlm.text.source.BLOCK_SIZE + 5


def test_lines_are_read_when_they_are_needed() -> None:
    rng = random.Random(1)
    taken = 0

    def lines() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield "word " * rng.randrange(100)

    next(TextReader(lines()).line_blocks())
    assert taken < 10_000


def test_a_scan_says_what_it_left_out(caplog: pytest.LogCaptureFixture) -> None:
    from fastlm.text.scan.counter import Counter
    from fastlm.text.tokenizer import make_tokenizer

    for tokenizer in ("whitespace", "word"):
        caplog.clear()
        counter = Counter("text")
        with caplog.at_level(logging.WARNING, "fastlm"):
            reader = TextReader(["a b", "c\0", "d <unk>"], "skip")
            list(reader.scan(counter, make_tokenizer(tokenizer)))
            reader.warn()
        assert [record.getMessage() for record in caplog.records] == [
            "text: 0 invalid characters were replaced, 1 lines left out"
        ]
        assert counter.num_lines == 3


@pytest.mark.parametrize(("errors", "counts"), [("skip", (0, 1)), ("replace", (1, 0))])
def test_lines_are_followed_by_what_was_not_read_as_it_stands(
    caplog: pytest.LogCaptureFixture, tiny_blocks: None, errors: str, counts: tuple[int, int]
) -> None:
    reader = TextReader(["one", "", "t\0o", "", "three"], errors)
    lines = reader.lines()
    assert next(lines) == "one"
    assert not caplog.records
    rest = list(lines)
    assert rest == ["", "" if errors == "skip" else "t\ufffdo", "", "three"]
    assert [isinstance(line, SkippedLine) for line in rest] == [False, errors == "skip", False, False]
    assert (reader.num_replaced, reader.num_skipped) == counts
    assert len(caplog.records) == 1
    list(TextReader(["one"]).lines())
    assert len(caplog.records) == 1
