"""The simple recurrent layer over whole sequences: forward in time, and backpropagation through time.

All sequences are time-major, (T, B, H). Batch rows are independent of each other, so threads can share the
work by slices [:, start:stop, :]; within a row of the batch H is contiguous.
"""

from libc.string cimport memcpy, memset

from fastlm.kernels.matrix cimport PANEL_BYTES, multiply, real
from fastlm.kernels.vector cimport add_matrix_vector, add_scaled, tanh_gradient, tanh_rows


def elman_forward(
    real[:, :, :] hidden, real[:, :, :] previous, const real[:, :, :] inputs, const real[:, ::1] initial,
    const unsigned char[:, :] resets, const real[:, :, ::1] w_hh,
):
    """Run `hidden[t] = tanh(inputs[t] + previous[t] w_hh')` over T steps (Elman 1990).

    `previous[t]` is `hidden[t - 1]` (`initial` at t = 0), or zero where `resets[t]` is set.

    Parameters
    ----------
    hidden, previous : (T, B, H), overwritten
    inputs : (T, B, H)
        The input projection W_x e_t + b of all steps.
    initial : (B, H)
    resets : (T, B) uint8
    w_hh : (ceil(H / W), H, W)
        w_hh (H, H), as `pack_transposed` packs it.
    """
    cdef Py_ssize_t T = inputs.shape[0], B = inputs.shape[1], H = inputs.shape[2], t, i
    cdef Py_ssize_t stride, previous_stride
    check_sequence(hidden, T, B, H)
    check_sequence(previous, T, B, H)
    check_sequence(inputs, T, B, H)
    check_states(initial, resets, T, B, H)
    check_packed(w_hh, H, H)
    if T == 0 or B == 0 or H == 0:
        return
    with nogil:
        stride = row_stride(hidden)
        previous_stride = row_stride(previous)
        for t in range(T):
            for i in range(B):
                if resets[t, i]:
                    memset(&previous[t, i, 0], 0, <size_t>H * sizeof(real))
                elif t == 0:
                    memcpy(&previous[t, i, 0], &initial[i, 0], <size_t>H * sizeof(real))
                else:
                    memcpy(&previous[t, i, 0], &hidden[t - 1, i, 0], <size_t>H * sizeof(real))
                memcpy(&hidden[t, i, 0], &inputs[t, i, 0], <size_t>H * sizeof(real))
            multiply(
                &hidden[t, 0, 0], stride, &previous[t, 0, 0], previous_stride, 1, 0, &w_hh[0, 0, 0], H, B, H, H, True)
            for i in range(B):
                tanh_rows(&hidden[t, i, 0], H)


def elman_backward(
    real[:, :, :] dinputs, real[:, ::1] dinitial, const real[:, :, :] dhidden, const real[:, :, :] hidden,
    const unsigned char[:, :] resets, const real[:, :, ::1] w_hh,
):
    """Propagate `dhidden` back through time to the input projections and the initial state.

    The gradient of `w_hh` is `sum over t of dinputs[t]' previous[t]`: one product for all steps, left to
    `linear_backward_weight`.

    Parameters
    ----------
    dinputs : (T, B, H), overwritten
    dinitial : (B, H), overwritten
        Also what is carried from step to step.
    dhidden : (T, B, H)
        The gradient that reaches each step from above.
    hidden : (T, B, H)
        As `elman_forward` left it.
    resets : (T, B) uint8
    w_hh : (ceil(H / W), H, W)
        w_hh (H, H), as `pack_matrix` packs it.
    """
    cdef Py_ssize_t T = hidden.shape[0], B = hidden.shape[1], H = hidden.shape[2], t, i, stride
    check_sequence(dinputs, T, B, H)
    check_sequence(dhidden, T, B, H)
    check_sequence(hidden, T, B, H)
    check_states(dinitial, resets, T, B, H)
    check_packed(w_hh, H, H)
    if B == 0 or H == 0:
        return
    with nogil:
        stride = row_stride(dinputs)
        memset(&dinitial[0, 0], 0, <size_t>(B * H) * sizeof(real))
        for t in range(T - 1, -1, -1):
            for i in range(B):
                memcpy(&dinputs[t, i, 0], &dhidden[t, i, 0], <size_t>H * sizeof(real))
                add_scaled(&dinputs[t, i, 0], <real>1.0, &dinitial[i, 0], H)
                tanh_gradient(&dinputs[t, i, 0], &dinputs[t, i, 0], &hidden[t, i, 0], H)
            multiply(&dinitial[0, 0], H, &dinputs[t, 0, 0], stride, 1, 0, &w_hh[0, 0, 0], H, B, H, H, False)
            for i in range(B):
                if resets[t, i]:
                    memset(&dinitial[i, 0], 0, <size_t>H * sizeof(real))


def elman_step(real[::1] hidden, const real[::1] inputs, const real[::1] previous, const real[:, ::1] w_hh):
    """Take one step, `hidden = tanh(inputs + w_hh previous)`, for one sequence; nothing is packed.

    Parameters
    ----------
    hidden : (H,), overwritten
    inputs, previous : (H,)
    w_hh : (H, H)
    """
    cdef Py_ssize_t H = hidden.shape[0]
    if inputs.shape[0] != H or previous.shape[0] != H or w_hh.shape[0] != H or w_hh.shape[1] != H:
        raise ValueError(
            f"hidden ({H},), inputs ({inputs.shape[0]},), previous ({previous.shape[0]},) and w_hh "
            f"({w_hh.shape[0]}, {w_hh.shape[1]}) do not fit: expected (H,), (H,), (H,), (H, H)")
    if H == 0:
        return
    with nogil:
        memcpy(&hidden[0], &inputs[0], <size_t>H * sizeof(real))
        add_matrix_vector(&hidden[0], &w_hh[0, 0], &previous[0], H, H)
        tanh_rows(&hidden[0], H)


cdef check_sequence(const real[:, :, :] sequence, Py_ssize_t T, Py_ssize_t B, Py_ssize_t size):
    cdef Py_ssize_t itemsize = sizeof(real)
    if sequence.shape[0] != T or sequence.shape[1] != B or sequence.shape[2] != size:
        raise ValueError(
            f"a sequence has shape ({sequence.shape[0]}, {sequence.shape[1]}, {sequence.shape[2]}), expected "
            f"({T}, {B}, {size}) like the others")
    if (size > 1 and sequence.strides[2] != itemsize) or (B > 1 and sequence.strides[1] < size * itemsize):
        raise ValueError(
            f"a sequence of shape ({T}, {B}, {size}) has strides ({sequence.strides[0]}, {sequence.strides[1]}, "
            f"{sequence.strides[2]}), expected its rows contiguous and one after the other: a C-contiguous array or "
            f"a slice [:, start:stop] of one")


cdef check_states(
    const real[:, ::1] state, const unsigned char[:, :] resets, Py_ssize_t T, Py_ssize_t B, Py_ssize_t H
):
    if state.shape[0] != B or state.shape[1] != H:
        raise ValueError(f"the initial state has shape ({state.shape[0]}, {state.shape[1]}), expected ({B}, {H})")
    if resets.shape[0] != T or resets.shape[1] != B:
        raise ValueError(f"resets has shape ({resets.shape[0]}, {resets.shape[1]}), expected ({T}, {B})")


cdef check_packed(const real[:, :, ::1] w_hh, Py_ssize_t depth, Py_ssize_t columns):
    cdef Py_ssize_t width = PANEL_BYTES // <Py_ssize_t>sizeof(real), count = (columns + width - 1) // width
    if w_hh.shape[0] != count or w_hh.shape[1] != depth or w_hh.shape[2] != width:
        raise ValueError(
            f"w_hh has shape ({w_hh.shape[0]}, {w_hh.shape[1]}, {w_hh.shape[2]}), expected ({count}, {depth}, "
            f"{width}): {columns} columns of {depth} in panels, as pack_transposed (forward) or pack_matrix "
            f"(backward) packs w_hh")
