"""Counting the words of a text, and choosing those that a vocabulary keeps."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import DataError
from fastlm.text.scan.counter import Counter
from fastlm.text.scan.numbering import pick_words
from fastlm.text.source import TextReader, TextSource
from fastlm.text.tokenizer import Tokenizer
from fastlm.text.wordlist import NUM_SPECIALS, most_frequent

__all__ = ["PackedWords", "check_limits", "count_words", "keep_words"]

PackedWords = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]
"""Bytes of all words, the special ones first; where each ends; and how often it occurs."""


def check_limits(max_size: int | None, min_count: int) -> None:
    """Raise ValueError if these cannot limit a vocabulary."""
    if max_size is not None and not _is_whole(max_size, NUM_SPECIALS + 1):
        raise ValueError(
            f"max_size={max_size!r}: expected a whole number of at least 3, because <unk> and </s> are counted"
        )
    if not _is_whole(min_count, 1):
        raise ValueError(f"min_count={min_count!r}: expected a whole number of at least 1")


def count_words(
    source: TextSource, tokenizer: Tokenizer, *, max_size: int | None, min_count: int, errors: str
) -> PackedWords:
    """Count a text's words, and keep the most frequent ones; see `Vocabulary.build`."""
    check_limits(max_size, min_count)
    reader = TextReader(source, errors)
    counter = Counter()
    for _ in reader.scan(counter, tokenizer):
        pass
    reader.warn()
    if counter.num_sentences == 0:
        raise DataError(f"{reader.name}: no word in {reader.num_lines} lines; expected text, one sentence a line")
    return keep_words(counter.words(), max_size, min_count, reader.name)


def keep_words(counted: PackedWords, max_size: int | None, min_count: int, name: str) -> PackedWords:
    """Choose the most frequent of all words of a text; the count of ``<unk>`` grows by those of the others."""
    data, ends, counts = counted
    kept = most_frequent(data, ends, counts, max_size, min_count)
    if len(kept) == 0:
        raise DataError(f"{name}: no word occurs {min_count} times or more; give a smaller min_count")
    order = np.concatenate([np.arange(NUM_SPECIALS), kept])
    kept_counts = counts[order]
    kept_counts[0] += counts.sum() - kept_counts.sum()
    return *pick_words(data, ends, order), kept_counts


def _is_whole(number: Any, minimum: int) -> bool:
    return isinstance(number, int | np.integer) and not isinstance(number, bool) and bool(number >= minimum)
