"""Every backward kernel against central differences of its forward kernel, in float64."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gradcheck import check_gradient
from numpy.typing import NDArray
from output_layer import OutputLayer
from reference import pack
from sampled_layer import SampledLayer

from fastlm import kernels

Array = NDArray[np.float64]
Kernel = Callable[..., Any]


def draw(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).normal(size=shape)


def poison(*shape: int) -> Array:
    return np.full(shape, np.nan)


def check_dropout(kernel: Kernel, N: int, D: int) -> None:
    inputs, mask, seen, doutput = draw(N, D), np.empty(D), np.empty((N, D)), draw(D, N).T.copy()
    kernels.dropout_mask(mask, 3, 0.5)

    def loss() -> float:
        kernels.dropout_forward(seen, inputs, mask)
        return float((doutput * seen).sum())

    dinputs = poison(N, D)
    kernel(dinputs, doutput, mask)
    check_gradient(loss, inputs, dinputs)


def check_word_dropout(kernel: Kernel, ids: list[int], V: int, D: int) -> None:
    ids, N = np.array(ids, np.int32), len(ids)
    inputs, seen, doutput = draw(N, D), np.empty((N, D)), draw(D, N).T.copy()

    def loss() -> float:
        kernels.word_dropout(seen, inputs, ids, 3, 0.5)
        return float((doutput * seen).sum())

    dinputs = poison(N, D)
    kernel(dinputs, doutput, ids, 3, 0.5)
    check_gradient(loss, inputs, dinputs)


def check_embedding(kernel: Kernel, ids: list[int], V: int, D: int) -> None:
    ids, N = np.array(ids, np.int32), len(ids)
    table, seen, doutput = draw(V, D), np.empty((N, D)), draw(N, D)

    def loss() -> float:
        kernels.embedding_forward(seen, ids, table)
        return float((doutput * seen).sum())

    rows, drows, dtable = np.full(N, -9, np.int32), poison(N, D), np.zeros((V, D))
    count = kernel(rows, drows, doutput, ids, np.full(V, -1, np.int32))
    dtable[rows[:count]] = drows[:count]
    check_gradient(loss, table, dtable)


def linear(N: int, D: int, H: int) -> tuple[Array, Array, Array, Array, Callable[[], float]]:
    """Return the arrays of an affine layer, the gradient of its output, and its loss."""
    inputs, weight, bias, doutput, seen = draw(N, D), draw(H, D), draw(H), draw(N, H), np.empty((N, H))

    def loss() -> float:
        kernels.linear_forward(seen, inputs, pack(weight.T), bias)
        return float((doutput * seen).sum())

    return inputs, weight, bias, doutput, loss


def check_linear(kernel: Kernel, N: int, D: int, H: int) -> None:
    inputs, weight, _, doutput, loss = linear(N, D, H)
    dinputs = poison(N, D)
    kernel(dinputs, doutput, pack(weight))
    check_gradient(loss, inputs, dinputs)


def check_linear_weight(kernel: Kernel, N: int, D: int, H: int) -> None:
    inputs, weight, bias, doutput, loss = linear(N, D, H)
    before, before_bias = draw(H, D), draw(H)
    dweight, dbias = before.copy(), before_bias.copy()
    kernel(dweight, dbias, doutput, pack(inputs), True)
    check_gradient(loss, weight, dweight - before)
    check_gradient(loss, bias, dbias - before_bias)
    dweight[...] = np.nan
    kernel(dweight, np.empty(0), doutput, pack(inputs), False)
    check_gradient(loss, weight, dweight)


def check_tanh(kernel: Kernel, N: int, H: int) -> None:
    inputs, dhidden, hidden = draw(N, H), draw(H, N).T.copy(), np.empty((N, H))

    def loss() -> float:
        hidden[...] = inputs
        kernels.tanh_forward(hidden)
        return float((dhidden * hidden).sum())

    loss()
    dinputs = poison(N, H)
    kernel(dinputs, dhidden, hidden)
    check_gradient(loss, inputs, dinputs)
    in_place = dhidden.copy()
    kernel(in_place, in_place, hidden)
    check_gradient(loss, inputs, in_place)


def check_activation(name: str) -> Callable[..., None]:
    def check(kernel: Kernel, N: int, H: int) -> None:
        inputs, doutput, output = draw(N, H), draw(H, N).T.copy(), poison(N, H)

        def loss() -> float:
            getattr(kernels, f"{name}_forward")(output, inputs)
            return float((doutput * output).sum())

        loss()
        saved = output.copy() if name == "relu" else inputs
        dinputs, in_place = poison(N, H), doutput.copy()
        kernel(dinputs, doutput, saved)
        check_gradient(loss, inputs, dinputs)
        kernel(in_place, in_place, saved)
        check_gradient(loss, inputs, in_place)

    return check


def check_layer_norm(kernel: Kernel, N: int, H: int) -> None:
    inputs, gain, bias, doutput = 2 * draw(N, H), draw(H), draw(H), draw(H, N).T.copy()
    output, normalised, scales = poison(N, H), poison(N, H), poison(N)

    def loss() -> float:
        kernels.layer_norm_forward(output, normalised, scales, inputs, gain, bias, 1e-2)
        return float((doutput * output).sum())

    loss()
    saved = normalised.copy(), scales.copy()
    dinputs, dgain, dbias = poison(N, H), np.ones(H), np.ones(H)
    kernel(dinputs, dgain, dbias, doutput, *saved, gain, True)
    check_gradient(loss, inputs, dinputs)
    check_gradient(loss, gain, dgain - 1)
    check_gradient(loss, bias, dbias - 1)
    kernel(dinputs, dgain, dbias, doutput, *saved, gain, False)
    check_gradient(loss, gain, dgain)
    check_gradient(loss, bias, dbias)


def check_window(kernel: Kernel, B: int, T: int, size: int, D: int, H: int, before: int) -> None:
    S = before + T + size - 1
    inputs, weight, bias, doutput = draw(B, S, D), draw(H, size * D), draw(H), draw(B, T, H)
    output = poison(B, T, H)

    def loss() -> float:
        kernels.window_forward(output, inputs, pack(weight.T), bias, size)
        return float((doutput * output).sum())

    dinputs, W = poison(B, S, D), kernels.PANEL_BYTES // 8
    panels, packed_windows = poison(size * -(-D // W), H, W), poison(-(-size * D // W), B * T, W)
    kernels.pack_words(panels, weight, size)
    kernel(dinputs, doutput, panels, size)
    check_gradient(loss, inputs, dinputs)
    dweight, dbias = poison(H, size * D), poison(H)
    kernels.pack_windows(packed_windows, inputs, size)
    kernels.linear_backward_weight(dweight, dbias, doutput.reshape(B * T, H), packed_windows, False)
    check_gradient(loss, weight, dweight)
    check_gradient(loss, bias, dbias)


def averages(B: int, T: int, D: int, ends: list[int]) -> tuple[Array, Array, Array, NDArray[np.int32], Any]:
    inputs, weight, doutput = draw(B, T + ends[-1], D), draw(ends[-1], D), draw(B, T, len(ends) * D)
    output, stops = poison(B, T, len(ends) * D), np.array(ends, np.int32)

    def loss() -> float:
        kernels.average_forward(output, inputs, weight, stops)
        return float((doutput * output).sum())

    return inputs, weight, doutput, stops, loss


def check_average(kernel: Kernel, *sizes: Any) -> None:
    inputs, weight, doutput, ends, loss = averages(*sizes)
    dinputs = np.ones_like(inputs)
    kernel(dinputs, doutput, weight, ends)
    check_gradient(loss, inputs, dinputs - 1)


def check_average_weight(kernel: Kernel, *sizes: Any) -> None:
    inputs, weight, doutput, ends, loss = averages(*sizes)
    dweight, middle = np.ones_like(weight), len(weight) // 2
    for start, stop in [(0, middle), (middle, len(weight))]:
        kernel(dweight, doutput, inputs, ends, start, stop, True)
    check_gradient(loss, weight, dweight - 1)
    dweight[...] = np.nan
    kernel(dweight, doutput, inputs, ends, 0, len(weight), False)
    check_gradient(loss, weight, dweight)


def check_elman(kernel: Kernel, T: int, B: int, H: int, resets: str) -> None:
    inputs, initial, w_hh, dhidden = draw(T, B, H), draw(B, H), draw(H, H), draw(H, B, T).T.copy()
    hidden, previous = poison(T, B, H), poison(T, B, H)
    where = resets_of(resets, T, B)

    def loss() -> float:
        kernels.elman_forward(hidden, previous, inputs, initial, where, pack(w_hh.T))
        return float((dhidden * hidden).sum())

    loss()
    dinputs, dinitial, dw_hh = poison(T, B, H), poison(B, H), np.zeros((H, H))
    kernel(dinputs, dinitial, dhidden, hidden, where, pack(w_hh))
    kernels.linear_backward_weight(dw_hh, np.empty(0), dinputs.reshape(-1, H), pack(previous.reshape(-1, H)), True)
    check_gradient(loss, inputs, dinputs)
    check_gradient(loss, initial, dinitial)
    check_gradient(loss, w_hh, dw_hh)


def check_lstm(kernel: Kernel, T: int, B: int, H: int, resets: str) -> None:
    inputs, w_hh, dhidden = draw(T, B, 4 * H), draw(4 * H, H), draw(H, B, T).T.copy()
    initial, initial_cell = draw(B, H), draw(B + 1, H)[1:].copy()
    hidden, cell, previous, previous_cell = poison(4, T, B, H)
    gates, where = inputs.copy(), resets_of(resets, T, B)

    def loss() -> float:
        gates[...] = inputs
        kernels.lstm_forward(
            hidden, cell, gates, previous, previous_cell, initial, initial_cell, where, pack(w_hh.T)
        )  # fmt: skip
        return float((dhidden * hidden).sum())

    loss()
    dgates, dinitial, dinitial_cell, dw_hh = poison(T, B, 4 * H), poison(B, H), poison(B, H), poison(4 * H, H)
    kernel(dgates, dinitial, dinitial_cell, dhidden, gates, cell, previous_cell, where, pack(w_hh))
    flat = dgates.reshape(-1, 4 * H)
    kernels.linear_backward_weight(dw_hh, np.empty(0), flat, pack(previous.reshape(-1, H)), False)
    check_gradient(loss, inputs, dgates)
    check_gradient(loss, initial, dinitial)
    check_gradient(loss, initial_cell, dinitial_cell)
    check_gradient(loss, w_hh, dw_hh)


def check_gru(kernel: Kernel, T: int, B: int, H: int, resets: str) -> None:
    inputs, initial, w_hh, dhidden = draw(T, B, 3 * H), draw(B, H), draw(3 * H, H), draw(H, B, T).T.copy()
    hidden, previous, products = poison(T, B, H), poison(T, B, H), poison(T, B, 3 * H)
    gates, where = inputs.copy(), resets_of(resets, T, B)

    def loss() -> float:
        gates[...] = inputs
        kernels.gru_forward(hidden, gates, products, previous, initial, where, pack(w_hh.T))
        return float((dhidden * hidden).sum())

    loss()
    dgates, dproducts, dinitial, dw_hh = poison(T, B, 3 * H), poison(T, B, 3 * H), poison(B, H), poison(3 * H, H)
    kernel(dgates, dproducts, dinitial, dhidden, gates, products, previous, where, pack(w_hh))
    flat = dproducts.reshape(-1, 3 * H)
    kernels.linear_backward_weight(dw_hh, np.empty(0), flat, pack(previous.reshape(-1, H)), False)
    check_gradient(loss, inputs, dgates)
    check_gradient(loss, initial, dinitial)
    check_gradient(loss, w_hh, dw_hh)


def resets_of(kind: str, T: int, B: int) -> NDArray[np.uint8]:
    return {"none": np.zeros((T, B)), "all": np.ones((T, B)), "some": draw(T, B) > 0.3}[kind].astype(np.uint8)


class Output(OutputLayer):
    """An output layer with the loss of its events, and a penalty on log Z."""

    def __init__(self, N: int, V: int, H: int, block: int, targets: str, penalty: float = 0.0) -> None:
        no_event = {"all": slice(0), "some": slice(0, None, 2), "none": slice(None)}[targets]
        super().__init__(N, V, H, block, no_event=no_event)
        self.penalty = penalty

    def loss(self) -> float:
        self.forward()
        return self.factor * float(self.penalty * (self.norms[self.targets >= 0] ** 2).sum() - self.log_probs.sum())


def check_softmax(kernel: Kernel, *sizes: Any) -> None:
    layer = Output(*sizes)
    layer.forward_backward(kernel)
    check_gradient(layer.loss, layer.hidden, layer.dhidden)


def check_softmax_weight(kernel: Kernel, *sizes: Any) -> None:
    layer = Output(*sizes)
    before, before_bias = 1 + layer.weight, 1 + layer.bias
    layer.dweight, layer.dbias = before.copy(), before_bias.copy()
    layer.forward_backward().backward_weight(kernel=kernel)
    check_gradient(layer.loss, layer.weight, layer.dweight - before)
    check_gradient(layer.loss, layer.bias, layer.dbias - before_bias)
    layer.dweight[...], layer.dbias[...] = np.nan, np.nan
    layer.backward_weight(accumulate=False, kernel=kernel)
    check_gradient(layer.loss, layer.weight, layer.dweight)
    check_gradient(layer.loss, layer.bias, layer.dbias)


def check_classes(kernel: Kernel, bounds: list[int], counts: list[int], H: int) -> None:
    """Put words in classes, of which only those with tokens are groups."""
    V, N, rng = bounds[-1], sum(counts), np.random.default_rng(H)
    active = np.flatnonzero(counts)
    firsts, sizes = np.array(bounds, np.int32)[active], np.diff(bounds)[active]
    token_bounds, row_bounds = (
        np.concatenate([[0], np.cumsum(of)]).astype(np.int32) for of in (np.array(counts)[active], sizes)
    )
    targets = rng.integers(0, np.repeat(sizes, np.diff(token_bounds))).astype(np.int32)
    hidden, weight, bias, log_probs = draw(N, H), draw(V, H), draw(V), poison(N)
    scratch = poison(kernels.class_scratch_size(token_bounds, row_bounds, H, 8))
    groups = targets, token_bounds, row_bounds, firsts, scratch

    def loss() -> float:
        kernels.class_forward(log_probs, hidden, weight, bias, *groups, 0, len(active))
        return -0.25 * float(log_probs.sum())

    R = row_bounds[-1]
    dhidden, dweight, dbias, squares = poison(N, H), poison(R, H), poison(R), poison(len(active))
    kernel(log_probs, dhidden, dweight, dbias, squares, hidden, weight, bias, *groups, 0.25, 0, len(active))
    check_gradient(loss, hidden, dhidden)
    rows = np.concatenate([np.arange(first, first + size) for first, size in zip(firsts, sizes, strict=True)])
    dense, dense_bias = np.zeros((V, H)), np.zeros(V)
    dense[rows], dense_bias[rows] = dweight, dbias
    check_gradient(loss, weight, dense)
    check_gradient(loss, bias, dense_bias)
    np.testing.assert_allclose(squares.sum(), (dweight**2).sum())


def check_sampled_softmax(kernel: Kernel, *sizes: Any) -> None:
    layer = sampled_layer(*sizes).softmax(kernel)
    check_gradient(layer.softmax_loss, layer.hidden, layer.dhidden)
    layer.backward_weight()
    check_gradient(layer.softmax_loss, layer.weight, layer.dense(layer.dweight))
    check_gradient(layer.softmax_loss, layer.bias, layer.dense(layer.dbias))


def check_nce(kernel: Kernel, *sizes: Any) -> None:
    layer = sampled_layer(*sizes).nce(kernel)
    check_gradient(layer.nce_loss, layer.hidden, layer.dhidden)
    layer.backward_weight()
    check_gradient(layer.nce_loss, layer.weight, layer.dense(layer.dweight))
    check_gradient(layer.nce_loss, layer.bias, layer.dense(layer.dbias))


def check_sampled_weight(kernel: Kernel, *sizes: Any) -> None:
    layer = sampled_layer(*sizes).softmax().backward_weight(kernel)
    check_gradient(layer.softmax_loss, layer.weight, layer.dense(layer.dweight))
    check_gradient(layer.softmax_loss, layer.bias, layer.dense(layer.dbias))


def sampled_layer(N: int, V: int, H: int, samples: list[int], targets: str) -> SampledLayer:
    no_event = {"all": slice(0), "some": slice(0, None, 2), "none": slice(None)}[targets]
    return SampledLayer(N, V, H, samples, no_event=no_event)


TABLES = [([0], 1, 1), ([2], 4, 3), ([1, 1], 3, 17), ([4, 0, 4, 2, 4, 0], 6, 33), (list(range(5)), 5, 2)]
ROWS = [(1, 1), (1, 7), (5, 1), (3, 17), (4, 33)]
AFFINE = [(1, 1, 1), (1, 3, 5), (4, 1, 3), (4, 3, 1), (3, 17, 5), (5, 7, 33)]
WINDOWS = [  # B, T, size, D, H, rows before the first window
    (1, 1, 1, 1, 1, 0),
    (1, 4, 2, 3, 5, 2),
    (3, 1, 2, 3, 1, 1),
    (2, 3, 4, 1, 3, 0),
    (2, 5, 3, 17, 2, 1),
]
AVERAGES = [(1, 1, 1, [1]), (2, 3, 5, [2, 5]), (1, 4, 1, [0, 3, 3, 4]), (3, 1, 17, [4, 6, 7])]  # B, T, D, ends
SEQUENCES = [
    (T, B, H, resets)
    for T, B, H in [(1, 1, 1), (1, 3, 5), (4, 1, 3), (4, 2, 1), (3, 2, 5), (5, 3, 3), (2, 2, 17)]
    for resets in ("none", "some", "all")
]
OUTPUTS = [
    (N, V, H, block, targets)
    for N, V, H, block in [
        (1, 1, 1, 1),
        (1, 5, 3, 1),
        (4, 2, 1, 2),
        (3, 7, 5, 3),  # the last block is narrower
        (4, 12, 3, 4),  # blocks divide V
        (3, 6, 3, 20),  # one block, wider than V
        (5, 35, 2, 17),
        (17, 6, 2, 4),  # more than a panel of tokens
    ]
    for targets in ("all", "some", "none")
] + [
    # with a penalty on log Z, and several panels
    (3, 7, 5, 3, "some", 0.7),
    (40, 6, 3, 4, "all", 0.1),
]
CLASSES = [  # where classes begin, how many tokens each has, H
    ([0, 1], [1], 1),
    ([0, 1, 3], [3, 2], 3),
    ([0, 2, 3, 9], [1, 0, 20], 5),  # a class without tokens, and one with more than a panel of them
    ([0, 4, 24], [0, 3], 17),
]
SAMPLES = [
    (N, V, H, samples, targets)
    for N, V, H, samples in [
        (1, 1, 1, [0]),  # the only sample is the target
        (1, 5, 3, [2, 0]),
        (4, 3, 1, [0, 1, 2]),
        (3, 40, 5, list(range(39, 20, -1))),  # more than a panel of samples
        (60, 9, 2, [8, 1]),  # more tokens than are taken at a time
    ]
    for targets in ("all", "some", "none")
]
OWN_BACKWARD = {"dropout_forward", "word_dropout"}
# What is checked: by which function, which of the kernel's arguments are gradients, and at which sizes.
CHECKS: dict[str, tuple[Callable[..., None], list[str], list[Any]]] = {
    "dropout_forward": (check_dropout, ["output"], ROWS),
    "word_dropout": (check_word_dropout, ["output"], TABLES),
    "embedding_backward": (check_embedding, ["drows"], TABLES),
    "linear_backward": (check_linear, ["dinputs"], AFFINE),
    "linear_backward_weight": (check_linear_weight, ["dweight", "dbias"], AFFINE),
    "tanh_backward": (check_tanh, ["dinputs"], ROWS),
    "elman_backward": (check_elman, ["dinputs", "dinitial"], SEQUENCES),
    "relu_backward": (check_activation("relu"), ["dinputs"], ROWS),
    "gelu_backward": (check_activation("gelu"), ["dinputs"], ROWS),
    "layer_norm_backward": (check_layer_norm, ["dinputs", "dgain", "dbias"], ROWS),
    "window_backward": (check_window, ["dinputs"], WINDOWS),
    "average_backward": (check_average, ["dinputs"], AVERAGES),
    "average_backward_weight": (check_average_weight, ["dweight"], AVERAGES),
    "gru_backward": (check_gru, ["dgates", "dproducts", "dinitial"], SEQUENCES),
    "lstm_backward": (check_lstm, ["dgates", "dinitial", "dinitial_cell"], SEQUENCES),
    "class_forward_backward": (check_classes, ["dhidden", "dweight", "dbias"], CLASSES),
    "sampled_softmax_forward_backward": (check_sampled_softmax, ["dlogits", "dtargets", "dhidden"], SAMPLES),
    "nce_forward_backward": (check_nce, ["dlogits", "dtargets", "dhidden"], SAMPLES),
    "sampled_backward_weight": (check_sampled_weight, ["dweight", "dbias"], SAMPLES),
    "softmax_forward_backward": (check_softmax, ["dhidden"], OUTPUTS),
    "softmax_backward_weight": (check_softmax_weight, ["dweight", "dbias"], OUTPUTS),
}


@pytest.mark.parametrize(
    ("name", "sizes"), [(name, sizes) for name, (_, _, grid) in CHECKS.items() for sizes in grid], ids=str
)
def test_the_gradient_is_that_of_the_forward_kernel(name: str, sizes: tuple[Any, ...]) -> None:
    CHECKS[name][0](getattr(kernels, name), *sizes)


def test_every_backward_kernel_is_checked() -> None:
    assert {name for name in kernels.__all__ if "backward" in name} == set(CHECKS) - OWN_BACKWARD


@pytest.mark.parametrize(
    ("name", "gradient"), [(name, gradient) for name, (_, names, _) in CHECKS.items() for gradient in names]
)
@pytest.mark.parametrize(
    "spoil", [lambda g: 1.00001 * g, lambda g: -g, lambda g: g + 1e-5], ids=["scale", "sign", "add"]
)
def test_the_check_sees_a_gradient_that_is_wrong(name: str, gradient: str, spoil: Callable[[Array], Array]) -> None:
    kernel = getattr(kernels, name)
    place = list(inspect.signature(kernel).parameters).index(gradient)

    def spoiled(*arguments: Any) -> Any:
        result = kernel(*arguments)
        arguments[place][...] = spoil(arguments[place])
        return result

    check, _, grid = CHECKS[name]
    with pytest.raises(AssertionError, match="gradient elements are wrong"):
        for sizes in grid:
            check(spoiled, *sizes)
