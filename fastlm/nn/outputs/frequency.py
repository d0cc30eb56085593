"""Words in the order of their frequency, and how to cut this order so that an output layer costs least."""

import numpy as np
from numpy.typing import NDArray

from fastlm.nn.parameters import FloatArray, IntArray

__all__ = ["Ranking", "choose_classes", "choose_cutoffs", "tail_widths"]


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
        self.counts = counts[ids]
        self._ranks = np.empty(len(counts) + 1, np.int32)
        self._ranks[ids] = np.arange(len(counts))
        self._ranks[-1] = -1

    def ranks(self, ids: IntArray) -> IntArray:
        """Return the rank of each word; -1 for the id -1."""
        return self._ranks[ids]

    def by_id(self, ranked: FloatArray) -> FloatArray:
        """Put columns (N, V) in the order of ranks into that of ids."""
        return ranked[:, self._ranks[:-1]]


def choose_classes(counts, num_classes):
    num_classes = num_classes or int(len(counts) ** 0.5)
    roots = np.sqrt(counts + 1.0)
    before = (np.cumsum(roots) - roots) / roots.sum()
    classes = np.floor(before * num_classes)
    return (np.flatnonzero(np.diff(classes)) + 1).tolist()


def tail_widths(hidden_size, num_tails):
    return [max(1, hidden_size // 4 ** (i + 1)) for i in range(num_tails)]


def choose_cutoffs(counts, hidden_size):
    return [500, 2500]
