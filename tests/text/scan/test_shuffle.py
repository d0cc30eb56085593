"""Permutations: one to one, all alike likely, and the same wherever one begins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.text.scan.shuffle import permuted

keys = st.integers(0, 2**64 - 1)


@given(st.integers(0, 3000) | st.sampled_from([255, 256, 257, 4096, 4097]), keys)
def test_every_number_once(size: int, key: int) -> None:
    numbers = permuted(0, size, size, key)
    assert numbers.dtype == np.int64
    assert np.array_equal(np.sort(numbers), np.arange(size))


@given(st.integers(1, 10**12), st.integers(0, 10**12), st.integers(0, 50), keys)
def test_a_part_is_that_of_the_whole(size: int, begin: int, length: int, key: int) -> None:
    begin = min(begin, size)
    end = min(begin + length, size)
    part = permuted(begin, end, size, key)
    assert part.tolist() == [int(permuted(place, place + 1, size, key)[0]) for place in range(begin, end)]
    assert all(0 <= number < size for number in part)


@pytest.mark.parametrize("size", [2, 3, 5, 100])
def test_all_permutations_are_alike_likely(size: int) -> None:
    """Chi-squared tests: of each place's number, and of pairs of neighbours."""
    num_keys = 20_000
    drawn = np.array([permuted(0, size, size, key) for key in range(num_keys)])
    for place in {0, size // 2, size - 1}:
        check_uniform(np.bincount(drawn[:, place], minlength=size))
    steps = (drawn[:, 1] - drawn[:, 0]) % size
    check_uniform(np.bincount(steps, minlength=size)[1:])


def check_uniform(counts: np.ndarray) -> None:
    expected = counts.mean()
    freedom = len(counts) - 1
    squared = ((counts - expected) ** 2 / expected).sum()
    assert squared < freedom + 5 * np.sqrt(2 * max(freedom, 1)) + 5  # five standard deviations


def test_no_trace_of_the_order_is_left() -> None:
    size = 1_000_003
    numbers = permuted(0, size, size, 42)
    fixed = np.count_nonzero(numbers == np.arange(size))
    assert fixed < 10  # a random permutation has one, on average
    assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.005
    assert abs(np.corrcoef(numbers, np.arange(size))[0, 1]) < 0.005
    neighbours = np.count_nonzero(np.abs(np.diff(numbers)) == 1)
    assert neighbours < 15  # two, on average


def test_wrong_arguments() -> None:
    for begin, end, size in [(-1, 2, 5), (3, 2, 5), (0, 6, 5)]:
        with pytest.raises(ValueError, match=f"places {begin} to {end}: expected 0 to {size}"):
            permuted(begin, end, size, 1)
