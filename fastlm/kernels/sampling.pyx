"""Drawing words by their frequency in constant time (Walker 1977; Vose 1991), and the rows of a step that they make."""

from fastlm.kernels.random cimport random_bits


def alias_table(double[::1] thresholds, int[::1] aliases, const double[::1] weights, int[::1] stack):
    """Prepare to draw word v with a probability proportional to weights[v].

    A number u in [0, V) draws the word v = floor(u) if u - v is below thresholds[v], and the word aliases[v] else.

    Parameters
    ----------
    thresholds : (V,), overwritten
    aliases : (V,) int32, overwritten
    weights : (V,)
        Not negative, and not all zero.
    stack : (V,) int32, scratch
    """
    cdef Py_ssize_t V = weights.shape[0], v, num_small = 0, num_large = 0
    cdef double total = 0
    cdef int small, large
    if thresholds.shape[0] != V or aliases.shape[0] != V or stack.shape[0] != V:
        raise ValueError(
            f"thresholds ({thresholds.shape[0]},), aliases ({aliases.shape[0]},) and stack ({stack.shape[0]},) do not "
            f"fit weights ({V},): expected four of one size")
    for v in range(V):
        if not weights[v] >= 0:
            raise ValueError(f"weights[{v}] is {weights[v]}, expected at least 0")
        total += weights[v]
    if not 0 < total < 1e300:
        raise ValueError(f"weights sum up to {total}, expected a positive number")
    with nogil:
        for v in range(V):
            thresholds[v] = weights[v] / total * V
            aliases[v] = <int>v
            if thresholds[v] < 1:
                stack[num_small] = <int>v
                num_small += 1
            else:
                num_large += 1
                stack[V - num_large] = <int>v
        while num_small > 0 and num_large > 0:  # a large one fills up what a small one leaves free
            small, large = stack[num_small - 1], stack[V - num_large]
            aliases[small] = large
            thresholds[large] -= 1 - thresholds[small]
            num_small -= 1
            if thresholds[large] < 1:
                num_large -= 1
                stack[num_small] = large
                num_small += 1
        for v in range(num_small):  # all but full, up to rounding
            thresholds[stack[v]] = 1
        for v in range(V - num_large, V):
            thresholds[stack[v]] = 1


def draw_rows(
    int[::1] ids, int[::1] places, const int[::1] targets, const double[::1] thresholds, const int[::1] aliases,
    int[::1] slots, unsigned long long key, Py_ssize_t num_samples,
):
    """Draw words, and list the rows of the output table that they and the targets need, each once.

    Parameters
    ----------
    ids : (num_samples + N,) int32, overwritten
        First the words that were drawn, in the order of their first draw, then the other targets.
    places : (N,) int32, overwritten
        Where in `ids` each target stands; -1 where the target is negative, which stands for "no event here".
    targets : (N,) int32 below V
    thresholds, aliases : (V,)
        As `alias_table` makes them.
    slots : (V,) int32, scratch
        All -1 before and after.
    key : int
        The same key draws the same words.
    num_samples : int
        Draws; a word may be drawn several times.

    Returns
    -------
    num_sampled, num_rows : int
        How many of `ids` were drawn, and how many there are in all.
    """
    cdef Py_ssize_t N = targets.shape[0], V = thresholds.shape[0], k
    cdef int count = 0, sampled, word
    cdef double position
    if ids.shape[0] != num_samples + N or places.shape[0] != N:
        raise ValueError(
            f"ids ({ids.shape[0]},) and places ({places.shape[0]},) do not fit {num_samples} samples and {N} targets: "
            f"expected ({num_samples + N},), ({N},)")
    if aliases.shape[0] != V or slots.shape[0] != V or V == 0:
        raise ValueError(
            f"aliases ({aliases.shape[0]},) and slots ({slots.shape[0]},) do not fit thresholds ({V},): expected "
            f"three of one size above 0")
    with nogil:
        for k in range(num_samples):
            position = <double>(random_bits(key, k) >> 11) * 1.1102230246251565e-16 * V  # 2^-53: from [0, 1)
            word = <int>position
            if position - word >= thresholds[word]:
                word = aliases[word]
            count = take(ids, slots, word, count)
        sampled = count
        for k in range(N):
            places[k] = -1
            if targets[k] >= 0:
                count = take(ids, slots, targets[k], count)
                places[k] = slots[targets[k]]
        for k in range(count):
            slots[ids[k]] = -1
    return sampled, count


cdef inline int take(int[::1] ids, int[::1] slots, int word, int count) noexcept nogil:
    """Put a word at the end of the list if it is not in it; return the length of the list."""
    if slots[word] >= 0:
        return count
    slots[word] = count
    ids[count] = word
    return count + 1
