"""The neural cache: words of the text so far, found again by what the model saw before them (Grave et al. 2017)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastlm.kernels.adaptation import cache_distribution, cache_log_probs
from fastlm.kernels.mixing import mix_log_probs
from fastlm.nn.parallel import Workers
from fastlm.nn.parameters import FloatArray, IntArray

__all__ = ["Cache", "Cached", "mixed"]

FEWEST_TOKENS = 16  # that a thread looks up at a time


@dataclass(frozen=True, eq=False)
class Cached:
    """What is remembered of the last words: what the output layer saw before each, (M, H), and the words, (M,)."""

    keys: FloatArray
    words: IntArray

    @classmethod
    def nothing(cls) -> "Cached":
        """Return what is remembered at the beginning of a text."""
        return cls(np.empty((0, 0), np.float32), np.empty(0, np.int32))

    def log_probs(self, query: FloatArray, flatness: float, vocab_size: int) -> NDArray[np.float64]:
        """Natural log-probability of every word (V,) where the output layer sees `query` (H,)."""
        probabilities = np.empty(vocab_size)
        scratch = np.empty((2, len(self.words)), self.keys.dtype)
        cache_distribution(probabilities, self.keys, self.words, query, scratch, flatness)
        with np.errstate(divide="ignore"):  # most words are not in the cache
            log_probs: NDArray[np.float64] = np.log(probabilities)
        return log_probs


class Cache:
    """The last words of a text that is being read.

    Parameters
    ----------
    size : int
        How many words it goes back.
    cached : Cached
        What it begins with.
    workers : Workers
    """

    def __init__(self, size: int, cached: Cached, workers: Workers) -> None:
        self._size = size
        self._workers = workers
        self._keys, self._words = cached.keys, cached.words
        self._end = len(cached.words)

    def __len__(self) -> int:
        return min(self._end, self._size)

    def add(self, features: FloatArray, ids: IntArray) -> None:
        """Remember words (N,), and what the output layer saw before them, (N, H)."""
        if self._end + len(ids) > len(self._words) or not self._keys.flags.writeable:
            self._make_room(features, len(ids))
        self._keys[self._end : self._end + len(ids)] = features
        self._words[self._end : self._end + len(ids)] = ids
        self._end += len(ids)

    def _make_room(self, features: FloatArray, num_words: int) -> None:
        """Move what is still needed to the beginning of a new place, with room for as much again."""
        kept = slice(self._end - len(self), self._end)
        room = 2 * (self._size + num_words)
        keys, words = np.empty((room, features.shape[1]), features.dtype), np.empty(room, np.int32)
        words[: len(self)] = self._words[kept]
        if len(self):
            keys[: len(self)] = self._keys[kept]
        self._keys, self._words, self._end = keys, words, len(self)

    def last_log_probs(self, num_words: int, flatness: float) -> NDArray[np.float64]:
        """Log-probability (N,) of the words added last, by the cache as it was before each; -inf: not in it."""
        log_probs = np.empty(num_words)
        scratch = np.empty((self._workers.threads, 2, self._size), self._keys.dtype)
        first = self._end - num_words

        def look_up(start: int, stop: int, worker: int) -> None:
            keys, words = self._keys[: first + stop], self._words[: first + stop]
            cache_log_probs(log_probs[start:stop], keys, words, scratch[worker], self._size, flatness)

        self._workers.share(look_up, num_words, FEWEST_TOKENS)
        return log_probs

    def cached(self) -> Cached:
        """Return what is remembered now, read-only."""
        kept = slice(self._end - len(self), self._end)
        cached = Cached(self._keys[kept].copy(), self._words[kept].copy())
        cached.keys.flags.writeable = cached.words.flags.writeable = False
        return cached


def mixed(log_probs: NDArray[np.float64], cached: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    """Mix log-probabilities (N,) of a model with those of a cache that has the weight `weight`."""
    output = np.empty_like(log_probs)
    mix_log_probs(output, np.array([log_probs, cached]), np.array([1 - weight, weight]))
    return output
