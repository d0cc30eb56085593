"""Gated recurrent units (Cho et al. 2014) over whole sequences.

Of the paper's two versions this is the first one, in which the reset gate is applied to the recurrent product and not
before it: a time step is then one product, (B, H) x (H, 3H). The gates of a row stand side by side in the order reset,
update, candidate, (T, B, 3H). Otherwise as in `recurrent`.
"""

from libc.string cimport memcpy, memset

from fastlm.kernels.gates cimport gru_gradient, gru_row
from fastlm.kernels.matrix cimport multiply, real
from fastlm.kernels.recurrent cimport check_packed, check_sequence, check_states, row_stride
from fastlm.kernels.vector cimport add_matrix_vector


def gru_forward(
    real[:, :, :] hidden, real[:, :, :] gates, real[:, :, :] products, real[:, :, :] previous,
    const real[:, ::1] initial, const unsigned char[:, :] resets, const real[:, :, ::1] w_hh,
):
    """Run T steps of `hidden[t] = (1 - z) * n + z * previous[t]`.

    r and z are sigmoids of their gates and their products, n = tanh(gate + r * product).

    Parameters
    ----------
    hidden : (T, B, H), overwritten
    gates : (T, B, 3H), updated
        Before: the input projection W_x x_t + b of all steps. After: r, z and n.
    products : (T, B, 3H), overwritten
        `previous[t] w_hh'`.
    previous : (T, B, H), overwritten
        `hidden[t - 1]` (`initial` at t = 0), or zero where `resets[t]` is set.
    initial : (B, H)
    resets : (T, B) uint8
    w_hh : (ceil(3H / W), H, W)
        w_hh (3H, H), as `pack_transposed` packs it.
    """
    cdef Py_ssize_t T = hidden.shape[0], B = hidden.shape[1], H = hidden.shape[2], t, i
    cdef Py_ssize_t stride, previous_stride
    cdef size_t size = <size_t>H * sizeof(real)
    check_sequence(previous, T, B, H)
    check_sequence(hidden, T, B, H)
    check_sequence(gates, T, B, 3 * H)
    check_sequence(products, T, B, 3 * H)
    check_states(initial, resets, T, B, H)
    check_packed(w_hh, H, 3 * H)
    if T == 0 or B == 0 or H == 0:
        return
    with nogil:
        stride = row_stride(products)
        previous_stride = row_stride(previous)
        for t in range(T):
            for i in range(B):
                if resets[t, i]:
                    memset(&previous[t, i, 0], 0, size)
                elif t == 0:
                    memcpy(&previous[t, i, 0], &initial[i, 0], size)
                else:
                    memcpy(&previous[t, i, 0], &hidden[t - 1, i, 0], size)
            multiply(
                &products[t, 0, 0], stride, &previous[t, 0, 0], previous_stride, 1, 0, &w_hh[0, 0, 0], H, B, 3 * H, H,
                False)
            for i in range(B):
                gru_row(&hidden[t, i, 0], &gates[t, i, 0], &products[t, i, 0], &previous[t, i, 0], H)


def gru_backward(
    real[:, :, :] dgates, real[:, :, :] dproducts, real[:, ::1] dinitial, const real[:, :, :] dhidden,
    const real[:, :, :] gates, const real[:, :, :] products, const real[:, :, :] previous,
    const unsigned char[:, :] resets, const real[:, :, ::1] w_hh,
):
    """Propagate `dhidden` back through time to the input projections, the products and the initial state.

    The gradient of `w_hh` is `sum over t of dproducts[t]' previous[t]`, left to `linear_backward_weight`.

    Parameters
    ----------
    dgates, dproducts : (T, B, 3H), overwritten
        The gradients of the input projections and of the products: alike but for the candidate.
    dinitial : (B, H), overwritten
        Also what is carried from step to step.
    dhidden : (T, B, H)
        The gradient that reaches each step from above.
    gates, products, previous : (T, B, 3H), (T, B, 3H), (T, B, H)
        As `gru_forward` left them.
    resets : (T, B) uint8
    w_hh : (ceil(H / W), 3H, W)
        w_hh (3H, H), as `pack_matrix` packs it.
    """
    cdef Py_ssize_t T = previous.shape[0], B = previous.shape[1], H = previous.shape[2], t, i, stride
    cdef size_t size = <size_t>H * sizeof(real)
    check_sequence(dhidden, T, B, H)
    check_sequence(previous, T, B, H)
    check_sequence(dgates, T, B, 3 * H)
    check_sequence(dproducts, T, B, 3 * H)
    check_sequence(gates, T, B, 3 * H)
    check_sequence(products, T, B, 3 * H)
    check_states(dinitial, resets, T, B, H)
    check_packed(w_hh, 3 * H, H)
    if B == 0 or H == 0:
        return
    with nogil:
        stride = row_stride(dproducts)
        memset(&dinitial[0, 0], 0, <size_t>B * size)
        for t in range(T - 1, -1, -1):
            for i in range(B):
                gru_gradient(
                    &dgates[t, i, 0], &dproducts[t, i, 0], &dinitial[i, 0], &dhidden[t, i, 0], &gates[t, i, 0],
                    &products[t, i, 0], &previous[t, i, 0], H)
            multiply(&dinitial[0, 0], H, &dproducts[t, 0, 0], stride, 1, 0, &w_hh[0, 0, 0], 3 * H, B, H, 3 * H, True)
            for i in range(B):
                if resets[t, i]:
                    memset(&dinitial[i, 0], 0, size)


def gru_step(
    real[::1] hidden, real[::1] gates, real[::1] products, const real[::1] previous, const real[:, ::1] w_hh
):
    """Take one step for one sequence; nothing is packed.

    Parameters
    ----------
    hidden : (H,), overwritten
    gates : (3H,), updated
        As in `gru_forward`.
    products : (3H,), overwritten
    previous : (H,)
    w_hh : (3H, H)
    """
    cdef Py_ssize_t H = hidden.shape[0]
    if (
        gates.shape[0] != 3 * H or products.shape[0] != 3 * H or previous.shape[0] != H
        or w_hh.shape[0] != 3 * H or w_hh.shape[1] != H
    ):
        raise ValueError(
            f"hidden ({H},), gates ({gates.shape[0]},), products ({products.shape[0]},), previous "
            f"({previous.shape[0]},) and w_hh ({w_hh.shape[0]}, {w_hh.shape[1]}) do not fit: expected ({H},), "
            f"({3 * H},), ({3 * H},), ({H},), ({3 * H}, {H})")
    if H == 0:
        return
    with nogil:
        memset(&products[0], 0, <size_t>(3 * H) * sizeof(real))
        add_matrix_vector(&products[0], &w_hh[0, 0], &previous[0], 3 * H, H)
        gru_row(&hidden[0], &gates[0], &products[0], &previous[0], H)
