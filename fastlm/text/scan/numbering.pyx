"""Compiled steps from a counter's numbers to ids: words in the order of a vocabulary, and ids in place of numbers."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint64_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcmp, memcpy

import numpy as np

ctypedef fused id_t:
    uint16_t
    int32_t

cdef struct Word:
    int64_t count
    uint64_t head           # its first eight bytes as a number, for nearly all comparisons
    const uint8_t *start
    int32_t length
    int32_t number


cdef int compare(const void *one, const void *other) noexcept nogil:
    """The more frequent word first; of equally frequent ones the one whose bytes come first."""
    cdef const Word *a = <const Word *> one
    cdef const Word *b = <const Word *> other
    cdef int order
    if a.count != b.count:
        return -1 if a.count > b.count else 1
    if a.head != b.head:
        return -1 if a.head < b.head else 1
    order = memcmp(a.start, b.start, min(a.length, b.length))
    return order if order else (a.length > b.length) - (a.length < b.length)


def sort_words(const uint8_t[::1] data, const int64_t[::1] ends, const int64_t[::1] counts,
               const int64_t[::1] numbers):
    """Sort words by their counts, the highest first, and then by their bytes.

    Parameters
    ----------
    data : array of uint8
        The bytes of all words, one after the other.
    ends, counts : array of int64
        Where each word ends in `data`; how often it occurred.
    numbers : array of int64
        Which words.

    Returns
    -------
    ndarray of int64
        Their numbers, sorted.
    """
    cdef Py_ssize_t count = numbers.shape[0]
    cdef Py_ssize_t k, at
    cdef int64_t start
    cdef Word *words = <Word *> malloc(max(count, 1) * sizeof(Word))
    if words == NULL:
        raise MemoryError(f"no room to sort {count} words")
    ordered = np.empty(count, dtype=np.int64)
    cdef int64_t[::1] out = ordered
    with nogil:
        for k in range(count):
            start = ends[numbers[k] - 1] if numbers[k] else 0
            words[k].count = counts[numbers[k]]
            words[k].number = <int32_t> numbers[k]
            words[k].start = &data[start]
            words[k].length = <int32_t> (ends[numbers[k]] - start)
            words[k].head = 0
            for at in range(min(words[k].length, 8)):
                words[k].head |= <uint64_t> data[start + at] << (56 - 8 * at)
        qsort(words, count, sizeof(Word), compare)
        for k in range(count):
            out[k] = words[k].number
    free(words)
    return ordered


def pick_words(const uint8_t[::1] data, const int64_t[::1] ends, const int64_t[::1] numbers):
    """Pack some of the packed words.

    Parameters
    ----------
    data : array of uint8
    ends : array of int64
    numbers : array of int64
        Which words, in the order that is wanted.

    Returns
    -------
    data : ndarray of uint8
    ends : ndarray of int64
    """
    cdef Py_ssize_t k
    cdef int64_t start, length
    cdef int64_t at = 0
    picked_ends = np.empty(numbers.shape[0], dtype=np.int64)
    cdef int64_t[::1] out_ends = picked_ends
    for k in range(numbers.shape[0]):
        at += ends[numbers[k]] - (ends[numbers[k] - 1] if numbers[k] else 0)
        out_ends[k] = at
    picked = np.empty(at, dtype=np.uint8)
    cdef uint8_t[::1] out = picked
    at = 0
    for k in range(numbers.shape[0]):
        start = ends[numbers[k] - 1] if numbers[k] else 0
        length = ends[numbers[k]] - start
        if length:
            memcpy(&out[at], &data[start], length)
        at += length
    return picked, picked_ends


def renumber(id_t[::1] out, const int32_t[::1] numbers, const int32_t[::1] ids):
    """Put ids in the place of numbers.

    Parameters
    ----------
    out : array of uint16 or int32
        Written: out[n] = ids[numbers[n]].
    numbers : array of int32
    ids : array of int32
        Those of the numbers 0, 1, ….

    Returns
    -------
    int
        How many of them are 0: unknown words.
    """
    cdef Py_ssize_t count = numbers.shape[0]
    cdef size_t num_words = ids.shape[0]
    cdef Py_ssize_t num_unknown = 0
    cdef bint fits = True
    cdef Py_ssize_t k
    if out.shape[0] != count:
        raise ValueError(f"out has room for {out.shape[0]} ids, expected it for {count}")
    with nogil:
        for k in range(count):
            if <size_t> numbers[k] >= num_words:
                fits = False
                break
            out[k] = <id_t> ids[numbers[k]]
            num_unknown += out[k] == 0
    if not fits:
        raise ValueError(f"numbers[{k}] is {numbers[k]}: expected 0 to {num_words - 1}")
    return num_unknown
