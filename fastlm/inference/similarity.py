"""Words that a model treats alike: neighbours in its table of embeddings."""

import difflib
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastlm.inference.arguments import known_id, one_line, whole_number
from fastlm.inference.interface import Model
from fastlm.text.vocabulary import Vocabulary

__all__ = ["Neighbour", "analogy", "find_word", "is_word", "similar"]

Floats: TypeAlias = NDArray[np.floating[Any]]

SUGGESTION_WORDS = 20_000  # the most frequent ones: comparing spellings is slow


class Neighbour(NamedTuple):
    """A word and the cosine between its embedding and that of the word asked for."""

    word: str
    similarity: float


def similar(model: Model, word: str, k: int = 10) -> list[Neighbour]:
    """Return the words whose embeddings point the same way as that of a word.

    Parameters
    ----------
    model
        Any language model with a table of embeddings.
    word
        A word of its vocabulary; the model's tokenizer may change its form (lower case, NFC).
    k
        How many neighbours; all there are if there are fewer.

    Returns
    -------
    list of Neighbour
        Words and cosines, the greatest first; without the word itself and `<unk>`, `<s>` and `</s>`. A word whose
        embedding is all zeros has no direction and is left out.

    Raises
    ------
    ValueError
        If the word is not in the vocabulary (the message names words that are spelled like it), is `<unk>` or
        `</s>`, or has an embedding of zeros; or if `k` is no positive number.

    Examples
    --------
    >>> import fastlm
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "sat", "on", "mat"])
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    >>> sorted(neighbour.word for neighbour in similar(model, "cat", k=10))
    ['mat', 'on', 'sat', 'the']
    """
    k = whole_number("k", k, minimum=1)
    id = find_word(model.vocabulary, one_line(word))
    table, lengths = _table(model)
    return _nearest(model, table, lengths, _direction(model, table, lengths, id), without=[id], k=k)


def analogy(model: Model, word: str, like: str, other: str, k: int = 10) -> list[Neighbour]:
    """Return the words that are to `other` as `like` is to `word`: the neighbours of like - word + other.

    Parameters
    ----------
    model
        Any language model with a table of embeddings.
    word, like, other
        Words of its vocabulary: of "man", "king", "woman" the answer hoped for is "queen" (Mikolov et al. 2013).
    k
        How many answers; all there are if there are fewer.

    Returns
    -------
    list of Neighbour
        Words and their cosines with the sum of the three vectors, each taken at length one; without the three words.

    Raises
    ------
    ValueError
        As for `similar`, for any of the words.

    Examples
    --------
    >>> import fastlm
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "sat", "on", "mat"])
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    >>> sorted(neighbour.word for neighbour in analogy(model, "the", "cat", "on"))
    ['mat', 'sat']
    """
    k = whole_number("k", k, minimum=1)
    ids = [find_word(model.vocabulary, one_line(one)) for one in (word, like, other)]
    table, lengths = _table(model)
    minus, first, second = (_direction(model, table, lengths, id) for id in ids)
    return _nearest(model, table, lengths, first - minus + second, without=ids, k=k)


def _table(model: Model) -> tuple[Floats, Floats]:
    """Return the words' embeddings (V, D), and their lengths."""
    table = model.embeddings[: len(model.vocabulary)]  # the row after these is <s>
    return table, np.sqrt(np.einsum("vd,vd->v", table, table))


def _direction(model: Model, table: Floats, lengths: Floats, id: int) -> Floats:
    """Return the embedding of a word at length one."""
    if lengths[id] == 0:
        raise ValueError(f"the embedding of {model.vocabulary.word(id)!r} is all zeros, so it has no neighbours")
    direction: Floats = table[id] / lengths[id]
    return direction


def _nearest(
    model: Model, table: Floats, lengths: Floats, query: Floats, *, without: Sequence[int], k: int
) -> list[Neighbour]:
    """Return the words with the greatest cosines."""
    vocabulary = model.vocabulary
    ranked = np.array(lengths > 0)
    ranked[[vocabulary.unknown_id, vocabulary.end_id, *without]] = False
    ids = np.flatnonzero(ranked)
    length = float(np.sqrt(query @ query))
    cosines = (table @ query)[ids] / (lengths[ids] * (length if length > 0 else 1.0))
    order = np.argsort(-cosines, kind="stable")[:k]
    return [Neighbour(vocabulary.word(int(ids[place])), min(1.0, max(-1.0, float(cosines[place])))) for place in order]


def find_word(vocabulary: Vocabulary, word: str) -> int:
    """Return the id of a word as it is written, or as the tokenizer writes it; if there is none, a ValueError."""
    id = known_id(vocabulary, word)
    if id is None:
        raise ValueError(f"{word!r} is not in the model's vocabulary{_suggestion(vocabulary, word)}")
    if id in (vocabulary.unknown_id, vocabulary.end_id, vocabulary.start_id):
        raise ValueError(f"{word!r} is a special token, not a word; it has no neighbours")
    return id


def is_word(vocabulary: Vocabulary, word: str) -> bool:
    """Tell whether `find_word` finds a word."""
    return known_id(vocabulary, word) not in (None, vocabulary.unknown_id, vocabulary.end_id, vocabulary.start_id)


def _suggestion(vocabulary: Vocabulary, word: str) -> str:
    frequent = (vocabulary.word(id) for id in range(2, min(len(vocabulary), SUGGESTION_WORDS)))
    candidates = [known for known in frequent if abs(len(known) - len(word)) <= 2]
    forms = [form for form in (word.lower(), word.capitalize(), word.upper()) if form in vocabulary]
    close = list(dict.fromkeys(forms + difflib.get_close_matches(word, candidates, n=3)))[:3]
    if not close:
        return "; give a word of its vocabulary"
    return f"; did you mean {' or '.join(map(repr, close))}?"
