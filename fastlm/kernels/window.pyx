"""An affine layer over windows that slide along runs of word vectors, and weighted averages of the words before them.

A window of n words is a row of n D elements at a stride of D: the matrix products read it where it lies, so a word is
looked up once for all windows that it is in.
"""

from libc.string cimport memcpy, memset

from fastlm.kernels.matrix cimport PANEL_BYTES, check_panels, fill_panels, finish_panels, multiply, pack, real
from fastlm.kernels.vector cimport add_row_products, add_weighted_rows


def window_forward(
    real[:, :, ::1] output, const real[:, :, ::1] inputs, const real[:, :, ::1] weight, const real[::1] bias,
    Py_ssize_t size
):
    """Compute `output[b, t] = weight window + bias` for the last T windows of `size` rows of each run.

    Parameters
    ----------
    output : (B, T, H), overwritten
    inputs : (B, S, D)
        Runs; the window of `output[b, t]` is `inputs[b, S - T - size + 1 + t:][:size]`.
    weight : (ceil(H / W), size * D, W)
        weight (H, size * D), as `pack_transposed` packs it.
    bias : (H,)
    size : int
    """
    cdef Py_ssize_t B = output.shape[0], T = output.shape[1], H = output.shape[2], S = inputs.shape[1]
    cdef Py_ssize_t D = inputs.shape[2], first = S - T - size + 1, b, t
    check_runs(output, inputs, size)
    if bias.shape[0] != H:
        raise ValueError(f"bias has shape ({bias.shape[0]},), expected ({H},) for output of ({B}, {T}, {H})")
    if weight.shape[1] != size * D:
        raise ValueError(
            f"weight is of windows of {weight.shape[1]} elements, {size} words of {weight.shape[1] // size}, expected "
            f"{size * D} for inputs ({B}, {S}, {D}), words of {D}")
    check_panels(weight, size * D, H)
    if B == 0 or T == 0 or H == 0:
        return
    with nogil:
        for b in range(B):
            for t in range(T):
                memcpy(&output[b, t, 0], &bias[0], <size_t>H * sizeof(real))
        if D == 0:
            pass  # the bias is all
        elif T == 1:  # rows of one run would not fill a tile
            multiply(
                &output[0, 0, 0], H, &inputs[0, first, 0], S * D, 1, 0, &weight[0, 0, 0], size * D, B, H, size * D,
                True)
        else:
            for b in range(B):
                multiply(
                    &output[b, 0, 0], H, &inputs[b, first, 0], D, 1, 0, &weight[0, 0, 0], size * D, T, H, size * D,
                    True)


def window_backward(
    real[:, :, ::1] dinputs, const real[:, :, ::1] doutput, const real[:, :, ::1] weight, Py_ssize_t size
):
    """Gradient of the runs: each row is in up to `size` windows.

    Parameters
    ----------
    dinputs : (B, S, D), overwritten
        Zero before the first window.
    doutput : (B, T, H)
    weight : (size * ceil(D / W), H, W)
        weight (H, size * D), as `pack_words` packs it.
    size : int
    """
    cdef Py_ssize_t B = dinputs.shape[0], S = dinputs.shape[1], D = dinputs.shape[2], T = doutput.shape[1]
    cdef Py_ssize_t H = doutput.shape[2], first = S - T - size + 1, width = PANEL_BYTES // <Py_ssize_t>sizeof(real)
    cdef Py_ssize_t count = (D + width - 1) // width, b, k
    check_runs(doutput, dinputs, size)
    check_words(weight, H, D, size)
    if B == 0 or S == 0 or D == 0:
        return
    with nogil:
        memset(&dinputs[0, 0, 0], 0, <size_t>(B * S * D) * sizeof(real))
        if T > 0 and H > 0:
            for b in range(B):
                for k in range(size):
                    multiply(
                        &dinputs[b, first + k, 0], D, &doutput[b, 0, 0], H, 1, 0, &weight[k * count, 0, 0], H, T, D, H,
                        True)


def pack_words(real[:, :, ::1] panels, const real[:, ::1] weight, Py_ssize_t size):
    """Pack `weight` as right operand of `window_backward`, the columns of each word in panels of their own.

    Parameters
    ----------
    panels : (size * ceil(D / W), H, W), overwritten
    weight : (H, size * D)
    size : int
    """
    cdef Py_ssize_t H = weight.shape[0], D = weight.shape[1] // size if size > 0 else 0
    cdef Py_ssize_t width = PANEL_BYTES // <Py_ssize_t>sizeof(real), count = (D + width - 1) // width, k
    if size < 1 or D * size != weight.shape[1]:
        raise ValueError(
            f"weight has shape ({H}, {weight.shape[1]}), expected (H, {size} * D) for {size} words, as "
            f"({H}, {size * D})")
    check_words(panels, H, D, size)
    if H == 0 or D == 0:
        return
    with nogil:
        for k in range(size):
            pack(&panels[k * count, 0, 0], H, &weight[0, k * D], size * D, <const real*>NULL, H, D, H)


def pack_windows(real[:, :, ::1] panels, const real[:, :, ::1] inputs, Py_ssize_t size):
    """Pack the last T windows of each run as right operand of `linear_backward_weight`, which then has B * T rows.

    Parameters
    ----------
    panels : (ceil(size * D / W), B * T, W), overwritten
    inputs : (B, S, D)
    size : int
    """
    cdef Py_ssize_t B = inputs.shape[0], S = inputs.shape[1], D = inputs.shape[2], N = panels.shape[1]
    cdef Py_ssize_t width = PANEL_BYTES // <Py_ssize_t>sizeof(real), T = N // B if B > 0 else 0, first, b, k, columns
    if size < 1 or T * B != N or S < T + size - 1:
        raise ValueError(
            f"panels for {N} windows of {size} words do not fit inputs ({B}, {S}, {D}): expected {B} * T of them, as "
            f"{B * T}, with 1 <= size and T + size - 1 <= {S}")
    check_panels(panels, N, size * D)
    if N == 0 or D == 0:
        return
    first = S - T - size + 1
    with nogil:
        for k in range(panels.shape[0]):
            columns = min(width, size * D - k * width)
            for b in range(B):
                fill_panels(
                    &panels[k, b * T, 0], &inputs[b, first, 0] + k * width, D, <const real*>NULL, T, columns, T)
            finish_panels(&panels[k, 0, 0], N, columns)


def average_forward(
    real[:, :, ::1] output, const real[:, :, ::1] inputs, const real[:, ::1] weight, const int[::1] ends
):
    """Compute K weighted averages of the N rows from each place on, every dimension with weights of its own.

    Parameters
    ----------
    output : (B, T, K * D), overwritten
        `output[b, t]` is the K averages, one after the other: the sums of `weight[i] * inputs[b, t + i]` over the i
        from the end of one to that of the next.
    inputs : (B, S, D)
        S >= T + N - 1.
    weight : (N, D)
    ends : (K,) int32
        Where the rows of each average end among the N.
    """
    cdef Py_ssize_t B = output.shape[0], T = output.shape[1], K = ends.shape[0], D = inputs.shape[2], b, t, k
    cdef Py_ssize_t begin
    check_averages(output, inputs, weight, ends)
    if B == 0 or T == 0 or K == 0 or D == 0:
        return
    with nogil:
        memset(&output[0, 0, 0], 0, <size_t>(B * T * K * D) * sizeof(real))
        for b in range(B):
            for t in range(T):
                begin = 0
                for k in range(K):
                    if ends[k] > begin:
                        add_weighted_rows(
                            &output[b, t, k * D], &weight[begin, 0], &inputs[b, t + begin, 0], ends[k] - begin, D)
                    begin = ends[k]


def average_backward(
    real[:, :, ::1] dinputs, const real[:, :, ::1] doutput, const real[:, ::1] weight, const int[::1] ends
):
    """Gradient of the runs.

    Parameters
    ----------
    dinputs : (B, S, D), added to
    doutput : (B, T, K * D)
    weight, ends : (N, D), (K,) int32
    """
    cdef Py_ssize_t B = doutput.shape[0], T = doutput.shape[1], K = ends.shape[0], D = dinputs.shape[2], b, t, k
    cdef Py_ssize_t begin
    check_averages(doutput, dinputs, weight, ends)
    if B == 0 or T == 0 or K == 0 or D == 0:
        return
    with nogil:
        for b in range(B):
            for t in range(T):
                begin = 0
                for k in range(K):
                    if ends[k] > begin:
                        add_row_products(
                            &dinputs[b, t + begin, 0], &doutput[b, t, k * D], &weight[begin, 0], ends[k] - begin, D)
                    begin = ends[k]


def average_backward_weight(
    real[:, ::1] dweight, const real[:, :, ::1] doutput, const real[:, :, ::1] inputs, const int[::1] ends,
    Py_ssize_t start, Py_ssize_t stop, bint accumulate
):
    """Gradient of the weights, those from `start` to `stop`.

    Parameters
    ----------
    dweight : (N, D), added to if `accumulate`, else overwritten
    doutput : (B, T, K * D)
    inputs : (B, S, D)
    ends : (K,) int32
    start, stop : int
    accumulate : bool
    """
    cdef Py_ssize_t B = doutput.shape[0], T = doutput.shape[1], K = ends.shape[0], D = inputs.shape[2], b, t, k
    cdef Py_ssize_t begin, end
    check_averages(doutput, inputs, dweight, ends)
    if not 0 <= start <= stop <= dweight.shape[0]:
        raise ValueError(
            f"start is {start} and stop is {stop}, expected 0 <= start <= stop <= {dweight.shape[0]} rows")
    if start == stop or D == 0:
        return
    with nogil:
        if not accumulate:
            memset(&dweight[start, 0], 0, <size_t>((stop - start) * D) * sizeof(real))
        for b in range(B):
            for t in range(T):
                begin = start
                for k in range(K):
                    end = min(<Py_ssize_t>ends[k], stop)
                    if end > begin:
                        add_row_products(
                            &dweight[begin, 0], &doutput[b, t, k * D], &inputs[b, t + begin, 0], end - begin, D)
                        begin = end


cdef check_runs(const real[:, :, ::1] output, const real[:, :, ::1] inputs, Py_ssize_t size):
    cdef Py_ssize_t B = output.shape[0], T = output.shape[1], S = inputs.shape[1]
    if size < 1 or inputs.shape[0] != B or S < T + size - 1:
        raise ValueError(
            f"runs ({inputs.shape[0]}, {S}, {inputs.shape[2]}) and output ({B}, {T}, {output.shape[2]}) do not fit "
            f"windows of {size}: expected ({B}, S, D) and ({B}, T, H) with 1 <= size and T <= S - size + 1 = "
            f"{S - size + 1}")


cdef check_averages(
    const real[:, :, ::1] output, const real[:, :, ::1] inputs, const real[:, ::1] weight, const int[::1] ends
):
    cdef Py_ssize_t B = inputs.shape[0], S = inputs.shape[1], D = inputs.shape[2], N = weight.shape[0]
    cdef Py_ssize_t T = output.shape[1], K = ends.shape[0], k
    if (output.shape[0] != B or output.shape[2] != K * D or weight.shape[1] != D or S < T + N - 1):
        raise ValueError(
            f"output ({output.shape[0]}, {T}, {output.shape[2]}), inputs ({B}, {S}, {D}) and weight ({N}, "
            f"{weight.shape[1]}) do not fit {K} averages: expected ({B}, T, {K * D}), ({B}, S, {D}), (N, {D}) with "
            f"T <= S - N + 1 = {S - N + 1} and N <= S - T + 1 = {S - T + 1}, or {output.shape[2] // max(D, 1)} "
            f"averages")
    for k in range(K):
        if not (ends[k - 1] if k > 0 else 0) <= ends[k] <= N or (k == K - 1 and ends[k] != N):
            raise ValueError(f"ends are {list(ends)}, expected rising numbers of which the last is {N}")


cdef check_words(const real[:, :, ::1] panels, Py_ssize_t H, Py_ssize_t D, Py_ssize_t size):
    cdef Py_ssize_t width = PANEL_BYTES // <Py_ssize_t>sizeof(real), count = size * ((D + width - 1) // width)
    if panels.shape[0] != count or panels.shape[1] != H or panels.shape[2] != width:
        raise ValueError(
            f"the packed operand has shape ({panels.shape[0]}, {panels.shape[1]}, {panels.shape[2]}), expected "
            f"({count}, {H}, {width}): {size} words of {D} columns and {H} rows, as pack_words packs them")
