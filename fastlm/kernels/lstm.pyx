"""Long short-term memory (Hochreiter & Schmidhuber 1997; forget gates: Gers et al. 2000) over whole sequences.

The gates of a row stand side by side in the order input, forget, output, candidate, (T, B, 4H). A time step is one
product, (B, H) x (H, 4H), and one pass over its rows. Otherwise as in `recurrent`.
"""

from libc.string cimport memcpy, memset

from fastlm.kernels.gates cimport lstm_gradient, lstm_row
from fastlm.kernels.matrix cimport multiply, real
from fastlm.kernels.recurrent cimport check_packed, check_sequence, check_states, row_stride
from fastlm.kernels.vector cimport add_matrix_vector


def lstm_forward(
    real[:, :, :] hidden, real[:, :, :] cell, real[:, :, :] gates, real[:, :, :] previous,
    real[:, :, :] previous_cell, const real[:, ::1] initial, const real[:, ::1] initial_cell,
    const unsigned char[:, :] resets, const real[:, :, ::1] w_hh,
):
    """Run T steps of `cell[t] = f * previous_cell[t] + i * g; hidden[t] = o * tanh(cell[t])`.

    i, f, o are sigmoids and g is the tanh of `gates[t] + previous[t] w_hh'`.

    Parameters
    ----------
    hidden, cell : (T, B, H), overwritten
    gates : (T, B, 4H), updated
        Before: the input projection W_x x_t + b of all steps. After: i, f, o and g.
    previous, previous_cell : (T, B, H), overwritten
        `hidden[t - 1]` and `cell[t - 1]` (`initial` and `initial_cell` at t = 0), or zero where `resets[t]` is set.
    initial, initial_cell : (B, H)
    resets : (T, B) uint8
    w_hh : (ceil(4H / W), H, W)
        w_hh (4H, H), as `pack_transposed` packs it.
    """
    cdef Py_ssize_t T = hidden.shape[0], B = hidden.shape[1], H = hidden.shape[2], t, i
    cdef Py_ssize_t stride, previous_stride
    cdef size_t size = <size_t>H * sizeof(real)
    check_sequence(cell, T, B, H)
    check_sequence(hidden, T, B, H)
    check_sequence(gates, T, B, 4 * H)
    check_sequence(previous, T, B, H)
    check_sequence(previous_cell, T, B, H)
    check_states(initial, resets, T, B, H)
    check_states(initial_cell, resets, T, B, H)
    check_packed(w_hh, H, 4 * H)
    if T == 0 or B == 0 or H == 0:
        return
    with nogil:
        stride = row_stride(gates)
        previous_stride = row_stride(previous)
        for t in range(T):
            for i in range(B):
                if resets[t, i]:
                    memset(&previous[t, i, 0], 0, size)
                    memset(&previous_cell[t, i, 0], 0, size)
                elif t == 0:
                    memcpy(&previous[t, i, 0], &initial[i, 0], size)
                    memcpy(&previous_cell[t, i, 0], &initial_cell[i, 0], size)
                else:
                    memcpy(&previous[t, i, 0], &hidden[t - 1, i, 0], size)
                    memcpy(&previous_cell[t, i, 0], &cell[t - 1, i, 0], size)
            multiply(
                &gates[t, 0, 0], stride, &previous[t, 0, 0], previous_stride, 1, 0, &w_hh[0, 0, 0], H, B, 4 * H, H,
                True)
            for i in range(B):
                lstm_row(&hidden[t, i, 0], &cell[t, i, 0], &gates[t, i, 0], &previous_cell[t, i, 0], H)


def lstm_backward(
    real[:, :, :] dgates, real[:, ::1] dinitial, real[:, ::1] dinitial_cell, const real[:, :, :] dhidden,
    const real[:, :, :] gates, const real[:, :, :] cell, const real[:, :, :] previous_cell,
    const unsigned char[:, :] resets, const real[:, :, ::1] w_hh,
):
    """Propagate `dhidden` back through time to the input projections and the initial state.

    The gradient of `w_hh` is `sum over t of dgates[t]' previous[t]`, left to `linear_backward_weight`.

    Parameters
    ----------
    dgates : (T, B, 4H), overwritten
        The gradient of the input projections.
    dinitial, dinitial_cell : (B, H), overwritten
        Also what is carried from step to step.
    dhidden : (T, B, H)
        The gradient that reaches each step from above.
    gates, cell, previous_cell : (T, B, 4H), (T, B, H), (T, B, H)
        As `lstm_forward` left them.
    resets : (T, B) uint8
    w_hh : (ceil(H / W), 4H, W)
        w_hh (4H, H), as `pack_matrix` packs it.
    """
    cdef Py_ssize_t T = cell.shape[0], B = cell.shape[1], H = cell.shape[2], t, i, stride
    cdef size_t size = <size_t>H * sizeof(real)
    check_sequence(dhidden, T, B, H)
    check_sequence(cell, T, B, H)
    check_sequence(dgates, T, B, 4 * H)
    check_sequence(gates, T, B, 4 * H)
    check_sequence(previous_cell, T, B, H)
    check_states(dinitial, resets, T, B, H)
    check_states(dinitial_cell, resets, T, B, H)
    check_packed(w_hh, 4 * H, H)
    if B == 0 or H == 0:
        return
    with nogil:
        stride = row_stride(dgates)
        memset(&dinitial[0, 0], 0, <size_t>B * size)
        memset(&dinitial_cell[0, 0], 0, <size_t>B * size)
        for t in range(T - 1, -1, -1):
            for i in range(B):
                lstm_gradient(
                    &dgates[t, i, 0], &dinitial_cell[i, 0], &dhidden[t, i, 0], &dinitial[i, 0], &gates[t, i, 0],
                    &cell[t, i, 0], &previous_cell[t, i, 0], H)
            multiply(&dinitial[0, 0], H, &dgates[t, 0, 0], stride, 1, 0, &w_hh[0, 0, 0], 4 * H, B, H, 4 * H, False)
            for i in range(B):
                if resets[t, i]:
                    memset(&dinitial[i, 0], 0, size)
                    memset(&dinitial_cell[i, 0], 0, size)


def lstm_step(
    real[::1] hidden, real[::1] cell, real[::1] gates, const real[::1] previous, const real[::1] previous_cell,
    const real[:, ::1] w_hh,
):
    """Take one step for one sequence; nothing is packed.

    Parameters
    ----------
    hidden, cell : (H,), overwritten
    gates : (4H,), updated
        As in `lstm_forward`.
    previous, previous_cell : (H,)
    w_hh : (4H, H)
    """
    cdef Py_ssize_t H = hidden.shape[0]
    if (
        cell.shape[0] != H or gates.shape[0] != 4 * H or previous.shape[0] != H or previous_cell.shape[0] != H
        or w_hh.shape[0] != 4 * H or w_hh.shape[1] != H
    ):
        raise ValueError(
            f"hidden ({H},), cell ({cell.shape[0]},), gates ({gates.shape[0]},), previous ({previous.shape[0]},), "
            f"previous_cell ({previous_cell.shape[0]},) and w_hh ({w_hh.shape[0]}, {w_hh.shape[1]}) do not fit: "
            f"expected ({H},), ({H},), ({4 * H},), ({H},), ({H},), ({4 * H}, {H})")
    if H == 0:
        return
    with nogil:
        add_matrix_vector(&gates[0], &w_hh[0, 0], &previous[0], 4 * H, H)
        lstm_row(&hidden[0], &cell[0], &gates[0], &previous_cell[0], H)
