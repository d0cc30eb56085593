"""From counts to probabilities, by figures worked out by hand; whole models are held to the oracle in tests/models."""

import math

import numpy as np
import pytest

from fastlm.kernels import ngram_estimates

STARTS = np.array([0, 2, 2, 5], np.int32)  # three contexts, of which the second has nothing behind it
COUNTS = np.array([1, 4, 1, 2, 3], np.int32)


def test_left_words() -> None:
    counts = np.full(4, 9, np.int32)
    ngram_estimates.count_left_words(counts[:3], np.array([0, 2, 2, 0, 2], np.int32))
    assert counts.tolist() == [2, 0, 3, 9]
    ngram_estimates.count_left_words(counts[:0], np.empty(0, np.int32))


def test_counts_of_counts() -> None:
    totals = np.full(4, 9)
    ngram_estimates.count_counts(totals, np.array([0, 1, 1, 3, 4, 100, 1], np.int32))
    assert totals.tolist() == [1, 3, 0, 1]


def test_interpolation() -> None:
    log10_probs, log10_backoffs, probs = np.empty(5, np.float32), np.empty(3, np.float32), np.empty(5)
    lower, suffixes = np.array([0.1, 0.2, 0.7]), np.array([0, 1, 2, 0, 1], np.int32)
    discounts = np.array([0.0, 0.5, 0.75, 1.25])
    ngram_estimates.interpolate(log10_probs, log10_backoffs, probs, lower, COUNTS, suffixes, STARTS, discounts)
    gammas = [(0.5 + 1.25) / 5, 1, (0.5 + 0.75 + 1.25) / 6]
    expected = [
        0.5 / 5 + gammas[0] * 0.1,
        2.75 / 5 + gammas[0] * 0.2,
        0.5 / 6 + gammas[2] * 0.7,
        1.25 / 6 + gammas[2] * 0.1,
        1.75 / 6 + gammas[2] * 0.2,
    ]
    np.testing.assert_allclose(probs, expected, rtol=1e-14)
    np.testing.assert_allclose(log10_probs, np.log10(expected), rtol=1e-6)
    np.testing.assert_allclose(log10_backoffs, np.log10(gammas), rtol=1e-6)


def test_relative_frequencies() -> None:
    log10_probs = np.empty(5, np.float32)
    ngram_estimates.relative_frequencies(log10_probs, COUNTS, STARTS)
    np.testing.assert_allclose(log10_probs, [math.log10(p) for p in (1 / 5, 4 / 5, 1 / 6, 2 / 6, 3 / 6)], rtol=1e-6)


@pytest.mark.parametrize("wrong", range(8))
def test_arguments_that_do_not_fit(wrong: int) -> None:
    arguments = [
        np.empty(5, np.float32), np.empty(3, np.float32), np.empty(5), np.ones(3), COUNTS, np.zeros(5, np.int32),
        STARTS, np.zeros(4),
    ]  # fmt: skip
    if wrong == 3:  # of the order below any number may be
        return
    arguments[wrong] = arguments[wrong][:-1]
    with pytest.raises(ValueError, match="do not fit"):
        ngram_estimates.interpolate(*arguments)
    with pytest.raises(ValueError, match=r"\(4,\), expected \(5,\)"):
        ngram_estimates.relative_frequencies(np.empty(4, np.float32), COUNTS, STARTS)
