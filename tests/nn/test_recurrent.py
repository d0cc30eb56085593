"""Recurrent layers and stacks of them against the oracles, numerical gradients, single steps and other threads."""

from collections.abc import Callable

import numpy as np
import pytest
import reference
from gradcheck import check_gradient

from fastlm.nn.layers import Layer
from fastlm.nn.parameters import RandomParameters
from fastlm.nn.recurrent import CELLS, LSTM, Recurrent, RecurrentStack
from fastlm.nn.workspace import Workspace

Make = Callable[..., Workspace]
SHAPES = [(1, 1, 1, 1), (1, 3, 2, 5), (6, 1, 3, 4), (5, 3, 4, 7), (9, 23, 3, 30)]  # T, B, D, H


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape)


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-11)


class Case:
    """A layer with what goes into it, in both directions; `layers` is 0 for a cell by itself, else those of a stack."""

    def __init__(
        self, cell: str, shape: tuple[int, int, int, int], dtype: type = np.float64, *, layers: int = 0,
        residual: bool = False, dropout: float = 0.0, recurrent_dropout: float = 0.0,
    ) -> None:  # fmt: skip
        T, B, D, H = shape
        source = RandomParameters(5, dtype)
        self.layer: Recurrent | RecurrentStack
        self.layer = CELLS[cell]("recurrent", D, H, source, recurrent_dropout=recurrent_dropout)
        num_states = len(self.layer.memory_names)
        memory = draw(num_states, B, H)
        if layers:
            self.layer = RecurrentStack(
                "recurrent", D, H, source, cell=cell, num_layers=layers, residual=residual, dropout=dropout,
                recurrent_dropout=recurrent_dropout,
            )  # fmt: skip
            memory = draw(layers, num_states, B, H)
        for parameter in self.layer.parameters:
            if parameter.value.ndim == 1:
                parameter.value[:] = draw(*parameter.value.shape)  # so that a forgotten one shows
        self.inputs, self.memory, self.dhidden = (a.astype(dtype) for a in (draw(T, B, D), memory, draw(T, B, H)))
        self.resets = (np.random.default_rng(T).random((T, B)) < 0.3).astype(np.uint8)

    def forward(self, workspace: Workspace) -> np.ndarray:
        return self.layer.forward(self.inputs, self.memory, self.resets, workspace)

    def loss(self, workspace: Workspace) -> float:
        return float((self.forward(workspace) * self.dhidden).sum())


def clear(layer: Layer) -> None:
    for parameter in layer.parameters:
        parameter.clear_gradient()


@pytest.fixture(params=CELLS)
def cell(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cell_against_the_oracle(make_workspace: Make, cell: str, shape: tuple[int, int, int, int]) -> None:
    case, workspace = Case(cell, shape), make_workspace()
    layer, inputs, memory, resets, dhidden = case.layer, case.inputs, case.memory, case.resets, case.dhidden
    w_xh, w_hh, bias = layer.w_xh.value, layer.w_hh.value, layer.bias.value
    x = reference.linear_forward(inputs, w_xh, bias)
    states = getattr(reference, f"{cell}_forward")(x, w_hh, *memory, resets)
    dx, dw_hh, *_ = getattr(reference, f"{cell}_backward")(dhidden, states, w_hh, *memory, resets)
    flat = dx.reshape(-1, dx.shape[2])
    dinputs, dw_xh, dbias = reference.linear_backward(flat, inputs.reshape(-1, inputs.shape[2]), w_xh)

    assert_close(case.forward(workspace), states[0] if isinstance(states, tuple) else states)
    assert_close(layer.backward(dhidden, workspace), dinputs.reshape(inputs.shape))
    assert_close(layer.w_hh.gradient, dw_hh)
    assert_close(layer.w_xh.gradient, dw_xh)
    assert_close(layer.bias.gradient, dbias)
    last = [states] if cell == "elman" else states[: len(memory)]
    for value, expected in zip(layer.last(workspace), last, strict=True):
        assert_close(value, expected[-1])


@pytest.mark.parametrize("shape", SHAPES[:4])
def test_a_cell_against_numbers(make_workspace: Make, cell: str, shape: tuple[int, int, int, int]) -> None:
    check_against_numbers(Case(cell, shape), make_workspace())


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("shape", [(3, 2, 3, 3), (2, 3, 2, 3)])
def test_a_stack_against_numbers(
    make_workspace: Make, cell: str, shape: tuple[int, int, int, int], residual: bool, dropout: float
) -> None:
    case = Case(cell, shape, layers=2, residual=residual, dropout=dropout, recurrent_dropout=dropout / 2)
    check_against_numbers(case, make_workspace())


def check_against_numbers(case: Case, workspace: Workspace) -> None:
    case.loss(workspace)
    dinputs = case.layer.backward(case.dhidden, workspace).copy()
    check_gradient(lambda: case.loss(workspace), case.inputs, dinputs)
    for parameter in case.layer.parameters:
        check_gradient(lambda: case.loss(workspace), parameter.value, parameter.gradient)


def test_backpropagation_leaves_what_comes_from_above(make_workspace: Make, cell: str) -> None:
    case, workspace = Case(cell, (3, 2, 4, 4), layers=2, residual=True), make_workspace()
    before = case.dhidden.copy()
    case.forward(workspace)
    case.layer.backward(case.dhidden, workspace)
    assert (case.dhidden == before).all()


@pytest.mark.parametrize("layers", [0, 3])
@pytest.mark.parametrize("residual", [False, True])
def test_one_step_is_the_step_of_a_sequence(make_workspace: Make, cell: str, layers: int, residual: bool) -> None:
    case = Case(cell, (4, 1, 5, 5), layers=layers, residual=residual)
    case.resets[:] = 0
    hidden, memory = case.forward(make_workspace()), case.memory[..., 0, :]
    for t in range(4):
        before = memory.copy()
        after = case.layer.step(case.inputs[t, 0], memory)
        np.testing.assert_array_equal(memory, before)
        output, memory = after if layers else (after[0], after)
        assert_close(output, hidden[t, 0])


def test_a_stack_goes_on_from_what_it_remembers(make_workspace: Make, cell: str) -> None:
    case, workspace = Case(cell, (7, 3, 4, 4), layers=2, residual=True), make_workspace()
    whole, memory, stack = case.forward(workspace).copy(), case.memory.copy(), case.layer
    for part in (slice(0, 3), slice(3, 4), slice(4, 7)):
        hidden = stack.forward(case.inputs[part], memory, case.resets[part], workspace)
        assert_close(hidden, whole[part])
        stack.remember(memory, workspace)


def test_the_layers_of_a_stack_have_masks_of_their_own(make_workspace: Make) -> None:
    case, workspace = Case("elman", (3, 2, 4, 50), layers=3, dropout=0.5), make_workspace()
    case.forward(workspace)
    masks = [workspace.saved[dropout.name].copy() for dropout in case.layer.dropouts]
    assert len({mask.tobytes() for mask in masks}) == len(masks) == 2
    assert masks[0].shape == (2 * 50,)  # one for all steps


def test_recurrent_weights_are_dropped_for_a_whole_chunk(make_workspace: Make, cell: str) -> None:
    case, workspace = Case(cell, (4, 2, 3, 6), recurrent_dropout=0.5), make_workspace()
    outputs = []
    for step in (1, 1, 2):
        workspace.step = step
        outputs.append(case.forward(workspace).copy())
        mask = case.layer.drop_connect.mask(workspace).reshape(case.layer.w_hh.value.shape)
        assert set(mask.reshape(-1)) == {0.0, 2.0}
        plain, whole = Case(cell, (4, 2, 3, 6)), case.layer.w_hh.value
        plain.layer.w_hh.value[:] = whole * mask  # one matrix for all steps
        assert_close(outputs[-1], plain.forward(make_workspace()))
    assert (outputs[0] == outputs[1]).all()
    assert (outputs[0] != outputs[2]).any()


def test_no_recurrent_weight_is_dropped_in_use(make_workspace: Make, cell: str) -> None:
    case, plain = Case(cell, (4, 2, 3, 6), recurrent_dropout=0.5), Case(cell, (4, 2, 3, 6))
    assert (case.forward(make_workspace(training=False)) == plain.forward(make_workspace())).all()


def test_forget_gates_begin_open() -> None:
    layer = LSTM("recurrent", 3, 2, RandomParameters(1, np.float32))
    assert layer.bias.value.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]


@pytest.mark.usefixtures("fine_shares")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_number_of_threads_gives_the_same_bytes(make_workspace: Make, cell: str, dtype: type) -> None:
    case = Case(cell, (12, 31, 130, 130), dtype, layers=2, residual=True, dropout=0.3, recurrent_dropout=0.3)
    results = set()
    for threads in (1, 2, 7):
        workspace = make_workspace(dtype, threads=threads)
        clear(case.layer)
        hidden = case.forward(workspace).tobytes()
        dinputs = case.layer.backward(case.dhidden, workspace).tobytes()
        workspace.workers.finish()
        results.add((hidden, dinputs, *(p.gradient.tobytes() for p in case.layer.parameters)))
    assert len(results) == 1
