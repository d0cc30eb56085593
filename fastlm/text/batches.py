"""What training and evaluation read: parallel streams of a corpus for recurrent models, windows for n-gram ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlm.text.scan.fill import fill_chunk, ngram_windows, sentence_ends
from fastlm.text.vocabulary import Vocabulary

__all__ = ["Chunk", "Streams", "Windows", "ngram_windows"]

PREVIOUS_ID = -1  # to fill_chunk: a segment's first input is the id before it


class Ids(Protocol):
    """What batches are made from: a Corpus, or anything like it."""

    @property
    def ids(self) -> NDArray[Any]:
        """Valid ids, of uint16 or int32."""

    @property
    def vocabulary(self) -> Vocabulary:
        """What they mean."""


@dataclass(frozen=True)
class Chunk:
    """T steps of B parallel streams, time-major.

    Attributes
    ----------
    inputs : ndarray of int32, shape (T, B)
        The id before each target.
    targets : ndarray of int32, shape (T, B)
        The ids to be predicted; -1 where a stream is at its end.
    resets : ndarray of uint8, shape (T, B)
        1 where the state is zero before the step.
    positions : ndarray of int64, shape (T, B)
        Index of each target in the corpus; -1 where a stream is at its end.
    """

    inputs: NDArray[np.int32]
    targets: NDArray[np.int32]
    resets: NDArray[np.uint8]
    positions: NDArray[np.int64]


class Streams:
    """A corpus read as parallel streams, for truncated backpropagation through time.

    Every stream is a row of segments, pieces of the corpus; the state starts afresh at the begin of each. Every token
    is the target of exactly one step. Made by `continuous` or `sentences`.

    Examples
    --------
    >>> from fastlm.text.corpus import Corpus
    >>> corpus = Corpus.from_ids([2, 3, 4, 1, 3, 1], Vocabulary(["a", "b", "c"]))
    >>> for chunk in Streams.continuous(corpus, 2).chunks(2):
    ...     print(chunk.inputs.tolist(), chunk.targets.tolist(), chunk.resets.tolist())
    [[1, 4], [2, 1]] [[2, 1], [3, 3]] [[1, 1], [0, 0]]
    [[3, 3]] [[4, 1]] [[0, 0]]
    """

    def __init__(
        self,
        corpus: Ids,
        starts: NDArray[np.int64],
        stops: NDArray[np.int64],
        stream_ends: NDArray[np.int64],
        first_id: int,
    ) -> None:
        """Take segments `starts` to `stops`; stream b has those up to stream_ends[b]. See `continuous`, `sentences`."""
        self._ids = corpus.ids
        self._end_id = corpus.vocabulary.end_id
        self._starts = starts
        self._stops = stops
        self._stream_ends = stream_ends
        self._first_id = first_id

    @classmethod
    def continuous(cls, corpus: Ids, num_streams: int) -> Self:
        """Cut the corpus into equal parts, one a stream; their lengths differ by at most 1.

        The first input of a part is the id before it, and ``</s>`` at the begin of the corpus.

        Parameters
        ----------
        corpus : Corpus
        num_streams : int

        Returns
        -------
        Streams
        """
        _check_positive(num_streams=num_streams)
        num_streams_used = min(num_streams, len(corpus.ids))
        bounds = np.arange(num_streams_used + 1, dtype=np.int64) * len(corpus.ids) // num_streams_used
        stream_ends = np.minimum(np.arange(1, num_streams + 1, dtype=np.int64), num_streams_used)
        return cls(corpus, bounds[:-1].copy(), bounds[1:].copy(), stream_ends, PREVIOUS_ID)

    @classmethod
    def sentences(cls, corpus: Ids, num_streams: int, *, order: ArrayLike | None = None) -> Self:
        """Deal whole sentences to the streams; every sentence starts from ``<s>`` and the zero state.

        Each stream gets a run of sentences, about equally many tokens.

        Parameters
        ----------
        corpus : Corpus
        num_streams : int
        order : array_like of int, shape (num_sentences,), optional
            Numbers of the sentences, in the order in which they are dealt; a permutation for training.

        Returns
        -------
        Streams
        """
        _check_positive(num_streams=num_streams)
        stops = sentence_ends(corpus.ids, corpus.vocabulary.end_id)
        starts = np.concatenate([np.zeros(1, dtype=np.int64), stops[:-1]])
        if order is not None:
            numbers = _checked_order(order, len(stops), "sentences")
            starts, stops = starts[numbers], stops[numbers]
        # A sentence belongs to the stream in whose equal share of the tokens its middle lies.
        lengths = stops - starts
        middles = np.cumsum(lengths) - lengths / 2
        shares = np.arange(1, num_streams + 1) * (lengths.sum() / num_streams)
        stream_ends = np.searchsorted(middles, shares)
        stream_ends[-1] = len(stops)
        return cls(corpus, starts, stops, stream_ends.astype(np.int64), corpus.vocabulary.start_id)

    @property
    def num_streams(self) -> int:
        """B: streams that are read in parallel."""
        return len(self._stream_ends)

    def num_chunks(self, length: int) -> int:
        """How many chunks `chunks` gives: what the longest stream needs."""
        _check_positive(length=length)
        return -(-self._longest() // length)

    def chunks(self, length: int) -> Iterator[Chunk]:
        """Read all streams from their begin.

        Parameters
        ----------
        length : int
            Steps of a chunk; the last one has as many as are left.

        Yields
        ------
        Chunk
            New arrays each time. A stream that is at its end goes on with targets of -1 and inputs of ``</s>``.
        """
        _check_positive(length=length)
        segments = np.concatenate([np.zeros(1, dtype=np.int64), self._stream_ends[:-1]])
        places = np.zeros(self.num_streams, dtype=np.int64)
        busy = segments < self._stream_ends
        places[busy] = self._starts[segments[busy]]
        left = self._longest()
        while left > 0:
            shape = (min(length, left), self.num_streams)
            chunk = Chunk(
                np.empty(shape, np.int32),
                np.empty(shape, np.int32),
                np.empty(shape, np.uint8),
                np.empty(shape, np.int64),
            )
            fill_chunk(
                chunk.inputs,
                chunk.targets,
                chunk.resets,
                chunk.positions,
                segments,
                places,
                self._ids,
                self._starts,
                self._stops,
                self._stream_ends,
                self._first_id,
                self._end_id,
            )
            yield chunk
            left -= length

    def _longest(self) -> int:
        """Count the steps of the longest stream."""
        tokens = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(self._stops - self._starts)])
        return int(np.diff(tokens[self._stream_ends], prepend=0).max())


class Windows:
    """A corpus read as n-gram windows: each id with the ones before it.

    Parameters
    ----------
    corpus : Corpus
    context_size : int
        C: ids before each target.
    sentence : bool
        True: nothing before the sentence's first word is seen, ``<s>`` stands there. False: the corpus is one stream,
        and ``</s>`` stands before its begin.
    order : array_like of int, optional
        Indices of the targets in the order of the visit: a permutation for training, or a part. Without it, all in
        their order.

    Examples
    --------
    >>> from fastlm.text.corpus import Corpus
    >>> corpus = Corpus.from_ids([2, 3, 1, 3, 1], Vocabulary(["a", "b"]))
    >>> for inputs, targets, positions in Windows(corpus, 2, sentence=True).batches(3):
    ...     print(inputs.tolist(), targets.tolist(), positions.tolist())
    [[4, 4], [4, 2], [2, 3]] [2, 3, 1] [0, 1, 2]
    [[4, 4], [4, 3]] [3, 1] [3, 4]
    """

    def __init__(self, corpus: Ids, context_size: int, *, sentence: bool, order: ArrayLike | None = None) -> None:
        _check_positive(context_size=context_size)
        self._corpus = corpus
        self._context_size = context_size
        self._sentence = sentence
        self._order = None if order is None else _checked_order(order, len(corpus.ids), "tokens")

    def __len__(self) -> int:
        return len(self._corpus.ids if self._order is None else self._order)

    def batches(self, batch_size: int) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]]:
        """Read all windows.

        Parameters
        ----------
        batch_size : int
            N: windows at once; the last batch has as many as are left.

        Yields
        ------
        inputs : ndarray of int32, shape (N, C)
            The ids before each target, the nearest one last.
        targets : ndarray of int32, shape (N,)
        positions : ndarray of int64, shape (N,)
            Index of each target in the corpus.
        """
        _check_positive(batch_size=batch_size)
        ids, vocabulary = self._corpus.ids, self._corpus.vocabulary
        for begin in range(0, len(self), batch_size):
            end = min(begin + batch_size, len(self))
            positions = np.arange(begin, end) if self._order is None else self._order[begin:end]
            inputs = np.empty((end - begin, self._context_size), dtype=np.int32)
            ngram_windows(inputs, ids, positions, vocabulary.start_id, vocabulary.end_id, self._sentence)
            yield inputs, ids[positions].astype(np.int32), positions


def _check_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name}={number}: expected 1 or more")


def _checked_order(order: ArrayLike, size: int, what: str) -> NDArray[np.int64]:
    """Numbers of sentences or tokens, all of which exist."""
    numbers = np.asarray(order)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or numbers.size == 0:
        raise ValueError(f"order of shape {numbers.shape} and dtype {numbers.dtype}: expected integers, one dimension")
    if numbers.min() < 0 or numbers.max() >= size:
        raise ValueError(
            f"order holds {numbers.min()} to {numbers.max()}: expected 0 to {size - 1}, there are {size} {what}"
        )
    return np.ascontiguousarray(numbers, dtype=np.int64)  # no copy of what is right: it is as long as the corpus
