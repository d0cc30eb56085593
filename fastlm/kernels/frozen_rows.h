/* The row functions of frozen models, included in frozen.h once for each type of what their tables hold. */

/* h = bias + the rows of the words in a window, rows being (words, N, H): word by word those of all N places, so that a
 * word that moves on through the window stays within a few neighbouring cache lines. Four rows are added in a pass. */
FASTLM_CLONES FASTLM_UNUSED
static void NAMED(gather)(float *restrict h, const float *restrict bias, const ENTRY *restrict rows,
                          const float *restrict scales, const int32_t *restrict window, ptrdiff_t N, ptrdiff_t H)
{
    const float *before = bias;
    ptrdiff_t k = 0;
    for (; k + 4 <= N; k += 4) {
        ptrdiff_t p = window[k] * N + k, q = window[k + 1] * N + k + 1;
        ptrdiff_t r = window[k + 2] * N + k + 2, s = window[k + 3] * N + k + 3;
        const ENTRY *restrict w = rows + p * H, *restrict x = rows + q * H;
        const ENTRY *restrict y = rows + r * H, *restrict z = rows + s * H;
        for (ptrdiff_t i = 0; i < H; i++)
            h[i] = before[i] + VALUE(w[i], p) + VALUE(x[i], q) + VALUE(y[i], r) + VALUE(z[i], s);
        before = h;
    }
    for (; k < N; k++) {
        ptrdiff_t p = window[k] * N + k;
        const ENTRY *restrict w = rows + p * H;
        for (ptrdiff_t i = 0; i < H; i++)
            h[i] = before[i] + VALUE(w[i], p);
        before = h;
    }
}

/* Sum of h[i] x[i], before it is scaled. */
FASTLM_CLONES FASTLM_UNUSED
static float NAMED(product)(const float *restrict h, const ENTRY *restrict x, ptrdiff_t n)
{
    float lanes[FASTLM_LANES] = {0};
    float sum = 0;
    ptrdiff_t i = 0;
    for (; i + FASTLM_LANES <= n; i += FASTLM_LANES)
        for (int lane = 0; lane < FASTLM_LANES; lane++)
            lanes[lane] += h[i + lane] * (float)x[i + lane];
    for (; i < n; i++)
        sum += h[i] * (float)x[i];
    for (int lane = 0; lane < FASTLM_LANES; lane++)
        sum += lanes[lane];
    return sum;
}
