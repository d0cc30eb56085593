"""Whole distributions over the vocabulary, and what one wants to know of them."""

from libc.math cimport log
from libc.string cimport memset

from fastlm.kernels.matrix cimport check_panels, multiply_panels, real, unpack_transposed
from fastlm.kernels.vector cimport add_matrix_vector, exp_biased, max_biased, row_sum


def softmax_log_probs(
    real[:, ::1] log_probs, const real[:, ::1] hidden, const real[:, ::1] weight, const real[::1] bias,
    real[::1] scratch,
):
    """Whole distributions, `log softmax(hidden weight' + bias)`, row by row: nothing is packed.

    Parameters
    ----------
    log_probs : (N, V), overwritten
    hidden : (N, H)
    weight : (V, H)
    bias : (V,)
    scratch : (V,)
    """
    cdef Py_ssize_t N = hidden.shape[0], H = hidden.shape[1], V = weight.shape[0], i
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
            normalise(&log_probs[i, 0], &bias[0], &scratch[0], V)


def softmax_log_probs_batch(
    real[:, ::1] log_probs, const real[:, :, ::1] hidden, const real[:, ::1] weight, const real[::1] bias,
    real[:, :, ::1] logits, real[::1] scratch,
):
    """Do what `softmax_log_probs` does, by matrix products.

    Parameters
    ----------
    log_probs : (N, V), overwritten
    hidden : (P, H, W)
        hidden (N, H), as `pack_transposed` packs it, split or not.
    weight : (V, H)
    bias : (V,)
    logits : (panels, block, W), scratch
        Numbers of panels and of words taken at a time.
    scratch : (V,)
    """
    cdef Py_ssize_t N = log_probs.shape[0], V = weight.shape[0], H = weight.shape[1], P = hidden.shape[0]
    cdef Py_ssize_t W = hidden.shape[2], size_of_panel = hidden.shape[1] * W, together = logits.shape[0]
    cdef Py_ssize_t block = logits.shape[1], first, size, start, count, group, k, p, i
    check_panels(hidden, H, N)
    if log_probs.shape[1] != V or bias.shape[0] != V:
        raise ValueError(
            f"log_probs ({N}, {log_probs.shape[1]}), weight ({V}, {H}) and bias ({bias.shape[0]},) do not fit: "
            f"expected (N, V), (V, H), (V,)")
    if together < 1 or block < 1 or logits.shape[2] != W or scratch.shape[0] != V:
        raise ValueError(
            f"logits ({together}, {block}, {logits.shape[2]}) and scratch ({scratch.shape[0]},) do not fit: expected "
            f"(panels, block, {W}) with at least 1 panel and a block of at least 1 word, and ({V},)")
    if N == 0 or V == 0 or H == 0:
        return
    with nogil:
        for k in range((V + block - 1) // block):
            first = k * block
            size = min(block, V - first)
            for group in range((P + together - 1) // together):
                start = group * together
                count = min(together, P - start)
                multiply_panels(
                    &logits[0, 0, 0], size * W, &weight[first, 0], H, 1, &hidden[start, 0, 0], size_of_panel, True,
                    hidden.shape[1] != H, count, size, H, False)
                for p in range(start, start + count):
                    unpack_transposed(
                        &log_probs[p * W, first], V, &logits[0, 0, 0] + (p - start) * size * W, size,
                        min(W, N - p * W))
        for i in range(N):
            normalise(&log_probs[i, 0], &bias[0], &scratch[0], V)


def entropies_and_ranks(
    double[::1] entropies, int[::1] ranks, const real[:, ::1] log_probs, const int[::1] targets, real[:, ::1] scratch,
):
    """Entropy of each distribution, in nats, and how many words it holds likelier than the target, plus one.

    Parameters
    ----------
    entropies : (N,) float64, overwritten
    ranks : (N,) int32, overwritten
    log_probs : (N, V)
        Natural logarithms; -inf is the probability 0.
    targets : (N,) int32 below V
    scratch : (2, V)
    """
    cdef Py_ssize_t N = log_probs.shape[0], V = log_probs.shape[1], i, v
    cdef double entropy
    cdef int rank
    if entropies.shape[0] != N or ranks.shape[0] != N or targets.shape[0] != N or scratch.shape[1] != V \
            or scratch.shape[0] != 2:
        raise ValueError(
            f"entropies ({entropies.shape[0]},), ranks ({ranks.shape[0]},), targets ({targets.shape[0]},) and scratch "
            f"({scratch.shape[0]}, {scratch.shape[1]}) do not fit log_probs ({N}, {V}): expected three of (N,), (2, V)")
    if N == 0 or V == 0:
        return
    with nogil:
        memset(&scratch[1, 0], 0, <size_t>V * sizeof(real))
        for i in range(N):
            exp_biased(&scratch[0, 0], &log_probs[i, 0], &scratch[1, 0], <real>0.0, V)
            entropy = 0.0
            rank = 1
            for v in range(V):
                if scratch[0, v] > 0:
                    entropy -= scratch[0, v] * log_probs[i, v]
                rank += log_probs[i, v] > log_probs[i, targets[i]]
            entropies[i] = entropy
            ranks[i] = rank


cdef inline void normalise(real* logits, const real* bias, real* scratch, Py_ssize_t V) noexcept nogil:
    """Add the bias to logits and turn them into log-probabilities."""
    cdef real shift = max_biased(logits, bias, V), log_norm
    cdef Py_ssize_t v
    exp_biased(scratch, logits, bias, shift, V)
    log_norm = shift + <real>log(row_sum(scratch, V))
    for v in range(V):
        logits[v] += bias[v] - log_norm
