"""Products of the layers: packed operands, rows shared among threads, gradients overwritten or added to."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
import reference

from fastlm.kernels.matrix import split_height, tiles_are_possible
from fastlm.nn.parallel import Workers, products_of
from fastlm.nn.parameters import Parameter
from fastlm.nn.products import (
    affine,
    input_gradient,
    packed,
    packed_shape,
    packed_transposed,
    packed_weight,
    rows_worth_a_thread,
    weight_gradient,
)
from fastlm.nn.workspace import Workspace

Make = Callable[..., Workspace]
SHAPES = [(1, 1, 1), (7, 3, 5), (8, 33, 31), (16, 4, 17), (50, 300, 65)]  # N, D, H


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request: pytest.FixtureRequest) -> type:
    return request.param


def draw(dtype: type, *shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


def assert_close(actual: np.ndarray, expected: np.ndarray, dtype: type) -> None:
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(actual, expected, tolerance, 10 * tolerance)


@pytest.mark.parametrize("shape", [(1, 1), (3, 32), (300, 33), (5, 100), (0, 4), (4, 0)])
def test_operands_are_packed(make_workspace: Make, shape: tuple[int, int], dtype: type) -> None:
    matrix, workspace = draw(dtype, *shape), make_workspace(dtype)
    for panels in (packed(matrix, workspace), packed_transposed(matrix.T.copy(), workspace)):
        assert panels.shape == packed_shape(*shape, dtype)
        assert panels.tobytes() == reference.pack(matrix).tobytes()


def test_only_the_largest_operand_takes_memory(make_workspace: Make, dtype: type) -> None:
    workspace = make_workspace(dtype)
    first = packed(draw(dtype, 40, 50), workspace)
    assert np.shares_memory(first, packed(draw(dtype, 3, 4), workspace))
    assert np.shares_memory(first, packed_transposed(draw(dtype, 50, 40), workspace))


def test_weights_are_packed_once_where_they_are_kept(dtype: type) -> None:
    weights = {"first": draw(dtype, 5, 3), "second": draw(dtype, 5, 7)}
    expected = {name: reference.pack(weight.T).tobytes() for name, weight in weights.items()}
    keeping, changing = Workspace(dtype, Workers(1), keeps_weights=True), Workspace(dtype, Workers(1))
    for _ in range(2):
        for name, weight in weights.items():
            assert packed_weight(name, weight, keeping).tobytes() == expected[name]
            assert packed_weight(name, weight, changing).tobytes() == reference.pack(weight.T).tobytes()
            weight[:] = 0


@pytest.mark.usefixtures("fine_shares")
@pytest.mark.parametrize(("N", "D", "H"), SHAPES)
@pytest.mark.parametrize("threads", [1, 3])
def test_products_equal_the_oracle(make_workspace: Make, threads: int, N: int, D: int, H: int, dtype: type) -> None:
    workspace = make_workspace(dtype, threads=threads)
    weight, bias = Parameter("weight", draw(dtype, H, D)), Parameter("bias", draw(dtype, H))
    inputs, doutput = draw(dtype, N, D), draw(dtype, N, H)
    output, dinputs = np.full((N, H), np.nan, dtype), np.full((N, D), np.nan, dtype)
    wide = [array.astype(np.float64) for array in (inputs, weight.value, bias.value, doutput)]
    affine(output, inputs, weight, bias, workspace)
    assert_close(output, reference.linear_forward(*wide[:3]), dtype)
    input_gradient(dinputs, doutput, weight, workspace)
    expected = reference.linear_backward(wide[3], wide[0], wide[1])
    assert_close(dinputs, expected[0], dtype)
    for _ in range(2):
        for times in (1, 2):
            weight_gradient(doutput, inputs, weight, bias, workspace)
            workspace.workers.finish()
            assert_close(weight.gradient, times * expected[1], dtype)
            assert_close(bias.gradient, times * expected[2], dtype)
        for parameter in (weight, bias):
            parameter.gradient.fill(np.nan)  # which the next step is not to see
            parameter.clear_gradient()


def test_a_weight_may_have_no_bias(make_workspace: Make, dtype: type) -> None:
    weight, workspace = Parameter("weight", draw(dtype, 5, 3)), make_workspace(dtype)
    inputs, doutput = draw(dtype, 9, 3), draw(dtype, 9, 5)
    weight_gradient(doutput, inputs, weight, None, workspace)
    assert_close(weight.gradient, doutput.T @ inputs, dtype)


@pytest.mark.usefixtures("fine_shares")
@pytest.mark.parametrize("threads", [1, 3])
def test_the_gradient_of_a_masked_weight_is_masked(make_workspace: Make, threads: int, dtype: type) -> None:
    weight, workspace = Parameter("weight", draw(dtype, 50, 3)), make_workspace(dtype, threads=threads)
    inputs, doutput, mask = draw(dtype, 9, 3), draw(dtype, 9, 50), draw(dtype, 50, 3)
    weight_gradient(doutput, inputs, weight, None, workspace, mask=mask)
    workspace.workers.finish()
    assert_close(weight.gradient, mask * (doutput.T @ inputs), dtype)
    with pytest.raises(RuntimeError, match="weight has a gradient, to which one with a mask cannot be added"):
        weight_gradient(doutput, inputs, weight, None, workspace, mask=mask)


@pytest.mark.parametrize("first", [0, 1])
def test_weight_and_bias_have_a_gradient_both_or_neither(make_workspace: Make, first: int) -> None:
    parameters = Parameter("weight", np.zeros((5, 3))), Parameter("bias", np.zeros(5))
    parameters[first].dense_gradient()
    with pytest.raises(RuntimeError, match="weight has a gradient and bias none, or the other way round"):
        weight_gradient(np.zeros((2, 5)), np.zeros((2, 3)), *parameters, make_workspace())


@pytest.mark.usefixtures("fine_shares")
@pytest.mark.parametrize(("N", "D", "H"), [*SHAPES, (200, 40, 170)])
def test_the_same_bytes_for_any_number_of_threads(make_workspace: Make, N: int, D: int, H: int, dtype: type) -> None:
    inputs, doutput, results = draw(dtype, N, D), draw(dtype, N, H), set()
    for threads in [1, 2, 3, 7]:
        workspace = make_workspace(dtype, threads=threads)
        weight, bias = Parameter("weight", draw(dtype, H, D)), Parameter("bias", draw(dtype, H))
        output, dinputs = np.empty((N, H), dtype), np.empty((N, D), dtype)
        affine(output, inputs, weight, bias, workspace)
        input_gradient(dinputs, doutput, weight, workspace)
        weight_gradient(doutput, inputs, weight, bias, workspace)
        workspace.workers.finish()
        results.add(tuple(a.tobytes() for a in (output, dinputs, weight.gradient, bias.gradient)))
    assert len(results) == 1


@pytest.mark.parametrize(
    ("multiply_adds", "rows"), [(10_000_000, 1), (9_999_999, 2), (3_000_000, 4), (1, 10_000_000), (0, 10_000_000)]
)
def test_a_thread_is_woken_for_enough_only(multiply_adds: int, rows: int) -> None:
    assert rows_worth_a_thread(multiply_adds) == rows


def test_what_is_shared_is_counted_in_multiply_adds(make_workspace: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Panels of a transpose cost D x W elements each, rows of inputs D x H, rows of a weight's gradient N x D."""
    (N, D, H), workspace, shared = (70, 1000, 60), make_workspace(threads=2), []
    for name in ("share", "defer"):
        monkeypatch.setattr(workspace.workers, name, lambda task, size, at_least: shared.append((size, at_least)))
    weight, bias = Parameter("weight", np.zeros((H, D))), Parameter("bias", np.zeros(H))
    affine(np.empty((N, H)), np.zeros((N, D)), weight, bias, workspace)
    input_gradient(np.empty((N, D)), np.zeros((N, H)), weight, workspace)
    weight_gradient(np.zeros((N, H)), np.zeros((N, D)), weight, bias, workspace)
    assert shared == [(4, 7), (70, 167), (70, 167), (60, 143)]


def test_two_gradients_of_one_weight_in_a_step_are_added(
    make_workspace: Make, busy: Callable[..., AbstractContextManager[None]]
) -> None:
    workspace = make_workspace(threads=2)
    weight, bias = Parameter("weight", np.zeros((5, 3))), Parameter("bias", np.zeros(5))
    doutput, inputs = draw(np.float64, 4, 5), draw(np.float64, 4, 3)
    with busy(workspace.workers):
        weight_gradient(doutput, inputs, weight, bias, workspace)
        weight_gradient(doutput, 2 * inputs, weight, bias, workspace)
        workspace.workers.finish()
    assert_close(weight.gradient, 3 * doutput.T @ inputs, np.float64)


@pytest.mark.skipif(not tiles_are_possible(), reason="this CPU has no AMX-BF16")
def test_large_products_are_split_and_what_is_kept_is_packed_once_for_each_way() -> None:
    workspace = Workspace(np.float32, Workers(1), keeps_weights=True)
    weight = np.ones((60, 50), np.float32)
    few, many = (packed_weight("w", weight, workspace, rows=rows) for rows in (10, 200))
    assert few.shape == (2, 50, 32)
    assert many.shape == (2, split_height(50), 32)
    assert packed_weight("w", weight, workspace, rows=300) is many
    for narrow in (weight[:40], weight[:, :40].copy()):  # they take longer to split
        assert packed_weight("narrow", narrow, Workspace(np.float32, Workers(1)), rows=200).shape[1] == narrow.shape[1]
    one_way = Workspace(np.float32, Workers(1), keeps_weights=True, splits=False)
    assert packed_weight("w", weight, one_way, rows=200) is packed_weight("w", weight, one_way, rows=10)
    with products_of("bfloat16"):
        assert packed(weight, Workspace(np.float32, Workers(1)), rows=200).shape == packed_shape(60, 50, np.float32)
