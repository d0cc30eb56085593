"""Queries of a frozen window model: what its hidden layer gets from a word at a place of the window is a stored row.

So a hidden state is a sum of N rows and an activation, and a score its product with one row of the output table. All of
it waits for memory: the rows of queries to come are fetched ahead. A row of int8 has a scale, and counts that many
times; float32 has none. N is the words of a window, and Q queries are answered in a call.
"""

from libc.stdint cimport int8_t

from fastlm.kernels.vector cimport gelu_rows, relu_rows, tanh_rows

ctypedef fused entry:
    float
    int8_t

cdef extern from "frozen.h" nogil:
    void fastlm_fetch_line(const void* address)
    void gather_f32(
        float* h, const float* bias, const float* rows, const float* scales, const int* window, Py_ssize_t N,
        Py_ssize_t H) noexcept
    void gather_i8(
        float* h, const float* bias, const int8_t* rows, const float* scales, const int* window, Py_ssize_t N,
        Py_ssize_t H) noexcept
    float product_f32(const float* h, const float* x, Py_ssize_t n) noexcept
    float product_i8(const float* h, const int8_t* x, Py_ssize_t n) noexcept

cdef enum:
    AHEAD = 6  # queries whose rows are on their way
    LINE = 64  # bytes of the cache

ACTIVATIONS = ("tanh", "relu", "gelu")  # by number


def frozen_hidden(
    float[:, ::1] hidden, const int[:, ::1] windows, const entry[:, :, ::1] rows, const float[:, ::1] scales,
    const float[::1] bias, int activation,
):
    """The hidden layer after each window.

    Parameters
    ----------
    hidden : (Q, H), overwritten
    windows : (Q, N) int32 below R
        Oldest word first.
    rows : (R, N, H) float32 or int8
        What each word adds at each place.
    scales : (R, N), or (0, 0) where rows are float32
    bias : (H,)
    activation : int
        Place in `ACTIVATIONS`.
    """
    cdef Py_ssize_t Q = windows.shape[0], N = rows.shape[1], H = rows.shape[2], i, k
    cdef const float* scale = NULL
    check_windows(Q, windows.shape[1], rows, scales, bias, activation)
    if hidden.shape[0] != Q or hidden.shape[1] != H:
        raise ValueError(f"hidden has shape ({hidden.shape[0]}, {hidden.shape[1]}), expected ({Q}, {H})")
    if Q == 0 or H == 0 or N == 0 or rows.shape[0] == 0:
        return
    if entry is int8_t:
        scale = &scales[0, 0]
    with nogil:
        for i in range(Q):
            if i + AHEAD < Q:
                for k in range(N):
                    fetch(&rows[windows[i + AHEAD, k], k, 0], H)
            gather(&hidden[i, 0], &bias[0], &rows[0, 0, 0], scale, &windows[i, 0], N, H)
            activate(&hidden[i, 0], H, activation)


def frozen_scores(
    float[::1] scores, const int[:, ::1] windows, const int[::1] targets, const entry[:, :, ::1] rows,
    const float[:, ::1] scales, const float[::1] bias, const entry[:, ::1] output, const float[::1] output_scales,
    const float[::1] output_bias, float[::1] scratch, int activation,
):
    """The score of each target after its window: its log-probability, if the model is self-normalised.

    Parameters
    ----------
    scores : (Q,), overwritten
    windows, rows, scales, bias, activation
        As in `frozen_hidden`.
    targets : (Q,) int32 below V
    output : (V, H) float32 or int8
    output_scales : (V,), or (0,) where output is float32
    output_bias : (V,)
    scratch : (H,)
    """
    cdef Py_ssize_t Q = windows.shape[0], N = rows.shape[1], H = rows.shape[2], V = output.shape[0], i, k
    cdef Py_ssize_t num_scales = 0
    cdef const float* scale = NULL
    cdef float score
    if entry is int8_t:
        num_scales = V
    check_windows(Q, windows.shape[1], rows, scales, bias, activation)
    if scores.shape[0] != Q or targets.shape[0] != Q or scratch.shape[0] != H:
        raise ValueError(
            f"scores ({scores.shape[0]},), targets ({targets.shape[0]},) and scratch ({scratch.shape[0]},) do not fit "
            f"{Q} windows and a hidden layer of {H}: expected ({Q},), ({Q},), ({H},)")
    if output.shape[1] != H or output_bias.shape[0] != V or output_scales.shape[0] != num_scales:
        raise ValueError(
            f"output ({V}, {output.shape[1]}), output_scales ({output_scales.shape[0]},) and output_bias "
            f"({output_bias.shape[0]},) do not fit: expected ({V}, {H}), ({num_scales},), ({V},)")
    if Q == 0 or H == 0 or N == 0 or rows.shape[0] == 0 or V == 0:
        return
    if entry is int8_t:
        scale = &scales[0, 0]
    with nogil:
        for i in range(Q):
            if i + AHEAD < Q:
                for k in range(N):
                    fetch(&rows[windows[i + AHEAD, k], k, 0], H)
                fetch(&output[targets[i + AHEAD], 0], H)
            gather(&scratch[0], &bias[0], &rows[0, 0, 0], scale, &windows[i, 0], N, H)
            activate(&scratch[0], H, activation)
            score = product(&scratch[0], &output[targets[i], 0], H)
            if entry is int8_t:
                score *= output_scales[targets[i]]
            scores[i] = score + output_bias[targets[i]]


cdef inline void fetch(const entry* row, Py_ssize_t H) noexcept nogil:
    """Have the cache lines of a row brought from memory."""
    cdef const char* at = <const char*>row
    cdef const char* end = at + H * <Py_ssize_t>sizeof(entry)
    while at < end:
        fastlm_fetch_line(at)
        at += LINE
    fastlm_fetch_line(end - 1)  # the row need not begin where a line does


cdef inline void gather(
    float* h, const float* bias, const entry* rows, const float* scales, const int* window, Py_ssize_t N, Py_ssize_t H
) noexcept nogil:
    if entry is float:
        gather_f32(h, bias, rows, scales, window, N, H)
    else:
        gather_i8(h, bias, rows, scales, window, N, H)


cdef inline float product(const float* h, const entry* x, Py_ssize_t n) noexcept nogil:
    if entry is float:
        return product_f32(h, x, n)
    else:
        return product_i8(h, x, n)


cdef inline void activate(float* h, Py_ssize_t H, int activation) noexcept nogil:
    if activation == 0:
        tanh_rows(h, H)
    elif activation == 1:
        relu_rows(h, h, H)
    else:
        gelu_rows(h, h, H)


cdef check_windows(
    Py_ssize_t Q, Py_ssize_t words, const entry[:, :, ::1] rows, const float[:, ::1] scales, const float[::1] bias,
    int activation,
):
    cdef Py_ssize_t R = rows.shape[0], N = rows.shape[1], H = rows.shape[2]
    cdef Py_ssize_t scaled = 0, places = 0
    if entry is int8_t:
        scaled, places = R, N
    if words != N or bias.shape[0] != H or scales.shape[0] != scaled or scales.shape[1] != places:
        raise ValueError(
            f"windows ({Q}, {words}), scales ({scales.shape[0]}, {scales.shape[1]}) and bias ({bias.shape[0]},) do not "
            f"fit rows ({R}, {N}, {H}): expected ({Q}, {N}), ({scaled}, {places}), ({H},)")
    if not 0 <= activation < 3:
        raise ValueError(f"activation is {activation}, expected 0 to 2, a place in {ACTIVATIONS}")
