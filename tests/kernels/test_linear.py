"""The affine layer and its tanh against their oracles."""

import numpy as np
import pytest
import reference
from reference import pack

from fastlm import kernels

TYPES = [(np.float32, 2e-5), (np.float64, 1e-12)]
SHAPES = [(1, 1, 1), (1, 3, 5), (4, 1, 3), (4, 3, 1), (3, 17, 5), (20, 33, 47), (7, 300, 101), (170, 3, 32)]  # N, D, H


@pytest.fixture(params=TYPES, ids=["float32", "float64"])
def rtol(request: pytest.FixtureRequest) -> float:
    return request.param[1]


@pytest.fixture
def dtype(rtol: float) -> type:
    return np.float32 if rtol > 1e-6 else np.float64


def draw(dtype: type, *shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


def wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)


@pytest.mark.parametrize(("N", "D", "H"), SHAPES)
def test_forward(N: int, D: int, H: int, dtype: type, rtol: float) -> None:
    inputs, weight, bias = draw(dtype, N, D), draw(dtype, H, D), draw(dtype, H)
    output = np.full((N, H), np.nan, dtype)
    kernels.linear_forward(output, inputs, pack(weight.T), bias)
    expected = reference.linear_forward(wide(inputs), wide(weight), wide(bias))
    np.testing.assert_allclose(output, expected, rtol, atol=rtol)


@pytest.mark.parametrize(("N", "D", "H"), SHAPES)
def test_one_row_with_nothing_packed_is_the_batch_form(N: int, D: int, H: int, dtype: type, rtol: float) -> None:
    inputs, weight, bias = draw(dtype, N, D), draw(dtype, H, D), draw(dtype, H)
    batch, row = np.empty((N, H), dtype), np.full(H, np.nan, dtype)
    kernels.linear_forward(batch, inputs, pack(weight.T), bias)
    for n in range(N):
        kernels.linear_forward_vector(row, inputs[n], weight, bias)
        np.testing.assert_allclose(row, batch[n], rtol, atol=rtol)


@pytest.mark.parametrize(("N", "D", "H"), SHAPES)
def test_backward(N: int, D: int, H: int, dtype: type, rtol: float) -> None:
    inputs, weight, doutput = draw(dtype, N, D), draw(dtype, H, D), draw(dtype, N, H)
    dinputs = np.full((N, D), np.nan, dtype)
    dweight, dbias = draw(dtype, H, D + 1)[:, 1:].copy(), draw(dtype, H)
    before, before_bias = dweight.copy(), dbias.copy()
    kernels.linear_backward(dinputs, doutput, pack(weight))
    kernels.linear_backward_weight(dweight, dbias, doutput, pack(inputs), True)
    expected = reference.linear_backward(wide(doutput), wide(inputs), wide(weight))
    np.testing.assert_allclose(dinputs, expected[0], rtol, atol=rtol)
    np.testing.assert_allclose(dweight, before + expected[1], rtol, atol=rtol)
    np.testing.assert_allclose(dbias, before_bias + expected[2], rtol, atol=rtol)
    dweight[:], dbias[:] = np.nan, np.nan
    kernels.linear_backward_weight(dweight, dbias, doutput, pack(inputs), False)
    np.testing.assert_allclose(dweight, expected[1], rtol, atol=rtol)
    np.testing.assert_allclose(dbias, expected[2], rtol, atol=rtol)


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("N", [1, 6, 300])
def test_the_weight_can_be_shared_by_rows(N: int, accumulate: bool, dtype: type) -> None:
    H, D = 31, 5
    doutput, inputs = draw(dtype, N, H), pack(draw(dtype, N, D))
    whole, shared = np.ones((2, H, D), dtype)
    bias, shared_bias = np.ones((2, H), dtype)
    kernels.linear_backward_weight(whole, bias, doutput, inputs, accumulate)
    for part in (slice(7, 31), slice(3, 7), slice(2, 3), slice(0, 2), slice(5, 5)):
        kernels.linear_backward_weight(shared[part], shared_bias[part], doutput[:, part], inputs, accumulate)
    assert shared.tobytes() == whole.tobytes()
    assert shared_bias.tobytes() == bias.tobytes()


def test_one_row_may_have_any_stride(dtype: type) -> None:
    row, inputs = draw(dtype, 11), draw(dtype, 1, 5)
    dweight, dbias = np.zeros((11, 5), dtype), np.zeros(11, dtype)
    kernels.linear_backward_weight(dweight, dbias, row[np.newaxis], pack(inputs), True)
    np.testing.assert_array_equal(dweight, np.outer(row, inputs))
    np.testing.assert_array_equal(dbias, row)


@pytest.mark.parametrize("accumulate", [False, True])
def test_no_bias_is_an_empty_array(accumulate: bool, dtype: type) -> None:
    doutput, inputs = draw(dtype, 4, 3), pack(draw(dtype, 4, 5))
    with_bias, without = np.zeros((2, 3, 5), dtype)
    kernels.linear_backward_weight(with_bias, np.zeros(3, dtype), doutput, inputs, accumulate)
    kernels.linear_backward_weight(without, np.zeros(0, dtype), doutput, inputs, accumulate)
    assert with_bias.tobytes() == without.tobytes()


def test_without_inputs_the_bias_is_all(dtype: type) -> None:
    bias, output, row = draw(dtype, 3), np.empty((2, 3), dtype), np.empty(3, dtype)
    kernels.linear_forward(output, np.empty((2, 0), dtype), pack(np.empty((0, 3), dtype)), bias)
    kernels.linear_forward_vector(row, np.empty(0, dtype), np.empty((3, 0), dtype), bias)
    assert (output == bias).all()
    assert (row == bias).all()


def test_without_inputs_the_gradient_is_that_of_the_bias(dtype: type) -> None:
    doutput, dbias = draw(dtype, 4, 3), np.full(3, np.nan, dtype)
    kernels.linear_backward_weight(np.empty((3, 0), dtype), dbias, doutput, pack(np.empty((4, 0), dtype)), False)
    np.testing.assert_allclose(dbias, doutput.sum(axis=0), 1e-6)


def test_without_outputs_the_gradient_of_the_inputs_is_zero(dtype: type) -> None:
    dinputs = np.full((2, 3), np.nan, dtype)
    kernels.linear_backward(dinputs, np.empty((2, 0), dtype), pack(np.empty((0, 3), dtype)))
    assert (dinputs == 0).all()


@pytest.mark.parametrize(("accumulate", "expected"), [(False, 0), (True, 1)])
def test_without_rows_there_is_no_gradient_to_add(accumulate: bool, expected: float, dtype: type) -> None:
    dweight, dbias = np.ones((3, 5), dtype), np.ones(3, dtype)
    kernels.linear_backward_weight(
        dweight, dbias, np.empty((0, 3), dtype), pack(np.empty((0, 5), dtype)), accumulate
    )  # fmt: skip
    assert (dweight == expected).all()
    assert (dbias == expected).all()


@pytest.mark.parametrize(("N", "H"), [(1, 1), (1, 7), (5, 1), (4, 33)])
def test_tanh(N: int, H: int, dtype: type, rtol: float) -> None:
    inputs, dhidden = draw(dtype, N, H), draw(dtype, N, H + 1)[:, 1:].copy()
    hidden, dinputs = inputs.copy(), np.full((N, H), np.nan, dtype)
    kernels.tanh_forward(hidden)
    kernels.tanh_backward(dinputs, dhidden, hidden)
    np.testing.assert_allclose(hidden, reference.tanh_forward(wide(inputs)), rtol)
    np.testing.assert_allclose(dinputs, reference.tanh_backward(wide(dhidden), wide(hidden)), rtol, atol=rtol)
    kernels.tanh_backward(dhidden, dhidden, hidden)
    assert dhidden.tobytes() == dinputs.tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_row(bad: float, dtype: type) -> None:
    inputs = np.ones((3, 4), dtype)
    inputs[1, 2] = bad
    output, row = np.empty((3, 2), dtype), np.empty(2, dtype)
    kernels.linear_forward(output, inputs, pack(np.ones((4, 2), dtype)), np.zeros(2, dtype))
    kernels.linear_forward_vector(row, inputs[1], np.ones((2, 4), dtype), np.zeros(2, dtype))
    assert not np.isfinite(output[1]).any()
    assert not np.isfinite(row).any()
    assert (output[[0, 2]] == 4).all()
