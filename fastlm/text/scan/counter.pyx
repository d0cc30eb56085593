"""The compiled first pass over a text: its words are numbered as they come, and counted."""

cimport cython
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from fastlm.text.scan.scanner cimport NO_MEMORY, RESERVED, Scanner
from fastlm.text.scan.table cimport (
    BATCH,
    EMPTY,
    END,
    START,
    UNKNOWN,
    Slot,
    Table,
    Token,
    as_token,
    locate,
    make_slots,
    move_slots,
    occupy,
    prefetch,
    set_words,
)

import numpy as np


@cython.final
cdef class Counter(Scanner):
    """Number the words of texts in the order of their first occurrence, and count them.

    "<unk>" is number 0, "</s>" is number 1 and stands at the end of each sentence. What `scan` gives is valid until
    the next call.

    Parameters
    ----------
    name : str, default ""
        The first text's name in errors.
    """

    cdef Table table
    cdef uint8_t *data
    cdef int64_t *ends
    cdef int64_t *counts
    cdef Py_ssize_t data_room       # bytes
    cdef Py_ssize_t word_room       # words

    def __cinit__(self, str name=""):
        cdef Token token
        self.name = name
        self.data_room = 1 << 16
        self.word_room = 1 << 12
        self.data = <uint8_t *> malloc(self.data_room)
        self.ends = <int64_t *> malloc(self.word_room * sizeof(int64_t))
        self.counts = <int64_t *> malloc(self.word_room * sizeof(int64_t))
        if self.data == NULL or self.ends == NULL or self.counts == NULL or not make_slots(&self.table, self.word_room):
            raise MemoryError("no room to count words")
        for word in ("<unk>", "</s>"):
            as_token(&token, word)
            self.enter(locate(&self.table, &token), &token)

    def __dealloc__(self):
        free(self.table.slots)
        free(self.data)
        free(self.ends)
        free(self.counts)

    def words(self):
        """Give what was counted.

        Returns
        -------
        data : ndarray of uint8
            Bytes of all words: "<unk>", "</s>", and the others in the order of their first occurrence.
        ends : ndarray of int64
            Where each word ends in `data`.
        counts : ndarray of int64
            How often each word occurred; "</s>" as often as there were sentences.
        """
        cdef Py_ssize_t size = self.table.size
        data = np.array(<uint8_t[:self.ends[size - 1]]> self.data)
        ends = np.array(<int64_t[:size]> self.ends, dtype=np.int64)
        counts = np.array(<int64_t[:size]> self.counts, dtype=np.int64)
        return data, ends, counts

    def add_counts(self, const uint8_t[::1] data, const int64_t[::1] ends, const int64_t[::1] counts):
        """Add what another counter's `words` gave, as if this one had gone on with its texts."""
        cdef Table other
        cdef Token[BATCH] tokens
        cdef Slot *slot
        cdef Py_ssize_t begin = 0
        cdef Py_ssize_t k
        cdef int32_t index = 0
        other.data = &data[0]
        other.ends = &ends[0]
        other.size = ends.shape[0]
        if not self.make_slot_room(other.size):
            self.check(NO_MEMORY)
        with nogil:
            while begin < other.size and index >= 0:
                for k in range(set_words(tokens, &other, begin, &self.table)):
                    slot = locate(&self.table, &tokens[k])
                    index = slot.index if slot.length != EMPTY else self.enter(slot, &tokens[k])
                    if index < 0:
                        break
                    self.counts[index] += counts[begin + k]
                begin += BATCH
        if index < 0:
            self.check(NO_MEMORY)
        self.num_sentences = self.counts[END]
        self.num_unknown = self.counts[UNKNOWN]

    cdef int take(self, const Token *tokens, Py_ssize_t count) noexcept nogil:
        cdef int32_t *ids = &self.ids[0]
        cdef Py_ssize_t num_ids = self.num_ids
        cdef Py_ssize_t k
        cdef Slot *slot
        cdef int32_t index
        for k in range(count):
            prefetch(&self.table.slots[tokens[k].hash >> self.table.shift])
        for k in range(count):
            if tokens[k].length == 0:
                if self.end_line():
                    self.counts[END] += 1
                    ids[num_ids] = END
                    num_ids += 1
                continue
            slot = locate(&self.table, &tokens[k])
            index = slot.index
            if slot.length == EMPTY:
                index = self.enter(slot, &tokens[k])
                if index < 0:
                    return NO_MEMORY
            elif index == END or index == START:
                return RESERVED
            self.counts[index] += 1
            ids[num_ids] = index
            num_ids += 1
            self.in_sentence = True
        self.num_ids = num_ids
        self.num_unknown = self.counts[UNKNOWN]
        return 0

    cdef int32_t enter(self, Slot *slot, const Token *token) noexcept nogil:
        """Enter a new word at its slot; its index, or -1 without memory."""
        cdef Py_ssize_t index = self.table.size
        cdef int64_t begin = self.ends[index - 1] if index else 0
        if not self.make_word_room(begin + token.length):
            return -1
        memcpy(self.data + begin, token.start, token.length)
        self.ends[index] = begin + token.length
        self.counts[index] = 0
        self.table.data = self.data
        self.table.ends = self.ends
        self.table.size = index + 1
        occupy(slot, token, <int32_t> index)
        if not self.make_slot_room(self.table.size):
            return -1
        return <int32_t> index

    cdef bint make_word_room(self, Py_ssize_t num_bytes) noexcept nogil:
        """Let so many bytes and one word more fit; False without memory."""
        cdef void *room
        while num_bytes > self.data_room:
            room = realloc(self.data, 2 * self.data_room)
            if room == NULL:
                return False
            self.data = <uint8_t *> room
            self.data_room *= 2
        if self.table.size == self.word_room:
            if 2 * self.word_room >= INT32_MAX:
                return False
            room = realloc(self.ends, 2 * self.word_room * sizeof(int64_t))
            if room == NULL:
                return False
            self.ends = <int64_t *> room
            room = realloc(self.counts, 2 * self.word_room * sizeof(int64_t))
            if room == NULL:
                return False
            self.counts = <int64_t *> room
            self.word_room *= 2
        return True

    cdef bint make_slot_room(self, Py_ssize_t num_words) noexcept nogil:
        """Let half the slots be free with so many words; False without memory."""
        cdef Table old = self.table
        if 2 * <size_t> num_words <= self.table.mask:
            return True
        if not make_slots(&self.table, 2 * num_words):
            self.table = old
            return False
        move_slots(&self.table, &old)
        free(old.slots)
        return True
