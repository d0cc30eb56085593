"""The table of words: what the scanner, too, needs in its inner loops."""

from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcmp

cdef enum:
    UNKNOWN = 0         # the id of <unk>
    END = 1             # the id of </s>
    START = -1          # <s> in a table: never an id of a text
    EMPTY = 0           # length of an empty slot
    SHORT = 8           # bytes: words up to here are equal if their hashes and lengths are
    LONG = 9            # length of a slot whose word is longer

cdef struct Slot:
    uint64_t hash
    int32_t index       # of the word; 0, that is <unk>, in an empty slot
    int32_t length      # of the word: up to SHORT bytes, or LONG

cdef struct Table:
    Slot *slots         # a power of two of them, at most half full
    size_t mask         # their number - 1
    int shift           # the hash's top bits choose the slot
    Py_ssize_t size     # words
    const uint8_t *data
    const int64_t *ends  # word n is data[ends[n - 1]:ends[n]]

cdef struct Token:
    uint64_t hash
    const uint8_t *start
    Py_ssize_t length   # 0: the end of a line

cdef bint make_slots(Table *table, Py_ssize_t num_words) noexcept nogil
cdef Py_ssize_t fill_slots(Table *table) noexcept nogil

cdef class WordTable:
    cdef Table table
    cdef readonly Py_ssize_t duplicate
    cdef const uint8_t[::1] data
    cdef const int64_t[::1] ends


cdef inline uint64_t load(const uint8_t *at, const uint8_t *end) noexcept nogil:
    """Up to eight bytes, the first one lowest on every machine; zeros stand for what is behind the end."""
    cdef uint64_t bits = 0
    cdef Py_ssize_t k
    if end - at >= 8:
        return (<uint64_t> at[0] | <uint64_t> at[1] << 8 | <uint64_t> at[2] << 16 | <uint64_t> at[3] << 24
                | <uint64_t> at[4] << 32 | <uint64_t> at[5] << 40 | <uint64_t> at[6] << 48 | <uint64_t> at[7] << 56)
    for k in range(end - at):
        bits |= <uint64_t> at[k] << (8 * k)
    return bits


cdef inline uint64_t mix(uint64_t bits) noexcept nogil:
    """Spread the bits; one to one, so that no two short words share a hash."""
    bits *= 0x9E3779B97F4A7C15ULL
    bits ^= bits >> 32
    return bits * 0xD6E8FEB86659FD93ULL


cdef inline uint64_t hash_bytes(const uint8_t *at, Py_ssize_t length) noexcept nogil:
    """A word's hash."""
    cdef const uint8_t *end = at + length
    cdef uint64_t bits = load(at, end)
    at += 8
    while at < end:
        bits = mix(bits) ^ load(at, end)
        at += 8
    return mix(bits)


cdef inline int32_t slot_length(Py_ssize_t length) noexcept nogil:
    return <int32_t> length if length <= SHORT else LONG


cdef inline Py_ssize_t word_start(const Table *table, Py_ssize_t index) noexcept nogil:
    return table.ends[index - 1] if index else 0


cdef inline Slot *locate(const Table *table, const Token *token) noexcept nogil:
    """The word's slot, or the empty one where it would stand."""
    cdef size_t place = token.hash >> table.shift
    cdef int32_t length = slot_length(token.length)
    cdef Slot *slot
    cdef Py_ssize_t start
    while True:
        slot = &table.slots[place]
        if slot.length == EMPTY:
            return slot
        if slot.hash == token.hash and slot.length == length:
            if length <= SHORT:
                return slot
            start = word_start(table, slot.index)
            if (table.ends[slot.index] - start == token.length
                    and memcmp(table.data + start, token.start, token.length) == 0):
                return slot
        place = (place + 1) & table.mask


cdef inline void occupy(Slot *slot, const Token *token, int32_t index) noexcept nogil:
    slot.hash = token.hash
    slot.index = index
    slot.length = slot_length(token.length)


cdef inline void as_token(Token *token, str word) except *:
    """A Python string's own UTF-8 bytes: valid as long as the string."""
    token.start = <const uint8_t *> PyUnicode_AsUTF8AndSize(word, &token.length)
    token.hash = hash_bytes(token.start, token.length)
