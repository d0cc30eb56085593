"""What adapts a model to the text that it reads: the neural cache (Grave et al. 2017), and steps of
dynamic evaluation (Krause et al. 2018).

The cache holds what the model's output layer saw when a word was to be predicted, h_i, and the word that came, x_i. At
token t its distribution is

    p(w) ~ sum over the cached i with x_i = w of exp(flatness h_t . h_i)

Where nothing is seen (H = 0), or with flatness 0, every cached word counts alike: the cache of Kuhn & De Mori (1990).
"""

from libc.math cimport INFINITY, log

from fastlm.kernels.matrix cimport real
from fastlm.kernels.vector cimport add_matrix_vector, exp_biased, max_biased, row_sum, scale_row


cdef void weigh(
    real* exps, const real* zeros, const real* keys, const real* query, Py_ssize_t N, Py_ssize_t H, double flatness
) noexcept nogil:
    """exps[i] ~ exp(flatness query . keys[i]) for N > 0 keys, the greatest of them 1."""
    cdef Py_ssize_t i
    for i in range(N):
        exps[i] = 0
    if H > 0:
        add_matrix_vector(exps, keys, query, N, H)
    scale_row(exps, <real>flatness, N)
    exp_biased(exps, exps, zeros, max_biased(exps, zeros, N), N)


def cache_log_probs(
    double[::1] log_probs, const real[:, ::1] keys, const int[::1] words, real[:, ::1] scratch, Py_ssize_t size,
    double flatness,
):
    """Log-probability of words by the cache of what came before them.

    Parameters
    ----------
    log_probs : (T,), overwritten
        Natural logarithms, of the last T of the M words; -inf where the word is not in the cache.
    keys : (M, H)
        What was seen before each word came.
    words : (M,) int32
    scratch : (2, size)
        The second row is filled with zeros.
    size : int
        How many tokens back the cache of each goes.
    flatness : float
    """
    cdef Py_ssize_t T = log_probs.shape[0], M = keys.shape[0], H = keys.shape[1], t, at, first, i
    cdef double matching
    if words.shape[0] != M or T > M:
        raise ValueError(
            f"log_probs ({T},), keys ({M}, {H}) and words ({words.shape[0]},) do not fit: expected (T,), (M, H), (M,), "
            f"T up to M")
    check_scratch(scratch, size)
    if T == 0:
        return
    with nogil:
        scratch[1, :] = 0
        for t in range(T):
            at = M - T + t
            first = max(0, at - size)
            log_probs[t] = -INFINITY
            if first == at:
                continue
            weigh(&scratch[0, 0], &scratch[1, 0], row(keys, first), row(keys, at), at - first, H, flatness)
            matching = 0
            for i in range(first, at):
                if words[i] == words[at]:
                    matching += scratch[0, i - first]
            log_probs[t] = log(matching / row_sum(&scratch[0, 0], at - first))


def cache_distribution(
    double[::1] probabilities, const real[:, ::1] keys, const int[::1] words, const real[::1] query,
    real[:, ::1] scratch, double flatness,
):
    """The cache's probability of every word of the vocabulary.

    Parameters
    ----------
    probabilities : (V,), overwritten
        All zero if nothing is cached.
    keys : (M, H)
    words : (M,) int32 below V
    query : (H,)
        What is seen now.
    scratch : (2, M) or longer
    flatness : float
    """
    cdef Py_ssize_t M = keys.shape[0], H = keys.shape[1], V = probabilities.shape[0], i
    cdef double total
    if words.shape[0] != M or query.shape[0] != H:
        raise ValueError(
            f"keys ({M}, {H}), words ({words.shape[0]},) and query ({query.shape[0]},) do not fit: expected (M, H), "
            f"(M,), (H,)")
    check_scratch(scratch, M)
    for i in range(M):
        if not 0 <= words[i] < V:
            raise ValueError(f"words[{i}] is {words[i]}, expected 0 to {V - 1} for probabilities ({V},)")
    with nogil:
        probabilities[:] = 0
        if M > 0:
            scratch[1, :] = 0
            weigh(&scratch[0, 0], &scratch[1, 0], row(keys, 0), &query[0] if H > 0 else NULL, M, H, flatness)
            total = row_sum(&scratch[0, 0], M)
            for i in range(M):
                probabilities[words[i]] += scratch[0, i] / total


def learn_rows(
    real[:, ::1] value, const real[:, ::1] stored, const real[:, ::1] gradient, const int[::1] rows,
    const double[::1] rates, double decay,
):
    """Take a step of gradient descent in some rows, and a step back to what they were::

        value <- value - rate gradient;   value <- value + decay (stored - value)

    Parameters
    ----------
    value : (V, D), updated
    stored : (V, D)
    gradient : (R, D)
    rows : (R,) int32, distinct
    rates : (V,)
        Of each row of `value`.
    decay : float
    """
    cdef Py_ssize_t R = rows.shape[0], D = value.shape[1], i, j
    cdef real rate, part = <real>decay
    cdef real* changed
    cdef const real* down
    cdef const real* back
    check_rows(value, stored, rates.shape[0])
    if gradient.shape[0] != R or gradient.shape[1] != D:
        raise ValueError(f"gradient ({gradient.shape[0]}, {gradient.shape[1]}) and rows ({R},) do not fit: expected "
                         f"(R, {D}), (R,)")
    if D == 0:
        return
    with nogil:
        for i in range(R):
            rate = <real>rates[rows[i]]
            changed, down, back = &value[rows[i], 0], &gradient[i, 0], &stored[rows[i], 0]
            for j in range(D):
                changed[j] -= rate * down[j]
                changed[j] += part * (back[j] - changed[j])


def pull_back(real[:, ::1] value, const real[:, ::1] stored, const int[::1] rows, double decay):
    """Take a step back in some rows to what they were: `value <- value + decay (stored - value)`.

    Parameters
    ----------
    value : (V, D), updated
    stored : (V, D)
    rows : (R,) int32, distinct
    decay : float
    """
    cdef Py_ssize_t R = rows.shape[0], i, j
    cdef real part = <real>decay
    check_rows(value, stored, value.shape[0])
    with nogil:
        for i in range(R):
            for j in range(value.shape[1]):
                value[rows[i], j] += part * (stored[rows[i], j] - value[rows[i], j])


cdef int check_rows(const real[:, ::1] value, const real[:, ::1] stored, Py_ssize_t num_rates) except -1:
    if value.shape[0] != stored.shape[0] or value.shape[1] != stored.shape[1] or value.shape[0] != num_rates:
        raise ValueError(
            f"value has shape ({value.shape[0]}, {value.shape[1]}), expected that of stored, ({stored.shape[0]}, "
            f"{stored.shape[1]}), and of rates, ({num_rates},)")
    return 0


cdef inline const real* row(const real[:, ::1] matrix, Py_ssize_t i) noexcept nogil:
    return &matrix[i, 0] if matrix.shape[1] > 0 else NULL


cdef int check_scratch(real[:, ::1] scratch, Py_ssize_t size) except -1:
    if scratch.shape[0] != 2 or scratch.shape[1] < size or size < 0:
        raise ValueError(
            f"scratch has shape ({scratch.shape[0]}, {scratch.shape[1]}), expected (2, {max(0, size)}) or longer rows")
    return 0
