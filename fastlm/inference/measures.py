"""What a model thinks of each token of a text, as arrays: surprisal, and entropy and rank in its distribution."""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastlm.inference.evaluation import check_no_nan
from fastlm.inference.interface import Model, State
from fastlm.inference.lines import BATCH_TOKENS, Line, line_batches
from fastlm.inference.threads import map_in_order
from fastlm.inference.tokens import score_batches
from fastlm.nn.distributions import entropies_and_ranks
from fastlm.nn.parallel import Workers
from fastlm.text.source import TextReader, TextSource

__all__ = ["DISTRIBUTION", "TOKEN", "MeasuredTokens", "log_probs_along", "measure_batches", "measure_tokens"]

TOKEN = np.dtype([("line", np.int64), ("place", np.int32), ("id", np.int32), ("surprisal", np.float64)])
DISTRIBUTION = np.dtype([*TOKEN.descr, ("entropy", np.float64), ("rank", np.int32)])
MOST_ROWS = 128  # distributions that are made together
MOST_VALUES = 1 << 22  # in these


# What gives distributions, a part of the tokens that it gives them of, and the ids of these.
Work: TypeAlias = tuple[Callable[[slice], NDArray[np.floating[Any]]], slice, NDArray[np.int32]]


class MeasuredTokens(NamedTuple):
    """Tokens of a text.

    Attributes
    ----------
    words : list of str
        As they stand in the text, also those that are unknown; `</s>` at the ends of sentences.
    table : (N,) array of TOKEN or DISTRIBUTION
    """

    words: list[str]
    table: NDArray[np.void]


def measure_tokens(
    model: Model,
    source: TextSource,
    *,
    distribution: bool = True,
    errors: str = "strict",
    threads: int | None = None,
    documents: bool = False,
) -> NDArray[np.void]:
    """Measure every token of a text.

    Parameters
    ----------
    model
        Any language model.
    source
        A file, plain, .gz, .xz or .zst; "-" for standard input; or an iterable of lines.
    distribution
        Whether to look at the whole distribution that stands before each token. Without, only its surprisal is taken,
        which is quicker.
    errors
        What to do with a line that is not UTF-8: "strict", "replace" or "skip".
    threads
        That share the work, which does not change the result; None takes the cores that there are.
    documents
        Whether a line without a word ends a document: what follows is read from a fresh start.

    Returns
    -------
    structured array
        One record a token, `</s>` included, in the order of the text: `line`, from 1; `place` in it, from 0; `id`;
        `surprisal`, -log p of the token, in nats; and of the distribution its `entropy` in nats, and the token's
        `rank` in it, 1 if no word is likelier. Lines without words have none. A model of continuous context reads on
        from line to line, as in `score_lines`.

    Raises
    ------
    DataError
        If a line is not valid, or holds a literal `<s>` or `</s>`; the message names the line.

    Examples
    --------
    >>> import fastlm
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "sat", "on", "mat"])
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    >>> tokens = measure_tokens(model, ["the cat sat", "on the dog"])
    >>> tokens["line"].tolist(), tokens["id"].tolist()
    ([1, 1, 1, 1, 2, 2, 2, 2], [2, 3, 4, 1, 5, 2, 0, 1])
    >>> bool(abs(tokens["surprisal"][:4].sum() + model.score("the cat sat").log_prob) < 1e-5)
    True
    >>> bool((tokens["entropy"] <= np.log(len(vocabulary))).all()), bool((tokens["rank"] >= 1).all())
    (True, True)
    """
    batches = measure_batches(
        model, source, distribution=distribution, errors=errors, threads=threads, documents=documents
    )
    empty = np.empty(0, DISTRIBUTION if distribution else TOKEN)
    return np.concatenate([empty, *(batch.table for batch in batches)])


def measure_batches(
    model: Model,
    source: TextSource,
    *,
    distribution: bool = True,
    errors: str = "strict",
    threads: int | None = None,
    documents: bool = False,
) -> Iterator[MeasuredTokens]:
    """Yield what `measure_tokens` returns in pieces, with the words, so that memory does not grow with the text."""
    batches = line_batches(model.vocabulary, TextReader(source, errors).lines(), BATCH_TOKENS)
    if distribution:
        return _with_distributions(model, batches, threads, documents)
    return _without_distributions(model, batches, threads, documents)


def _without_distributions(
    model: Model, batches: Iterable[list[Line]], threads: int | None, documents: bool
) -> Iterator[MeasuredTokens]:
    num_before = 0
    for batch, log_probs in score_batches(model, batches, Workers(threads), documents=documents):
        check_no_nan(log_probs)
        measured = _tokens(model, batch, num_before, TOKEN)
        measured.table["surprisal"] = -log_probs
        num_before += len(batch)
        yield measured


def _with_distributions(
    model: Model, batches: Iterable[list[Line]], threads: int | None, documents: bool
) -> Iterator[MeasuredTokens]:
    num_before = 0
    with Workers(threads) as workers:
        reading = _Reading(model, documents, workers)
        for batch in batches:
            measured = _tokens(model, batch, num_before, DISTRIBUTION)
            begin = 0
            for found in map_in_order(_distributions, reading.work(batch), threads):
                part = measured.table[begin : begin + len(found[0])]
                part["surprisal"], part["entropy"], part["rank"] = found
                begin += len(part)
            check_no_nan(measured.table["surprisal"])
            num_before += len(batch)
            yield measured


class _Reading:
    """A model on its way through a text, batch after batch."""

    def __init__(self, model: Model, documents: bool, workers: Workers) -> None:
        self._model, self._documents, self._workers = model, documents, workers
        self._state = model.start()

    def work(self, batch: list[Line]) -> Iterator[Work]:
        """Read some lines, and yield their tokens in parts, with what gives the distributions of each."""
        rows = max(1, min(MOST_ROWS, MOST_VALUES // len(self._model.vocabulary)))
        for ends_document, lines in groupby(batch, key=lambda line: self._documents and line.ends_document):
            ids = np.concatenate([line.ids for line in lines])
            if ends_document:
                self._state = self._model.start()
            # What adapts makes its distributions while it reads, which is therefore done a part at a time.
            for piece in _cut(ids, rows if self._model.adapts else len(ids)):
                words = ids[piece]
                log_probs, self._state = self._model.log_probs_along(self._state, words, workers=self._workers)
                for part in _cut(words, rows):
                    yield log_probs, part, words[part]


def _cut(ids: NDArray[np.int32], size: int) -> list[slice]:
    """Return slices of ids, of that size but for the last."""
    return [slice(start, start + size) for start in range(0, len(ids), max(1, size))]


def _distributions(work: Work) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]]:
    """Return surprisals, entropies and ranks of a part."""
    log_probs_of, part, ids = work
    log_probs = log_probs_of(part)
    return -log_probs[np.arange(len(ids)), ids].astype(np.float64), *entropies_and_ranks(log_probs, ids)


def _tokens(model: Model, batch: list[Line], num_before: int, dtype: np.dtype[np.void]) -> MeasuredTokens:
    """Return the tokens of some lines, not measured yet."""
    sizes = [len(line.ids) for line in batch]
    table = np.zeros(sum(sizes), dtype)
    table["id"] = np.concatenate([line.ids for line in batch])
    table["line"] = np.repeat(np.arange(num_before + 1, num_before + 1 + len(batch)), sizes)
    table["place"] = np.concatenate([np.arange(size) for size in sizes])
    words = [word for line in batch if line.words for word in (*line.words, model.vocabulary.END)]
    return MeasuredTokens(words, table)


def log_probs_along(
    model: Model, state: State, ids: NDArray[np.int32]
) -> tuple[Callable[[slice], NDArray[np.floating[Any]]], State]:
    """Do by states, which all models have, what `Model.log_probs_along` says."""
    states, after = _states_along(model, state, ids)
    return lambda part: model.log_probs(states[part]), after


def _states_along(model: Model, state: State, ids: NDArray[np.int32]) -> tuple[list[State], State]:
    """Return the states before each of the ids that follow `state`, and the one after them."""
    if model.context == "continuous":
        before = []
        for id in ids.tolist():
            before.append(state)
            state = model.advance(state, id)
        return before, state
    sentences = [part for part in np.split(ids, np.flatnonzero(ids == model.vocabulary.end_id) + 1) if len(part)]
    start = model.start()
    by_sentence = [[start if number else state] for number in range(len(sentences))]
    for depth in range(max(map(len, sentences), default=0)):
        longer = [n for n, part in enumerate(sentences) if depth < len(part) and part[depth] != model.vocabulary.end_id]
        words = np.array([sentences[n][depth] for n in longer], np.int32)
        for number, reached in zip(longer, model.advance([by_sentence[n][-1] for n in longer], words), strict=True):
            by_sentence[number].append(reached)
    pairs = list(zip(by_sentence, sentences, strict=True))
    last, ended = (by_sentence[-1][-1], len(by_sentence[-1]) == len(sentences[-1])) if pairs else (state, False)
    return [one for states, part in pairs for one in states[: len(part)]], start if ended else last
