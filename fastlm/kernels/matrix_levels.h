/* The products of matrix.h for one floating-point type REAL, at every CPU level; and the packing. */

#define PANEL (FASTLM_PANEL_BYTES / (ptrdiff_t)sizeof(REAL))
#define NAMED(name) FASTLM_JOIN(name, SUFFIX)

#define PRODUCT_PARAMETERS \
    REAL *out, ptrdiff_t out_stride, const REAL *left, ptrdiff_t row, ptrdiff_t step, ptrdiff_t fold, \
        const REAL *panels, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth, int accumulate
#define PRODUCT_ARGUMENTS out, out_stride, left, row, step, fold, panels, rows, columns, depth, accumulate

#define LEVEL FASTLM_JOIN(plain, SUFFIX)
#define TARGET
#define VECTOR_BYTES 16
#define ROWS 6
#include "matrix_product.h"

#if FASTLM_LEVELS > 1
#define LEVEL FASTLM_JOIN(avx2, SUFFIX)
#define TARGET __attribute__((target("avx2,fma")))
#define VECTOR_BYTES 32
#define ROWS 6
#include "matrix_product.h"

#define LEVEL FASTLM_JOIN(avx512, SUFFIX)
#define TARGET __attribute__((target("avx512f,avx512vl,fma")))
#define VECTOR_BYTES 64
#define ROWS 14
#include "matrix_product.h"
#endif

/* out (rows, columns) = left (rows, depth) panels [+ out]. Element (i, k) of left stands at
 * left[i * row + k * step]; with `fold`, at left[i * row + k / PANEL * fold + k % PANEL], for operands that are
 * themselves packed (depth is then a multiple of PANEL). */
static void NAMED(multiply)(int level, PRODUCT_PARAMETERS)
{
#if FASTLM_LEVELS > 1
    if (level == 2) {
        FASTLM_JOIN(product, FASTLM_JOIN(avx512, SUFFIX))(PRODUCT_ARGUMENTS);
        return;
    }
    if (level == 1) {
        FASTLM_JOIN(product, FASTLM_JOIN(avx2, SUFFIX))(PRODUCT_ARGUMENTS);
        return;
    }
#endif
    FASTLM_JOIN(product, FASTLM_JOIN(plain, SUFFIX))(PRODUCT_ARGUMENTS);
}

/* Panels of right (depth, columns), whose row k, times scales[k] if there are scales, is row k of every panel; rows
 * of zeros follow up to `padded` rows. */
static void NAMED(pack)(REAL *restrict panels, const REAL *restrict right, ptrdiff_t stride, const REAL *scales,
                        ptrdiff_t depth, ptrdiff_t columns, ptrdiff_t padded)
{
    for (ptrdiff_t first = 0; first < columns; first += PANEL, panels += padded * PANEL) {
        memset(panels + depth * PANEL, 0, (size_t)((padded - depth) * PANEL) * sizeof(REAL));
        ptrdiff_t width = columns - first < PANEL ? columns - first : PANEL;
        for (ptrdiff_t k = 0; k < depth; k++) {
            REAL *restrict to = panels + k * PANEL;
            const REAL *restrict from = right + k * stride + first;
            REAL scale = scales ? scales[k] : 1;
            if (width == PANEL) {
                for (ptrdiff_t i = 0; i < PANEL; i++)
                    to[i] = scale * from[i];
                continue;
            }
            for (ptrdiff_t i = 0; i < width; i++)
                to[i] = scale * from[i];
            memset(to + width, 0, (size_t)(PANEL - width) * sizeof(REAL));
        }
    }
}

/* Panels of right' for right (columns, depth): row i of right becomes column i. */
static void NAMED(pack_transposed)(REAL *restrict panels, const REAL *restrict right, ptrdiff_t stride,
                                   ptrdiff_t depth, ptrdiff_t columns)
{
    for (ptrdiff_t first = 0; first < columns; first += PANEL, panels += depth * PANEL) {
        ptrdiff_t width = columns - first < PANEL ? columns - first : PANEL;
        if (width < PANEL)
            memset(panels, 0, (size_t)(depth * PANEL) * sizeof(REAL));
        for (ptrdiff_t k = 0; k < depth; k += 16) { /* 16 at a time: a cache line of each row */
            ptrdiff_t stop = k + 16 < depth ? k + 16 : depth;
            for (ptrdiff_t i = 0; i < width; i++)
                for (ptrdiff_t j = k; j < stop; j++)
                    panels[j * PANEL + i] = right[(first + i) * stride + j];
        }
    }
}

/* The other way: out (columns, depth) from its transpose in panels. */
static void NAMED(unpack_transposed)(REAL *restrict out, ptrdiff_t stride, const REAL *restrict panels,
                                     ptrdiff_t depth, ptrdiff_t columns)
{
    for (ptrdiff_t first = 0; first < columns; first += PANEL, panels += depth * PANEL) {
        ptrdiff_t width = columns - first < PANEL ? columns - first : PANEL;
        for (ptrdiff_t k = 0; k < depth; k += 16) {
            ptrdiff_t stop = k + 16 < depth ? k + 16 : depth;
            for (ptrdiff_t i = 0; i < width; i++)
                for (ptrdiff_t j = k; j < stop; j++)
                    out[(first + i) * stride + j] = panels[j * PANEL + i];
        }
    }
}

#undef PANEL
#undef NAMED
#undef PRODUCT_PARAMETERS
#undef PRODUCT_ARGUMENTS
