"""Word vectors in the two forms of word2vec (Mikolov et al. 2013), which gensim and many others read and write.

Both begin with a line of two numbers, how many words and how many dimensions. In the text form a line a word follows,
the word and its numbers with blanks between; in the binary form the word, a blank, its numbers as float32 in the order
of bytes of nearly all machines (little-endian), and a line end. GloVe's files (Pennington et al. 2014) are the text
form without the first line.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import DataError
from fastlm.storage import atomic_write_named, read_blocks
from fastlm.text.tokenizer import BLANK
from fastlm.text.vocabulary import Vocabulary

__all__ = ["WordVectors", "match", "read_word2vec", "write_word2vec"]

HEADER = re.compile(rb"[ \t]*(\d{1,18})[ \t]+(\d{1,9})[ \t\r]*")
MAX_DIMENSIONS = 1 << 16
MAX_ROW = 1 << 21  # bytes: so many dimensions with 31 characters each


Rows: TypeAlias = Iterator[tuple[bytes, bytes]]  # a word, and its numbers as they stand in the file
Vector: TypeAlias = NDArray[np.float32]


class Shape(NamedTuple):
    """How many words there are, if the first line says so, and how many numbers each has."""

    num_words: int | None
    size: int


class WordVectors(NamedTuple):
    """Words, N of them, and their vectors, (N, D)."""

    words: list[str]
    vectors: NDArray[np.float32]


def write_word2vec(
    path: str | os.PathLike[str], words: Sequence[str], vectors: NDArray[np.floating[Any]], *, binary: bool = False
) -> None:
    """Write word vectors, atomically.

    Parameters
    ----------
    path : path
        Compressed if it ends in .gz.
    words : sequence of str
        V of them.
    vectors : (V, D) array
    binary : bool
        The form. As text they are written with the digits that float32 needs, so that both forms hold the same.

    Raises
    ------
    DataError
        If a word has a blank of ASCII or a line end in it, which neither form can hold.
    FileError
        If the file cannot be written; what stood there before is then whole.

    Examples
    --------
    >>> from pathlib import Path
    >>> write_word2vec("vectors.txt", ["the", "cat"], np.array([[1.0, 0.5], [-2.0, 0.1]]))
    >>> print(Path("vectors.txt").read_text(), end="")
    2 2
    the 1.0 0.5
    cat -2.0 0.1
    """
    table = np.ascontiguousarray(vectors, "<f4")
    if table.ndim != 2 or len(table) != len(words):
        raise ValueError(f"got {len(words)} words and vectors of shape {table.shape}, expected as many rows as words")
    for word in words:
        if word.encode().split() != [word.encode()]:  # readers split bytes, too: at the blanks of ASCII alone
            raise DataError(f"the word {word!r} has a blank in it, or nothing; word2vec's forms cannot hold it")
    with atomic_write_named(path) as file:
        file.write(f"{len(words)} {table.shape[1]}\n".encode())
        for word, row in zip(words, table, strict=True):
            rest = row.tobytes() if binary else " ".join(map(str, row)).encode()
            file.write(word.encode() + b" " + rest + b"\n")


def read_word2vec(path: str | os.PathLike[str], vocabulary: Vocabulary | None = None) -> WordVectors:
    """Read word vectors of either form, which is found out; of GloVe, too.

    Parameters
    ----------
    path : path
        Decompressed if its name ends in .gz, .xz or .zst; "-" is standard input.
    vocabulary : Vocabulary, optional
        Keep what `match` may find of it, so that of a table of millions no more is in memory; all that is UTF-8 if not
        given.

    Returns
    -------
    WordVectors
        In the file's order. Of a word that is there twice, the first vector.

    Raises
    ------
    DataError
        If it is no such file, it holds more or fewer words than it says, or a word that is kept has not as many finite
        numbers as it should.
    FileError
        If the file cannot be read.

    Examples
    --------
    >>> import fastlm
    >>> write_word2vec("vectors.bin", ["the", "cat"], np.array([[1.0, 0.5], [-2.0, 0.25]]), binary=True)
    >>> words, vectors = read_word2vec("vectors.bin", fastlm.Vocabulary(["cat", "dog"]))
    >>> words, vectors.tolist()
    (['cat'], [[-2.0, 0.25]])
    """
    wanted = (
        None if vocabulary is None else {name.encode() for names in _spellings(vocabulary) for name in names if name}
    )
    name, blocks = os.fspath(path), read_blocks(path)
    start = _beginning(blocks)
    line, _, rest = start.partition(b"\n")
    header = HEADER.fullmatch(line)
    shape = Shape(int(header[1]), int(header[2])) if header else Shape(None, len(line.split()) - 1)
    if not 0 < shape.size <= MAX_DIMENSIONS or not (header or _is_text(start, shape.size)):
        raise DataError(
            f"{name}: it begins with {line[:40]!r}, which no file of word vectors does; expected how many words and "
            "dimensions there are, as word2vec writes it, or a word and its numbers, as GloVe does"
        )
    blocks = chain([rest if header else start], blocks)
    if header is None or _is_text(rest, shape.size):
        return _collect(name, _text_rows(blocks, shape), _from_text, shape, wanted)
    return _collect(name, _binary_rows(blocks, shape), _from_bytes, shape, wanted)


def match(words: Sequence[str], vocabulary: Vocabulary) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the words of a vocabulary in a table.

    Of a vocabulary of subwords, where "▁" begins a word, and a table of words, where it does not: the pieces that are
    whole words, or begin one, take the vectors of these words; pieces from within words have no like in the table.

    Parameters
    ----------
    words : sequence of str
        Those of the table.
    vocabulary : Vocabulary

    Returns
    -------
    ids, rows : (N,) int64 arrays
        Of the N words that are found, in the vocabulary, `<s>` after all others, and in the table.

    Examples
    --------
    >>> import fastlm
    >>> ids, rows = match(["dog", "cat"], fastlm.Vocabulary(["the", "cat"]))
    >>> ids.tolist(), rows.tolist()
    ([3], [1])
    """
    places = {word: row for row, word in reversed(list(enumerate(words)))}
    whole, *marked = _spellings(vocabulary)
    names = marked[0] if marked and not any(map(_begins_word, words)) else whole
    found = [(id, places[name]) for id, name in enumerate(names) if name and name in places]
    ids, rows = np.array(found, np.int64).reshape(-1, 2).T
    return ids, rows


def _spellings(vocabulary: Vocabulary) -> list[list[str]]:
    """Return the words and `<s>` as they are; and, of subwords, as a table of words has them, "" where it has none."""
    words = [*vocabulary.words, vocabulary.START]
    if not any(map(_begins_word, words)):
        return [words]
    specials = {vocabulary.UNKNOWN, vocabulary.END, vocabulary.START}
    return [words, [word if word in specials else word[1:] if _begins_word(word) else "" for word in words]]


def _begins_word(word: str) -> bool:
    return len(word) > 1 and word.startswith(BLANK)


def _beginning(blocks: Iterator[bytes]) -> bytes:
    """Return the first bytes of a file, enough to tell its form by."""
    start = b""
    for block in blocks:
        start += block
        if start.count(b"\n") > 1 or len(start) > MAX_ROW:
            break
    return start


def _is_text(rows: bytes, size: int) -> bool:
    """Tell whether the first word is followed by its numbers as people write them, in a line."""
    try:
        return len([float(number) for number in rows.split(b"\n", 1)[0].split()[1:]]) == size
    except ValueError:
        return False


def _text_rows(blocks: Iterator[bytes], shape: Shape) -> Rows:
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        yield from (_text_row(line, shape) for line in lines if line.strip())
        if len(rest) > MAX_ROW:
            break
    if rest.strip():
        yield _text_row(rest, shape)


def _text_row(line: bytes, shape: Shape) -> tuple[bytes, bytes]:
    if shape.num_words is None and line.count(b" ") > shape.size:  # GloVe has words with blanks in them
        word, *numbers = line.rsplit(None, shape.size)
        return word, b" ".join(numbers)
    first, *rest = line.split(None, 1)
    return first, rest[0] if rest else b""


def _binary_rows(blocks: Iterator[bytes], shape: Shape) -> Rows:
    data, length = b"", 4 * shape.size
    for block in blocks:
        data, begin = data + block, 0
        while (blank := data.find(b" ", begin)) >= 0 and (end := blank + 1 + length) <= len(data):
            yield data[begin:blank].lstrip(b"\n"), data[blank + 1 : end]
            begin = end
        data = data[begin:]
        if len(data) > MAX_ROW:
            break


def _collect(
    name: str, rows: Rows, convert: Callable[[bytes], Vector], shape: Shape, wanted: set[bytes] | None
) -> WordVectors:
    """Keep the words that are wanted; check these, and how many there are of all."""
    data, words, number = bytearray(), dict[str, None](), 0
    for number, (word, numbers) in enumerate(rows, start=1):
        if wanted is not None and word not in wanted:
            continue
        text = word.decode(errors="replace")
        try:
            vector = _checked(convert(numbers), shape)
        except ValueError as error:
            raise DataError(f"{name}: word {number:,}, {text!r}: {error}; expected {shape.size} numbers") from None
        if text.encode() == word and text not in words:
            words[text] = None
            data += vector.tobytes()
    if shape.num_words not in (None, number):
        raise DataError(
            f"{name}: {number:,} words with {shape.size} numbers each are in it, but its first line says "
            f"{shape.num_words:,}; it is cut or damaged, so get it again"
        )
    return WordVectors(list(words), np.frombuffer(data, np.float32).reshape(-1, shape.size))


def _checked(vector: Vector, shape: Shape) -> Vector:
    if len(vector) != shape.size:
        raise ValueError(f"{len(vector)} numbers")
    if not np.isfinite(vector).all():
        raise ValueError(f"{vector[~np.isfinite(vector)][0]} among its numbers")
    return vector


def _from_text(numbers: bytes) -> Vector:
    with np.errstate(over="ignore"):  # infinity is refused as such
        return np.array([float(number) for number in numbers.split()], np.float32)


def _from_bytes(numbers: bytes) -> Vector:
    return np.frombuffer(numbers, "<f4").astype(np.float32)
