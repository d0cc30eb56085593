"""The oracles are held to numerical gradients, to figures worked out by hand, and to each other."""

import gradcheck
import numpy as np
import pytest
import reference
from numpy.typing import NDArray

Array = NDArray[np.float64]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_embedding(rng: np.random.Generator) -> None:
    table, ids, dout = rng.normal(size=(6, 3)), np.array([[0, 5], [5, 2]]), rng.normal(size=(2, 2, 3))
    dtable = reference.embedding_backward(dout, ids, 6)
    gradcheck.check_gradient(lambda: float((dout * reference.embedding_forward(ids, table)).sum()), table, dtable)
    assert np.array_equal(dtable[5], dout[0, 1] + dout[1, 0])
    assert not dtable[[1, 3, 4]].any()


def test_linear(rng: np.random.Generator) -> None:
    x, weight, bias, dy = (rng.normal(size=size) for size in ((4, 3), (5, 3), (5,), (4, 5)))

    def loss() -> float:
        return float((dy * reference.linear_forward(x, weight, bias)).sum())

    for array, gradient in zip((x, weight, bias), reference.linear_backward(dy, x, weight), strict=True):
        gradcheck.check_gradient(loss, array, gradient)


def test_tanh(rng: np.random.Generator) -> None:
    x, dy = rng.normal(size=7), rng.normal(size=7)
    dx = reference.tanh_backward(dy, reference.tanh_forward(x))
    gradcheck.check_gradient(lambda: float((dy * np.tanh(x)).sum()), x, dx)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("streams", [1, 3])
def test_elman(rng: np.random.Generator, steps: int, streams: int) -> None:
    x, dhidden = rng.normal(size=(2, steps, streams, 3))
    w_hh, initial = rng.normal(size=(3, 3)), rng.normal(size=(streams, 3))
    resets = rng.random((steps, streams)) < 0.3

    def loss() -> float:
        return float((dhidden * reference.elman_forward(x, w_hh, initial, resets)).sum())

    hidden = reference.elman_forward(x, w_hh, initial, resets)
    gradients = reference.elman_backward(dhidden, hidden, w_hh, initial, resets)
    for array, gradient in zip((x, w_hh, initial), gradients, strict=True):
        gradcheck.check_gradient(loss, array, gradient)


def test_an_elman_reset_forgets_the_past_of_its_stream_only(rng: np.random.Generator) -> None:
    x, w_hh, initial = rng.normal(size=(4, 2, 3)), rng.normal(size=(3, 3)), rng.normal(size=(2, 3))
    resets = np.array([[0, 0], [0, 0], [1, 0], [0, 0]])
    hidden = reference.elman_forward(x, w_hh, initial, resets)
    fresh = reference.elman_forward(x[2:], w_hh, np.zeros((2, 3)), np.zeros((2, 2)))
    assert np.array_equal(hidden[2:, 0], fresh[:, 0])
    carried = reference.elman_forward(x[2:], w_hh, hidden[1], np.zeros((2, 2)))
    assert np.array_equal(hidden[2:, 1], carried[:, 1])


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("streams", [1, 3])
def test_lstm(rng: np.random.Generator, steps: int, streams: int) -> None:
    x, dhidden = rng.normal(size=(steps, streams, 12)), rng.normal(size=(steps, streams, 3))
    w_hh, initial, initial_cell = rng.normal(size=(12, 3)), *rng.normal(size=(2, streams, 3))
    resets = rng.random((steps, streams)) < 0.3

    def loss() -> float:
        return float((dhidden * reference.lstm_forward(x, w_hh, initial, initial_cell, resets)[0]).sum())

    states = reference.lstm_forward(x, w_hh, initial, initial_cell, resets)
    gradients = reference.lstm_backward(dhidden, states, w_hh, initial, initial_cell, resets)
    for array, gradient in zip((x, w_hh, initial, initial_cell), gradients, strict=True):
        gradcheck.check_gradient(loss, array, gradient)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("streams", [1, 3])
def test_gru(rng: np.random.Generator, steps: int, streams: int) -> None:
    x, dhidden = rng.normal(size=(steps, streams, 9)), rng.normal(size=(steps, streams, 3))
    w_hh, initial = rng.normal(size=(9, 3)), rng.normal(size=(streams, 3))
    resets = rng.random((steps, streams)) < 0.3

    def loss() -> float:
        return float((dhidden * reference.gru_forward(x, w_hh, initial, resets)[0]).sum())

    states = reference.gru_forward(x, w_hh, initial, resets)
    gradients = reference.gru_backward(dhidden, states, w_hh, initial, resets)
    for array, gradient in zip((x, w_hh, initial), gradients, strict=True):
        gradcheck.check_gradient(loss, array, gradient)


def squash(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def test_gates_are_the_papers_formulas_written_out_unit_by_unit(rng: np.random.Generator) -> None:
    x, w_hh, h, c = rng.normal(size=12), rng.normal(size=(12, 3)), *rng.normal(size=(2, 3))
    states = reference.lstm_forward(x[None, None], w_hh, h[None], c[None], [[0]])
    for unit in range(3):
        i, f, o, g = (x[gate + unit] + sum(w_hh[gate + unit, j] * h[j] for j in range(3)) for gate in (0, 3, 6, 9))
        cell = squash(f) * c[unit] + squash(i) * np.tanh(g)
        assert states[1][0, 0, unit] == pytest.approx(cell)
        assert states[0][0, 0, unit] == pytest.approx(squash(o) * np.tanh(cell))
    hidden, _ = reference.gru_forward(x[None, None, :9], w_hh[:9], h[None], [[0]])
    for unit in range(3):
        r, z, product = (sum(w_hh[gate + unit, j] * h[j] for j in range(3)) for gate in (0, 3, 6))
        reset, update = squash(x[unit] + r), squash(x[3 + unit] + z)
        candidate = np.tanh(x[6 + unit] + reset * product)
        assert hidden[0, 0, unit] == pytest.approx(update * h[unit] + (1 - update) * candidate)


def test_softmax_loss(rng: np.random.Generator) -> None:
    hidden, weight, bias = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)), rng.normal(size=7)
    targets = np.array([6, -1, 0, 0, 3])

    def loss() -> float:
        return reference.softmax_loss(hidden, targets, weight, bias)

    gradients = reference.softmax_loss_backward(hidden, targets, weight, bias)
    for array, gradient in zip((hidden, weight, bias), gradients, strict=True):
        gradcheck.check_gradient(loss, array, gradient)
    assert not gradients[0][1].any()
    assert reference.softmax_loss(hidden[:1] * 0, [2], weight, bias * 0) == pytest.approx(np.log(7))
    assert reference.softmax_loss(hidden, [-1] * 5, weight, bias) == 0


def test_log_softmax_does_not_overflow() -> None:
    log_probs = reference.log_softmax(np.array([1e4, 0.0, 1e4]))
    assert log_probs == pytest.approx([-np.log(2), -1e4 - np.log(2), -np.log(2)])


def nnlm_parameters(rng: np.random.Generator, context_size: int) -> dict[str, Array]:
    return {
        "embeddings": rng.normal(size=(7, 2)),
        "hidden_weight": rng.normal(size=(4, 2 * context_size)),
        "hidden_bias": rng.normal(size=4),
        "output_weight": rng.normal(size=(6, 4)),
        "output_bias": rng.normal(size=6),
    }


@pytest.mark.parametrize("direct", [False, True])
def test_nnlm_is_bengios_formula_written_out_word_by_word(rng: np.random.Generator, direct: bool) -> None:
    parameters = nnlm_parameters(rng, context_size=3)
    w_d = rng.normal(size=(6, 6)) if direct else np.zeros((6, 6))
    windows = np.array([[6, 6, 2], [0, 1, 5]])
    table, w_h, b_h, w_y, b_y = parameters.values()
    log_probs = reference.nnlm_log_probs(windows, **parameters, direct_weight=w_d if direct else None)
    for window, row in zip(windows, log_probs, strict=True):
        e = [value for id in window for value in table[id]]
        hidden = [np.tanh(sum(w * v for w, v in zip(w_h[i], e, strict=True)) + b_h[i]) for i in range(4)]
        scores = [np.exp(w_y[word] @ hidden + b_y[word] + w_d[word] @ e) for word in range(6)]
        assert row == pytest.approx(np.log(scores / np.sum(scores)))


@pytest.mark.parametrize(("cell", "gates", "states"), [("elman", 1, 1), ("gru", 3, 1), ("lstm", 4, 2)])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_rnnlm_chunks_with_a_carried_state_equal_one_pass(
    rng: np.random.Generator, cell: str, gates: int, states: int, num_layers: int
) -> None:
    sizes = [((3 * gates, 2 if layer == 0 else 3), (3 * gates,), (3 * gates, 3)) for layer in range(num_layers)]
    layers = [(cell, *(rng.normal(size=size) for size in shapes)) for shapes in sizes]
    table, weight, bias = rng.normal(size=(7, 2)), rng.normal(size=(6, 3)), rng.normal(size=6)
    parameters = {"embeddings": table, "layers": layers, "output_weight": weight, "output_bias": bias}
    inputs, resets = rng.integers(0, 7, (5, 2)), np.array([[1, 1], *[[0, 0]] * 3, [0, 1]])
    initial = np.ones((num_layers, states, 2, 3))
    whole, last = reference.rnnlm_log_probs(inputs, resets, initial, **parameters)
    first, state = reference.rnnlm_log_probs(inputs[:3], resets[:3], initial, **parameters)
    second, state = reference.rnnlm_log_probs(inputs[3:], resets[3:], state, **parameters)
    assert np.array_equal(whole, np.concatenate([first, second]))
    assert np.array_equal(last, state)
    assert np.exp(whole).sum(axis=2) == pytest.approx(np.ones((5, 2)))


@pytest.mark.parametrize("residual", [False, True])
def test_rnnlm_is_mikolovs_formula(rng: np.random.Generator, residual: bool) -> None:
    (w1, w2, u1, u2), (b1, b2) = rng.normal(size=(4, 3, 3)), rng.normal(size=(2, 3))
    table, weight, bias = rng.normal(size=(7, 3)), rng.normal(size=(6, 3)), rng.normal(size=6)
    log_probs, memory = reference.rnnlm_log_probs(
        [[4]], [[0]], np.ones((2, 1, 1, 3)), embeddings=table, layers=[("elman", w1, b1, u1), ("elman", w2, b2, u2)],
        output_weight=weight, output_bias=bias, residual=residual,
    )  # fmt: skip
    first = np.tanh(w1 @ table[4] + u1 @ np.ones(3) + b1)
    below = first + residual * table[4]
    second = np.tanh(w2 @ below + u2 @ np.ones(3) + b2)
    assert memory[:, 0, 0] == pytest.approx(np.array([first, second]))
    assert log_probs[0, 0] == pytest.approx(reference.log_softmax(weight @ (second + residual * below) + bias))


def test_two_steps_of_each_optimizer_by_hand() -> None:
    value, gradients = np.array([1.0]), [np.array([2.0]), np.array([-1.0])]
    assert reference.sgd(value, gradients, 0.1) == pytest.approx([1 - 0.2 + 0.1])
    assert reference.sgd(value, gradients, [0.1, 0.5]) == pytest.approx([1 - 0.2 + 0.5])
    assert reference.momentum(value, gradients, 0.1, momentum=0.5) == pytest.approx([1 - 0.1 * 2 - 0.1 * (0.5 * 2 - 1)])
    assert reference.adagrad(value, gradients, 0.1, epsilon=0) == pytest.approx([1 - 0.1 + 0.1 / np.sqrt(5)])
    assert reference.adam(value, gradients[:1], 0.1, epsilon=0) == pytest.approx([0.9])
    mean = (0.5 * (0.5 * 2) + 0.5 * -1) / 0.75
    square = (0.75 * (0.25 * 4) + 0.25 * 1) / (1 - 0.75**2)
    twice = reference.adam(value, gradients, 0.1, beta1=0.5, beta2=0.75, epsilon=0)
    assert twice == pytest.approx([0.9 - 0.1 * mean / np.sqrt(square)])
    assert value == 1.0


OPTIMIZERS = [reference.sgd, reference.momentum, reference.adagrad, reference.adam]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_sparse_steps_on_all_rows_equal_dense_ones(rng: np.random.Generator, optimizer) -> None:
    value, dense = rng.normal(size=(4, 3)), list(rng.normal(size=(5, 4, 3)))
    order = np.array([2, 0, 3, 1])
    sparse = [(order, gradient[order]) for gradient in dense]
    assert np.array_equal(optimizer(value, sparse, 0.1), optimizer(value, dense, 0.1))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_sparse_steps_are_lazy_and_sum_repeated_ids(rng: np.random.Generator, optimizer) -> None:
    value = rng.normal(size=(4, 3))
    a, b, c = rng.normal(size=(3, 3))
    sparse = [(np.array([1, 1]), np.stack([a, b])), (np.array([2]), c[None]), (np.array([1]), c[None])]
    result = optimizer(value, sparse, 0.1)
    assert np.array_equal(result[[0, 3]], value[[0, 3]])
    if optimizer is not reference.adam:  # whose bias correction counts the step between, too
        assert result[1] == pytest.approx(optimizer(value[1], [a + b, c], 0.1))
        assert result[2] == pytest.approx(optimizer(value[2], [c], 0.1))


def test_lazy_adam_corrects_by_the_number_of_all_steps() -> None:
    untouched, one = (np.empty(0, int), np.empty((0, 1))), (np.array([0]), np.array([[2.0]]))
    late = reference.adam(np.zeros((2, 1)), [untouched, untouched, one], 0.1, epsilon=0)
    expected = -0.1 * (0.1 * 2 / (1 - 0.9**3)) / np.sqrt(0.001 * 4 / (1 - 0.999**3))
    assert late == pytest.approx(np.array([[expected], [0.0]]))


def test_clipping_counts_dense_and_sparse_gradients_as_one_vector() -> None:
    dense, sparse = np.array([[3.0]]), (np.array([5, 5]), np.array([[1.0], [3.0]]))
    assert reference.global_norm([dense, sparse]) == pytest.approx(5)
    clipped = reference.clip_global_norm([dense, sparse], 1.0)
    assert reference.global_norm(clipped) == pytest.approx(1)
    assert clipped[0] == pytest.approx(np.array([[0.6]]))
    unchanged = reference.clip_global_norm([dense, sparse], 5.5)
    assert np.array_equal(unchanged[0], dense)
    assert np.array_equal(unchanged[1][1], sparse[1])
