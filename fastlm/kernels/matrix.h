/* Row-major matrix products, out = left right [+ out].
 *
 * The right operand is packed: cut into panels of PANEL columns, each of them contiguous, (panels, depth, PANEL),
 * the last one padded with zeros. A panel's rows are vectors, an element of the left operand is broadcast to them,
 * and a tile of the result stays in registers: that is as fast as the CPU multiplies, and the left operand is read
 * where it lies. What is packed once serves all products with it.
 *
 * Every element of the result is the sum over k = 0, 1, 2 ... in this order, in whatever tile it falls: the rows of a
 * product do not depend on the other rows, so work may be cut anywhere without changing a bit.
 */
#ifndef FASTLM_MATRIX_H
#define FASTLM_MATRIX_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FASTLM_PANEL_BYTES 128
#define FASTLM_DEPTH 256 /* of a part of a panel: 32 KB, to stay in the first-level cache while rows go by */
#define FASTLM_HEIGHT 168 /* rows of the left operand taken at a time: they stay in the second-level cache */

#if defined(__GNUC__) && !defined(FASTLM_PORTABLE)
#define FASTLM_VECTORS 1 /* GCC's vector extension, which Clang has too */
#endif

/* CPU levels: 0 plain, 1 AVX2 with FMA, 2 AVX-512. */
#if defined(FASTLM_VECTORS) && defined(__x86_64__)
#define FASTLM_LEVELS 3
static int matrix_level(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma"))
        return 2;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? 1 : 0;
}
#else
#define FASTLM_LEVELS 1
static int matrix_level(void)
{
    return 0;
}
#endif

#define FASTLM_JOIN_(a, b) a##_##b
#define FASTLM_JOIN(a, b) FASTLM_JOIN_(a, b)

#define REAL float
#define SUFFIX f32
#include "matrix_levels.h"
#undef REAL
#undef SUFFIX

#define REAL double
#define SUFFIX f64
#include "matrix_levels.h"
#undef REAL
#undef SUFFIX

#endif
