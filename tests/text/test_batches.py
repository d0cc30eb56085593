"""Streams and windows: every token is the target of one step, with the right history."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import fastlm.text.order
from fastlm.text.batches import Chunk, Streams, Windows, random_bounds
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
    """All steps of all streams, after a check of what holds for all streams of one group."""
    chunks = list(streams.chunks(length))
    assert len(chunks) == streams.num_chunks(length)
    assert all(chunk.targets.shape == (length, streams.num_streams) for chunk in chunks[:-1])
    steps = checked(joined(chunks))
    ended = steps.targets < 0
    assert np.array_equal(ended, np.sort(ended, axis=0))  # padding is at the end
    assert not ended.all(axis=1).any()  # and no longer than need be
    return steps


def checked(steps: Chunk) -> Chunk:
    types = (steps.inputs.dtype, steps.targets.dtype, steps.resets.dtype, steps.positions.dtype)
    assert types == (np.int32, np.int32, np.uint8, np.int64)
    ended = steps.targets < 0
    assert np.array_equal(ended, steps.positions == -1)
    assert set(steps.inputs[ended]) <= {END}
    assert not steps.resets[ended].any()
    return steps


@contextmanager
def small_groups(run: int, group: int) -> Iterator[None]:
    """Let so few tokens be a run, and so few runs be a group, that there are many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fastlm.text.order, "RUN", run)
        patch.setattr(fastlm.text.order, "GROUP", group)
        yield


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


seeds = st.none() | st.tuples(st.integers(0, 99), st.integers(0, 99))


def sentence_bounds(ids: list[int]) -> tuple[list[int], list[int]]:
    starts = [n for n in range(len(ids)) if n == 0 or ids[n - 1] == END]
    return starts, [*starts[1:], len(ids)]


@given(corpora, sizes, sizes, seeds)
def test_sentences(corpus: FakeCorpus, num_streams: int, length: int, seed: tuple[int, int] | None) -> None:
    starts, stops = sentence_bounds(corpus.ids.tolist())
    steps = read(Streams.sentences(corpus, num_streams, seed=seed), length)
    check_sentences(corpus, steps)
    columns = [column[column >= 0].tolist() for column in steps.positions.T]
    order = [starts.index(position) for column in columns for position in column if position in starts]
    assert sorted(order) == list(range(len(starts)))
    if seed is None:
        assert order == list(range(len(starts)))
    lengths = [len(part) for part in columns]
    longest_sentence = max(stop - start for start, stop in zip(starts, stops, strict=True))
    assert max(lengths) - len(corpus.ids) / num_streams <= longest_sentence


def check_sentences(corpus: FakeCorpus, steps: Chunk) -> None:
    """Every token once, in whole sentences."""
    starts, stops = sentence_bounds(corpus.ids.tolist())
    assert sorted(steps.positions[steps.positions >= 0].tolist()) == list(range(len(corpus.ids)))
    for column in range(steps.positions.shape[1]):
        there = steps.positions[:, column] >= 0
        positions = steps.positions[there, column].tolist()
        for step, position in enumerate(positions):
            is_first = position in starts
            assert is_first or positions[step - 1] == position - 1
            assert position + 1 in stops or positions[step + 1] == position + 1
            assert steps.targets[there, column][step] == corpus.ids[position]
            assert steps.resets[there, column][step] == is_first
            assert steps.inputs[there, column][step] == (START if is_first else corpus.ids[position - 1])


@given(corpora, sizes, sizes, seeds, st.integers(1, 9), st.integers(1, 4))
def test_sentences_in_many_groups(
    corpus: FakeCorpus, num_streams: int, length: int, seed: tuple[int, int] | None, run: int, group: int
) -> None:
    with small_groups(run, group):
        streams = Streams.sentences(corpus, num_streams, seed=seed)
        chunks = list(streams.chunks(length))
        assert len(chunks) == streams.num_chunks(length)
        check_sentences(corpus, checked(joined(chunks)))


@given(corpora, sizes, sizes, seeds, st.integers(1, 9), st.integers(1, 4))
def test_streams_begin_at_any_chunk(
    corpus: FakeCorpus, num_streams: int, length: int, seed: tuple[int, int] | None, run: int, group: int
) -> None:
    with small_groups(run, group):
        for streams in (Streams.continuous(corpus, num_streams), Streams.sentences(corpus, num_streams, seed=seed)):
            chunks = list(streams.chunks(length, seed=seed))
            assert len(chunks) == streams.num_chunks(length, seed=seed)
            for start in range(len(chunks) + 2):
                left = list(streams.chunks(length, start, seed=seed))
                assert len(left) == max(0, len(chunks) - start)
                for one, other in zip(left, chunks[start:], strict=True):
                    for name in ("inputs", "targets", "resets", "positions"):
                        assert np.array_equal(getattr(one, name), getattr(other, name))
                    assert one.share == other.share == (1 if seed is None else len(one.targets) / length)


@given(corpora, sizes, sizes, st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_chunks_of_random_length_are_the_same_text(
    corpus: FakeCorpus, num_streams: int, length: int, seed: tuple[int, int]
) -> None:
    for streams in (Streams.continuous(corpus, num_streams), Streams.sentences(corpus, num_streams)):
        cut, whole = (joined(list(streams.chunks(length, seed=drawn))) for drawn in (seed, None))
        for name in ("inputs", "targets", "resets", "positions"):
            assert np.array_equal(getattr(cut, name), getattr(whole, name))


@pytest.mark.parametrize(("length", "deviation"), [(140, 5.0), (70, 5.0), (14, 2.0)])
def test_random_lengths_are_those_of_the_paper(length: int, deviation: float) -> None:
    """About the length, and in one of twenty cases about half of it (Merity et al. 2018)."""
    lengths = np.diff(random_bounds(length * 20_000, length, (1, 2)))[:-1]
    assert lengths.mean() == pytest.approx(0.975 * length - 0.5, abs=0.2)  # fractions are cut off
    spread = deviation**2 + 0.95 * 0.05 * (length / 2) ** 2
    assert lengths.std() == pytest.approx(spread**0.5, rel=0.05)
    assert lengths.min() >= min(5, length // 2)
    if length > 4 * deviation * 3:  # the two do not overlap
        assert (lengths > 0.75 * length).mean() == pytest.approx(0.95, abs=0.01)


@given(st.integers(1, 300), sizes, st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_random_bounds_rise_to_the_end(num_steps: int, length: int, seed: tuple[int, int]) -> None:
    bounds = random_bounds(num_steps, length, seed)
    assert (bounds[0], bounds[-1]) == (0, num_steps)
    assert (np.diff(bounds) > 0).all()
    assert np.array_equal(bounds, random_bounds(num_steps, length, seed))


def test_chunks_end_elsewhere_in_each_epoch() -> None:
    assert not np.array_equal(random_bounds(1000, 20, (1, 1)), random_bounds(1000, 20, (1, 2)))


def test_streams_can_be_read_again_and_side_by_side() -> None:
    streams = Streams.continuous(FakeCorpus(np.arange(2, 6, dtype=np.uint16).repeat(5)), 3)
    first, second = streams.chunks(2), streams.chunks(2)
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.positions, other.positions)
        assert not np.shares_memory(one.targets, other.targets)


@given(corpora, sizes, sizes, st.booleans(), seeds, st.integers(1, 9), st.integers(1, 4))
def test_windows(
    corpus: FakeCorpus,
    context_size: int,
    batch_size: int,
    sentence: bool,
    seed: tuple[int, int] | None,
    run: int,
    group: int,
) -> None:
    with small_groups(run, group):
        windows = Windows(corpus, context_size, sentence=sentence, seed=seed)
        batches = list(windows.batches(batch_size))
    order = np.concatenate([batch[2] for batch in batches]).tolist()
    assert len(windows) == len(order)
    assert (sorted(order) if seed else order) == list(range(len(corpus.ids)))
    assert all(len(batch[1]) == batch_size for batch in batches[:-1])
    for inputs, targets, places in batches:
        assert inputs.shape == (len(targets), context_size)
        assert inputs.dtype == targets.dtype == np.int32
        assert np.array_equal(targets, corpus.ids[places])
        # The nearest input is the id before, where there is one in sight.
        before = corpus.ids[places - 1]
        begins = (places == 0) | (sentence & (before == END))
        assert np.array_equal(inputs[:, -1], np.where(begins, START if sentence else END, before))


@given(corpora, sizes, seeds, st.integers(1, 9), st.integers(1, 4))
def test_windows_begin_at_any_batch(
    corpus: FakeCorpus, batch_size: int, seed: tuple[int, int] | None, run: int, group: int
) -> None:
    with small_groups(run, group):
        windows = Windows(corpus, 2, sentence=True, seed=seed)
        batches = list(windows.batches(batch_size))
        for start in range(len(batches) + 2):
            left = list(windows.batches(batch_size, start))
            assert len(left) == max(0, len(batches) - start)
            for one, other in zip(left, batches[start:], strict=True):
                assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


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
