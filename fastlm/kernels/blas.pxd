"""Row-major matrix products over SciPy's BLAS; the only file that knows the Fortran order.

A row-major matrix is the transpose of a column-major one, so C = A B is asked for as C' = B' A'.
"""

from scipy.linalg.cython_blas cimport dgemm, sgemm

ctypedef fused real:
    float
    double


cdef inline void gemm(
    char* transpose_right, char* transpose_left, int columns, int rows, int inner, real alpha,
    const real* right, int right_stride, const real* left, int left_stride, real beta, real* out, int out_stride,
) noexcept nogil:
    if real is float:
        sgemm(
            transpose_right, transpose_left, &columns, &rows, &inner, &alpha, <float*>right, &right_stride,
            <float*>left, &left_stride, &beta, out, &out_stride)
    else:
        dgemm(
            transpose_right, transpose_left, &columns, &rows, &inner, &alpha, <double*>right, &right_stride,
            <double*>left, &left_stride, &beta, out, &out_stride)


# In the three forms, out is (rows, columns), inner is the length of the sums, and a stride is the distance
# between rows. beta = 0 overwrites out, beta = 1 adds to it.

cdef inline void gemm_nn(
    real* out, Py_ssize_t out_stride, const real* left, Py_ssize_t left_stride, const real* right,
    Py_ssize_t right_stride, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t inner, real beta,
) noexcept nogil:
    """out = left (rows, inner) right (inner, columns) + beta out."""
    gemm(
        b"N", b"N", <int>columns, <int>rows, <int>inner, <real>1.0, right, <int>right_stride, left,
        <int>left_stride, beta, out, <int>out_stride)


cdef inline void gemm_nt(
    real* out, Py_ssize_t out_stride, const real* left, Py_ssize_t left_stride, const real* right,
    Py_ssize_t right_stride, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t inner, real beta,
) noexcept nogil:
    """out = left (rows, inner) right' (columns, inner) + beta out."""
    gemm(
        b"T", b"N", <int>columns, <int>rows, <int>inner, <real>1.0, right, <int>right_stride, left,
        <int>left_stride, beta, out, <int>out_stride)


cdef inline void gemm_tn(
    real* out, Py_ssize_t out_stride, const real* left, Py_ssize_t left_stride, const real* right,
    Py_ssize_t right_stride, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t inner, real beta,
) noexcept nogil:
    """out = left' (inner, rows) right (inner, columns) + beta out."""
    gemm(
        b"N", b"T", <int>columns, <int>rows, <int>inner, <real>1.0, right, <int>right_stride, left,
        <int>left_stride, beta, out, <int>out_stride)
