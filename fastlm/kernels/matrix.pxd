"""Row-major matrix products for the other kernels, and the two floating-point types."""

ctypedef fused real:
    float
    double

cpdef enum:
    PANEL_BYTES = 128  # the width of a panel: 32 float32, 16 float64


cdef void multiply(
    real* out, Py_ssize_t out_stride, const real* left, Py_ssize_t row, Py_ssize_t step, Py_ssize_t fold,
    const real* panels, Py_ssize_t height, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth, bint accumulate,
) noexcept nogil

cdef void multiply_panels(
    real* out, Py_ssize_t out_panel, const real* left, Py_ssize_t row, Py_ssize_t step, const real* panels,
    Py_ssize_t panel_size, bint packed, bint split, Py_ssize_t count, Py_ssize_t rows, Py_ssize_t depth,
    bint accumulate,
) noexcept nogil

cdef bint rounds_operands() noexcept nogil

cdef void pack(
    real* panels, Py_ssize_t height, const real* right, Py_ssize_t stride, const real* scales, Py_ssize_t depth,
    Py_ssize_t columns, Py_ssize_t padded,
) noexcept nogil

cdef void fill_panels(
    real* panels, const real* right, Py_ssize_t stride, const real* scales, Py_ssize_t depth, Py_ssize_t columns,
    Py_ssize_t padded,
) noexcept nogil

cdef void finish_panels(real* panels, Py_ssize_t depth, Py_ssize_t columns) noexcept nogil

cdef void pack_transposed_rows(
    real* panels, Py_ssize_t height, const real* right, Py_ssize_t stride, Py_ssize_t depth, Py_ssize_t columns,
) noexcept nogil

cdef void unpack_transposed(
    real* out, Py_ssize_t stride, const real* panels, Py_ssize_t depth, Py_ssize_t columns,
) noexcept nogil

cdef check_panels(const real[:, :, ::1] panels, Py_ssize_t D, Py_ssize_t N)
