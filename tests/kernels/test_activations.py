"""Activations and layer normalisation against their oracles."""

import numpy as np
import pytest
import reference

from fastlm import kernels

TYPES = [(np.float32, 1e-5), (np.float64, 1e-12)]
SHAPES = [(1, 1), (1, 7), (5, 1), (4, 33), (3, 300)]


@pytest.fixture(params=TYPES, ids=["float32", "float64"])
def rtol(request: pytest.FixtureRequest) -> float:
    return request.param[1]


@pytest.fixture
def dtype(rtol: float) -> type:
    return np.float32 if rtol > 1e-6 else np.float64


def draw(dtype: type, *shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(scale=2.0, size=shape).astype(dtype)


def wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["relu", "gelu"])
def test_activations(name: str, shape: tuple[int, int], dtype: type, rtol: float) -> None:
    inputs, doutput, output = draw(dtype, *shape), draw(dtype, *shape[::-1]).T.copy(), np.full(shape, np.nan, dtype)
    getattr(kernels, f"{name}_forward")(output, inputs)
    np.testing.assert_allclose(output, getattr(reference, f"{name}_forward")(wide(inputs)), rtol, atol=rtol)
    dinputs = np.full(shape, np.nan, dtype)
    getattr(kernels, f"{name}_backward")(dinputs, doutput, output if name == "relu" else inputs)
    expected = getattr(reference, f"{name}_backward")(wide(doutput), wide(inputs))
    np.testing.assert_allclose(dinputs, expected, rtol, atol=rtol)


@pytest.mark.parametrize("name", ["relu", "gelu"])
def test_activations_far_from_zero(name: str, dtype: type) -> None:
    inputs = np.array([[-1e4, -30.0, 0.0, 30.0, 1e4]], dtype)
    output = np.empty_like(inputs)
    getattr(kernels, f"{name}_forward")(output, inputs)
    np.testing.assert_array_equal(output, [[0, 0, 0, 30, 1e4]])
    dinputs = np.empty_like(inputs)
    getattr(kernels, f"{name}_backward")(dinputs, np.ones_like(inputs), output if name == "relu" else inputs)
    np.testing.assert_array_equal(dinputs[0, [0, 1, 3, 4]], [0, 0, 1, 1])


@pytest.mark.parametrize("name", ["relu", "gelu"])
def test_nan_is_seen(name: str, dtype: type) -> None:
    inputs = np.array([[1.0, np.nan]], dtype)
    output = np.empty_like(inputs)
    getattr(kernels, f"{name}_forward")(output, inputs)
    assert np.isnan(output).tolist() == [[False, True]]


@pytest.mark.parametrize("shape", SHAPES)
def test_layer_norm(shape: tuple[int, int], dtype: type, rtol: float) -> None:
    (N, H), inputs = shape, draw(dtype, *shape) + dtype(3)
    gain, bias, doutput = draw(dtype, H), draw(dtype, H + 1)[1:].copy(), draw(dtype, H, N).T.copy()
    output, normalised, scales = (np.full(size, np.nan, dtype) for size in (shape, shape, N))
    kernels.layer_norm_forward(output, normalised, scales, inputs, gain, bias, 1e-5)
    expected = reference.layer_norm_forward(wide(inputs), wide(gain), wide(bias))
    np.testing.assert_allclose(output, expected, 10 * rtol, atol=10 * rtol)
    dinputs, dgain, dbias = np.full(shape, np.nan, dtype), np.full(H, np.nan, dtype), np.full(H, np.nan, dtype)
    kernels.layer_norm_backward(dinputs, dgain, dbias, doutput, normalised, scales, gain, False)
    gradients = reference.layer_norm_backward(wide(doutput), wide(inputs), wide(gain))
    for gradient, right in zip((dinputs, dgain, dbias), gradients, strict=True):
        np.testing.assert_allclose(gradient, right, 10 * rtol, atol=20 * rtol)


def test_layer_norm_does_not_see_shift_and_scale(dtype: type) -> None:
    inputs, scales = draw(dtype, 4, 50), np.empty(4, dtype)
    ones, zeros = np.ones(50, dtype), np.zeros(50, dtype)
    one, other, normalised = np.empty((3, 4, 50), dtype)
    kernels.layer_norm_forward(one, normalised, scales, inputs, ones, zeros, 1e-9)
    kernels.layer_norm_forward(other, normalised, scales, dtype(8) * inputs + dtype(2), ones, zeros, 1e-9)
    np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(one.std(axis=1), 1, rtol=1e-4)


def test_a_row_without_variance_gives_the_bias(dtype: type) -> None:
    output, normalised, scales = np.empty((1, 5), dtype), np.empty((1, 5), dtype), np.empty(1, dtype)
    bias = draw(dtype, 5)
    kernels.layer_norm_forward(output, normalised, scales, np.full((1, 5), 7, dtype), np.ones(5, dtype), bias, 1e-5)
    np.testing.assert_array_equal(output[0], bias)
