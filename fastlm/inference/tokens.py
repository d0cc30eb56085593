"""Log-probabilities token by token: of one sentence, or of many lines in a stream."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlm.inference.arguments import whole_number
from fastlm.inference.evaluation import check_no_nan, perplexity
from fastlm.inference.interface import Model, State
from fastlm.inference.lines import BATCH_TOKENS, Line, line_batches, read_line
from fastlm.inference.rescoring import score_sentences
from fastlm.inference.threads import map_in_order
from fastlm.nn.parallel import Workers
from fastlm.text.corpus import Corpus, encoded_blocks
from fastlm.text.source import TextSource
from fastlm.text.vocabulary import Vocabulary

__all__ = ["Score", "TokenScore", "line_perplexities", "score", "score_batches", "score_lines", "text_log_probs"]

NUM_STREAMS = 32  # sentences of one batch that are read side by side


class TokenScore(NamedTuple):
    """A token of a text and what a model thinks of it.

    Attributes
    ----------
    word : str
        The token as it stands in the text, also if it is unknown; `</s>` at the end.
    log_prob : float
        Its natural log-probability after all tokens before it; that of `<unk>` if it is unknown.
    unknown : bool
        Whether it is outside of the model's vocabulary.
    """

    word: str
    log_prob: float
    unknown: bool


@dataclass(frozen=True)
class Score:
    """The log-probability of a line of text, in all and token by token.

    Attributes
    ----------
    text : str
        The line, without its line end.
    tokens : tuple of TokenScore
        Every word and the closing `</s>`. A line without a word is no sentence and has no tokens.
    """

    text: str
    tokens: tuple[TokenScore, ...]

    @property
    def log_prob(self) -> float:
        """The natural log-probability of the sentence, `</s>` included; 0 for a line without words."""
        return math.fsum(token.log_prob for token in self.tokens)

    @property
    def num_tokens(self) -> int:
        """The number of tokens, `</s>` included."""
        return len(self.tokens)

    @property
    def num_unknown(self) -> int:
        """The number of words outside of the vocabulary."""
        return sum(token.unknown for token in self.tokens)

    @property
    def perplexity(self) -> float:
        """The perplexity of the sentence, `</s>` and unknown words included; NaN for a line without words."""
        return perplexity(-self.log_prob / len(self.tokens)) if self.tokens else math.nan


def score(model: Model, text: str) -> Score:
    """Score one line of text as a sentence at a fresh start.

    Parameters
    ----------
    model
        Any language model.
    text
        One line; the model's own tokenizer splits it.

    Returns
    -------
    Score
        `.log_prob` of the whole, and `.tokens`, each with its word and log-probability.

    Raises
    ------
    ValueError
        If the text has several lines.
    DataError
        If the text holds a literal `<s>` or `</s>`.

    Notes
    -----
    Every call starts afresh: with `<s>` in sentence context, as after a `</s>` in continuous context, whatever
    was scored before. `score_lines` reads on from line to line instead where the model does.

    Examples
    --------
    >>> import fastlm
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "sat", "on", "mat"])
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    >>> result = score(model, "the cat sat")
    >>> [token.word for token in result.tokens], result.log_prob < 0
    (['the', 'cat', 'sat', '</s>'], True)
    """
    line = read_line(model.vocabulary, text)
    if not line.words:
        return Score(line.text, ())
    return _line_score(line, model.token_log_probs(Corpus.from_ids(line.ids, model.vocabulary)), model.vocabulary)


def score_lines(
    model: Model,
    lines: Iterable[str],
    *,
    batch_tokens: int = BATCH_TOKENS,
    threads: int | None = 1,
    documents: bool = False,
) -> Iterator[Score]:
    """Score the lines of a text, one `Score` a line, as a stream.

    Lines are put together into batches of about `batch_tokens` tokens, so that short ones are fast too; memory does
    not grow with the text.

    Parameters
    ----------
    model
        Any language model.
    lines
        Lines of text, with or without their line ends: a list, a generator, an open file.
    batch_tokens
        Scores are given out whenever so many tokens have come together; 1 answers every line at once.
    threads
        That share the work of a batch, which does not change the result; None takes the cores that there are.
    documents
        Whether a line without a word ends a document: what follows is read from a fresh start.

    Yields
    ------
    Score
        One for each line, in order; a line without a word gets one without tokens.

    Raises
    ------
    ValueError
        If an item has several lines, or `batch_tokens` is no positive number.
    DataError
        If a line holds a literal `<s>` or `</s>`; the message names the line.

    Notes
    -----
    In sentence context every line is scored by itself, as `score` does. In continuous context the lines are one
    text: each is scored after the ones before it, from a fresh start at the first, which gives the figures of
    `evaluate` with one stream. To score unrelated lines with such a model, call `score` for each.

    Examples
    --------
    >>> import fastlm
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "sat", "on", "mat"])
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    >>> for line in score_lines(model, ["the cat sat", "on the dog"]):
    ...     print(line.text, line.num_tokens, line.num_unknown)
    the cat sat 4 0
    on the dog 4 1
    """
    batch_tokens = whole_number("batch_tokens", batch_tokens, minimum=1)
    return _scores(model, line_batches(model.vocabulary, lines, batch_tokens), Workers(threads), documents)


def text_log_probs(
    model: Model, source: TextSource, *, errors: str = "strict", threads: int | None = 1
) -> Iterator[NDArray[np.float64]]:
    """Yield the log-probabilities of all tokens of a text, in its order: the quickest way from text to scores.

    A block of a quarter of a megabyte is read, split and turned into ids, and then scored, all of it compiled where
    the tokenizer is "whitespace" and the model an NGramLM or a FrozenNNLM. Nothing grows with the text.

    Parameters
    ----------
    model
        Any language model.
    source
        A file, plain, .gz, .xz or .zst; "-" for standard input; or an iterable of lines.
    errors
        What to do with a line that is not UTF-8: "strict", "replace" or "skip".
    threads
        That share the scoring, which does not change the result; None takes the cores that there are.

    Yields
    ------
    (N,) array
        Of the next tokens, `</s>` included. In continuous context the lines are one text, as in `score_lines`.

    Raises
    ------
    DataError
        If a line is not valid, or holds a literal `<s>` or `</s>`; the message names the line.

    Examples
    --------
    >>> import fastlm
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "sat"])
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    >>> [len(block) for block in text_log_probs(model, ["the cat sat", "the cat"])]
    [7]
    """
    state = model.start()
    with Workers(threads) as workers:
        for ids in encoded_blocks(source, model.vocabulary, errors):
            log_probs, state = model.score_ids(state, ids, workers=workers)
            check_no_nan(log_probs)
            yield log_probs


def line_perplexities(model: Model, lines: Iterable[str], *, threads: int | None = 1) -> Iterator[tuple[str, float]]:
    """Yield each line of a text with its perplexity, every line at a fresh start: to tell good ones from bad.

    Parameters
    ----------
    model
        Any language model.
    lines
        Lines of text, with or without their line ends: a list, a generator, an open file.
    threads
        That take batches of lines, which does not change the result; None takes the cores that there are.

    Yields
    ------
    tuple
        The line without its end, and its perplexity, `</s>` and unknown words included; NaN for a line without words.

    Raises
    ------
    ValueError
        If an item has several lines.
    DataError
        If a line holds a literal `<s>` or `</s>`; the message names the line.

    Examples
    --------
    >>> import fastlm
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "sat", "on", "mat"])
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    >>> [line for line, perplexity in line_perplexities(model, ["the cat sat", "on the mat"]) if perplexity < 100]
    ['the cat sat', 'on the mat']
    """
    batches = line_batches(model.vocabulary, lines, BATCH_TOKENS)
    for batch in map_in_order(lambda batch: _perplexities(model, batch), batches, threads):
        yield from batch


def _perplexities(model: Model, batch: list[Line]) -> list[tuple[str, float]]:
    sentences = [line.ids for line in batch if line.words]
    if not sentences:
        return [(line.text, math.nan) for line in batch]
    if model.context == "sentence":
        corpus = Corpus.from_ids(np.concatenate(sentences), model.vocabulary)
        log_probs = model.token_log_probs(corpus, num_streams=min(NUM_STREAMS, len(sentences)))
        starts = np.cumsum([0, *(len(ids) for ids in sentences[:-1])])
        totals = np.add.reduceat(log_probs, starts)
    else:
        totals = score_sentences(model, sentences)
    check_no_nan(totals)
    found = iter(totals.tolist())
    return [(line.text, perplexity(-next(found) / len(line.ids)) if line.words else math.nan) for line in batch]


def score_batches(
    model: Model, batches: Iterable[list[Line]], workers: Workers, *, documents: bool = False
) -> Iterator[tuple[list[Line], NDArray[np.float64]]]:
    """Yield batches of lines with the log-probabilities of their tokens, from which `score_lines` makes its objects."""
    state = model.start()
    with workers:
        for batch in batches:
            ids = np.concatenate([line.ids for line in batch])
            if model.context == "continuous":
                log_probs, state = _score_continuous(model, batch, state, workers, documents)
            elif not len(ids):
                log_probs = np.empty(0)
            else:
                corpus = Corpus.from_ids(ids, model.vocabulary)
                streams = min(NUM_STREAMS, corpus.num_sentences)
                log_probs = model.token_log_probs(corpus, num_streams=streams, workers=workers)
            yield batch, log_probs


def _scores(model: Model, batches: Iterable[list[Line]], workers: Workers, documents: bool) -> Iterator[Score]:
    for batch, log_probs in score_batches(model, batches, workers, documents=documents):
        ends = np.cumsum([len(line.ids) for line in batch])
        for line, part in zip(batch, np.split(log_probs, ends[:-1]), strict=True):
            yield _line_score(line, part, model.vocabulary)


def _score_continuous(
    model: Model, batch: list[Line], state: State, workers: Workers, documents: bool
) -> tuple[NDArray[np.float64], State]:
    """Score lines as one text; with `documents`, the state starts afresh behind each that ends one."""
    scores = [np.empty(0)]
    for ends_document, lines in groupby(batch, key=lambda line: documents and line.ends_document):
        ids = np.concatenate([line.ids for line in lines])
        if ends_document:
            state = model.start()
        elif len(ids):
            log_probs, state = model.score_ids(state, ids, workers=workers)
            scores.append(log_probs)
    return np.concatenate(scores), state


def _line_score(line: Line, log_probs: NDArray[np.float64], vocabulary: Vocabulary) -> Score:
    if not line.words:
        return Score(line.text, ())
    check_no_nan(log_probs)
    unknown = (line.ids == vocabulary.unknown_id).tolist()
    words = [*line.words, vocabulary.END]
    return Score(line.text, tuple(map(TokenScore, words, log_probs.tolist(), unknown)))
