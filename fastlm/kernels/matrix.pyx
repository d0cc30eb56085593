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


def lower_level(int level):
    """The CPU's level, or the lower one that FASTLM_CPU_LEVEL asks for, to try a lesser CPU's code on a better one."""
    asked = os.environ.get("FASTLM_CPU_LEVEL", "2")
    if asked not in ("0", "1", "2"):
        raise ValueError(f"the environment variable FASTLM_CPU_LEVEL is {asked!r}, expected 0, 1 or 2, or none")
    return min(level, int(asked))


cdef int LEVEL = lower_level(matrix_level())  # set once, here, and only read ever after
cpu_level = LEVEL


cdef void multiply(
    real* out, Py_ssize_t out_stride, const real* left, Py_ssize_t row, Py_ssize_t step, Py_ssize_t fold,
    const real* panels, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth, bint accumulate,
) noexcept nogil:
    """out (rows, columns) = left (rows, depth) panels [+ out]; for the strides see matrix_levels.h."""
    if real is float:
        multiply_f32(LEVEL, out, out_stride, left, row, step, fold, panels, rows, columns, depth, accumulate)
    else:
        multiply_f64(LEVEL, out, out_stride, left, row, step, fold, panels, rows, columns, depth, accumulate)


cdef void pack(
    real* panels, const real* right, Py_ssize_t stride, const real* scales, Py_ssize_t depth, Py_ssize_t columns,
    Py_ssize_t padded,
) noexcept nogil:
    """Panels of right (depth, columns), its row k times scales[k] unless scales is NULL, then zeros."""
    if real is float:
        pack_f32(panels, right, stride, scales, depth, columns, padded)
    else:
        pack_f64(panels, right, stride, scales, depth, columns, padded)


cdef void pack_transposed_rows(
    real* panels, const real* right, Py_ssize_t stride, Py_ssize_t depth, Py_ssize_t columns,
) noexcept nogil:
    """Panels of the transpose of right (columns, depth)."""
    if real is float:
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
