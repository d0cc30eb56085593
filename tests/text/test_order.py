"""The order of an epoch: every token once, in runs that are read together."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastlm.text.order
from fastlm.text.order import GROUP, RUN, Order

seeds = st.none() | st.tuples(st.integers(0, 99), st.integers(0, 99))


@given(st.integers(1, 200), seeds, st.integers(1, 12), st.integers(1, 4), st.data())
def test_every_token_once(size: int, seed: tuple[int, int] | None, run: int, group: int, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fastlm.text.order, "RUN", run)
        patch.setattr(fastlm.text.order, "GROUP", group)
        order = Order(size, seed)
        positions = order.positions(0, size)
        cuts = sorted(data.draw(st.lists(st.integers(0, size), max_size=5)))
        parts = [order.positions(begin, end) for begin, end in itertools.pairwise([0, *cuts, size])]
        groups = [order.runs(number) for number in range(order.num_groups)]
    assert positions.dtype == np.int64
    assert sorted(positions.tolist()) == list(range(size))
    assert np.array_equal(np.concatenate(parts), positions)
    if seed is None:
        assert positions.tolist() == list(range(size))
    # The groups' runs are the corpus, and the tokens of each group come together.
    assert sorted(itertools.chain(*groups)) == [(n, min(n + run, size)) for n in range(0, size, run)]
    assert max(map(len, groups)) <= group
    begin = 0
    for runs in groups:
        tokens = sorted(itertools.chain(*(range(*bounds) for bounds in runs)))
        assert sorted(positions[begin : begin + len(tokens)].tolist()) == tokens
        begin += len(tokens)


def test_epochs_differ_and_seeds_too() -> None:
    orders = [Order(1000, seed).positions(0, 1000).tolist() for seed in [(1, 1), (1, 2), (2, 1), (1, 1)]]
    assert orders[0] == orders[3]
    assert len(set(map(tuple, orders))) == 3


def test_a_small_corpus_is_shuffled_as_a_whole() -> None:
    """What is seen in each hundredth of an epoch comes from everywhere alike."""
    size = 4_000_000
    assert size < RUN * GROUP
    order = Order(size, (1, 1))
    for begin in range(0, size, size // 10):
        counts = np.histogram(order.positions(begin, begin + 40_000), bins=100, range=(0, size))[0]
        assert ((counts - 400) ** 2 / 400).sum() < 99 + 5 * np.sqrt(2 * 99)


def test_a_large_corpus_is_read_in_runs_from_everywhere() -> None:
    size = 10**12
    order = Order(size, (1, 1))
    assert order.num_groups == -(-size // (RUN * GROUP)) == 238_419
    positions = order.positions(size // 2, size // 2 + 100_000)
    runs = np.unique(positions // RUN)
    assert len(runs) <= 2 * GROUP
    assert np.histogram(runs, bins=4, range=(0, size // RUN))[0].min() > GROUP // 10


def test_no_memory_is_taken() -> None:
    tracemalloc.start()
    order = Order(10**12, (1, 1))
    for begin in range(0, 10**12, 10**10):
        order.positions(begin, begin + 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000
