"""Linear mixtures of models: their probabilities mixed, and one step of the estimation of their weights.

Natural logarithms come in and go out; -inf, the probability zero, is a number like others, and NaN goes through.
"""

from libc.math cimport INFINITY, NAN, exp, isnan, log


cdef double mixed_at(
    const double[:, ::1] log_probs, const double[::1] weights, Py_ssize_t n, double *largest
) noexcept nogil:
    """The mixed probability of token n, divided by exp(largest), which is the greatest of its models."""
    cdef Py_ssize_t k
    cdef double total = 0.0
    largest[0] = -INFINITY
    for k in range(weights.shape[0]):
        if weights[k] > 0 and not log_probs[k, n] <= largest[0]:
            largest[0] = log_probs[k, n]
    if largest[0] == -INFINITY:
        for k in range(weights.shape[0]):
            if weights[k] > 0 and isnan(log_probs[k, n]):
                return NAN
        return 0.0
    for k in range(weights.shape[0]):
        if weights[k] > 0:
            total += weights[k] * exp(log_probs[k, n] - largest[0])
    return total


def mix_log_probs(double[::1] mixed, const double[:, ::1] log_probs, const double[::1] weights):
    """Mix probabilities: `exp(mixed[n]) = sum over k of weights[k] exp(log_probs[k, n])`.

    Parameters
    ----------
    mixed : (N,), overwritten
    log_probs : (K, N)
    weights : (K,)
        Not negative. A model of weight zero is not looked at.
    """
    cdef Py_ssize_t N = mixed.shape[0], n
    cdef double largest, total
    check_shapes(log_probs, weights)
    if log_probs.shape[1] != N:
        raise ValueError(f"mixed has shape ({N},), expected ({log_probs.shape[1]},) as the columns of log_probs")
    with nogil:
        for n in range(N):
            total = mixed_at(log_probs, weights, n, &largest)
            mixed[n] = largest + log(total)


def expected_shares(double[::1] shares, const double[:, ::1] log_probs, const double[::1] weights):
    """The expectation of EM: which share of the tokens each model accounts for, given the weights.

    A token that no model gives a probability says nothing about the weights, and is left out.

    Parameters
    ----------
    shares : (K,), overwritten
        They sum to one; the weights of the next step.
    log_probs : (K, N)
    weights : (K,)
        Not negative.

    Returns
    -------
    log_prob : float
        Of all tokens that are not left out, under these weights.
    num_tokens : int
        Those that are not left out.
    """
    cdef Py_ssize_t K = weights.shape[0], N = log_probs.shape[1], k, n, num_tokens = 0
    cdef double largest, total, log_prob = 0.0
    check_shapes(log_probs, weights)
    if shares.shape[0] != K:
        raise ValueError(f"shares has shape ({shares.shape[0]},), expected ({K},) as weights")
    with nogil:
        for k in range(K):
            shares[k] = 0.0
        for n in range(N):
            total = mixed_at(log_probs, weights, n, &largest)
            if total == 0:
                continue
            num_tokens += 1
            log_prob += largest + log(total)
            for k in range(K):
                if weights[k] > 0:
                    shares[k] += weights[k] * exp(log_probs[k, n] - largest) / total
        for k in range(K):
            shares[k] = shares[k] / num_tokens if num_tokens > 0 else weights[k]
    return log_prob, num_tokens


cdef int check_shapes(const double[:, ::1] log_probs, const double[::1] weights) except -1:
    if log_probs.shape[0] != weights.shape[0]:
        raise ValueError(
            f"weights has shape ({weights.shape[0]},), expected ({log_probs.shape[0]},) as the rows of log_probs")
    return 0
