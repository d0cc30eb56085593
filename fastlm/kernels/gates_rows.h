/* One row, of n units, of a recurrent layer with gates; included in vector.h once for each floating-point type.
 *
 * The gates of a row stand side by side, n of each, those with a sigmoid first: one loop goes over all of these. */

/* Gates (4n: input, forget, output, candidate) from what goes into them, in place; then cell and hidden. */
FASTLM_CLONES FASTLM_UNUSED
static void NAMED(lstm_row)(REAL *restrict hidden, REAL *restrict cell, REAL *restrict gates,
                            const REAL *restrict previous_cell, ptrdiff_t n)
{
    const REAL *restrict in = gates, *restrict forget = gates + n, *restrict out = gates + 2 * n;
    REAL *restrict candidate = gates + 3 * n;
    for (ptrdiff_t i = 0; i < 3 * n; i++)
        gates[i] = REAL_SIGMOID(gates[i]);
    for (ptrdiff_t i = 0; i < n; i++)
        candidate[i] = REAL_TANH(candidate[i]);
    for (ptrdiff_t i = 0; i < n; i++)
        cell[i] = forget[i] * previous_cell[i] + in[i] * candidate[i];
    for (ptrdiff_t i = 0; i < n; i++)
        hidden[i] = out[i] * REAL_TANH(cell[i]);
}

/* Gradients of what goes into the gates (4n), of a hidden layer that has two, dhidden + carried; dcell is that of the
 * cell from the step after, and becomes that of the previous cell. */
FASTLM_CLONES FASTLM_UNUSED
static void NAMED(lstm_gradient)(REAL *restrict dgates, REAL *restrict dcell, const REAL *restrict dhidden,
                                 const REAL *restrict carried, const REAL *restrict gates, const REAL *restrict cell,
                                 const REAL *restrict previous_cell, ptrdiff_t n)
{
    const REAL *restrict in = gates, *restrict forget = gates + n, *restrict out = gates + 2 * n;
    const REAL *restrict candidate = gates + 3 * n;
    for (ptrdiff_t i = 0; i < n; i++) {
        REAL dh = dhidden[i] + carried[i], squashed = REAL_TANH(cell[i]);
        REAL dc = dcell[i] + dh * out[i] * (1 - squashed * squashed);
        dgates[i] = dc * candidate[i] * in[i] * (1 - in[i]);
        dgates[n + i] = dc * previous_cell[i] * forget[i] * (1 - forget[i]);
        dgates[2 * n + i] = dh * squashed * out[i] * (1 - out[i]);
        dgates[3 * n + i] = dc * in[i] * (1 - candidate[i] * candidate[i]);
        dcell[i] = dc * forget[i];
    }
}

/* Gates (3n: reset, update, candidate) from what the input gives them, in place, and from the products of the
 * previous hidden layer (3n); then hidden. */
FASTLM_CLONES FASTLM_UNUSED
static void NAMED(gru_row)(REAL *restrict hidden, REAL *restrict gates, const REAL *restrict products,
                           const REAL *restrict previous, ptrdiff_t n)
{
    const REAL *restrict reset = gates, *restrict update = gates + n;
    REAL *restrict candidate = gates + 2 * n;
    for (ptrdiff_t i = 0; i < 2 * n; i++)
        gates[i] = REAL_SIGMOID(gates[i] + products[i]);
    for (ptrdiff_t i = 0; i < n; i++)
        candidate[i] = REAL_TANH(candidate[i] + reset[i] * products[2 * n + i]);
    for (ptrdiff_t i = 0; i < n; i++)
        hidden[i] = candidate[i] + update[i] * (previous[i] - candidate[i]);
}

/* Gradients of what goes into the gates (3n) and of the products (3n); `carried` is the part of the hidden layer's
 * gradient from the step after, and becomes that of the previous hidden layer, but for the part through the products. */
FASTLM_CLONES FASTLM_UNUSED
static void NAMED(gru_gradient)(REAL *restrict dgates, REAL *restrict dproducts, REAL *restrict carried,
                                const REAL *restrict dhidden, const REAL *restrict gates,
                                const REAL *restrict products, const REAL *restrict previous, ptrdiff_t n)
{
    const REAL *restrict reset = gates, *restrict update = gates + n, *restrict candidate = gates + 2 * n;
    for (ptrdiff_t i = 0; i < n; i++) {
        REAL dh = dhidden[i] + carried[i];
        REAL dcandidate = dh * (1 - update[i]) * (1 - candidate[i] * candidate[i]);
        REAL dreset = dcandidate * products[2 * n + i] * reset[i] * (1 - reset[i]);
        REAL dupdate = dh * (previous[i] - candidate[i]) * update[i] * (1 - update[i]);
        dgates[i] = dreset;
        dproducts[i] = dreset;
        dgates[n + i] = dupdate;
        dproducts[n + i] = dupdate;
        dgates[2 * n + i] = dcandidate;
        dproducts[2 * n + i] = dcandidate * reset[i];
        carried[i] = dh * update[i];
    }
}
