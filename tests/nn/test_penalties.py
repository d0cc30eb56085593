"""Penalties on activations against numerical gradients of what they stand for."""

from collections.abc import Callable

import numpy as np
import pytest
from gradcheck import check_gradient

from fastlm.nn.penalties import add_activation_gradient, add_temporal_gradient
from fastlm.nn.workspace import Workspace

Make = Callable[..., Workspace]
SHAPES = [(1, 1, 1), (2, 1, 3), (5, 3, 4)]


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_activation_penalty_is_the_mean_square(make_workspace: Make, shape: tuple[int, ...]) -> None:
    hidden, before = draw(*shape), draw(*shape) + 1
    dhidden = before.copy()
    add_activation_gradient(dhidden, hidden, 0.7, make_workspace())
    check_gradient(lambda: 0.7 * float((hidden**2).mean()), hidden, dhidden - before)


@pytest.mark.parametrize("resets", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("shape", SHAPES[1:])
def test_the_temporal_penalty_is_the_mean_square_of_the_change(
    make_workspace: Make, shape: tuple[int, ...], resets: float
) -> None:
    hidden, before = draw(*shape), draw(*shape) + 1
    where = (np.random.default_rng(1).random(shape[:2]) < resets).astype(np.uint8)
    dhidden = before.copy()
    add_temporal_gradient(dhidden, hidden, where, 0.7, make_workspace())

    def penalty() -> float:
        change = (1 - where[1:, :, None]) * np.diff(hidden, axis=0)
        return 0.7 * float((change**2).mean())

    check_gradient(penalty, hidden, dhidden - before)


def test_one_step_does_not_change(make_workspace: Make) -> None:
    dhidden = np.zeros((1, 2, 3))
    add_temporal_gradient(dhidden, draw(1, 2, 3), np.zeros((1, 2), np.uint8), 0.7, make_workspace())
    assert not dhidden.any()


def test_a_rate_of_zero_costs_nothing(make_workspace: Make) -> None:
    workspace, dhidden, hidden = make_workspace(), np.zeros((3, 1, 1)), np.full((3, 1, 1), np.inf)
    add_activation_gradient(dhidden, hidden, 0.0, workspace)
    add_temporal_gradient(dhidden, hidden, np.zeros((3, 1), np.uint8), 0.0, workspace)
    assert not dhidden.any()
