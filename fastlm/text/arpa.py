r"""ARPA files: n-gram models as text, which every toolkit for them reads and writes.

A file says ``\data\`` and how many n-grams of each order there are; then come sections, ``\1-grams:`` and so on, with a
line an n-gram: its log-probability to base 10, its words, and the weight that is taken with its continuations that are
not there, unless it is 1 (0 as a logarithm). At the end stands ``\end\``. What stands before ``\data\`` is a comment.
The logarithm of zero is written -99; whatever is not above that, "-inf" among it, is read as zero, as SRILM does.
"""

import logging
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import DataError
from fastlm.storage import Source, atomic_write_named, read_blocks
from fastlm.text.scan.arpa import format_ngrams, parse_ngrams
from fastlm.text.tokenizer import TokenizerChoice, make_tokenizer
from fastlm.text.vocabulary import Vocabulary
from fastlm.text.wordlist import find_fault

__all__ = ["NEVER", "ArpaReader", "NGrams", "write_arpa"]

logger = logging.getLogger(__name__)

NEVER = -99.0  # the log10 of zero, by custom: of what is never predicted, as <s>
OTHER_UNKNOWN = "<UNK>"  # what some programs write for <unk>
MAX_COUNT = 2**31 - 1
MAX_LINE = 1 << 20  # bytes
ROWS = 1 << 16  # n-grams that are read at a time
BREAKS = b"\0\t\n\r "  # between words, for some reader or other
MAX_NUMBER = float(np.finfo(np.float32).max)
NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
COUNT_LINE = re.compile(rb"ngram\s*(\d{1,3})\s*=\s*(\d{1,12})")


class NGrams(NamedTuple):
    """Some n-grams of one order.

    Attributes
    ----------
    ids : ndarray of int32, shape (R, N)
        Their words; V is the id of ``<s>``.
    log10_probs : ndarray of float32, shape (R,)
    log10_backoffs : ndarray of float32, shape (R,), or None
        None at the highest order. The logarithm of zero is -inf in both, but for the probability of ``<s>``.
    line : int
        The first one's line in the file; 0 if it does not come from one.
    """

    ids: NDArray[np.int32]
    log10_probs: NDArray[np.float32]
    log10_backoffs: NDArray[np.float32] | None
    line: int = 0


class ArpaReader:
    """Reads an ARPA file from front to back, in memory that does not grow with it.

    Parameters
    ----------
    path : str or path-like
        Plain, .gz, .xz or .zst.
    tokenizer : str, path-like, callable or Tokenizer, default "whitespace"
        How text is split into the file's words; it does not say.

    Attributes
    ----------
    name : str
        The file's name in errors.
    num_ngrams : list of int
        For each order.
    vocabulary : Vocabulary
        The file's words, in its order.
    unigrams : NGrams
        All words and ``<s>``, in the order of their ids.
    """

    def __init__(self, path: Source, tokenizer: TokenizerChoice = "whitespace") -> None:
        self.name = os.fspath(path)
        self._lines = _Lines(path)
        self.num_ngrams = self._read_counts()
        self.vocabulary, self.unigrams = self._read_unigrams(tokenizer)

    def sections(self) -> Iterator[Iterator[NGrams]]:
        """Yield for each order from 2 on its n-grams, some at a time; each order must be read to its end."""
        for order in range(2, len(self.num_ngrams) + 1):
            yield self._read_ngrams(order)
        self._skip_empty()
        if self._lines.here != b"\\end\\":
            self._fail(f"expected \\end\\ behind the {len(self.num_ngrams)}-grams, got {_shown(self._lines.here)}")
        self._lines.advance()
        self._skip_blank()
        if self._lines.here is not None:
            self._fail(f"expected nothing behind \\end\\, got {_shown(self._lines.here)}")

    def _fail(self, message: str, line: int | None = None) -> NoReturn:
        raise DataError(f"{self.name}, line {self._lines.number if line is None else line}: {message}")

    def _skip_blank(self) -> None:
        while self._lines.here == b"":
            self._lines.advance()

    def _read_counts(self) -> list[int]:
        while self._lines.here != b"\\data\\":
            if self._lines.here is None:
                raise DataError(f"{self.name}: no line \\data\\ in it; expected an ARPA file")
            self._lines.advance()
        self._lines.advance()
        counts: list[int] = []
        while (line := self._lines.here) is not None and not line.startswith(b"\\"):
            if line:
                found = COUNT_LINE.fullmatch(line)
                if not found or int(found[1]) != len(counts) + 1 or int(found[2]) > MAX_COUNT:
                    number = len(counts) + 1
                    self._fail(f"expected 'ngram {number}=' and a number up to {MAX_COUNT:,}, got {_shown(line)}")
                counts.append(int(found[2]))
            self._lines.advance()
        if not counts or counts[0] == 0:
            self._fail("expected 'ngram 1=' and a number above 0: a model has words")
        self._declared = len(counts)
        while counts[-1] == 0:
            counts.pop()
        if 0 in counts:
            order = len(counts) - counts[::-1].index(0)
            self._fail(f"no {order}-grams, but {order + 1}-grams; expected their contexts among them")
        return counts

    def _enter(self, order: int) -> None:
        """Read the line that a section begins with."""
        self._skip_blank()
        if self._lines.here != b"\\%d-grams:" % order:
            self._fail(f"expected \\{order}-grams:, got {_shown(self._lines.here)}")
        self._lines.advance()

    def _skip_empty(self) -> None:
        """Pass over sections of higher orders that have nothing in them."""
        self._skip_blank()
        for order in range(len(self.num_ngrams) + 1, self._declared + 1):
            if self._lines.here == b"\\%d-grams:" % order:
                self._enter(order)
                self._skip_blank()

    def _read_unigrams(self, tokenizer: TokenizerChoice) -> tuple[Vocabulary, NGrams]:
        chosen = make_tokenizer(tokenizer)
        weights: dict[str, tuple[float, float]] = {}
        self._enter(1)
        for _ in range(self.num_ngrams[0]):
            self._skip_blank()
            log10_prob, (word,), log10_backoff = self._parse(1)
            if word not in (Vocabulary.START, Vocabulary.END, Vocabulary.UNKNOWN):
                fault = find_fault(word, chosen)
                if fault:
                    self._fail(f"the word {word!r}: {fault}")
            if word in weights:
                self._fail(f"the word {word!r} is there twice; expected every word once")
            if log10_prob > 0 and word != Vocabulary.START:
                self._fail(f"the log-probability of {word!r} is {log10_prob:g}, expected 0 or less")
            if log10_backoff and len(self.num_ngrams) == 1:
                self._fail_at_backoff(self._lines.number)
            weights[word] = log10_prob, log10_backoff
            self._lines.advance()
        if Vocabulary.UNKNOWN not in weights and OTHER_UNKNOWN in weights:
            weights[Vocabulary.UNKNOWN] = weights.pop(OTHER_UNKNOWN)
        return self._sorted_unigrams(weights, tokenizer)

    def _sorted_unigrams(
        self, weights: dict[str, tuple[float, float]], tokenizer: TokenizerChoice
    ) -> tuple[Vocabulary, NGrams]:
        if Vocabulary.END not in weights:
            self._fail("no </s> among the 1-grams; expected it, because every sentence ends with it")
        if Vocabulary.UNKNOWN not in weights:
            logger.warning("%s: no <unk> among the 1-grams, so unknown words have no probability", self.name)
        _, start_backoff = weights.pop(Vocabulary.START, (NEVER, 0.0))
        specials = [weights.pop(word, (-math.inf, 0.0)) for word in (Vocabulary.UNKNOWN, Vocabulary.END)]
        vocabulary = Vocabulary(list(weights), tokenizer=tokenizer)
        table = np.array([*specials, *weights.values(), (NEVER, start_backoff)], dtype=np.float32)
        ids = np.arange(len(table), dtype=np.int32)[:, np.newaxis]
        log10_probs, log10_backoffs = _with_zeros(table[:, 0].copy()), _with_zeros(table[:, 1].copy())
        log10_probs[-1] = NEVER
        return vocabulary, NGrams(ids, log10_probs, log10_backoffs)

    def _parse(self, order: int) -> tuple[float, list[str], float]:
        """Read the n-gram in the line here, or say what is wrong with it."""
        line = self._lines.here
        if not line or line.startswith(b"\\"):
            count = self.num_ngrams[order - 1]
            self._fail(
                f"expected {count:,} {order}-grams, as \\data\\ says, but before so many there is {_shown(line)}"
            )
        fields = re.split(rb"[ \t]+", line)
        if not order + 1 <= len(fields) <= order + 2:
            self._fail(f"expected a number, {order} words and perhaps another number, got {_shown(line)}")
        numbers = [self._number(field) for field in (fields[0], *fields[order + 1 :])]
        try:
            words = [field.decode() for field in fields[1 : order + 1]]
        except UnicodeDecodeError as error:
            self._fail(f"expected words in UTF-8, got {_shown(line)} ({error})")
        return numbers[0], words, (numbers[1:] or [0.0])[0]

    def _number(self, field: bytes) -> float:
        if field.lower() == b"-inf":
            return -math.inf
        if not NUMBER.fullmatch(field) or abs(float(field)) > MAX_NUMBER:
            self._fail(f"expected a number, a logarithm to base 10, got {_shown(field)}")
        return float(field)

    def _read_ngrams(self, order: int) -> Iterator[NGrams]:
        self._enter(order)
        left = self.num_ngrams[order - 1]
        highest = order == len(self.num_ngrams)
        while left:
            rows = min(left, ROWS)
            ids = np.empty((rows, order), np.int32)
            log10_probs, log10_backoffs = np.empty(rows, np.float32), np.empty(rows, np.float32)
            line = self._lines.number
            if self._lines.here is None:
                self._parse(order)
            num_read, at = parse_ngrams(
                ids, log10_probs, log10_backoffs, self._lines.block, self._lines.at, self.vocabulary.table
            )
            if num_read == 0 and self._lines.here == b"":
                self._skip_blank()
                continue
            if num_read == 0:
                self._explain(order)
            if highest and log10_backoffs[:num_read].any():
                self._fail_at_backoff(line + int(np.flatnonzero(log10_backoffs[:num_read])[0]))
            self._lines.skip_to(at, num_read)
            left -= num_read
            backoffs = None if highest else _with_zeros(log10_backoffs[:num_read])
            yield NGrams(ids[:num_read], _with_zeros(log10_probs[:num_read]), backoffs, line)

    def _fail_at_backoff(self, line: int) -> NoReturn:
        order = len(self.num_ngrams)
        self._fail(f"a back-off weight at the highest order, {order}; expected none there", line)

    def _explain(self, order: int) -> NoReturn:
        """Say why the line here is no n-gram."""
        log10_prob, words, _ = self._parse(order)
        for word in words:
            named = word in (Vocabulary.UNKNOWN, OTHER_UNKNOWN, Vocabulary.START)
            if not named and self.vocabulary[word] == self.vocabulary.unknown_id:
                self._fail(f"the word {word!r} is not among the 1-grams")
        if log10_prob > 0:
            self._fail(f"the log-probability of {' '.join(words)!r} is {log10_prob:g}, expected 0 or less")
        self._fail(f"expected a {order}-gram, got {_shown(self._lines.here)}")


class _Lines:
    """A file's lines, one after the other, within blocks of whole lines that a compiled loop can read on in.

    Attributes
    ----------
    block : bytes
        Whole lines; the line here is in it.
    at : int
        Where it begins in the block.
    number : int
        Its number, from 1.
    here : bytes or None
        The line, without blanks at its ends; None behind the last one.
    """

    def __init__(self, path: Source) -> None:
        self.block = b""
        self.at = 0
        self.number = 1
        self._blocks = _whole_lines(path)
        self._look()

    def _look(self) -> None:
        while self.at == len(self.block):
            self.block, self.at = next(self._blocks, b""), 0
            if not self.block:
                self.here: bytes | None = None
                return
        self.here = self.block[self.at : self.block.index(b"\n", self.at)].strip(b" \t\r")

    def advance(self) -> None:
        """Go to the next line."""
        if self.here is not None:
            self.skip_to(self.block.index(b"\n", self.at) + 1, 1)

    def skip_to(self, at: int, num_lines: int) -> None:
        """Go to the line that begins at `at`, so many lines further."""
        self.at = at
        self.number += num_lines
        self._look()


def _whole_lines(path: Source) -> Iterator[bytes]:
    """Yield a file in blocks that end where lines end."""
    rest = b""
    number = 1
    for block in read_blocks(path):
        end = block.rfind(b"\n") + 1
        if end == 0:
            rest += block
        else:
            lines = rest + block[:end]
            number += lines.count(b"\n")
            rest = block[end:]
            yield lines
        if len(rest) > MAX_LINE:
            raise DataError(f"{os.fspath(path)}, line {number}: more than {MAX_LINE:,} bytes; expected an ARPA file")
    if rest:
        yield rest + b"\n"


def _with_zeros(logarithms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Make -inf in place of what stands for it, and return the array."""
    logarithms[logarithms <= NEVER] = -np.inf
    return logarithms


def _shown(line: bytes | None) -> str:
    """Return a line, or a part of it, as errors show it."""
    if line is None:
        return "the end of the file"
    text = line.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 80 else f"{text[:80]}…")


def write_arpa(
    path: Source, vocabulary: Vocabulary, num_ngrams: Sequence[int], sections: Iterable[Iterable[NGrams]]
) -> None:
    """Write an ARPA file, atomically.

    Parameters
    ----------
    path : str or path-like
        Compressed if it ends in .gz.
    vocabulary : Vocabulary
    num_ngrams : sequence of int
        For each order, 1 first.
    sections : iterable of iterables of NGrams
        For each order so many n-grams, some at a time.

    Raises
    ------
    DataError
        If a word has a blank or a line end in it, which the format has no way to write.
    FileError
        If the file cannot be written; an old one is then untouched.
    """
    arrays = vocabulary.to_arrays()
    data, ends = arrays["vocabulary.bytes"], arrays["vocabulary.ends"]
    breaks = np.flatnonzero(np.isin(data, np.frombuffer(BREAKS, np.uint8)))
    if len(breaks):
        word = vocabulary.word(int(np.searchsorted(ends, breaks[0], side="right")))
        raise DataError(
            f"cannot write {os.fspath(path)!r}: the word {word!r} has a blank in it; ARPA has no such words"
        )
    start = Vocabulary.START.encode()
    data = np.concatenate([data, np.frombuffer(start, np.uint8)])
    ends = np.append(ends, len(data))
    with atomic_write_named(path) as file:
        file.write(b"\\data\\\n")
        file.write(b"".join(b"ngram %d=%d\n" % each for each in enumerate(num_ngrams, start=1)))
        for order, section in enumerate(sections, start=1):
            file.write(b"\n\\%d-grams:\n" % order)
            for ngrams in section:
                log10_probs = np.maximum(ngrams.log10_probs, np.float32(NEVER))
                backoffs = ngrams.log10_backoffs
                log10_backoffs = None if backoffs is None else np.maximum(backoffs, np.float32(NEVER))
                file.write(format_ngrams(ngrams.ids, log10_probs, log10_backoffs, data, ends).data)
        file.write(b"\n\\end\\\n")
