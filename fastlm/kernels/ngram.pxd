"""How the n-grams of one order lie in memory, and how a word is found among them."""

from libc.stdint cimport int32_t, uint32_t, uint64_t

cdef enum:
    MAX_ORDER = 16

cdef struct Level:
    Py_ssize_t size                 # n-grams
    const int32_t *words            # the last word of each; NULL at order 1, where the n-gram is its own word
    const float *log10_probs
    const float *log10_backoffs     # NULL where there are none: at the highest order, and without smoothing
    const int32_t *first_children   # where the n-grams that go on from each begin, and an end; NULL at the highest


cdef inline uint32_t scramble(int32_t word) noexcept nogil:
    """Spread words evenly over 32 bits, one to one (Knuth's multiplicative hashing)."""
    return <uint32_t> word * <uint32_t> 2654435769


cdef inline Py_ssize_t guess(uint32_t key, Py_ssize_t first, Py_ssize_t stop) noexcept nogil:
    """About where a scrambled word stands between `first` and `stop`."""
    return first + <Py_ssize_t> (<uint64_t> key * <uint64_t> (stop - first) >> 32)


cdef inline int32_t find_word(const int32_t *words, Py_ssize_t first, Py_ssize_t stop, int32_t word) noexcept nogil:
    """Where a word stands between `first` and `stop`, in the order of the scrambled words; -1 if it does not.

    These are spread evenly, so the place is nearly proportional to the value: off by a third of the square root of the
    number of words, if these fall as at random.
    """
    cdef uint32_t key = scramble(word)
    cdef Py_ssize_t place = guess(key, first, stop)
    cdef uint32_t found = scramble(words[place])
    while found < key:
        place += 1
        if place == stop:
            return -1
        found = scramble(words[place])
    while found > key:
        place -= 1
        if place < first:
            return -1
        found = scramble(words[place])
    return <int32_t> place if found == key else -1


cdef inline bint children(const Level *level, const Level *next_level, Py_ssize_t node, Py_ssize_t *first,
                          Py_ssize_t *stop) noexcept nogil:
    """Where the n-grams stand that go on from a node: are there any? Right or no, whatever a damaged file says."""
    first[0] = level.first_children[node]
    stop[0] = level.first_children[node + 1]
    return 0 <= first[0] < stop[0] <= next_level.size
