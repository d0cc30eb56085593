"""Activations beside tanh: rectified linear units (Nair & Hinton 2010) and Gaussian ones (Hendrycks & Gimpel 2016)."""

from fastlm.kernels.matrix cimport real
from fastlm.kernels.vector cimport gelu_gradient, gelu_rows, relu_gradient, relu_rows


def relu_forward(real[:, ::1] output, const real[:, ::1] inputs):
    """Compute `output = max(inputs, 0)`.

    Parameters
    ----------
    output : (N, H), overwritten; may be inputs
    inputs : (N, H)
    """
    cdef Py_ssize_t N = inputs.shape[0], H = inputs.shape[1]
    check_same(output, inputs, inputs)
    if N == 0 or H == 0:
        return
    with nogil:
        relu_rows(&output[0, 0], &inputs[0, 0], N * H)


def relu_backward(real[:, ::1] dinputs, const real[:, ::1] doutput, const real[:, ::1] output):
    """Compute `dinputs = doutput` where `output = max(inputs, 0)` is above 0, and 0 elsewhere.

    Parameters
    ----------
    dinputs : (N, H), overwritten; may be doutput
    doutput, output : (N, H)
    """
    cdef Py_ssize_t N = output.shape[0], H = output.shape[1]
    check_same(dinputs, doutput, output)
    if N == 0 or H == 0:
        return
    with nogil:
        relu_gradient(&dinputs[0, 0], &doutput[0, 0], &output[0, 0], N * H)


def gelu_forward(real[:, ::1] output, const real[:, ::1] inputs):
    """Compute `output = inputs / 2 * (1 + tanh(sqrt(2 / pi) * (inputs + 0.044715 * inputs^3)))`.

    Parameters
    ----------
    output : (N, H), overwritten; not inputs, which the backward pass reads
    inputs : (N, H)
    """
    cdef Py_ssize_t N = inputs.shape[0], H = inputs.shape[1]
    check_same(output, inputs, inputs)
    if N == 0 or H == 0:
        return
    with nogil:
        gelu_rows(&output[0, 0], &inputs[0, 0], N * H)


def gelu_backward(real[:, ::1] dinputs, const real[:, ::1] doutput, const real[:, ::1] inputs):
    """Compute `dinputs`, the gradient through `gelu_forward`.

    Parameters
    ----------
    dinputs : (N, H), overwritten; may be doutput
    doutput, inputs : (N, H)
    """
    cdef Py_ssize_t N = inputs.shape[0], H = inputs.shape[1]
    check_same(dinputs, doutput, inputs)
    if N == 0 or H == 0:
        return
    with nogil:
        gelu_gradient(&dinputs[0, 0], &doutput[0, 0], &inputs[0, 0], N * H)


cdef check_same(const real[:, ::1] written, const real[:, ::1] gradient, const real[:, ::1] read):
    cdef Py_ssize_t N = read.shape[0], H = read.shape[1]
    if written.shape[0] != N or written.shape[1] != H or gradient.shape[0] != N or gradient.shape[1] != H:
        raise ValueError(
            f"arrays of shape ({written.shape[0]}, {written.shape[1]}), ({gradient.shape[0]}, {gradient.shape[1]}) and "
            f"({N}, {H}) do not fit: expected all of one shape")
