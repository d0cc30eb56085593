"""Log-probabilities token by token: of one sentence, or of many lines in a stream."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import DataError
from fastlm.inference.arguments import one_line, whole_number
from fastlm.inference.evaluation import check_no_nan, perplexity
from fastlm.inference.interface import Model, State
from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary

__all__ = ["Score", "TokenScore", "score", "score_lines"]

BATCH_TOKENS = 8192
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
    line = _read_line(model.vocabulary, text)
    if not line.words:
        return Score(line.text, ())
    return _line_score(line, model.token_log_probs(Corpus.from_ids(line.ids, model.vocabulary)), model.vocabulary)


def score_lines(
    model: Model, lines: Iterable[str], *, batch_tokens: int = BATCH_TOKENS, documents: bool = False
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
    return _score_batches(model, _batches(model.vocabulary, lines, batch_tokens), documents)


class _Line(NamedTuple):
    text: str
    words: list[str]
    ids: NDArray[np.int32]  # one more than words: </s> closes them; none if there are no words


def _read_line(vocabulary: Vocabulary, text: str) -> _Line:
    text = one_line(text)
    # What looks empty is no sentence, as in a corpus, even for a tokenizer that makes tokens of spaces.
    words = vocabulary.tokenizer.tokenize(text) if text.strip(" \t") else []
    ids = np.append(vocabulary.encode(text), vocabulary.end_id) if words else np.empty(0)
    return _Line(text, words, ids.astype(np.int32, copy=False))


def _batches(vocabulary: Vocabulary, lines: Iterable[str], batch_tokens: int) -> Iterator[list[_Line]]:
    """Yield lists of lines of about `batch_tokens` tokens together."""
    batch: list[_Line] = []
    num_tokens = 0
    for number, text in enumerate(lines, start=1):
        try:
            line = _read_line(vocabulary, text)
        except DataError as error:
            raise DataError(f"line {number}: {error}") from error
        batch.append(line)
        num_tokens += len(line.ids)
        if num_tokens >= batch_tokens or len(batch) >= batch_tokens:
            yield batch
            batch, num_tokens = [], 0
    if batch:
        yield batch


def _score_batches(model: Model, batches: Iterable[list[_Line]], documents: bool) -> Iterator[Score]:
    state = model.start()
    for batch in batches:
        ids = np.concatenate([line.ids for line in batch])
        if model.context == "continuous":
            log_probs, state = _score_continuous(model, batch, state, documents)
        elif not len(ids):
            log_probs = np.empty(0)
        else:
            corpus = Corpus.from_ids(ids, model.vocabulary)
            log_probs = model.token_log_probs(corpus, num_streams=min(NUM_STREAMS, corpus.num_sentences))
        ends = np.cumsum([len(line.ids) for line in batch])
        for line, part in zip(batch, np.split(log_probs, ends[:-1]), strict=True):
            yield _line_score(line, part, model.vocabulary)


def _score_continuous(
    model: Model, batch: list[_Line], state: State, documents: bool
) -> tuple[NDArray[np.float64], State]:
    """Score lines as one text; with `documents`, the state starts afresh behind each that has no word."""
    scores = [np.empty(0)]
    for is_text, lines in groupby(batch, key=lambda line: bool(line.words) or not documents):
        ids = np.concatenate([line.ids for line in lines])
        if not is_text:
            state = model.start()
        elif len(ids):
            log_probs, state = model.score_ids(state, ids)
            scores.append(log_probs)
    return np.concatenate(scores), state


def _line_score(line: _Line, log_probs: NDArray[np.float64], vocabulary: Vocabulary) -> Score:
    if not line.words:
        return Score(line.text, ())
    check_no_nan(log_probs)
    unknown = (line.ids == vocabulary.unknown_id).tolist()
    words = [*line.words, vocabulary.END]
    return Score(line.text, tuple(map(TokenScore, words, log_probs.tolist(), unknown)))
