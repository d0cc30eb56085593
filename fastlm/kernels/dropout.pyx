"""Dropout (Srivastava et al. 2014): masks from a counter-based generator, and their application to rows."""

from fastlm.kernels.matrix cimport real
from fastlm.kernels.random cimport random_bits


def dropout_mask(real[::1] mask, unsigned long long key, double rate):
    """Fill a mask with 0 at probability `rate` and 1 / (1 - rate) elsewhere.

    Parameters
    ----------
    mask : (D,), overwritten
    key : int
        The same key gives the same mask.
    rate : float in [0, 1)
    """
    cdef Py_ssize_t D = mask.shape[0], i
    cdef unsigned long long threshold
    cdef real kept
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"rate is {rate}, expected 0 <= rate < 1")
    with nogil:
        threshold = <unsigned long long>(rate * 9007199254740992.0)
        kept = <real>(1.0 / (1.0 - rate))
        for i in range(D):
            mask[i] = <real>0.0 if (random_bits(key, i) >> 11) < threshold else kept


def dropout_forward(real[:, ::1] output, const real[:, ::1] inputs, const real[::1] mask):
    """Multiply each row by the mask. Its own backward pass: the product is linear and symmetric.

    Parameters
    ----------
    output : (N, D), overwritten; may be inputs
    inputs : (N, D)
    mask : (D,)
    """
    cdef Py_ssize_t N = inputs.shape[0], D = inputs.shape[1], i, j
    if output.shape[0] != N or output.shape[1] != D or mask.shape[0] != D:
        raise ValueError(
            f"output ({output.shape[0]}, {output.shape[1]}), inputs ({N}, {D}) and mask ({mask.shape[0]},) do not "
            f"fit: expected (N, D), (N, D), (D,)")
    with nogil:
        for i in range(N):
            for j in range(D):
                output[i, j] = inputs[i, j] * mask[j]


def word_dropout(
    real[:, ::1] output, const real[:, ::1] inputs, const int[::1] ids, unsigned long long key, double rate
):
    """Make the rows of some words zero, at probability `rate`, and multiply the others by 1 / (1 - rate).

    All rows of one word share its fate. Its own backward pass, with the same key.

    Parameters
    ----------
    output : (N, D), overwritten; may be inputs
    inputs : (N, D)
    ids : (N,) int32
        The words.
    key : int
    rate : float in [0, 1)
    """
    cdef Py_ssize_t N = inputs.shape[0], D = inputs.shape[1], i, j
    cdef unsigned long long threshold
    cdef real kept, scale
    if output.shape[0] != N or output.shape[1] != D or ids.shape[0] != N:
        raise ValueError(
            f"output ({output.shape[0]}, {output.shape[1]}), inputs ({N}, {D}) and ids ({ids.shape[0]},) do not fit: "
            f"expected (N, D), (N, D), (N,)")
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"rate is {rate}, expected 0 <= rate < 1")
    with nogil:
        threshold = <unsigned long long>(rate * 9007199254740992.0)
        kept = <real>(1.0 / (1.0 - rate))
        for i in range(N):
            scale = <real>0.0 if (random_bits(key, ids[i]) >> 11) < threshold else kept
            for j in range(D):
                output[i, j] = inputs[i, j] * scale
