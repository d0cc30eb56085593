"""The compiled table of words: an open-addressing hash table over bytes that lie elsewhere, in arrays.

The hash of a word of up to eight bytes is a one-to-one function of them, so most words are found without a look at
their bytes. Nothing here changes after it is made.
"""

cimport cython
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free

import numpy as np


cdef bint make_slots(Table *table, Py_ssize_t num_words) noexcept nogil:
    """Empty slots for so many words, but for <s>, which every table knows; False without memory."""
    cdef size_t num_slots = 16
    cdef Token start
    table.shift = 60
    while num_slots < 2 * <size_t> num_words + 2:
        num_slots *= 2
        table.shift -= 1
    table.mask = num_slots - 1
    table.slots = <Slot *> calloc(num_slots, sizeof(Slot))
    if table.slots == NULL:
        return False
    start.start = <const uint8_t *> "<s>"
    start.length = 3
    start.hash = hash_bytes(start.start, start.length)
    occupy(locate(table, &start), &start, START)
    return True


cdef Py_ssize_t fill_slots(Table *table) noexcept nogil:
    """Enter all words; the first one that is there already, or -1."""
    cdef Py_ssize_t index
    cdef Token token
    cdef Slot *slot
    for index in range(table.size):
        token.start = table.data + word_start(table, index)
        token.length = table.ends[index] - word_start(table, index)
        token.hash = hash_bytes(token.start, token.length)
        slot = locate(table, &token)
        if slot.length != EMPTY:
            return index
        occupy(slot, &token, <int32_t> index)
    return -1


@cython.final
cdef class WordTable:
    """Look words up by their bytes; read-only, so any number of threads may use it at once.

    Parameters
    ----------
    data : array of uint8
        The words' UTF-8 bytes, one word after the other: "<unk>" and "</s>" first, "<s>" not among them.
    ends : array of int64
        Where each word ends in `data`.

    Attributes
    ----------
    duplicate : int
        The number of the first word that stands there twice, counted at its second place; -1 if there is none.
    """

    def __cinit__(self, const uint8_t[::1] data, const int64_t[::1] ends):
        self.data = data
        self.ends = ends
        self.table.size = ends.shape[0]
        if self.table.size >= INT32_MAX:
            raise ValueError(f"a vocabulary holds less than {INT32_MAX} words, got {ends.shape[0]}")
        if self.table.size < 2:
            raise ValueError("the first two words are <unk> and </s>: expected them, got fewer words")
        self.table.data = &data[0]
        self.table.ends = &ends[0]
        with nogil:
            if make_slots(&self.table, self.table.size):
                self.duplicate = fill_slots(&self.table)
        if self.table.slots == NULL:
            raise MemoryError(f"no room for a table of {ends.shape[0]} words")

    def __dealloc__(self):
        free(self.table.slots)

    def __len__(self):
        return self.table.size

    def find(self, words):
        """Numbers of words.

        Parameters
        ----------
        words : list of str

        Returns
        -------
        ndarray of int32
            0 for a word that is not there, len(table) for "<s>".
        """
        cdef list wanted = words
        cdef Py_ssize_t k
        cdef Token token
        numbers = np.empty(len(wanted), dtype=np.int32)
        cdef int32_t[::1] out = numbers
        for k in range(len(wanted)):
            as_token(&token, wanted[k])
            out[k] = locate(&self.table, &token).index if token.length else UNKNOWN
            if out[k] == START:
                out[k] = <int32_t> self.table.size
        return numbers
