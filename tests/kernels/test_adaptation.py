"""The cache against its definition, and the pull back to stored parameters."""

import numpy as np
import pytest
from reference_adaptation import cache_probabilities

from fastlm.kernels.adaptation import cache_distribution, cache_log_probs, learn_rows, pull_back

V, H, M = 9, 5, 40
RNG = np.random.default_rng(3)
KEYS, WORDS = RNG.normal(size=(M, H)), RNG.integers(0, V, M).astype(np.int32)


def look_up(
    num_words: int, size: int, flatness: float, keys: np.ndarray = KEYS, words: np.ndarray = WORDS
) -> np.ndarray:
    log_probs = np.full(num_words, np.nan)
    cache_log_probs(log_probs, keys, words, np.full((2, size), np.nan, keys.dtype), size, flatness)
    return log_probs


@pytest.mark.parametrize("flatness", [0.0, 0.3, 40.0])
@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("num_words", [0, 1, 13, M])
def test_words_in_the_cache(num_words: int, size: int, flatness: float) -> None:
    expected = np.zeros(num_words)
    for t, at in enumerate(range(M - num_words, M)):
        before = slice(max(0, at - size), at)
        expected[t] = cache_probabilities(KEYS[before], WORDS[before], KEYS[at], flatness, V)[WORDS[at]]
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(look_up(num_words, size, flatness), np.log(expected), rtol=1e-10)


def test_float32_is_near() -> None:
    near = look_up(M, 100, 0.3, KEYS.astype(np.float32))
    np.testing.assert_allclose(near, look_up(M, 100, 0.3), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("flatness", [0.0, 0.3, 400.0])
@pytest.mark.parametrize("size", [0, 1, 30])
def test_the_whole_distribution(size: int, flatness: float) -> None:
    probabilities = np.full(V, np.nan)
    query = RNG.normal(size=H)
    cache_distribution(probabilities, KEYS[:size], WORDS[:size], query, np.full((2, 30), np.nan), flatness)
    expected = cache_probabilities(KEYS[:size], WORDS[:size], query, flatness, V)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-10, atol=1e-300)
    assert probabilities.sum() == pytest.approx(1 if size else 0)


def test_without_keys_all_words_count_alike() -> None:
    keys = np.empty((M, 0), np.float32)
    before = WORDS[M - 13 : M - 1]
    probability = np.count_nonzero(before == WORDS[-1]) / 12
    assert look_up(1, 12, 0.5, keys)[0] == pytest.approx(np.log(probability), rel=1e-6)
    probabilities = np.empty(V)
    cache_distribution(probabilities, keys, WORDS, np.empty(0, np.float32), np.empty((2, M), np.float32), 0.5)
    np.testing.assert_allclose(probabilities, np.bincount(WORDS, minlength=V) / M, rtol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pull_back(dtype: type, decay: float) -> None:
    value, stored = RNG.normal(size=(4, 3)).astype(dtype), RNG.normal(size=(4, 3)).astype(dtype)
    expected = value.astype(np.float64)
    rows = np.array([3, 0, 2], np.int32)
    expected[rows] = (1 - decay) * expected[rows] + decay * stored[rows]
    stored.flags.writeable = rows.flags.writeable = False
    pull_back(value, stored, rows, decay)
    np.testing.assert_allclose(value, expected, rtol=1e-5 if dtype is np.float32 else 1e-14)


@pytest.mark.parametrize("shape", [(4, 3), (5, 1), (1, 37), (4, 0)])
@pytest.mark.parametrize("decay", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_learn_rows(dtype: type, decay: float, shape: tuple[int, int]) -> None:
    value, stored, gradient = RNG.normal(size=(3, *shape)).astype(dtype)
    rates = RNG.uniform(size=shape[0])
    rows = RNG.permutation(shape[0])[: max(1, shape[0] - 1)].astype(np.int32)
    expected = value.astype(np.float64)
    expected[rows] -= rates[rows, np.newaxis] * gradient[rows]
    expected[rows] += decay * (stored[rows] - expected[rows])
    some = gradient[rows]
    for array in (stored, some, rows, rates):
        array.flags.writeable = False
    learn_rows(value, stored, some, rows, rates, decay)
    np.testing.assert_allclose(
        value, expected, **({"rtol": 1e-5, "atol": 1e-6} if dtype is np.float32 else {"rtol": 1e-13})
    )


def test_shapes_that_do_not_fit_are_named() -> None:
    scratch = np.empty((2, 50))
    with pytest.raises(ValueError, match=r"words \(39,\) do not fit"):
        cache_log_probs(np.empty(3), KEYS, WORDS[1:], scratch, 50, 0.1)
    with pytest.raises(ValueError, match=r"log_probs \(41,\), keys \(40, 5\)"):
        cache_log_probs(np.empty(41), KEYS, WORDS, scratch, 50, 0.1)
    with pytest.raises(ValueError, match=r"scratch has shape \(2, 50\), expected \(2, 51\)"):
        cache_log_probs(np.empty(3), KEYS, WORDS, scratch, 51, 0.1)
    with pytest.raises(ValueError, match=r"query \(4,\) do not fit"):
        cache_distribution(np.empty(V), KEYS, WORDS, np.empty(4), scratch, 0.1)
    with pytest.raises(ValueError, match=r"scratch has shape \(1, 50\), expected \(2, 40\)"):
        cache_distribution(np.empty(V), KEYS, WORDS, np.empty(H), scratch[:1], 0.1)
    with pytest.raises(ValueError, match=r"words\[0\] is 9, expected 0 to 8"):
        cache_distribution(np.empty(V), KEYS, np.full(M, V, np.int32), np.empty(H), scratch, 0.1)
    value, rows, rates = np.empty((4, 3)), np.empty(2, np.int32), np.empty(4)
    with pytest.raises(ValueError, match=r"value has shape \(4, 3\), expected that of stored, \(4, 2\)"):
        pull_back(value, np.empty((4, 2)), rows, 0.1)
    with pytest.raises(ValueError, match=r"value has shape \(4, 3\), .* and of rates, \(3,\)"):
        learn_rows(value, value, value[:2], rows, rates[:3], 0.1)
    with pytest.raises(ValueError, match=r"gradient \(3, 3\) and rows \(2,\) do not fit: expected \(R, 3\)"):
        learn_rows(value, value, value[:3], rows, rates, 0.1)
