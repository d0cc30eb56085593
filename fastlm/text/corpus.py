"""Text as ids, held in memory or memory-mapped on disk."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlm.errors import DataError
from fastlm.storage import Source
from fastlm.text.corpusfile import counts_entry, id_type, open_corpus_writer, read_corpus, write_corpus
from fastlm.text.counting import PackedWords, check_limits, keep_words
from fastlm.text.preparation import Preparation
from fastlm.text.scan.fill import sentence_ends
from fastlm.text.scan.scanner import Encoder
from fastlm.text.source import TextReader, TextSource
from fastlm.text.tokenizer import TokenizerChoice, make_tokenizer
from fastlm.text.vocabulary import Vocabulary

__all__ = ["Corpus", "encoded_blocks"]


@dataclass(frozen=True, eq=False, repr=False)
class Corpus:
    """A text as one stream of ids, in which ``</s>`` closes every sentence.

    Made by `prepare`, `encode`, `open` or `from_ids`.

    Attributes
    ----------
    ids : ndarray of uint16 or int32, shape (num_tokens,)
        Read-only; uint16 where the vocabulary has at most 65,536 words. Memory-mapped if the corpus is on disk.
    vocabulary : Vocabulary
        What the ids mean.
    num_sentences, num_unknown : int
        Sentences, and tokens that are ``<unk>``.
    num_empty_lines : int
        Lines without a word, which give nothing.
    num_characters, num_bytes : int or None
        Of the text as it was read, one for every line end, also for a missing last one, and empty lines included;
        without a byte-order mark and skipped lines. None where the text is not known.
    num_replaced : int
        Characters U+FFFD that ``errors="replace"`` put in place of invalid UTF-8 and NUL.
    num_skipped : int
        Lines that ``errors="skip"`` left out for that.

    Examples
    --------
    >>> vocabulary = Vocabulary(["the", "cat", "sat"])
    >>> corpus = Corpus.encode(["the cat sat", "the dog sat"], vocabulary)
    >>> corpus.ids
    array([2, 3, 4, 1, 2, 0, 4, 1], dtype=uint16)
    >>> corpus.num_tokens, corpus.num_sentences, corpus.num_unknown
    (8, 2, 1)
    """

    ids: NDArray[Any]
    vocabulary: Vocabulary
    num_sentences: int
    num_unknown: int
    num_empty_lines: int = 0
    num_characters: int | None = None
    num_bytes: int | None = None
    num_replaced: int = 0
    num_skipped: int = 0

    def __post_init__(self) -> None:
        ids = self.ids.view()
        ids.flags.writeable = False
        object.__setattr__(self, "ids", ids)

    @classmethod
    def encode(
        cls, source: TextSource, vocabulary: Vocabulary, *, path: Source | None = None, errors: str = "strict"
    ) -> Self:
        """Turn text into ids, with the vocabulary's tokenizer.

        Parameters
        ----------
        source : str, path-like or iterable of str
            A str is always a path ("-" is standard input; .gz, .xz and .zst are decompressed); any other iterable
            yields lines of text.
        vocabulary : Vocabulary
        path : str or path-like, optional
            Write the corpus there, in bounded memory, and map it from there. Without it, the ids are held in memory.
        errors : {"strict", "replace", "skip"}
            What to do about invalid UTF-8 and NUL: raise DataError, put U+FFFD in their place, or leave out the line.

        Returns
        -------
        Corpus

        Raises
        ------
        DataError
            If the text cannot be used, or holds no word.
        FileError
            If a file cannot be read or written.
        """
        _check_vocabulary(vocabulary)
        if path is not None and isinstance(source, str | os.PathLike) and _same_file(source, path):
            raise ValueError(f"{os.fspath(path)!r} is the text itself, which would be overwritten; give another path")
        reader = TextReader(source, errors)
        dtype = id_type(vocabulary)
        encoder = Encoder(reader.name, vocabulary.table, dtype)
        blocks = reader.scan(encoder, vocabulary.tokenizer)
        if path is None:
            ids = np.concatenate([np.empty(0, dtype), *blocks])
            return cls(ids, vocabulary, **_counts(reader, encoder))
        with open_corpus_writer(path, vocabulary) as writer:
            for block in blocks:
                writer.append(block)
            writer.metadata.update(counts_entry(_counts(reader, encoder)))
        return cls.open(path, vocabulary, verify=False)

    @classmethod
    def prepare(
        cls,
        sources: Source | Sequence[Source],
        path: Source,
        *,
        vocabulary: Vocabulary | None = None,
        max_size: int | None = None,
        min_count: int = 1,
        tokenizer: TokenizerChoice = "whitespace",
        lower_case: bool = False,
        errors: str = "strict",
        workers: int = 1,
        progress: bool = False,
    ) -> Self:
        r"""Make a corpus file, with its vocabulary, of texts of any size, and map it.

        The text is read once: words are numbered and counted, by several workers if wanted; then the vocabulary is
        chosen, and the numbers become ids. Memory is bounded by the number of different words. The file is the same,
        byte for byte, for any number of workers.

        While this runs, the numbers (four bytes a token) lie in a folder named like the corpus, with ``.unfinished``
        behind it. A run that was stopped, in whatever way, leaves it there, and the next call goes on with it, if files
        and tokenizer are the same as before; vocabulary, `workers` and, where all text was valid, `errors` may change.

        Parameters
        ----------
        sources : str, path-like, or sequence of them
            Files (plain, .gz, .xz, .zst), patterns, folders (all files below them, in the order of their names); "-"
            is standard input, of which a stopped run keeps nothing. Files are read in the order in which they stand.
        path : str or path-like
            The corpus file to write.
        vocabulary : Vocabulary, optional
            Take this one, with its tokenizer, and choose none.
        max_size, min_count, tokenizer, lower_case
            For the vocabulary, as in `Vocabulary.build`.
        errors : {"strict", "replace", "skip"}
            What to do about invalid UTF-8 and NUL: raise DataError, put U+FFFD in their place, or leave out the line.
        workers : int, default 1
            Parts of the text that are read side by side: by threads for the tokenizer "whitespace", which is compiled,
            and by processes for others. A script that wants processes must guard its own start by ``if __name__ ==
            "__main__"``, as always with `multiprocessing`.
        progress : bool, default False
            Show how far it has come, on standard error.

        Returns
        -------
        Corpus

        Raises
        ------
        DataError
            If the text cannot be used, holds no word, or was changed while it was read.
        FileError
            If a file cannot be read or written.
        ValueError
            If an argument is wrong.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "text.txt").write_text("the cat sat\nthe dog sat\n")
        >>> corpus = Corpus.prepare(folder / "text.txt", folder / "text.fastcorpus", max_size=4)
        >>> corpus.vocabulary.decode(corpus.ids)
        'the <unk> sat\nthe <unk> sat'
        """
        if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
            raise ValueError(f"workers={workers!r}: expected a whole number of at least 1")
        if vocabulary is not None:
            _check_vocabulary(vocabulary)
            if (max_size, min_count, tokenizer, lower_case) != (None, 1, "whitespace", False):
                raise ValueError(
                    "max_size, min_count, tokenizer and lower_case are for a vocabulary that is chosen; "
                    "leave them out where one is given"
                )
        check_limits(max_size, min_count)
        chosen = vocabulary.tokenizer if vocabulary is not None else make_tokenizer(tokenizer, lower_case=lower_case)

        def choose(words: PackedWords, name: str) -> Vocabulary:
            return vocabulary or Vocabulary.of_words(keep_words(words, max_size, min_count, name), chosen)

        Preparation(sources, path, chosen, errors=errors, workers=workers, progress=progress).run(choose)
        return cls.open(path, vocabulary, verify=False)

    @classmethod
    def open(
        cls,
        path: Source,
        vocabulary: Vocabulary | None = None,
        *,
        verify: bool = True,
        tokenizer: Callable[[str], Iterable[str]] | None = None,
    ) -> Self:
        """Map a corpus file that `prepare`, `encode` or `save` wrote.

        Parameters
        ----------
        path : str or path-like
        vocabulary : Vocabulary, optional
            One that the text must have been encoded with, a model's for example. Without it, the one in the file.
        verify : bool, default True
            Read the whole file once, to check it and its ids. Without, nothing is read before it is used: for files
            that are known to be whole.
        tokenizer : callable, optional
            The function that splits text, for a corpus that was split by one of the user's own. It is not needed for
            training.

        Returns
        -------
        Corpus

        Raises
        ------
        DataError
            If it was encoded with another vocabulary.
        ModelFileError
            If it is damaged, not a corpus, of a newer version, or of version 1, which has no vocabulary in the file,
            and none is given.
        FileError
            If it cannot be read.
        """
        if vocabulary is not None:
            _check_vocabulary(vocabulary)
        ids, found, counts = read_corpus(path, vocabulary, verify=verify, tokenizer=tokenizer)
        numbers: dict[str, Any] = dict(counts)
        return cls(ids, found, **numbers)

    @classmethod
    def from_ids(cls, ids: ArrayLike, vocabulary: Vocabulary) -> Self:
        """Take ids that come from elsewhere.

        Parameters
        ----------
        ids : array_like of int, shape (num_tokens,)
            From 0 to V - 1, ``</s>`` (1) behind every sentence; the last one may be open. They are copied, except
            from a read-only array of the right type.
        vocabulary : Vocabulary

        Returns
        -------
        Corpus

        Raises
        ------
        DataError
            If there is none.
        ValueError
            If they are not a one-dimensional array of integers, or one is out of range.

        Examples
        --------
        >>> Corpus.from_ids([2, 3, 1, 3], Vocabulary(["the", "cat"])).num_sentences
        2
        """
        _check_vocabulary(vocabulary)
        array = np.asarray(ids)
        if array.size == 0:
            raise DataError("a corpus of no ids: expected one or more")
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise ValueError(f"ids of shape {array.shape} and dtype {array.dtype}: expected one dimension of integers")
        if array.min() < 0 or array.max() >= len(vocabulary):
            at = int(np.flatnonzero((array < 0) | (array >= len(vocabulary)))[0])
            raise ValueError(f"ids[{at}] is {array[at]}: expected 0 to {len(vocabulary) - 1}, the vocabulary's ids")
        array = array.astype(id_type(vocabulary), order="C", copy=bool(array.flags.writeable))
        num_sentences = len(sentence_ends(array, vocabulary.end_id))
        return cls(array, vocabulary, num_sentences, len(array) - int(np.count_nonzero(array)))

    def save(self, path: Source) -> None:
        """Write the corpus, with its vocabulary, as a file for `open`.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        FileError
            If it cannot be written; an old file is then untouched.
        """
        write_corpus(path, self.ids, self.vocabulary, vars(self))

    @property
    def num_tokens(self) -> int:
        """Number of ids: the words and one ``</s>`` for each sentence."""
        return len(self.ids)

    def sentence_bounds(self) -> NDArray[np.int64]:
        """Find where sentences end.

        Returns
        -------
        ndarray of int64, shape (num_sentences,)
            The index in `ids` behind each sentence's ``</s>``.

        Examples
        --------
        >>> Corpus.from_ids([2, 3, 1, 3, 1], Vocabulary(["the", "cat"])).sentence_bounds()
        array([3, 5])
        """
        return sentence_ends(self.ids, self.vocabulary.end_id)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"<Corpus of {self.num_tokens} tokens in {self.num_sentences} sentences>"


def encoded_blocks(source: TextSource, vocabulary: Vocabulary, errors: str = "strict") -> Iterator[NDArray[np.int32]]:
    """Yield the ids of a text, `</s>` at the ends of sentences, piece by piece as it is read.

    Arguments and errors are those of `Corpus.encode`, but the text may be empty.

    Examples
    --------
    >>> [block.tolist() for block in encoded_blocks(["the cat", "", "the dog"], Vocabulary(["the", "cat"]))]
    [[2, 3, 1, 2, 0, 1]]
    """
    _check_vocabulary(vocabulary)
    reader = TextReader(source, errors)
    yield from reader.scan(Encoder(reader.name, vocabulary.table, np.int32), vocabulary.tokenizer)
    reader.warn()


def _check_vocabulary(vocabulary: Vocabulary) -> None:
    if not isinstance(vocabulary, Vocabulary):
        raise ValueError(f"vocabulary is a {type(vocabulary).__name__}, expected a Vocabulary: see Vocabulary.build")


def _same_file(path: Source, other: Source) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)


def _counts(reader: TextReader, encoder: Encoder) -> dict[str, int]:
    """Count what was encoded; there must be something."""
    reader.warn()
    if encoder.num_sentences == 0:
        raise DataError(f"{reader.name}: no word in {reader.num_lines} lines; expected text, one sentence a line")
    return {
        "num_sentences": encoder.num_sentences,
        "num_unknown": encoder.num_unknown,
        "num_empty_lines": encoder.num_empty_lines - reader.num_skipped,
        "num_characters": reader.num_characters,
        "num_bytes": reader.num_bytes,
        "num_replaced": reader.num_replaced,
        "num_skipped": reader.num_skipped,
    }
