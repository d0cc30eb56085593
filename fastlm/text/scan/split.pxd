"""Splitting of text at blanks."""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from fastlm.text.scan.table cimport BATCH, Token, set_bytes

cdef extern from *:
    """
    #include <stdint.h>
    #if defined(__SSE2__) || defined(_M_X64)
    #include <emmintrin.h>
    /* Bit n: is at[n] a space, a tab or a line feed? For 64 bytes. */
    static uint64_t fastlm_blanks(const uint8_t *at) {
        const __m128i space = _mm_set1_epi8(' '), tab = _mm_set1_epi8('\\t'), feed = _mm_set1_epi8('\\n');
        uint64_t found = 0;
        for (int k = 0; k < 4; k++) {
            const __m128i bytes = _mm_loadu_si128((const __m128i *) (at + 16 * k));
            const __m128i blank = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(bytes, space), _mm_cmpeq_epi8(bytes, tab)),
                                               _mm_cmpeq_epi8(bytes, feed));
            found |= (uint64_t) (uint32_t) _mm_movemask_epi8(blank) << (16 * k);
        }
        return found;
    }
    #else
    static uint64_t fastlm_blanks(const uint8_t *at) {
        uint64_t found = 0;
        for (int k = 0; k < 64; k++)
            found |= (uint64_t) (at[k] == ' ' || at[k] == '\\t' || at[k] == '\\n') << k;
        return found;
    }
    #endif
    #if defined(_MSC_VER)
    #include <intrin.h>
    static int fastlm_trailing_zeros(unsigned long long bits) {
        unsigned long place;
        _BitScanForward64(&place, bits);
        return (int) place;
    }
    #else
    #define fastlm_trailing_zeros(bits) __builtin_ctzll(bits)
    #endif
    """
    uint64_t blanks "fastlm_blanks" (const uint8_t *at) noexcept nogil
    int trailing_zeros "fastlm_trailing_zeros" (uint64_t bits) noexcept nogil

cdef enum:
    PIECE = 64                  # bytes that are split together; each can be one event, after the token before them
    MAX_BATCH = BATCH + PIECE + 1


cdef inline bint is_blank(uint8_t byte) noexcept nogil:
    return byte == c" " or byte == c"\t" or byte == c"\n"


cdef inline uint64_t blanks_before(const uint8_t *at, const uint8_t *end) noexcept nogil:
    """Bit n: is at[n] a blank? For up to 64 bytes before the end."""
    cdef uint8_t[PIECE] last
    if end - at >= PIECE:
        return blanks(at)
    for k in range(PIECE):
        last[k] = 0
    memcpy(last, at, end - at)
    return blanks(last)


cdef inline Py_ssize_t split(Token *tokens, const uint8_t **position, const uint8_t *end,
                             Py_ssize_t *num_returns) noexcept nogil:
    """Fill a batch of tokens from `position` on, which moves behind them. The text ends with a blank.

    Blanks come as bits, 64 at a time, and there is no branch on the lengths of words: it would be guessed wrong too
    often. Ends of lines are rare enough for one.
    """
    cdef const uint8_t *start = position[0]
    cdef const uint8_t *piece = start
    cdef const uint8_t *at
    cdef uint64_t found
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t length
    cdef bint ends_line
    while piece < end and count < BATCH:
        found = blanks_before(piece, end)
        while found:
            at = piece + trailing_zeros(found)
            found &= found - 1
            length = at - start
            ends_line = at[0] == c"\n"
            if ends_line and length > 0 and (at - 1)[0] == c"\r":
                length -= 1
                num_returns[0] += 1
            set_bytes(&tokens[count], start, length, end)
            count += length > 0
            if ends_line:
                tokens[count].length = 0
                count += 1
            start = at + 1
        piece += PIECE
    position[0] = start
    return count
