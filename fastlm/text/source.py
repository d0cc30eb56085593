"""Where text comes from: files, standard input and Python iterables, as checked blocks of UTF-8."""

import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fastlm.errors import LineError
from fastlm.storage import read_blocks
from fastlm.text.scan.scanner import Scanner
from fastlm.text.scan.utf8 import check_text
from fastlm.text.tokenizer import Tokenizer, WhitespaceTokenizer

__all__ = ["SkippedLine", "TextReader", "TextSource", "check_errors", "warn_of_changes"]

logger = logging.getLogger(__name__)

TextSource = str | os.PathLike[str] | Iterable[str]

BLOCK_SIZE = 1 << 18  # a block, its words and what becomes of them fit in a cache of a megabyte
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
REPLACEMENT = "\ufffd"


class SkippedLine(str):
    """What stands in the place of a line that was left out: an empty line, for all who need not tell it from one."""

    __slots__ = ()


class TextReader:
    """Reads a text once, hands it to a scanner, and counts what is not words.

    Blocks are cut behind a space, tab or line feed, never inside a character or a word, so memory is bounded by the
    longest word, not by the longest line. Where lines must be whole (every tokenizer but "whitespace" needs them, and
    `errors="skip"`), it is bounded by the longest line.

    Parameters
    ----------
    source : str, path-like or iterable of str
        A path ("-" is standard input), or lines of text.
    errors : {"strict", "replace", "skip"}
        What to do about invalid UTF-8 and NUL: raise DataError; put U+FFFD in their place; leave out the whole line.
    begin, end : int, optional
        The part of a plain file that is read, in bytes; it begins and ends with a line.
    progress : callable, optional
        Told how many bytes of the file, compressed as it may be, have been scanned since the last call.

    Attributes
    ----------
    name : str
        The text's name in errors.
    num_lines : int
        Lines read so far, the skipped ones too. Errors name lines of the part.
    num_characters, num_bytes : int
        Of the text as scanned: without byte-order mark and skipped lines, one for every line end.
    num_replaced : int
        Characters that were put in place of what was invalid.
    num_skipped : int
        Lines left out.
    """

    def __init__(
        self,
        source: TextSource,
        errors: str = "strict",
        *,
        begin: int = 0,
        end: int | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        check_errors(errors)
        self.errors = errors
        self.name, self._raw_blocks = _open(source, begin, end, progress)
        self._has_mark = begin == 0
        self.num_lines = 0
        self.num_characters = 0
        self.num_bytes = 0
        self.num_replaced = 0
        self.num_skipped = 0
        self._skipped: list[int] = []  # of the block at hand

    def scan(self, scanner: Scanner, tokenizer: Tokenizer) -> Iterator[Any]:
        """Give all text to the scanner, and yield what it returns for each block."""
        scanner.begin_text(self.name)
        num_returns = scanner.num_returns
        if isinstance(tokenizer, WhitespaceTokenizer):
            for block in self._checked_blocks(whole_lines=self.errors == "skip"):
                yield scanner.scan(block)
            self._drop(scanner.num_returns - num_returns)
        else:
            for lines in self.line_blocks():
                # What looks empty is empty, even for a tokenizer that would make a token of it.
                filled = [bool(line.strip(" \t")) for line in lines]
                tokens = iter(tokenizer.tokenize_lines(list(itertools.compress(lines, filled))))
                yield scanner.scan_tokens([next(tokens) if is_filled else [] for is_filled in filled])

    def warn(self) -> None:
        """Log what was not read as it stands, if anything."""
        warn_of_changes(self.name, self.num_replaced, self.num_skipped)

    def lines(self) -> Iterator[str]:
        """Yield all lines, without their ends; then log what was not read as it stands, as `warn` does."""
        for lines in self.line_blocks():
            yield from lines
        self.warn()

    def line_blocks(self) -> Iterator[list[str]]:
        """Yield all lines, without their ends, many at a time; a `SkippedLine` for each that is left out."""
        for block in self._checked_blocks(whole_lines=True):
            lines = block.decode().split("\n")[:-1]
            self._drop(sum(line.endswith("\r") for line in lines))
            lines = [line.removesuffix("\r") for line in lines]
            for place in self._skipped:
                lines[place] = SkippedLine()
            yield lines

    def _drop(self, count: int) -> None:
        """Do not count so many ASCII characters: the second ones of "\\r\\n", and line ends of skipped lines."""
        self.num_characters -= count
        self.num_bytes -= count

    def _checked_blocks(self, *, whole_lines: bool) -> Iterator[bytes]:
        blocks = _cut(self._raw_blocks, b"\n" if whole_lines else b"\n \t")
        for block in _without_mark(blocks) if self._has_mark else blocks:
            checked, self._skipped = block, []
            num_valid, num_characters, num_lines = check_text(block)
            if num_valid < len(block):
                checked = self._mended(block, num_valid, self.num_lines + num_lines + 1)
                _, num_characters, num_lines = check_text(checked)
            self.num_lines += num_lines
            self.num_characters += num_characters
            self.num_bytes += len(checked)
            if checked:
                yield checked

    def _mended(self, block: bytes, num_valid: int, line: int) -> bytes:
        """Replace or leave out what is invalid, or raise an error that says where it is."""
        if self.errors == "replace":
            text = block.decode(errors="replace").replace("\0", REPLACEMENT)
            self.num_replaced += text.count(REPLACEMENT) - block.count(REPLACEMENT.encode())
            return text.encode()
        if self.errors == "skip":
            lines = [line + b"\n" for line in block.split(b"\n")[:-1]]
            self._skipped = [place for place, line in enumerate(lines) if check_text(line)[0] < len(line)]
            self.num_skipped += len(self._skipped)
            self._drop(len(self._skipped))
            for place in self._skipped:  # their line ends stay, so that the scanner counts lines as errors are read
                lines[place] = b"\n"
            return b"".join(lines)
        what = "a NUL byte" if block[num_valid] == 0 else f"invalid UTF-8 (byte 0x{block[num_valid]:02x})"
        raise LineError(
            self.name,
            line,
            f"{what}; expected text in UTF-8: convert the text, or let errors (--errors) be 'replace' to put U+FFFD "
            "there, or 'skip' to leave such lines out",
        )


def warn_of_changes(name: str, num_replaced: int, num_skipped: int) -> None:
    """Log what of a text was not read as it stands, if anything."""
    if num_replaced or num_skipped:
        logger.warning("%s: %d invalid characters were replaced, %d lines left out", name, num_replaced, num_skipped)


def check_errors(errors: str) -> None:
    """Raise ValueError unless this is a way to treat invalid text."""
    if errors not in ("strict", "replace", "skip"):
        raise ValueError(f"errors={errors!r}: expected 'strict', 'replace' or 'skip'")


def _open(
    source: TextSource, begin: int, end: int | None, progress: Callable[[int], object] | None
) -> tuple[str, Iterator[bytes]]:
    """Name and raw blocks of a source."""
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        if not isinstance(path, str):
            raise ValueError(f"expected a path of str, got {path!r}")
        blocks = read_blocks(path, BLOCK_SIZE, begin=begin, end=end, progress=progress)
        return "standard input" if path == "-" else path, blocks
    if isinstance(source, bytes | bytearray | memoryview) or not isinstance(source, Iterable):
        raise ValueError(f"expected a path or an iterable of lines (str), got {type(source).__name__}")
    return "text", _blocks_of_lines(source)


def _blocks_of_lines(lines: Iterable[str]) -> Iterator[bytes]:
    pieces: list[str] = []
    size = 0
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, str):
            raise ValueError(f"text, line {number}: expected lines of text (str), got {type(line).__name__}")
        pieces.append(line if line.endswith("\n") else line + "\n")
        size += len(line)
        if size >= BLOCK_SIZE // 4:
            yield "".join(pieces).encode("utf-8", "surrogatepass")  # a lone surrogate is reported with its line
            pieces, size = [], 0
    if pieces:
        yield "".join(pieces).encode("utf-8", "surrogatepass")


def _cut(blocks: Iterable[bytes], separators: bytes) -> Iterator[bytes]:
    """Cut a text again, behind one of the separators; the last line gets an end if it has none."""
    pending: list[bytes] = []
    last = b""
    for block in blocks:
        last = block[-1:]
        end = 1 + max(block.rfind(separators[k : k + 1]) for k in range(len(separators)))
        if end == 0:
            pending.append(block)
            continue
        yield b"".join([*pending, memoryview(block)[:end]])
        pending = [block[end:]]
    if last not in (b"", b"\n"):
        yield b"".join([*pending, b"\n"])


def _without_mark(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Drop a byte-order mark; the first block holds all of it."""
    mark = BYTE_ORDER_MARK
    for block in blocks:
        yield block.removeprefix(mark)
        mark = b""
