"""What the recurrent kernels share: rows of sequences, and the checks of their shapes."""

from fastlm.kernels.matrix cimport real


cdef inline Py_ssize_t row_stride(const real[:, :, :] sequence) noexcept nogil:
    """Elements from one row of the batch to the next; those of a row for a batch of one, whose stride says nothing."""
    return sequence.strides[1] // <Py_ssize_t>sizeof(real) if sequence.shape[1] > 1 else sequence.shape[2]

cdef check_sequence(const real[:, :, :] sequence, Py_ssize_t T, Py_ssize_t B, Py_ssize_t size)
cdef check_states(const real[:, ::1] state, const unsigned char[:, :] resets, Py_ssize_t T, Py_ssize_t B, Py_ssize_t H)
cdef check_packed(const real[:, :, ::1] w_hh, Py_ssize_t depth, Py_ssize_t columns)
