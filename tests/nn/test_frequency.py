"""Words by frequency, and where their order is cut."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.nn.outputs import frequency
from fastlm.nn.outputs.frequency import Ranking, choose_classes, choose_cutoffs, tail_widths

COUNTS = st.lists(st.integers(0, 10**9), min_size=2, max_size=300).map(lambda counts: np.array(counts, np.int64))


def zipf(size: int) -> np.ndarray:
    return (1e9 / np.arange(1, size + 1)).astype(np.int64)


@given(COUNTS)
def test_ranks_are_by_count_and_then_by_id(counts: np.ndarray) -> None:
    ranking = Ranking(counts)
    ids = np.arange(len(counts), dtype=np.int32)
    expected = sorted(ids.tolist(), key=lambda id: (-counts[id], id))
    assert np.argsort(ranking.ranks(ids)).tolist() == expected
    assert ranking.counts.tolist() == counts[expected].tolist()
    assert ranking.ranks(np.array([-1], np.int32)).tolist() == [-1]
    ranked = np.arange(len(counts), dtype=float)[np.newaxis]
    assert ranking.by_id(ranked)[0].tolist() == ranking.ranks(ids).tolist()


@given(COUNTS, st.integers(2, 40) | st.none())
def test_classes_cut_the_words(counts: np.ndarray, num_classes: int | None) -> None:
    cutoffs = choose_classes(np.sort(counts)[::-1], num_classes)
    assert cutoffs == sorted(set(cutoffs))
    assert 0 < cutoffs[0] <= cutoffs[-1] < len(counts)
    assert len(cutoffs) < (num_classes or max(3, len(counts) ** 0.5 + 1))


def test_classes_have_equal_parts_of_the_roots() -> None:
    counts = zipf(10_000)
    cutoffs = choose_classes(counts, 100)
    roots = np.sqrt(counts)
    parts = np.add.reduceat(roots, [0, *cutoffs]) / roots.sum()
    assert (parts[:-1] < 0.01 + roots[0] / roots.sum()).all()
    sizes = np.diff([0, *cutoffs, 10_000])
    assert sizes[0] < sizes[len(sizes) // 2] < sizes[-2]  # small classes of frequent words


def test_one_word_that_is_nearly_all_of_the_text_is_a_class() -> None:
    assert choose_classes(np.array([10**12, 3, 2, 1]), 2)[0] == 1


def test_widths_of_tails() -> None:
    widths = tail_widths(256, 4)
    assert all(narrow <= wide / 2 for wide, narrow in pairwise([256, *widths[:2]]))
    assert widths == sorted(widths, reverse=True)
    assert min(tail_widths(3, 4)) == 3


@given(COUNTS, st.integers(1, 700))
def test_cutoffs_cut_the_words(counts: np.ndarray, hidden_size: int) -> None:
    cutoffs = choose_cutoffs(np.sort(counts)[::-1], hidden_size)
    assert cutoffs == sorted(set(cutoffs))
    assert 0 < cutoffs[0] <= cutoffs[-1] < len(counts)


@pytest.mark.parametrize("size", [50, 10_000, 800_000])
def test_frequent_words_keep_the_full_width(size: int) -> None:
    counts = zipf(size)
    first = choose_cutoffs(counts, 256)[0]
    assert counts[:first].sum() / counts.sum() >= frequency.HEAD_SHARE - 0.01


def cost(counts: np.ndarray, cutoffs: list[int], hidden_size: int) -> float:
    """Add up what a token costs, as the module says it was measured."""
    shares = counts + 1.0
    shares /= shares.sum()
    stops = [*cutoffs[1:], len(counts)]
    tails = zip(cutoffs, stops, tail_widths(hidden_size, len(cutoffs)), strict=True)
    total = 0.0
    for start, stop, width in [(0, cutoffs[0], hidden_size), *tails]:
        words = stop - start + (len(cutoffs) if start == 0 else 0)
        share = shares[start:stop].sum() if start else 1.0
        total += share * words * (frequency.LOGIT + frequency.LOGIT_WIDTH * width)
        total += words * (frequency.ROW + frequency.ROW_WIDTH * width) / frequency.STEP_TOKENS
        if start:
            total += share * width * hidden_size * frequency.LOGIT_WIDTH + frequency.TAIL / frequency.STEP_TOKENS
    return total


@pytest.mark.parametrize("hidden_size", [100, 256])
def test_cutoffs_cost_least(hidden_size: int) -> None:
    """No cutoff can be moved, nor a tail left out, for the better."""
    counts = zipf(50_000)
    chosen = choose_cutoffs(counts, hidden_size)
    least = cost(counts, chosen, hidden_size)
    for i in range(1, len(chosen)):
        for factor in (0.7, 0.9, 1.1, 1.4):
            moved = [*chosen[:i], int(factor * chosen[i]), *chosen[i + 1 :]]
            if moved == sorted(set(moved)):
                assert cost(counts, moved, hidden_size) > 0.99 * least
        assert cost(counts, [*chosen[:i], *chosen[i + 1 :]], hidden_size) > least
