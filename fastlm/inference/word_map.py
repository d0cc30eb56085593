"""Maps of words: what lies close together is used alike."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlm.inference.arguments import whole_number
from fastlm.inference.interface import Model
from fastlm.inference.similarity import find_word

__all__ = ["WordMap", "frequent_words", "map_words"]

FEWEST_WORDS = 3  # fewer lie on a line


class WordMap(NamedTuple):
    """Words on a plane.

    Attributes
    ----------
    words : list of str
        N of them.
    points : (N, 2) float64
    shares : tuple of float
        How much of the variance of the words' directions is along each axis.
    """

    words: list[str]
    points: NDArray[np.float64]
    shares: tuple[float, float]


def map_words(model: Model, words: Sequence[str]) -> WordMap:
    """Put words on the plane that shows most of how their embeddings differ in direction.

    That is principal component analysis, by singular value decomposition, of the embeddings at length one: nearness is
    that of the cosines, as for `similar`, and words are not far apart because one is frequent.

    Parameters
    ----------
    model
        Any language model with a table of embeddings.
    words
        Three or more words of its vocabulary, the most important first: where there is no room, a label that comes
        later gives way.

    Returns
    -------
    WordMap
        A word that is given twice stands there once. Which way the axes point is chosen so that the same table gives
        the same map.

    Raises
    ------
    ValueError
        If a word is not in the vocabulary, or has an embedding of zeros; or there are fewer than three.

    Examples
    --------
    >>> import fastlm
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "sat", "on", "mat"])
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    >>> map_words(model, ["cat", "mat", "sat"]).points.shape
    (3, 2)
    """
    ids = list(dict.fromkeys(find_word(model.vocabulary, word) for word in words))
    if len(ids) < FEWEST_WORDS:
        raise ValueError(f"got {len(ids)} different words, expected at least {FEWEST_WORDS} to make a map of")
    table = model.embeddings[ids].astype(np.float64)
    lengths = np.sqrt(np.einsum("nd,nd->n", table, table))[:, np.newaxis]
    if not lengths.all():
        zero = model.vocabulary.word(ids[int(np.argmin(lengths))])
        raise ValueError(f"the embedding of {zero!r} is all zeros, so it has no place on a map; leave it out")
    directions = table / lengths
    centred = directions - directions.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(ids), 2))
    points[:, : sizes[:2].size] = left[:, :2] * sizes[:2]
    points *= np.where(points[np.abs(points).argmax(axis=0), [0, 1]] < 0, -1.0, 1.0)
    variance = float(np.square(centred).sum()) or 1.0
    first, second = (np.square(points).sum(axis=0) / variance).tolist()
    return WordMap([model.vocabulary.word(id) for id in ids], points, (first, second))


def frequent_words(model: Model, count: int = 200) -> list[str]:
    """Return the most frequent words of a model's vocabulary; its first ones, where it has no counts.

    Examples
    --------
    >>> import fastlm
    >>> frequent_words(fastlm.NNLM(fastlm.Vocabulary(["the", "cat", "sat"])), 2)
    ['the', 'cat']
    """
    count = whole_number("count", count, minimum=1)
    vocabulary = model.vocabulary
    counts = np.zeros(len(vocabulary)) if vocabulary.counts is None else np.array(vocabulary.counts, np.float64)
    specials = (vocabulary.unknown_id, vocabulary.end_id)
    order = [id for id in np.argsort(-counts, kind="stable").tolist() if id not in specials]
    return [vocabulary.word(id) for id in order[:count]]
