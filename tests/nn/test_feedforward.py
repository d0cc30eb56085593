"""Layer normalisation, activations and residual layers: oracles, gradients, any number of threads."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference
from gradcheck import check_gradient

from fastlm.nn.feedforward import ACTIVATIONS, LayerNorm, ResidualLayer
from fastlm.nn.parameters import RandomParameters
from fastlm.nn.workspace import Workspace

Make = Callable[..., Workspace]
SHAPES = [(1, 1), (1, 7), (5, 1), (6, 33)]
FUNCTIONS: dict[str, Any] = {
    "tanh": reference.tanh_forward,
    "relu": reference.relu_forward,
    "gelu": reference.gelu_forward,
}


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape)


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_layer_norm(make_workspace: Make, shape: tuple[int, int]) -> None:
    N, H = shape
    layer, workspace = LayerNorm("norm", H, RandomParameters(5, np.float64)), make_workspace()
    layer.gain.value[:], layer.bias.value[:] = draw(H), draw(H + 1)[1:]
    inputs, doutput = draw(N, H), draw(H, N).T.copy()
    expected = reference.layer_norm_forward(inputs, layer.gain.value, layer.bias.value)
    assert_close(layer.forward(inputs, workspace), expected)
    assert_close(layer.forward_vector(inputs[0]), expected[0])
    gradients = reference.layer_norm_backward(doutput, inputs, layer.gain.value)
    assert_close(layer.backward(doutput, workspace), gradients[0])
    assert_close(layer.gain.gradient, gradients[1])
    assert_close(layer.bias.gradient, gradients[2])
    layer.backward(doutput, workspace)
    assert_close(layer.gain.gradient, 2 * gradients[1])
    assert_close(layer.bias.gradient, 2 * gradients[2])


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_activations(make_workspace: Make, name: str, shape: tuple[int, int]) -> None:
    layer, workspace = ACTIVATIONS[name](name), make_workspace()
    inputs, doutput = draw(*shape), draw(*shape[::-1]).T.copy()

    def loss() -> float:
        return float((layer.forward(inputs.copy(), workspace) * doutput).sum())

    assert_close(layer.forward(inputs.copy(), workspace), FUNCTIONS[name](inputs))
    assert_close(layer.forward_vector(inputs[0].copy()), FUNCTIONS[name](inputs[0]))
    dinputs = layer.backward(doutput.copy(), workspace)
    check_gradient(loss, inputs, dinputs)


def residual(dtype: type = np.float64, *, size: int = 5, activation: str = "gelu", dropout: float = 0.0) -> Any:
    layer = ResidualLayer("layer", size, RandomParameters(5, dtype), activation=activation, dropout=dropout)
    for parameter in layer.parameters:
        if parameter.value.ndim == 1:
            parameter.value[:] = draw(*parameter.value.shape)
    return layer


@pytest.mark.parametrize("activation", FUNCTIONS)
def test_a_residual_layer_against_the_oracle(make_workspace: Make, activation: str) -> None:
    layer, inputs = residual(activation=activation), draw(4, 5)
    p = {parameter.name: parameter.value for parameter in layer.parameters}
    inner = FUNCTIONS[activation](reference.linear_forward(inputs, p["layer.inner.weight"], p["layer.inner.bias"]))
    outer = reference.linear_forward(inner, p["layer.outer.weight"], p["layer.outer.bias"])
    expected = reference.layer_norm_forward(inputs + outer, p["layer.norm.gain"], p["layer.norm.bias"])
    assert_close(layer.forward(inputs, make_workspace()), expected)
    for row, right in zip(inputs, expected, strict=True):
        assert_close(layer.forward_vector(row), right)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("activation", FUNCTIONS)
def test_gradients_of_a_residual_layer(make_workspace: Make, activation: str, dropout: float) -> None:
    layer, workspace = residual(activation=activation, dropout=dropout), make_workspace()
    inputs, doutput = draw(3, 5), draw(5, 3).T.copy()

    def loss() -> float:
        return float((layer.forward(inputs, workspace) * doutput).sum())

    loss()
    dinputs = layer.backward(doutput, workspace).copy()
    check_gradient(loss, inputs, dinputs)
    for parameter in layer.parameters:
        check_gradient(loss, parameter.value, parameter.gradient)


def test_dropout_is_for_training_alone(make_workspace: Make) -> None:
    layer, inputs = residual(dropout=0.5), draw(4, 5)
    plain = residual().forward(inputs, make_workspace())
    assert_close(layer.forward(inputs, make_workspace(training=False)), plain)
    assert not np.allclose(layer.forward(inputs, make_workspace()), plain)


@pytest.mark.usefixtures("fine_shares")
@pytest.mark.parametrize("activation", FUNCTIONS)
def test_the_same_bytes_for_any_number_of_threads(make_workspace: Make, activation: str) -> None:
    results = set()
    for threads in (1, 2, 3, 7):
        layer = residual(np.float32, size=40, activation=activation, dropout=0.3)
        workspace = make_workspace(np.float32, threads=threads)
        inputs, doutput = draw(37, 40).astype(np.float32), draw(40, 37).T.astype(np.float32).copy()
        output = layer.forward(inputs, workspace)
        dinputs = layer.backward(doutput, workspace)
        workspace.workers.finish()
        gradients = [parameter.gradient for parameter in layer.parameters]
        results.add(tuple(array.tobytes() for array in [output, dinputs, *gradients]))
    assert len(results) == 1
