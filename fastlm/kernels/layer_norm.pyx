"""Layer normalisation (Ba et al. 2016)."""

from libc.math cimport sqrt
from libc.string cimport memset

from fastlm.kernels.matrix cimport real
from fastlm.kernels.vector cimport (
    add_row_products,
    add_scaled,
    centre_gradient,
    dot,
    gain_and_bias,
    multiply_rows,
    row_sum,
    scale_row,
    shifted_row,
    sum_squares,
)


def layer_norm_forward(
    real[:, ::1] output, real[:, ::1] normalised, real[::1] scales, const real[:, ::1] inputs, const real[::1] gain,
    const real[::1] bias, double epsilon
):
    """Give each row mean 0 and variance 1, then compute `output = gain * normalised + bias`.

    Parameters
    ----------
    output : (N, H), overwritten
    normalised : (N, H), overwritten
        `(inputs - mean) * scale`, with the mean of the row.
    scales : (N,), overwritten
        `1 / sqrt(variance + epsilon)` of each row.
    inputs : (N, H)
    gain, bias : (H,)
    epsilon : float above 0
    """
    cdef Py_ssize_t N = inputs.shape[0], H = inputs.shape[1], i
    check_rows(output, normalised, scales, inputs, gain, bias)
    if not epsilon > 0.0:
        raise ValueError(f"epsilon is {epsilon}, expected a number above 0")
    if N == 0 or H == 0:
        return
    with nogil:
        for i in range(N):
            shifted_row(&normalised[i, 0], &inputs[i, 0], row_sum(&inputs[i, 0], H) / H, H)
            scales[i] = <real>(1.0 / sqrt(sum_squares(&normalised[i, 0], H) / H + epsilon))
            scale_row(&normalised[i, 0], scales[i], H)
            gain_and_bias(&output[i, 0], &normalised[i, 0], &gain[0], &bias[0], H)


def layer_norm_backward(
    real[:, ::1] dinputs, real[::1] dgain, real[::1] dbias, const real[:, ::1] doutput,
    const real[:, ::1] normalised, const real[::1] scales, const real[::1] gain, bint accumulate
):
    """Gradients of inputs, gain and bias.

    Parameters
    ----------
    dinputs : (N, H), overwritten; not doutput
    dgain, dbias : (H,), added to if `accumulate`, else overwritten
    doutput : (N, H)
    normalised, scales : (N, H), (N,)
        From the forward pass.
    gain : (H,)
    accumulate : bool
    """
    cdef Py_ssize_t N = normalised.shape[0], H = normalised.shape[1], i
    cdef real mean, slope
    check_rows(dinputs, doutput, scales, normalised, gain, dbias)
    if dgain.shape[0] != H:
        raise ValueError(f"dgain has shape ({dgain.shape[0]},), expected ({H},) for rows of {H}")
    if H == 0:
        return
    with nogil:
        if not accumulate:
            memset(&dgain[0], 0, <size_t>H * sizeof(real))
            memset(&dbias[0], 0, <size_t>H * sizeof(real))
        for i in range(N):
            add_row_products(&dgain[0], &doutput[i, 0], &normalised[i, 0], 1, H)
            add_scaled(&dbias[0], <real>1.0, &doutput[i, 0], H)
            multiply_rows(&dinputs[i, 0], &doutput[i, 0], &gain[0], H)
            mean = row_sum(&dinputs[i, 0], H) / H
            slope = dot(&dinputs[i, 0], &normalised[i, 0], H) / H
            centre_gradient(&dinputs[i, 0], &normalised[i, 0], mean, slope, scales[i], H)


cdef check_rows(
    const real[:, ::1] written, const real[:, ::1] other, const real[::1] scales, const real[:, ::1] rows,
    const real[::1] gain, const real[::1] bias
):
    cdef Py_ssize_t N = rows.shape[0], H = rows.shape[1]
    if written.shape[0] != N or written.shape[1] != H or other.shape[0] != N or other.shape[1] != H:
        raise ValueError(
            f"arrays of shape ({written.shape[0]}, {written.shape[1]}), ({other.shape[0]}, {other.shape[1]}) and "
            f"({N}, {H}) do not fit: expected all of one shape")
    if scales.shape[0] != N or gain.shape[0] != H or bias.shape[0] != H:
        raise ValueError(
            f"scales ({scales.shape[0]},), gain ({gain.shape[0]},) and bias ({bias.shape[0]},) do not fit {N} rows of "
            f"{H}: expected ({N},), ({H},), ({H},)")
