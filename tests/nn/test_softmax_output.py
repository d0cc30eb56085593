"""The full softmax against its oracle, in one part and in many, on one thread and on many."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import pytest
import reference
from gradcheck import check_gradient

from fastlm.nn.optimizers import gradient_norm
from fastlm.nn.outputs import Softmax, softmax
from fastlm.nn.parallel import Workers
from fastlm.nn.parameters import RandomParameters
from fastlm.nn.products import uses_tiles
from fastlm.nn.workspace import Workspace

Make = Callable[..., Workspace]
Busy = Callable[[Workers], AbstractContextManager[None]]
SHAPES = [(1, 1, 2), (1, 3, 5), (7, 1, 11), (5, 4, 1025), (140, 7, 2053)]  # N, H, V


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape)


def make(N: int, H: int, V: int, dtype: type = np.float64) -> tuple[Softmax, np.ndarray, np.ndarray]:
    """Make a layer with rows of hidden units and their targets; about a third of the rows have none."""
    layer = Softmax("output", H, V, RandomParameters(2, dtype))
    layer.bias.value[:] = draw(V)
    random = np.random.default_rng(N)
    targets = np.where(random.random(N) < 0.3, -1, random.integers(0, V, N)).astype(np.int32)
    targets[-1] = V - 1
    return layer, (3 * draw(N, H)).astype(dtype), targets


def assert_close(actual: np.ndarray | float, expected: np.ndarray | float) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-12)


def assert_squares(layer: Softmax) -> None:
    """Assert that the sums of squares that the weight's gradient comes with are its own."""
    rows = layer.weight.gradient.astype(np.float64)
    block = softmax.TILES_BLOCK if uses_tiles(layer.weight.value.dtype) else softmax.BLOCK
    expected = [(rows[start : start + block] ** 2).sum() for start in range(0, len(rows), block)]
    np.testing.assert_allclose(layer.weight.gradient_squares, expected, 1e-12)
    assert layer.bias.gradient_squares is None
    with Workers(1) as workers:
        norm = gradient_norm(layer.parameters, workers)
        layer.weight.gradient_squares = None
        assert norm == pytest.approx(gradient_norm(layer.parameters, workers), rel=1e-12)


@pytest.mark.parametrize("at_once", [1, 3, 64, 10_000])
@pytest.mark.parametrize("shape", SHAPES)
def test_loss_and_gradients(
    make_workspace: Make, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int, int], at_once: int
) -> None:
    monkeypatch.setattr(softmax, "LARGEST", at_once * shape[2])
    layer, hidden, targets = make(*shape)
    weight, bias = layer.weight.value, layer.bias.value
    loss, dhidden = layer.loss_and_gradient(hidden, targets, 0.25, make_workspace())
    assert_close(loss, reference.softmax_loss(hidden, targets, weight, bias))
    expected = reference.softmax_loss_backward(hidden, targets, weight, bias)
    assert_close(dhidden, 0.25 * expected[0])
    assert_close(layer.weight.gradient, 0.25 * expected[1])
    assert_close(layer.bias.gradient, 0.25 * expected[2])
    assert_squares(layer)


@pytest.mark.parametrize(("N", "H", "V"), SHAPES[:3])
def test_gradients_against_numbers(make_workspace: Make, N: int, H: int, V: int) -> None:
    layer, hidden, targets = make(N, H, V)
    workspace = make_workspace()
    _, dhidden = layer.loss_and_gradient(hidden, targets, 1.0, workspace)
    gradients = [array.copy() for array in (dhidden, layer.weight.gradient, layer.bias.gradient)]

    def loss() -> float:
        return -float(layer.target_log_probs(hidden, targets, workspace).sum())

    for array, gradient in zip((hidden, layer.weight.value, layer.bias.value), gradients, strict=True):
        check_gradient(loss, array, gradient)


def test_gradients_are_added_to_the_parameters(make_workspace: Make) -> None:
    layer, hidden, targets = make(5, 3, 7)
    workspace = make_workspace()
    layer.loss_and_gradient(hidden, targets, 1.0, workspace)
    once = [p.gradient.copy() for p in layer.parameters]
    layer.loss_and_gradient(hidden, targets, 1.0, workspace)
    for parameter, gradient in zip(layer.parameters, once, strict=True):
        assert_close(parameter.gradient, 2 * gradient)
    assert_squares(layer)


def test_rows_without_a_target_have_neither_loss_nor_gradient(make_workspace: Make) -> None:
    layer, hidden, _ = make(4, 3, 7)
    targets = np.full(4, -1, np.int32)
    loss, dhidden = layer.loss_and_gradient(hidden, targets, 1.0, make_workspace())
    assert loss == 0
    assert not dhidden.any()
    assert not any(p.gradient.any() for p in layer.parameters)
    assert not layer.target_log_probs(hidden, targets, make_workspace()).any()


@pytest.mark.parametrize(("N", "H", "V"), SHAPES)
def test_log_probabilities(make_workspace: Make, N: int, H: int, V: int) -> None:
    layer, hidden, targets = make(N, H, V)
    expected = reference.log_softmax(reference.linear_forward(hidden, layer.weight.value, layer.bias.value))
    log_probs = layer.log_probs(hidden)
    assert_close(log_probs, expected)
    assert_close(np.exp(log_probs).sum(axis=1), np.ones(N))
    chosen = layer.target_log_probs(hidden, targets, make_workspace())
    assert_close(chosen, np.where(targets < 0, 0, expected[np.arange(N), targets]))


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("held", [False, True])
def test_log_probabilities_that_are_put_off(make_workspace: Make, busy: Busy, threads: int, held: bool) -> None:
    """Those of several batches, each in a workspace of its own; while they are put off, there is no telling."""
    layer, hidden, targets = make(200, 7, 253)
    expected = layer.target_log_probs(hidden, targets, make_workspace()).copy()
    first = make_workspace(threads=threads)
    second = Workspace(np.float64, first.workers)
    with busy(first.workers) if held else nullcontext():
        one = layer.target_log_probs(hidden, targets, first, defer=True)
        two = layer.target_log_probs(hidden[50:], targets[50:], second, defer=True)
        first.workers.finish()
    assert one.tobytes() == expected.tobytes()
    assert two.tobytes() == expected[50:].tobytes()


def test_float32_is_near(make_workspace: Make) -> None:
    layer, hidden, targets = make(140, 7, 2053, np.float32)
    wide = [array.astype(np.float64) for array in (hidden, layer.weight.value, layer.bias.value)]
    loss, dhidden = layer.loss_and_gradient(hidden, targets, 1.0, make_workspace(np.float32))
    assert dhidden.dtype == np.float32
    np.testing.assert_allclose(loss, reference.softmax_loss(wide[0], targets, *wide[1:]), rtol=1e-5)
    expected = reference.softmax_loss_backward(wide[0], targets, *wide[1:])
    for actual, gradient in zip((dhidden, *(p.gradient for p in layer.parameters)), expected, strict=True):
        np.testing.assert_allclose(actual, gradient, rtol=1e-3, atol=1e-5)


def test_logits_far_apart_stay_finite(make_workspace: Make) -> None:
    layer, _, _ = make(2, 3, 2053, np.float32)
    hidden = np.array([[3e4, -3e4, 1e4], [-3e4, 3e4, 1e4]], np.float32)
    targets = np.array([0, 2052], np.int32)
    loss, dhidden = layer.loss_and_gradient(hidden, targets, 1.0, make_workspace(np.float32))
    assert np.isfinite(loss)
    assert np.isfinite(dhidden).all()
    np.testing.assert_allclose(np.exp(layer.log_probs(hidden)).sum(axis=1), 1, rtol=1e-5)


@pytest.mark.usefixtures("fine_shares")
@pytest.mark.parametrize("at_once", [100, 10_000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_bytes_for_any_number_of_threads(
    make_workspace: Make, monkeypatch: pytest.MonkeyPatch, dtype: type, at_once: int
) -> None:
    V = 5003
    monkeypatch.setattr(softmax, "LARGEST", at_once * V)
    layer, hidden, targets = make(301, 13, V, dtype)
    results = set()
    for threads in [1, 2, 3, 7]:
        for parameter in layer.parameters:
            parameter.clear_gradient()
        workspace = make_workspace(dtype, threads=threads)
        loss, dhidden = layer.loss_and_gradient(hidden, targets, 1 / 301, workspace)
        workspace.workers.finish()
        chosen = layer.target_log_probs(hidden, targets, workspace)
        gradients = [p.gradient.tobytes() for p in layer.parameters] + [layer.weight.gradient_squares.tobytes()]
        results.add((loss, dhidden.tobytes(), chosen.tobytes(), *gradients))
    assert len(results) == 1


@pytest.mark.parametrize("largest", [1, 33, 64, 100])  # rows at a time, before they are rounded to panels
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("N", [1, 33, 66, 200, 301])
@pytest.mark.parametrize("threads", [1, 2])
def test_turns_give_what_one_turn_gives(
    make_workspace: Make, monkeypatch: pytest.MonkeyPatch, busy: Busy, threads: int, N: int, dtype: type, largest: int
) -> None:
    """Also where all that can be put off is put off, because the other threads are busy."""
    V, calls = 253, []
    layer, hidden, targets = make(N, 13, V, dtype)
    one = make_workspace(dtype)
    loss, dhidden = layer.loss_and_gradient(hidden, targets, 1 / N, one)
    gradients = [p.gradient.copy() for p in layer.parameters]
    for parameter in layer.parameters:
        parameter.clear_gradient()
        parameter.dense_gradient()[0][:] = np.nan  # what the step before has left
        parameter.clear_gradient()

    monkeypatch.setattr(softmax, "LARGEST", largest * V)
    some_rows = layer._some_rows
    monkeypatch.setattr(layer, "_some_rows", lambda *given: calls.append(len(given[1])) or some_rows(*given))
    many = make_workspace(dtype, threads=threads)
    with busy(many.workers):
        loss_of_turns, dhidden_of_turns = layer.loss_and_gradient(hidden, targets, 1 / N, many)
        many.workers.finish()
    width = 128 // hidden.itemsize
    assert sum(calls) == N
    assert all(rows % width == 0 for rows in calls[:-1])
    assert max(calls) <= max(largest, width) + width
    assert len(calls) > 1 or max(largest, width) >= N
    assert dhidden_of_turns.tobytes() == dhidden.tobytes()
    np.testing.assert_allclose(loss_of_turns, loss, 1e-6)
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    assert_squares(layer)
    for parameter, gradient in zip(layer.parameters, gradients, strict=True):
        np.testing.assert_allclose(parameter.gradient, gradient, tolerance, atol=tolerance)


def test_no_rows_have_neither_loss_nor_gradient(make_workspace: Make) -> None:
    layer, hidden, targets = make(3, 4, 7)
    loss, dhidden = layer.loss_and_gradient(hidden[:0], targets[:0], 1.0, make_workspace())
    assert loss == 0
    assert dhidden.shape == (0, 4)
    assert layer.target_log_probs(hidden[:0], targets[:0], make_workspace()).shape == (0,)


def test_the_bias_starts_at_the_unigrams() -> None:
    counts = np.array([3, 0, 5, 1], np.int64)
    layer = Softmax("output", 2, 4, RandomParameters(1, np.float64), counts)
    assert_close(np.exp(layer.bias.value), (counts + 1) / (counts.sum() + 4))
    even = Softmax("output", 2, 4, RandomParameters(1, np.float64))
    assert_close(np.exp(even.bias.value), np.full(4, 0.25))


@pytest.mark.parametrize("wrong", [-2, 7, 2**31 - 1])
def test_targets_out_of_range(make_workspace: Make, wrong: int) -> None:
    layer, hidden, targets = make(4, 3, 7)
    targets[2] = wrong
    for use in (lambda: layer.loss_and_gradient(hidden, targets, 1.0, make_workspace()),
                lambda: layer.target_log_probs(hidden, targets, make_workspace())):  # fmt: skip
        with pytest.raises(ValueError, match=r"targets are from .*, expected -1 to 6"):
            use()
