/* Products of float32 matrices on the matrix unit of x86 (AMX), which multiplies bfloat16 and sums up in float32:
 * out = left right [+ out], with the operands that matrix.h has.
 *
 * With one part of each element (see matrix_parts.h) operands are rounded to bfloat16. With three, of the nine products
 * of two elements the six are summed that float32 would see: that is as exact as a product of float32 (Henry, Tang &
 * Heinecke 2019). A product of two tiles adds to 16 x 16 sums. Panels are cut into parts when they are packed, the left
 * operand where it is wanted, HEIGHT x DEPTH at a time. Subnormal parts count as zero.
 *
 * Every element is summed up over k in one order, chunk by chunk, in whatever tile it falls: as in matrix.h, rows do not
 * depend on each other.
 */
#ifndef FASTLM_MATRIX_TILES_H
#define FASTLM_MATRIX_TILES_H

#include "matrix_parts.h"

#ifdef FASTLM_AMX

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEPTH 768
#define HEIGHT 192
#define SMALL 64 /* both of them where there is no memory for more */

/* Whether this thread's products of float32 round their operands to bfloat16. */
static __thread int rounding;

static int operands_are_rounded(void)
{
    return rounding;
}

static void round_operands(int wanted)
{
    rounding = wanted;
}

static pthread_key_t room_key;
static int has_room_key;

/* Whether the CPU has the matrix unit, and AVX-512 for bfloat16. */
static int has_tiles(void)
{
    unsigned a, b, c, d;
    if (matrix_level() < 2 || !__builtin_cpu_supports("avx512bw") || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return 0;
    int has_unit = (d >> 22 & 1) && (d >> 24 & 1); /* AMX-BF16, AMX-TILE */
    return has_unit && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1); /* AVX512-BF16 */
}

/* Ask the system to let this process use the matrix unit of a CPU that has it; return whether it does. */
static int may_use_tiles(void)
{
    const long request = 0x1023, tile_data = 18; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    has_room_key = has_room_key || pthread_key_create(&room_key, free) == 0;
    return syscall(SYS_arch_prctl, request, tile_data) == 0;
}

/* Where a thread puts parts of operands: it is freed when the thread ends. NULL where there is no memory for it. */
static uint16_t *room_of_thread(void)
{
    void *room = has_room_key ? pthread_getspecific(room_key) : NULL;
    if (room || !has_room_key)
        return room;
    if (posix_memalign(&room, 64, sizeof(uint16_t) * MOST_PARTS * (HEIGHT + WIDTH) * DEPTH) != 0)
        return NULL;
    if (pthread_setspecific(room_key, room) != 0) {
        free(room);
        return NULL;
    }
    return room;
}

/* Sums of one tile to or from `out`, `rows` by `columns` of them. */
AMX_INLINE void copy_sums(float *to, ptrdiff_t to_stride, const float *from, ptrdiff_t from_stride, ptrdiff_t rows,
                          ptrdiff_t columns)
{
    __mmask16 mask = columns >= TILE ? 0xffff : (__mmask16)((1 << columns) - 1);
    for (ptrdiff_t r = 0; r < rows; r++)
        _mm512_mask_storeu_ps(to + r * to_stride, mask, _mm512_maskz_loadu_ps(mask, from + r * from_stride));
}

/* Tiles 4 and 5 are of the left operand, of two groups of rows; 6 and 7 of the right one. */
AMX_INLINE void load_left(const uint16_t *upper, const uint16_t *lower, int both)
{
    _tile_loadd(4, upper, 64);
    if (both)
        _tile_loadd(5, lower, 64);
}

AMX_INLINE void load_right(const uint16_t *pairs)
{
    _tile_loadd(6, pairs, 128);
    _tile_loadd(7, pairs + CHUNK, 128);
}

AMX_INLINE void add_products(int both)
{
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (both) {
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
}

/* Add the products of one chunk of k to tiles 0 to 3; parts of the right operand are `plane` apart. */
AMX_INLINE void add_chunk(const uint16_t *upper, const uint16_t *lower, const uint16_t *pairs, ptrdiff_t plane,
                          int both, int parts)
{
    if (parts == 3) { /* one operand stays from each to the next; the largest product is the last */
        load_left(upper + 2 * SIZE, lower + 2 * SIZE, both);
        load_right(pairs);
        add_products(both);
        load_left(upper + SIZE, lower + SIZE, both);
        add_products(both);
        load_right(pairs + plane);
        add_products(both);
        load_left(upper, lower, both);
        add_products(both);
        load_right(pairs + 2 * plane);
        add_products(both);
        load_right(pairs);
        add_products(both);
    } else {
        load_left(upper, lower, both);
        load_right(pairs);
        add_products(both);
    }
}

/* Up to 32 x 32 sums, in tiles 0 to 3. The last chunk of the panel is `last`, which is filled with zeros where the
 * panel ends before it; its parts are `last_plane` apart. */
AMX_INLINE void four_tiles(float *out, ptrdiff_t stride, const uint16_t *upper, const uint16_t *lower,
                           const uint16_t *panel, ptrdiff_t plane, const uint16_t *last, ptrdiff_t last_plane,
                           ptrdiff_t chunks, ptrdiff_t rows, ptrdiff_t columns, int accumulate, int parts)
{
    float sums[2 * TILE * WIDTH] __attribute__((aligned(64)));
    int is_whole = rows == 2 * TILE && columns == WIDTH, both = rows > TILE;
    float *place = is_whole ? out : sums;
    ptrdiff_t bytes = (is_whole ? stride : WIDTH) * (ptrdiff_t)sizeof(float);
    if (accumulate) {
        if (!is_whole)
            for (ptrdiff_t c = 0; c < columns; c += TILE)
                copy_sums(sums + c, WIDTH, out + c, stride, rows, columns - c);
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
    for (ptrdiff_t c = 0; c < chunks - 1; c++)
        add_chunk(upper + c * parts * SIZE, lower + c * parts * SIZE, panel + 2 * c * SIZE, plane, both, parts);
    add_chunk(upper + (chunks - 1) * parts * SIZE, lower + (chunks - 1) * parts * SIZE, last, last_plane, both, parts);
    _tile_stored(0, place, bytes);
    _tile_stored(1, place + TILE, bytes);
    _tile_stored(2, (char *)place + TILE * bytes, bytes);
    _tile_stored(3, (char *)(place + TILE) + TILE * bytes, bytes);
    __asm__ volatile("" : : : "memory");
    if (!is_whole)
        for (ptrdiff_t c = 0; c < columns; c += TILE)
            copy_sums(out + c, stride, sums + c, WIDTH, rows, columns - c);
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

/* What multiply_tiles does, for a number of parts that the compiler knows. */
AMX_INLINE void multiply_parts(float *out, ptrdiff_t out_stride, ptrdiff_t out_panel, const float *left, ptrdiff_t row,
                               ptrdiff_t step, ptrdiff_t fold, const float *panels, ptrdiff_t panel_size, int packed,
                               ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth, int accumulate, int parts)
{
    uint16_t small[MOST_PARTS * (SMALL + WIDTH) * SMALL] __attribute__((aligned(64)));
    uint16_t filled[MOST_PARTS * 2 * SIZE] __attribute__((aligned(64)));
    uint16_t *room = room_of_thread();
    const ptrdiff_t most_rows = room ? HEIGHT : SMALL, most_depth = room ? DEPTH : SMALL;
    uint16_t *taken = room ? room : small, *buffer = taken + parts * most_rows * most_depth; /* of left, of a panel */
    configure_tiles();
    for (ptrdiff_t k = 0; k < depth; k += most_depth) {
        ptrdiff_t part = depth - k < most_depth ? depth - k : most_depth, chunks = (part + CHUNK - 1) / CHUNK;
        for (ptrdiff_t top = 0; top < rows; top += most_rows) {
            ptrdiff_t height = rows - top < most_rows ? rows - top : most_rows;
            const float *from = left + top * row + (fold ? k / CHUNK * fold : k * step);
            take_left(taken, from, row, step, fold, height, part, parts);
            for (ptrdiff_t column = 0; column < columns; column += WIDTH) {
                const float *place = panels + column / WIDTH * panel_size;
                const uint16_t *panel = (const uint16_t *)place + k * WIDTH;
                ptrdiff_t plane = (depth + 1) / 2 * 2 * CHUNK, last_plane = plane;
                if (!packed) {
                    plane = last_plane = most_depth * WIDTH;
                    take_panel(buffer, plane, place + k * WIDTH, part, parts);
                    panel = buffer;
                }
                const uint16_t *last = panel + 2 * (chunks - 1) * SIZE;
                if (part < chunks * CHUNK) {
                    fill_chunk(filled, last, plane, (part + 1) / 2 - (chunks - 1) * TILE, parts);
                    last = filled;
                    last_plane = 2 * SIZE;
                }
                for (ptrdiff_t r = 0; r < height; r += 2 * TILE) {
                    const uint16_t *upper = taken + r / TILE * chunks * parts * SIZE;
                    four_tiles(out + (top + r) * out_stride + column / WIDTH * out_panel, out_stride, upper,
                               upper + chunks * parts * SIZE, panel, plane, last, last_plane, chunks,
                               height - r < 2 * TILE ? height - r : 2 * TILE,
                               columns - column < WIDTH ? columns - column : WIDTH, accumulate || k > 0, parts);
                }
            }
        }
    }
    _tile_release();
}

/* out = left panels [+ out], where each panel has a place of its own: `out_panel` and `panel_size` are from one to the
 * next. Panels that are not `packed` are float32, whose parts are taken when they are wanted. */
AMX_TARGET static void multiply_tiles(int parts, float *out, ptrdiff_t out_stride, ptrdiff_t out_panel,
                                      const float *left, ptrdiff_t row, ptrdiff_t step, ptrdiff_t fold,
                                      const float *panels, ptrdiff_t panel_size, int packed, ptrdiff_t rows,
                                      ptrdiff_t columns, ptrdiff_t depth, int accumulate)
{
    if (parts == 1)
        multiply_parts(out, out_stride, out_panel, left, row, step, fold, panels, panel_size, packed, rows, columns,
                       depth, accumulate, 1);
    else
        multiply_parts(out, out_stride, out_panel, left, row, step, fold, panels, panel_size, packed, rows, columns,
                       depth, accumulate, 3);
    if (depth == 0 && !accumulate)
        for (ptrdiff_t column = 0; column < columns; column += WIDTH)
            for (ptrdiff_t r = 0; r < rows; r++)
                memset(out + r * out_stride + column / WIDTH * out_panel, 0,
                       (size_t)(columns - column < WIDTH ? columns - column : WIDTH) * sizeof(float));
}

#undef AMX_TARGET
#undef AMX_INLINE
#undef TILE
#undef CHUNK
#undef SIZE
#undef WIDTH
#undef MOST_PARTS
#undef DEPTH
#undef HEIGHT
#undef SMALL

#else

static int operands_are_rounded(void)
{
    return 0;
}

static void round_operands(int wanted)
{
}

static int has_tiles(void)
{
    return 0;
}

static int may_use_tiles(void)
{
    return 0;
}

static void round_panel(float *panel, ptrdiff_t depth)
{
}

static void pack_tiles(int parts, float *panels, ptrdiff_t panel_size, const float *right, ptrdiff_t stride,
                       const float *scales, ptrdiff_t depth, ptrdiff_t columns, ptrdiff_t padded)
{
}

static void pack_transposed_tiles(int parts, float *panels, ptrdiff_t panel_size, const float *right, ptrdiff_t stride,
                                  ptrdiff_t depth, ptrdiff_t columns)
{
}

static void multiply_tiles(int parts, float *out, ptrdiff_t out_stride, ptrdiff_t out_panel, const float *left,
                           ptrdiff_t row, ptrdiff_t step, ptrdiff_t fold, const float *panels, ptrdiff_t panel_size,
                           int packed, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth, int accumulate)
{
}

#endif
#endif
