"""The table of words: what the scanner, too, needs in its inner loops."""

from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcmp

cdef extern from *:
    """
    #include <stdint.h>
    /* Looked up, because a branch on the length of a word is guessed wrong too often. */
    static const uint64_t fastlm_first_bytes[9] = {
        0, 0xff, 0xffff, 0xffffff, 0xffffffff, 0xffffffffff, 0xffffffffffff, 0xffffffffffffff, 0xffffffffffffffff
    };
    #if defined(_MSC_VER)
    #define fastlm_prefetch(address) ((void) (address))
    #else
    #define fastlm_prefetch(address) __builtin_prefetch(address)
    #endif
    """
    const uint64_t *first_bytes "fastlm_first_bytes"
    void prefetch "fastlm_prefetch" (const void *address) noexcept nogil

cdef enum:
    BATCH = 256         # words, or events of a text, that are looked up together: their slots are fetched meanwhile
    UNKNOWN = 0         # the id of <unk>
    END = 1             # the id of </s>
    START = -1          # <s> in a table: never an id of a text
    EMPTY = 0           # length of an empty slot
    SHORT = 16          # bytes: words up to here lie in their slots
    LONG = 17           # length of a slot whose word is longer

cdef struct Slot:
    uint64_t head       # the word's first eight bytes, zeros behind its end
    uint64_t tail       # the next eight; of a longer word all others, mixed
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
    uint64_t head       # as in a slot
    uint64_t tail
    uint64_t hash
    const uint8_t *start
    Py_ssize_t length   # 0: the end of a line

cdef bint make_slots(Table *table, Py_ssize_t num_words) noexcept nogil
cdef Py_ssize_t fill_slots(Table *table) noexcept nogil
cdef void move_slots(Table *table, const Table *old) noexcept nogil

cdef class WordTable:
    cdef Table table
    cdef readonly Py_ssize_t duplicate
    cdef const uint8_t[::1] data
    cdef const int64_t[::1] ends


cdef inline uint64_t load(const uint8_t *at) noexcept nogil:
    """Eight bytes, the first one lowest on every machine."""
    return (<uint64_t> at[0] | <uint64_t> at[1] << 8 | <uint64_t> at[2] << 16 | <uint64_t> at[3] << 24
            | <uint64_t> at[4] << 32 | <uint64_t> at[5] << 40 | <uint64_t> at[6] << 48 | <uint64_t> at[7] << 56)


cdef inline uint64_t load_few(const uint8_t *at, Py_ssize_t count) noexcept nogil:
    """The first `count` of them, up to eight; zeros stand for the others, which are not read."""
    cdef uint64_t bits = 0
    cdef Py_ssize_t k
    for k in range(min(count, 8)):
        bits |= <uint64_t> at[k] << (8 * k)
    return bits


cdef inline uint64_t mix(uint64_t bits) noexcept nogil:
    """Spread the bits, one to one."""
    bits *= 0x9E3779B97F4A7C15ULL
    bits ^= bits >> 32
    return bits * 0xD6E8FEB86659FD93ULL


cdef inline uint64_t hash_of(uint64_t head, uint64_t tail) noexcept nogil:
    return mix(head ^ tail * 0xA24BAED4963EE407ULL)


cdef inline void set_bytes(Token *token, const uint8_t *start, Py_ssize_t length, const uint8_t *end) noexcept nogil:
    """Make a token of bytes; those behind them, up to `end`, may be read as well."""
    cdef Py_ssize_t at
    token.start = start
    token.length = length
    if end - start >= SHORT:
        token.head = load(start) & first_bytes[min(length, 8)]
        token.tail = load(start + 8) & first_bytes[min(max(length, 8) - 8, 8)]
    else:
        token.head = load_few(start, length)
        token.tail = load_few(start + 8, length - 8)
    if length > SHORT:
        for at in range(SHORT, length, 8):
            token.tail = mix(token.tail) ^ load_few(start + at, length - at)
    token.hash = hash_of(token.head, token.tail)


cdef inline int32_t slot_length(Py_ssize_t length) noexcept nogil:
    return <int32_t> length if length <= SHORT else LONG


cdef inline Py_ssize_t word_start(const Table *table, Py_ssize_t index) noexcept nogil:
    return table.ends[index - 1] if index else 0


cdef inline void set_word(Token *token, const Table *table, Py_ssize_t index) noexcept nogil:
    """Make a token of one of the table's words."""
    cdef const uint8_t *end = table.data + table.ends[index]
    cdef const uint8_t *start = table.data + word_start(table, index)
    set_bytes(token, start, end - start, end)


cdef inline Py_ssize_t set_words(Token *tokens, const Table *words, Py_ssize_t begin,
                                 const Table *table) noexcept nogil:
    """Make tokens of a batch of words, from number `begin` on, and have their slots in a table fetched; how many."""
    cdef Py_ssize_t count = min(words.size - begin, BATCH)
    cdef Py_ssize_t k
    for k in range(count):
        set_word(&tokens[k], words, begin + k)
        prefetch(&table.slots[tokens[k].hash >> table.shift])
    return count


cdef inline Slot *locate(const Table *table, const Token *token) noexcept nogil:
    """The word's slot, or the empty one where it would stand."""
    cdef size_t place = token.hash >> table.shift
    cdef int32_t length = slot_length(token.length)
    cdef Slot *slot
    cdef Py_ssize_t start
    while True:
        slot = &table.slots[place]
        if slot.head == token.head and slot.tail == token.tail and slot.length == length:
            if length <= SHORT:
                return slot
            start = word_start(table, slot.index)
            if (table.ends[slot.index] - start == token.length
                    and memcmp(table.data + start, token.start, token.length) == 0):
                return slot
        elif slot.length == EMPTY:
            return slot
        place = (place + 1) & table.mask


cdef inline void occupy(Slot *slot, const Token *token, int32_t index) noexcept nogil:
    slot.head = token.head
    slot.tail = token.tail
    slot.index = index
    slot.length = slot_length(token.length)


cdef inline int as_token(Token *token, str word) except -1:
    """A Python string's own UTF-8 bytes: valid as long as the string."""
    cdef Py_ssize_t length
    cdef const uint8_t *start = <const uint8_t *> PyUnicode_AsUTF8AndSize(word, &length)
    set_bytes(token, start, length, start + length)
    return 0
