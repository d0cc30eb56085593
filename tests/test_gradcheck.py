"""The gradient check must be able to fail: it is what every backward kernel's test rests on."""

import re

import numpy as np
import pytest
from gradcheck import check_gradient
from numpy.typing import NDArray


@pytest.fixture
def weights() -> NDArray[np.float64]:
    return np.random.default_rng(1).normal(size=(3, 5))


def loss(weights: NDArray[np.float64]) -> float:
    return float(np.log(np.exp(np.tanh(weights)).sum()))


def gradient(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    y = np.tanh(weights)
    return np.exp(y) / np.exp(y).sum() * (1 - y**2)


def test_right_gradient_passes_and_leaves_the_array_as_it_was(weights: NDArray[np.float64]) -> None:
    before = weights.tobytes()
    check_gradient(lambda: loss(weights), weights, gradient(weights))
    assert weights.tobytes() == before


def test_views_and_scalars_are_perturbed_in_place(weights: NDArray[np.float64]) -> None:
    check_gradient(lambda: loss(weights), weights.T, gradient(weights).T)
    check_gradient(lambda: loss(weights), weights[1, 2:3], gradient(weights)[1, 2:3])
    scalar = np.array(0.5)
    check_gradient(lambda: float(scalar) ** 3, scalar, np.array(0.75))


@pytest.mark.parametrize("factor", [1.001, 0.999, 1.00001, -1.0, 0.0])
def test_a_gradient_that_is_off_by_a_factor_fails(weights: NDArray[np.float64], factor: float) -> None:
    with pytest.raises(AssertionError, match="15 of 15 gradient elements are wrong"):
        check_gradient(lambda: loss(weights), weights, factor * gradient(weights))


def test_the_message_names_the_worst_element_and_both_values(weights: NDArray[np.float64]) -> None:
    right = gradient(weights)
    wrong = right.copy()
    wrong[0, 1] *= 1.0001
    wrong[2, 3] *= 1.001
    with pytest.raises(AssertionError, match=r"2 of 15 .* worst at \[2, 3\]") as caught:
        check_gradient(lambda: loss(weights), weights, wrong)
    numerical, analytic = map(float, re.findall(r"(?:numerical|analytic) (\S+?)(?:,|$)", str(caught.value)))
    assert numerical == pytest.approx(right[2, 3], rel=1e-8)
    assert analytic == wrong[2, 3]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_fails(weights: NDArray[np.float64], bad: float) -> None:
    wrong = gradient(weights)
    wrong[1, 1] = bad
    with pytest.raises(AssertionError, match=r"worst at \[1, 1\]"):
        check_gradient(lambda: loss(weights), weights, wrong)


def test_the_tolerance_holds_for_a_loss_summed_over_many_events() -> None:
    scale = np.random.default_rng(2).normal(size=1000)
    x = np.array([0.3])
    analytic = np.array([(scale * np.cos(scale * x)).sum()])
    function = lambda: float((np.sin(scale * x) + 5.0).sum())  # noqa: E731
    check_gradient(function, x, analytic)
    with pytest.raises(AssertionError, match="1 of 1"):
        check_gradient(function, x, analytic * 1.00001)


def test_a_sample_is_seeded_and_finds_a_wrong_row() -> None:
    table = np.random.default_rng(3).normal(size=(100, 20))
    wrong = 2 * table
    wrong[40:60] = 0.0

    def message() -> str:
        with pytest.raises(AssertionError, match=r"of 50 gradient elements are wrong") as caught:
            check_gradient(lambda: float((table**2).sum()), table, wrong, sample=50)
        return str(caught.value)

    assert message() == message()
    check_gradient(lambda: float((table**2).sum()), table, 2 * table, sample=50)


def test_a_gradient_buffer_that_the_function_overwrites_is_read_before(weights: NDArray[np.float64]) -> None:
    buffer = gradient(weights)

    def function() -> float:
        buffer[:] = np.nan
        return loss(weights)

    check_gradient(function, weights, buffer)


def test_a_function_that_changes_by_itself_is_found(weights: NDArray[np.float64]) -> None:
    noise = np.random.default_rng(4)
    with pytest.raises(AssertionError, match="not a pure function"):
        check_gradient(noise.random, weights, gradient(weights), rtol=np.inf)


def test_what_cannot_be_checked_is_refused(weights: NDArray[np.float64]) -> None:
    with pytest.raises(AssertionError, match="float32"):
        check_gradient(lambda: 0.0, weights.astype(np.float32), weights)
    with pytest.raises(AssertionError, match=r"shape \(5, 3\)"):
        check_gradient(lambda: 0.0, weights, weights.T)
    with pytest.raises(AssertionError, match="empty"):
        check_gradient(lambda: 0.0, weights[:0], weights[:0])


def test_the_array_is_restored_when_the_function_raises(weights: NDArray[np.float64]) -> None:
    before = weights.copy()

    def function() -> float:
        if not np.array_equal(weights, before):
            raise RuntimeError("perturbed")
        return 0.0

    with pytest.raises(RuntimeError, match="perturbed"):
        check_gradient(function, weights, gradient(weights))
    assert np.array_equal(weights, before)
