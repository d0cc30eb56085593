"""Tokens to ids and back: the words that a model knows."""

import functools
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlm.errors import DataError, ModelFileError
from fastlm.storage import Source
from fastlm.text.counting import PackedWords, count_words
from fastlm.text.scan.table import WordTable
from fastlm.text.source import TextSource
from fastlm.text.tokenizer import END, START, UNKNOWN, Tokenizer, TokenizerChoice, make_tokenizer
from fastlm.text.wordlist import (
    NUM_SPECIALS,
    UNWRITABLE,
    check_packed,
    check_words,
    decode_word,
    pack,
    read_words,
    unpack,
    write_words,
)

__all__ = ["Vocabulary"]


class Vocabulary:
    """The words that a model can predict, and their ids.

    Id 0 is ``<unk>``, which stands for every word that is not there, id 1 is ``</s>``, the end of a sentence; then
    come the words. The size V counts all of these. ``<s>``, the begin of a sentence, has the id V on top: it is input
    only, and never predicted.

    A vocabulary does not change. It can be pickled and used by any number of threads at once. Two of them are equal
    when their words and tokenizers are; counts do not matter.

    Parameters
    ----------
    words : sequence of str
        Different words without the special ones, in the order of their ids.
    counts : array_like of int, shape (V,), optional
        How often each word was seen, those of ``<unk>`` and ``</s>`` first.
    tokenizer : str, path-like, callable or Tokenizer, default "whitespace"
        How text is split; see `make_tokenizer`.

    Raises
    ------
    ValueError
        If a word is empty, special, there twice, or could not come out of the tokenizer "whitespace"; if `counts` are
        too few, too many or negative.

    Examples
    --------
    >>> vocabulary = Vocabulary(["the", "cat"])
    >>> len(vocabulary), vocabulary.words
    (4, ('<unk>', '</s>', 'the', 'cat'))
    >>> vocabulary.encode("the black cat")
    array([2, 0, 3], dtype=int32)
    """

    UNKNOWN = UNKNOWN
    END = END
    START = START
    unknown_id = 0
    end_id = 1

    def __init__(
        self, words: Sequence[str], counts: ArrayLike | None = None, *, tokenizer: TokenizerChoice = "whitespace"
    ) -> None:
        chosen = make_tokenizer(tokenizer)
        check_words(words, chosen)
        encoded = [word.encode() for word in (self.UNKNOWN, self.END, *words)]
        if counts is not None:
            counts = np.array(counts)
            if counts.shape != (len(encoded),) or counts.dtype.kind not in "iu" or counts.min() < 0:
                raise ValueError(
                    f"counts of shape {counts.shape} and dtype {counts.dtype}: expected {len(encoded)} integers, none "
                    f"negative, one for each word, those of <unk> and </s> first"
                )
            counts = counts.astype(np.int64)
        self._set(*pack(encoded), counts, chosen)

    def _set(
        self,
        data: NDArray[np.uint8],
        ends: NDArray[np.int64],
        counts: NDArray[np.int64] | None,
        tokenizer: Tokenizer,
    ) -> None:
        for array in (data, ends, counts):
            if array is not None:
                array.flags.writeable = False
        self._data = data
        self._ends = ends
        self._counts = counts
        self._tokenizer = tokenizer

    @classmethod
    def build(
        cls,
        source: TextSource,
        *,
        max_size: int | None = None,
        min_count: int = 1,
        tokenizer: TokenizerChoice = "whitespace",
        lower_case: bool = False,
        errors: str = "strict",
    ) -> Self:
        """Count the words of a text and keep the most frequent ones.

        Words are ordered by count, the most frequent first, and equally frequent ones by their UTF-8 bytes. The count
        of ``<unk>`` includes all words that were left out, that of ``</s>`` is the number of sentences.

        Parameters
        ----------
        source : str, path-like or iterable of str
            A str is always a path ("-" is standard input; .gz, .xz and .zst are decompressed); any other iterable
            yields lines of text.
        max_size : int, optional
            Largest size, ``<unk>`` and ``</s>`` included.
        min_count : int, default 1
            Leave out words that are rarer.
        tokenizer : str, path-like, callable or Tokenizer, default "whitespace"
            See `make_tokenizer`.
        lower_case : bool, default False
            Turn words into lower case; for the tokenizer "word".
        errors : {"strict", "replace", "skip"}
            What to do about invalid UTF-8 and NUL: raise DataError, put U+FFFD in their place, or leave out the line.

        Returns
        -------
        Vocabulary

        Raises
        ------
        DataError
            If the text cannot be used, or no word is left.
        FileError
            If it cannot be read.

        Examples
        --------
        >>> vocabulary = Vocabulary.build(["a rose is a rose", "is it a rose"], max_size=5)
        >>> vocabulary.words, vocabulary.counts
        (('<unk>', '</s>', 'a', 'rose', 'is'), array([1, 2, 3, 3, 2]))
        """
        chosen = make_tokenizer(tokenizer, lower_case=lower_case)
        words = count_words(source, chosen, max_size=max_size, min_count=min_count, errors=errors)
        return cls.of_words(words, chosen)

    @classmethod
    def of_words(cls, words: PackedWords, tokenizer: Tokenizer) -> Self:
        """Take words that have been counted and chosen; see `fastlm.text.counting.keep_words`."""
        vocabulary = cls.__new__(cls)
        vocabulary._set(*words, tokenizer)
        return vocabulary

    @classmethod
    def read(cls, path: Source, *, tokenizer: TokenizerChoice = "whitespace") -> Self:
        r"""Read a word list: UTF-8, one word a line, with or without a tab and its count.

        The order of the lines is that of the ids. ``<unk>`` and ``</s>`` may stand anywhere, or nowhere: they come
        first all the same. A line ``<s>`` is passed over, because it is not a word to be predicted.

        Parameters
        ----------
        path : str or path-like
            "-" is standard input.
        tokenizer : str, path-like, callable or Tokenizer, default "whitespace"
            How text is split; it is not kept in the file.

        Returns
        -------
        Vocabulary

        Raises
        ------
        DataError
            If a line is empty, a word is there twice or has a blank inside (with the tokenizer "whitespace"), or some
            words have counts and others not.
        FileError
            If the file cannot be read.

        Examples
        --------
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        ...     print("the\ncat", file=file, flush=True)
        ...     Vocabulary.read(file.name).words
        ('<unk>', '</s>', 'the', 'cat')
        """
        chosen = make_tokenizer(tokenizer)
        counted = read_words(path, chosen)
        specials = [counted.pop(word, 0) for word in (cls.UNKNOWN, cls.END)]
        if not counted:
            raise DataError(f"{os.fspath(path)}: no word in it; expected one word a line")
        counts = [count for count in (*specials, *counted.values()) if count is not None]
        return cls(list(counted), counts if len(counts) == NUM_SPECIALS + len(counted) else None, tokenizer=chosen)

    def write(self, path: Source) -> None:
        """Write the words as plain text that `read` reads: one a line, with a tab and its count if there are counts.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        DataError
            If a word has a character in it that the file cannot hold: a tab, a line end or NUL.
        FileError
            If the file cannot be written.
        """
        write_words(path, self.words, self._counts)

    @property
    def words(self) -> tuple[str, ...]:
        """All V words, in the order of their ids."""
        return self._words

    @functools.cached_property
    def _words(self) -> tuple[str, ...]:
        return tuple(map(decode_word, unpack(self._data, self._ends)))

    @functools.cached_property
    def table(self) -> WordTable:
        """The words' compiled look-up, made when it is first needed."""
        table = WordTable(self._data, self._ends)
        if table.duplicate >= 0:
            raise ModelFileError(f"damaged vocabulary: {self.word(table.duplicate)!r} is there twice")
        return table

    @property
    def counts(self) -> NDArray[np.int64] | None:
        """How often each of the V words was seen, read-only; None if that is not known."""
        return self._counts

    @property
    def tokenizer(self) -> Tokenizer:
        """How text is split."""
        return self._tokenizer

    @property
    def start_id(self) -> int:
        """The id of ``<s>``: V."""
        return len(self)

    def __len__(self) -> int:
        return len(self._ends)

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and word != self.START and (word == self.UNKNOWN or self[word] != self.unknown_id)

    def __getitem__(self, word: str) -> int:
        """Id of a word, that of ``<unk>`` if it is not there."""
        return int(self.table.find([word])[0])

    def word(self, id: int) -> str:
        """Word of an id from 0 to V; any other raises ValueError."""
        if not isinstance(id, int | np.integer) or isinstance(id, bool) or not 0 <= id <= len(self):
            raise ValueError(f"id {id!r}: expected a whole number from 0 to {len(self)}")
        if id == self.start_id:
            return self.START
        start = self._ends[id - 1] if id else 0
        return decode_word(self._data[start : self._ends[id]].tobytes())

    def encode(self, text: str) -> NDArray[np.int32]:
        """Split a line of text and look its words up.

        Parameters
        ----------
        text : str
            One line, with or without a line end.

        Returns
        -------
        ndarray of int32
            The words' ids, without ``</s>``.

        Raises
        ------
        DataError
            If the text holds a literal ``<s>`` or ``</s>``, NUL, or a lone surrogate, or the tokenizer gives an empty
            token.
        ValueError
            If there is more than one line.
        """
        return self.tokens_and_ids(text)[1]

    def tokens_and_ids(self, text: str) -> tuple[list[str], NDArray[np.int32]]:
        """Split a line of text, and return its tokens with their ids; see `encode`."""
        if not isinstance(text, str):
            raise ValueError(f"expected a line of text as a str, got {type(text).__name__}")
        line = text.removesuffix("\n").removesuffix("\r")
        if "\n" in line:
            raise ValueError(f"got {line.count(chr(10)) + 1} lines of text, expected one: encode them one by one")
        if UNWRITABLE.search(line):
            raise DataError(f"text {text!r}: NUL or a lone surrogate; expected text that can be written as UTF-8")
        # What looks empty is no sentence, as in a corpus, even for a tokenizer that makes tokens of spaces.
        tokens = list(self.tokenizer.tokenize(line)) if line.strip(" \t") else []
        if "" in tokens:
            raise DataError(f"text {text!r}: the tokenizer gave an empty token; expected one character or more in each")
        ids = self.table.find(tokens)
        if np.any((ids == self.end_id) | (ids == self.start_id)):
            raise DataError(
                f"text {text!r}: a literal <s> or </s>; they stand for the begin and the end of a sentence, which are "
                f"marked by line ends: remove them"
            )
        return tokens, ids

    def decode(self, ids: Iterable[int]) -> str:
        r"""Turn ids into readable text.

        Parameters
        ----------
        ids : iterable of int
            0 to V. ``</s>`` ends a line, ``<s>`` gives nothing.

        Returns
        -------
        str
            Lines joined by "\n", without one at the end.

        Examples
        --------
        >>> vocabulary = Vocabulary(["the", "cat", "sat"])
        >>> vocabulary.decode([2, 3, 4, 1])
        'the cat sat'
        """
        lines: list[list[str]] = [[]]
        for id in ids:
            if id == self.end_id:
                lines.append([])
            elif id != self.start_id:
                lines[-1].append(self.word(id))
        if len(lines) > 1 and not lines[-1]:
            del lines[-1]
        return "\n".join(map(self.tokenizer.detokenize, lines))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give the words as arrays.

        Returns
        -------
        dict of str to ndarray
            "vocabulary.bytes": the words' UTF-8 bytes (uint8), "vocabulary.ends": where each of the V words ends in
            them (int64), and "vocabulary.counts" (int64) if there are counts.
        """
        arrays: dict[str, NDArray[Any]] = {"vocabulary.bytes": self._data, "vocabulary.ends": self._ends}
        if self._counts is not None:
            arrays["vocabulary.counts"] = self._counts
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], tokenizer: Tokenizer) -> Self:
        """Take the arrays of `to_arrays`, without a copy and without reading the words before they are needed.

        Raises
        ------
        ModelFileError
            If they are not the arrays of a vocabulary.
        """
        data, ends, counts = (arrays.get(f"vocabulary.{name}") for name in ("bytes", "ends", "counts"))
        if data is None or ends is None:
            raise ModelFileError("damaged vocabulary: expected the arrays vocabulary.bytes and vocabulary.ends")
        check_packed(data, ends, counts)
        vocabulary = cls.__new__(cls)
        vocabulary._set(data.view(), ends.view(), None if counts is None else counts.view(), tokenizer)
        return vocabulary

    def fingerprint(self) -> str:
        """SHA-256 of words and tokenizer: equal for vocabularies that turn equal text into equal ids."""
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(json.dumps(self.tokenizer.spec, sort_keys=True).encode())
        digest.update(b"\n")
        digest.update(self._ends.astype("<i8").data)
        digest.update(self._data.data)
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.fingerprint() == other.fingerprint()

    def __hash__(self) -> int:
        return hash(self.fingerprint())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_arrays, (self.to_arrays(), self.tokenizer)

    def __repr__(self) -> str:
        return f"<Vocabulary of {len(self)} words, tokenizer {self.tokenizer.spec['kind']}>"
