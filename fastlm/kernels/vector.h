/* Rows of elementary functions and reductions, as plain loops that the compiler vectorises.
 *
 * Each loop is compiled for several kinds of x86-64 and the loader takes the best for the CPU at hand
 * (GCC's target_clones); other platforms and compilers get the plain loops. Reductions carry LANES partial
 * results written out as an array: that vectorises without leave to reorder floating-point sums
 * (-fassociative-math), which would also undo the two-part ln 2 of the range reduction below.
 */
#ifndef FASTLM_VECTOR_H
#define FASTLM_VECTOR_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Position-independent ifuncs need glibc; the micro-architecture levels need GCC 12. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) \
    && __GNUC__ >= 12 && !defined(FASTLM_PORTABLE)
#define FASTLM_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FASTLM_CLONES
#endif

#if defined(__GNUC__) || defined(__clang__)
#define FASTLM_INLINE static inline __attribute__((always_inline))
#define FASTLM_UNUSED __attribute__((unused))
#else
#define FASTLM_INLINE static inline
#define FASTLM_UNUSED
#endif

#define FASTLM_PANEL_BYTES 128 /* as in matrix.h */
#define FASTLM_MARGIN 8 /* exp(8) = 2981: far from any overflow, and a softmax block rarely goes beyond it */
#define FASTLM_LANES 16
#define FASTLM_MAX_LANES 64 /* a select over 16 is unrolled whole and not vectorised: 0.43 ns an element, not 0.06 */

/* exp(x) = 2^n (1 + p), with x = n ln 2 + r, |r| <= ln(2) / 2 and p = exp(r) - 1; returns p. The polynomial is
 * that of expf in S. L. Moshier's Cephes library: relative error below 2e-7 where 2^n is a normal number. The
 * range is limited on the integer n, and by selects on the finished result: a comparison of x in front makes
 * GCC split the path, and the loop is vectorised no more. */
FASTLM_INLINE float exp_reduced(float x, float *power)
{
    float scaled = x * 1.44269504088896341f;
    int32_t n = (int32_t)(scaled + copysignf(0.5f, scaled));
    n = n < -126 ? -126 : n;
    n = n > 127 ? 127 : n;
    float r = x - (float)n * 0.693359375f;
    r = r - (float)n * -2.12194440e-4f;
    float q = 1.9875691500e-4f;
    q = q * r + 1.3981999507e-3f;
    q = q * r + 8.3334519073e-3f;
    q = q * r + 4.1665795894e-2f;
    q = q * r + 1.6666665459e-1f;
    q = q * r + 5.0000001201e-1f;
    union { uint32_t bits; float value; } exponent = {(uint32_t)(n + 127) << 23};
    *power = exponent.value;
    return r + r * r * q;
}

/* 0 below -87.3, where the result would not be a normal number; NaN stays NaN. */
FASTLM_INLINE float exp_f32(float x)
{
    float power;
    float p = exp_reduced(x, &power);
    float result = power + power * p;
    return x < -87.3f ? 0.0f : result;
}

/* tanh |x| = -m / (2 + m) with m = exp(-2 |x|) - 1: exact to a few units in the last place near zero, too. */
FASTLM_INLINE float tanh_f32(float x)
{
    float power;
    float p = exp_reduced(-2.0f * fabsf(x), &power);
    float m = (power - 1.0f) + power * p;
    float result = -m / (2.0f + m);
    return copysignf(fabsf(x) > 20.0f ? 1.0f : result, x);
}

/* 1 / (1 + exp(-x)); where the exponential goes beyond all numbers it is infinite, and the result zero. */
FASTLM_INLINE float sigmoid_f32(float x)
{
    return 1.0f / (1.0f + exp_f32(-x));
}

FASTLM_INLINE double sigmoid_f64(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

#define REAL float
#define NAMED(name) name##_f32
#define REAL_EXP exp_f32
#define REAL_TANH tanh_f32
#define REAL_SIGMOID sigmoid_f32
#define REAL_SQRT sqrtf
#define REAL_ABS fabsf
#include "vector_rows.h"
#include "gates_rows.h"
#undef REAL
#undef NAMED
#undef REAL_EXP
#undef REAL_TANH
#undef REAL_SIGMOID
#undef REAL_SQRT
#undef REAL_ABS

/* float64 is there for tight gradient checks, so it takes the exactness of libm and not its own speed. */
#define REAL double
#define NAMED(name) name##_f64
#define REAL_EXP exp
#define REAL_TANH tanh
#define REAL_SIGMOID sigmoid_f64
#define REAL_SQRT sqrt
#define REAL_ABS fabs
#include "vector_rows.h"
#include "gates_rows.h"
#undef REAL
#undef NAMED
#undef REAL_EXP
#undef REAL_TANH
#undef REAL_SIGMOID
#undef REAL_SQRT
#undef REAL_ABS

#endif
