"""N-gram models from ARPA files and back: lists of n-grams become levels of a trie."""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import DataError
from fastlm.kernels.ngram import Trie
from fastlm.kernels.ngram_counts import scramble_words
from fastlm.models.ngram_estimation import Float32Array, Level
from fastlm.text.arpa import ArpaReader, NGrams
from fastlm.text.vocabulary import Vocabulary

__all__ = ["read_levels", "sections"]

logger = logging.getLogger(__name__)

ROWS = 1 << 16  # n-grams that are written at a time


def read_levels(arpa: ArpaReader) -> tuple[list[Level], dict[str, Any]]:
    """Read the n-grams of an ARPA file into a trie.

    Returns
    -------
    levels : list of Level
    info : dict
        What was read, for the model file.
    """
    unigrams = arpa.unigrams
    highest = len(arpa.num_ngrams) == 1
    levels = [Level(None, unigrams.log10_probs, None if highest else unigrams.log10_backoffs, None)]
    left_out = 0
    for blocks in arpa.sections():
        builder = _LevelBuilder(arpa, levels)
        for block in blocks:
            left_out += builder.add(block)
        levels[-1], level = builder.finish()
        levels.append(level)
    if left_out:
        logger.warning(
            "%s: %d n-grams with <s> behind the first or </s> before the last word are left out; no sentence has them",
            arpa.name,
            left_out,
        )
    return levels, {"source": "ARPA", "num_ngrams": [len(level.log10_probs) for level in levels]}


class _LevelBuilder:
    """Takes n-grams of one order in any order, and puts them where their contexts go on.

    Parameters
    ----------
    arpa : ArpaReader
    levels : list of Level
        Those of the orders below; of the last one it is not known yet where it goes on.
    """

    def __init__(self, arpa: ArpaReader, levels: list[Level]) -> None:
        self._arpa = arpa
        self._contexts = levels[-1]
        self._order = len(levels) + 1
        end_id = arpa.vocabulary.end_id
        self._trie = Trie([*levels[:-1], levels[-1]._replace(log10_backoffs=None)], end_id)
        self._blocks: list[tuple[NDArray[Any], ...]] = []  # contexts, words, log10_probs, log10_backoffs

    def add(self, ngrams: NGrams) -> int:
        """Take some n-grams; return how many of them are of no use."""
        ids, vocabulary = ngrams.ids, self._arpa.vocabulary
        contexts = np.empty(len(ids), np.int32)
        self._trie.find(contexts, np.ascontiguousarray(ids[:, :-1]))
        useful = ~((ids[:, 1:] == vocabulary.start_id).any(axis=1) | (ids[:, :-1] == vocabulary.end_id).any(axis=1))
        missing = np.flatnonzero(useful & (contexts < 0))
        if len(missing):
            context = self._spelled(ids[missing[0], :-1])
            raise DataError(
                f"{self._arpa.name}, line {ngrams.line + missing[0]}: the context {context!r} of this "
                f"{self._order}-gram is not among the {self._order - 1}-grams; expected it there"
            )
        backoffs = np.empty(0, np.float32) if ngrams.log10_backoffs is None else ngrams.log10_backoffs[useful]
        self._blocks.append((contexts[useful], ids[useful, -1], ngrams.log10_probs[useful], backoffs))
        return int(np.count_nonzero(~useful))

    def finish(self) -> tuple[Level, Level]:
        """Return the level below, which now goes on, and the new one."""
        contexts, words, log10_probs, log10_backoffs = (
            np.concatenate(column) for column in zip(*self._blocks, strict=True)
        )
        keys = np.empty(len(words), np.uint32)
        scramble_words(keys, words)
        sort_keys = contexts.astype(np.uint64) << np.uint64(32) | keys
        order = np.argsort(sort_keys)
        twice = np.flatnonzero(np.diff(sort_keys[order]) == 0)
        if len(twice):
            self._fail_at_twin(int(contexts[order[twice[0]]]), int(words[order[twice[0]]]))
        starts = np.searchsorted(contexts[order], np.arange(len(self._contexts.log10_probs) + 1)).astype(np.int32)
        level = Level(words[order], log10_probs[order], log10_backoffs[order] if len(log10_backoffs) else None, None)
        return self._contexts._replace(first_children=starts), level

    def _fail_at_twin(self, context: int, word: int) -> None:
        ids = np.empty((1, self._order - 1), np.int32)
        self._trie.spell(ids, context)
        raise DataError(
            f"{self._arpa.name}: the {self._order}-gram {self._spelled([*ids[0], word])!r} is there twice; expected "
            "every n-gram once"
        )

    def _spelled(self, ids: Iterable[int]) -> str:
        return " ".join(self._arpa.vocabulary.word(int(id)) for id in ids)


def sections(trie: Trie, levels: list[Level], vocabulary: Vocabulary) -> tuple[list[int], Iterator[Iterator[NGrams]]]:
    """Return what an ARPA file says of a model: how many n-grams there are of each order, and the n-grams."""
    # A file without <unk> among its 1-grams says that unknown words have no probability; the others are always there.
    first = 0 if _says_of(levels, vocabulary.unknown_id) else 1
    num_ngrams = [len(level.log10_probs) for level in levels]
    num_ngrams[0] -= first

    def section(order: int, level: Level) -> Iterator[NGrams]:
        backoffs = _backoffs(level)
        for begin in range(first if order == 1 else 0, len(level.log10_probs), ROWS):
            rows = slice(begin, begin + ROWS)
            log10_probs = level.log10_probs[rows]
            ids = np.empty((len(log10_probs), order), np.int32)
            trie.spell(ids, begin)
            yield NGrams(ids, log10_probs, None if backoffs is None else backoffs[rows])

    return num_ngrams, (section(order, level) for order, level in enumerate(levels, start=1))


def _says_of(levels: list[Level], word: int) -> bool:
    """Whether a model says anything of a word: a probability, a back-off weight, or longer n-grams."""
    log10_probs, log10_backoffs, first_children = levels[0].log10_probs, _backoffs(levels[0]), levels[0].first_children
    return (
        bool(log10_probs[word] > -np.inf)
        or (log10_backoffs is not None and bool(log10_backoffs[word] != 0))
        or (first_children is not None and bool(first_children[word] < first_children[word + 1]))
        or any(level.words is not None and word in level.words for level in levels)
    )


def _backoffs(level: Level) -> Float32Array | None:
    """Return the back-off weights of an order; without smoothing nothing is left to words that were not seen."""
    if level.first_children is None or level.log10_backoffs is not None:
        return level.log10_backoffs
    return np.where(np.diff(level.first_children) > 0, -np.inf, 0.0).astype(np.float32)
