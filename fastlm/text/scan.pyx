"""The compiled scanner: UTF-8 bytes are checked, split into words, counted, and turned into ids.

A word is hashed once, eight bytes at a time, while its end is being looked for. Words are gathered in batches: the
slots of a whole batch are fetched into the cache before the first of them is read. No Python object is touched in
these loops, and nothing is kept between calls but what the objects below hold.
"""

cimport cython
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t, uint16_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy

import numpy as np

from fastlm.errors import DataError

cdef extern from *:
    """
    #if defined(_MSC_VER)
    #include <intrin.h>
    static int fastlm_trailing_zeros(unsigned long long bits) {
        unsigned long place;
        _BitScanForward64(&place, bits);
        return (int) place;
    }
    #define fastlm_prefetch(address) ((void) (address))
    #else
    #define fastlm_trailing_zeros(bits) __builtin_ctzll(bits)
    #define fastlm_prefetch(address) __builtin_prefetch(address)
    #endif
    """
    int trailing_zeros "fastlm_trailing_zeros" (uint64_t bits) noexcept nogil
    void prefetch "fastlm_prefetch" (const void *address) noexcept nogil

cdef enum:
    BATCH = 256         # tokens that are looked up together
    PIECE = 64          # bytes that are checked together
    UNKNOWN = 0         # the id of <unk>
    END = 1             # the id of </s>
    START = -1          # <s> in a table: never an id of the text
    RESERVED = 1        # what take() found: a literal <s> or </s>
    NO_MEMORY = 2       # … or not: room for one more word

cdef enum Kind:         # of a slot
    EMPTY = 0
    SHORT = 1           # a word of up to eight bytes: equal hashes are equal words
    LONG = 2

cdef struct Slot:
    uint64_t hash
    int32_t index       # of the word; 0, that is <unk>, in an empty slot
    int32_t kind

cdef struct Table:
    Slot *slots         # a power of two of them, at most half full
    size_t mask         # their number - 1
    int shift           # the hash's top bits choose the slot
    Py_ssize_t size     # words
    const uint8_t *data
    const int64_t *ends  # word n is data[ends[n - 1]:ends[n]]

cdef struct Token:
    uint64_t hash
    const uint8_t *start
    Py_ssize_t length   # 0: the end of a line


# ---- bytes --------------------------------------------------------------------------------------------------

cdef inline uint64_t load(const uint8_t *at, const uint8_t *end) noexcept nogil:
    """Up to eight bytes, the first one lowest on every machine; zeros stand for what is behind the end."""
    cdef uint64_t bits = 0
    cdef Py_ssize_t k
    if end - at >= 8:
        return (<uint64_t> at[0] | <uint64_t> at[1] << 8 | <uint64_t> at[2] << 16 | <uint64_t> at[3] << 24
                | <uint64_t> at[4] << 32 | <uint64_t> at[5] << 40 | <uint64_t> at[6] << 48 | <uint64_t> at[7] << 56)
    for k in range(end - at):
        bits |= <uint64_t> at[k] << (8 * k)
    return bits


cdef inline uint64_t controls(uint64_t bits) noexcept nogil:
    """The high bit of the first byte below 33 is the lowest bit set (Mycroft's test)."""
    return (bits - 0x2121212121212121ULL) & ~bits & 0x8080808080808080ULL


cdef inline uint64_t first_bytes(uint64_t bits, int count) noexcept nogil:
    """The first `count` (0 to 7) of eight bytes."""
    return bits & ((<uint64_t> 1 << (8 * count)) - 1)


cdef inline uint64_t mix(uint64_t bits) noexcept nogil:
    """Spread the bits; one to one, so that no two short words share a hash."""
    bits *= 0x9E3779B97F4A7C15ULL
    bits ^= bits >> 32
    return bits * 0xD6E8FEB86659FD93ULL


cdef inline uint64_t hash_bytes(const uint8_t *at, Py_ssize_t length) noexcept nogil:
    """The hash that split() finds for the same word."""
    cdef const uint8_t *end = at + length
    cdef uint64_t bits = load(at, end)
    at += 8
    while at < end:
        bits = mix(bits) ^ load(at, end)
        at += 8
    return mix(bits)


cdef inline bint is_blank(uint8_t byte) noexcept nogil:
    return byte == c" " or byte == c"\t" or byte == c"\n"


cdef Py_ssize_t split(Token *tokens, const uint8_t **position, const uint8_t *end,
                      Py_ssize_t *num_returns) noexcept nogil:
    """Fill a batch of tokens from `position` on, which moves behind them. The text ends with a blank."""
    cdef const uint8_t *start = position[0]
    cdef const uint8_t *at
    cdef uint64_t bits, found, word
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t length
    cdef int rest
    while start < end and count < BATCH:
        bits = load(start, end)
        found = controls(bits)
        if found:
            rest = trailing_zeros(found) >> 3
            word = first_bytes(bits, rest)
            at = start + rest
        else:
            word = bits
            at = start + 8
            while True:
                bits = load(at, end)
                found = controls(bits)
                if found:
                    break
                word = mix(word) ^ bits
                at += 8
            rest = trailing_zeros(found) >> 3
            if rest:
                word = mix(word) ^ first_bytes(bits, rest)
            at += rest
        length = at - start
        tokens[count].hash = mix(word)
        if not is_blank(at[0]):  # another control character, which is a part of the word
            while not is_blank(at[0]):
                at += 1
            length = at - start
            if at[0] == c"\n" and (at - 1)[0] == c"\r":
                length -= 1
                num_returns[0] += 1
            tokens[count].hash = hash_bytes(start, length)
        tokens[count].start = start
        tokens[count].length = length
        count += length > 0
        tokens[count].length = 0
        count += at[0] == c"\n"
        start = at + 1
    position[0] = start
    return count


cdef inline bint is_plain(const uint8_t *at) noexcept nogil:
    """Is the next piece ASCII without NUL?"""
    cdef uint8_t high = 0
    cdef uint8_t low = 255
    cdef int k
    for k in range(PIECE):
        high |= at[k]
        low = min(low, at[k])
    return high < 128 and low > 0


cdef inline Py_ssize_t character_length(const uint8_t *at, const uint8_t *end) noexcept nogil:
    """Bytes of the character at `at`; 0: not UTF-8 (The Unicode Standard, table 3-7), or NUL."""
    cdef uint8_t lead = at[0]
    cdef Py_ssize_t length, k
    if lead < 0x80:
        return lead > 0
    if lead < 0xC2 or lead > 0xF4:
        return 0
    length = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    if end - at < length:
        return 0
    for k in range(1, length):
        if at[k] & 0xC0 != 0x80:
            return 0
    if ((lead == 0xE0 and at[1] < 0xA0) or (lead == 0xED and at[1] > 0x9F)
            or (lead == 0xF0 and at[1] < 0x90) or (lead == 0xF4 and at[1] > 0x8F)):
        return 0
    return length


def check_text(const uint8_t[::1] text):
    """Find the first byte that is not UTF-8, or NUL.

    Parameters
    ----------
    text : bytes-like

    Returns
    -------
    num_valid : int
        Bytes before it; all of them if there is none.
    num_characters : int
        Characters in these bytes.
    """
    cdef Py_ssize_t num_characters = 0
    cdef Py_ssize_t length = 1
    cdef const uint8_t *start
    cdef const uint8_t *at
    cdef const uint8_t *end
    cdef const uint8_t *stop
    if text.shape[0] == 0:
        return 0, 0
    with nogil:
        at = start = &text[0]
        end = at + text.shape[0]
        while at < end and length > 0:
            if end - at >= PIECE and is_plain(at):
                at += PIECE
                num_characters += PIECE
                continue
            stop = min(at + PIECE, end)
            while at < stop:
                length = character_length(at, end)
                if length == 0:
                    break
                at += length
                num_characters += 1
    return at - start, num_characters


# ---- the table ----------------------------------------------------------------------------------------------

cdef inline Py_ssize_t word_start(const Table *table, Py_ssize_t index) noexcept nogil:
    return table.ends[index - 1] if index else 0


cdef inline Slot *locate(const Table *table, const Token *token) noexcept nogil:
    """The word's slot, or the empty one where it would stand."""
    cdef size_t place = token.hash >> table.shift
    cdef int32_t kind = SHORT if token.length <= 8 else LONG
    cdef Slot *slot
    cdef Py_ssize_t start
    while True:
        slot = &table.slots[place]
        if slot.kind == EMPTY:
            return slot
        if slot.hash == token.hash and slot.kind == kind:
            if kind == SHORT:
                return slot
            start = word_start(table, slot.index)
            if (table.ends[slot.index] - start == token.length
                    and memcmp(table.data + start, token.start, token.length) == 0):
                return slot
        place = (place + 1) & table.mask


cdef inline void occupy(Slot *slot, const Token *token, int32_t index) noexcept nogil:
    slot.hash = token.hash
    slot.index = index
    slot.kind = SHORT if token.length <= 8 else LONG


cdef bint make_slots(Table *table, Py_ssize_t num_words) noexcept nogil:
    """Empty slots for so many words, but for <s>, which every table knows; False without memory."""
    cdef size_t num_slots = 16
    cdef Token start
    table.shift = 60
    while num_slots < 2 * <size_t> num_words + 2:
        num_slots *= 2
        table.shift -= 1
    table.mask = num_slots - 1
    table.slots = <Slot *> calloc(num_slots, sizeof(Slot))
    if table.slots == NULL:
        return False
    start.start = <const uint8_t *> "<s>"
    start.length = 3
    start.hash = hash_bytes(start.start, start.length)
    occupy(locate(table, &start), &start, START)
    return True


cdef Py_ssize_t fill_slots(Table *table) noexcept nogil:
    """Enter all words; the first one that is there already, or -1."""
    cdef Py_ssize_t index
    cdef Token token
    cdef Slot *slot
    for index in range(table.size):
        token.start = table.data + word_start(table, index)
        token.length = table.ends[index] - word_start(table, index)
        token.hash = hash_bytes(token.start, token.length)
        slot = locate(table, &token)
        if slot.kind != EMPTY:
            return index
        occupy(slot, &token, <int32_t> index)
    return -1


cdef inline void as_token(Token *token, str word) except *:
    """A Python string's own UTF-8 bytes: valid as long as the string."""
    token.start = <const uint8_t *> PyUnicode_AsUTF8AndSize(word, &token.length)
    token.hash = hash_bytes(token.start, token.length)


@cython.final
cdef class WordTable:
    """Look words up by their bytes; read-only, so any number of threads may use it at once.

    Parameters
    ----------
    data : array of uint8
        The words' UTF-8 bytes, one word after the other: "<unk>" and "</s>" first, "<s>" not among them.
    ends : array of int64
        Where each word ends in `data`.

    Attributes
    ----------
    duplicate : int
        The number of the first word that stands there twice, counted at its second place; -1 if there is none.
    """

    cdef Table table
    cdef readonly Py_ssize_t duplicate
    cdef const uint8_t[::1] data
    cdef const int64_t[::1] ends

    def __cinit__(self, const uint8_t[::1] data, const int64_t[::1] ends):
        self.data = data
        self.ends = ends
        self.table.size = ends.shape[0]
        if self.table.size >= INT32_MAX:
            raise ValueError(f"a vocabulary holds less than {INT32_MAX} words, got {ends.shape[0]}")
        if self.table.size < 2:
            raise ValueError("the first two words are <unk> and </s>: expected them, got fewer words")
        self.table.data = &data[0]
        self.table.ends = &ends[0]
        with nogil:
            if make_slots(&self.table, self.table.size):
                self.duplicate = fill_slots(&self.table)
        if self.table.slots == NULL:
            raise MemoryError(f"no room for a table of {ends.shape[0]} words")

    def __dealloc__(self):
        free(self.table.slots)

    def __len__(self):
        return self.table.size

    def find(self, words):
        """Numbers of words.

        Parameters
        ----------
        words : list of str

        Returns
        -------
        ndarray of int32
            0 for a word that is not there, len(table) for "<s>".
        """
        cdef list wanted = words
        cdef Py_ssize_t k
        cdef Token token
        numbers = np.empty(len(wanted), dtype=np.int32)
        cdef int32_t[::1] out = numbers
        for k in range(len(wanted)):
            as_token(&token, wanted[k])
            out[k] = locate(&self.table, &token).index if token.length else UNKNOWN
            if out[k] == START:
                out[k] = <int32_t> self.table.size
        return numbers


# ---- one pass over a text -----------------------------------------------------------------------------------

cdef class Scanner:
    """One pass over a text, block by block; not for several threads at once.

    Parameters
    ----------
    name : str
        The text's name in errors.

    Attributes
    ----------
    num_lines, num_empty_lines, num_sentences, num_unknown : int
        So far. A sentence is a line with a word in it.
    num_returns : int
        Carriage returns that belonged to a line's end.
    """

    cdef readonly str name
    cdef readonly Py_ssize_t num_lines
    cdef readonly Py_ssize_t num_empty_lines
    cdef readonly Py_ssize_t num_sentences
    cdef readonly Py_ssize_t num_unknown
    cdef readonly Py_ssize_t num_returns
    cdef bint in_sentence

    def scan(self, const uint8_t[::1] text):
        """Take a block of checked text that ends with a space, a tab or a line feed; words are split there.

        Parameters
        ----------
        text : bytes-like

        Returns
        -------
        ndarray or None
            An encoder's ids.
        """
        cdef Token[BATCH + 1] tokens
        cdef const uint8_t *at
        cdef const uint8_t *end
        cdef Py_ssize_t count
        cdef int problem = 0
        if text.shape[0] == 0 or not is_blank(text[text.shape[0] - 1]):
            raise ValueError("expected a block of text that ends with a space, a tab or a line feed")
        self.begin(text.shape[0])
        with nogil:
            at = &text[0]
            end = at + text.shape[0]
            while at < end and problem == 0:
                count = split(tokens, &at, end, &self.num_returns)
                problem = self.take(tokens, count)
        self.check(problem)
        return self.result()

    def scan_tokens(self, lines):
        """Take lines that are split already.

        Parameters
        ----------
        lines : list of list of str
            A line without a token is empty.

        Returns
        -------
        ndarray or None
            An encoder's ids.
        """
        cdef Token[BATCH + 1] tokens
        cdef Py_ssize_t count = 0
        cdef list line
        self.begin(sum(map(len, lines)) + len(lines))
        for line in lines:
            for word in line:
                as_token(&tokens[count], word)
                if tokens[count].length == 0:
                    self.check(self.take(tokens, count))
                    raise DataError(f"{self.name}, line {self.num_lines + 1}: the tokenizer gave an empty token; "
                                    f"expected tokens of one character or more")
                count += 1
                if count == BATCH:
                    self.check(self.take(tokens, count))
                    count = 0
            tokens[count].length = 0
            count += 1
            if count >= BATCH:
                self.check(self.take(tokens, count))
                count = 0
        self.check(self.take(tokens, count))
        return self.result()

    cdef int end_line(self) noexcept nogil:
        """Count the line; was it a sentence?"""
        cdef bint was_sentence = self.in_sentence
        self.num_lines += 1
        self.num_sentences += was_sentence
        self.num_empty_lines += not was_sentence
        self.in_sentence = False
        return was_sentence

    cdef void begin(self, Py_ssize_t max_events) except *:
        """Make room for so many words and line ends."""

    cdef int take(self, const Token *tokens, Py_ssize_t count) noexcept nogil:
        """Use a batch of tokens; returns 0 or what is wrong."""
        return 0

    cdef object result(self):
        return None

    cdef int check(self, int problem) except -1:
        if problem == RESERVED:
            raise DataError(
                f"{self.name}, line {self.num_lines + 1}: the text holds a literal <s> or </s>; they stand for the "
                f"begin and the end of a sentence, which are marked by line ends: remove them from the text"
            )
        if problem == NO_MEMORY:
            raise MemoryError(f"{self.name}, line {self.num_lines + 1}: no room for another word")
        return 0


@cython.final
cdef class Encoder(Scanner):
    """Turn text into ids; a word that the table does not hold is 0, a sentence ends with 1.

    Parameters
    ----------
    name : str
        The text's name in errors.
    words : WordTable
    dtype : type
        What the ids are wanted as.
    """

    cdef WordTable words
    cdef object dtype
    cdef object buffer
    cdef int32_t[::1] ids
    cdef Py_ssize_t num_ids

    def __init__(self, str name, WordTable words not None, dtype):
        self.name = name
        self.words = words
        self.dtype = dtype
        self.buffer = np.empty(0, dtype=np.int32)
        self.ids = self.buffer

    cdef void begin(self, Py_ssize_t max_events) except *:
        self.num_ids = 0
        if max_events > self.ids.shape[0]:
            self.buffer = np.empty(max_events, dtype=np.int32)
            self.ids = self.buffer

    cdef object result(self):
        return self.buffer[:self.num_ids].astype(self.dtype)

    cdef int take(self, const Token *tokens, Py_ssize_t count) noexcept nogil:
        cdef const Table *table = &self.words.table
        cdef Py_ssize_t k
        cdef int32_t index
        for k in range(count):
            prefetch(&table.slots[tokens[k].hash >> table.shift])
        for k in range(count):
            if tokens[k].length == 0:
                if self.end_line():
                    self.ids[self.num_ids] = END
                    self.num_ids += 1
                continue
            index = locate(table, &tokens[k]).index
            if index == END or index == START:
                return RESERVED
            self.ids[self.num_ids] = index
            self.num_ids += 1
            self.num_unknown += index == UNKNOWN
            self.in_sentence = True
        return 0


@cython.final
cdef class Counter(Scanner):
    """Count the words of a text.

    Parameters
    ----------
    name : str
        The text's name in errors.
    """

    cdef Table table
    cdef uint8_t *data
    cdef int64_t *ends
    cdef int64_t *counts
    cdef Py_ssize_t data_room       # bytes
    cdef Py_ssize_t word_room       # words

    def __cinit__(self, str name):
        cdef Token token
        self.name = name
        self.data_room = 1 << 16
        self.word_room = 1 << 12
        self.data = <uint8_t *> malloc(self.data_room)
        self.ends = <int64_t *> malloc(self.word_room * sizeof(int64_t))
        self.counts = <int64_t *> malloc(self.word_room * sizeof(int64_t))
        if self.data == NULL or self.ends == NULL or self.counts == NULL or not make_slots(&self.table, self.word_room):
            raise MemoryError("no room to count words")
        for word in ("<unk>", "</s>"):
            as_token(&token, word)
            self.add(locate(&self.table, &token), &token)

    def __dealloc__(self):
        free(self.table.slots)
        free(self.data)
        free(self.ends)
        free(self.counts)

    def words(self):
        """Give what was counted.

        Returns
        -------
        data : ndarray of uint8
            Bytes of all words: "<unk>", "</s>", and the others in the order of their first occurrence.
        ends : ndarray of int64
            Where each word ends in `data`.
        counts : ndarray of int64
            How often each word occurred; "</s>" as often as there were sentences.
        """
        cdef Py_ssize_t size = self.table.size
        data = np.asarray(<uint8_t[:self.ends[size - 1]]> self.data).copy()
        ends = np.asarray(<int64_t[:size]> self.ends).copy()
        counts = np.asarray(<int64_t[:size]> self.counts).copy()
        return data, ends, counts

    cdef int take(self, const Token *tokens, Py_ssize_t count) noexcept nogil:
        cdef Py_ssize_t k
        cdef Slot *slot
        cdef int32_t index
        for k in range(count):
            prefetch(&self.table.slots[tokens[k].hash >> self.table.shift])
        for k in range(count):
            if tokens[k].length == 0:
                self.counts[END] += self.end_line()
                continue
            slot = locate(&self.table, &tokens[k])
            index = slot.index
            if slot.kind == EMPTY:
                index = self.add(slot, &tokens[k])
                if index < 0:
                    return NO_MEMORY
            elif index == END or index == START:
                return RESERVED
            self.counts[index] += 1
            self.num_unknown += index == UNKNOWN
            self.in_sentence = True
        return 0

    cdef int32_t add(self, Slot *slot, const Token *token) noexcept nogil:
        """Enter a new word at its slot; its index, or -1 without memory."""
        cdef Py_ssize_t index = self.table.size
        cdef int64_t begin = self.ends[index - 1] if index else 0
        if not self.make_room(begin + token.length):
            return -1
        memcpy(self.data + begin, token.start, token.length)
        self.ends[index] = begin + token.length
        self.counts[index] = 0
        self.table.data = self.data
        self.table.ends = self.ends
        self.table.size = index + 1
        occupy(slot, token, <int32_t> index)
        if 2 * <size_t> self.table.size > self.table.mask and not self.spread():
            return -1
        return <int32_t> index

    cdef bint make_room(self, Py_ssize_t num_bytes) noexcept nogil:
        """Let so many bytes and one word more fit; False without memory."""
        cdef void *room
        while num_bytes > self.data_room:
            room = realloc(self.data, 2 * self.data_room)
            if room == NULL:
                return False
            self.data = <uint8_t *> room
            self.data_room *= 2
        if self.table.size == self.word_room:
            if 2 * self.word_room >= INT32_MAX:
                return False
            room = realloc(self.ends, 2 * self.word_room * sizeof(int64_t))
            if room == NULL:
                return False
            self.ends = <int64_t *> room
            room = realloc(self.counts, 2 * self.word_room * sizeof(int64_t))
            if room == NULL:
                return False
            self.counts = <int64_t *> room
            self.word_room *= 2
        return True

    cdef bint spread(self) noexcept nogil:
        """Give the words twice as many slots; False without memory."""
        cdef Slot *old = self.table.slots
        if not make_slots(&self.table, 2 * self.table.size):
            self.table.slots = old
            return False
        free(old)
        fill_slots(&self.table)
        return True


# ---- from ids to batches ------------------------------------------------------------------------------------

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
