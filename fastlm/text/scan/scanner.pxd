"""What every pass over a text shares: its counts, and what a subclass does with a batch of tokens."""

from libc.stdint cimport int32_t

from fastlm.text.scan.table cimport Token

cdef enum:
    RESERVED = 1        # what take() found: a literal <s> or </s>
    NO_MEMORY = 2       # … or not: room for one more word


cdef class Scanner:
    cdef readonly str name
    cdef readonly Py_ssize_t num_lines
    cdef readonly Py_ssize_t num_empty_lines
    cdef readonly Py_ssize_t num_sentences
    cdef readonly Py_ssize_t num_unknown
    cdef readonly Py_ssize_t num_returns
    cdef bint in_sentence
    cdef object buffer
    cdef int32_t[::1] ids           # room for what the block gives
    cdef Py_ssize_t num_ids

    cdef int end_line(self) noexcept nogil
    cdef int make_room(self, Py_ssize_t max_events) except -1
    cdef int take(self, const Token *tokens, Py_ssize_t count) noexcept nogil
    cdef object result(self)
    cdef int check(self, int problem) except -1
