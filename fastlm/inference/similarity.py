"""Words that a model treats alike: neighbours in its table of embeddings."""

import difflib
from typing import NamedTuple

import numpy as np

from fastlm.inference.arguments import one_line, whole_number
from fastlm.inference.interface import Model
from fastlm.text.vocabulary import Vocabulary

__all__ = ["Neighbour", "similar"]

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
    vocabulary = model.vocabulary
    id = _find(vocabulary, one_line(word))
    table = model.embeddings[: len(vocabulary)]  # the row after these is <s>
    lengths = np.sqrt(np.einsum("vd,vd->v", table, table))
    if lengths[id] == 0:
        raise ValueError(f"the embedding of {vocabulary.word(id)!r} is all zeros, so it has no neighbours")
    ranked = lengths > 0
    ranked[[vocabulary.unknown_id, vocabulary.end_id, id]] = False
    ids = np.flatnonzero(ranked)
    cosines = (table @ table[id])[ids] / (lengths[ids] * lengths[id])
    order = np.argsort(-cosines, kind="stable")[:k]
    return [Neighbour(vocabulary.word(int(ids[place])), min(1.0, max(-1.0, float(cosines[place])))) for place in order]


def _find(vocabulary: Vocabulary, word: str) -> int:
    """Return the id of a word as it is written, or as the tokenizer writes it."""
    if word not in vocabulary:
        tokens = vocabulary.tokenizer.tokenize(word)
        if len(tokens) != 1 or tokens[0] not in vocabulary:
            raise ValueError(f"{word!r} is not in the model's vocabulary{_suggestion(vocabulary, word)}")
        word = tokens[0]
    id = vocabulary[word]
    if id in (vocabulary.unknown_id, vocabulary.end_id, vocabulary.start_id):
        raise ValueError(f"{word!r} is a special token, not a word; it has no neighbours")
    return id


def _suggestion(vocabulary: Vocabulary, word: str) -> str:
    frequent = (vocabulary.word(id) for id in range(2, min(len(vocabulary), SUGGESTION_WORDS)))
    candidates = [known for known in frequent if abs(len(known) - len(word)) <= 2]
    forms = [form for form in (word.lower(), word.capitalize(), word.upper()) if form in vocabulary]
    close = list(dict.fromkeys(forms + difflib.get_close_matches(word, candidates, n=3)))[:3]
    if not close:
        return "; give a word of its vocabulary"
    return f"; did you mean {' or '.join(map(repr, close))}?"
