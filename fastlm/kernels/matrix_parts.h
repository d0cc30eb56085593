/* Operands of products on the matrix unit of x86 (AMX): see matrix_tiles.h.
 *
 * Of an element so many `parts` are taken: one, which is the element rounded to bfloat16; or three, whose sum it is
 * exactly, since 3 x 8 bits are the 24 of a float32, for numbers from 1e-30 to 3.39e38; infinity and larger ones become
 * NaN.
 *
 * A tile register has 16 rows of 64 bytes. Tiles of the left operand are 16 rows by 32 k; those of the right one are
 * 16 pairs (k, k + 1) by 16 columns. A packed panel is (parts, pairs of k, 32) pairs of bfloat16.
 */
#ifndef FASTLM_MATRIX_PARTS_H
#define FASTLM_MATRIX_PARTS_H

#include <stdlib.h>
#include "matrix.h"

#if defined(__x86_64__) && defined(__linux__) && !defined(FASTLM_PORTABLE) && \
    ((defined(__clang__) && __clang_major__ >= 12) || (!defined(__clang__) && defined(__GNUC__) && __GNUC__ >= 11))
#define FASTLM_AMX 1
#endif

#ifdef FASTLM_AMX

#include <cpuid.h>
#include <immintrin.h>

#define AMX_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16,amx-tile,amx-bf16")))
#define AMX_INLINE AMX_TARGET static inline __attribute__((always_inline))
#define TILE 16
#define CHUNK 32 /* k of a tile */
#define SIZE (TILE * CHUNK)
#define WIDTH (2 * TILE)
#define MOST_PARTS 3

static const uint16_t UPPER_HALVES[2 * TILE] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
                                                33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};

/* A part of 32 elements, two vectors of which it is taken away: 16 pairs, of the two vectors' elements or, where these
 * follow each other, of neighbours. Each part is the nearest to what is left; the last is all of it. */
AMX_INLINE __m512i take_part(__m512 *first, __m512 *second, int neighbours, int part, int parts)
{
    if (parts == 1 && neighbours)
        return (__m512i)_mm512_cvtne2ps_pbh(*second, *first);
    if (parts == 1) {
        __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(*first));
        __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(*second));
        return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
    }
    const __m512i upper_half = _mm512_set1_epi32((int)0xffff0000);
    const __m512i half = _mm512_set1_epi32(part + 1 < parts ? 0x8000 : 0);
    __m512i low = _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(*first), half), upper_half);
    __m512i high = _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(*second), half), upper_half);
    *first = _mm512_sub_ps(*first, _mm512_castsi512_ps(low));
    *second = _mm512_sub_ps(*second, _mm512_castsi512_ps(high));
    if (neighbours)
        return _mm512_permutex2var_epi16(low, _mm512_loadu_si512(UPPER_HALVES), high);
    return _mm512_or_si512(_mm512_srli_epi32(low, 16), high);
}

/* Transpose 16 rows of 16 pairs: in blocks of 4 x 4, then the blocks. */
AMX_INLINE void transpose(__m512i rows[TILE])
{
    __m512i t[TILE];
#pragma GCC unroll 4
    for (int i = 0; i < TILE; i += 4) {
        __m512i a = _mm512_unpacklo_epi32(rows[i], rows[i + 1]), b = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
        __m512i c = _mm512_unpacklo_epi32(rows[i + 2], rows[i + 3]), d = _mm512_unpackhi_epi32(rows[i + 2], rows[i + 3]);
        t[i] = _mm512_unpacklo_epi64(a, c);
        t[i + 1] = _mm512_unpackhi_epi64(a, c);
        t[i + 2] = _mm512_unpacklo_epi64(b, d);
        t[i + 3] = _mm512_unpackhi_epi64(b, d);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512i a = _mm512_shuffle_i32x4(t[i], t[i + 4], 0x88), b = _mm512_shuffle_i32x4(t[i], t[i + 4], 0xdd);
        __m512i c = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0x88), d = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0xdd);
        rows[i] = _mm512_shuffle_i32x4(a, c, 0x88);
        rows[i + 4] = _mm512_shuffle_i32x4(b, d, 0x88);
        rows[i + 8] = _mm512_shuffle_i32x4(a, c, 0xdd);
        rows[i + 12] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
}

/* The first `count` of 16 elements that follow each other, zeros after them. */
AMX_INLINE __m512 some(const float *from, ptrdiff_t count)
{
    __mmask16 mask = count >= TILE ? 0xffff : count > 0 ? (__mmask16)((1 << count) - 1) : 0;
    return _mm512_maskz_loadu_ps(mask, from);
}

/* The parts of a tile, `rows` rows by `depth` k, the rest zeros. They are `turned` where the columns of a right operand
 * are contiguous, and where the rows of a left one are not. */
AMX_INLINE void take_tile(uint16_t *to, const float *left, ptrdiff_t row, ptrdiff_t step, ptrdiff_t rows,
                          ptrdiff_t depth, int turned, int parts)
{
    __m512 first[TILE], second[TILE];
    int neighbours = step == 1; /* or row is 1 */
    for (int i = 0; i < TILE; i++) {
        const float *from = neighbours ? left + i * row : left + 2 * i * step;
        ptrdiff_t count = neighbours ? (i < rows ? depth : 0) : (2 * i < depth ? rows : 0);
        first[i] = some(from, count);
        second[i] = neighbours ? some(from + TILE, count - TILE) : some(from + step, 2 * i + 1 < depth ? rows : 0);
    }
    for (int part = 0; part < parts; part++, to += SIZE) {
        __m512i lines[TILE];
#pragma GCC unroll 16
        for (int i = 0; i < TILE; i++)
            lines[i] = take_part(first + i, second + i, neighbours, part, parts);
        if (turned)
            transpose(lines);
#pragma GCC unroll 16
        for (int i = 0; i < TILE; i++)
            _mm512_store_si512(to + i * CHUNK, lines[i]);
    }
}

/* Parts of two rows of a panel, 32 wide. */
AMX_INLINE void store_pair(uint16_t *to, ptrdiff_t plane, __m512 low[2], __m512 high[2], int parts)
{
    for (int part = 0; part < parts; part++)
        for (int side = 0; side < 2; side++)
            _mm512_storeu_si512(to + part * plane + side * CHUNK, take_part(low + side, high + side, 0, part, parts));
}

/* Parts of a panel, (depth, 32) float32. One part may be put where the panel stands, into its first half. */
AMX_INLINE void take_panel(uint16_t *to, ptrdiff_t plane, const float *panel, ptrdiff_t depth, int parts)
{
    for (ptrdiff_t k = 0; k < depth; k += 2, to += 2 * CHUNK, panel += 2 * WIDTH) {
        ptrdiff_t width = k + 1 < depth ? TILE : 0; /* of the second row */
        __m512 low[2] = {_mm512_loadu_ps(panel), _mm512_loadu_ps(panel + TILE)};
        __m512 high[2] = {some(panel + WIDTH, width), some(panel + WIDTH + TILE, width)};
        store_pair(to, plane, low, high, parts);
    }
}

/* The left operand's part of `rows` by `depth`, tile by tile: in the order in which it lies in memory. */
AMX_INLINE void take_left(uint16_t *to, const float *left, ptrdiff_t row, ptrdiff_t step, ptrdiff_t fold,
                          ptrdiff_t rows, ptrdiff_t depth, int parts)
{
    ptrdiff_t chunks = (depth + CHUNK - 1) / CHUNK, groups = (rows + TILE - 1) / TILE;
    int by_rows = fold || step == 1;
    for (ptrdiff_t tile = 0; tile < chunks * groups; tile++) {
        ptrdiff_t group = by_rows ? tile / chunks : tile % groups, chunk = by_rows ? tile % chunks : tile / groups;
        const float *from = left + group * TILE * row + chunk * (fold ? fold : CHUNK * step);
        uint16_t *place = to + (group * chunks + chunk) * parts * SIZE;
        if (by_rows)
            take_tile(place, from, row, 1, rows - group * TILE, depth - chunk * CHUNK, 0, parts);
        else
            take_tile(place, from, 1, step, rows - group * TILE, depth - chunk * CHUNK, 1, parts);
    }
}

/* The last chunk of a panel's parts, `pairs` of k of which are there, the rest zeros. */
AMX_INLINE void fill_chunk(uint16_t *to, const uint16_t *from, ptrdiff_t plane, ptrdiff_t pairs, int parts)
{
    for (int part = 0; part < parts; part++, to += 2 * SIZE) {
        memcpy(to, from + part * plane, (size_t)pairs * 2 * CHUNK * sizeof *to);
        memset(to + pairs * 2 * CHUNK, 0, (size_t)(TILE - pairs) * 2 * CHUNK * sizeof *to);
    }
}

/* What pack_f32 does, for products by multiply_tiles. */
AMX_TARGET static void pack_tiles(int parts, float *panels, ptrdiff_t panel_size, const float *right, ptrdiff_t stride,
                                  const float *scales, ptrdiff_t depth, ptrdiff_t columns, ptrdiff_t padded)
{
    const ptrdiff_t plane = (padded + 1) / 2 * 2 * CHUNK;
    for (ptrdiff_t first = 0; first < columns; first += WIDTH, panels += panel_size) {
        for (ptrdiff_t k = 0; k < padded; k += 2) {
            __m512 rows[2][2];
            for (int i = 0; i < 2; i++)
                for (int side = 0; side < 2; side++) {
                    ptrdiff_t width = k + i < depth ? columns - first - side * TILE : 0;
                    __m512 scale = _mm512_set1_ps(scales && k + i < depth ? scales[k + i] : 1);
                    rows[i][side] = _mm512_mul_ps(some(right + (k + i) * stride + first + side * TILE, width), scale);
                }
            if (parts == 1)
                store_pair((uint16_t *)panels + k * WIDTH, plane, rows[0], rows[1], 1);
            else
                store_pair((uint16_t *)panels + k * WIDTH, plane, rows[0], rows[1], 3);
        }
    }
}

/* What pack_transposed_f32 does, for products by multiply_tiles. */
AMX_TARGET static void pack_transposed_tiles(int parts, float *panels, ptrdiff_t panel_size, const float *right,
                                             ptrdiff_t stride, ptrdiff_t depth, ptrdiff_t columns)
{
    const ptrdiff_t plane = (depth + 1) / 2 * 2 * CHUNK;
    for (ptrdiff_t first = 0; first < columns; first += WIDTH, panels += panel_size)
        for (ptrdiff_t k = 0; k < depth; k += CHUNK)
            for (int side = 0; side < 2; side++) {
                ptrdiff_t column = first + side * TILE, pairs = (depth - k + 1) / 2;
                uint16_t tile[MOST_PARTS * SIZE] __attribute__((aligned(64)));
                const float *from = right + column * stride + k;
                if (parts == 1)
                    take_tile(tile, from, stride, 1, columns - column, depth - k, 1, 1);
                else
                    take_tile(tile, from, stride, 1, columns - column, depth - k, 1, 3);
                uint16_t *to = (uint16_t *)panels + k * WIDTH + side * CHUNK;
                for (int part = 0; part < parts; part++)
                    for (ptrdiff_t i = 0; i < pairs && i < TILE; i++)
                        memcpy(to + part * plane + i * 2 * CHUNK, tile + part * SIZE + i * CHUNK, 2 * CHUNK);
            }
}

/* A panel of float32 that becomes what products of one part take, where it stands. */
AMX_TARGET static void round_panel(float *panel, ptrdiff_t depth)
{
    take_panel((uint16_t *)panel, 0, panel, depth, 1);
}

#endif
#endif
