"""What training and evaluation read: parallel streams of a corpus for recurrent models, windows for n-gram ones."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from fastlm.text.order import Order
from fastlm.text.scan.fill import fill_chunk, ngram_windows, sentence_begin, sentence_ends
from fastlm.text.vocabulary import Vocabulary

__all__ = ["Chunk", "Streams", "Windows", "ngram_windows", "random_bounds"]

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
    share : float
        T relative to the length that was asked for, where lengths are random; else 1.
    """

    inputs: NDArray[np.int32]
    targets: NDArray[np.int32]
    resets: NDArray[np.uint8]
    positions: NDArray[np.int64]
    share: float = 1.0


@dataclass(frozen=True)
class _Segments:
    """Pieces of a corpus that are dealt to streams: stream b has those up to stream_ends[b].

    `tokens_before` counts the tokens before each piece, and at its end all of them.
    """

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    tokens_before: NDArray[np.int64]
    stream_ends: NDArray[np.int64]

    @property
    def num_steps(self) -> int:
        """Steps of the longest stream."""
        return int(np.diff(self.tokens_before[self.stream_ends], prepend=0).max())

    def after(self, steps: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the segment that each stream is in after so many steps, and the index of its next target."""
        begins = np.concatenate([[0], self.stream_ends[:-1]])
        reached = np.minimum(self.tokens_before[begins] + steps, self.tokens_before[self.stream_ends])
        segments = np.searchsorted(self.tokens_before, reached, side="right") - 1
        places = np.zeros(len(segments), dtype=np.int64)
        busy = segments < self.stream_ends
        places[busy] = self.starts[segments[busy]] + (reached - self.tokens_before[segments])[busy]
        return segments, places


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
        self, corpus: Ids, num_streams: int, num_groups: int, segments: Callable[[int], _Segments], first_id: int
    ) -> None:
        """Read groups of segments one after the other; see `continuous` and `sentences`."""
        self._ids = corpus.ids
        self._end_id = corpus.vocabulary.end_id
        self._num_groups = num_groups
        self._segments = segments
        self._first_id = first_id
        self.num_streams = num_streams

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
        parts = _Segments(bounds[:-1].copy(), bounds[1:].copy(), bounds, stream_ends)
        return cls(corpus, num_streams, 1, lambda group: parts, PREVIOUS_ID)

    @classmethod
    def sentences(cls, corpus: Ids, num_streams: int, *, seed: Sequence[int] | None = None) -> Self:
        """Deal whole sentences to the streams; every sentence starts from ``<s>`` and the zero state.

        Each stream gets a run of sentences, about equally many tokens. A corpus of more than four million tokens is
        dealt in groups of sentences; their bounds are looked for when the group is read.

        Parameters
        ----------
        corpus : Corpus
        num_streams : int
        seed : sequence of int, optional
            Shuffle the sentences; see `fastlm.text.order`.

        Returns
        -------
        Streams
        """
        _check_positive(num_streams=num_streams)
        order = Order(len(corpus.ids), seed)
        vocabulary = corpus.vocabulary

        def segments(group: int) -> _Segments:
            return _dealt(*_sentences_of_group(corpus.ids, vocabulary.end_id, order, group), num_streams)

        return cls(corpus, num_streams, order.num_groups, segments, vocabulary.start_id)

    def num_chunks(self, length: int, *, seed: Sequence[int] | None = None) -> int:
        """How many chunks `chunks` gives: what the longest stream needs."""
        _check_positive(length=length)
        groups = range(self._num_groups)
        return sum(len(self._bounds(self._segments(group), length, seed, group)) - 1 for group in groups)

    def chunks(self, length: int, start: int = 0, *, seed: Sequence[int] | None = None) -> Iterator[Chunk]:
        """Read all streams from their begin.

        Parameters
        ----------
        length : int
            Steps of a chunk; the last one (of a group of sentences) has as many as are left.
        start : int, default 0
            Leave out so many chunks, without reading them.
        seed : sequence of int, optional
            Draw the lengths: see `random_bounds`.

        Yields
        ------
        Chunk
            New arrays each time. A stream that is at its end goes on with targets of -1 and inputs of ``</s>``.
        """
        _check_positive(length=length)
        for group in range(self._num_groups):
            segments = self._segments(group)
            bounds = self._bounds(segments, length, seed, group)
            if start < len(bounds) - 1:
                yield from self._chunks(segments, bounds[start:], None if seed is None else length)
            start = max(0, start - (len(bounds) - 1))

    def _bounds(self, segments: _Segments, length: int, seed: Sequence[int] | None, group: int) -> NDArray[np.int64]:
        """Return the steps at which the chunks of a group begin, and where the last one ends."""
        if seed is not None:
            return random_bounds(segments.num_steps, length, (*seed, group))
        return np.append(np.arange(0, segments.num_steps, length), segments.num_steps)

    def _chunks(self, segments: _Segments, bounds: NDArray[np.int64], length: int | None) -> Iterator[Chunk]:
        """Read a group of segments from one step on; `length` is the one that was asked for if others are read."""
        numbers, places = segments.after(int(bounds[0]))
        for steps in np.diff(bounds).tolist():
            shape = (steps, self.num_streams)
            chunk = Chunk(
                np.empty(shape, np.int32),
                np.empty(shape, np.int32),
                np.empty(shape, np.uint8),
                np.empty(shape, np.int64),
                1.0 if length is None else steps / length,
            )
            fill_chunk(
                chunk.inputs,
                chunk.targets,
                chunk.resets,
                chunk.positions,
                numbers,
                places,
                self._ids,
                segments.starts,
                segments.stops,
                segments.stream_ends,
                self._first_id,
                self._end_id,
            )
            yield chunk


def random_bounds(num_steps: int, length: int, seed: Sequence[int]) -> NDArray[np.int64]:
    """Cut steps into chunks of random length (Merity et al. 2018).

    About the length that is asked for in 95 of 100 cases, about half of it in the others, normally distributed with a
    deviation of 5 steps, or a seventh of a length below 35; so that chunks end elsewhere in each epoch.

    Parameters
    ----------
    num_steps, length : int
    seed : sequence of int
        The bounds are a function of the arguments alone: a chunk is found again by its number.

    Returns
    -------
    ndarray of int64
        From 0 to `num_steps`.

    Examples
    --------
    >>> random_bounds(100, 30, (1, 2)).tolist()
    [0, 34, 61, 94, 100]
    """
    random = np.random.default_rng(seed)
    bounds = np.zeros(1, np.int64)
    while bounds[-1] < num_steps:
        count = int(num_steps - bounds[-1]) // length + 1
        means = np.where(random.random(count) < 0.95, length, length / 2)
        lengths = np.maximum(random.normal(means, min(5.0, length / 7)).astype(np.int64), max(1, min(5, length // 2)))
        bounds = np.concatenate([bounds, bounds[-1] + np.cumsum(lengths)])
    return np.append(bounds[: np.searchsorted(bounds, num_steps)], num_steps)


def _sentences_of_group(
    ids: NDArray[Any], end_id: int, order: Order, group: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the sentences that begin in the runs of a group, and put them into their order."""
    starts, stops = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for run_begin, run_end in order.runs(group):
        begin = sentence_begin(ids[:run_end], run_begin, end_id)
        if begin < run_end:
            end = sentence_begin(ids, run_end, end_id)
            stops.append(begin + sentence_ends(ids[begin:end], end_id))
            starts.append(np.concatenate([[begin], stops[-1][:-1]]))
    joined = np.concatenate(starts)
    places = order.within(group, 0, len(joined), len(joined))
    return joined[places], np.concatenate(stops)[places]


def _dealt(starts: NDArray[np.int64], stops: NDArray[np.int64], num_streams: int) -> _Segments:
    """Give each stream the sentences whose middles lie in its equal share of the tokens."""
    tokens_before = np.zeros(len(starts) + 1, dtype=np.int64)
    np.cumsum(stops - starts, out=tokens_before[1:])
    shares = np.arange(1, num_streams + 1) * (tokens_before[-1] / num_streams)
    stream_ends = np.searchsorted(tokens_before[:-1] + tokens_before[1:], 2 * shares)  # twice the middles
    stream_ends[-1] = len(stops)
    return _Segments(starts, stops, tokens_before, stream_ends.astype(np.int64))


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
    seed : sequence of int, optional
        Visit the targets in a random order; see `fastlm.text.order`. Without it, in that of the corpus.

    Examples
    --------
    >>> from fastlm.text.corpus import Corpus
    >>> corpus = Corpus.from_ids([2, 3, 1, 3, 1], Vocabulary(["a", "b"]))
    >>> for inputs, targets, positions in Windows(corpus, 2, sentence=True).batches(3):
    ...     print(inputs.tolist(), targets.tolist(), positions.tolist())
    [[4, 4], [4, 2], [2, 3]] [2, 3, 1] [0, 1, 2]
    [[4, 4], [4, 3]] [3, 1] [3, 4]
    """

    def __init__(self, corpus: Ids, context_size: int, *, sentence: bool, seed: Sequence[int] | None = None) -> None:
        _check_positive(context_size=context_size)
        self._corpus = corpus
        self._context_size = context_size
        self._sentence = sentence
        self._order = Order(len(corpus.ids), seed)

    def __len__(self) -> int:
        return len(self._corpus.ids)

    def batches(
        self, batch_size: int, start: int = 0
    ) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]]:
        """Read all windows.

        Parameters
        ----------
        batch_size : int
            N: windows at once; the last batch has as many as are left.
        start : int, default 0
            Leave out so many batches, without reading them.

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
        for begin in range(start * batch_size, len(self), batch_size):
            positions = self._order.positions(begin, min(begin + batch_size, len(self)))
            inputs = np.empty((len(positions), self._context_size), dtype=np.int32)
            ngram_windows(inputs, ids, positions, vocabulary.start_id, vocabulary.end_id, self._sentence)
            yield inputs, ids[positions].astype(np.int32), positions


def _check_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name}={number}: expected 1 or more")
