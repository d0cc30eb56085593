"""Lists of words: as plain text, and packed as the bytes of all words with the place where each ends."""

import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import DataError, ModelFileError
from fastlm.storage import Source, atomic_write
from fastlm.text.scan.numbering import sort_words
from fastlm.text.source import TextReader
from fastlm.text.tokenizer import END, START, UNKNOWN, Tokenizer, WhitespaceTokenizer

__all__ = [
    "NUM_SPECIALS",
    "UNWRITABLE",
    "decode_word",
    "find_fault",
    "most_frequent",
    "pack",
    "read_words",
    "unpack",
    "write_words",
]


NUM_SPECIALS = 2  # <unk> and </s>, which come first in every vocabulary
UNWRITABLE = re.compile("[\0\ud800-\udfff]")  # NUL, and lone surrogates, which UTF-8 has no bytes for
BLANK = re.compile("[ \t\n]")


def find_fault(word: object, tokenizer: Tokenizer) -> str | None:
    """Say what is wrong with a word, if anything is."""
    if not isinstance(word, str) or not word:
        return "expected a string of one character or more"
    if UNWRITABLE.search(word):
        return "NUL or a lone surrogate; expected text that can be written as UTF-8"
    if isinstance(tokenizer, WhitespaceTokenizer) and BLANK.search(word):
        return "a blank inside, where the tokenizer 'whitespace' splits; expected one word (a count follows a tab)"
    return None


def check_words(words: Sequence[str], tokenizer: Tokenizer) -> None:
    """Raise ValueError if these, which come from a caller, cannot be a vocabulary's words."""
    if isinstance(words, str | bytes) or not isinstance(words, Sequence | np.ndarray):
        raise ValueError(
            f"words is a {type(words).__name__}, expected a sequence of strings in the order of their ids; "
            "make it a list, or take Vocabulary.read or Vocabulary.build for a file"
        )
    seen: set[str] = set()
    for number, word in enumerate(words):
        fault = find_fault(word, tokenizer)
        if word in (UNKNOWN, END, START):
            fault = "the special words have their places already; leave it out"
        elif word in seen:
            fault = "it is there twice; expected every word once"
        if fault:
            raise ValueError(f"words[{number}] is {word!r}: {fault}")
        seen.add(word)


def read_words(path: Source, tokenizer: Tokenizer) -> dict[str, int | None]:
    """Read a word list: words in their order, with their counts, which are None in a plain list."""
    counts: dict[str, int | None] = {}
    reader = TextReader(path)
    lines = (line for block in reader.line_blocks() for line in block)
    for number, line in enumerate(lines, start=1):
        word, tab, digits = line.partition("\t")
        fault = find_fault(word, tokenizer)
        if fault:
            fault = f"got {word!r}: {fault}"
        elif word in counts:
            fault = f"{word!r} is there twice; expected every word once"
        elif tab and not (digits.isascii() and digits.isdigit() and len(digits) < 20 and int(digits) < 1 << 63):
            fault = f"{digits!r} behind the tab; expected the word's count"
        elif counts and bool(tab) != (next(iter(counts.values())) is not None):
            fault = "some words have counts, others not; expected a tab and a count in all lines or in none"
        if fault:
            raise DataError(f"{reader.name}, line {number}: {fault}")
        if word != START:
            counts[word] = int(digits) if tab else None
    return counts


def write_words(path: Source, words: Sequence[str], counts: NDArray[np.int64] | None) -> None:
    """Write a word list that `read_words` reads."""
    endings = ["\n"] * len(words) if counts is None else [f"\t{count}\n" for count in counts]
    with atomic_write(path) as file:
        for word, ending in zip(words, endings, strict=True):
            if "\t" in word or "\n" in word or (word + ending).endswith("\r\n"):
                raise DataError(f"cannot write {os.fspath(path)!r}: the word {word!r} does not fit in a line of text")
            file.write((word + ending).encode())


def pack(words: list[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Join words, and say where each ends."""
    data = np.frombuffer(b"".join(words), dtype=np.uint8)
    return data, np.cumsum([len(word) for word in words], dtype=np.int64)


def unpack(data: NDArray[np.uint8], ends: NDArray[np.int64], which: Any = slice(None)) -> list[bytes]:
    """Cut packed words apart: all, or the ones with given numbers."""
    starts = np.concatenate([[0], ends[:-1]])
    raw = data.tobytes()
    return [raw[start:end] for start, end in zip(starts[which].tolist(), ends[which].tolist(), strict=True)]


def check_packed(data: NDArray[Any], ends: NDArray[Any], counts: NDArray[Any] | None = None) -> None:
    """Raise ModelFileError if these arrays of a file are not packed words and counts, the special ones first."""
    specials = (UNKNOWN + END).encode()
    if not (
        (data.dtype == np.uint8 and data.ndim == 1 and ends.dtype == np.int64 and ends.ndim == 1)
        and ends[:NUM_SPECIALS].tolist() == [len(UNKNOWN), len(specials)]
        and ends[-1] == len(data)
        and np.all(ends[1:] > ends[:-1])
        and data[: len(specials)].tobytes() == specials
    ):
        raise ModelFileError("damaged vocabulary: vocabulary.bytes (uint8) and vocabulary.ends (int64) do not fit")
    if counts is not None and (counts.dtype != np.int64 or counts.shape != ends.shape or counts.min() < 0):
        raise ModelFileError(f"damaged vocabulary: expected vocabulary.counts (int64) of {len(ends)} words")


def decode_word(word: bytes) -> str:
    """Turn a word's bytes, which may come from a damaged file, into a string."""
    try:
        return word.decode()
    except UnicodeDecodeError as error:
        raise ModelFileError(f"damaged vocabulary: the word {word!r} is not UTF-8") from error


def most_frequent(
    data: NDArray[np.uint8], ends: NDArray[np.int64], counts: NDArray[np.int64], max_size: int | None, min_count: int
) -> NDArray[np.int64]:
    """Choose the words to keep, by their numbers, in the order of the vocabulary: by count, then by bytes."""
    kept = NUM_SPECIALS + np.flatnonzero(counts[NUM_SPECIALS:] >= min_count)
    limit = len(kept) if max_size is None else max_size - NUM_SPECIALS
    if limit < len(kept):  # only words as frequent as the last one need to be sorted
        last = np.partition(counts[kept], -limit)[-limit]
        kept = kept[counts[kept] >= last]
    return sort_words(data, ends, counts, kept)[:limit]
