"""Compiled loops from ids to batches: sentences' ends, n-gram windows, chunks of parallel streams."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t

import numpy as np

ctypedef fused id_t:
    uint16_t
    int32_t


def sentence_ends(const id_t[::1] ids, int end_id):
    """Where sentences end.

    Parameters
    ----------
    ids : array of uint16 or int32
        Sentences, each closed by `end_id`; the last one may be open.
    end_id : int

    Returns
    -------
    ndarray of int64
        The index behind each sentence's last id.
    """
    cdef Py_ssize_t num_ids = ids.shape[0]
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t n
    with nogil:
        for n in range(num_ids):
            count += ids[n] == end_id
    if num_ids and ids[num_ids - 1] != end_id:
        count += 1
    ends = np.empty(count, dtype=np.int64)
    cdef int64_t[::1] out = ends
    count = 0
    with nogil:
        for n in range(num_ids):
            if ids[n] == end_id or n == num_ids - 1:
                out[count] = n + 1
                count += 1
    return ends


def sentence_begin(const id_t[::1] ids, Py_ssize_t at, int end_id):
    """Find the first place from `at` on where a sentence begins; the number of ids if there is none.

    Parameters
    ----------
    ids : array of uint16 or int32
        Sentences, each closed by `end_id`.
    at : int
        0 or more.
    end_id : int
    """
    cdef Py_ssize_t num_ids = ids.shape[0]
    if at < 0:
        raise ValueError(f"place {at}: expected 0 or more")
    if at > 0:
        with nogil:
            while at < num_ids and ids[at - 1] != end_id:
                at += 1
    return min(at, num_ids)


def ngram_windows(int32_t[:, ::1] out, const id_t[::1] ids, const int64_t[::1] positions, int start_id, int end_id,
                  bint sentence):
    """Copy the ids before given positions.

    Parameters
    ----------
    out : array of int32, shape (N, C)
        Written: out[n] = the C ids before ids[positions[n]], the nearest one last.
    ids : array of uint16 or int32
    positions : array of int64, shape (N,)
    start_id, end_id : int
        Ids of <s> and </s>.
    sentence : bool
        True: nothing before the sentence's first word is seen, <s> stands there. False: the text is one stream, and
        </s> stands before its begin.
    """
    cdef Py_ssize_t num_ids = ids.shape[0]
    cdef Py_ssize_t C = out.shape[1]
    cdef Py_ssize_t N = positions.shape[0]
    cdef Py_ssize_t n, k, at
    cdef Py_ssize_t bad = -1
    cdef int32_t padding = start_id if sentence else end_id
    cdef bint inside
    if out.shape[0] != N:
        raise ValueError(f"out has {out.shape[0]} rows, expected one for each of the {N} positions")
    with nogil:
        for n in range(N):
            at = positions[n]
            if at < 0 or at >= num_ids:
                bad = n
                break
            inside = True
            for k in range(C - 1, -1, -1):
                at -= 1
                inside = inside and at >= 0 and not (sentence and ids[at] == end_id)
                out[n, k] = ids[at] if inside else padding
    if bad >= 0:
        raise ValueError(f"positions[{bad}] is {positions[bad]}, expected 0 to {num_ids - 1}")


def fill_chunk(int32_t[:, ::1] inputs, int32_t[:, ::1] targets, uint8_t[:, ::1] resets, int64_t[:, ::1] positions,
               int64_t[::1] segments, int64_t[::1] places, const id_t[::1] ids, const int64_t[::1] starts,
               const int64_t[::1] stops, const int64_t[::1] stream_ends, int first_id, int end_id):
    """Read the next steps of every stream.

    Parameters
    ----------
    inputs, targets : array of int32, shape (T, B)
        Written: the id before each target, and the target; </s> and -1 where a stream is at its end.
    resets : array of uint8, shape (T, B)
        Written: 1 at a segment's first step.
    positions : array of int64, shape (T, B)
        Written: index of the target in `ids`, -1 where a stream is at its end.
    segments, places : array of int64, shape (B,)
        Moved on: the segment that each stream is in, and the index in `ids` of its next target.
    ids : array of uint16 or int32
    starts, stops : array of int64
        Segments of `ids`.
    stream_ends : array of int64, shape (B,)
        The segment behind each stream's last one.
    first_id : int
        Input of a segment's first step; -1: the id before it in `ids`, and </s> where there is none.
    end_id : int
    """
    cdef Py_ssize_t T = inputs.shape[0]
    cdef Py_ssize_t B = inputs.shape[1]
    cdef Py_ssize_t t, b, at, segment
    with nogil:
        for b in range(B):
            segment = segments[b]
            at = places[b]
            for t in range(T):
                if segment == stream_ends[b]:
                    inputs[t, b] = end_id
                    targets[t, b] = -1
                    resets[t, b] = 0
                    positions[t, b] = -1
                    continue
                resets[t, b] = at == starts[segment]
                if resets[t, b] and (first_id >= 0 or at == 0):
                    inputs[t, b] = first_id if first_id >= 0 else end_id
                else:
                    inputs[t, b] = ids[at - 1]
                targets[t, b] = ids[at]
                positions[t, b] = at
                at += 1
                if at == stops[segment]:
                    segment += 1
                    if segment < stream_ends[b]:
                        at = starts[segment]
            segments[b] = segment
            places[b] = at
