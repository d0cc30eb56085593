"""The lines of ARPA files: a log-probability, the words of an n-gram, and perhaps a back-off weight."""

from cpython.mem cimport PyMem_Free
from libc.math cimport INFINITY, isfinite, pow
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, strlen

from fastlm.text.scan.table cimport EMPTY, START, UNKNOWN, Table, Token, WordTable, locate, set_bytes

import numpy as np

cdef extern from "Python.h":
    char *PyOS_double_to_string(double value, char format_code, int precision, int flags, int *kind) except NULL

cdef enum:
    DIGITS = 18         # that a whole number of 64 bits can hold
    PRECISION = 9       # digits that tell every float32 from its neighbours
    NUMBER_ROOM = 24    # bytes of a number with that many digits, at most


cdef inline bint is_space(uint8_t byte) noexcept nogil:
    return byte == c" " or byte == c"\t"


cdef inline bint is_digit(uint8_t byte) noexcept nogil:
    return c"0" <= byte <= c"9"


cdef inline const uint8_t *skip_spaces(const uint8_t *at) noexcept nogil:
    while is_space(at[0]):
        at += 1
    return at


cdef inline bint ends_line(const uint8_t *at) noexcept nogil:
    return at[0] == c"\n" or (at[0] == c"\r" and at[1] == c"\n")


cdef inline const uint8_t *parse_infinity(const uint8_t *at, float *number) noexcept nogil:
    """Read "-inf", the logarithm of zero, in front of a blank; NULL if it does not stand there."""
    if (at[0] == c"-" and at[1] | 32 == c"i" and at[2] | 32 == c"n" and at[3] | 32 == c"f"
            and (is_space(at[4]) or ends_line(at + 4))):
        number[0] = -INFINITY
        return at + 4
    return NULL


cdef const uint8_t *parse_number(const uint8_t *at, float *number) noexcept nogil:
    """Read a decimal number, in front of a blank, or "-inf"; NULL if there is none, or none that a float can hold."""
    cdef bint negative = at[0] == c"-", negative_exponent
    cdef uint64_t digits = 0
    cdef int num_digits = 0, num_seen = 0, exponent = 0, written = 0
    cdef bint behind_point = False
    cdef const uint8_t *begin = at
    if at[0] == c"-" or at[0] == c"+":
        at += 1
    while is_digit(at[0]) or (at[0] == c"." and not behind_point):
        if at[0] == c".":
            behind_point = True
        else:
            num_seen += 1
            if num_digits < DIGITS:
                digits = 10 * digits + (at[0] - c"0")
                num_digits += digits > 0
                exponent -= behind_point
            else:
                exponent += not behind_point
        at += 1
    if num_seen == 0:
        return parse_infinity(begin, number)
    if at[0] == c"e" or at[0] == c"E":
        at += 1
        negative_exponent = at[0] == c"-"
        if at[0] == c"-" or at[0] == c"+":
            at += 1
        if not is_digit(at[0]):
            return NULL
        while is_digit(at[0]):
            written = min(10 * written + (at[0] - c"0"), 100000)
            at += 1
        exponent += -written if negative_exponent else written
    if not (is_space(at[0]) or ends_line(at)):
        return NULL
    number[0] = <float> (digits * pow(10.0, exponent) if exponent >= 0 else digits / pow(10.0, -exponent))
    if negative:
        number[0] = -number[0]
    return at if isfinite(number[0]) else NULL


cdef const uint8_t *parse_word(const uint8_t *at, int32_t *id, const Table *table) noexcept nogil:
    """Read a word and look it up; NULL if there is none, or none of the table. <UNK> is <unk> unless it is a word."""
    cdef Token token
    cdef const uint8_t *start = at
    while not (is_space(at[0]) or ends_line(at)):
        at += 1
    if at == start:
        return NULL
    set_bytes(&token, start, at - start, at)
    slot = locate(table, &token)
    if slot.length == EMPTY:
        id[0] = UNKNOWN
        return at if token.length == 5 and memcmp(token.start, b"<UNK>", 5) == 0 else NULL
    id[0] = <int32_t> table.size if slot.index == START else slot.index
    return at


cdef const uint8_t *parse_line(const uint8_t *at, int32_t *ids, int order, float *log10_prob, float *log10_backoff,
                               const Table *table) noexcept nogil:
    """Read a line; the end of it, or NULL if it is not as it should be."""
    cdef int n
    at = parse_number(skip_spaces(at), log10_prob)
    if at == NULL or log10_prob[0] > 0:
        return NULL
    for n in range(order):
        at = parse_word(skip_spaces(at), &ids[n], table)
        if at == NULL:
            return NULL
    at = skip_spaces(at)
    log10_backoff[0] = 0.0
    if not ends_line(at):
        at = parse_number(at, log10_backoff)
        if at == NULL:
            return NULL
        at = skip_spaces(at)
    return at + 1 + (at[0] == c"\r") if ends_line(at) else NULL


def parse_ngrams(int32_t[:, ::1] ids, float[::1] log10_probs, float[::1] log10_backoffs, const uint8_t[::1] text,
                 Py_ssize_t begin, WordTable words not None):
    """Read n-grams, line by line, until there is no more room, or no line, or one that is not an n-gram of these words.

    Parameters
    ----------
    ids : array of int32, shape (R, N), overwritten
    log10_probs, log10_backoffs : arrays of float32, shape (R,), overwritten
        Where there is no weight it is 0.
    text : bytes-like
        Whole lines, each with its end.
    begin : int
        Where to begin.
    words : WordTable

    Returns
    -------
    num_read : int
    at : int
        Where the next line begins.
    """
    cdef Py_ssize_t R = ids.shape[0], r = 0
    cdef int N = <int> ids.shape[1]
    cdef const uint8_t *at
    cdef const uint8_t *next_line
    cdef const uint8_t *end
    if log10_probs.shape[0] != R or log10_backoffs.shape[0] != R:
        raise ValueError(f"log10_probs ({log10_probs.shape[0]},) and log10_backoffs ({log10_backoffs.shape[0]},) do "
                         f"not fit {R} rows of ids")
    if text.shape[0] == 0 or text[text.shape[0] - 1] != c"\n" or not 0 <= begin <= text.shape[0]:
        raise ValueError(f"expected text that ends with a line feed, and a place in it, got place {begin}")
    with nogil:
        at = &text[0] + begin
        end = &text[0] + text.shape[0]
        while at < end and r < R:
            next_line = parse_line(at, &ids[r, 0], N, &log10_probs[r], &log10_backoffs[r], &words.table)
            if next_line == NULL:
                break
            at = next_line
            r += 1
    return r, at - &text[0]


cdef uint8_t *format_number(uint8_t *at, double number) except NULL:
    cdef char *digits = PyOS_double_to_string(number, c"g", PRECISION, 0, NULL)
    cdef size_t length = strlen(digits)
    memcpy(at, digits, length)
    PyMem_Free(digits)
    return at + length


def format_ngrams(const int32_t[:, ::1] ids, const float[::1] log10_probs, const float[::1] log10_backoffs,
                  const uint8_t[::1] data, const int64_t[::1] ends):
    """Write n-grams as lines.

    Parameters
    ----------
    ids : array of int32, shape (R, N)
    log10_probs : array of float32, shape (R,)
    log10_backoffs : array of float32, shape (R,), or None
    data : array of uint8
        The words' UTF-8 bytes, one word after the other.
    ends : array of int64
        Where each ends.

    Returns
    -------
    ndarray of uint8
        The lines.
    """
    cdef Py_ssize_t R = ids.shape[0], N = ids.shape[1], r, n, size = 0, begin
    cdef uint8_t *at
    if log10_probs.shape[0] != R or (log10_backoffs is not None and log10_backoffs.shape[0] != R):
        raise ValueError(f"log10_probs ({log10_probs.shape[0]},) or log10_backoffs do not fit {R} rows of ids")
    for r in range(R):
        for n in range(N):
            if not 0 <= ids[r, n] < ends.shape[0]:
                raise ValueError(f"ids[{r}, {n}] is {ids[r, n]}, expected 0 to {ends.shape[0] - 1}")
            size += ends[ids[r, n]] - (ends[ids[r, n] - 1] if ids[r, n] else 0) + 1
        size += 2 * NUMBER_ROOM + 2
    lines = np.empty(max(size, 1), dtype=np.uint8)
    cdef uint8_t[::1] out = lines
    at = &out[0]
    for r in range(R):
        at = format_number(at, log10_probs[r])
        for n in range(N):
            at[0] = c" " if n else c"\t"
            begin = ends[ids[r, n] - 1] if ids[r, n] else 0
            memcpy(at + 1, &data[begin], ends[ids[r, n]] - begin)
            at += 1 + ends[ids[r, n]] - begin
        if log10_backoffs is not None:
            at[0] = c"\t"
            at = format_number(at + 1, log10_backoffs[r])
        at[0] = c"\n"
        at += 1
    return lines[:at - &out[0]]
