"""Windows over runs and averages beyond them: oracles, gradients, and the same bytes for any number of threads."""

from collections.abc import Callable

import numpy as np
import pytest
import reference
from gradcheck import check_gradient

from fastlm.nn.layers import Linear
from fastlm.nn.parameters import RandomParameters
from fastlm.nn.window import DistantAverages, Window
from fastlm.nn.workspace import Workspace

Make = Callable[..., Workspace]
SHAPES = [(1, 1, 1, 1, 1, 0), (6, 1, 3, 5, 4, 0), (6, 1, 3, 5, 4, 2), (1, 9, 2, 3, 5, 0), (3, 20, 4, 33, 40, 7)]
AVERAGES = [(1, 1, 1, 1, 1), (2, 3, 1, 4, 5), (3, 2, 2, 5, 3), (2, 9, 3, 33, 4)]  # B, T, K, D, size


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape)


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_window_against_the_oracle(make_workspace: Make, shape: tuple[int, ...]) -> None:
    B, T, size, D, H, before = shape
    layer, workspace = Window("hidden", size, D, H, RandomParameters(5, np.float64)), make_workspace()
    layer.bias.value[:] = draw(H)
    runs, doutput = draw(B, before + T + size - 1, D), draw(B * T, H)
    windows = reference.windows(runs, size, T).reshape(B * T, size * D)
    output = layer.forward(runs, T, workspace)
    assert_close(output, reference.linear_forward(windows, layer.weight.value, layer.bias.value))
    assert_close(layer.forward_vector(runs[-1, -size:]), output[-1])
    dwindows, dweight, dbias = reference.linear_backward(doutput, windows, layer.weight.value)
    druns = reference.windows_backward(dwindows.reshape(B, T, -1), size, runs.shape[1])
    assert_close(layer.backward(doutput, workspace), druns)
    assert_close(layer.weight.gradient, dweight)
    assert_close(layer.bias.gradient, dbias)
    layer.backward(doutput, workspace)  # parameter gradients are added up
    assert_close(layer.weight.gradient, 2 * dweight)
    assert_close(layer.bias.gradient, 2 * dbias)


def test_one_window_a_run_is_a_linear_layer(make_workspace: Make) -> None:
    """To the bit: that is the textbook model."""
    window = Window("hidden", 3, 5, 7, RandomParameters(5, np.float32))
    linear = Linear("hidden", 15, 7, RandomParameters(5, np.float32))
    runs, doutput = draw(20, 3, 5).astype(np.float32), draw(20, 7).astype(np.float32)
    one, other = make_workspace(np.float32), make_workspace(np.float32)
    assert window.weight.value.tobytes() == linear.weight.value.tobytes()
    outputs = [window.forward(runs, 1, one), linear.forward(runs.reshape(20, 15), other)]
    gradients = [window.backward(doutput, one), linear.backward(doutput, other)]
    assert outputs[0].tobytes() == outputs[1].tobytes()
    assert gradients[0].tobytes() == gradients[1].tobytes()
    assert window.weight.gradient.tobytes() == linear.weight.gradient.tobytes()


@pytest.mark.parametrize("shape", AVERAGES, ids=str)
def test_averages_against_the_oracle_and_numbers(make_workspace: Make, shape: tuple[int, ...]) -> None:
    B, T, K, D, size = shape
    layer, workspace = DistantAverages("averages", K, size, D, RandomParameters(5, np.float64)), make_workspace()
    assert layer.num_words == size * (2**K - 1)
    runs, doutput = draw(B, T + layer.num_words + size - 1, D), draw(B * T, K * D)
    druns = np.ones_like(runs)

    def loss() -> float:
        return float((layer.forward(runs, T, workspace) * doutput).sum())

    expected = reference.distant_averages(runs, layer.weight.value, layer.ends, T).reshape(B * T, -1)
    output = layer.forward(runs, T, workspace)
    assert_close(output, expected)
    assert_close(layer.forward_vector(runs[0, : layer.num_words]), output[0])
    layer.backward(doutput, druns, workspace)
    workspace.workers.finish()
    gradient = np.array(layer.weight.gradient)
    check_gradient(loss, runs, druns - 1, sample=60)
    check_gradient(loss, layer.weight.value, gradient, sample=60)
    layer.backward(doutput, druns, workspace)
    assert_close(layer.weight.gradient, 2 * gradient)


def test_new_averages_vary_as_much_as_a_word(make_workspace: Make) -> None:
    layer = DistantAverages("averages", 3, 8, 50, RandomParameters(5, np.float64))
    assert layer.ends.tolist() == [32, 48, 56]
    words = np.random.default_rng(1).normal(size=(1, 300, 50))
    averages = layer.forward(words, 200, make_workspace()).reshape(200, 3, 50)
    np.testing.assert_allclose(averages.std(axis=(0, 2)), 1, rtol=0.1)


@pytest.mark.usefixtures("fine_shares")
def test_the_same_bytes_for_any_number_of_threads(make_workspace: Make) -> None:
    results = set()
    for threads in (1, 2, 3, 7):
        source, workspace = RandomParameters(5, np.float32), make_workspace(np.float32, threads=threads)
        window, averages = Window("hidden", 4, 20, 30, source), DistantAverages("averages", 2, 4, 20, source)
        runs = draw(5, 40, 20).astype(np.float32)
        outputs = [window.forward(runs, 20, workspace), averages.forward(runs, 20, workspace)]
        druns = window.backward(draw(100, 30).astype(np.float32), workspace)
        averages.backward(draw(100, 40).astype(np.float32), druns, workspace)
        workspace.workers.finish()
        gradients = [p.gradient for p in (*window.parameters, *averages.parameters)]
        results.add(tuple(array.tobytes() for array in [*outputs, druns, *gradients]))
    assert len(results) == 1
