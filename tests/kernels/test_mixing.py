"""Mixtures of log-probabilities, and the weights of EM, against NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastlm.kernels.mixing import expected_shares, mix_log_probs

RNG = np.random.default_rng(3)
WEIGHTS = np.array([0.5, 0.2, 0.3])


def mix(log_probs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    mixed = np.full(log_probs.shape[1], 7.0)
    mix_log_probs(mixed, log_probs, weights)
    return mixed


@given(arrays(np.float64, (3, 4), elements=st.floats(-50, 0) | st.just(-np.inf)))
def test_mixtures_are_sums_of_probabilities(log_probs: np.ndarray) -> None:
    with np.errstate(divide="ignore"):
        expected = np.log(WEIGHTS @ np.exp(log_probs))
    np.testing.assert_allclose(mix(log_probs, WEIGHTS), expected, rtol=1e-13, atol=1e-13)


def test_probabilities_below_the_smallest_number() -> None:
    log_probs = np.array([[-3000.0, -np.inf], [-3001.0, -4000.0], [-np.inf, -np.inf]])
    expected = [-3000 + np.log(0.5 + 0.2 * np.exp(-1)), -4000 + np.log(0.2)]
    np.testing.assert_allclose(mix(log_probs, WEIGHTS), expected, rtol=1e-15)


def test_a_model_of_weight_zero_is_not_looked_at() -> None:
    log_probs = np.array([[-1.0, -2.0], [np.nan, np.inf]])
    np.testing.assert_array_equal(mix(log_probs, np.array([1.0, 0.0])), [-1, -2])


@pytest.mark.parametrize("others", [-1.0, -np.inf])
def test_nan_is_not_hidden(others: float) -> None:
    for place in range(3):
        log_probs = np.full((3, 1), others)
        log_probs[place] = np.nan
        assert np.isnan(mix(log_probs, WEIGHTS))


def test_expected_shares_are_posteriors() -> None:
    log_probs = RNG.uniform(-9, 0, (3, 50))
    log_probs[0, :10] = -np.inf
    joint = WEIGHTS[:, np.newaxis] * np.exp(log_probs)
    shares = np.empty(3)
    log_prob, num_tokens = expected_shares(shares, log_probs, WEIGHTS)
    np.testing.assert_allclose(shares, (joint / joint.sum(0)).mean(1), rtol=1e-13)
    assert log_prob == pytest.approx(np.log(joint.sum(0)).sum(), rel=1e-13)
    assert num_tokens == 50


def test_impossible_tokens_are_left_out() -> None:
    log_probs = RNG.uniform(-9, 0, (3, 6))
    with_more = np.concatenate([log_probs, np.full((3, 2), -np.inf)], axis=1)
    shares, expected = np.empty(3), np.empty(3)
    assert expected_shares(shares, with_more, WEIGHTS) == expected_shares(expected, log_probs, WEIGHTS)
    np.testing.assert_array_equal(shares, expected)
    assert expected_shares(shares, with_more[:, 6:].copy(), WEIGHTS) == (0.0, 0)
    np.testing.assert_array_equal(shares, WEIGHTS)


def test_inputs_are_only_read() -> None:
    log_probs, weights = RNG.uniform(-9, 0, (3, 6)), WEIGHTS.copy()
    log_probs.flags.writeable = weights.flags.writeable = False
    assert mix(log_probs, weights).shape == (6,)
    assert expected_shares(np.empty(3), log_probs, weights)[1] == 6


def test_shapes_that_do_not_fit_are_named() -> None:
    log_probs = np.zeros((3, 6))
    with pytest.raises(ValueError, match=r"mixed has shape \(5,\), expected \(6,\)"):
        mix_log_probs(np.empty(5), log_probs, WEIGHTS)
    with pytest.raises(ValueError, match=r"weights has shape \(2,\), expected \(3,\)"):
        mix_log_probs(np.empty(6), log_probs, WEIGHTS[:2])
    with pytest.raises(ValueError, match=r"shares has shape \(4,\), expected \(3,\)"):
        expected_shares(np.empty(4), log_probs, WEIGHTS)
