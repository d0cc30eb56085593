/* product_<level>: the loops of matrix.h at one CPU level, for vectors of VECTOR_BYTES and tiles of up to ROWS rows. */

#define LANES (VECTOR_BYTES / (ptrdiff_t)sizeof(REAL))
#define HERE(name) FASTLM_JOIN(name, LEVEL)

/* A tile's operands: `folds` pieces of `depth` each, stand `fold` apart in left, and follow each other in panel;
 * `ahead` goes through memory that is wanted soon, as far a step as `panel`. */
#define TILE_PARAMETERS \
    REAL *out, ptrdiff_t out_stride, const REAL *left, ptrdiff_t row, ptrdiff_t step, ptrdiff_t fold, \
        const REAL *panel, const REAL *ahead, ptrdiff_t folds, ptrdiff_t depth, int accumulate
#define TILE_ARGUMENTS out, out_stride, left, row, step, fold, panel, ahead, folds, depth, accumulate

#ifdef FASTLM_VECTORS

typedef REAL HERE(vector) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));

/* A tile of `rows` rows and `vectors` vectors of columns, both constants where this is inlined. Seven rows are
 * reached from one pointer with three strides in registers: fourteen pointers would not fit. Each step fetches what
 * no CPU guesses: the last row of the next tile, where left is read by columns (row is 1) and every step is another
 * cache line; and a line of the next panel. */
__attribute__((always_inline)) TARGET static inline void HERE(tile)(
    TILE_PARAMETERS, const int rows, const int vectors)
{
    HERE(vector) sum[ROWS][2];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            sum[r][v] = accumulate ? *(const HERE(vector) *)(out + r * out_stride + v * LANES) : (HERE(vector)){0};
    ptrdiff_t row3 = 3 * row, row5 = 5 * row;
    for (ptrdiff_t f = 0; f < folds; f++) {
        const REAL *x = left + f * fold;
        for (ptrdiff_t k = 0; k < depth; k++) {
            const REAL *x7 = x + 7 * row;
            HERE(vector) y[2];
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++)
                y[v] = *(const HERE(vector) *)(panel + v * LANES);
#pragma GCC unroll 16
            for (int r = 0; r < rows; r++) {
                int q = r % 7;
                REAL value = (r < 7 ? x : x7)[q == 3 ? row3 : q == 5 ? row5 : q == 6 ? 2 * row3 : q * row];
#pragma GCC unroll 2
                for (int v = 0; v < vectors; v++)
                    sum[r][v] += value * y[v];
            }
            __builtin_prefetch(x + (2 * rows - 1) * row);
            __builtin_prefetch(ahead, 0, 2);
            ahead += FASTLM_PANEL_BYTES / sizeof(REAL);
            x += step;
            panel += FASTLM_PANEL_BYTES / sizeof(REAL);
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            *(HERE(vector) *)(out + r * out_stride + v * LANES) = sum[r][v];
}

#define CASE(rows) case rows: HERE(tile)(TILE_ARGUMENTS, rows, VECTORS); break;
#define SIX_CASES CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if ROWS == 14
#define CASES SIX_CASES CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14)
#else
#define CASES SIX_CASES
#endif

#define VECTORS 2
TARGET static void HERE(wide)(TILE_PARAMETERS, ptrdiff_t rows)
{
    switch (rows) { CASES }
}
#undef VECTORS

#define VECTORS 1
TARGET static void HERE(narrow)(TILE_PARAMETERS, ptrdiff_t rows)
{
    switch (rows) { CASES }
}
#undef VECTORS
#undef CASE
#undef SIX_CASES
#undef CASES

/* A tile at the right edge: whole vectors are computed in a buffer, `columns` of them are wanted. */
TARGET static void HERE(edge)(TILE_PARAMETERS, ptrdiff_t rows, ptrdiff_t columns)
{
    REAL buffer[ROWS * 2 * VECTOR_BYTES / sizeof(REAL)];
    if (accumulate) {
        memset(buffer, 0, sizeof buffer);
        for (ptrdiff_t r = 0; r < rows; r++)
            memcpy(buffer + r * 2 * LANES, out + r * out_stride, (size_t)columns * sizeof(REAL));
    }
    if (columns > LANES)
        HERE(wide)(buffer, 2 * LANES, left, row, step, fold, panel, ahead, folds, depth, accumulate, rows);
    else
        HERE(narrow)(buffer, 2 * LANES, left, row, step, fold, panel, ahead, folds, depth, accumulate, rows);
    for (ptrdiff_t r = 0; r < rows; r++)
        memcpy(out + r * out_stride, buffer + r * 2 * LANES, (size_t)columns * sizeof(REAL));
}

#else

#undef LANES
#define LANES 4

/* Any compiler: plain loops over the same panels. */
static void HERE(edge)(TILE_PARAMETERS, ptrdiff_t rows, ptrdiff_t columns)
{
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t c = 0; c < columns; c++) {
            REAL sum = accumulate ? out[r * out_stride + c] : 0;
            for (ptrdiff_t f = 0; f < folds; f++)
                for (ptrdiff_t k = 0; k < depth; k++)
                    sum += left[r * row + f * fold + k * step] * panel[(f * depth + k) * PANEL + c];
            out[r * out_stride + c] = sum;
        }
}

#define FASTLM_ONLY_EDGES 1
#endif

/* A part of the depth: all columns for a few rows, whose left part stays in the cache, then the next rows. The tiles of
 * even number fetch the first half of the next panel's lines, the others the second. */
TARGET static void HERE(part)(REAL *out, ptrdiff_t out_stride, const REAL *left, ptrdiff_t row, ptrdiff_t step,
                              ptrdiff_t fold, const REAL *panels, ptrdiff_t panel_size, ptrdiff_t rows,
                              ptrdiff_t columns, ptrdiff_t folds, ptrdiff_t depth, int accumulate)
{
    for (ptrdiff_t top = 0; top < rows; top += FASTLM_HEIGHT) {
        ptrdiff_t height = rows - top < FASTLM_HEIGHT ? rows - top : FASTLM_HEIGHT;
        ptrdiff_t tiles = (height + ROWS - 1) / ROWS;
        for (ptrdiff_t c = 0; c < columns; c += 2 * LANES) {
            const REAL *panel = panels + c / PANEL * panel_size + c % PANEL;
            ptrdiff_t width = columns - c < 2 * LANES ? columns - c : 2 * LANES;
            for (ptrdiff_t tile = 0; tile < tiles; tile++) {
                ptrdiff_t first = top + height * tile / tiles, size = top + height * (tile + 1) / tiles - first;
                REAL *to = out + first * out_stride + c;
                const REAL *from = left + first * row;
                const REAL *ahead = panel + (c + 2 * LANES < columns ? panel_size : 0) + tile % 2 * LANES;
#ifndef FASTLM_ONLY_EDGES
                if (width == 2 * LANES)
                    HERE(wide)(to, out_stride, from, row, step, fold, panel, ahead, folds, depth, accumulate, size);
                else
#endif
                    HERE(edge)(to, out_stride, from, row, step, fold, panel, ahead, folds, depth, accumulate, size, width);
            }
        }
    }
}

TARGET static void HERE(product)(PRODUCT_PARAMETERS)
{
    ptrdiff_t unit = fold ? PANEL : 1, units = depth / unit; /* a part begins at a fold */
    ptrdiff_t parts = (depth + FASTLM_DEPTH - 1) / FASTLM_DEPTH;
    if (depth == 0 && !accumulate)
        for (ptrdiff_t r = 0; r < rows; r++)
            memset(out + r * out_stride, 0, (size_t)columns * sizeof(REAL));
    for (ptrdiff_t part = 0; part < parts; part++) {
        ptrdiff_t first = units * part / parts, size = units * (part + 1) / parts - first;
        HERE(part)(out, out_stride, left + first * (fold ? fold : step), row, fold ? 1 : step, fold,
                   panels + first * unit * PANEL, depth * PANEL, rows, columns, fold ? size : 1, fold ? unit : size,
                   accumulate || part > 0);
    }
}

#undef LANES
#undef HERE
#undef LEVEL
#undef TARGET
#undef VECTOR_BYTES
#undef ROWS
#undef FASTLM_ONLY_EDGES
#undef TILE_PARAMETERS
#undef TILE_ARGUMENTS
