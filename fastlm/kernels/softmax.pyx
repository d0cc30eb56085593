"""Softmax cross-entropy over the vocabulary: loss, gradients, and whole distributions.

Tokens stand in panels of W columns (see matrix.h), words in rows. The vocabulary is gone through in blocks of `block`
words, so that a block's logits for a panel of tokens stay in the first-level cache while they are made, exponentiated
and multiplied into the gradient of the hidden layer. What is left of them is E[v, i] = exp(logit[v, i] - m[k, i]): the
shift m of a block k rises where a logit goes far beyond it, and the sums so far are scaled by as much (as in online
softmax: Milakov & Gimelshein 2018). With S[k, i] = exp(m[k, i] - log Z[i]) the probability is E S, and the gradient of
the output table is a product of E and of the hidden layer's rows times S: no pass over (N, V) is left.

A penalty a (log Z)^2 on a token's loss, which holds Z near 1 (Devlin et al. 2014), has the gradient 2 a log Z p with
respect to the logits: p, in the gradient of the cross-entropy p - y, counts 1 + 2 a log Z times. Nothing else changes,
and log-probabilities are without it.
"""

from libc.math cimport exp, log
from libc.string cimport memcmp, memcpy, memset

from fastlm.kernels.matrix cimport (
    PANEL_BYTES, check_panels, multiply, multiply_panels, pack, real, rounds_operands, unpack_transposed,
)
from fastlm.kernels.vector cimport (
    add_scaled, add_weighted_panel, exp_panel, raise_shifts, row_sum, scale_panel, sum_squares,
)

cdef enum:
    MOST_COLUMNS = 32  # of a panel
    ROUNDED_TOGETHER = 8  # panels of tokens for which a block of the table is rounded once, where operands are rounded
    SPLIT_TOGETHER = 32  # and split once, where they are split

cdef double LOWEST = -3e38  # a shift that any finite logit of a float32 is far beyond


def softmax_forward(
    real[::1] log_probs, real[:, ::1] log_norms, const real[:, :, ::1] hidden, const real[:, ::1] weight,
    const real[::1] bias, const int[::1] targets, real[:, :, ::1] exps, real[:, ::1] shifts,
):
    """Log-probability of each target under `softmax(hidden weight' + bias)`.

    Parameters
    ----------
    log_probs : (N,), overwritten
        Natural logarithms; 0 where the target is negative, which stands for "no event here".
    log_norms : (P, W), overwritten
        log Z, the logarithm of the sum of exp(logit) over the vocabulary, of the tokens in P = ceil(N / W) panels.
    hidden : (P, H, W)
        hidden (N, H), as `pack_transposed` packs it, split or not.
    weight : (V, H)
    bias : (V,)
    targets : (N,) int32 below V
    exps : (panels, block, W), scratch
        Numbers of panels and of words taken at a time.
    shifts : (P, W), scratch
    """
    cdef Py_ssize_t N = targets.shape[0], P = hidden.shape[0], H = weight.shape[1], W = hidden.shape[2]
    cdef Py_ssize_t V = weight.shape[0], together = exps.shape[0], block = exps.shape[1]
    check_output(N, P, H, W, V, log_probs, log_norms, hidden, weight, bias)
    if together < 1 or block < 1 or exps.shape[2] != W or shifts.shape[0] != P or shifts.shape[1] != W:
        raise ValueError(
            f"exps ({together}, {block}, {exps.shape[2]}) and shifts ({shifts.shape[0]}, {shifts.shape[1]}) do not "
            f"fit: expected (panels, block, {W}) with at least 1 panel and a block of at least 1 word, and ({P}, {W})")
    if N == 0 or V == 0 or H == 0:
        return
    with nogil:
        forward(
            &log_probs[0], &log_norms[0, 0], &hidden[0, 0, 0], hidden.shape[1], &weight[0, 0], &bias[0], &targets[0],
            &exps[0, 0, 0], &shifts[0, 0], together, N, V, H, block)


def softmax_forward_backward(
    real[::1] log_probs, real[:, ::1] log_norms, real[:, ::1] dhidden, real[:, :, ::1] exps, real[:, :, ::1] shifts,
    const real[:, :, ::1] hidden, const real[:, ::1] weight, const real[::1] bias, const int[::1] targets,
    real[:, :, ::1] scratch, double penalty, double factor, Py_ssize_t block,
):
    """Log-probability of each target, and the gradient of the loss with respect to `hidden`.

    The loss is `factor` times the sum over the events of -log_prob + penalty * log_norm^2.

    Both in one, because the gradient is made while the logits are in the cache.

    Parameters
    ----------
    log_probs, log_norms
        As in `softmax_forward`.
    dhidden : (N, H), overwritten
        Rows with a negative target have no gradient.
    exps : (P, V, W), overwritten
        E of the module's docstring, for `softmax_backward_weight`; where operands are rounded, 0 for the targets.
    shifts : (P, K, W), overwritten
        m of the module's docstring, for the K = ceil(V / block) blocks.
    hidden, weight, bias, targets
        As in `softmax_forward`.
    scratch : (P, H, W)
    penalty : float
        Of (log Z)^2; 0 leaves the cross-entropy.
    factor : float
        Usually 1 / (number of events).
    block : int
        Words taken at a time.
    """
    cdef Py_ssize_t N = targets.shape[0], P = hidden.shape[0], H = weight.shape[1], W = hidden.shape[2]
    cdef Py_ssize_t V = weight.shape[0]
    check_output(N, P, H, W, V, log_probs, log_norms, hidden, weight, bias)
    check_saved(N, V, exps, shifts, log_norms, block)
    if dhidden.shape[0] != N or dhidden.shape[1] != H or not same_shape(scratch, P, H, W):
        raise ValueError(
            f"dhidden ({dhidden.shape[0]}, {dhidden.shape[1]}) and scratch ({scratch.shape[0]}, {scratch.shape[1]}, "
            f"{scratch.shape[2]}) do not fit: expected ({N}, {H}), ({P}, {H}, {W})")
    if N == 0 or V == 0 or H == 0:
        return
    with nogil:
        forward_backward(
            &log_probs[0], &log_norms[0, 0], &dhidden[0, 0], &exps[0, 0, 0], &shifts[0, 0, 0], &hidden[0, 0, 0],
            hidden.shape[1], &weight[0, 0], &bias[0], &targets[0], &scratch[0, 0, 0], penalty, factor, N, V, H, block)


def softmax_backward_weight(
    real[:, ::1] dweight, real[::1] dbias, double[::1] squares, const real[:, :, ::1] exps,
    const real[:, :, ::1] shifts, const real[:, ::1] log_norms, const real[::1] log_probs,
    const real[:, ::1] hidden, const int[::1] targets, real[:, :, ::1] rows, real[:, ::1] scales,
    real[:, ::1] lanes, double penalty, double factor, Py_ssize_t block, Py_ssize_t start, Py_ssize_t stop,
    bint accumulate,
):
    """Gradient of the loss of `softmax_forward_backward` with respect to some blocks of the output table.

    Parameters
    ----------
    dweight : (V, H), added to if `accumulate`, else overwritten
        Only the rows of the blocks from `start` to `stop` are touched: threads take different blocks.
    dbias : (V,), likewise
    squares : (K,), overwritten
        Sum of the squares of a block's elements of dweight, while they are in the cache.
    exps : (P, V, W)
    shifts : (P, K, W)
    log_norms : (P, W)
    log_probs : (N,)
        All four as `softmax_forward_backward` left them.
    hidden : (N, H)
        Not packed.
    targets : (N,) int32
    rows : (ceil(H / W), P W, W), scratch, or as high as panels that are split
    scales : (2, P W), scratch
        Both as a call for other blocks left them, whose scaled rows are used again, or scales[0] filled with NaN.
    lanes : (block, W / 2), scratch
    penalty, factor, block
        As in `softmax_forward_backward`.
    start, stop : int
        The blocks.
    accumulate : bool
    """
    cdef Py_ssize_t N = hidden.shape[0], H = hidden.shape[1], P = exps.shape[0], W = exps.shape[2]
    cdef Py_ssize_t V = dweight.shape[0], K = shifts.shape[1]
    check_saved(N, V, exps, shifts, log_norms, block)
    check_weight_arguments(N, H, V, P, W, block, dweight, dbias, log_probs, targets, rows, scales, lanes)
    if squares.shape[0] != K:
        raise ValueError(f"squares has shape ({squares.shape[0]},), expected ({K},): one for each block")
    if not 0 <= start <= stop <= K:
        raise ValueError(f"start is {start} and stop is {stop}, expected 0 <= start <= stop <= {K} blocks")
    if V == 0 or H == 0 or start == stop:
        return
    if N == 0:
        if not accumulate:
            first, size = start * block, min(stop * block, V) - start * block
            memset(&dweight[first, 0], 0, <size_t>(size * H) * sizeof(real))
            memset(&dbias[first], 0, <size_t>size * sizeof(real))
            memset(&squares[start], 0, <size_t>(stop - start) * sizeof(double))
        return
    with nogil:
        backward_weight(
            &dweight[0, 0], &dbias[0], &squares[0], &exps[0, 0, 0], &shifts[0, 0, 0], &log_norms[0, 0],
            &log_probs[0], &hidden[0, 0], &targets[0], &rows[0, 0, 0], rows.shape[1], &scales[0, 0], &lanes[0, 0],
            penalty, factor, N, V, H, block, start, stop, accumulate)


cdef void forward(
    real* log_probs, real* log_norms, const real* hidden, Py_ssize_t height, const real* weight, const real* bias,
    const int* targets, real* exps, real* shifts, Py_ssize_t together, Py_ssize_t N, Py_ssize_t V, Py_ssize_t H,
    Py_ssize_t block,
) noexcept nogil:
    """What `softmax_forward` does, on arrays of the same shapes; N, V and H are not 0."""
    cdef Py_ssize_t W = PANEL_BYTES // <Py_ssize_t>sizeof(real), P = (N + W - 1) // W, group, start, count, p, i, k
    cdef Py_ssize_t first, size
    cdef real[MOST_COLUMNS] factor
    begin(log_probs, log_norms, N, P * W)
    for i in range(P * W):
        shifts[i] = <real>LOWEST
    for k in range((V + block - 1) // block):
        first = k * block
        size = min(block, V - first)
        for group in range((P + together - 1) // together):
            start = group * together
            count = min(together, P - start)
            multiply_panels(
                exps, size * W, weight + first * H, H, 1, hidden + start * height * W, height * W, True, height != H,
                count, size, H, False)
            for p in range(start, start + count):
                exponentiate(
                    exps + (p - start) * size * W, shifts + p * W, log_norms + p * W, factor, log_probs + p * W,
                    bias + first, targets + p * W, first, size, W, min(W, N - p * W))
    for p in range(P):
        normalize(log_probs + p * W, log_norms + p * W, shifts + p * W, targets + p * W, W, min(W, N - p * W))


cdef void forward_backward(
    real* log_probs, real* log_norms, real* dhidden, real* exps, real* shifts, const real* hidden, Py_ssize_t height,
    const real* weight, const real* bias, const int* targets, real* scratch, double penalty, double factor,
    Py_ssize_t N, Py_ssize_t V, Py_ssize_t H, Py_ssize_t block,
) noexcept nogil:
    """What `softmax_forward_backward` does, on arrays of the same shapes; N, V and H are not 0."""
    cdef Py_ssize_t W = PANEL_BYTES // <Py_ssize_t>sizeof(real), P = (N + W - 1) // W, K = (V + block - 1) // block
    cdef bint split = height != H
    cdef Py_ssize_t together = SPLIT_TOGETHER if split else ROUNDED_TOGETHER if rounds_operands() else 1
    cdef Py_ssize_t group, start, count, p, k, i, first, size
    cdef real gradient
    cdef real* shift
    cdef real[MOST_COLUMNS] scale
    begin(log_probs, log_norms, N, P * W)
    for k in range(K):
        first = k * block
        size = min(block, V - first)
        for group in range((P + together - 1) // together):
            start = group * together
            count = min(together, P - start)
            multiply_panels(
                exps + (start * V + first) * W, V * W, weight + first * H, H, 1, hidden + start * height * W,
                height * W, True, split, count, size, H, False)
            for p in range(start, start + count):
                shift = shifts + (p * K + k) * W
                for i in range(W):
                    shift[i] = (shift - W)[i] if k > 0 else <real>LOWEST
                if exponentiate(
                    exps + (p * V + first) * W, shift, log_norms + p * W, scale, log_probs + p * W, bias + first,
                    targets + p * W, first, size, W, min(W, N - p * W),
                ) and k > 0:
                    scale_panel(scratch + p * H * W, scale, H)
            multiply_panels(
                scratch + start * H * W, H * W, weight + first * H, 1, H, exps + (start * V + first) * W, V * W, False,
                split, count, H, size, k > 0)
    for p in range(P):
        for i in range(W):
            scale[i] = <real>factor / log_norms[p * W + i] if p * W + i < N and targets[p * W + i] >= 0 else 0
        normalize(
            log_probs + p * W, log_norms + p * W, shifts + (p * K + K - 1) * W, targets + p * W, W,
            min(W, N - p * W))
        if penalty != 0:
            add_penalty(scale, log_norms + p * W, penalty, W)
        scale_panel(scratch + p * H * W, scale, H)
    unpack_transposed(dhidden, H, scratch, H, N)
    for i in range(N):
        if targets[i] >= 0:
            gradient = target_gradient(log_probs[i], log_norms[i], penalty, factor)
            add_scaled(dhidden + i * H, gradient, weight + targets[i] * H, H)


cdef void backward_weight(
    real* dweight, real* dbias, double* squares, const real* exps, const real* shifts, const real* log_norms,
    const real* log_probs, const real* hidden, const int* targets, real* rows, Py_ssize_t height, real* scales,
    real* lanes, double penalty, double factor, Py_ssize_t N, Py_ssize_t V, Py_ssize_t H, Py_ssize_t block,
    Py_ssize_t start, Py_ssize_t stop, bint accumulate,
) noexcept nogil:
    """What `softmax_backward_weight` does, on arrays of the same shapes; N, V and H are not 0."""
    cdef Py_ssize_t W = PANEL_BYTES // <Py_ssize_t>sizeof(real), P = (N + W - 1) // W, K = (V + block - 1) // block
    cdef Py_ssize_t i, k, p, first, size
    cdef real gradient
    cdef real* latest = scales + P * W
    cdef size_t scales_size = <size_t>(P * W) * sizeof(real)
    for k in range(start, stop):
        first = k * block
        size = min(block, V - first)
        for p in range(P):
            for i in range(W):
                latest[p * W + i] = (
                    <real>(factor * exp(shifts[(p * K + k) * W + i] - log_norms[p * W + i]))
                    if p * W + i < N and targets[p * W + i] >= 0 else 0)
        if penalty != 0:
            add_penalty(latest, log_norms, penalty, P * W)
        if memcmp(scales, latest, scales_size) != 0:  # seldom: shifts rarely change
            memcpy(scales, latest, scales_size)
            pack(rows, height, hidden, H, scales, N, H, P * W)
        memset(lanes, 0, <size_t>(size * (W // 2)) * sizeof(real))
        for p in range(P):
            add_weighted_panel(lanes, exps + (p * V + first) * W, scales + p * W, size)
        for i in range(size):
            dbias[first + i] = row_sum(lanes + i * (W // 2), W // 2) + (dbias[first + i] if accumulate else 0)
        multiply(dweight + first * H, H, exps + first * W, W, 1, V * W, rows, height, size, H, P * W, accumulate)
        for i in range(N):
            if first <= targets[i] < first + size:
                gradient = target_gradient(log_probs[i], log_norms[i], penalty, factor)
                add_scaled(dweight + targets[i] * H, gradient, hidden + i * H, H)
                dbias[targets[i]] += gradient
        squares[k] = sum_squares(dweight + first * H, size * H)


cdef inline void begin(real* log_probs, real* sums, Py_ssize_t N, Py_ssize_t columns) noexcept nogil:
    memset(log_probs, 0, <size_t>N * sizeof(real))
    memset(sums, 0, <size_t>columns * sizeof(real))


cdef inline bint exponentiate(
    real* exps, real* shift, real* sums, real* factor, real* log_probs, const real* bias, const int* targets,
    Py_ssize_t first, Py_ssize_t size, Py_ssize_t W, Py_ssize_t columns,
) noexcept nogil:
    """Make E of the logits of a block of words, from `first`, for a panel of tokens; note those of targets, sum up Z.

    Returns whether the shift has risen; what has been summed up so far is then to be multiplied by `factor`.
    """
    cdef Py_ssize_t i
    cdef bint risen
    for i in range(columns):
        if first <= targets[i] < first + size:
            log_probs[i] = exps[(targets[i] - first) * W + i] + bias[targets[i] - first]
    risen = raise_shifts(shift, factor, exps, bias, size)
    if risen:
        for i in range(W):
            sums[i] *= factor[i]
    exp_panel(exps, sums, bias, shift, size)
    if rounds_operands():  # see target_gradient
        for i in range(columns):
            if first <= targets[i] < first + size:
                exps[(targets[i] - first) * W + i] = 0
    return risen


cdef inline real target_gradient(real log_prob, real log_norm, double penalty, double factor) noexcept nogil:
    """What products with E leave to be added of the gradient with respect to the target's logit.

    That is -y of p - y; where E is rounded, all of it, as p - y of a well predicted target is less than rounding.
    """
    if rounds_operands():
        return <real>(factor * (exp(log_prob) * (1 + 2 * penalty * log_norm) - 1))
    return -<real>factor


cdef inline void normalize(
    real* log_probs, real* log_norms, const real* shift, const int* targets, Py_ssize_t W, Py_ssize_t columns
) noexcept nogil:
    """Turn sums into log Z and logits into log-probabilities."""
    cdef Py_ssize_t i
    for i in range(W):
        log_norms[i] = shift[i] + <real>log(log_norms[i])
    for i in range(columns):
        if targets[i] >= 0:
            log_probs[i] -= log_norms[i]


cdef inline void add_penalty(real* scales, const real* log_norms, double penalty, Py_ssize_t size) noexcept nogil:
    """Let the probabilities of each token count in the gradient as the penalty on log Z has it."""
    cdef Py_ssize_t i
    for i in range(size):
        if scales[i] != 0:  # there is an event
            scales[i] *= <real>(1 + 2 * penalty * log_norms[i])


cdef bint same_shape(const real[:, :, ::1] array, Py_ssize_t first, Py_ssize_t second, Py_ssize_t third):
    return array.shape[0] == first and array.shape[1] == second and array.shape[2] == third


cdef check_output(
    Py_ssize_t N, Py_ssize_t P, Py_ssize_t H, Py_ssize_t W, Py_ssize_t V, const real[::1] log_probs,
    const real[:, ::1] log_norms, const real[:, :, ::1] hidden, const real[:, ::1] weight, const real[::1] bias,
):
    check_panels(hidden, H, N)
    if log_probs.shape[0] != N or log_norms.shape[0] != P or log_norms.shape[1] != W or bias.shape[0] != V:
        raise ValueError(
            f"log_probs ({log_probs.shape[0]},), log_norms ({log_norms.shape[0]}, {log_norms.shape[1]}), weight "
            f"({V}, {H}) and bias ({bias.shape[0]},) do not fit {N} tokens in {P} panels of {W}: expected (N,), "
            f"(P, W), (V, H), (V,)")


cdef check_saved(
    Py_ssize_t N, Py_ssize_t V, const real[:, :, ::1] exps, const real[:, :, ::1] shifts,
    const real[:, ::1] log_norms, Py_ssize_t block,
):
    cdef Py_ssize_t width = PANEL_BYTES // <Py_ssize_t>sizeof(real), panels = (N + width - 1) // width, blocks
    if block < 1:
        raise ValueError(f"block is {block}, expected at least 1 word")
    blocks = (V + block - 1) // block
    if not same_shape(exps, panels, V, width) or not same_shape(shifts, panels, blocks, width) \
            or log_norms.shape[0] != panels or log_norms.shape[1] != width:
        raise ValueError(
            f"exps ({exps.shape[0]}, {exps.shape[1]}, {exps.shape[2]}), shifts ({shifts.shape[0]}, {shifts.shape[1]}, "
            f"{shifts.shape[2]}) and log_norms ({log_norms.shape[0]}, {log_norms.shape[1]}) do not fit {N} tokens and "
            f"{V} words in blocks of {block}: expected ({panels}, {V}, {width}), ({panels}, {blocks}, {width}), "
            f"({panels}, {width})")


cdef check_weight_arguments(
    Py_ssize_t N, Py_ssize_t H, Py_ssize_t V, Py_ssize_t P, Py_ssize_t W, Py_ssize_t block,
    const real[:, ::1] dweight, const real[::1] dbias, const real[::1] log_probs, const int[::1] targets,
    const real[:, :, ::1] rows, const real[:, ::1] scales, const real[:, ::1] lanes,
):
    if dweight.shape[1] != H or dbias.shape[0] != V or log_probs.shape[0] != N or targets.shape[0] != N:
        raise ValueError(
            f"dweight ({V}, {dweight.shape[1]}), dbias ({dbias.shape[0]},), log_probs ({log_probs.shape[0]},) and "
            f"targets ({targets.shape[0]},) do not fit hidden ({N}, {H}): expected (V, H), (V,), (N,), (N,)")
    check_panels(rows, P * W, H)
    if scales.shape[0] != 2 or scales.shape[1] != P * W or lanes.shape[0] != block or lanes.shape[1] != W // 2:
        raise ValueError(
            f"scratch arrays scales ({scales.shape[0]}, {scales.shape[1]}) and lanes ({lanes.shape[0]}, "
            f"{lanes.shape[1]}) do not fit: expected (2, {P * W}), ({block}, {W // 2})")
