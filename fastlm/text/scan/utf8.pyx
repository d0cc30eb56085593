"""Compiled check of text: UTF-8 without NUL."""

from libc.stdint cimport uint8_t

cdef enum:
    PIECE = 64      # bytes that are checked together while they are ASCII


cdef inline bint is_plain(const uint8_t *at) noexcept nogil:
    """Is the next piece ASCII without NUL?"""
    cdef uint8_t high = 0
    cdef uint8_t low = 255
    cdef int k
    for k in range(PIECE):
        high |= at[k]
        low = min(low, at[k])
    return high < 128 and low > 0


cdef inline uint8_t count_lines(const uint8_t *at) noexcept nogil:
    """Line ends in the next piece."""
    cdef uint8_t count = 0
    cdef int k
    for k in range(PIECE):
        count += at[k] == c"\n"
    return count


cdef inline bint is_continuation(uint8_t byte) noexcept nogil:
    return byte & 0xC0 == 0x80


cdef inline Py_ssize_t character_length(const uint8_t *at, const uint8_t *end) noexcept nogil:
    """Bytes of the character at `at`; 0: not UTF-8 (The Unicode Standard, table 3-7), or NUL."""
    cdef uint8_t lead = at[0]
    cdef Py_ssize_t left = end - at
    if lead < 0x80:
        return lead > 0
    if lead < 0xC2 or lead > 0xF4 or left < 2:
        return 0
    if lead < 0xE0:
        return 2 if is_continuation(at[1]) else 0
    if lead < 0xF0:
        if left < 3 or not (is_continuation(at[1]) and is_continuation(at[2])):
            return 0
        return 0 if (lead == 0xE0 and at[1] < 0xA0) or (lead == 0xED and at[1] > 0x9F) else 3
    if left < 4 or not (is_continuation(at[1]) and is_continuation(at[2]) and is_continuation(at[3])):
        return 0
    return 0 if (lead == 0xF0 and at[1] < 0x90) or (lead == 0xF4 and at[1] > 0x8F) else 4


def check_text(const uint8_t[::1] text):
    """Find the first byte that is not UTF-8, or NUL.

    Parameters
    ----------
    text : bytes-like

    Returns
    -------
    num_valid : int
        Bytes before it; all of them if there is none.
    num_characters, num_lines : int
        Characters, and line ends among them, in these bytes.
    """
    cdef Py_ssize_t num_characters = 0
    cdef Py_ssize_t num_lines = 0
    cdef Py_ssize_t length = 1
    cdef const uint8_t *start
    cdef const uint8_t *at
    cdef const uint8_t *end
    cdef const uint8_t *stop
    if text.shape[0] == 0:
        return 0, 0, 0
    with nogil:
        at = start = &text[0]
        end = at + text.shape[0]
        while at < end and length > 0:
            if end - at >= PIECE and is_plain(at):
                num_characters += PIECE
                num_lines += count_lines(at)
                at += PIECE
                continue
            stop = min(at + PIECE, end)
            while at < stop:
                length = character_length(at, end)
                if length == 0:
                    break
                num_characters += 1
                num_lines += at[0] == c"\n"
                at += length
    return at - start, num_characters, num_lines
