/* Products of float32 matrices whose elements are rounded to bfloat16 and summed up in float32, on the matrix unit of
 * x86 (AMX): out = left right [+ out], with the operands that matrix.h has.
 *
 * A tile register has 16 rows of 64 bytes. Tiles of the left operand are 16 rows by 32 k; those of the right one are
 * 16 pairs (k, k + 1) by 16 columns; a product of two adds to 16 x 16 sums. Panels are rounded when they are packed;
 * the left operand is rounded where it is wanted, HEIGHT x DEPTH at a time. Subnormal numbers count as zero.
 *
 * Every element is summed up over k in one order, in whatever tile it falls, as in matrix.h.
 */
#ifndef FASTLM_MATRIX_BFLOAT16_H
#define FASTLM_MATRIX_BFLOAT16_H

#include <stdlib.h>
#include "matrix.h"

#if defined(__x86_64__) && defined(__linux__) && !defined(FASTLM_PORTABLE) && \
    ((defined(__clang__) && __clang_major__ >= 12) || (!defined(__clang__) && defined(__GNUC__) && __GNUC__ >= 11))
#define FASTLM_AMX 1
#endif

#ifdef FASTLM_AMX

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define AMX_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16,amx-tile,amx-bf16")))
#define TILE 16
#define CHUNK 32 /* k of a tile */
#define DEPTH 768
#define HEIGHT 192

/* Where a thread whose products are of bfloat16 puts operands that it has rounded; NULL where they are not. */
static __thread uint16_t *rounding_room;

static int bfloat16_is_on(void)
{
    return rounding_room != NULL;
}

/* Return 0 where there is no memory for it. */
static int set_bfloat16(int wanted)
{
    void *room = rounding_room;
    if (!wanted) {
        free(room);
        rounding_room = NULL;
    } else if (!room) {
        if (posix_memalign(&room, 64, sizeof(uint16_t) * (HEIGHT + 2 * TILE) * DEPTH) != 0)
            return 0;
        rounding_room = room;
    }
    return 1;
}

/* Whether the CPU has the matrix unit and AVX512-BF16, and the kernel lets this process use them. */
static int has_bfloat16(void)
{
    const long request = 0x1023, tile_data = 18; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    unsigned a, b, c, d;
    if (matrix_level() < 2 || !__builtin_cpu_supports("avx512bw") || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return 0;
    int has_tiles = (d >> 22 & 1) && (d >> 24 & 1); /* AMX-BF16, AMX-TILE */
    if (!has_tiles || !__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a >> 5 & 1)) /* AVX512-BF16 */
        return 0;
    return syscall(SYS_arch_prctl, request, tile_data) == 0;
}

/* 32 float32 that follow each other, of which `count` are there: 16 pairs of bfloat16. */
AMX_TARGET static inline __m512i pairs_of_row(const float *from, ptrdiff_t count)
{
    if (count >= 32)
        return (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + 16), _mm512_loadu_ps(from));
    __mmask32 mask = ((__mmask32)1 << count) - 1;
    return (__m512i)_mm512_cvtne2ps_pbh(
        _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), from + 16), _mm512_maskz_loadu_ps((__mmask16)mask, from));
}

/* 16 pairs of bfloat16 of two vectors. */
AMX_TARGET static inline __m512i pairs_of_two(__m512 first, __m512 second)
{
    __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(first));
    __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(second));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

/* Transpose 16 rows of 16 pairs: in blocks of 4 x 4, then the blocks. */
AMX_TARGET static inline void transpose(__m512i rows[TILE])
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

/* A tile of the left operand: `rows` rows by `depth` k of it, the rest zeros. */
AMX_TARGET static void round_tile(uint16_t *to, const float *left, ptrdiff_t row, ptrdiff_t step, ptrdiff_t rows,
                                  ptrdiff_t depth)
{
    __m512i lines[TILE];
    if (step == 1) {
#pragma GCC unroll 16
        for (int i = 0; i < TILE; i++)
            lines[i] = i < rows ? pairs_of_row(left + i * row, depth) : _mm512_setzero_si512();
    } else { /* row is 1 */
        __mmask16 mask = rows >= TILE ? 0xffff : (__mmask16)((1 << rows) - 1);
#pragma GCC unroll 16
        for (int i = 0; i < TILE; i++)
            lines[i] = pairs_of_two(_mm512_maskz_loadu_ps(2 * i < depth ? mask : 0, left + 2 * i * step),
                                    _mm512_maskz_loadu_ps(2 * i + 1 < depth ? mask : 0, left + (2 * i + 1) * step));
        transpose(lines);
    }
#pragma GCC unroll 16
    for (int i = 0; i < TILE; i++)
        _mm512_store_si512(to + i * CHUNK, lines[i]);
}

/* Sums of one tile to or from `out`, `rows` by `columns` of them. */
AMX_TARGET static inline void copy_sums(float *to, ptrdiff_t to_stride, const float *from, ptrdiff_t from_stride,
                                        ptrdiff_t rows, ptrdiff_t columns)
{
    __mmask16 mask = columns >= TILE ? 0xffff : (__mmask16)((1 << columns) - 1);
    for (ptrdiff_t r = 0; r < rows; r++)
        _mm512_mask_storeu_ps(to + r * to_stride, mask, _mm512_maskz_loadu_ps(mask, from + r * from_stride));
}

/* Up to 32 x 32 sums: tiles 0 to 3 are the sums, 4 and 5 of the left operand, 6 and 7 of the right one. The last chunk
 * of the panel is `last`, which is filled with zeros where the panel ends before it. */
AMX_TARGET static void four_tiles(float *out, ptrdiff_t stride, const uint16_t *upper, const uint16_t *lower,
                                  const uint16_t *panel, const uint16_t *last, ptrdiff_t chunks, ptrdiff_t rows,
                                  ptrdiff_t columns, int accumulate)
{
    float sums[2 * TILE * 2 * TILE] __attribute__((aligned(64)));
    const ptrdiff_t size = TILE * CHUNK;
    int is_whole = rows == 2 * TILE && columns == 2 * TILE;
    float *place = is_whole ? out : sums;
    ptrdiff_t bytes = (is_whole ? stride : 2 * TILE) * (ptrdiff_t)sizeof(float);
    if (accumulate) {
        if (!is_whole)
            for (ptrdiff_t c = 0; c < columns; c += TILE)
                copy_sums(sums + c, 2 * TILE, out + c, stride, rows, columns - c);
        __asm__ volatile("" : : : "memory"); /* some compilers do not know what tiles read and write */
        _tile_loadd(0, place, bytes);
        _tile_loadd(1, place + TILE, bytes);
        _tile_loadd(2, (char *)place + TILE * bytes, bytes);
        _tile_loadd(3, (char *)(place + TILE) + TILE * bytes, bytes);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    __asm__ volatile("" : : : "memory");
    for (ptrdiff_t c = 0; c < chunks; c++) {
        const uint16_t *pairs = c == chunks - 1 ? last : panel + 2 * c * size;
        _tile_loadd(4, upper + c * size, 64);
        _tile_loadd(6, pairs, 128);
        _tile_loadd(7, pairs + CHUNK, 128);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        if (rows > TILE) {
            _tile_loadd(5, lower + c * size, 64);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, place, bytes);
    _tile_stored(1, place + TILE, bytes);
    _tile_stored(2, (char *)place + TILE * bytes, bytes);
    _tile_stored(3, (char *)(place + TILE) + TILE * bytes, bytes);
    __asm__ volatile("" : : : "memory");
    if (!is_whole)
        for (ptrdiff_t c = 0; c < columns; c += TILE)
            copy_sums(out + c, stride, sums + c, 2 * TILE, rows, columns - c);
}

AMX_TARGET static void configure_tiles(void)
{
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        shape.bytes[tile] = 64;
        shape.rows[tile] = TILE;
    }
    __asm__ volatile("" : : "r"(&shape) : "memory"); /* all of it is read */
    _tile_loadconfig(&shape);
}

/* Two rows of a panel, `columns` of them there, times their scales; the second is NULL where there is none. */
AMX_TARGET static inline void round_pair(uint16_t *to, const float *first, const float *second, float scale,
                                         float second_scale, ptrdiff_t columns)
{
    for (ptrdiff_t side = 0; side < 2; side++, columns -= TILE) {
        __mmask16 mask = columns >= TILE ? 0xffff : columns > 0 ? (__mmask16)((1 << columns) - 1) : 0;
        __m512 low = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, first + side * TILE), _mm512_set1_ps(scale));
        __m512 high = second ? _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, second + side * TILE),
                                             _mm512_set1_ps(second_scale)) : _mm512_setzero_ps();
        _mm512_storeu_si512(to + side * CHUNK, pairs_of_two(low, high));
    }
}

/* A panel, (depth, 32) float32, rounded for multiply_bfloat16: (pairs of k, 32) pairs of bfloat16. It may be rounded
 * where it stands, into its first half. */
AMX_TARGET static void round_panel(uint16_t *to, const float *panel, ptrdiff_t depth)
{
    for (ptrdiff_t k = 0; k < depth; k += 2, to += 2 * CHUNK, panel += 2 * 2 * TILE) {
        __m512 zero = _mm512_setzero_ps();
        __m512i left = pairs_of_two(_mm512_loadu_ps(panel), k + 1 < depth ? _mm512_loadu_ps(panel + 32) : zero);
        __m512i right = pairs_of_two(_mm512_loadu_ps(panel + 16), k + 1 < depth ? _mm512_loadu_ps(panel + 48) : zero);
        _mm512_storeu_si512(to, left);
        _mm512_storeu_si512(to + CHUNK, right);
    }
}

/* The left operand's part of `rows` by `depth`, tile by tile: in the order in which it lies in memory. */
AMX_TARGET static void round_part(uint16_t *to, const float *left, ptrdiff_t row, ptrdiff_t step, ptrdiff_t fold,
                                  ptrdiff_t rows, ptrdiff_t depth)
{
    ptrdiff_t chunks = (depth + CHUNK - 1) / CHUNK, groups = (rows + TILE - 1) / TILE;
    int by_rows = fold || step == 1;
    for (ptrdiff_t tile = 0; tile < chunks * groups; tile++) {
        ptrdiff_t group = by_rows ? tile / chunks : tile % groups, chunk = by_rows ? tile % chunks : tile / groups;
        const float *from = left + group * TILE * row + chunk * (fold ? fold : CHUNK * step);
        round_tile(to + (group * chunks + chunk) * TILE * CHUNK, from, row, fold ? 1 : step, rows - group * TILE,
                   depth - chunk * CHUNK);
    }
}

/* out = left panels [+ out], where each panel has a place of its own: `out_panel` and `panel_size` are from one to the
 * next. Panels that are not `packed` are rounded when they are wanted. */
AMX_TARGET static void multiply_bfloat16(float *out, ptrdiff_t out_stride, ptrdiff_t out_panel, const float *left,
                                         ptrdiff_t row, ptrdiff_t step, ptrdiff_t fold, const float *panels,
                                         ptrdiff_t panel_size, int packed, ptrdiff_t rows, ptrdiff_t columns,
                                         ptrdiff_t depth, int accumulate)
{
    uint16_t *rounded = rounding_room, *buffer = rounded + HEIGHT * DEPTH; /* a part of left, a part of a panel */
    const ptrdiff_t size = TILE * CHUNK, width = 2 * TILE;
    configure_tiles();
    for (ptrdiff_t k = 0; k < depth; k += DEPTH) {
        ptrdiff_t part = depth - k < DEPTH ? depth - k : DEPTH, chunks = (part + CHUNK - 1) / CHUNK;
        ptrdiff_t ending = ((part + 1) / 2 - (chunks - 1) * TILE) * 2 * CHUNK; /* of the last chunk: it may be short */
        for (ptrdiff_t top = 0; top < rows; top += HEIGHT) {
            ptrdiff_t height = rows - top < HEIGHT ? rows - top : HEIGHT;
            round_part(rounded, left + top * row + (fold ? k / CHUNK * fold : k * step), row, step, fold, height, part);
            for (ptrdiff_t column = 0; column < columns; column += width) {
                const float *place = panels + column / width * panel_size;
                const uint16_t *panel = (const uint16_t *)place + k * width;
                if (!packed) {
                    round_panel(buffer, place + k * width, part);
                    panel = buffer;
                }
                const uint16_t *last = panel + 2 * (chunks - 1) * size;
                uint16_t filled[2 * TILE * CHUNK] __attribute__((aligned(64)));
                if (part < chunks * CHUNK) {
                    memset(filled + ending, 0, sizeof filled - (size_t)ending * sizeof *filled);
                    last = memcpy(filled, last, (size_t)ending * sizeof *filled);
                }
                for (ptrdiff_t r = 0; r < height; r += width) {
                    const uint16_t *upper = rounded + r / TILE * chunks * size;
                    four_tiles(out + (top + r) * out_stride + column / width * out_panel, out_stride, upper,
                               upper + chunks * size, panel, last, chunks, height - r < width ? height - r : width,
                               columns - column < width ? columns - column : width, accumulate || k > 0);
                }
            }
        }
    }
    _tile_release();
    if (depth == 0 && !accumulate)
        for (ptrdiff_t column = 0; column < columns; column += width)
            for (ptrdiff_t r = 0; r < rows; r++)
                memset(out + r * out_stride + column / width * out_panel, 0,
                       (size_t)(columns - column < width ? columns - column : width) * sizeof(float));
}

/* What pack_f32 does, for products by multiply_bfloat16. */
AMX_TARGET static void pack_bfloat16(float *panels, const float *right, ptrdiff_t stride, const float *scales,
                                     ptrdiff_t depth, ptrdiff_t columns, ptrdiff_t padded)
{
    for (ptrdiff_t first = 0; first < columns; first += 2 * TILE, panels += padded * 2 * TILE) {
        uint16_t *to = (uint16_t *)panels;
        ptrdiff_t width = columns - first < 2 * TILE ? columns - first : 2 * TILE;
        for (ptrdiff_t k = 0; k < depth; k += 2, to += 2 * CHUNK) {
            const float *row = right + k * stride + first, *next = k + 1 < depth ? row + stride : NULL;
            float scale = scales ? scales[k] : 1, next_scale = scales && next ? scales[k + 1] : 1;
            round_pair(to, row, next, scale, next_scale, width);
        }
        memset(to, 0, (size_t)((padded + 1) / 2 - (depth + 1) / 2) * 2 * CHUNK * sizeof(uint16_t));
    }
}

/* What pack_transposed_f32 does, for products by multiply_bfloat16. */
AMX_TARGET static void pack_transposed_bfloat16(float *panels, const float *right, ptrdiff_t stride, ptrdiff_t depth,
                                                ptrdiff_t columns)
{
    for (ptrdiff_t first = 0; first < columns; first += 2 * TILE, panels += depth * 2 * TILE)
        for (ptrdiff_t k = 0; k < depth; k += CHUNK)
            for (ptrdiff_t side = 0; side < 2; side++) {
                ptrdiff_t column = first + side * TILE, pairs = (depth - k + 1) / 2;
                uint16_t *to = (uint16_t *)panels + k * 2 * TILE + side * CHUNK;
                __m512i lines[TILE];
#pragma GCC unroll 16
                for (int i = 0; i < TILE; i++)
                    lines[i] = column + i < columns ? pairs_of_row(right + (column + i) * stride + k, depth - k)
                                                    : _mm512_setzero_si512();
                transpose(lines);
#pragma GCC unroll 16
                for (int i = 0; i < TILE; i++)
                    if (i < pairs)
                        _mm512_storeu_si512(to + i * 2 * CHUNK, lines[i]);
            }
}

#undef AMX_TARGET
#undef TILE
#undef CHUNK
#undef DEPTH
#undef HEIGHT

#else

static int bfloat16_is_on(void)
{
    return 0;
}

static int set_bfloat16(int wanted)
{
    return !wanted;
}

static int has_bfloat16(void)
{
    return 0;
}

static void round_panel(uint16_t *to, const float *panel, ptrdiff_t depth)
{
}

static void pack_bfloat16(float *panels, const float *right, ptrdiff_t stride, const float *scales, ptrdiff_t depth,
                          ptrdiff_t columns, ptrdiff_t padded)
{
}

static void pack_transposed_bfloat16(float *panels, const float *right, ptrdiff_t stride, ptrdiff_t depth,
                                     ptrdiff_t columns)
{
}

static void multiply_bfloat16(float *out, ptrdiff_t out_stride, ptrdiff_t out_panel, const float *left, ptrdiff_t row,
                              ptrdiff_t step, ptrdiff_t fold, const float *panels, ptrdiff_t panel_size, int packed,
                              ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth, int accumulate)
{
}

#endif
#endif
