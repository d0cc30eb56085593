"""Softmax cross-entropy over the vocabulary: loss, gradients, and whole distributions.

The forward pass goes through the vocabulary in blocks of `block` words while a block's logits are in the cache.
It leaves, in place of the logits, E[i, v] = exp(logit[i, v] - m[i, k]) with the block's own maximum m[i, k], and
S[i, k] = exp(m[i, k] - log Z[i]), so that the probability is E S. The backward pass then needs no pass of its
own over (N, V): S and the loss's weight go into the small operand of each matrix product, and the "- 1" at the
target is a single row added.
"""

from libc.math cimport INFINITY, exp, log, log1p
from libc.string cimport memset

from fastlm.kernels.blas cimport gemm_nn, gemm_nt, gemm_tn, real
from fastlm.kernels.vector cimport add_matrix_vector, add_scaled, exp_biased, max_biased, row_sum


def softmax_forward(
    real[::1] log_probs, real[::1] log_norms, real[:, ::1] exps, real[:, ::1] scales, const real[:, ::1] hidden,
    const real[:, ::1] weight, const real[::1] bias, const int[::1] targets, Py_ssize_t block,
):
    """Log-probability of each target under `softmax(hidden weight' + bias)`.

    Parameters
    ----------
    log_probs : (N,), overwritten
        Natural logarithms; 0 where the target is negative, which stands for "no event here".
    log_norms : (N,), overwritten
        log Z, the logarithm of the sum of exp(logit) over the vocabulary.
    exps : (N, V), or (N, block) where no backward pass follows; overwritten
        E of the module's docstring. In the narrow form each block overwrites the one before it.
    scales : (N, K), overwritten
        S of the module's docstring, for the K = ceil(V / block) blocks.
    hidden : (N, H)
    weight : (V, H)
    bias : (V,)
    targets : (N,) int32 below V
    block : int
        Words taken at a time.
    """
    cdef Py_ssize_t N = hidden.shape[0], H = hidden.shape[1], V = weight.shape[0], K = scales.shape[1]
    cdef Py_ssize_t width = exps.shape[1], column, i, k, first, size
    cdef real shift
    check_output(N, H, V, K, weight, bias, targets, block)
    if width != V and width != block:
        raise ValueError(f"exps has {width} columns, expected {V}, or {block} where no backward pass follows")
    if log_probs.shape[0] != N or log_norms.shape[0] != N or exps.shape[0] != N or scales.shape[0] != N:
        raise ValueError(
            f"log_probs ({log_probs.shape[0]},), log_norms ({log_norms.shape[0]},), exps ({exps.shape[0]}, {width}) "
            f"and scales ({scales.shape[0]}, {K}) do not fit {N} rows of hidden")
    if N == 0 or V == 0 or H == 0:
        return
    with nogil:
        for i in range(N):
            log_probs[i] = 0
            log_norms[i] = -INFINITY
        for k in range(K):
            first = k * block
            size = min(block, V - first)
            column = first if width == V else 0
            gemm_nt(&exps[0, column], width, &hidden[0, 0], H, &weight[first, 0], H, N, size, H, <real>0.0)
            for i in range(N):
                if first <= targets[i] < first + size:
                    log_probs[i] = exps[i, column + targets[i] - first] + bias[targets[i]]
                shift = max_biased(&exps[i, column], &bias[first], size)
                exp_biased(&exps[i, column], &exps[i, column], &bias[first], shift, size)
                scales[i, k] = shift
                log_norms[i] = log_add(log_norms[i], shift + log(row_sum(&exps[i, column], size)))
        for i in range(N):
            if targets[i] >= 0:
                log_probs[i] -= log_norms[i]
            for k in range(K):
                scales[i, k] = exp(scales[i, k] - log_norms[i])


def softmax_backward(
    real[:, ::1] dhidden, const real[:, ::1] exps, const real[:, ::1] scales, const real[:, ::1] weight,
    const int[::1] targets, real[:, ::1] scratch, double factor, Py_ssize_t block,
):
    """Gradient of `-factor * sum(log_probs)` with respect to `hidden`.

    Parameters
    ----------
    dhidden : (N, H), overwritten
    exps : (N, V)
    scales : (N, K)
        Both as `softmax_forward` left them.
    weight : (V, H)
    targets : (N,) int32
        Rows with a negative target have no gradient.
    scratch : (N, H)
    factor : float
        Usually 1 / (number of events).
    block : int
        As in `softmax_forward`.
    """
    cdef Py_ssize_t N = dhidden.shape[0], H = dhidden.shape[1], V = weight.shape[0], K = scales.shape[1]
    cdef Py_ssize_t i, k, first
    check_saved(N, H, V, K, exps, scales, weight, targets, block)
    if scratch.shape[0] != N or scratch.shape[1] != H:
        raise ValueError(f"scratch has shape ({scratch.shape[0]}, {scratch.shape[1]}), expected ({N}, {H})")
    if N == 0 or V == 0 or H == 0:
        return
    with nogil:
        memset(&dhidden[0, 0], 0, <size_t>(N * H) * sizeof(real))
        for k in range(K):
            first = k * block
            gemm_nn(
                &scratch[0, 0], H, &exps[0, first], V, &weight[first, 0], H, N, H, min(block, V - first), <real>0.0)
            for i in range(N):
                if targets[i] >= 0:
                    add_scaled(&dhidden[i, 0], <real>factor * scales[i, k], &scratch[i, 0], H)
        for i in range(N):
            if targets[i] >= 0:
                add_scaled(&dhidden[i, 0], -<real>factor, &weight[targets[i], 0], H)


def softmax_backward_weight(
    real[:, ::1] dweight, real[::1] dbias, const real[:, ::1] exps, const real[:, ::1] scales,
    const real[:, ::1] hidden, const int[::1] targets, real[:, ::1] scratch, double factor, Py_ssize_t block,
    Py_ssize_t k,
):
    """Gradient of `-factor * sum(log_probs)` with respect to one block of the output table.

    Parameters
    ----------
    dweight : (V, H), added to
        Only the rows of block `k`, from `k * block`, are touched: threads take different blocks.
    dbias : (V,), added to
    exps : (N, V)
    scales : (N, K)
        Both as `softmax_forward` left them.
    hidden : (N, H)
    targets : (N,) int32
    scratch : (N, H)
    factor, block
        As in `softmax_backward`.
    k : int
        The block.
    """
    cdef Py_ssize_t N = hidden.shape[0], H = hidden.shape[1], V = dweight.shape[0], K = scales.shape[1]
    cdef Py_ssize_t i, first, size
    cdef real scale
    check_saved(N, H, V, K, exps, scales, dweight, targets, block)
    if scratch.shape[0] != N or scratch.shape[1] != H or dbias.shape[0] != V:
        raise ValueError(
            f"scratch ({scratch.shape[0]}, {scratch.shape[1]}) and dbias ({dbias.shape[0]},) do not fit: expected "
            f"({N}, {H}) and ({V},)")
    if not 0 <= k < K:
        raise ValueError(f"k is {k}, expected a block from 0 to {K - 1}")
    if N == 0 or V == 0 or H == 0:
        return
    with nogil:
        first = k * block
        size = min(block, V - first)
        memset(&scratch[0, 0], 0, <size_t>(N * H) * sizeof(real))
        for i in range(N):
            if targets[i] >= 0:
                scale = <real>factor * scales[i, k]
                add_scaled(&scratch[i, 0], scale, &hidden[i, 0], H)
                add_scaled(&dbias[first], scale, &exps[i, first], size)
        gemm_tn(&dweight[first, 0], H, &exps[0, first], V, &scratch[0, 0], H, size, H, N, <real>1.0)
        for i in range(N):
            if first <= targets[i] < first + size:
                add_scaled(&dweight[targets[i], 0], -<real>factor, &hidden[i, 0], H)
                dbias[targets[i]] -= <real>factor


def softmax_log_probs(
    real[:, ::1] log_probs, const real[:, ::1] hidden, const real[:, ::1] weight, const real[::1] bias,
    real[::1] scratch,
):
    """Whole distributions, `log softmax(hidden weight' + bias)`, row by row and without BLAS.

    Parameters
    ----------
    log_probs : (N, V), overwritten
    hidden : (N, H)
    weight : (V, H)
    bias : (V,)
    scratch : (V,)
    """
    cdef Py_ssize_t N = hidden.shape[0], H = hidden.shape[1], V = weight.shape[0], i, v
    cdef real shift, log_norm
    if log_probs.shape[0] != N or log_probs.shape[1] != V or weight.shape[1] != H or bias.shape[0] != V:
        raise ValueError(
            f"log_probs ({log_probs.shape[0]}, {log_probs.shape[1]}), hidden ({N}, {H}), weight ({V}, "
            f"{weight.shape[1]}) and bias ({bias.shape[0]},) do not fit: expected (N, V), (N, H), (V, H), (V,)")
    if scratch.shape[0] != V:
        raise ValueError(f"scratch has shape ({scratch.shape[0]},), expected ({V},)")
    if N == 0 or V == 0 or H == 0:
        return
    with nogil:
        for i in range(N):
            memset(&log_probs[i, 0], 0, <size_t>V * sizeof(real))
            add_matrix_vector(&log_probs[i, 0], &weight[0, 0], &hidden[i, 0], V, H)
            shift = max_biased(&log_probs[i, 0], &bias[0], V)
            exp_biased(&scratch[0], &log_probs[i, 0], &bias[0], shift, V)
            log_norm = shift + <real>log(row_sum(&scratch[0], V))
            for v in range(V):
                log_probs[i, v] += bias[v] - log_norm


cdef inline double log_add(double a, double b) noexcept nogil:
    """log(exp(a) + exp(b)); NaN stays NaN."""
    cdef double high = a if a > b else b, low = b if a > b else a
    if low == -INFINITY:
        return high
    return high + log1p(exp(low - high))


cdef check_output(
    Py_ssize_t N, Py_ssize_t H, Py_ssize_t V, Py_ssize_t K, const real[:, ::1] weight, const real[::1] bias,
    const int[::1] targets, Py_ssize_t block,
):
    if weight.shape[1] != H or bias.shape[0] != V or targets.shape[0] != N:
        raise ValueError(
            f"hidden ({N}, {H}), weight ({V}, {weight.shape[1]}), bias ({bias.shape[0]},) and targets "
            f"({targets.shape[0]},) do not fit: expected (N, H), (V, H), (V,), (N,)")
    check_blocks(V, K, block)


cdef check_saved(
    Py_ssize_t N, Py_ssize_t H, Py_ssize_t V, Py_ssize_t K, const real[:, ::1] exps, const real[:, ::1] scales,
    const real[:, ::1] weight, const int[::1] targets, Py_ssize_t block,
):
    if (
        exps.shape[0] != N or exps.shape[1] != V or scales.shape[0] != N or weight.shape[1] != H
        or targets.shape[0] != N
    ):
        raise ValueError(
            f"exps ({exps.shape[0]}, {exps.shape[1]}), scales ({scales.shape[0]}, {K}), the table ({V}, "
            f"{weight.shape[1]}) and targets ({targets.shape[0]},) do not fit {N} rows of width {H}")
    check_blocks(V, K, block)


cdef check_blocks(Py_ssize_t V, Py_ssize_t K, Py_ssize_t block):
    if block < 1:
        raise ValueError(f"block is {block}, expected at least 1 word")
    if K != (V + block - 1) // block:
        raise ValueError(
            f"scales has {K} columns, expected {(V + block - 1) // block}: one for each block of {block} of {V} words")
