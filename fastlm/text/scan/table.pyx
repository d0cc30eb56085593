"""The compiled table of words: an open-addressing hash table over bytes that lie elsewhere, in arrays.

A slot holds the bytes of a word of up to sixteen, so nearly all words are found without a look at where they lie.
Nothing here changes after it is made.
"""

cimport cython
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free

import numpy as np


cdef bint make_slots(Table *table, Py_ssize_t num_words) noexcept nogil:
    """Empty slots for so many words, but for <s>, which every table knows; False without memory."""
    cdef size_t num_slots = 16
    cdef const uint8_t *name = <const uint8_t *> "<s>"
    cdef Token start
    table.shift = 60
    while num_slots < 2 * <size_t> num_words + 2:
        num_slots *= 2
        table.shift -= 1
    table.mask = num_slots - 1
    table.slots = <Slot *> calloc(num_slots, sizeof(Slot))
    if table.slots == NULL:
        return False
    set_bytes(&start, name, 3, name + 3)
    occupy(locate(table, &start), &start, START)
    return True


cdef Py_ssize_t fill_slots(Table *table) noexcept nogil:
    """Enter all words; the first one that is there already, or -1."""
    cdef Py_ssize_t begin = 0
    cdef Py_ssize_t k
    cdef Token[BATCH] tokens
    cdef Slot *slot
    while begin < table.size:
        for k in range(set_words(tokens, table, begin, table)):
            slot = locate(table, &tokens[k])
            if slot.length != EMPTY:
                return begin + k
            occupy(slot, &tokens[k], <int32_t> (begin + k))
        begin += BATCH
    return -1


cdef void move_slots(Table *table, const Table *old) noexcept nogil:
    """Enter the words of a smaller table of slots, without a look at the words."""
    cdef size_t k, place
    cdef Slot *slot
    for k in range(old.mask + 1):
        slot = &old.slots[k]
        if slot.length == EMPTY or slot.index == START:
            continue
        place = hash_of(slot.head, slot.tail) >> table.shift
        while table.slots[place].length != EMPTY:
            place = (place + 1) & table.mask
        table.slots[place] = slot[0]


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

    def find_packed(self, const uint8_t[::1] data, const int64_t[::1] ends):
        """Numbers of words that are packed as the table's own are, such as those of another table.

        Parameters
        ----------
        data : array of uint8
        ends : array of int64

        Returns
        -------
        ndarray of int32
            0 for a word that is not there.
        """
        cdef Table words
        cdef Token[BATCH] tokens
        cdef Py_ssize_t begin = 0
        cdef Py_ssize_t k
        words.data = &data[0]
        words.ends = &ends[0]
        words.size = ends.shape[0]
        numbers = np.empty(words.size, dtype=np.int32)
        cdef int32_t[::1] out = numbers
        with nogil:
            while begin < words.size:
                for k in range(set_words(tokens, &words, begin, &self.table)):
                    out[begin + k] = max(UNKNOWN, locate(&self.table, &tokens[k]).index)
                begin += BATCH
        return numbers
