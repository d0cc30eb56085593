/* The row functions of vector.h, included there once for each floating-point type. */

#define PANEL (FASTLM_PANEL_BYTES / (int)sizeof(REAL))

/* Where x (rows, PANEL) + bias (rows,) goes more than MARGIN beyond a column's shift, the shift rises to the
 * column's maximum. factor = exp(old shift - new shift); returns whether any has risen. */
FASTLM_CLONES FASTLM_UNUSED
static int NAMED(raise_shifts)(REAL *restrict shift, REAL *restrict factor, const REAL *restrict x,
                               const REAL *restrict bias, ptrdiff_t rows)
{
    REAL largest[PANEL];
    int risen = 0;
    for (int i = 0; i < PANEL; i++)
        largest[i] = -(REAL)INFINITY;
    for (ptrdiff_t r = 0; r < rows; r++)
        for (int i = 0; i < PANEL; i++) {
            REAL value = x[r * PANEL + i] + bias[r];
            largest[i] = value > largest[i] ? value : largest[i];
        }
    for (int i = 0; i < PANEL; i++) {
        int rises = largest[i] > shift[i] + FASTLM_MARGIN;
        factor[i] = rises ? REAL_EXP(shift[i] - largest[i]) : 1;
        shift[i] = rises ? largest[i] : shift[i];
        risen |= rises;
    }
    return risen;
}

/* x = exp(x + bias - shift) for x (rows, PANEL), and sum += the sums of its columns. */
FASTLM_CLONES FASTLM_UNUSED
static void NAMED(exp_panel)(REAL *restrict x, REAL *restrict sum, const REAL *restrict bias,
                             const REAL *restrict shift, ptrdiff_t rows)
{
    REAL part[PANEL] = {0}; /* a sum of few first: less is lost than in one sum over all words */
    for (ptrdiff_t r = 0; r < rows; r++) {
        REAL *restrict row = x + r * PANEL;
        for (int i = 0; i < PANEL; i++)
            row[i] = REAL_EXP(row[i] + bias[r] - shift[i]);
        for (int i = 0; i < PANEL; i++) /* a loop of its own: one that also stores is not vectorised */
            part[i] += row[i];
    }
    for (int i = 0; i < PANEL; i++)
        sum[i] += part[i];
}

/* x (rows, PANEL) *= scale, a factor for each column. */
FASTLM_CLONES FASTLM_UNUSED
static void NAMED(scale_panel)(REAL *restrict x, const REAL *restrict scale, ptrdiff_t rows)
{
    for (ptrdiff_t r = 0; r < rows; r++)
        for (int i = 0; i < PANEL; i++)
            x[r * PANEL + i] *= scale[i];
}

/* lanes (rows, PANEL / 2) += x (rows, PANEL) * scale, folded: the sums over a row's lanes are the weighted row sums. */
FASTLM_CLONES FASTLM_UNUSED
static void NAMED(add_weighted_panel)(REAL *restrict lanes, const REAL *restrict x, const REAL *restrict scale,
                                      ptrdiff_t rows)
{
    for (ptrdiff_t r = 0; r < rows; r++)
        for (int i = 0; i < PANEL / 2; i++)
            lanes[r * (PANEL / 2) + i] += x[r * PANEL + i] * scale[i]
                                          + x[r * PANEL + PANEL / 2 + i] * scale[PANEL / 2 + i];
}

#undef PANEL

/* The largest of x[i] + bias[i]; -infinity for n = 0. */
FASTLM_CLONES FASTLM_UNUSED
static REAL NAMED(max_biased)(const REAL *restrict x, const REAL *restrict bias, ptrdiff_t n)
{
    REAL lanes[FASTLM_MAX_LANES];
    ptrdiff_t i = 0;
    for (int lane = 0; lane < FASTLM_MAX_LANES; lane++)
        lanes[lane] = -(REAL)INFINITY;
    for (; i + FASTLM_MAX_LANES <= n; i += FASTLM_MAX_LANES)
        for (int lane = 0; lane < FASTLM_MAX_LANES; lane++) {
            REAL value = x[i + lane] + bias[i + lane];
            lanes[lane] = value > lanes[lane] ? value : lanes[lane];
        }
    REAL largest = -(REAL)INFINITY;
    for (; i < n; i++)
        largest = x[i] + bias[i] > largest ? x[i] + bias[i] : largest;
    for (int lane = 0; lane < FASTLM_MAX_LANES; lane++)
        largest = lanes[lane] > largest ? lanes[lane] : largest;
    return largest;
}

/* Sum of x[i]. */
FASTLM_CLONES FASTLM_UNUSED
static REAL NAMED(sum)(const REAL *restrict x, ptrdiff_t n)
{
    REAL lanes[FASTLM_LANES] = {0};
    REAL sum = 0;
    ptrdiff_t i = 0;
    for (; i + FASTLM_LANES <= n; i += FASTLM_LANES)
        for (int lane = 0; lane < FASTLM_LANES; lane++)
            lanes[lane] += x[i + lane];
    for (; i < n; i++)
        sum += x[i];
    for (int lane = 0; lane < FASTLM_LANES; lane++)
        sum += lanes[lane];
    return sum;
}

/* y[i] = exp(x[i] + bias[i] - shift); y may be x. */
FASTLM_CLONES FASTLM_UNUSED
static void NAMED(exp_biased)(REAL *y, const REAL *x, const REAL *bias, REAL shift, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        y[i] = REAL_EXP(x[i] + bias[i] - shift);
}

/* y[i] = scale weight[i] s(x[i] + bias[i]) for the logistic function s(x) = 1 / (1 + exp(-x)); y may be x. */
FASTLM_CLONES FASTLM_UNUSED
static void NAMED(logistic_weighted)(REAL *y, const REAL *x, const REAL *bias, const REAL *weight, REAL scale,
                                     ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        REAL value = x[i] + bias[i];
        REAL small = REAL_EXP(-REAL_ABS(value));
        REAL larger = scale * weight[i] / (1 + small);
        y[i] = value < 0 ? small * larger : larger;
    }
}

/* x[i] *= scale. */
FASTLM_CLONES FASTLM_UNUSED
static void NAMED(scale_row)(REAL *restrict x, REAL scale, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        x[i] *= scale;
}

/* x[i] = tanh(x[i]). */
FASTLM_CLONES FASTLM_UNUSED
static void NAMED(tanh_rows)(REAL *restrict x, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        x[i] = REAL_TANH(x[i]);
}

/* dx[i] = dy[i] * (1 - y[i]^2), the gradient through y = tanh(x); dx may be dy. */
FASTLM_CLONES FASTLM_UNUSED
static void NAMED(tanh_gradient)(REAL *dx, const REAL *dy, const REAL *y, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        dx[i] = dy[i] * (1 - y[i] * y[i]);
}

/* y[i] += scale * x[i]. */
FASTLM_CLONES FASTLM_UNUSED
static void NAMED(add_scaled)(REAL *restrict y, REAL scale, const REAL *restrict x, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        y[i] += scale * x[i];
}

/* y[r] += matrix[r, :] . x for a row-major matrix; own code because a BLAS gemv may start threads of its own. */
FASTLM_CLONES FASTLM_UNUSED
static void NAMED(add_matrix_vector)(REAL *restrict y, const REAL *restrict matrix, const REAL *restrict x,
                                     ptrdiff_t rows, ptrdiff_t columns)
{
    for (ptrdiff_t r = 0; r < rows; r++) {
        const REAL *restrict row = matrix + r * columns;
        REAL lanes[FASTLM_LANES] = {0};
        REAL sum = 0;
        ptrdiff_t i = 0;
        for (; i + FASTLM_LANES <= columns; i += FASTLM_LANES)
            for (int lane = 0; lane < FASTLM_LANES; lane++)
                lanes[lane] += row[i + lane] * x[i + lane];
        for (; i < columns; i++)
            sum += row[i] * x[i];
        for (int lane = 0; lane < FASTLM_LANES; lane++)
            sum += lanes[lane];
        y[r] += sum;
    }
}

/* Sum of x[i]^2, in double: a float32 sum over a large matrix would lose the small ones. */
FASTLM_CLONES FASTLM_UNUSED
static double NAMED(sum_squares)(const REAL *restrict x, ptrdiff_t n)
{
    double lanes[FASTLM_LANES] = {0};
    double sum = 0;
    ptrdiff_t i = 0;
    for (; i + FASTLM_LANES <= n; i += FASTLM_LANES)
        for (int lane = 0; lane < FASTLM_LANES; lane++)
            lanes[lane] += (double)x[i + lane] * (double)x[i + lane];
    for (; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    for (int lane = 0; lane < FASTLM_LANES; lane++)
        sum += lanes[lane];
    return sum;
}

/* v = momentum v + scale g; x -= rate v (Polyak 1964). */
FASTLM_CLONES FASTLM_UNUSED
static void NAMED(momentum_step)(REAL *restrict x, REAL *restrict velocity, const REAL *restrict gradient,
                                 REAL scale, REAL rate, REAL momentum, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        velocity[i] = momentum * velocity[i] + scale * gradient[i];
        x[i] -= rate * velocity[i];
    }
}

/* s += g^2; x -= rate g / (sqrt(s) + epsilon) (Duchi et al. 2011). */
FASTLM_CLONES FASTLM_UNUSED
static void NAMED(adagrad_step)(REAL *restrict x, REAL *restrict squares, const REAL *restrict gradient,
                                REAL scale, REAL rate, REAL epsilon, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        REAL g = scale * gradient[i];
        squares[i] += g * g;
        x[i] -= rate * g / (REAL_SQRT(squares[i]) + epsilon);
    }
}

/* m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; x -= rate m / (sqrt(v / correction) + epsilon) (Kingma & Ba
 * 2015); the caller folds the correction of m into rate. */
FASTLM_CLONES FASTLM_UNUSED
static void NAMED(adam_step)(REAL *restrict x, REAL *restrict mean, REAL *restrict square,
                             const REAL *restrict gradient, REAL scale, REAL rate, REAL beta1, REAL beta2,
                             REAL correction, REAL epsilon, ptrdiff_t n)
{
    REAL inverse = 1 / correction;
    for (ptrdiff_t i = 0; i < n; i++) {
        REAL g = scale * gradient[i];
        mean[i] = beta1 * mean[i] + (1 - beta1) * g;
        square[i] = beta2 * square[i] + (1 - beta2) * g * g;
        x[i] -= rate * mean[i] / (REAL_SQRT(square[i] * inverse) + epsilon);
    }
}

/* d = -rate g - decay x; x += d; sums += weight d. */
FASTLM_CLONES FASTLM_UNUSED
static void NAMED(averaged_step)(REAL *restrict x, REAL *restrict sums, const REAL *restrict gradient, REAL rate,
                                 REAL decay, REAL weight, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        REAL change = -rate * gradient[i] - decay * x[i];
        x[i] += change;
        sums[i] += weight * change;
    }
}
