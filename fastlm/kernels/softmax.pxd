"""The passes of the softmax kernels on plain pointers, for kernels that have a softmax inside."""

from fastlm.kernels.matrix cimport real


cdef void forward(
    real* log_probs, real* log_norms, const real* hidden, Py_ssize_t height, const real* weight, const real* bias,
    const int* targets, real* exps, real* shifts, Py_ssize_t together, Py_ssize_t N, Py_ssize_t V, Py_ssize_t H,
    Py_ssize_t block,
) noexcept nogil

cdef void forward_backward(
    real* log_probs, real* log_norms, real* dhidden, real* exps, real* shifts, const real* hidden, Py_ssize_t height,
    const real* weight, const real* bias, const int* targets, real* scratch, double penalty, double factor,
    Py_ssize_t N, Py_ssize_t V, Py_ssize_t H, Py_ssize_t block,
) noexcept nogil

cdef void backward_weight(
    real* dweight, real* dbias, double* squares, const real* exps, const real* shifts, const real* log_norms,
    const real* log_probs, const real* hidden, const int* targets, real* rows, Py_ssize_t height, real* scales,
    real* lanes, double penalty, double factor, Py_ssize_t N, Py_ssize_t V, Py_ssize_t H, Py_ssize_t block,
    Py_ssize_t start, Py_ssize_t stop, bint accumulate,
) noexcept nogil
