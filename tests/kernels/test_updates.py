"""Optimizer steps against the oracles over several steps, on whole matrices and on rows by turns."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference

from fastlm import kernels

TOLERANCES = {np.float32: 1e-5, np.float64: 1e-12}
SHAPES = [(1, 1), (7, 1), (1, 33), (9, 17)]
RATE = [0.1, 0.1, 0.05, 0.2, 0.01, 0.3]  # one for each step


def sgd(value: np.ndarray, state: list[np.ndarray], *step: Any, number: int) -> None:
    kernels.sgd_update(value, *step, RATE[number - 1])


def momentum(value: np.ndarray, state: list[np.ndarray], *step: Any, number: int) -> None:
    kernels.momentum_update(value, state[0], *step, RATE[number - 1], 0.8)


def adagrad(value: np.ndarray, state: list[np.ndarray], *step: Any, number: int) -> None:
    kernels.adagrad_update(value, state[0], *step, RATE[number - 1], 1e-6)


def adam(value: np.ndarray, state: list[np.ndarray], *step: Any, number: int) -> None:
    kernels.adam_update(value, *state, *step, RATE[number - 1], 0.8, 0.95, 1e-6, number)


def averaged(value: np.ndarray, state: list[np.ndarray], *step: Any, number: int) -> None:
    kernels.averaged_update(value, state[0], *step, RATE[number - 1], RATE[number - 1] * 0.2, number - 1)


def decayed(value: np.ndarray, state: list[np.ndarray], *step: Any, number: int) -> None:
    kernels.decay_update(value, step[1], 1 - RATE[number - 1] * 0.2)
    kernels.sgd_update(value, *step, RATE[number - 1])


Update = Callable[..., None]
OPTIMIZERS: dict[str, tuple[Update, Callable[[np.ndarray, Any], np.ndarray]]] = {
    "sgd": (sgd, lambda value, gradients: reference.sgd(value, gradients, RATE)),
    "averaged": (averaged, lambda value, gradients: reference.sgd(value, gradients, RATE, weight_decay=0.2)),
    "decayed": (decayed, lambda value, gradients: reference.sgd(value, gradients, RATE, weight_decay=0.2)),
    "momentum": (momentum, lambda value, gradients: reference.momentum(value, gradients, RATE, momentum=0.8)),
    "adagrad": (adagrad, lambda value, gradients: reference.adagrad(value, gradients, RATE, epsilon=1e-6)),
    "adam": (
        adam,
        lambda value, gradients: reference.adam(value, gradients, RATE, beta1=0.8, beta2=0.95, epsilon=1e-6),
    ),
}


def make_steps(kind: str, V: int, D: int, dtype: type) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows and gradient of six steps: all rows, some in any order, or all and some by turns."""
    rng = np.random.default_rng(V + D)
    steps = []
    for number in range(len(RATE)):
        dense = kind == "dense" or (kind == "mixed" and number % 2 == 1)
        size = V if dense else rng.integers(V + 1)
        rows = np.arange(V) if dense else rng.permutation(V)[:size]
        steps.append((rows.astype(np.int32), rng.normal(size=(size, D)).astype(dtype)))
    return steps


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("kind", ["dense", "sparse", "mixed"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_several_steps_equal_the_oracle(
    name: str, shape: tuple[int, int], kind: str, scale: float, dtype: type
) -> None:
    update, oracle = OPTIMIZERS[name]
    value = np.random.default_rng(0).normal(size=shape).astype(dtype)
    before, state = value.astype(np.float64), [np.zeros_like(value), np.zeros_like(value)]
    steps = make_steps(kind, *shape, dtype)
    for number, (rows, gradient) in enumerate(steps, start=1):
        update(value, state, gradient, rows, scale, number=number)
    expected = oracle(before, [(rows, scale * gradient.astype(np.float64)) for rows, gradient in steps])
    assert not np.allclose(expected, before)
    np.testing.assert_allclose(value, expected, TOLERANCES[dtype], atol=10 * TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("kind", ["dense", "sparse", "mixed"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_average_of_several_steps_equals_the_oracle(shape: tuple[int, int], kind: str, dtype: type) -> None:
    value = np.random.default_rng(0).normal(size=shape).astype(dtype)
    before, state = value.astype(np.float64), [np.zeros_like(value)]
    steps = make_steps(kind, *shape, dtype)
    for number, (rows, gradient) in enumerate(steps, start=1):
        averaged(value, state, gradient, rows, 1.0, number=number)
    gradients = [(rows, gradient.astype(np.float64)) for rows, gradient in steps]
    expected = reference.averaged_sgd(before, gradients, RATE, weight_decay=0.2)
    np.testing.assert_allclose(value - state[0] / len(steps), expected, TOLERANCES[dtype], atol=10 * TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_other_rows_and_their_state_stay_as_they_are(name: str, dtype: type) -> None:
    value, *state = np.random.default_rng(0).uniform(1, 2, (3, 8, 5)).astype(dtype)
    before = [array.copy() for array in (value, *state)]
    rows = np.array([6, 2], np.int32)
    OPTIMIZERS[name][0](value, state, np.ones((2, 5), dtype), rows, 1.0, number=3)
    rest = [0, 1, 3, 4, 5, 7]
    for array, was in zip((value, *state), before, strict=True):
        assert (array[rest] == was[rest]).all()
    assert (value[rows] != before[0][rows]).all()


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rows_shared_by_threads_give_the_same_bytes(name: str, dtype: type) -> None:
    rng = np.random.default_rng(0)
    value, *state = rng.uniform(1, 2, (3, 20, 33)).astype(dtype)
    gradient, rows = rng.normal(size=(12, 33)).astype(dtype), rng.permutation(20)[:12].astype(np.int32)
    whole, whole_state = value.copy(), [array.copy() for array in state]
    OPTIMIZERS[name][0](whole, whole_state, gradient, rows, 0.5, number=2)
    for part in (slice(5, 12), slice(0, 5)):
        OPTIMIZERS[name][0](value, state, gradient[part], rows[part], 0.5, number=2)
    for one, other in zip((value, *state), (whole, *whole_state), strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", ["adagrad", "adam"])
def test_a_gradient_of_zero_at_the_first_step_changes_nothing(name: str, dtype: type) -> None:
    value, state = np.ones((2, 3), dtype), [np.zeros((2, 3), dtype), np.zeros((2, 3), dtype)]
    OPTIMIZERS[name][0](value, state, np.zeros((2, 3), dtype), np.arange(2, dtype=np.int32), 1.0, number=1)
    assert (value == 1).all()


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_nan_in_the_gradient_is_seen_in_the_value(name: str, dtype: type) -> None:
    value, state = np.ones((2, 3), dtype), [np.zeros((2, 3), dtype), np.zeros((2, 3), dtype)]
    gradient = np.array([[1, np.nan, 1], [1, 1, 1]], dtype)
    OPTIMIZERS[name][0](value, state, gradient, np.arange(2, dtype=np.int32), 1.0, number=1)
    assert np.isnan(value).tolist() == [[False, True, False], [False, False, False]]


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_the_first_step_of_adam_has_the_size_of_the_rate(dtype: type) -> None:
    value, state = np.zeros((1, 4), dtype), [np.zeros((1, 4), dtype), np.zeros((1, 4), dtype)]
    gradient = np.array([[1e-3, -1.0, 50.0, -1e3]], dtype)
    kernels.adam_update(value, *state, gradient, np.zeros(1, np.int32), 1.0, 0.1, 0.9, 0.999, 1e-8, 1)
    np.testing.assert_allclose(value, [[-0.1, 0.1, -0.1, 0.1]], 1e-4)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", [*SHAPES, (40, 100)])
def test_squared_norm(shape: tuple[int, int], dtype: type) -> None:
    gradient = np.random.default_rng(1).normal(size=shape).astype(dtype)
    norm = reference.global_norm([gradient.astype(np.float64)])
    assert kernels.squared_norm(gradient) == pytest.approx(norm**2, rel=1e-12)


def test_squared_norm_adds_in_double_precision() -> None:
    gradient = np.full((1000, 1000), 0.1, np.float32)
    gradient[0, 0] = 1e4
    assert kernels.squared_norm(gradient) == pytest.approx(1e8 + 999_999 * float(np.float32(0.1)) ** 2, rel=1e-10)
    assert kernels.squared_norm(np.full((1, 3), 1e30, np.float32)) == pytest.approx(3e60, rel=1e-6)


@pytest.mark.parametrize("place", [0, 15, 16, 36])
def test_squared_norm_of_nan_is_nan(place: int) -> None:
    gradient = np.ones((1, 37), np.float32)
    gradient[0, place] = np.nan
    assert np.isnan(kernels.squared_norm(gradient))
