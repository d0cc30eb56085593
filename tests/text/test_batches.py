"""Streams and windows: every token is the target of one step, with the right history."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastlm.text.batches import Chunk, Streams, Windows
from fastlm.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["a", "b", "c", "d"])
END, START = VOCABULARY.end_id, VOCABULARY.start_id


@dataclass
class FakeCorpus:
    ids: NDArray[Any]
    vocabulary: Vocabulary = VOCABULARY


corpora = st.builds(
    lambda ids, dtype: FakeCorpus(np.array(ids, dtype=dtype)),
    st.lists(st.integers(0, len(VOCABULARY) - 1), min_size=1, max_size=60),
    st.sampled_from([np.uint16, np.int32]),
)
sizes = st.integers(1, 9)


def joined(chunks: list[Chunk]) -> Chunk:
    names = ("inputs", "targets", "resets", "positions")
    return Chunk(*(np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in names))


def read(streams: Streams, length: int) -> Chunk:
    """All steps of all streams, after a check of what holds for all streams."""
    chunks = list(streams.chunks(length))
    assert len(chunks) == streams.num_chunks(length)
    assert all(chunk.targets.shape == (length, streams.num_streams) for chunk in chunks[:-1])
    steps = joined(chunks)
    types = (steps.inputs.dtype, steps.targets.dtype, steps.resets.dtype, steps.positions.dtype)
    assert types == (np.int32, np.int32, np.uint8, np.int64)
    ended = steps.targets < 0
    assert np.array_equal(ended, np.sort(ended, axis=0))  # padding is at the end
    assert not ended.all(axis=1).any()  # and no longer than need be
    assert np.array_equal(ended, steps.positions == -1)
    assert set(steps.inputs[ended]) <= {END}
    assert not steps.resets[ended].any()
    return steps


@given(corpora, sizes, sizes)
def test_continuous(corpus: FakeCorpus, num_streams: int, length: int) -> None:
    steps = read(Streams.continuous(corpus, num_streams), length)
    positions = [column[column >= 0].tolist() for column in steps.positions.T]
    assert list(itertools.chain(*positions)) == list(range(len(corpus.ids)))  # contiguous parts, in their order
    lengths = [len(part) for part in positions]
    assert max(lengths) - min(lengths) <= 1
    inputs = np.concatenate([[END], corpus.ids[:-1]])
    there = steps.positions >= 0
    assert np.array_equal(steps.targets[there], corpus.ids[steps.positions[there]])
    assert np.array_equal(steps.inputs[there], inputs[steps.positions[there]])
    assert not steps.resets[1:].any()
    assert steps.resets[0].tolist() == [int(length > 0) for length in lengths]


@given(corpora, sizes, sizes, st.randoms(use_true_random=False), st.booleans())
def test_sentences(corpus: FakeCorpus, num_streams: int, length: int, rng: Any, shuffled: bool) -> None:
    ids = corpus.ids.tolist()
    starts = [n for n in range(len(ids)) if n == 0 or ids[n - 1] == END]
    stops = [*starts[1:], len(ids)]
    order = list(range(len(starts)))
    if shuffled:
        rng.shuffle(order)
    streams = Streams.sentences(corpus, num_streams, order=order if shuffled else None)
    steps = read(streams, length)
    positions = [column[column >= 0].tolist() for column in steps.positions.T]
    assert list(itertools.chain(*positions)) == [
        n for sentence in order for n in range(starts[sentence], stops[sentence])
    ]
    for column in range(num_streams):
        for step, position in enumerate(positions[column]):
            is_first = position in starts
            assert steps.targets[step, column] == ids[position]
            assert steps.resets[step, column] == is_first
            assert steps.inputs[step, column] == (START if is_first else ids[position - 1])
        if positions[column]:
            assert positions[column][0] in starts  # no sentence is cut
    lengths = [len(part) for part in positions]
    longest_sentence = max(stop - start for start, stop in zip(starts, stops, strict=True))
    assert max(lengths) - len(ids) / num_streams <= longest_sentence


def test_streams_can_be_read_again_and_side_by_side() -> None:
    streams = Streams.continuous(FakeCorpus(np.arange(2, 6, dtype=np.uint16).repeat(5)), 3)
    first, second = streams.chunks(2), streams.chunks(2)
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.positions, other.positions)
        assert not np.shares_memory(one.targets, other.targets)


@given(corpora, sizes, sizes, st.booleans(), st.randoms(use_true_random=False))
def test_windows(corpus: FakeCorpus, context_size: int, batch_size: int, sentence: bool, rng: Any) -> None:
    order = rng.choices(range(len(corpus.ids)), k=rng.randrange(1, 20))
    for wanted in (None, order):
        windows = Windows(corpus, context_size, sentence=sentence, order=wanted)
        batches = list(windows.batches(batch_size))
        positions = list(range(len(corpus.ids))) if wanted is None else wanted
        assert len(windows) == len(positions)
        assert np.concatenate([batch[2] for batch in batches]).tolist() == positions
        assert all(len(batch[1]) == batch_size for batch in batches[:-1])
        for inputs, targets, places in batches:
            assert inputs.shape == (len(targets), context_size)
            assert inputs.dtype == targets.dtype == np.int32
            assert np.array_equal(targets, corpus.ids[places])
            # The nearest input is the id before, where there is one in sight.
            before = corpus.ids[places - 1]
            begins = (places == 0) | (sentence & (before == END))
            assert np.array_equal(inputs[:, -1], np.where(begins, START if sentence else END, before))


def test_windows_of_a_sentence_written_out() -> None:
    corpus = FakeCorpus(np.array([2, 3, END, 4, END], dtype=np.int32))
    ((inputs, targets, _),) = Windows(corpus, 2, sentence=True).batches(10)
    assert inputs.tolist() == [[START, START], [START, 2], [2, 3], [START, START], [START, 4]]
    assert targets.tolist() == [2, 3, END, 4, END]
    ((inputs, _, _),) = Windows(corpus, 2, sentence=False).batches(10)
    assert inputs.tolist() == [[END, END], [END, 2], [2, 3], [3, END], [END, 4]]


def test_wrong_arguments() -> None:
    corpus = FakeCorpus(np.array([2, 1, 3, 1], dtype=np.uint16))
    for make in (Streams.continuous, Streams.sentences):
        with pytest.raises(ValueError, match="num_streams=0: expected 1 or more"):
            make(corpus, 0)
    with pytest.raises(ValueError, match="length=0: expected 1 or more"):
        next(Streams.continuous(corpus, 1).chunks(0))
    with pytest.raises(ValueError, match="context_size=-1: expected 1 or more"):
        Windows(corpus, -1, sentence=True)
    with pytest.raises(ValueError, match="batch_size=0"):
        next(Windows(corpus, 1, sentence=True).batches(0))
    with pytest.raises(ValueError, match="order holds 0 to 2: expected 0 to 1, there are 2 sentences"):
        Streams.sentences(corpus, 1, order=[0, 2])
    with pytest.raises(ValueError, match="order holds -1 to 0: expected 0 to 3, there are 4 tokens"):
        Windows(corpus, 1, sentence=True, order=[0, -1])
    with pytest.raises(ValueError, match="expected integers, one dimension"):
        Windows(corpus, 1, sentence=True, order=[0.5])
