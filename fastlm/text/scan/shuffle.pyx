"""Compiled permutations that are computed place by place and take no memory: a Feistel network over whole numbers."""

from libc.stdint cimport int64_t, uint64_t

from fastlm.text.scan.table cimport mix

import numpy as np

cdef enum:
    ROUNDS = 6          # an even number, so that the halves come back to their places; four are enough in theory
    FEWEST_BITS = 8     # with fewer, some permutations would be much more likely than others


cdef inline uint64_t encrypt(uint64_t place, int left_bits, int right_bits, const uint64_t *keys) noexcept nogil:
    """One to one on numbers of so many bits (Luby & Rackoff 1988)."""
    cdef uint64_t left, right
    cdef int k
    for k in range(ROUNDS):
        left = place >> right_bits
        right = place & ((<uint64_t> 1 << right_bits) - 1)
        left ^= mix(right ^ keys[k]) >> (64 - left_bits)
        place = right << left_bits | left
        left_bits, right_bits = right_bits, left_bits
    return place


def permuted(int64_t begin, int64_t end, int64_t size, uint64_t key):
    """Part of a permutation of the numbers below `size`.

    Parameters
    ----------
    begin, end : int
        The places that are wanted: 0 to `size`.
    size : int
    key : int
        64 bits; the permutation depends on them and on `size` alone.

    Returns
    -------
    ndarray of int64
        What stands at the places `begin` to `end` - 1.
    """
    cdef uint64_t[ROUNDS] keys
    cdef uint64_t place
    cdef int num_bits = FEWEST_BITS
    cdef int64_t n
    cdef int k
    if not 0 <= begin <= end <= size:
        raise ValueError(f"places {begin} to {end}: expected 0 to {size}")
    while size > <int64_t> 1 << num_bits:
        num_bits += 1
    for k in range(ROUNDS):
        keys[k] = mix(key + <uint64_t> (k + 1) * 0x9E3779B97F4A7C15ULL)
    numbers = np.empty(end - begin, dtype=np.int64)
    cdef int64_t[::1] out = numbers
    with nogil:
        for n in range(begin, end):
            place = encrypt(n, num_bits // 2, num_bits - num_bits // 2, keys)
            while place >= <uint64_t> size:  # outside, from where the same way leads back inside
                place = encrypt(place, num_bits // 2, num_bits - num_bits // 2, keys)
            out[n - begin] = place
    return numbers
