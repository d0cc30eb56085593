"""Optimizer steps on rows of parameters, and the squared norm of a gradient.

A dense gradient is one whose row k belongs to row k of the parameter; a sparse one names its rows. Both come in
as (gradient, rows), with `rows` counting 0, 1, 2 … for a dense one, so that there is one form of each step. State
is touched only in the rows named: momentum and moments of a row that has no gradient stay as they are ("lazy").
Rows that follow each other are taken as one: a call for each would cost more than the arithmetic of a narrow row.

In all of them `scale` multiplies the gradient first: it is how clipping at a global norm is applied without a
pass of its own.
"""

from fastlm.kernels.matrix cimport real
from fastlm.kernels.vector cimport (
    adagrad_step, adam_step, add_scaled, averaged_step, momentum_step, scale_row, sum_squares,
)


def squared_norm(const real[:, ::1] gradient):
    """Sum of the squares of all elements, in double precision.

    Parameters
    ----------
    gradient : (R, D)

    Returns
    -------
    float
    """
    cdef double total = 0
    if gradient.shape[0] == 0 or gradient.shape[1] == 0:
        return 0.0
    with nogil:
        total = sum_squares(&gradient[0, 0], gradient.shape[0] * gradient.shape[1])
    return total


def sgd_update(
    real[:, ::1] value, const real[:, ::1] gradient, const int[::1] rows, double scale, double learning_rate
):
    """Stochastic gradient descent, `value[rows] -= learning_rate * scale * gradient`.

    Parameters
    ----------
    value : (V, D), updated
    gradient : (R, D)
    rows : (R,) int32, distinct
    """
    cdef Py_ssize_t R = rows.shape[0], D = value.shape[1], i = 0, size
    check_rows(value, gradient, rows)
    if D == 0:
        return
    with nogil:
        while i < R:
            size = run_length(rows, i)
            add_scaled(&value[rows[i], 0], <real>(-learning_rate * scale), &gradient[i, 0], size * D)
            i += size


def averaged_update(
    real[:, ::1] value, real[:, ::1] sums, const real[:, ::1] gradient, const int[::1] rows, double scale,
    double learning_rate, double decay, double weight,
):
    """Gradient descent of which an average is kept (Polyak & Juditsky 1992).

    `change = -learning_rate * scale * gradient - decay * value; value += change; sums += weight * change`. Where step k
    = 1, 2 ... has the weight k - 1, the average of the values after n steps is `value - sums / n`: also that of rows
    that most steps leave alone.

    Parameters
    ----------
    value, sums : (V, D), updated
    gradient : (R, D)
    rows : (R,) int32, distinct
    """
    cdef Py_ssize_t R = rows.shape[0], D = value.shape[1], i
    check_rows(value, gradient, rows)
    check_state(value, sums)
    if D == 0:
        return
    with nogil:
        for i in range(R):
            averaged_step(
                &value[rows[i], 0], &sums[rows[i], 0], &gradient[i, 0], learning_rate * scale, decay, weight, D)


def decay_update(real[:, ::1] value, const int[::1] rows, double factor):
    """Weight decay, `value[rows] *= factor` (Loshchilov & Hutter 2019): to be followed by the step itself.

    Parameters
    ----------
    value : (V, D), updated
    rows : (R,) int32, distinct
    """
    cdef Py_ssize_t R = rows.shape[0], D = value.shape[1], i
    if D == 0:
        return
    with nogil:
        for i in range(R):
            scale_row(&value[rows[i], 0], <real>factor, D)


def momentum_update(
    real[:, ::1] value, real[:, ::1] velocity, const real[:, ::1] gradient, const int[::1] rows, double scale,
    double learning_rate, double momentum,
):
    """Gradient descent with momentum (Polyak 1964): `v = momentum v + g; value -= learning_rate v`.

    Parameters
    ----------
    value, velocity : (V, D), updated
    gradient : (R, D)
    rows : (R,) int32, distinct
    """
    cdef Py_ssize_t R = rows.shape[0], D = value.shape[1], i = 0, size
    check_rows(value, gradient, rows)
    check_state(value, velocity)
    if D == 0:
        return
    with nogil:
        while i < R:
            size = run_length(rows, i)
            momentum_step(
                &value[rows[i], 0], &velocity[rows[i], 0], &gradient[i, 0], scale, learning_rate, momentum, size * D)
            i += size


def adagrad_update(
    real[:, ::1] value, real[:, ::1] squares, const real[:, ::1] gradient, const int[::1] rows, double scale,
    double learning_rate, double epsilon,
):
    """Adagrad (Duchi et al. 2011): `s += g^2; value -= learning_rate g / (sqrt(s) + epsilon)`.

    Parameters
    ----------
    value, squares : (V, D), updated
    gradient : (R, D)
    rows : (R,) int32, distinct
    """
    cdef Py_ssize_t R = rows.shape[0], D = value.shape[1], i = 0, size
    check_rows(value, gradient, rows)
    check_state(value, squares)
    if D == 0:
        return
    with nogil:
        while i < R:
            size = run_length(rows, i)
            adagrad_step(
                &value[rows[i], 0], &squares[rows[i], 0], &gradient[i, 0], scale, learning_rate, epsilon, size * D)
            i += size


def adam_update(
    real[:, ::1] value, real[:, ::1] mean, real[:, ::1] square, const real[:, ::1] gradient, const int[::1] rows,
    double scale, double learning_rate, double beta1, double beta2, double epsilon, Py_ssize_t step,
):
    """Adam (Kingma & Ba 2015) with bias correction by the global step count.

    Parameters
    ----------
    value, mean, square : (V, D), updated
        Parameter, first and second moment.
    gradient : (R, D)
    rows : (R,) int32, distinct
    step : int
        1 at the first step.
    """
    cdef Py_ssize_t R = rows.shape[0], D = value.shape[1], i = 0, size
    cdef double rate, correction
    check_rows(value, gradient, rows)
    check_state(value, mean)
    check_state(value, square)
    if step < 1:
        raise ValueError(f"step is {step}, expected 1 at the first step")
    if D == 0:
        return
    with nogil:
        rate = learning_rate / (1 - beta1 ** step)
        correction = 1 - beta2 ** step
        while i < R:
            size = run_length(rows, i)
            adam_step(
                &value[rows[i], 0], &mean[rows[i], 0], &square[rows[i], 0], &gradient[i, 0], scale, rate, beta1,
                beta2, correction, epsilon, size * D)
            i += size


cdef inline Py_ssize_t run_length(const int[::1] rows, Py_ssize_t first) noexcept nogil:
    """How many rows from this one on follow each other."""
    cdef Py_ssize_t last = first
    while last + 1 < rows.shape[0] and rows[last + 1] == rows[last] + 1:
        last += 1
    return last + 1 - first


cdef check_rows(const real[:, ::1] value, const real[:, ::1] gradient, const int[::1] rows):
    if gradient.shape[0] != rows.shape[0] or gradient.shape[1] != value.shape[1]:
        raise ValueError(
            f"gradient ({gradient.shape[0]}, {gradient.shape[1]}) and rows ({rows.shape[0]},) do not fit value "
            f"({value.shape[0]}, {value.shape[1]}): expected (R, D), (R,), (V, D)")


cdef check_state(const real[:, ::1] value, const real[:, ::1] state):
    if state.shape[0] != value.shape[0] or state.shape[1] != value.shape[1]:
        raise ValueError(
            f"optimizer state has shape ({state.shape[0]}, {state.shape[1]}), expected that of value, "
            f"({value.shape[0]}, {value.shape[1]})")
