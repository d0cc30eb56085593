"""Softmaxes over the words of classes: each token's over its own class alone (Goodman 2001).

Tokens come in sorted by class, and the words of a class stand together in the tables, so that all tokens of a class
go through one matrix product with its words. Group g is a class that has tokens: those from token_bounds[g] to
token_bounds[g + 1], with the words from firsts[g] on; their gradients are the rows from row_bounds[g] to
row_bounds[g + 1], so that only words of classes that occur have any. The passes within a class are those of the full
softmax, with all its words as one block.
"""

from libc.math cimport NAN, log
from libc.string cimport memset

from fastlm.kernels cimport softmax
from fastlm.kernels.matrix cimport PANEL_BYTES, pack_transposed_rows, real
from fastlm.kernels.vector cimport add_matrix_vector, exp_biased, max_biased, row_sum


def class_forward(
    real[::1] log_probs, const real[:, ::1] hidden, const real[:, ::1] weight, const real[::1] bias,
    const int[::1] targets, const int[::1] token_bounds, const int[::1] row_bounds, const int[::1] firsts,
    real[::1] scratch, Py_ssize_t start, Py_ssize_t stop,
):
    """Log-probability of each target among the words of its class.

    Parameters
    ----------
    log_probs : (N,), overwritten
        Of the tokens of the groups from `start` to `stop`: threads take different groups.
    hidden : (N, H)
    weight : (V, H)
    bias : (V,)
    targets : (N,) int32
        The word within its class, from 0.
    token_bounds, row_bounds : (G + 1,) int32
    firsts : (G,) int32
    scratch : at least `class_scratch_size` elements
    start, stop : int
        The groups.
    """
    cdef Py_ssize_t H = weight.shape[1], W = PANEL_BYTES // <Py_ssize_t>sizeof(real), g, n, m, first, tokens
    cdef real* packed
    cdef real* log_norms
    cdef real* shifts
    check_groups(
        log_probs, hidden, weight, bias, targets, token_bounds, row_bounds, firsts, scratch.shape[0], start, stop)
    if H == 0:
        return
    with nogil:
        for g in range(start, stop):
            first, tokens = firsts[g], token_bounds[g]
            n, m = token_bounds[g + 1] - tokens, row_bounds[g + 1] - row_bounds[g]
            if n == 0 or m == 0:
                continue
            packed = &scratch[0]
            log_norms = packed + whole_panels(n, W) * H
            shifts = log_norms + whole_panels(n, W)
            pack_transposed_rows(packed, H, &hidden[tokens, 0], H, H, n)
            softmax.forward(
                &log_probs[tokens], log_norms, packed, H, &weight[first, 0], &bias[first], &targets[tokens],
                shifts + whole_panels(n, W), shifts, 1, n, m, H, m)


def class_forward_backward(
    real[::1] log_probs, real[:, ::1] dhidden, real[:, ::1] dweight, real[::1] dbias, double[::1] squares,
    const real[:, ::1] hidden, const real[:, ::1] weight, const real[::1] bias, const int[::1] targets,
    const int[::1] token_bounds, const int[::1] row_bounds, const int[::1] firsts, real[::1] scratch, double factor,
    Py_ssize_t start, Py_ssize_t stop,
):
    """Log-probability of each target among the words of its class, and the gradients of `-factor * sum(log_probs)`.

    Parameters
    ----------
    log_probs : (N,), overwritten
        As in `class_forward`.
    dhidden : (N, H), overwritten
        For the same tokens.
    dweight : (R, H), overwritten
        The rows from row_bounds[start] to row_bounds[stop], those of the words of the groups, one after the other.
    dbias : (R,), overwritten
    squares : (G,), overwritten
        Sum of the squares of a group's elements of dweight.
    hidden, weight, bias, targets, token_bounds, row_bounds, firsts, scratch
        As in `class_forward`.
    factor : float
    start, stop : int
        The groups.
    """
    cdef Py_ssize_t H = weight.shape[1], R = dweight.shape[0], W = PANEL_BYTES // <Py_ssize_t>sizeof(real)
    cdef Py_ssize_t g, n, m, first, tokens, row, columns
    cdef real* packed
    cdef real* dpacked
    cdef real* rows
    cdef real* log_norms
    cdef real* shifts
    cdef real* scales
    cdef real* exps
    check_groups(
        log_probs, hidden, weight, bias, targets, token_bounds, row_bounds, firsts, scratch.shape[0], start, stop)
    if dhidden.shape[0] != hidden.shape[0] or dhidden.shape[1] != H or dweight.shape[1] != H or dbias.shape[0] != R:
        raise ValueError(
            f"dhidden ({dhidden.shape[0]}, {dhidden.shape[1]}), dweight ({R}, {dweight.shape[1]}) and dbias "
            f"({dbias.shape[0]},) do not fit hidden ({hidden.shape[0]}, {hidden.shape[1]}): expected (N, H), (R, H), "
            f"(R,)")
    if row_bounds[row_bounds.shape[0] - 1] > R or squares.shape[0] != firsts.shape[0]:
        raise ValueError(
            f"row_bounds up to {row_bounds[row_bounds.shape[0] - 1]} and squares ({squares.shape[0]},) do not fit "
            f"dweight ({R}, {H}) and {firsts.shape[0]} groups: expected up to R, (G,)")
    if H == 0:
        return
    with nogil:
        for g in range(start, stop):
            first, tokens, row = firsts[g], token_bounds[g], row_bounds[g]
            n, m = token_bounds[g + 1] - tokens, row_bounds[g + 1] - row
            if n == 0 or m == 0:
                continue
            columns = whole_panels(n, W)
            packed = &scratch[0]
            dpacked = packed + columns * H
            rows = dpacked + columns * H
            log_norms = rows + columns * whole_panels(H, W)
            shifts = log_norms + columns
            scales = shifts + columns
            exps = scales + 2 * columns
            pack_transposed_rows(packed, H, &hidden[tokens, 0], H, H, n)
            softmax.forward_backward(
                &log_probs[tokens], log_norms, &dhidden[tokens, 0], exps, shifts, packed, H, &weight[first, 0],
                &bias[first], &targets[tokens], dpacked, 0, factor, n, m, H, m)
            scales[0] = NAN  # no scaled rows are there to be used again
            softmax.backward_weight(
                &dweight[row, 0], &dbias[row], &squares[g], exps, shifts, log_norms, &log_probs[tokens],
                &hidden[tokens, 0], &targets[tokens], rows, columns, scales, exps + columns * m, 0, factor, n, m, H,
                m, 0, 1, False)


def class_scratch_size(const int[::1] token_bounds, const int[::1] row_bounds, Py_ssize_t H, Py_ssize_t itemsize):
    """Elements of scratch memory that the kernels need for the largest of these groups.

    Parameters
    ----------
    token_bounds, row_bounds : (G + 1,) int32
    H, itemsize : int
        Hidden units, and bytes of an element.

    Returns
    -------
    int
    """
    cdef Py_ssize_t W = PANEL_BYTES // itemsize, g, n, m, size, largest = 0
    if token_bounds.shape[0] != row_bounds.shape[0]:
        raise ValueError(
            f"token_bounds ({token_bounds.shape[0]},) and row_bounds ({row_bounds.shape[0]},) do not fit: expected "
            f"(G + 1,) both")
    with nogil:
        for g in range(token_bounds.shape[0] - 1):
            n, m = token_bounds[g + 1] - token_bounds[g], row_bounds[g + 1] - row_bounds[g]
            size = whole_panels(n, W) * (2 * H + whole_panels(H, W) + 4 + m) + m * (W // 2)
            largest = max(largest, size)
    return largest


def class_log_probs(
    real[:, ::1] log_probs, const real[:, ::1] classes, const real[:, ::1] hidden, const real[:, ::1] weight,
    const real[::1] bias, const int[::1] bounds, real[::1] scratch,
):
    """Whole distributions: log P(class) + log P(word | class), row by row.

    Parameters
    ----------
    log_probs : (N, V), overwritten
    classes : (N, K)
        log P(class).
    hidden : (N, H)
    weight : (V, H)
    bias : (V,)
    bounds : (K + 1,) int32
        Where the words of each class begin; from 0 to V.
    scratch : (V,)
    """
    cdef Py_ssize_t N = hidden.shape[0], H = hidden.shape[1], V = weight.shape[0], K = bounds.shape[0] - 1
    cdef Py_ssize_t i, k, v, first, size
    cdef real shift, log_norm
    if log_probs.shape[0] != N or log_probs.shape[1] != V or weight.shape[1] != H or bias.shape[0] != V:
        raise ValueError(
            f"log_probs ({log_probs.shape[0]}, {log_probs.shape[1]}), hidden ({N}, {H}), weight ({V}, "
            f"{weight.shape[1]}) and bias ({bias.shape[0]},) do not fit: expected (N, V), (N, H), (V, H), (V,)")
    if K < 0 or classes.shape[0] != N or classes.shape[1] != K or scratch.shape[0] != V:
        raise ValueError(
            f"classes ({classes.shape[0]}, {classes.shape[1]}), bounds ({K + 1},) and scratch ({scratch.shape[0]},) do "
            f"not fit: expected ({N}, {K}), (K + 1,), ({V},)")
    check_bounds("bounds", bounds, V)
    if N == 0 or V == 0 or H == 0:
        return
    with nogil:
        for i in range(N):
            memset(&log_probs[i, 0], 0, <size_t>V * sizeof(real))
            add_matrix_vector(&log_probs[i, 0], &weight[0, 0], &hidden[i, 0], V, H)
            for k in range(K):
                first = bounds[k]
                size = bounds[k + 1] - first
                if size == 0:
                    continue
                shift = max_biased(&log_probs[i, first], &bias[first], size)
                exp_biased(&scratch[0], &log_probs[i, first], &bias[first], shift, size)
                log_norm = shift + <real>log(row_sum(&scratch[0], size)) - classes[i, k]
                for v in range(first, first + size):
                    log_probs[i, v] += bias[v] - log_norm


cdef inline Py_ssize_t whole_panels(Py_ssize_t columns, Py_ssize_t W) noexcept nogil:
    """The columns of all panels that so many columns fill."""
    return (columns + W - 1) // W * W


cdef check_groups(
    const real[::1] log_probs, const real[:, ::1] hidden, const real[:, ::1] weight, const real[::1] bias,
    const int[::1] targets, const int[::1] token_bounds, const int[::1] row_bounds, const int[::1] firsts,
    Py_ssize_t scratch_size, Py_ssize_t start, Py_ssize_t stop,
):
    cdef Py_ssize_t N = targets.shape[0], V = weight.shape[0], H = weight.shape[1], G = token_bounds.shape[0] - 1
    cdef Py_ssize_t g, needed
    if log_probs.shape[0] != N or hidden.shape[0] != N or hidden.shape[1] != H or bias.shape[0] != V:
        raise ValueError(
            f"log_probs ({log_probs.shape[0]},), hidden ({hidden.shape[0]}, {hidden.shape[1]}), weight ({V}, {H}), "
            f"bias ({bias.shape[0]},) and targets ({N},) do not fit: expected (N,), (N, H), (V, H), (V,), (N,)")
    if G < 0 or row_bounds.shape[0] != G + 1 or firsts.shape[0] != G:
        raise ValueError(
            f"token_bounds ({G + 1},), row_bounds ({row_bounds.shape[0]},) and firsts ({firsts.shape[0]},) do not fit: "
            f"expected (G + 1,), ({G + 1},), ({G},)")
    if not 0 <= start <= stop <= G:
        raise ValueError(f"start is {start} and stop is {stop}, expected 0 <= start <= stop <= {G} groups")
    check_bounds("token_bounds", token_bounds, N)
    check_bounds("row_bounds", row_bounds, row_bounds[G])
    for g in range(G):
        if firsts[g] < 0 or firsts[g] + row_bounds[g + 1] - row_bounds[g] > V:
            raise ValueError(
                f"group {g} has the words from {firsts[g]} to {firsts[g] + row_bounds[g + 1] - row_bounds[g]}, "
                f"expected them within 0 to {V}")
    needed = class_scratch_size(token_bounds, row_bounds, H, sizeof(real))
    if scratch_size < needed:
        raise ValueError(f"scratch has {scratch_size} elements, expected at least {needed}")


cdef check_bounds(str name, const int[::1] bounds, Py_ssize_t last):
    cdef Py_ssize_t i
    if bounds[0] != 0 or bounds[bounds.shape[0] - 1] != last:
        raise ValueError(
            f"{name} are from {bounds[0]} to {bounds[bounds.shape[0] - 1]}, expected them to rise from 0 to {last}")
    for i in range(1, bounds.shape[0]):
        if bounds[i] < bounds[i - 1]:
            raise ValueError(f"{name} fall from {bounds[i - 1]} to {bounds[i]}, expected them to rise")
