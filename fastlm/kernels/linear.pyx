"""Affine layer y = x W' + b, and its tanh."""

from libc.string cimport memcpy, memset

from fastlm.kernels.matrix cimport check_panels, multiply, real
from fastlm.kernels.vector cimport add_matrix_vector, add_scaled, tanh_gradient, tanh_rows


def linear_forward(
    real[:, ::1] output, const real[:, ::1] inputs, const real[:, :, ::1] weight, const real[::1] bias
):
    """Compute `output = inputs weight' + bias`.

    Parameters
    ----------
    output : (N, H), overwritten
    inputs : (N, D)
    weight : (ceil(H / W), D, W)
        weight (H, D), as `pack_transposed` packs it.
    bias : (H,)
    """
    cdef Py_ssize_t N = inputs.shape[0], D = inputs.shape[1], H = bias.shape[0], i
    if output.shape[0] != N or output.shape[1] != H:
        raise ValueError(
            f"output ({output.shape[0]}, {output.shape[1]}), inputs ({N}, {D}) and bias ({H},) do not fit: expected "
            f"(N, H), (N, D), (H,)")
    check_panels(weight, D, H)
    if N == 0 or H == 0:
        return
    with nogil:
        for i in range(N):
            memcpy(&output[i, 0], &bias[0], <size_t>H * sizeof(real))
        if D > 0:
            multiply(&output[0, 0], H, &inputs[0, 0], D, 1, 0, &weight[0, 0, 0], weight.shape[1], N, H, D, True)


def linear_backward(real[:, ::1] dinputs, const real[:, ::1] doutput, const real[:, :, ::1] weight):
    """Compute `dinputs = doutput weight`.

    Parameters
    ----------
    dinputs : (N, D), overwritten
    doutput : (N, H)
    weight : (ceil(D / W), H, W)
        weight (H, D), as `pack_matrix` packs it.
    """
    cdef Py_ssize_t N = doutput.shape[0], H = doutput.shape[1], D = dinputs.shape[1]
    if dinputs.shape[0] != N:
        raise ValueError(
            f"dinputs ({dinputs.shape[0]}, {D}) and doutput ({N}, {H}) do not fit: expected (N, D), (N, H)")
    check_panels(weight, H, D)
    if N == 0 or D == 0:
        return
    if H == 0:
        memset(&dinputs[0, 0], 0, <size_t>(N * D) * sizeof(real))
        return
    with nogil:
        multiply(&dinputs[0, 0], D, &doutput[0, 0], H, 1, 0, &weight[0, 0, 0], weight.shape[1], N, D, H, False)


def linear_backward_weight(
    real[:, ::1] dweight, real[::1] dbias, const real[:, :] doutput, const real[:, :, ::1] inputs, bint accumulate
):
    """Gradients of weight and bias: `doutput' inputs`, and the column sums of `doutput`.

    Parameters
    ----------
    dweight : (H, D), added to if `accumulate`, else overwritten
    dbias : (H,) or (0,), likewise
        Empty where there is no bias.
    doutput : (N, H)
        May be a slice of columns of a wider array, so that threads can share the rows of the weight.
    inputs : (ceil(D / W), N, W)
        inputs (N, D), as `pack_matrix` packs them.
    accumulate : bool
    """
    cdef Py_ssize_t N = doutput.shape[0], H = doutput.shape[1], D = dweight.shape[1], i
    cdef Py_ssize_t stride = doutput.strides[0] // <Py_ssize_t>sizeof(real) if N > 1 else H  # one row's says nothing
    if dweight.shape[0] != H or dbias.shape[0] not in (0, H):
        raise ValueError(
            f"dweight ({dweight.shape[0]}, {D}), dbias ({dbias.shape[0]},) and doutput ({N}, {H}) do not fit: "
            f"expected (H, D), (H,), (N, H)")
    check_panels(inputs, N, D)
    if (H > 1 and doutput.strides[1] != <Py_ssize_t>sizeof(real)) or stride < H:
        raise ValueError(
            f"doutput of shape ({N}, {H}) has strides ({doutput.strides[0]}, {doutput.strides[1]}), expected its rows "
            f"contiguous and one after the other: a C-contiguous array or a slice of columns of one")
    if H == 0:
        return
    with nogil:
        if not accumulate and dbias.shape[0] > 0:
            memset(&dbias[0], 0, <size_t>H * sizeof(real))
        if not accumulate and N == 0 and D > 0:
            memset(&dweight[0, 0], 0, <size_t>(H * D) * sizeof(real))
        if N > 0 and D > 0:
            multiply(
                &dweight[0, 0], D, &doutput[0, 0], 1, stride, 0, &inputs[0, 0, 0], inputs.shape[1], H, D, N, accumulate)
        if dbias.shape[0] > 0:
            for i in range(N):
                add_scaled(&dbias[0], <real>1.0, &doutput[i, 0], H)


def linear_forward_vector(
    real[::1] output, const real[::1] inputs, const real[:, ::1] weight, const real[::1] bias
):
    """Compute `output = weight inputs + bias` for one row of inputs; nothing is packed.

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
