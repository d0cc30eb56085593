"""Word vectors in the two forms of word2vec (Mikolov et al. 2013), which gensim and many others read.

Both begin with a line of two numbers, how many words and how many dimensions. In the text form a line a word follows,
the word and its numbers with blanks between; in the binary form the word, a blank, its numbers as float32 in the order
of bytes of nearly all machines (little-endian), and a line end.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import DataError
from fastlm.storage import atomic_write

__all__ = ["write_word2vec"]


def write_word2vec(
    path: str | os.PathLike[str], words: Sequence[str], vectors: NDArray[np.floating[Any]], *, binary: bool = False
) -> None:
    """Write word vectors, atomically.

    Parameters
    ----------
    path : path
    words : sequence of str
        V of them.
    vectors : (V, D) array
    binary : bool
        The form. As text they are written with the digits that float32 needs, so that both forms hold the same.

    Raises
    ------
    DataError
        If a word has a blank or a line end in it, which neither form can hold.
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
        if not word or any(character.isspace() for character in word):
            raise DataError(f"the word {word!r} has a blank in it, or nothing; word2vec's forms cannot hold it")
    with atomic_write(path) as file:
        file.write(f"{len(words)} {table.shape[1]}\n".encode())
        for word, row in zip(words, table, strict=True):
            rest = row.tobytes() if binary else " ".join(map(str, row)).encode()
            file.write(word.encode() + b" " + rest + b"\n")
