"""From counts to probabilities: interpolated modified Kneser-Ney (Chen & Goodman 1998), and relative frequencies.

All arrays are those of one order, a number for each n-gram; see `fastlm.kernels.ngram` for how they are ordered.
"""

from libc.math cimport log10
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset


def count_left_words(int32_t[::1] counts, const int32_t[::1] suffixes):
    """Count the different words that stand in front of n-grams.

    Parameters
    ----------
    counts : array of int32, shape (M,), overwritten
    suffixes : array of int32, shape (R,)
        Of all n-grams of the next order what is left without their first word.
    """
    cdef Py_ssize_t M = counts.shape[0], R = suffixes.shape[0], r
    if M == 0:
        return
    with nogil:
        memset(&counts[0], 0, M * sizeof(int32_t))
        for r in range(R):
            if suffixes[r] < M:
                counts[suffixes[r]] += 1


def count_counts(int64_t[::1] totals, const int32_t[::1] counts):
    """Count how many n-grams have each of the smallest counts.

    Parameters
    ----------
    totals : array of int64, shape (K,), overwritten
        How many have the counts 0 to K - 1.
    counts : array of int32, shape (M,)
    """
    cdef Py_ssize_t M = counts.shape[0], K = totals.shape[0], i
    with nogil:
        for i in range(K):
            totals[i] = 0
        for i in range(M):
            if counts[i] < K:
                totals[counts[i]] += 1


def interpolate(float[::1] log10_probs, float[::1] log10_backoffs, double[::1] probs, const double[::1] lower_probs,
                const int32_t[::1] counts, const int32_t[::1] suffixes, const int32_t[::1] first_children,
                const double[::1] discounts):
    """Discount the n-grams that go on from each context, and give what is left to the n-grams of the order below::

        p(w | h) = (a(h w) - D(a(h w))) / a(h) + gamma(h) p(w | h')
        gamma(h) = (D1 N1(h) + D2 N2(h) + D3 N3+(h)) / a(h)

    where a(h) is the sum of a(h w), Nk(h) the number of words w with a(h w) = k, and h' is h without its first word.

    Parameters
    ----------
    log10_probs : array of float32, shape (M,), overwritten
    log10_backoffs : array of float32, shape (R,), overwritten
        gamma of the contexts; 0, for a weight of 1, where nothing goes on from one.
    probs : array of float64, shape (M,), overwritten
    lower_probs : array of float64
        Of the order below.
    counts, suffixes : arrays of int32, shape (M,)
        The counts a, and the n-grams of the order below that have a word less at their beginning.
    first_children : array of int32, shape (R + 1,)
        Of the contexts.
    discounts : array of float64, shape (4,)
        D by count, 0 first, that of 3 for all above.
    """
    cdef Py_ssize_t M = counts.shape[0], R = first_children.shape[0] - 1, r, m
    cdef double gamma, total, prob
    cdef int32_t kind
    if not M == log10_probs.shape[0] == probs.shape[0] == suffixes.shape[0] or log10_backoffs.shape[0] != R \
            or discounts.shape[0] != 4:
        raise ValueError(f"log10_probs ({log10_probs.shape[0]},), log10_backoffs ({log10_backoffs.shape[0]},), probs "
                         f"({probs.shape[0]},), suffixes ({suffixes.shape[0]},) and discounts ({discounts.shape[0]},) "
                         f"do not fit: expected ({M},), ({R},), ({M},), ({M},) and (4,)")
    with nogil:
        for r in range(R):
            gamma = total = 0.0
            for m in range(first_children[r], first_children[r + 1]):
                total += counts[m]
                gamma += discounts[min(counts[m], 3)]
            if total == 0.0:
                log10_backoffs[r] = 0.0
                continue
            gamma /= total
            log10_backoffs[r] = <float> log10(gamma)
            for m in range(first_children[r], first_children[r + 1]):
                kind = min(counts[m], 3)
                prob = (counts[m] - discounts[kind]) / total + gamma * lower_probs[suffixes[m]]
                probs[m] = prob
                log10_probs[m] = <float> log10(prob)


def relative_frequencies(float[::1] log10_probs, const int32_t[::1] counts, const int32_t[::1] first_children):
    """Divide counts by their sum over all words that follow the same context: maximum likelihood.

    Parameters
    ----------
    log10_probs : array of float32, shape (M,), overwritten
    counts : array of int32, shape (M,)
    first_children : array of int32, shape (R + 1,)
        Of the contexts.
    """
    cdef Py_ssize_t M = counts.shape[0], R = first_children.shape[0] - 1, r, m
    cdef double total
    if log10_probs.shape[0] != M:
        raise ValueError(f"log10_probs has shape ({log10_probs.shape[0]},), expected ({M},) as counts")
    with nogil:
        for r in range(R):
            total = 0.0
            for m in range(first_children[r], first_children[r + 1]):
                total += counts[m]
            for m in range(first_children[r], first_children[r + 1]):
                log10_probs[m] = <float> log10(counts[m] / total)
