"""The compiled scanner: UTF-8 bytes are split into words, counted, and turned into ids.

A word is hashed once, eight bytes at a time, while its end is being looked for. Words are gathered in batches: the
slots of a whole batch are fetched into the cache before the first of them is read. No Python object is touched in
these loops, and nothing is kept between calls but what the objects below hold.
"""

cimport cython
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from fastlm.text.scan.split cimport BATCH, is_blank, prefetch, split
from fastlm.text.scan.table cimport (
    EMPTY,
    END,
    START,
    UNKNOWN,
    Slot,
    Table,
    Token,
    WordTable,
    as_token,
    fill_slots,
    locate,
    make_slots,
    occupy,
)

import numpy as np

from fastlm.errors import DataError

cdef enum:
    RESERVED = 1        # what take() found: a literal <s> or </s>
    NO_MEMORY = 2       # … or not: room for one more word


cdef class Scanner:
    """One pass over a text, block by block; not for several threads at once.

    Parameters
    ----------
    name : str
        The text's name in errors.

    Attributes
    ----------
    num_lines, num_empty_lines, num_sentences, num_unknown : int
        So far. A sentence is a line with a word in it.
    num_returns : int
        Carriage returns that belonged to a line's end.
    """

    cdef readonly str name
    cdef readonly Py_ssize_t num_lines
    cdef readonly Py_ssize_t num_empty_lines
    cdef readonly Py_ssize_t num_sentences
    cdef readonly Py_ssize_t num_unknown
    cdef readonly Py_ssize_t num_returns
    cdef bint in_sentence

    def scan(self, const uint8_t[::1] text):
        """Take a block of checked text that ends with a space, a tab or a line feed; words are split there.

        Parameters
        ----------
        text : bytes-like

        Returns
        -------
        ndarray or None
            An encoder's ids.
        """
        cdef Token[BATCH + 1] tokens
        cdef const uint8_t *at
        cdef const uint8_t *end
        cdef Py_ssize_t count
        cdef int problem = 0
        if text.shape[0] == 0 or not is_blank(text[text.shape[0] - 1]):
            raise ValueError("expected a block of text that ends with a space, a tab or a line feed")
        self.begin(text.shape[0])
        with nogil:
            at = &text[0]
            end = at + text.shape[0]
            while at < end and problem == 0:
                count = split(tokens, &at, end, &self.num_returns)
                problem = self.take(tokens, count)
        self.check(problem)
        return self.result()

    def scan_tokens(self, lines):
        """Take lines that are split already.

        Parameters
        ----------
        lines : list of list of str
            A line without a token is empty.

        Returns
        -------
        ndarray or None
            An encoder's ids.
        """
        cdef Token[BATCH + 1] tokens
        cdef Py_ssize_t count = 0
        cdef list line
        self.begin(sum(map(len, lines)) + len(lines))
        for line in lines:
            for word in line:
                as_token(&tokens[count], word)
                if tokens[count].length == 0:
                    self.check(self.take(tokens, count))
                    raise DataError(f"{self.name}, line {self.num_lines + 1}: the tokenizer gave an empty token; "
                                    f"expected tokens of one character or more")
                count += 1
                if count == BATCH:
                    self.check(self.take(tokens, count))
                    count = 0
            tokens[count].length = 0
            count += 1
            if count >= BATCH:
                self.check(self.take(tokens, count))
                count = 0
        self.check(self.take(tokens, count))
        return self.result()

    cdef int end_line(self) noexcept nogil:
        """Count the line; was it a sentence?"""
        cdef bint was_sentence = self.in_sentence
        self.num_lines += 1
        self.num_sentences += was_sentence
        self.num_empty_lines += not was_sentence
        self.in_sentence = False
        return was_sentence

    cdef void begin(self, Py_ssize_t max_events) except *:
        """Make room for so many words and line ends."""

    cdef int take(self, const Token *tokens, Py_ssize_t count) noexcept nogil:
        """Use a batch of tokens; returns 0 or what is wrong."""
        return 0

    cdef object result(self):
        return None

    cdef int check(self, int problem) except -1:
        if problem == RESERVED:
            raise DataError(
                f"{self.name}, line {self.num_lines + 1}: the text holds a literal <s> or </s>; they stand for the "
                f"begin and the end of a sentence, which are marked by line ends: remove them from the text"
            )
        if problem == NO_MEMORY:
            raise MemoryError(f"{self.name}, line {self.num_lines + 1}: no room for another word")
        return 0


@cython.final
cdef class Encoder(Scanner):
    """Turn text into ids; a word that the table does not hold is 0, a sentence ends with 1.

    Parameters
    ----------
    name : str
        The text's name in errors.
    words : WordTable
    dtype : type
        What the ids are wanted as.
    """

    cdef WordTable words
    cdef object dtype
    cdef object buffer
    cdef int32_t[::1] ids
    cdef Py_ssize_t num_ids

    def __init__(self, str name, WordTable words not None, dtype):
        self.name = name
        self.words = words
        self.dtype = dtype
        self.buffer = np.empty(0, dtype=np.int32)
        self.ids = self.buffer

    cdef void begin(self, Py_ssize_t max_events) except *:
        self.num_ids = 0
        if max_events > self.ids.shape[0]:
            self.buffer = np.empty(max_events, dtype=np.int32)
            self.ids = self.buffer

    cdef object result(self):
        return self.buffer[:self.num_ids].astype(self.dtype)

    cdef int take(self, const Token *tokens, Py_ssize_t count) noexcept nogil:
        cdef const Table *table = &self.words.table
        cdef Py_ssize_t k
        cdef int32_t index
        for k in range(count):
            prefetch(&table.slots[tokens[k].hash >> table.shift])
        for k in range(count):
            if tokens[k].length == 0:
                if self.end_line():
                    self.ids[self.num_ids] = END
                    self.num_ids += 1
                continue
            index = locate(table, &tokens[k]).index
            if index == END or index == START:
                return RESERVED
            self.ids[self.num_ids] = index
            self.num_ids += 1
            self.num_unknown += index == UNKNOWN
            self.in_sentence = True
        return 0


@cython.final
cdef class Counter(Scanner):
    """Count the words of a text.

    Parameters
    ----------
    name : str
        The text's name in errors.
    """

    cdef Table table
    cdef uint8_t *data
    cdef int64_t *ends
    cdef int64_t *counts
    cdef Py_ssize_t data_room       # bytes
    cdef Py_ssize_t word_room       # words

    def __cinit__(self, str name):
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
            self.add(locate(&self.table, &token), &token)

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

    cdef int take(self, const Token *tokens, Py_ssize_t count) noexcept nogil:
        cdef Py_ssize_t k
        cdef Slot *slot
        cdef int32_t index
        for k in range(count):
            prefetch(&self.table.slots[tokens[k].hash >> self.table.shift])
        for k in range(count):
            if tokens[k].length == 0:
                self.counts[END] += self.end_line()
                continue
            slot = locate(&self.table, &tokens[k])
            index = slot.index
            if slot.length == EMPTY:
                index = self.add(slot, &tokens[k])
                if index < 0:
                    return NO_MEMORY
            elif index == END or index == START:
                return RESERVED
            self.counts[index] += 1
            self.num_unknown += index == UNKNOWN
            self.in_sentence = True
        return 0

    cdef int32_t add(self, Slot *slot, const Token *token) noexcept nogil:
        """Enter a new word at its slot; its index, or -1 without memory."""
        cdef Py_ssize_t index = self.table.size
        cdef int64_t begin = self.ends[index - 1] if index else 0
        if not self.make_room(begin + token.length):
            return -1
        memcpy(self.data + begin, token.start, token.length)
        self.ends[index] = begin + token.length
        self.counts[index] = 0
        self.table.data = self.data
        self.table.ends = self.ends
        self.table.size = index + 1
        occupy(slot, token, <int32_t> index)
        if 2 * <size_t> self.table.size > self.table.mask and not self.spread():
            return -1
        return <int32_t> index

    cdef bint make_room(self, Py_ssize_t num_bytes) noexcept nogil:
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

    cdef bint spread(self) noexcept nogil:
        """Give the words twice as many slots; False without memory."""
        cdef Table old = self.table
        if not make_slots(&self.table, 2 * self.table.size):
            self.table = old
            return False
        free(old.slots)
        fill_slots(&self.table)
        return True
