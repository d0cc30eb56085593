"""Affine layer y = x W' + b, and its tanh."""

from libc.string cimport memcpy, memset

from fastlm.kernels.blas cimport gemm_nn, gemm_nt, gemm_tn, real
from fastlm.kernels.vector cimport add_matrix_vector, add_scaled, tanh_gradient, tanh_rows


def linear_forward(real[:, ::1] output, const real[:, ::1] inputs, const real[:, ::1] weight, const real[::1] bias):
    """Compute `output = inputs weight' + bias`.

    Parameters
    ----------
    output : (N, H), overwritten
    inputs : (N, D)
    weight : (H, D)
    bias : (H,)
    """
    cdef Py_ssize_t N = inputs.shape[0], D = inputs.shape[1], H = weight.shape[0], i
    if weight.shape[1] != D or bias.shape[0] != H or output.shape[0] != N or output.shape[1] != H:
        raise ValueError(
            f"output ({output.shape[0]}, {output.shape[1]}), inputs ({N}, {D}), weight ({H}, {weight.shape[1]}) and "
            f"bias ({bias.shape[0]},) do not fit: expected (N, H), (N, D), (H, D), (H,)")
    if N == 0 or H == 0:
        return
    with nogil:
        for i in range(N):
            memcpy(&output[i, 0], &bias[0], <size_t>H * sizeof(real))
        if D > 0:
            gemm_nt(&output[0, 0], H, &inputs[0, 0], D, &weight[0, 0], D, N, H, D, <real>1.0)


def linear_backward(real[:, ::1] dinputs, const real[:, ::1] doutput, const real[:, ::1] weight):
    """Compute `dinputs = doutput weight`.

    Parameters
    ----------
    dinputs : (N, D), overwritten
    doutput : (N, H)
    weight : (H, D)
    """
    cdef Py_ssize_t N = doutput.shape[0], H = weight.shape[0], D = weight.shape[1]
    if doutput.shape[1] != H or dinputs.shape[0] != N or dinputs.shape[1] != D:
        raise ValueError(
            f"dinputs ({dinputs.shape[0]}, {dinputs.shape[1]}), doutput ({N}, {doutput.shape[1]}) and weight "
            f"({H}, {D}) do not fit: expected (N, D), (N, H), (H, D)")
    if N == 0 or D == 0:
        return
    if H == 0:
        memset(&dinputs[0, 0], 0, <size_t>(N * D) * sizeof(real))
        return
    with nogil:
        gemm_nn(&dinputs[0, 0], D, &doutput[0, 0], H, &weight[0, 0], D, N, D, H, <real>0.0)


def linear_backward_weight(
    real[:, ::1] dweight, real[::1] dbias, const real[:, :] doutput, const real[:, ::1] inputs
):
    """Add `doutput' inputs` to `dweight` and the column sums of `doutput` to `dbias`.

    Parameters
    ----------
    dweight : (H, D), added to
    dbias : (H,) or (0,), added to
        Empty where there is no bias.
    doutput : (N, H)
        May be a slice of columns of a wider array, so that threads can share the rows of the weight.
    inputs : (N, D)
    """
    cdef Py_ssize_t N = inputs.shape[0], D = inputs.shape[1], H = doutput.shape[1], i
    cdef Py_ssize_t stride = doutput.strides[0] // <Py_ssize_t>sizeof(real) if N > 1 else H  # one row's says nothing
    if doutput.shape[0] != N or dweight.shape[0] != H or dweight.shape[1] != D or dbias.shape[0] not in (0, H):
        raise ValueError(
            f"dweight ({dweight.shape[0]}, {dweight.shape[1]}), dbias ({dbias.shape[0]},), doutput "
            f"({doutput.shape[0]}, {H}) and inputs ({N}, {D}) do not fit: expected (H, D), (H,), (N, H), (N, D)")
    if (H > 1 and doutput.strides[1] != <Py_ssize_t>sizeof(real)) or stride < H:
        raise ValueError(
            f"doutput of shape ({N}, {H}) has strides ({doutput.strides[0]}, {doutput.strides[1]}), expected its rows "
            f"contiguous and one after the other: a C-contiguous array or a slice of columns of one")
    if N == 0 or H == 0:
        return
    with nogil:
        if D > 0:
            gemm_tn(&dweight[0, 0], D, &doutput[0, 0], stride, &inputs[0, 0], D, H, D, N, <real>1.0)
        if dbias.shape[0] > 0:
            for i in range(N):
                add_scaled(&dbias[0], <real>1.0, &doutput[i, 0], H)


def linear_forward_vector(
    real[::1] output, const real[::1] inputs, const real[:, ::1] weight, const real[::1] bias
):
    """Compute `output = weight inputs + bias` for one row of inputs, without BLAS.

    A BLAS may start threads of its own for a product with a vector; this one runs where it is called.

    Parameters
    ----------
    output : (H,), overwritten
    inputs : (D,)
    weight : (H, D)
    bias : (H,)
    """
    cdef Py_ssize_t D = inputs.shape[0], H = weight.shape[0]
    if weight.shape[1] != D or bias.shape[0] != H or output.shape[0] != H:
        raise ValueError(
            f"output ({output.shape[0]},), inputs ({D},), weight ({H}, {weight.shape[1]}) and bias "
            f"({bias.shape[0]},) do not fit: expected (H,), (D,), (H, D), (H,)")
    if H == 0:
        return
    with nogil:
        memcpy(&output[0], &bias[0], <size_t>H * sizeof(real))
        if D > 0:
            add_matrix_vector(&output[0], &weight[0, 0], &inputs[0], H, D)


def tanh_forward(real[:, ::1] hidden):
    """Replace each element by its tanh.

    Parameters
    ----------
    hidden : (N, H), overwritten in place
    """
    if hidden.shape[0] == 0 or hidden.shape[1] == 0:
        return
    with nogil:
        tanh_rows(&hidden[0, 0], hidden.shape[0] * hidden.shape[1])


def tanh_backward(real[:, ::1] dinputs, const real[:, ::1] dhidden, const real[:, ::1] hidden):
    """Compute `dinputs = dhidden * (1 - hidden^2)` for `hidden = tanh(inputs)`.

    Parameters
    ----------
    dinputs : (N, H), overwritten; may be dhidden
    dhidden, hidden : (N, H)
    """
    cdef Py_ssize_t N = hidden.shape[0], H = hidden.shape[1]
    if dinputs.shape[0] != N or dinputs.shape[1] != H or dhidden.shape[0] != N or dhidden.shape[1] != H:
        raise ValueError(
            f"dinputs ({dinputs.shape[0]}, {dinputs.shape[1]}), dhidden ({dhidden.shape[0]}, {dhidden.shape[1]}) and "
            f"hidden ({N}, {H}) do not fit: expected three of one shape")
    if N == 0 or H == 0:
        return
    with nogil:
        tanh_gradient(&dinputs[0, 0], &dhidden[0, 0], &hidden[0, 0], N * H)
