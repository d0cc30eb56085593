"""The elementary functions under the kernels: accuracy over the whole range, in rows of any length."""

import numpy as np
import pytest
from output_layer import OutputLayer

from fastlm import kernels


def exp(x: np.ndarray) -> np.ndarray:
    """Return exp(x) as the softmax kernel computes it: in the second of two blocks, after a logit of 0 in the first."""
    width = 128 // x.itemsize  # a token for each column of a panel
    logits = np.zeros((-(-len(x) // width), width), x.dtype)
    logits.reshape(-1)[: len(x)] = x
    first = np.zeros_like(logits)
    layer = OutputLayer.of_logits(np.concatenate([first, logits]).T, [0] * width, len(logits))
    exps = layer.forward_backward().exps[0]
    assert (layer.shifts == 0).all()
    assert (exps[: len(first)] == 1).all()
    return exps[len(first) :].reshape(-1)[: len(x)]


def tanh(x: np.ndarray) -> np.ndarray:
    y = x[None].copy()
    kernels.tanh_forward(y)
    return y[0]


def units_in_the_last_place(result: np.ndarray, exact: np.ndarray) -> np.ndarray:
    return np.abs(result - exact) / np.spacing(np.abs(exact).astype(result.dtype))


def test_exp_is_accurate_to_two_units_down_to_the_smallest_normal_number() -> None:
    x = np.concatenate([np.linspace(-87.3, 0, 1_000_003), -np.logspace(-44, 0, 100_001)]).astype(np.float32)
    x = x[x >= np.float32(-87.3)]
    assert units_in_the_last_place(exp(x), np.exp(x.astype(np.float64))).max() < 2


def test_exp_is_accurate_to_two_units_up_to_the_margin_of_a_shift() -> None:
    x = np.linspace(0, 8, 500_001).astype(np.float32)
    assert units_in_the_last_place(exp(x), np.exp(x.astype(np.float64))).max() < 2


def test_exp_does_not_rise_as_x_falls_and_ends_at_zero() -> None:
    x = np.linspace(-87, -88, 10_001).astype(np.float32)
    y = exp(x)
    assert (np.diff(y) <= 0).all()
    assert (y[x < np.float32(-87.3)] == 0).all()
    assert (y >= 0).all()


def test_exp_at_the_ends() -> None:
    x = np.array([0, -1e-45, -88, -104, -1e4, -1e10, -1e30, -3.4e38], np.float32)
    assert exp(x).tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert exp(np.array([-np.inf], np.float32)).tolist() == [0]
    assert np.isnan(exp(np.array([np.nan], np.float32))).all()


def test_tanh_is_accurate_to_a_few_units() -> None:
    spread = np.concatenate([np.linspace(0, 25, 1_000_003), np.logspace(-37, 38, 200_001)]).astype(np.float32)
    x = np.concatenate([spread, -spread])
    assert units_in_the_last_place(tanh(x), np.tanh(x.astype(np.float64))).max() < 4


def test_tanh_is_odd_bounded_and_exact_at_the_ends() -> None:
    x = np.array([0.0, 1e-45, 1e-40, 20, 20.5, 100, 1e30, 3.4e38, np.inf], np.float32)
    assert tanh(x).tolist() == [0, x[1], x[2], 1, 1, 1, 1, 1, 1]
    assert tanh(-x).tobytes() == (-tanh(x)).tobytes()  # also the sign of zero
    everywhere = np.linspace(-30, 30, 100_001).astype(np.float32)
    assert (np.abs(tanh(everywhere)) <= 1).all()
    assert np.isnan(tanh(np.array([np.nan], np.float32))).all()


@pytest.mark.parametrize("function", [exp, tanh])
def test_float64_is_that_of_libm(function: object) -> None:
    x = -np.linspace(0, 50, 10_001)
    exact = np.exp(x) if function is exp else np.tanh(x)
    np.testing.assert_allclose(function(x), exact, 1e-14)


@pytest.mark.parametrize("length", [*range(1, 70), 127, 128, 129])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_of_any_length_is_treated_to_its_end(length: int, dtype: type) -> None:
    """Each function has a loop over whole vectors and one over the rest: none may drop or repeat an element."""
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    rng = np.random.default_rng(length)
    x, weight, bias = (rng.normal(size=shape).astype(dtype) for shape in [length, (3, length), 3])
    output = np.empty(3, dtype)
    kernels.linear_forward_vector(output, x, weight, bias)
    expected = weight.astype(np.float64) @ x.astype(np.float64) + bias
    np.testing.assert_allclose(output, expected, tolerance, atol=10 * tolerance)
    np.testing.assert_allclose(exp(-np.abs(x)), np.exp(-np.abs(x)), tolerance)
    np.testing.assert_allclose(tanh(x), np.tanh(x), tolerance)
    assert kernels.squared_norm(x[None]) == pytest.approx((x.astype(np.float64) ** 2).sum())
    total = np.ones((1, length), dtype)
    kernels.sgd_update(total, x[None], np.zeros(1, np.int32), 1.0, -1.0)
    assert (total[0] == 1 + x).all()


@pytest.mark.parametrize("length", [1, 15, 16, 17, 33, 64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_largest_is_found_wherever_it_stands(length: int, dtype: type) -> None:
    log_probs, scratch, one = np.empty((1, length), dtype), np.empty(length, dtype), np.ones((1, 1), dtype)
    for place in range(length):
        weight, bias = np.zeros((2, length), dtype)
        weight[place], bias[place] = 500, 500  # without the right shift exp overflows
        kernels.softmax_log_probs(log_probs, one, weight[:, None], bias, scratch)
        expected = np.full(length, -1000.0)
        expected[place] = 0
        np.testing.assert_allclose(log_probs[0], expected, atol=1e-4)
