"""Counting: all n-grams of a text, order by order, by sorting places of the text; see `fastlm.kernels.ngram` for nodes.

The n-grams of order n + 1 are those of order n with a word more. So the places of the text where n-grams begin are
sorted by their node of order n and the word behind it, in two steps of counting sort: the places are taken in the order
of these words, which is known from order 1, and dealt out to the nodes. No n-gram is ever compared with another, and
memory is that of four numbers a word, whatever the order, beside the n-grams themselves.
"""

from libc.stdint cimport int32_t, uint16_t, uint32_t
from libc.string cimport memset

from fastlm.kernels.ngram cimport scramble

ctypedef fused id_t:
    uint16_t
    int32_t


def scramble_words(uint32_t[::1] keys, const int32_t[::1] words):
    """Write by what the words of a context are sorted.

    Parameters
    ----------
    keys : array of uint32, shape (N,), overwritten
    words : array of int32, shape (N,)
    """
    cdef Py_ssize_t N = words.shape[0], i
    if keys.shape[0] != N:
        raise ValueError(f"keys has shape ({keys.shape[0]},), expected ({N},) as words")
    with nogil:
        for i in range(N):
            keys[i] = scramble(words[i])


def open_sentences(int32_t[::1] text, const id_t[::1] ids, int start_id, int end_id):
    """Copy a text with `<s>` in front of each sentence.

    Parameters
    ----------
    text : array of int32, shape (T,), overwritten
        T: the number of ids and sentences.
    ids : array of uint16 or int32
    start_id, end_id : int
    """
    cdef Py_ssize_t num_ids = ids.shape[0], T = text.shape[0], i, place = 0
    cdef bint begins = True
    with nogil:
        for i in range(num_ids):
            if place + begins >= T:
                break
            if begins:
                text[place] = start_id
                place += 1
            text[place] = ids[i]
            place += 1
            begins = ids[i] == end_id
        else:
            i = num_ids
    if i < num_ids or place != T:
        raise ValueError(f"text has shape ({T},), expected the number of ids ({num_ids}) and of sentences together")


def sort_places(int32_t[::1] places, int32_t[::1] cursors, const int32_t[::1] text, const int32_t[::1] words,
                int start_id):
    """Sort the places of a text by the word there.

    Parameters
    ----------
    places : array of int32, shape (R,), overwritten
        All places but those of `<s>`: in the order of `words`, equal words in that of the text.
    cursors : array of int32, shape (V + 1,), scratch
    text : array of int32, shape (T,)
    words : array of int32, shape (V + 1,)
        All words and `<s>`, in the order wanted.
    start_id : int
    """
    cdef Py_ssize_t R = places.shape[0], T = text.shape[0], V = words.shape[0] - 1, t, v
    cdef int32_t total = 0, count
    if cursors.shape[0] != V + 1:
        raise ValueError(f"cursors has shape ({cursors.shape[0]},), expected ({V + 1},) as words")
    with nogil:
        memset(&cursors[0], 0, (V + 1) * sizeof(int32_t))
        for t in range(T):
            cursors[text[t]] += 1
        cursors[start_id] = 0
        for v in range(V + 1):
            count = cursors[words[v]]
            cursors[words[v]] = total
            total += count
    if total != R:
        raise ValueError(f"places has shape ({R},), expected ({total},), the words of the text without <s>")
    with nogil:
        for t in range(T):
            if text[t] != start_id:
                places[cursors[text[t]]] = <int32_t> t
                cursors[text[t]] += 1


def sort_ngrams(int32_t[::1] places, int32_t[::1] first_children, const int32_t[::1] nodes, const int32_t[::1] text,
                const int32_t[::1] by_word, int order, int start_id):
    """Sort the places where n-grams begin by the n-gram and the word behind it.

    Parameters
    ----------
    places : array of int32, shape (R,), overwritten
        The places, n-gram by n-gram; for the first of those with the same word behind it -1 - place.
    first_children : array of int32, shape (M + 1,), overwritten
        For each of the M n-grams the number of different n-grams of the next order before those that go on from it.
    nodes : array of int32, shape (T,)
        The n-gram that begins at each place; -1: none, the sentence ends before.
    text : array of int32, shape (T,)
    by_word : array of int32, shape (R,)
        The places of the words, sorted.
    order : int
        n.
    start_id : int

    Returns
    -------
    num_places, num_ngrams : int
        How much of `places` is filled, and how many different n-grams of the next order there are.
    """
    cdef Py_ssize_t T = text.shape[0], R = by_word.shape[0], M = first_children.shape[0] - 1, t, r, m, begin, stop
    cdef int32_t node, total = 0, count, word
    if nodes.shape[0] != T or places.shape[0] != R:
        raise ValueError(f"places ({places.shape[0]},) and nodes ({nodes.shape[0]},) do not fit: expected ({R},) as "
                         f"by_word and ({T},) as text")
    with nogil:
        memset(&first_children[0], 0, (M + 1) * sizeof(int32_t))
        for t in range(T - order):
            if nodes[t] >= 0 and text[t + order] != start_id:
                first_children[nodes[t]] += 1
        for m in range(M):
            count = first_children[m]
            first_children[m] = total
            total += count
        for r in range(R):
            t = by_word[r] - order
            if t >= 0 and nodes[t] >= 0:
                node = nodes[t]
                places[first_children[node]] = <int32_t> t
                first_children[node] += 1
        # Each entry has moved to the end of its own places, the beginning of the next one's.
        begin = count = 0
        for m in range(M):
            stop = first_children[m]
            first_children[m] = count
            word = -1
            for r in range(begin, stop):
                t = places[r]
                if text[t + order] != word:
                    word = text[t + order]
                    places[r] = <int32_t> (-1 - t)
                    count += 1
            begin = stop
        first_children[M] = count
    return total, count


def gather_ngrams(int32_t[::1] words, int32_t[::1] suffixes, int32_t[::1] counts, const int32_t[::1] places,
                  const int32_t[::1] nodes, const int32_t[::1] text, int order):
    """Read the n-grams of the next order off the sorted places.

    Parameters
    ----------
    words, suffixes, counts : arrays of int32, shape (M,), overwritten
        Of each the last word, the n-gram that is left without the first one, and how often it occurs.
    places : array of int32, shape (R,)
        As `sort_ngrams` leaves it.
    nodes, text : arrays of int32, shape (T,)
    order : int
        n; the n-grams have a word more.
    """
    cdef Py_ssize_t R = places.shape[0], M = words.shape[0], r, t, m = -1
    if suffixes.shape[0] != M or counts.shape[0] != M:
        raise ValueError(f"suffixes ({suffixes.shape[0]},) and counts ({counts.shape[0]},) do not fit, expected ({M},) "
                         f"as words")
    with nogil:
        for r in range(R):
            if places[r] >= 0:
                counts[m] += 1
                continue
            m += 1
            if m == M:
                break
            t = -1 - places[r]
            words[m] = text[t + order]
            suffixes[m] = nodes[t + 1]
            counts[m] = 1
    if m != M - 1:
        raise ValueError(f"words has shape ({M},), expected the number of n-grams that sort_ngrams has found")


def number_ngrams(int32_t[::1] nodes, const int32_t[::1] places):
    """Say which n-gram of the next order begins at each place.

    Parameters
    ----------
    nodes : array of int32, shape (T,), overwritten
    places : array of int32, shape (R,)
        As `sort_ngrams` leaves it.
    """
    cdef Py_ssize_t R = places.shape[0], T = nodes.shape[0], r
    cdef int32_t m = -1
    with nogil:
        memset(&nodes[0], 0xFF, T * sizeof(int32_t))
        for r in range(R):
            if places[r] < 0:
                m += 1
            nodes[places[r] if places[r] >= 0 else -1 - places[r]] = m
