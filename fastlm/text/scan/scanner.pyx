"""The compiled scanner: UTF-8 bytes are split into words, counted, and turned into ids.

Words are gathered in batches: the slots of a whole batch are fetched into the cache before the first of them is read.
No Python object is touched in these loops, and nothing is kept between calls but what the objects below hold.
"""

cimport cython
from libc.stdint cimport int32_t, uint8_t

from fastlm.text.scan.split cimport MAX_BATCH, is_blank, split
from fastlm.text.scan.table cimport BATCH, END, START, UNKNOWN, Table, Token, WordTable, as_token, locate, prefetch

import numpy as np

from fastlm.errors import LineError


cdef class Scanner:
    """One pass over texts, block by block; not for several threads at once.

    Parameters
    ----------
    name : str
        The first text's name in errors.

    Attributes
    ----------
    num_lines : int
        Of this text, so far.
    num_empty_lines, num_sentences, num_unknown : int
        Of all texts so far. A sentence is a line with a word in it.
    num_returns : int
        Carriage returns that belonged to a line's end.
    """

    def begin_text(self, str name):
        """Go on with another text, whose lines are counted from 1 again."""
        self.name = name
        self.num_lines = 0

    def scan(self, const uint8_t[::1] text):
        """Take a block of checked text that ends with a space, a tab or a line feed; words are split there.

        Parameters
        ----------
        text : bytes-like

        Returns
        -------
        ndarray of int
            What stands for the words and the ends of the sentences: ids, or an unfinished counter's numbers.
        """
        cdef Token[MAX_BATCH] tokens
        cdef const uint8_t *at
        cdef const uint8_t *end
        cdef Py_ssize_t count
        cdef int problem = 0
        if text.shape[0] == 0 or not is_blank(text[text.shape[0] - 1]):
            raise ValueError("expected a block of text that ends with a space, a tab or a line feed")
        self.make_room(text.shape[0])
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
        ndarray of int
            What stands for the words and the ends of the sentences: ids, or an unfinished counter's numbers.
        """
        cdef Token[MAX_BATCH] tokens
        cdef Py_ssize_t count = 0
        cdef list line
        self.make_room(sum(map(len, lines)) + len(lines))
        for line in lines:
            for word in line:
                as_token(&tokens[count], word)
                if tokens[count].length == 0:
                    self.check(self.take(tokens, count))
                    raise LineError(self.name, self.num_lines + 1,
                                    "the tokenizer gave an empty token; expected tokens of one character or more")
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

    cdef int make_room(self, Py_ssize_t max_events) except -1:
        """Let so many words and line ends fit."""
        self.num_ids = 0
        if self.buffer is None or max_events > self.ids.shape[0]:
            self.buffer = np.empty(max(1, max_events), dtype=np.int32)
            self.ids = self.buffer
        return 0

    cdef int take(self, const Token *tokens, Py_ssize_t count) noexcept nogil:
        """Use a batch of tokens; returns 0 or what is wrong."""
        return 0

    cdef object result(self):
        """Give the block's ids."""
        return self.buffer[:self.num_ids]

    cdef int check(self, int problem) except -1:
        if problem == RESERVED:
            raise LineError(
                self.name, self.num_lines + 1,
                "the text holds a literal <s> or </s>; they stand for the begin and the end of a sentence, which are "
                "marked by line ends: remove them from the text"
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

    def __init__(self, str name, WordTable words not None, dtype):
        self.name = name
        self.words = words
        self.dtype = dtype

    cdef object result(self):
        return self.buffer[:self.num_ids].astype(self.dtype)

    cdef int take(self, const Token *tokens, Py_ssize_t count) noexcept nogil:
        cdef const Table *table = &self.words.table
        cdef Py_ssize_t num_ids = self.num_ids
        cdef Py_ssize_t k
        cdef int32_t index
        for k in range(count):
            prefetch(&table.slots[tokens[k].hash >> table.shift])
        for k in range(count):
            if tokens[k].length == 0:
                if self.end_line():
                    self.ids[num_ids] = END
                    num_ids += 1
                continue
            index = locate(table, &tokens[k]).index
            if index == END or index == START:
                return RESERVED
            self.ids[num_ids] = index
            num_ids += 1
            self.num_unknown += index == UNKNOWN
            self.in_sentence = True
        self.num_ids = num_ids
        return 0
