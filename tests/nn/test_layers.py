"""Every layer against its oracle, its numerical gradient, and itself with other numbers of threads."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import reference
from gradcheck import check_gradient

from fastlm.nn.layers import Dropout, Embedding, Layer, Linear, Tanh, WordDropout
from fastlm.nn.parameters import RandomParameters, Rows
from fastlm.nn.workspace import Workspace

Make = Callable[..., Workspace]
THREADS = [1, 2, 3, 7]
SOURCE = RandomParameters(5, np.float64)


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape)


def clear(layer: Layer) -> None:
    for parameter in layer.parameters:
        parameter.clear_gradient()


def random_biases(layer: Layer) -> Layer:
    """Give every parameter a value other than zero, so that a forgotten one shows."""
    for parameter in layer.parameters:
        if parameter.value.ndim == 1:
            parameter.value[:] = draw(*parameter.value.shape)
    return layer


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-11)


# Embedding


@pytest.mark.parametrize(("N", "V", "D"), [(1, 1, 1), (7, 5, 3), (300, 11, 17)])
def test_embedding(make_workspace: Make, N: int, V: int, D: int) -> None:
    layer, workspace = Embedding("embedding", V, D, SOURCE), make_workspace()
    ids = np.random.default_rng(N).integers(0, V, N).astype(np.int32)
    doutput = draw(N, D)
    assert_close(layer.forward(ids, workspace), reference.embedding_forward(ids, layer.weight.value))
    for _ in range(2):  # the second time with used scratch
        layer.backward(doutput, workspace)
        gradient = layer.weight.gradient
        assert isinstance(gradient, Rows)
        assert len(set(gradient.ids.tolist())) == len(gradient.ids) == len(set(ids.tolist()))
        dense = np.zeros((V, D))
        dense[gradient.ids] = gradient.values
        assert_close(dense, reference.embedding_backward(doutput, ids, V))
        clear(layer)


def test_no_array_as_large_as_the_table_is_made_for_its_gradient(make_workspace: Make) -> None:
    layer, workspace = Embedding("embedding", 20_000, 50, SOURCE), make_workspace()
    tracemalloc.start()
    layer.forward(np.array([3, 19_999, 3], np.int32), workspace)
    layer.backward(np.ones((3, 50)), workspace)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(layer.weight.gradient, Rows)
    assert layer.weight.gradient.values.shape == (2, 50)
    assert peak < layer.weight.value.nbytes / 20


@pytest.mark.parametrize("wrong", [-1, 5, 2**31 - 1])
def test_ids_out_of_range(make_workspace: Make, wrong: int) -> None:
    layer = Embedding("embedding", 5, 3, SOURCE)
    with pytest.raises(ValueError, match=r"ids are from .*, expected 0 to 4"):
        layer.forward(np.array([2, wrong, 3], np.int32), make_workspace())


# Linear and Tanh


@pytest.mark.parametrize(("N", "D", "H"), [(1, 1, 1), (3, 5, 7), (300, 9, 201)])
def test_linear_against_the_oracle(make_workspace: Make, N: int, D: int, H: int) -> None:
    layer, workspace = Linear("hidden", D, H, SOURCE), make_workspace()
    random_biases(layer)
    inputs, doutput = draw(N, D), draw(N, H)
    weight, bias = layer.weight.value, layer.bias.value
    assert_close(layer.forward(inputs, workspace), reference.linear_forward(inputs, weight, bias))
    dinputs, dweight, dbias = reference.linear_backward(doutput, inputs, weight)
    assert_close(layer.backward(doutput, workspace), dinputs)
    assert_close(layer.weight.gradient, dweight)
    assert_close(layer.bias.gradient, dbias)
    layer.backward(doutput, workspace)  # parameter gradients are added up
    assert_close(layer.weight.gradient, 2 * dweight)
    assert_close(layer.bias.gradient, 2 * dbias)


def test_linear_and_tanh_against_numbers(make_workspace: Make) -> None:
    linear, tanh, workspace = Linear("hidden", 3, 5, SOURCE), Tanh("tanh"), make_workspace()
    random_biases(linear)
    inputs, doutput = draw(4, 3), draw(4, 5)

    def loss() -> float:
        return float((tanh.forward(linear.forward(inputs, workspace), workspace) * doutput).sum())

    loss()
    dinputs = linear.backward(tanh.backward(doutput.copy(), workspace), workspace).copy()
    check_gradient(loss, inputs, dinputs)
    check_gradient(loss, linear.weight.value, linear.weight.gradient)
    check_gradient(loss, linear.bias.value, linear.bias.gradient)


def test_tanh_overwrites(make_workspace: Make) -> None:
    layer, workspace = Tanh("tanh"), make_workspace()
    x, dy = draw(3, 4), draw(3, 5)[:, :4].copy()
    y, dx = reference.tanh_forward(x), None
    dx = reference.tanh_backward(dy, y)
    assert layer.forward(x, workspace) is x
    assert_close(x, y)
    assert layer.backward(dy, workspace) is dy
    assert_close(dy, dx)


# Dropout


def test_dropout_scales_what_it_keeps(make_workspace: Make) -> None:
    layer, workspace = Dropout("dropout", 0.25), make_workspace()
    output = layer.forward(np.ones((1, 40_000)), workspace)
    assert set(np.unique(output)) == {0.0, 1 / 0.75}
    assert abs((output == 0).mean() - 0.25) < 6 * np.sqrt(0.25 * 0.75 / 40_000)


def test_dropout_holds_one_mask_for_all_rows(make_workspace: Make) -> None:
    output = Dropout("dropout", 0.5).forward(np.ones((6, 50)), make_workspace())
    assert (output == output[0]).all()
    assert 0 < (output[0] == 0).sum() < 50


def test_dropout_backward_has_the_mask_of_its_forward(make_workspace: Make) -> None:
    layer, workspace = Dropout("dropout", 0.5), make_workspace()
    inputs, doutput = draw(3, 8), draw(4, 8)[:3].copy()

    def loss() -> float:
        return float((layer.forward(inputs, workspace) * doutput).sum())

    loss()
    check_gradient(loss, inputs, layer.backward(doutput.copy(), workspace))


def test_every_step_and_layer_has_a_mask_of_its_own(make_workspace: Make) -> None:
    workspace = make_workspace()
    masks = set()
    for step in range(3):
        workspace.step = step
        for name in ("embedding_dropout", "hidden_dropout"):
            for _ in range(2):
                masks.add(Dropout(name, 0.5).forward(np.ones((1, 100)), workspace).tobytes())
    assert len(masks) == 6


@pytest.mark.parametrize(("rate", "training"), [(0.0, True), (0.5, False)])
def test_dropout_that_is_off_changes_nothing(make_workspace: Make, rate: float, training: bool) -> None:
    layer, workspace = Dropout("dropout", rate), make_workspace(training=training)
    inputs, doutput = draw(3, 4), draw(3, 5)[:, :4].copy()
    before, dbefore = inputs.copy(), doutput.copy()
    np.testing.assert_array_equal(layer.forward(inputs, workspace), before)
    np.testing.assert_array_equal(layer.backward(doutput, workspace), dbefore)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_dropout_rates(rate: float) -> None:
    with pytest.raises(ValueError, match=r"dropout is .*, expected 0 <= dropout < 1"):
        Dropout("dropout", rate)


def test_words_are_dropped_whole_and_wherever_they_stand(make_workspace: Make) -> None:
    layer, workspace = WordDropout("word_dropout", 0.4), make_workspace()
    ids = np.random.default_rng(2).integers(0, 100, 400).astype(np.int32)
    output = layer.forward(np.ones((400, 3)), ids, workspace)
    kept = {id: {float(value) for value in output[ids == id].reshape(-1)} for id in set(ids.tolist())}
    assert set(map(len, kept.values())) == {1}
    assert set.union(*kept.values()) == {0.0, 1 / 0.6}
    again = layer.forward(np.ones((100, 3)), np.arange(100, dtype=np.int32), workspace)
    assert all({again[id, 0]} == values for id, values in kept.items())
    workspace.step += 1
    assert (layer.forward(np.ones((400, 3)), ids, workspace) != output).any()


def test_word_dropout_backward_drops_the_same_words(make_workspace: Make) -> None:
    layer, workspace = WordDropout("word_dropout", 0.5), make_workspace()
    ids, inputs, doutput = np.array([3, 1, 3, 2, 0], np.int32), draw(5, 4), draw(4, 5).T.copy()

    def loss() -> float:
        return float((layer.forward(inputs.copy(), ids, workspace) * doutput).sum())

    loss()
    check_gradient(loss, inputs, layer.backward(doutput.copy(), workspace))


@pytest.mark.parametrize(("rate", "training"), [(0.0, True), (0.5, False)])
def test_word_dropout_that_is_off_changes_nothing(make_workspace: Make, rate: float, training: bool) -> None:
    layer, workspace = WordDropout("word_dropout", rate), make_workspace(training=training)
    inputs = draw(3, 4)
    assert layer.forward(inputs, np.arange(3, dtype=np.int32), workspace) is inputs
    assert (layer.backward(draw(3, 4), workspace) == draw(3, 4)).all()


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_rates_of_word_dropout(rate: float) -> None:
    with pytest.raises(ValueError, match=r"word_dropout is .*, expected 0 <= word_dropout < 1"):
        WordDropout("word_dropout", rate)


# Threads


@pytest.mark.usefixtures("fine_shares")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_linear_gives_the_same_bytes_for_any_number_of_threads(make_workspace: Make, dtype: type) -> None:
    layer = Linear("hidden", 33, 201, RandomParameters(1, dtype))
    inputs, doutput = draw(515, 33).astype(dtype), draw(515, 201).astype(dtype)
    results = set()
    for threads in THREADS:
        workspace = make_workspace(dtype, threads=threads)
        clear(layer)
        output = layer.forward(inputs, workspace).tobytes()
        dinputs = layer.backward(doutput, workspace).tobytes()
        workspace.workers.finish()
        results.add((output, dinputs, *(p.gradient.tobytes() for p in layer.parameters)))
    assert len(results) == 1
