"""The numerical gradient check that every backward function is held to.

Derivatives are taken by central differences of fourth order: with a step of 1e-3 both the truncation error
(step ** 4) and the rounding error (1e-16 * value / step) stay near 1e-12, so that the tolerance can be tight
also where the loss is a sum over many events. Two-point differences would lose half of these digits.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def check_gradient(
    function: Callable[[], float],
    array: NDArray[np.float64],
    gradient: NDArray[np.float64],
    *,
    step: float = 1e-3,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    sample: int | None = None,
) -> None:
    """Assert that `gradient` is the derivative of `function` with respect to `array`.

    Parameters
    ----------
    function
        Computes the scalar from `array` (which it must read anew at each call) and nothing that changes.
    array
        float64; perturbed in place, element by element, and left as it was.
    gradient
        The analytic gradient, of the same shape.
    step
        Distance of the nearer two of the four points at which the function is evaluated.
    rtol, atol
        An element is right where ``|numerical - analytic| <= atol + rtol * |numerical|``.
    sample
        Check only so many elements, drawn with a fixed seed; None checks all of them.

    Raises
    ------
    AssertionError
        With the number of wrong elements, and the worst one with its numerical and analytic value.
    """
    assert array.dtype == np.float64, f"array is {array.dtype}; numerical gradients need float64"
    assert array.size > 0, "array is empty: there is nothing to check"
    assert gradient.shape == array.shape, f"gradient has shape {gradient.shape}, the array {array.shape}"
    analytic = np.array(gradient, dtype=np.float64)  # a copy: the function may compute into the same buffer
    before = function()
    indices = _choose(array.size, sample)
    errors = np.empty(len(indices))
    numerical = np.empty(len(indices))
    for n, flat in enumerate(indices):
        index = tuple(int(i) for i in np.unravel_index(flat, array.shape))
        numerical[n] = _derivative(function, array, index, step)
        errors[n] = abs(numerical[n] - analytic[index]) / (atol + rtol * abs(numerical[n]))
    assert function() == before, "the function gives another value for the same array: it is not a pure function of it"
    wrong = ~(errors <= 1.0)  # so that NaN is wrong, too
    if wrong.any():
        worst = int(np.argmax(np.where(np.isnan(errors), np.inf, errors)))
        index = tuple(int(i) for i in np.unravel_index(indices[worst], array.shape))
        raise AssertionError(
            f"{wrong.sum()} of {len(indices)} gradient elements are wrong; worst at {list(index)}: "
            f"numerical {float(numerical[worst])!r}, analytic {float(analytic[index])!r}"
        )


def _choose(size: int, sample: int | None) -> NDArray[np.int64]:
    if sample is None or sample >= size:
        return np.arange(size)
    return np.sort(np.random.default_rng(0).choice(size, sample, replace=False))


def _derivative(
    function: Callable[[], float], array: NDArray[np.float64], index: tuple[int, ...], step: float
) -> float:
    original = array[index]

    def shifted(steps: int) -> float:
        array[index] = original + steps * step
        return float(function())

    try:
        return (8 * (shifted(1) - shifted(-1)) - (shifted(2) - shifted(-2))) / (12 * step)
    finally:
        array[index] = original
