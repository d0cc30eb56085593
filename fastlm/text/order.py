"""The order in which an epoch visits a corpus: a permutation that is computed where it is needed, and never stored.

A corpus that is larger than memory cannot be shuffled token by token: every word would come from another place of the
disk, and the order would take more room than the text. So the corpus is seen as runs of 65,536 tokens, which are read
together. The runs are permuted; 64 that then follow each other, from all over the corpus, are a group of four million
tokens; and all that is in a group is permuted again, token by token or sentence by sentence. A corpus of up to four
million tokens is one group, and so is shuffled as a whole.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fastlm.text.scan.shuffle import permuted

__all__ = ["Order"]

RUN = 1 << 16  # tokens
GROUP = 64  # runs


class Order:
    """A permutation of a corpus.

    Parameters
    ----------
    num_tokens : int
        Of the corpus, one or more.
    seed : sequence of int, optional
        What the permutation depends on. Without it, the order is that of the corpus.

    Attributes
    ----------
    num_groups : int

    Examples
    --------
    >>> Order(5, seed=(1, 1)).positions(0, 5)
    array([1, 3, 0, 4, 2])
    >>> Order(5).positions(2, 4)
    array([2, 3])
    """

    def __init__(self, num_tokens: int, seed: Sequence[int] | None = None) -> None:
        self._num_tokens = num_tokens
        self._num_runs = -(-num_tokens // RUN)
        self.num_groups = -(-self._num_runs // GROUP)
        self._key = None if seed is None else int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])

    def runs(self, group: int) -> list[tuple[int, int]]:
        """Return where the runs of a group begin and end in the corpus, in their order."""
        numbers = self._run_numbers(group)
        return [(number * RUN, min((number + 1) * RUN, self._num_tokens)) for number in numbers.tolist()]

    def within(self, group: int, begin: int, end: int, size: int) -> NDArray[np.int64]:
        """Return what stands at some places in the permutation of the `size` things of a group."""
        if self._key is None:
            return np.arange(begin, end)
        return permuted(begin, end, size, (self._key + 1 + group) % (1 << 64))

    def positions(self, begin: int, end: int) -> NDArray[np.int64]:
        """Return the tokens that are visited `begin`-th to `end`-th, as indices in the corpus."""
        pieces = list(self._positions(begin, end))
        return pieces[0] if len(pieces) == 1 else np.concatenate([np.empty(0, np.int64), *pieces])

    def _positions(self, begin: int, end: int) -> Iterator[NDArray[np.int64]]:
        while begin < end:
            group = ((begin // RUN + 1) * self.num_groups - 1) // self._num_runs
            first, last = (self._first_run(number) * RUN for number in (group, group + 1))
            last = min(last, self._num_tokens)
            stop = min(end, last)
            places = self.within(group, begin - first, stop - first, last - first)
            yield self._run_numbers(group)[places // RUN] * RUN + places % RUN
            begin = stop

    def _first_run(self, group: int) -> int:
        """Return the place of a group's first run: groups are of equal size, give or take a run."""
        return self._num_runs * group // self.num_groups

    def _run_numbers(self, group: int) -> NDArray[np.int64]:
        first, last = self._first_run(group), self._first_run(group + 1)
        if self._key is None:
            return np.arange(first, last)
        # A shorter run at the end of the corpus keeps its place, so that all others can be told by division.
        num_whole = self._num_tokens // RUN
        numbers = permuted(first, min(last, num_whole), num_whole, self._key)
        return np.append(numbers, num_whole) if last > num_whole else numbers
