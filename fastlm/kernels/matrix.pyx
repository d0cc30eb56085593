"""Row-major matrix products: packing of the right operand, and the product itself (see matrix.h)."""

import os


cdef extern from "matrix.h" nogil:
    int matrix_level()
    void multiply_f32(
        int level, float* out, Py_ssize_t out_stride, const float* left, Py_ssize_t row, Py_ssize_t step,
        Py_ssize_t fold, const float* panels, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth,
        int accumulate) noexcept
    void multiply_f64(
        int level, double* out, Py_ssize_t out_stride, const double* left, Py_ssize_t row, Py_ssize_t step,
        Py_ssize_t fold, const double* panels, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth,
        int accumulate) noexcept
    void pack_f32(
        float* panels, const float* right, Py_ssize_t stride, const float* scales, Py_ssize_t depth,
        Py_ssize_t columns, Py_ssize_t padded) noexcept
    void pack_f64(
        double* panels, const double* right, Py_ssize_t stride, const double* scales, Py_ssize_t depth,
        Py_ssize_t columns, Py_ssize_t padded) noexcept
    void pack_transposed_f32(
        float* panels, const float* right, Py_ssize_t stride, Py_ssize_t depth, Py_ssize_t columns) noexcept
    void pack_transposed_f64(
        double* panels, const double* right, Py_ssize_t stride, Py_ssize_t depth, Py_ssize_t columns) noexcept
    void unpack_transposed_f32(
        float* out, Py_ssize_t stride, const float* panels, Py_ssize_t depth, Py_ssize_t columns) noexcept
    void unpack_transposed_f64(
        double* out, Py_ssize_t stride, const double* panels, Py_ssize_t depth, Py_ssize_t columns) noexcept

cdef extern from "matrix_bfloat16.h" nogil:
    int has_bfloat16() noexcept
    bint bfloat16_is_on() noexcept
    int set_bfloat16(int wanted) noexcept
    void multiply_bfloat16(
        float* out, Py_ssize_t out_stride, Py_ssize_t out_panel, const float* left, Py_ssize_t row, Py_ssize_t step,
        Py_ssize_t fold, const float* panels, Py_ssize_t panel_size, int packed, Py_ssize_t rows, Py_ssize_t columns,
        Py_ssize_t depth, int accumulate) noexcept
    void pack_bfloat16(
        float* panels, const float* right, Py_ssize_t stride, const float* scales, Py_ssize_t depth,
        Py_ssize_t columns, Py_ssize_t padded) noexcept
    void round_panel(unsigned short* to, const float* panel, Py_ssize_t depth) noexcept
    void pack_transposed_bfloat16(
        float* panels, const float* right, Py_ssize_t stride, Py_ssize_t depth, Py_ssize_t columns) noexcept


def lower_level(int level):
    """The CPU's level, or the lower one that FASTLM_CPU_LEVEL asks for, to try a lesser CPU's code on a better one."""
    asked = os.environ.get("FASTLM_CPU_LEVEL", "2")
    if asked not in ("0", "1", "2"):
        raise ValueError(f"the environment variable FASTLM_CPU_LEVEL is {asked!r}, expected 0, 1 or 2, or none")
    return min(level, int(asked))


cdef int LEVEL = lower_level(matrix_level())  # set once, here, and only read ever after
cpu_level = LEVEL


cdef int possible = -1  # not asked yet


def bfloat16_is_possible():
    """Whether this CPU has what `use_bfloat16` asks for, and build and system let the process use it.

    Returns
    -------
    bool
    """
    global possible
    if possible < 0:
        possible = LEVEL >= 2 and has_bfloat16() == 1
    return possible == 1


def uses_bfloat16():
    """What this thread has said by `use_bfloat16`.

    Returns
    -------
    bool
    """
    return bool(bfloat16_is_on())


def use_bfloat16(bint wanted):
    """Say whether the products of float32 that this thread makes from now on round their operands to bfloat16.

    Sums stay float32. What is packed in one way is for products of this way alone. Before a thread ends it says False,
    so that its memory for rounded operands is freed.

    Parameters
    ----------
    wanted : bool
        True only where `bfloat16_is_possible`.

    Returns
    -------
    bool
        What it was before.
    """
    cdef bint before = bfloat16_is_on()
    if wanted and not bfloat16_is_possible():
        raise ValueError(
            "products of bfloat16 are not possible on this machine: its CPU has no AMX-BF16, or build or system do not "
            "let it be used")
    if not set_bfloat16(wanted):
        raise MemoryError("no memory for operands that are rounded to bfloat16")
    return bool(before)


cdef void multiply(
    real* out, Py_ssize_t out_stride, const real* left, Py_ssize_t row, Py_ssize_t step, Py_ssize_t fold,
    const real* panels, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth, bint accumulate,
) noexcept nogil:
    """out (rows, columns) = left (rows, depth) panels [+ out]; for the strides see matrix_levels.h."""
    if real is float:
        if bfloat16_is_on():
            multiply_bfloat16(
                out, out_stride, 32, left, row, step, fold, panels, 32 * depth, True, rows, columns, depth, accumulate)
            return
        multiply_f32(LEVEL, out, out_stride, left, row, step, fold, panels, rows, columns, depth, accumulate)
    else:
        multiply_f64(LEVEL, out, out_stride, left, row, step, fold, panels, rows, columns, depth, accumulate)


cdef void multiply_panels(
    real* out, Py_ssize_t out_panel, const real* left, Py_ssize_t row, Py_ssize_t step, const real* panels,
    Py_ssize_t panel_size, bint packed, Py_ssize_t count, Py_ssize_t rows, Py_ssize_t depth, bint accumulate,
) noexcept nogil:
    """Products of one left operand with panels that stand apart: out (count, rows, W) = left (rows, depth) panels.

    `out_panel` and `panel_size` are from one to the next; panels (depth, W) may be computed and not `packed`.
    """
    cdef Py_ssize_t W = PANEL_BYTES // <Py_ssize_t>sizeof(real), p
    if real is float:
        if bfloat16_is_on():
            multiply_bfloat16(
                out, 32, out_panel, left, row, step, 0, panels, panel_size, packed, rows, 32 * count, depth, accumulate)
            return
    for p in range(count):
        multiply(out + p * out_panel, W, left, row, step, 0, panels + p * panel_size, rows, W, depth, accumulate)


cdef bint rounds_operands() noexcept nogil:
    """Whether this thread's products round their operands, so that those of one left operand are best made together."""
    return bfloat16_is_on()


cdef void pack(
    real* panels, const real* right, Py_ssize_t stride, const real* scales, Py_ssize_t depth, Py_ssize_t columns,
    Py_ssize_t padded,
) noexcept nogil:
    """Panels of right (depth, columns), its row k times scales[k] unless scales is NULL, then zeros."""
    if real is float:
        if bfloat16_is_on():
            pack_bfloat16(panels, right, stride, scales, depth, columns, padded)
            return
    fill_panels(panels, right, stride, scales, depth, columns, padded)


cdef void fill_panels(
    real* panels, const real* right, Py_ssize_t stride, const real* scales, Py_ssize_t depth, Py_ssize_t columns,
    Py_ssize_t padded,
) noexcept nogil:
    """Do what `pack` does; the panels are for `finish_panels` then, and may be filled in parts."""
    if real is float:
        pack_f32(panels, right, stride, scales, depth, columns, padded)
    else:
        pack_f64(panels, right, stride, scales, depth, columns, padded)


cdef void finish_panels(real* panels, Py_ssize_t depth, Py_ssize_t columns) noexcept nogil:
    """Make of filled panels what products take."""
    cdef Py_ssize_t W = PANEL_BYTES // <Py_ssize_t>sizeof(real), p
    if real is float:
        if bfloat16_is_on():
            for p in range((columns + W - 1) // W):
                round_panel(<unsigned short*>(panels + p * depth * W), panels + p * depth * W, depth)


cdef void pack_transposed_rows(
    real* panels, const real* right, Py_ssize_t stride, Py_ssize_t depth, Py_ssize_t columns,
) noexcept nogil:
    """Panels of the transpose of right (columns, depth)."""
    if real is float:
        if bfloat16_is_on():
            pack_transposed_bfloat16(panels, right, stride, depth, columns)
            return
        pack_transposed_f32(panels, right, stride, depth, columns)
    else:
        pack_transposed_f64(panels, right, stride, depth, columns)


cdef void unpack_transposed(
    real* out, Py_ssize_t stride, const real* panels, Py_ssize_t depth, Py_ssize_t columns,
) noexcept nogil:
    """out (columns, depth) from panels that hold its transpose."""
    if real is float:
        unpack_transposed_f32(out, stride, panels, depth, columns)
    else:
        unpack_transposed_f64(out, stride, panels, depth, columns)


def pack_matrix(real[:, :, ::1] panels, const real[:, ::1] matrix):
    """Pack `matrix` as the right operand of products.

    Parameters
    ----------
    panels : (ceil(N / W), D, W), overwritten
        W is `panel_width` of the type: 32 columns of float32, 16 of float64. Padded with zeros.
    matrix : (D, N)
    """
    cdef Py_ssize_t D = matrix.shape[0], N = matrix.shape[1]
    check_panels(panels, D, N)
    if D == 0 or N == 0:
        return
    with nogil:
        pack(&panels[0, 0, 0], &matrix[0, 0], N, <const real*>NULL, D, N, D)


def pack_transposed(real[:, :, ::1] panels, const real[:, ::1] matrix):
    """Pack the transpose of `matrix` as the right operand of products.

    Parameters
    ----------
    panels : (ceil(N / W), D, W), overwritten
        As in `pack_matrix`.
    matrix : (N, D)
    """
    cdef Py_ssize_t N = matrix.shape[0], D = matrix.shape[1]
    check_panels(panels, D, N)
    if D == 0 or N == 0:
        return
    with nogil:
        pack_transposed_rows(&panels[0, 0, 0], &matrix[0, 0], D, D, N)


cdef check_panels(const real[:, :, ::1] panels, Py_ssize_t D, Py_ssize_t N):
    cdef Py_ssize_t width = PANEL_BYTES // <Py_ssize_t>sizeof(real), count = (N + width - 1) // width
    if panels.shape[0] != count or panels.shape[1] != D or panels.shape[2] != width:
        raise ValueError(
            f"panels has shape ({panels.shape[0]}, {panels.shape[1]}, {panels.shape[2]}), expected "
            f"({count}, {D}, {width}) for {N} columns of {D}")
