"""Lookup table: rows gathered forward, a row-sparse gradient backward, or a dense one where there is one already."""

from libc.string cimport memcpy

from fastlm.kernels.matrix cimport real
from fastlm.kernels.vector cimport add_scaled


def embedding_forward(real[:, ::1] output, const int[::1] ids, const real[:, ::1] table):
    """Gather `output[i] = table[ids[i]]`.

    Parameters
    ----------
    output : (N, D), overwritten
    ids : (N,) int32 in [0, V)
    table : (V, D)
    """
    cdef Py_ssize_t N = ids.shape[0], D = table.shape[1], i
    if output.shape[0] != N or output.shape[1] != D:
        raise ValueError(
            f"output has shape ({output.shape[0]}, {output.shape[1]}), expected ({N}, {D}) from ids and table")
    if N == 0 or D == 0:
        return
    with nogil:
        for i in range(N):
            memcpy(&output[i, 0], &table[ids[i], 0], <size_t>D * sizeof(real))


def embedding_backward(
    int[::1] rows, real[:, ::1] drows, const real[:, ::1] doutput, const int[::1] ids, int[::1] slots
):
    """Sum the gradients of each row that was looked up; other rows have none.

    Parameters
    ----------
    rows : (N,) int32, overwritten
        The distinct ids, in the order of their first occurrence.
    drows : (N, D), overwritten
        `drows[k]` is the sum of `doutput[i]` over all i with `ids[i] == rows[k]`.
    doutput : (N, D)
    ids : (N,) int32 in [0, V)
    slots : (V,) int32, scratch
        All -1 before and after.

    Returns
    -------
    int
        How many entries of `rows` and `drows` are filled.
    """
    cdef Py_ssize_t N = ids.shape[0], D = doutput.shape[1], i
    cdef int count = 0, slot
    if doutput.shape[0] != N or rows.shape[0] < N or drows.shape[0] < N or drows.shape[1] != D:
        raise ValueError(
            f"rows ({rows.shape[0]},), drows ({drows.shape[0]}, {drows.shape[1]}) and doutput ({doutput.shape[0]}, "
            f"{D}) do not fit {N} ids")
    if N == 0 or D == 0:
        return 0
    with nogil:
        for i in range(N):
            slot = slots[ids[i]]
            if slot < 0:
                slot = count
                slots[ids[i]] = slot
                rows[slot] = ids[i]
                memcpy(&drows[slot, 0], &doutput[i, 0], <size_t>D * sizeof(real))
                count += 1
            else:
                add_scaled(&drows[slot, 0], <real>1.0, &doutput[i, 0], D)
        for i in range(count):
            slots[rows[i]] = -1
    return count


def add_rows(real[:, ::1] output, const int[::1] ids, const real[:, ::1] rows):
    """Add `rows[k]` to `output[ids[k]]`.

    Parameters
    ----------
    output : (N, D), added to
    ids : (R,) int32 in [0, N)
    rows : (R, D)
    """
    cdef Py_ssize_t R = ids.shape[0], D = output.shape[1], k
    if rows.shape[0] != R or rows.shape[1] != D:
        raise ValueError(
            f"rows ({rows.shape[0]}, {rows.shape[1]}) does not fit {R} ids and output ({output.shape[0]}, {D}): "
            f"expected ({R}, {D})")
    if R == 0 or D == 0:
        return
    with nogil:
        for k in range(R):
            add_scaled(&output[ids[k], 0], <real>1.0, &rows[k, 0], D)
