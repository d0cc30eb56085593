"""Splitting of text at blanks, and the prefetching that look-ups of many words live on."""

from libc.stdint cimport uint8_t, uint64_t

from fastlm.text.scan.table cimport Token, hash_bytes, load, mix

cdef extern from *:
    """
    #if defined(_MSC_VER)
    #include <intrin.h>
    static int fastlm_trailing_zeros(unsigned long long bits) {
        unsigned long place;
        _BitScanForward64(&place, bits);
        return (int) place;
    }
    #define fastlm_prefetch(address) ((void) (address))
    #else
    #define fastlm_trailing_zeros(bits) __builtin_ctzll(bits)
    #define fastlm_prefetch(address) __builtin_prefetch(address)
    #endif
    """
    int trailing_zeros "fastlm_trailing_zeros" (uint64_t bits) noexcept nogil
    void prefetch "fastlm_prefetch" (const void *address) noexcept nogil

cdef enum:
    BATCH = 256         # tokens that are looked up together


cdef inline uint64_t controls(uint64_t bits) noexcept nogil:
    """The high bit of the first byte below 33 is the lowest bit set (Mycroft's test)."""
    return (bits - 0x2121212121212121ULL) & ~bits & 0x8080808080808080ULL


cdef inline uint64_t first_bytes(uint64_t bits, int count) noexcept nogil:
    """The first `count` (0 to 7) of eight bytes."""
    return bits & ((<uint64_t> 1 << (8 * count)) - 1)


cdef inline bint is_blank(uint8_t byte) noexcept nogil:
    return byte == c" " or byte == c"\t" or byte == c"\n"


cdef inline Py_ssize_t split(Token *tokens, const uint8_t **position, const uint8_t *end,
                             Py_ssize_t *num_returns) noexcept nogil:
    """Fill a batch of tokens from `position` on, which moves behind them. The text ends with a blank."""
    cdef const uint8_t *start = position[0]
    cdef const uint8_t *at
    cdef uint64_t bits, found, word
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t length
    cdef int rest
    while start < end and count < BATCH:
        bits = load(start, end)
        found = controls(bits)
        if found:
            rest = trailing_zeros(found) >> 3
            word = first_bytes(bits, rest)
            at = start + rest
        else:
            word = bits
            at = start + 8
            while True:
                bits = load(at, end)
                found = controls(bits)
                if found:
                    break
                word = mix(word) ^ bits
                at += 8
            rest = trailing_zeros(found) >> 3
            if rest:
                word = mix(word) ^ first_bytes(bits, rest)
            at += rest
        length = at - start
        tokens[count].hash = mix(word)
        if not is_blank(at[0]):  # another control character, which is a part of the word
            while not is_blank(at[0]):
                at += 1
            length = at - start
            if at[0] == c"\n" and (at - 1)[0] == c"\r":
                length -= 1
                num_returns[0] += 1
            tokens[count].hash = hash_bytes(start, length)
        tokens[count].start = start
        tokens[count].length = length
        count += length > 0
        tokens[count].length = 0
        count += at[0] == c"\n"
        start = at + 1
    position[0] = start
    return count
