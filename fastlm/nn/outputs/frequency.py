"""Words in the order of their frequency, and where to cut this order so that an output layer costs little."""

import numpy as np
from numpy.typing import NDArray

from fastlm.nn.parameters import FloatArray, IntArray

__all__ = ["Ranking", "choose_classes", "choose_cutoffs", "tail_widths"]

# Costs in nanoseconds as they were measured on one core (AVX-512), forward and backward pass together.
LOGIT, LOGIT_WIDTH = 0.75, 0.029  # of a word's logit for a token, and of each element of the word's weights
ROW, ROW_WIDTH = 20.0, 0.6  # of the update of a word's weights in each step
TAIL = 100_000.0  # of what surrounds the products of a tail, in each step
STEP_TOKENS = 1000  # in a step, about
# Of the text that is predicted at full width. On the Penn Treebank, H = 100, shares of 0.75, 0.87 and 0.9 end at
# validation perplexities of 149.2, 143.5 and 142.6; the full softmax at 140.7.
HEAD_SHARE = 0.87
LEAST_WIDTH = 8  # of a tail: below it a word costs no less
MOST_TAILS = 4
CANDIDATES = 64  # places where the order may be cut


class Ranking:
    """Words by frequency, the most frequent first, and equally frequent ones by id.

    Parameters
    ----------
    counts : (V,) int array

    Attributes
    ----------
    counts : (V,) int array
        In this order.
    """

    def __init__(self, counts: NDArray[np.int64]) -> None:
        ids = np.argsort(-counts, kind="stable")
        self.counts: NDArray[np.int64] = counts[ids]
        self._ranks = np.empty(len(counts) + 1, np.int32)
        self._ranks[ids] = np.arange(len(counts))
        self._ranks[-1] = -1

    def ranks(self, ids: IntArray) -> IntArray:
        """Return the rank of each word; -1 for the id -1."""
        return self._ranks[ids]

    def by_id(self, ranked: FloatArray) -> FloatArray:
        """Put columns (N, V) from the order of ranks into that of ids."""
        return ranked[:, self._ranks[:-1]]


def choose_classes(counts: NDArray[np.int64], num_classes: int | None = None) -> list[int]:
    """Cut words (V,) into classes that have equal parts of the square roots of their counts, as rnnlm does.

    Parameters
    ----------
    counts : (V,) int array
        The highest first.
    num_classes : int, optional
        There may be fewer, because a class has at least one word. The square root of V, if not given: from half of it
        to twice as many, times differ by less than a tenth.

    Returns
    -------
    list of int
        Where the second class begins, the third, and so on.
    """
    roots = np.sqrt(counts + 1.0)
    before = (np.cumsum(roots) - roots) / roots.sum()
    classes = np.floor(before * (num_classes or max(2, round(len(counts) ** 0.5))))
    cutoffs: list[int] = (np.flatnonzero(np.diff(classes)) + 1).tolist()
    return cutoffs


def tail_widths(hidden_size: int, num_tails: int) -> list[int]:
    """Return the width of each tail: a quarter of the one before (Grave et al. 2017)."""
    return [max(min(LEAST_WIDTH, hidden_size), hidden_size // 4 ** (i + 1)) for i in range(num_tails)]


def choose_cutoffs(counts: NDArray[np.int64], hidden_size: int) -> list[int]:
    """Find where the tails of an adaptive softmax begin so that a token costs least.

    The most frequent words, up to seven eighths of the text, are left to the full width.

    Parameters
    ----------
    counts : (V,) int array
        The highest first.
    hidden_size : int

    Returns
    -------
    list of int
        Where each tail begins; at least one.
    """
    shares = np.cumsum(counts + 1.0) / (counts + 1.0).sum()
    first, vocab_size = int(np.searchsorted(shares, HEAD_SHARE)) + 1, len(counts)
    steps = np.geomspace(min(first, vocab_size - 1), vocab_size, CANDIDATES, endpoint=False)
    places = [*np.unique(steps.astype(int)).tolist(), vocab_size]
    costs = [_cheapest(shares, places, hidden_size, num_tails) for num_tails in range(1, MOST_TAILS + 1)]
    return min(costs)[1]


def _cheapest(
    shares: NDArray[np.float64], places: list[int], hidden_size: int, num_tails: int
) -> tuple[float, list[int]]:
    """Return the least cost with so many tails, and their cutoffs: tail by tail, the best way to each place."""
    best = {place: (_row_cost(place + num_tails, hidden_size, 1.0), [place]) for place in places[:-1]}
    for i, width in enumerate(tail_widths(hidden_size, num_tails)):
        last = i == num_tails - 1
        following: dict[int, tuple[float, list[int]]] = {}
        for stop in places[-1:] if last else places[:-1]:
            ways = [
                (cost + _tail_cost(shares, start, stop, width, hidden_size), [*cutoffs, *([] if last else [stop])])
                for start, (cost, cutoffs) in best.items()
                if start < stop
            ]
            if ways:
                following[stop] = min(ways)
        best = following
    return best.get(places[-1], (np.inf, []))


def _row_cost(num_words: int, width: int, share: float) -> float:
    """Return what words cost a token of the text, if this share of the tokens goes through them."""
    step = num_words * (ROW + ROW_WIDTH * width)
    return share * num_words * (LOGIT + LOGIT_WIDTH * width) + step / STEP_TOKENS


def _tail_cost(shares: NDArray[np.float64], start: int, stop: int, width: int, hidden_size: int) -> float:
    share = float(shares[stop - 1] - shares[start - 1])
    return _row_cost(stop - start, width, share) + share * width * hidden_size * LOGIT_WIDTH + TAIL / STEP_TOKENS
