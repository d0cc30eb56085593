"""How an n-gram model comes from a text: counting, Kneser-Ney's discounts, and levels of a trie, as files have them."""

import logging
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import DataError
from fastlm.kernels import ngram_counts, ngram_estimates
from fastlm.nn.parameters import IntArray
from fastlm.text.arpa import NEVER
from fastlm.text.corpus import Corpus

__all__ = [
    "FALLBACK_DISCOUNTS",
    "Float32Array",
    "Level",
    "estimate",
    "kneser_ney_discounts",
    "memory_bound",
    "stored_levels",
]

logger = logging.getLogger(__name__)

Float32Array = NDArray[np.float32]

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # what KenLM's lmplz takes with --discount_fallback
MAX_PLACES = np.iinfo(np.int32).max


class Level(NamedTuple):
    """The n-grams of one order in a trie; see `fastlm.kernels.ngram`.

    Attributes
    ----------
    words : ndarray of int32, shape (M,), or None
        The last word of each n-gram; None at order 1, where the n-grams are all words and `<s>`.
    log10_probs : ndarray of float32, shape (M,)
    log10_backoffs : ndarray of float32, shape (M,), or None
        None at the highest order, and without smoothing.
    first_children : ndarray of int32, shape (M + 1,), or None
        Where the n-grams of the next order begin that go on from each; None at the highest order.
    """

    words: IntArray | None
    log10_probs: Float32Array
    log10_backoffs: Float32Array | None
    first_children: IntArray | None


FIELDS: dict[str, Any] = {
    "words": np.int32,
    "log10_probs": np.float32,
    "log10_backoffs": np.float32,
    "first_children": np.int32,
}


def stored_levels(arrays: dict[str, NDArray[Any]], order: int, *, smoothed: bool) -> list[Level]:
    """Return the levels in a model file's arrays, all of which must be there and of the right types."""
    expected = {f"order{n}.{name}" for n in range(1, order + 1) for name in FIELDS}
    expected -= {"order1.words", f"order{order}.first_children", f"order{order}.log10_backoffs"}
    if not smoothed:
        expected -= {f"order{n}.log10_backoffs" for n in range(1, order)}
    if arrays.keys() != expected:
        missing, more = sorted(expected - arrays.keys()), sorted(arrays.keys() - expected)
        raise ValueError(f"its arrays are not those of order {order}: missing {missing}, not expected {more}")
    for name, array in arrays.items():
        dtype = FIELDS[name.partition(".")[2]]
        if array.dtype != dtype or array.ndim != 1:
            raise ValueError(f"array {name!r} is {array.dtype}{list(array.shape)}, expected {dtype.__name__}[…]")
    return [
        Level(
            arrays.get(f"order{n}.words"),
            arrays[f"order{n}.log10_probs"],
            arrays.get(f"order{n}.log10_backoffs"),
            arrays.get(f"order{n}.first_children"),
        )
        for n in range(1, order + 1)
    ]


@dataclass
class Counted:
    """The different n-grams of one order in a text.

    Attributes
    ----------
    words : ndarray of int32, shape (M,)
        The last word of each; empty at order 1, where the n-grams are all words and `<s>`.
    suffixes : ndarray of int32, shape (M,)
        The n-gram of the order below that is left without the first word; empty at order 1.
    counts : ndarray of int32, shape (M,)
    first_children : ndarray of int32, shape (M + 1,), or None
        Where the n-grams of the next order begin that go on from each; None at the highest order.
    """

    words: IntArray
    suffixes: IntArray
    counts: IntArray
    first_children: IntArray | None = None

    @classmethod
    def empty(cls, num_ngrams: int) -> "Counted":
        """Make room for so many n-grams."""
        return cls(*(np.empty(num_ngrams, np.int32) for _ in range(3)))


def memory_bound(corpus: Corpus, order: int) -> int:
    """Return how many bytes `estimate` takes at most, beside the corpus: as if no n-gram came twice."""
    num_places = corpus.num_tokens + corpus.num_sentences
    # Of each n-gram four numbers are kept, all the time; more of a place while it is sorted, or of one order at a time.
    return (16 * (order - 1) + 24) * num_places + 64 * (len(corpus.vocabulary) + 1)


def estimate(corpus: Corpus, order: int, smoothing: str) -> tuple[list[Level], dict[str, Any]]:
    """Estimate an n-gram model.

    Parameters
    ----------
    corpus : Corpus
    order : int
    smoothing : {"kneser-ney", "none"}

    Returns
    -------
    levels : list of Level
    info : dict
        How it was estimated, for the model file.
    """
    if corpus.num_tokens + corpus.num_sentences > MAX_PLACES:
        raise DataError(
            f"the corpus has {corpus.num_tokens + corpus.num_sentences:,} tokens, <s> included, but n-grams can be "
            f"counted in at most {MAX_PLACES:,}; take a part of it"
        )
    counted = _count(corpus, order)
    info: dict[str, Any] = {
        "num_tokens": corpus.num_tokens,
        "num_sentences": corpus.num_sentences,
        "num_ngrams": [len(each.counts) for each in counted],
    }
    if smoothing == "none":
        return _relative_frequencies(counted), info
    _count_left_words(counted)
    discounts, fallback_orders = _all_discounts(counted)
    info |= {"discounts": [list(each) for each in discounts], "fallback_orders": fallback_orders}
    return _interpolate(counted, discounts), info


def _count(corpus: Corpus, order: int) -> list[Counted]:
    """Count the n-grams of all orders."""
    vocabulary = corpus.vocabulary
    start_id = vocabulary.start_id
    words = np.arange(start_id + 1, dtype=np.int32)
    keys = np.empty(len(words), np.uint32)
    ngram_counts.scramble_words(keys, words)
    unigrams = Counted.empty(0)
    unigrams.counts = np.bincount(corpus.ids, minlength=len(words)).astype(np.int32)
    if len(unigrams.counts) > len(words) or unigrams.counts[start_id] > 0:
        raise DataError(
            f"the corpus has the id {int(corpus.ids.max())}, expected 0 to {start_id - 1}, those of its vocabulary; "
            "it is damaged: encode the text again"
        )
    counted = [unigrams]
    text = np.empty(corpus.num_tokens + corpus.num_sentences, np.int32)
    ngram_counts.open_sentences(text, corpus.ids, start_id, vocabulary.end_id)
    by_word, places = np.empty(corpus.num_tokens, np.int32), np.empty(corpus.num_tokens, np.int32)
    ngram_counts.sort_places(by_word, np.empty_like(words), text, np.argsort(keys).astype(np.int32), start_id)
    nodes = text.copy()
    for below in range(1, order):
        contexts = counted[-1].first_children = np.empty(len(counted[-1].counts) + 1, np.int32)
        num_places, num_ngrams = ngram_counts.sort_ngrams(places, contexts, nodes, text, by_word, below, start_id)
        found, new = places[:num_places], Counted.empty(num_ngrams)
        ngram_counts.gather_ngrams(new.words, new.suffixes, new.counts, found, nodes, text, below)
        ngram_counts.number_ngrams(nodes, found)
        counted.append(new)
    return counted


def _count_left_words(counted: list[Counted]) -> None:
    """Turn counts below the highest order into Kneser-Ney's: the number of different words that stand in front.

    What begins with `<s>` has no word in front, and keeps its count.
    """
    num_inside = len(counted[0].counts) - 1  # n-grams that do not begin with <s>; the others come last
    for each, above in pairwise(counted):
        ngram_estimates.count_left_words(each.counts[:num_inside], above.suffixes)
        assert each.first_children is not None
        num_inside = int(each.first_children[num_inside])


def _all_discounts(counted: list[Counted]) -> tuple[list[tuple[float, float, float]], list[int]]:
    """Return the discounts of every order, and the orders where they are not those of the text."""
    found, fallback_orders = [], []
    for order, each in enumerate(counted, start=1):
        totals = np.empty(5, np.int64)
        ngram_estimates.count_counts(totals, each.counts)
        discounts = kneser_ney_discounts(*totals[1:].tolist())
        if discounts is None and len(each.counts):
            fallback_orders.append(order)
            logger.warning(
                "no discounts can be estimated for %d-grams where %d, %d, %d and %d of them have the counts 1 to 4: is "
                "this little text, or made up? %g, %g and %g are taken instead",
                order,
                *totals[1:].tolist(),
                *FALLBACK_DISCOUNTS,
            )
        found.append(discounts or FALLBACK_DISCOUNTS)
    return found, fallback_orders


def kneser_ney_discounts(n1: int, n2: int, n3: int, n4: int) -> tuple[float, float, float] | None:
    """Estimate how much is taken off the counts 1, 2, and 3 or more (Chen & Goodman 1998, equation 26).

    Parameters
    ----------
    n1, n2, n3, n4 : int
        How many n-grams of an order have the counts 1 to 4.

    Returns
    -------
    tuple of float, or None
        D1, D2 and D3+; None where there are no such n-grams, or where a discount would not be above zero.

    Examples
    --------
    >>> kneser_ney_discounts(600, 100, 50, 25)
    (0.75, 0.875, 1.5)
    >>> kneser_ney_discounts(600, 100, 0, 25) is None
    True
    """
    if not (n1 and n2 and n3):
        return None
    y = n1 / (n1 + 2 * n2)
    discounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return discounts if min(discounts) > 0 else None


def _unigram_level(probs: NDArray[np.float64], first_children: IntArray | None) -> Level:
    """Return the level of all words, from their probabilities, and of `<s>`, which has none."""
    with np.errstate(divide="ignore"):  # a probability of zero
        log10_probs = np.append(np.log10(probs), NEVER).astype(np.float32)
    return Level(None, log10_probs, None, first_children)


def _interpolate(counted: list[Counted], discounts: list[tuple[float, float, float]]) -> list[Level]:
    """Estimate interpolated modified Kneser-Ney; `counted` is used up."""
    unigrams = counted.pop(0)
    counts = unigrams.counts[:-1]
    discounted = np.array([0.0, *discounts[0]])[np.minimum(counts, 3)]
    # Below the words lies the same probability for each.
    probs = (counts - discounted + discounted.sum() / len(counts)) / counts.sum(dtype=np.int64)
    levels = [_unigram_level(probs, unigrams.first_children)]
    for amounts in discounts[1:]:
        each, lower_probs, contexts = counted.pop(0), probs, levels[-1].first_children
        assert contexts is not None
        log10_probs, probs = np.empty(len(each.words), np.float32), np.empty(len(each.words))
        log10_backoffs = np.empty(len(contexts) - 1, np.float32)
        ngram_estimates.interpolate(
            log10_probs,
            log10_backoffs,
            probs,
            lower_probs,
            each.counts,
            each.suffixes,
            contexts,
            np.array([0.0, *amounts]),
        )
        levels[-1] = levels[-1]._replace(log10_backoffs=log10_backoffs)
        levels.append(Level(each.words, log10_probs, None, each.first_children))
    return levels


def _relative_frequencies(counted: list[Counted]) -> list[Level]:
    """Estimate by maximum likelihood; what was not seen has no probability, and nothing to back off to.

    `counted` is used up, so that no order is held twice.
    """
    unigrams = counted.pop(0)
    counts = unigrams.counts[:-1]
    levels = [_unigram_level(counts / counts.sum(dtype=np.int64), unigrams.first_children)]
    while counted:
        each, contexts = counted.pop(0), levels[-1].first_children
        assert contexts is not None
        log10_probs = np.empty(len(each.words), np.float32)
        ngram_estimates.relative_frequencies(log10_probs, each.counts, contexts)
        levels.append(Level(each.words, log10_probs, None, each.first_children))
    return levels
