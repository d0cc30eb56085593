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

cdef extern from "matrix_tiles.h" nogil:
    bint operands_are_rounded() noexcept
    void round_operands(bint wanted) noexcept
    int has_tiles() noexcept
    int may_use_tiles() noexcept
    void multiply_tiles(
        int parts, float* out, Py_ssize_t out_stride, Py_ssize_t out_panel, const float* left, Py_ssize_t row,
        Py_ssize_t step, Py_ssize_t fold, const float* panels, Py_ssize_t panel_size, int packed, Py_ssize_t rows,
        Py_ssize_t columns, Py_ssize_t depth, int accumulate) noexcept
    void pack_tiles(
        int parts, float* panels, Py_ssize_t panel_size, const float* right, Py_ssize_t stride, const float* scales,
        Py_ssize_t depth, Py_ssize_t columns, Py_ssize_t padded) noexcept
    void pack_transposed_tiles(
        int parts, float* panels, Py_ssize_t panel_size, const float* right, Py_ssize_t stride, Py_ssize_t depth,
        Py_ssize_t columns) noexcept
    void round_panel(float* panel, Py_ssize_t depth) noexcept


def lower_level(int level):
    """The CPU's level, or the lower one that FASTLM_CPU_LEVEL asks for, to try a lesser CPU's code on a better one."""
    asked = os.environ.get("FASTLM_CPU_LEVEL", "3")
    if asked not in ("0", "1", "2", "3"):
        raise ValueError(f"the environment variable FASTLM_CPU_LEVEL is {asked!r}, expected 0, 1, 2 or 3, or none")
    return min(level, int(asked))


# Set once, here, and only read ever after: the levels of matrix.h, and 3 where the CPU has a matrix unit beside
# AVX-512, whether or not the system lets it be used.
cpu_level = lower_level(3 if has_tiles() else matrix_level())
cdef int LEVEL = min(cpu_level, 2)


cdef int allowed = -1  # not asked yet


def tiles_are_possible():
    """Whether this CPU has a matrix unit (AMX), and build and system let the process use it.

    Returns
    -------
    bool
    """
    global allowed
    if allowed < 0:
        allowed = cpu_level >= 3 and may_use_tiles() == 1
    return allowed == 1


def uses_bfloat16():
    """What this thread has said by `use_bfloat16`.

    Returns
    -------
    bool
    """
    return bool(rounds_operands())


def use_bfloat16(bint wanted):
    """Say whether the products of float32 that this thread makes from now on round their operands to bfloat16.

    Sums stay float32. What is packed in one way is for products of this way alone.

    Parameters
    ----------
    wanted : bool
        True only where `tiles_are_possible`.

    Returns
    -------
    bool
        What it was before.
    """
    cdef bint before = rounds_operands()
    if wanted and not tiles_are_possible():
        raise ValueError(
            "products of bfloat16 are not possible on this machine: its CPU has no AMX-BF16, or build, system or "
            "FASTLM_CPU_LEVEL do not let it be used")
    round_operands(wanted)
    return bool(before)


def split_height(Py_ssize_t depth):
    """Rows of a panel whose elements are split into three parts of bfloat16 each, for products as exact as float32.

    Such a panel is (3, ceil(depth / 2), W) pairs of bfloat16. Kernels know it by its height. It is possible for float32
    where `tiles_are_possible`, and worth its while for many rows of the left operand.

    Parameters
    ----------
    depth : int

    Returns
    -------
    int
    """
    return split_rows(depth)


cdef inline Py_ssize_t split_rows(Py_ssize_t depth) noexcept nogil:
    return 3 * ((depth + 1) // 2)


cdef void multiply(
    real* out, Py_ssize_t out_stride, const real* left, Py_ssize_t row, Py_ssize_t step, Py_ssize_t fold,
    const real* panels, Py_ssize_t height, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth, bint accumulate,
) noexcept nogil:
    """out (rows, columns) = left (rows, depth) panels [+ out]; for the strides see matrix_levels.h.

    The height of the panels is the depth, or its `split_height` where they are split.
    """
    if real is float:
        if height != depth or rounds_operands():
            multiply_tiles(
                3 if height != depth else 1, out, out_stride, 32, left, row, step, fold, panels, 32 * height, True,
                rows, columns, depth, accumulate)
            return
        multiply_f32(LEVEL, out, out_stride, left, row, step, fold, panels, rows, columns, depth, accumulate)
    else:
        multiply_f64(LEVEL, out, out_stride, left, row, step, fold, panels, rows, columns, depth, accumulate)


cdef void multiply_panels(
    real* out, Py_ssize_t out_panel, const real* left, Py_ssize_t row, Py_ssize_t step, const real* panels,
    Py_ssize_t panel_size, bint packed, bint split, Py_ssize_t count, Py_ssize_t rows, Py_ssize_t depth,
    bint accumulate,
) noexcept nogil:
    """Products of one left operand with panels that stand apart: out (count, rows, W) = left (rows, depth) panels.

    `out_panel` and `panel_size` are from one to the next; panels (depth, W) may be computed and not `packed`. Whether
    operands are `split` does not show in those.
    """
    cdef Py_ssize_t W = PANEL_BYTES // <Py_ssize_t>sizeof(real), p
    if real is float:
        if split or rounds_operands():
            multiply_tiles(
                3 if split else 1, out, 32, out_panel, left, row, step, 0, panels, panel_size, packed, rows, 32 * count,
                depth, accumulate)
            return
    for p in range(count):
        multiply(out + p * out_panel, W, left, row, step, 0, panels + p * panel_size, depth, rows, W, depth, accumulate)


cdef bint rounds_operands() noexcept nogil:
    """Whether this thread has said so by `use_bfloat16`."""
    return operands_are_rounded()


cdef void pack(
    real* panels, Py_ssize_t height, const real* right, Py_ssize_t stride, const real* scales, Py_ssize_t depth,
    Py_ssize_t columns, Py_ssize_t padded,
) noexcept nogil:
    """Panels of right (depth, columns), its row k times scales[k] unless scales is NULL, then zeros, up to `padded`.

    They are split if their height is not `padded`.
    """
    if real is float:
        if height != padded or rounds_operands():
            pack_tiles(3 if height != padded else 1, panels, 32 * height, right, stride, scales, depth, columns, padded)
            return
    fill_panels(panels, right, stride, scales, depth, columns, padded)


cdef void fill_panels(
    real* panels, const real* right, Py_ssize_t stride, const real* scales, Py_ssize_t depth, Py_ssize_t columns,
    Py_ssize_t padded,
) noexcept nogil:
    """Do what `pack` does where nothing is split; the panels are for `finish_panels`, and may be filled in parts."""
    if real is float:
        pack_f32(panels, right, stride, scales, depth, columns, padded)
    else:
        pack_f64(panels, right, stride, scales, depth, columns, padded)


cdef void finish_panels(real* panels, Py_ssize_t depth, Py_ssize_t columns) noexcept nogil:
    """Make of filled panels what products take."""
    cdef Py_ssize_t W = PANEL_BYTES // <Py_ssize_t>sizeof(real), p
    if real is float:
        if rounds_operands():
            for p in range((columns + W - 1) // W):
                round_panel(panels + p * depth * W, depth)


cdef void pack_transposed_rows(
    real* panels, Py_ssize_t height, const real* right, Py_ssize_t stride, Py_ssize_t depth, Py_ssize_t columns,
) noexcept nogil:
    """Panels of the transpose of right (columns, depth), split if their height is not the depth."""
    if real is float:
        if height != depth or rounds_operands():
            pack_transposed_tiles(
                3 if height != depth else 1, panels, 32 * height, right, stride, depth, columns)
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
        W is `panel_width` of the type: 32 columns of float32, 16 of float64. Padded with zeros. In place of D, the
        height may be `split_height(D)`.
    matrix : (D, N)
    """
    cdef Py_ssize_t D = matrix.shape[0], N = matrix.shape[1]
    check_panels(panels, D, N)
    if D == 0 or N == 0:
        return
    with nogil:
        pack(&panels[0, 0, 0], panels.shape[1], &matrix[0, 0], N, <const real*>NULL, D, N, D)


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
        pack_transposed_rows(&panels[0, 0, 0], panels.shape[1], &matrix[0, 0], D, D, N)


cdef check_panels(const real[:, :, ::1] panels, Py_ssize_t D, Py_ssize_t N):
    """Raise ValueError unless these are panels of N columns of D, split or not."""
    cdef Py_ssize_t width = PANEL_BYTES // <Py_ssize_t>sizeof(real), count = (N + width - 1) // width
    cdef bint is_split = real is float and panels.shape[1] == split_rows(D) and D > 0 and tiles_are_possible()
    if panels.shape[0] != count or panels.shape[2] != width or (panels.shape[1] != D and not is_split):
        split = f" or, split, ({count}, {split_rows(D)}, {width})" if real is float and tiles_are_possible() else ""
        raise ValueError(
            f"the panels have shape ({panels.shape[0]}, {panels.shape[1]}, {panels.shape[2]}), expected "
            f"({count}, {D}, {width}){split}: {N} columns of {D}, as pack_matrix or pack_transposed packs them")
