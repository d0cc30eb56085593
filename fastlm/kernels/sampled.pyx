"""Output layers trained on a sample of the vocabulary that all tokens of a batch share: sampled softmax and NCE.

Tokens stand in rows, the S words that were drawn in columns: a token's logits are a row of the product of the hidden
layer and of the sampled words' weights, gathered and packed. The word that is to be predicted has a logit of its own,
a product of two vectors. Both kernels leave the gradient of the logits, which `sampled_backward_weight` multiplies
into that of the rows of the output table, and that of the hidden layer.
"""

from libc.math cimport INFINITY, exp, log
from libc.string cimport memset

from fastlm.kernels.matrix cimport PANEL_BYTES, multiply, real
from fastlm.kernels.vector cimport (
    add_matrix_vector, add_scaled, exp_biased, logistic_weighted, max_biased, row_sum, scale_row,
)

cdef enum:
    TOKENS = 56  # taken at a time: whole tiles, and their logits stay in the cache


def target_logits(
    real[::1] logits, const real[:, ::1] hidden, const int[::1] targets, const real[:, ::1] weight,
    const real[::1] bias,
):
    """Compute the logit of each token's target alone, `hidden[i] . weight[targets[i]] + bias[targets[i]]`.

    Parameters
    ----------
    logits : (N,), overwritten
        0 where the target is negative.
    hidden : (N, H)
    targets : (N,) int32 below V
    weight : (V, H)
    bias : (V,)
    """
    cdef Py_ssize_t N = hidden.shape[0], H = hidden.shape[1], V = weight.shape[0], i
    if logits.shape[0] != N or targets.shape[0] != N or weight.shape[1] != H or bias.shape[0] != V:
        raise ValueError(
            f"logits ({logits.shape[0]},), hidden ({N}, {H}), targets ({targets.shape[0]},), weight ({V}, "
            f"{weight.shape[1]}) and bias ({bias.shape[0]},) do not fit: expected (N,), (N, H), (N,), (V, H), (V,)")
    if N == 0 or V == 0 or H == 0:
        return
    with nogil:
        for i in range(N):
            logits[i] = logit(&hidden[i, 0], &weight[targets[i], 0], bias[targets[i]], H) if targets[i] >= 0 else 0


def sampled_softmax_forward_backward(
    real[::1] log_probs, real[:, ::1] dlogits, real[::1] dtargets, real[:, ::1] dhidden, const real[:, ::1] hidden,
    const int[::1] targets, const int[::1] places, const real[:, ::1] weight, const real[::1] bias,
    const real[::1] corrections, const real[:, :, ::1] columns, const real[:, :, ::1] rows, const real[::1] offsets,
    double penalty, double factor,
):
    """Gradient of the cross-entropy among the sampled words and the target (Bengio & Senecal 2008; Jean et al. 2015).

    The logit of a word v counts as o_v + corrections[v], which is -log of the probability that v is sampled; a sample
    that is the target counts once, as the target. log Z is estimated by the sum of exp(o_v + corrections[v]) over the
    samples, plus exp(o) of the target, of which the expectation is Z.

    Parameters
    ----------
    log_probs : (N,), overwritten
        Estimates of the targets' log-probabilities: o - log Z; 0 where the target is negative ("no event here").
    dlogits : (N, S), overwritten
        Gradient of the logits of the samples, for `sampled_backward_weight`.
    dtargets : (N,), overwritten
        Gradient of the logits of the targets.
    dhidden : (N, H), overwritten
    hidden : (N, H)
    targets : (N,) int32 below V
    places : (N,) int32
        The sample that is the target, if it is below S and not negative; see `draw_rows`.
    weight : (V, H)
    bias : (V,)
    corrections : (V,)
    columns : (ceil(S / W), H, W)
        The samples' rows of weight (S, H), as `pack_transposed` packs them.
    rows : (ceil(H / W), S, W)
        The same rows, as `pack_matrix` packs them.
    offsets : (S,)
        The samples' bias + correction.
    penalty : float
        Adds penalty * (log Z)^2 to each token's loss, so that Z stays near 1 (Devlin et al. 2014).
    factor : float
        The gradients are those of `factor` times the summed loss.
    """
    cdef Py_ssize_t N = hidden.shape[0], H = hidden.shape[1], S = dlogits.shape[1], k, first, size, i
    check_tokens(log_probs, dlogits, dtargets, dhidden, hidden, targets, places, weight, bias, corrections)
    check_samples(S, H, columns, rows, offsets)
    if N == 0 or H == 0 or S == 0:
        return
    with nogil:
        for k in range((N + TOKENS - 1) // TOKENS):
            first = k * TOKENS
            size = min(<Py_ssize_t>TOKENS, N - first)
            multiply(&dlogits[first, 0], S, &hidden[first, 0], H, 1, 0, &columns[0, 0, 0], H, size, S, H, False)
            for i in range(first, first + size):
                if targets[i] < 0:
                    no_event(&log_probs[i], &dlogits[i, 0], &dtargets[i], S)
                    continue
                log_probs[i] = logit(&hidden[i, 0], &weight[targets[i], 0], bias[targets[i]], H)
                if 0 <= places[i] < S:
                    dlogits[i, places[i]] = -INFINITY
                softmax_row(
                    &log_probs[i], &dlogits[i, 0], &dtargets[i], &offsets[0], corrections[targets[i]], penalty, factor,
                    S)
            hidden_gradient(&dhidden[0, 0], &dlogits[0, 0], &dtargets[0], &targets[0], weight, rows, first, size, S)


def nce_forward_backward(
    real[::1] scores, real[:, ::1] dlogits, real[::1] dtargets, real[:, ::1] dhidden, const real[:, ::1] hidden,
    const int[::1] targets, const real[:, ::1] weight, const real[::1] bias, const real[::1] corrections,
    const real[:, :, ::1] columns, const real[:, :, ::1] rows, const real[::1] offsets, const real[::1] noise,
    double factor,
):
    """Gradient of noise-contrastive estimation (Gutmann & Hyvarinen 2010; Mnih & Teh 2012).

    The loss of a token is -log s(x) of its target and the sum of -noise[j] * log s(-x_j) over the samples, with s the
    logistic function and x_v = o_v + corrections[v]: the correction is -log of how often the noise gives v. The
    normaliser is 1.

    Parameters
    ----------
    scores : (N,), overwritten
        The logits o of the targets, that is their log-probabilities if they are normalised; 0 where the target is
        negative.
    dlogits, dtargets, dhidden, hidden, targets, weight, bias, corrections, columns, rows, offsets
        As in `sampled_softmax_forward_backward`.
    noise : (S,)
        For how many draws each sample stands.
    factor : float
        The gradients are those of `factor` times the summed loss.
    """
    cdef Py_ssize_t N = hidden.shape[0], H = hidden.shape[1], S = dlogits.shape[1], k, first, size, i
    check_tokens(scores, dlogits, dtargets, dhidden, hidden, targets, targets, weight, bias, corrections)
    check_samples(S, H, columns, rows, offsets)
    if noise.shape[0] != S:
        raise ValueError(f"noise has shape ({noise.shape[0]},), expected ({S},), one for each sample")
    if N == 0 or H == 0 or S == 0:
        return
    with nogil:
        for k in range((N + TOKENS - 1) // TOKENS):
            first = k * TOKENS
            size = min(<Py_ssize_t>TOKENS, N - first)
            multiply(&dlogits[first, 0], S, &hidden[first, 0], H, 1, 0, &columns[0, 0, 0], H, size, S, H, False)
            for i in range(first, first + size):
                if targets[i] < 0:
                    no_event(&scores[i], &dlogits[i, 0], &dtargets[i], S)
                    continue
                scores[i] = logit(&hidden[i, 0], &weight[targets[i], 0], bias[targets[i]], H)
                logistic_weighted(&dlogits[i, 0], &dlogits[i, 0], &offsets[0], &noise[0], <real>factor, S)
                dtargets[i] = <real>(-factor / (1 + exp(scores[i] + corrections[targets[i]])))
            hidden_gradient(&dhidden[0, 0], &dlogits[0, 0], &dtargets[0], &targets[0], weight, rows, first, size, S)


def sampled_backward_weight(
    real[:, ::1] dweight, real[::1] dbias, const real[:, ::1] dlogits, const real[::1] dtargets,
    const real[:, ::1] hidden, const real[:, :, ::1] inputs, const int[::1] places, Py_ssize_t start, Py_ssize_t stop,
):
    """Gradients of the rows of the output table that a batch has touched.

    Parameters
    ----------
    dweight : (R, H), overwritten
        The rows from `start` to `stop`: threads take different ones. The first S are those of the samples.
    dbias : (R,), overwritten
    dlogits : (N, S)
    dtargets : (N,)
        Both as the kernels above left them.
    hidden : (N, H)
    inputs : (ceil(H / W), N, W)
        hidden, as `pack_matrix` packs it.
    places : (N,) int32 below R
        The row of each target; negative where there is none.
    start, stop : int
    """
    cdef Py_ssize_t N = hidden.shape[0], H = hidden.shape[1], S = dlogits.shape[1], R = dweight.shape[0], i, samples
    if dweight.shape[1] != H or dbias.shape[0] != R or R < S:
        raise ValueError(
            f"dweight ({R}, {dweight.shape[1]}) and dbias ({dbias.shape[0]},) do not fit {S} samples of {H}: expected "
            f"(R, {H}), (R,) with R at least {S}")
    if dlogits.shape[0] != N or dtargets.shape[0] != N or places.shape[0] != N:
        raise ValueError(
            f"dlogits ({dlogits.shape[0]}, {S}), dtargets ({dtargets.shape[0]},) and places ({places.shape[0]},) do "
            f"not fit hidden ({N}, {H}): expected (N, S), (N,), (N,)")
    if not 0 <= start <= stop <= R:
        raise ValueError(f"start is {start} and stop is {stop}, expected 0 <= start <= stop <= {R} rows")
    check_panels("inputs", inputs, N, H)
    if start == stop or H == 0:
        return
    with nogil:
        samples = max(0, min(stop, S) - start)
        memset(&dweight[start, 0], 0, <size_t>((stop - start) * H) * sizeof(real))
        memset(&dbias[start], 0, <size_t>(stop - start) * sizeof(real))
        if samples > 0 and N > 0:
            multiply(&dweight[start, 0], H, &dlogits[0, start], 1, S, 0, &inputs[0, 0, 0], N, samples, H, N, False)
            for i in range(N):
                add_scaled(&dbias[start], <real>1.0, &dlogits[i, start], samples)
        for i in range(N):
            if start <= places[i] < stop:
                add_scaled(&dweight[places[i], 0], dtargets[i], &hidden[i, 0], H)
                dbias[places[i]] += dtargets[i]


cdef inline void no_event(real* log_prob, real* dlogits, real* dtarget, Py_ssize_t S) noexcept nogil:
    memset(dlogits, 0, <size_t>S * sizeof(real))
    log_prob[0] = dtarget[0] = 0


cdef inline real logit(const real* hidden, const real* row, real bias, Py_ssize_t H) noexcept nogil:
    add_matrix_vector(&bias, row, hidden, 1, H)
    return bias


cdef inline void softmax_row(
    real* log_prob, real* dlogits, real* dtarget, const real* offsets, real correction, double penalty, double factor,
    Py_ssize_t S,
) noexcept nogil:
    """Turn the logits of a token's samples into their gradients, and that of its target into a log-probability."""
    cdef real score = log_prob[0], shift = max_biased(dlogits, offsets, S)
    cdef double samples, candidates, log_norm, pull
    shift = max(shift, score + correction if correction > 0 else score)
    exp_biased(dlogits, dlogits, offsets, shift, S)
    samples = row_sum(dlogits, S)
    candidates = samples + exp(score + correction - shift)
    log_norm = shift + log(samples + exp(score - shift))
    pull = 2 * penalty * log_norm
    log_prob[0] = <real>(score - log_norm)
    dtarget[0] = <real>(factor * (pull * exp(score - log_norm) - samples / candidates))
    scale_row(dlogits, <real>(factor * (1 / candidates + pull * exp(shift - log_norm))), S)


cdef inline void hidden_gradient(
    real* dhidden, const real* dlogits, const real* dtargets, const int* targets, const real[:, ::1] weight,
    const real[:, :, ::1] rows, Py_ssize_t first, Py_ssize_t size, Py_ssize_t S,
) noexcept nogil:
    cdef Py_ssize_t H = weight.shape[1], i
    multiply(dhidden + first * H, H, dlogits + first * S, S, 1, 0, &rows[0, 0, 0], S, size, H, S, False)
    for i in range(first, first + size):
        if targets[i] >= 0:
            add_scaled(dhidden + i * H, dtargets[i], &weight[targets[i], 0], H)


cdef check_tokens(
    const real[::1] log_probs, const real[:, ::1] dlogits, const real[::1] dtargets, const real[:, ::1] dhidden,
    const real[:, ::1] hidden, const int[::1] targets, const int[::1] places, const real[:, ::1] weight,
    const real[::1] bias, const real[::1] corrections,
):
    cdef Py_ssize_t N = hidden.shape[0], H = hidden.shape[1], V = weight.shape[0]
    if (
        log_probs.shape[0] != N or dlogits.shape[0] != N or dtargets.shape[0] != N or dhidden.shape[0] != N
        or dhidden.shape[1] != H or targets.shape[0] != N or places.shape[0] != N
    ):
        raise ValueError(
            f"log_probs ({log_probs.shape[0]},), dlogits ({dlogits.shape[0]}, {dlogits.shape[1]}), dtargets "
            f"({dtargets.shape[0]},), dhidden ({dhidden.shape[0]}, {dhidden.shape[1]}), targets ({targets.shape[0]},) "
            f"and places ({places.shape[0]},) do not fit hidden ({N}, {H}): expected (N,), (N, S), (N,), (N, H), "
            f"(N,), (N,)")
    if weight.shape[1] != H or bias.shape[0] != V or corrections.shape[0] != V:
        raise ValueError(
            f"weight ({V}, {weight.shape[1]}), bias ({bias.shape[0]},) and corrections ({corrections.shape[0]},) do "
            f"not fit hidden ({N}, {H}): expected (V, H), (V,), (V,)")


cdef check_samples(
    Py_ssize_t S, Py_ssize_t H, const real[:, :, ::1] columns, const real[:, :, ::1] rows, const real[::1] offsets,
):
    check_panels("columns", columns, H, S)
    check_panels("rows", rows, S, H)
    if offsets.shape[0] != S:
        raise ValueError(f"offsets has shape ({offsets.shape[0]},), expected ({S},), one for each sample")


cdef check_panels(str name, const real[:, :, ::1] panels, Py_ssize_t depth, Py_ssize_t columns):
    cdef Py_ssize_t width = PANEL_BYTES // <Py_ssize_t>sizeof(real), count = (columns + width - 1) // width
    if panels.shape[0] != count or panels.shape[1] != depth or panels.shape[2] != width:
        raise ValueError(
            f"{name} has shape ({panels.shape[0]}, {panels.shape[1]}, {panels.shape[2]}), expected ({count}, {depth}, "
            f"{width}): {columns} columns of {depth} in panels, as pack_matrix or pack_transposed packs them")
