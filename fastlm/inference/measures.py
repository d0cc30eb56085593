"""What a model thinks of each token of a text, as arrays: surprisal, and entropy and rank in its distribution."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from typing import NamedTuple

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

__all__ = ["DISTRIBUTION", "TOKEN", "MeasuredTokens", "measure_batches", "measure_tokens"]

TOKEN = np.dtype([("line", np.int64), ("place", np.int32), ("id", np.int32), ("surprisal", np.float64)])
DISTRIBUTION = np.dtype([*TOKEN.descr, ("entropy", np.float64), ("rank", np.int32)])
MOST_ROWS = 128  # distributions that are made together
MOST_VALUES = 1 << 22  # in these


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
    lines = chain.from_iterable(TextReader(source, errors).line_blocks())
    batches = line_batches(model.vocabulary, lines, BATCH_TOKENS)
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
    num_before, state = 0, model.start()
    rows = max(1, min(MOST_ROWS, MOST_VALUES // len(model.vocabulary)))
    for batch in batches:
        states, state = _states_before(model, batch, state, documents)
        measured = _tokens(model, batch, num_before, DISTRIBUTION)
        table = measured.table
        parts = [slice(start, start + rows) for start in range(0, len(table), rows)]
        work = [(states[part], np.ascontiguousarray(table["id"][part])) for part in parts]
        for part, found in zip(parts, map_in_order(partial(_distributions, model), work, threads), strict=True):
            table["surprisal"][part], table["entropy"][part], table["rank"][part] = found
        check_no_nan(table["surprisal"])
        num_before += len(batch)
        yield measured


def _distributions(
    model: Model, work: tuple[list[State], NDArray[np.int32]]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]]:
    """Return surprisals, entropies and ranks of what follows some states."""
    states, ids = work
    log_probs = model.log_probs(states)
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


def _states_before(model: Model, batch: list[Line], state: State, documents: bool) -> tuple[list[State], State]:
    """Return the states before all tokens of some lines, and the state after them if the model reads on."""
    if model.context == "continuous":
        states = []
        for line in batch:
            if documents and not line.words:
                state = model.start()
            for id in line.ids.tolist():
                states.append(state)
                state = model.advance(state, id)
        return states, state
    by_line = [[state] for line in batch]
    for depth in range(max(len(line.ids) for line in batch) - 1):  # nothing goes on after </s>
        longer = [number for number, line in enumerate(batch) if depth < len(line.ids) - 1]
        words = np.array([batch[number].ids[depth] for number in longer], np.int32)
        for number, reached in zip(longer, model.advance([by_line[n][-1] for n in longer], words), strict=True):
            by_line[number].append(reached)
    return [one for states, line in zip(by_line, batch, strict=True) for one in states[: len(line.ids)]], state
