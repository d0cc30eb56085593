"""Look-up in the trie of an n-gram model: text scored, the distribution of the next word, contexts that matter.

A node of order n is an n-gram. The nodes of an order stand in the order of their contexts, the nodes of order n - 1,
and those of one context in the order of their scrambled last words; so the n-grams that go on from a context are a
range, `first_children[context]` to `first_children[context + 1]`, and a word in it is found by one guess (`find_word`).
Nodes of order 1 are the words themselves, `<s>` the last of them. Probabilities are those of back-off models::

    p(w | h) = 10 ** log10_prob(h w)                     if the n-gram h w is there
             = 10 ** log10_backoff(h) p(w | h')          if it is not; h' is h without its first word

where the weight is 1 if h is not there either. Without smoothing p(w | h) = 0 for an n-gram that is not there.

All arrays may lie in a mapped file whose bytes nobody has checked: whatever they hold, nothing outside of them is read.
"""

cimport cython
from libc.math cimport INFINITY, NAN
from libc.stdint cimport INT32_MAX, int32_t, uint16_t
from libc.string cimport memmove, memset

from fastlm.kernels.ngram cimport MAX_ORDER, Level, children, find_word, guess, scramble

cdef extern from *:
    """
    #if defined(_MSC_VER)
    #define fastlm_fetch(address) ((void) (address))
    #else
    #define fastlm_fetch(address) __builtin_prefetch(address)
    #endif
    """
    void fetch "fastlm_fetch" (const void *address) noexcept nogil

ctypedef fused id_t:
    uint16_t
    int32_t

cdef enum:
    CHUNK = 256     # words of a text that are looked up together: what one needs is fetched while others are looked at

cdef double LN10 = 2.302585092994045684

cdef struct Chunk:
    int length
    int available               # words that the next one can see at most: those since <s>, and <s>
    bint ended                  # does a sentence begin with the next word?
    int32_t[CHUNK] words
    int[CHUNK] orders           # of the longest n-gram that may end here
    Py_ssize_t[CHUNK] targets   # where the score goes; -1: nowhere
    int32_t[MAX_ORDER][CHUNK] nodes     # nodes[n - 1][i]: the n-gram that begins here; -1: it is not there


cdef inline void append(Chunk *chunk, int32_t word, Py_ssize_t target, int order) noexcept nogil:
    chunk.available = min(chunk.available + 1, order)
    chunk.words[chunk.length] = word
    chunk.orders[chunk.length] = chunk.available
    chunk.targets[chunk.length] = target
    chunk.length += 1


cdef void keep_last(Chunk *chunk, int count) noexcept nogil:
    """Keep the last words alone, as history of those to come."""
    cdef int first = max(0, chunk.length - count)
    chunk.length -= first
    memmove(chunk.words, &chunk.words[first], chunk.length * sizeof(int32_t))
    memmove(chunk.orders, &chunk.orders[first], chunk.length * sizeof(int))
    memset(chunk.targets, 0xFF, chunk.length * sizeof(Py_ssize_t))


cdef void look_up(Chunk *chunk, const Level *levels, int order) noexcept nogil:
    """Find all n-grams of the chunk: the words, then from each n-gram that is there one word further."""
    cdef int[CHUNK] active
    cdef Py_ssize_t[CHUNK] first, stop
    cdef int count = 0, kept, n, i, k
    cdef int32_t node
    for i in range(chunk.length):
        chunk.nodes[0][i] = -1
        if 0 <= chunk.words[i] < levels[0].size:
            chunk.nodes[0][i] = chunk.words[i]
            active[count] = i
            count += 1
    for n in range(1, order):
        memset(&chunk.nodes[n][0], 0xFF, chunk.length * sizeof(int32_t))
        for k in range(count):
            fetch(&levels[n - 1].first_children[chunk.nodes[n - 1][active[k]]])
        kept = 0
        for k in range(count):
            i = active[k]
            if i + n < chunk.length and children(
                    &levels[n - 1], &levels[n], chunk.nodes[n - 1][i], &first[kept], &stop[kept]):
                fetch(&levels[n].words[guess(scramble(chunk.words[i + n]), first[kept], stop[kept])])
                active[kept] = i
                kept += 1
        count = 0
        for k in range(kept):
            i = active[k]
            node = find_word(levels[n].words, first[k], stop[k], chunk.words[i + n])
            chunk.nodes[n][i] = node
            if node >= 0:
                fetch(&levels[n].log10_probs[node])
                if levels[n].log10_backoffs != NULL:
                    fetch(&levels[n].log10_backoffs[node])
                active[count] = i
                count += 1


cdef double log10_prob(const Chunk *chunk, const Level *levels, int i, bint smoothed) noexcept nogil:
    """Of the word at place i, after those before it."""
    cdef double total = 0.0
    cdef int n = chunk.orders[i]
    cdef int32_t node
    while True:
        node = chunk.nodes[n - 1][i - n + 1]
        if node >= 0:
            return total + levels[n - 1].log10_probs[node]
        if n == 1:
            return NAN  # the word's id is none of the vocabulary
        if not smoothed:
            return -INFINITY
        node = chunk.nodes[n - 2][i - n + 1]
        if node >= 0:
            total += levels[n - 2].log10_backoffs[node]
        n -= 1


@cython.final
cdef class Trie:
    """The n-grams of a model, for look-up; read-only, so any number of threads may use it at once.

    Parameters
    ----------
    levels : sequence of tuples
        For each order (words, log10_probs, log10_backoffs, first_children): int32, float32, float32 and int32, the last
        one longer by one than the others. `words` is None at order 1, whose n-grams are the ids 0 to V, V being that of
        `<s>`; `first_children` is None at the highest order, `log10_backoffs` there and without smoothing.
    end_id : int
        The id of `</s>`.
    """

    cdef readonly int order
    cdef readonly Py_ssize_t vocab_size
    cdef readonly bint smoothed
    cdef int end_id
    cdef Level[MAX_ORDER] levels
    cdef list arrays                # what these point into

    def __cinit__(self, levels, int end_id):
        self.order = len(levels)
        self.arrays = list(levels)
        self.end_id = end_id
        if not 1 <= self.order <= MAX_ORDER:
            raise ValueError(f"got levels of {self.order} orders, expected 1 to {MAX_ORDER}")
        check_sizes(levels)
        for n in range(self.order):
            fill_level(&self.levels[n], levels[n])
        self.vocab_size = self.levels[0].size - 1
        self.smoothed = self.order == 1 or self.levels[0].log10_backoffs != NULL

    def __reduce__(self):
        return Trie, (self.arrays, self.end_id)

    def score(self, double[::1] log_probs, const id_t[::1] ids, tuple context):
        """Score a text word by word.

        Parameters
        ----------
        log_probs : array of float64, shape (N,), overwritten
            Natural logarithms.
        ids : array of uint16 or int32, shape (N,)
            After each `</s>` the next word stands behind `<s>` alone.
        context : tuple of int
            The words before, at most order - 1.
        """
        cdef Py_ssize_t N = ids.shape[0], at = 0
        cdef Chunk chunk
        cdef int i, begin
        if log_probs.shape[0] != N:
            raise ValueError(f"log_probs has shape ({log_probs.shape[0]},), expected ({N},) as ids")
        begin_chunk(&chunk, context, self.order)
        with nogil:
            while at < N:
                begin = chunk.length
                while at < N and chunk.length + 1 < CHUNK:
                    if chunk.ended:
                        chunk.available = 0
                        append(&chunk, <int32_t> self.vocab_size, -1, self.order)
                    append(&chunk, ids[at], at, self.order)
                    chunk.ended = ids[at] == self.end_id
                    at += 1
                look_up(&chunk, self.levels, self.order)
                for i in range(begin, chunk.length):
                    if chunk.targets[i] >= 0:
                        log_probs[chunk.targets[i]] = LN10 * log10_prob(&chunk, self.levels, i, self.smoothed)
                keep_last(&chunk, self.order - 1)

    cdef int32_t find_node(self, const int32_t *ngram, int order) noexcept nogil:
        """The node of an n-gram; -1 if it is not there."""
        cdef int32_t node = ngram[0]
        cdef Py_ssize_t first, stop
        cdef int n
        if not 0 <= node < self.levels[0].size:
            return -1
        for n in range(1, order):
            if node < 0 or not children(&self.levels[n - 1], &self.levels[n], node, &first, &stop):
                return -1
            node = find_word(self.levels[n].words, first, stop, ngram[n])
        return node

    def find(self, int32_t[::1] nodes, const int32_t[:, ::1] ngrams):
        """Look n-grams up.

        Parameters
        ----------
        nodes : array of int32, shape (R,), overwritten
            The node of each; -1: it is not there.
        ngrams : array of int32, shape (R, N)
        """
        cdef Py_ssize_t R = ngrams.shape[0], r
        cdef int N = <int> ngrams.shape[1]
        if nodes.shape[0] != R or not 1 <= N <= self.order:
            raise ValueError(f"nodes ({nodes.shape[0]},) and ngrams ({R}, {ngrams.shape[1]}) do not fit: expected (R,) "
                             f"and (R, N), N from 1 to {self.order}")
        with nogil:
            for r in range(R):
                nodes[r] = self.find_node(&ngrams[r, 0], N)

    def spell(self, int32_t[:, ::1] ngrams, Py_ssize_t begin):
        """Write nodes of one order out as n-grams.

        Parameters
        ----------
        ngrams : array of int32, shape (R, N), overwritten
            The words of the R nodes from `begin` on.
        begin : int
        """
        cdef Py_ssize_t R = ngrams.shape[0], r
        cdef Py_ssize_t[MAX_ORDER] path     # the nodes of the n-gram's beginnings
        cdef int N = <int> ngrams.shape[1], n
        if not 1 <= N <= self.order or begin < 0 or begin + R > self.levels[N - 1].size:
            raise ValueError(f"no {N}-grams {begin} to {begin + R}, expected 0 to {self.levels[max(N, 1) - 1].size}, N "
                             f"from 1 to {self.order}")
        if R == 0:
            return
        with nogil:
            path[N - 1] = begin
            for n in range(N - 2, -1, -1):
                path[n] = find_parent(&self.levels[n], path[n + 1])
            for r in range(R):
                path[N - 1] = begin + r
                for n in range(N - 2, -1, -1):
                    while path[n] + 1 < self.levels[n].size and \
                            self.levels[n].first_children[path[n] + 1] <= path[n + 1]:
                        path[n] += 1
                ngrams[r, 0] = <int32_t> path[0]
                for n in range(1, N):
                    ngrams[r, n] = self.levels[n].words[path[n]]

    def context_length(self, tuple context):
        """How many of the last words matter to what follows; at most order - 1, and all of these without smoothing."""
        cdef int32_t[MAX_ORDER] ids
        cdef int length = copy_context(ids, context, self.order)
        cdef Py_ssize_t first, stop
        cdef int32_t node
        cdef int n
        if not self.smoothed:
            return length
        for n in range(length, 0, -1):
            node = self.find_node(&ids[length - n], n)
            if node >= 0 and (children(&self.levels[n - 1], &self.levels[n], node, &first, &stop)
                              or self.levels[n - 1].log10_backoffs[node] != 0.0):
                return n
        return 0

    def next_log_probs(self, double[::1] log_probs, tuple context):
        """The distribution of the next word.

        Parameters
        ----------
        log_probs : array of float64, shape (V,), overwritten
            Natural logarithms.
        context : tuple of int
            The words before; of more than order - 1 the last ones count.
        """
        cdef int32_t[MAX_ORDER] ids
        cdef int length = copy_context(ids, context, self.order), n
        cdef Py_ssize_t V = self.vocab_size, w
        cdef int32_t node
        if log_probs.shape[0] != V:
            raise ValueError(f"log_probs has shape ({log_probs.shape[0]},), expected ({V},), the vocabulary's size")
        with nogil:
            for w in range(V):
                log_probs[w] = self.levels[0].log10_probs[w] if self.smoothed or length == 0 else -INFINITY
            for n in range(1 if self.smoothed else max(1, length), length + 1):
                node = self.find_node(&ids[length - n], n)
                if node >= 0:
                    self.go_on_from(&log_probs[0], node, n)
            for w in range(V):
                log_probs[w] *= LN10

    cdef void go_on_from(self, double *log10_probs, int32_t node, int n) noexcept nogil:
        """Make the distribution after a shorter context that after the context `node`, which has n words."""
        cdef const Level *below = &self.levels[n]
        cdef Py_ssize_t first, stop, child, w
        cdef double backoff
        if self.smoothed:
            backoff = self.levels[n - 1].log10_backoffs[node]
            for w in range(self.vocab_size):
                log10_probs[w] += backoff
        if children(&self.levels[n - 1], below, node, &first, &stop):
            for child in range(first, stop):
                if 0 <= below.words[child] < self.vocab_size:
                    log10_probs[below.words[child]] = below.log10_probs[child]


cdef Py_ssize_t find_parent(const Level *parents, Py_ssize_t child) noexcept nogil:
    """The context from which a node goes on: the last one whose range begins at it or before."""
    cdef Py_ssize_t low = 0, high = parents.size, middle
    while high - low > 1:
        middle = (low + high) >> 1
        if parents.first_children[middle] <= child:
            low = middle
        else:
            high = middle
    return low


cdef int copy_context(int32_t *ids, tuple context, int order) except -1:
    """Take the last words of a context, order - 1 at most; how many are these?"""
    cdef int length = min(len(context), order - 1), k
    for k in range(length):
        ids[k] = context[len(context) - length + k]
    return length


cdef int begin_chunk(Chunk *chunk, tuple context, int order) except -1:
    cdef int32_t[MAX_ORDER] ids
    cdef int length = copy_context(ids, context, order), k
    chunk.length = chunk.available = 0
    chunk.ended = False
    for k in range(length):
        append(chunk, ids[k], -1, order)
    return 0


cdef int fill_level(Level *level, arrays) except -1:
    """Point to a level's arrays; the caller keeps them."""
    cdef const int32_t[::1] words, first_children
    cdef const float[::1] log10_probs, log10_backoffs
    words, log10_probs, log10_backoffs, first_children = arrays
    level.size = log10_probs.shape[0]
    level.words = &words[0] if level.size and words is not None else NULL
    level.log10_probs = &log10_probs[0] if level.size else NULL
    level.log10_backoffs = &log10_backoffs[0] if level.size and log10_backoffs is not None else NULL
    level.first_children = &first_children[0] if first_children is not None else NULL
    return 0


cdef int check_sizes(levels) except -1:
    """Raise ValueError unless the arrays of all orders fit each other: what keeps every look-up inside of them."""
    cdef int order = len(levels)
    smoothed = order == 1 or levels[0][2] is not None
    for n, (words, log10_probs, log10_backoffs, first_children) in enumerate(levels, start=1):
        size = len(log10_probs)
        expected = (
            None if n == 1 else size, size if smoothed and n < order else None, size + 1 if n < order else None
        )
        found = tuple(None if array is None else len(array) for array in (words, log10_backoffs, first_children))
        if found != expected:
            raise ValueError(f"words, log10_backoffs and first_children of the {n}-grams have lengths {found}, "
                             f"expected {expected} with {size} log10_probs")
        if first_children is not None and (first_children[0] != 0 or first_children[size] != len(levels[n][1])):
            raise ValueError(f"first_children of the {n}-grams go from {first_children[0]} to "
                             f"{first_children[size]}, expected 0 to {len(levels[n][1])}, all {n + 1}-grams")
    if len(levels[0][1]) < 3 or max(len(level[1]) for level in levels) > INT32_MAX:
        raise ValueError(f"got {[len(level[1]) for level in levels]} n-grams, expected at least 3 words (<unk>, </s> "
                         f"and <s>) and at most {INT32_MAX} of each order")
    return 0
