"""Several models on one text: the log-probabilities of each, token by token beside each other."""

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastlm.inference.interface import Model
from fastlm.text.corpus import Corpus

__all__ = ["joint_blocks"]

ROUND_TOKENS = 1 << 16  # that are looked at together; memory is proportional to them
NUM_STREAMS = 32  # sentences that are read side by side where nothing is carried from one to the next
SEARCH_TOKENS = 256  # to look back first for the beginning of a sentence

Block: TypeAlias = tuple[NDArray[np.int64], NDArray[np.floating[Any]]]


def joint_blocks(
    models: Sequence[Model], corpus: Corpus, *, num_streams: int = 1, workers: Any = None
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Score a corpus by several models at once, in pieces, so that memory does not grow with it.

    Each model reads the text once. Those that carry a state through it say in what order it is read, in `num_streams`
    streams; the others, which need no more than the words or the sentence before, follow.

    Parameters
    ----------
    models
        K models of one vocabulary.
    corpus
        Ids of that vocabulary.
    num_streams, workers
        As in `Model.token_log_probs`.

    Yields
    ------
    tuple
        Positions of N tokens in the corpus, rising, and their log-probabilities, (K, N); each token once.

    Examples
    --------
    >>> import fastlm
    >>> text = ["the cat sat on the mat", "the dog sat on the rug"]
    >>> vocabulary = fastlm.Vocabulary.build(text)
    >>> corpus = fastlm.Corpus.encode(text, vocabulary)
    >>> models = [fastlm.NGramLM(vocabulary, order=n, smoothing="none").fit(corpus) for n in (1, 2)]
    >>> [log_probs.shape for _, log_probs in joint_blocks(models, corpus)]
    [(2, 14)]
    """
    leading = [model for model in models if model.carries_state]
    blocks = _aligned([m.log_prob_blocks(corpus, num_streams=num_streams, workers=workers) for m in leading])
    for positions, columns in blocks if leading else _spans(corpus):
        columns_of_leading = iter(columns)
        joint = np.empty((len(models), len(positions)))
        for row, model in zip(joint, models, strict=True):
            row[:] = next(columns_of_leading) if model.carries_state else _follow(model, corpus, positions, workers)
        yield positions, joint


def _spans(corpus: Corpus) -> Iterator[tuple[NDArray[np.int64], list[NDArray[np.float64]]]]:
    """Go through a corpus from its beginning where no model carries a state."""
    for start in range(0, corpus.num_tokens, ROUND_TOKENS):
        yield np.arange(start, min(start + ROUND_TOKENS, corpus.num_tokens)), []


def _aligned(iterators: Sequence[Iterator[Block]]) -> Iterator[tuple[NDArray[np.int64], list[NDArray[Any]]]]:
    """Put pieces of several models together that go through a text in about the same order.

    What one of them has scored and another has not yet is kept.
    """
    pending: list[Block] = [(np.empty(0, np.int64), np.empty(0)) for _ in iterators]
    enough = ROUND_TOKENS
    while pending:
        pending = [_more(block, iterator, enough) for block, iterator in zip(pending, iterators, strict=True)]
        if not any(len(positions) for positions, _ in pending):
            return
        common = reduce(np.intersect1d, [positions for positions, _ in pending])
        if not len(common):
            enough *= 2
            continue
        enough = ROUND_TOKENS
        yield common, [values[np.searchsorted(positions, common)] for positions, values in pending]
        left = [~np.isin(positions, common, assume_unique=True) for positions, _ in pending]
        pending = [(positions[kept], values[kept]) for (positions, values), kept in zip(pending, left, strict=True)]


def _more(block: Block, iterator: Iterator[Block], enough: int) -> Block:
    """Add to a block what the iterator gives until it has enough tokens; positions are put in order."""
    blocks = [block]
    num_tokens = len(block[0])
    while num_tokens < enough:
        following = next(iterator, None)
        if following is None:
            break
        blocks.append(following)
        num_tokens += len(following[0])
    positions = np.concatenate([positions for positions, _ in blocks])
    order = np.argsort(positions, kind="stable")
    return positions[order], np.concatenate([values for _, values in blocks])[order]


def _follow(model: Model, corpus: Corpus, positions: NDArray[np.int64], workers: Any) -> NDArray[np.float64]:
    """Score the tokens at some positions by a model that carries no state: with the words before them, and no more."""
    ids, end_id = corpus.ids, corpus.vocabulary.end_id
    breaks = np.flatnonzero(np.diff(positions) > 1)
    pieces: list[NDArray[Any]] = []
    wanted: list[NDArray[np.int64]] = []
    length = 0
    for start, stop in _pairs(positions[[0, *(breaks + 1)]], positions[[*breaks, -1]] + 1):
        begin = _needed_from(model, corpus, start)
        wanted.append(np.arange(length + start - begin, length + stop - begin))
        pieces += [ids[begin:stop], np.array([end_id], ids.dtype)]  # the next piece is another sentence
        length += stop - begin + 1
    text = Corpus.from_ids(np.concatenate(pieces), corpus.vocabulary)
    num_streams = min(NUM_STREAMS, text.num_sentences) if model.context == "sentence" else 1
    return model.token_log_probs(text, num_streams=num_streams, workers=workers)[np.concatenate(wanted)]


def _pairs(starts: NDArray[np.int64], stops: NDArray[np.int64]) -> Iterable[tuple[int, int]]:
    return zip(starts.tolist(), stops.tolist(), strict=True)


def _needed_from(model: Model, corpus: Corpus, position: int) -> int:
    """Return where the text begins that a token's probability depends on, or a place before that."""
    if model.context_length is not None:
        return max(0, position - model.context_length)
    size = SEARCH_TOKENS
    while True:
        begin = max(0, position - size)
        ends = np.flatnonzero(corpus.ids[begin:position] == corpus.vocabulary.end_id)
        if len(ends) or begin == 0:
            return begin + int(ends[-1]) + 1 if len(ends) else 0
        size *= 2
