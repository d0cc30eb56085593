"""How well a model predicts a text: perplexity, in a report that says what was counted."""

import math
from dataclasses import asdict, dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlm.errors import FastLMError
from fastlm.inference.arguments import check_vocabulary, whole_number
from fastlm.inference.interface import Model
from fastlm.progress import Progress
from fastlm.text.corpus import Corpus

__all__ = ["Report", "Tally", "check_no_nan", "evaluate", "fitting_streams", "perplexity"]

MOST_THOUSANDTHS = 50_000  # of |log Z|, that are told apart
SHORTEST_STREAM = 128  # tokens; a stream begins without history, so that shorter ones would cost perplexity


def perplexity(loss: float) -> float:
    """Return exp(loss) for a mean loss in nats a token; infinity where that is beyond a float.

    Examples
    --------
    >>> perplexity(0.0), perplexity(1000.0)
    (1.0, inf)
    """
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def check_no_nan(log_probs: ArrayLike) -> None:
    """Raise a FastLMError where a model's log-probabilities are no numbers.

    Examples
    --------
    >>> check_no_nan([-1.5, -math.inf])
    """
    if np.isnan(log_probs).any():
        raise FastLMError("the model gives NaN as a log-probability: its parameters are not finite; train it again")


@dataclass(frozen=True)
class Report:
    """How well a model predicts a text.

    A token is an event that is predicted: every word, and the `</s>` that closes each sentence. A word outside
    of the vocabulary is the event `<unk>`. Log-probabilities are natural (nats). What the text's length would be
    needed for is None where a corpus does not know it (ids that never were text).

    Attributes
    ----------
    num_tokens, num_sentences, num_words, num_unknown : int
        Tokens with `</s>`; sentences; tokens without `</s>`; words outside of the vocabulary.
    num_empty_lines, num_skipped, num_replaced : int
        Lines without a word and lines that were not UTF-8, neither of which are counted otherwise; characters
        U+FFFD that were put in the place of what was not UTF-8.
    num_characters, num_bytes : int or None
        The length of the text as it was read, with one line end a line.
    log_prob, log_prob_without_unknown : float
        The sum over all tokens; the sum over those that are not unknown words.
    vocab_size : int
        The number of tokens among which the probability is shared out, with `<unk>` and `</s>`.
    context : str
        "sentence" or "continuous", as the model was made.
    num_streams : int or None
        For a model that carries a state through the text, the parts in which it was read, each beginning without
        history: one gives the published kind of figure. None where it does not matter.
    normalised : bool
        Whether the probabilities are exact, summing to one over the vocabulary.
    log_norm_mean, log_norm_99 : float or None
        For a model that has learned to do without normalisation, how near it came: of the logarithm of the sum over
        the vocabulary before normalisation, its absolute value, the mean over the tokens, and what 99 % of them do not
        exceed, to a thousandth. None for other models, and where nothing was normalised.
    num_impossible : int
        Tokens that got probability zero, as n-grams that were never seen do without smoothing: one is enough to make
        perplexity infinite.
    """

    num_tokens: int
    num_sentences: int
    num_words: int
    num_unknown: int
    num_empty_lines: int
    num_skipped: int
    num_replaced: int
    num_characters: int | None
    num_bytes: int | None
    log_prob: float
    log_prob_without_unknown: float
    vocab_size: int
    context: str
    num_streams: int | None
    normalised: bool = True
    log_norm_mean: float | None = None
    log_norm_99: float | None = None
    num_impossible: int = 0

    @property
    def loss(self) -> float:
        """Mean negative log-probability, in nats a token."""
        return -self.log_prob / self.num_tokens

    @property
    def perplexity(self) -> float:
        """`exp(loss)`, over all tokens."""
        return perplexity(self.loss)

    @property
    def perplexity_without_unknown(self) -> float:
        """Perplexity over the tokens that are not unknown words; those are skipped but kept as context."""
        num_known = self.num_tokens - self.num_unknown
        return perplexity(-self.log_prob_without_unknown / num_known) if num_known else math.nan

    @property
    def bits_per_character(self) -> float | None:
        """Bits a character of the text, comparable across vocabularies.

        But `<unk>` costs no spelling, and the tokenizer "word" does not tell which tokens had spaces between them.
        """
        return self._bits_per(self.num_characters)

    @property
    def bits_per_byte(self) -> float | None:
        """Bits a byte of the text in UTF-8."""
        return self._bits_per(self.num_bytes)

    def _bits_per(self, length: int | None) -> float | None:
        return -self.log_prob / math.log(2) / length if length else None

    def to_dict(self) -> dict[str, Any]:
        """Return all figures by name, ready for JSON but for infinities and NaN."""
        derived = ("loss", "perplexity", "perplexity_without_unknown", "bits_per_character", "bits_per_byte")
        return {name: getattr(self, name) for name in derived} | asdict(self)

    def __str__(self) -> str:
        """Lay the figures out as a table."""
        rows = [*self._perplexity_rows(), *self._length_rows(), *self._setting_rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(2)]
        return "\n".join(f"{name:<{widths[0]}}  {value:>{widths[1]}}  {note}".rstrip() for name, value, note in rows)

    def _perplexity_rows(self) -> list[tuple[str, str, str]]:
        num_known = self.num_tokens - self.num_unknown
        return [
            ("perplexity", f"{self.perplexity:,.2f}", f"over all {self.num_tokens:,} tokens, </s> and <unk> included"),
            (
                "  without unknown words",
                f"{self.perplexity_without_unknown:,.2f}",
                f"over {num_known:,} tokens, </s> included; <unk> is context only",
            ),
            *self._impossible_rows(),
            ("loss", f"{self.loss:,.4f}", "nats a token"),
            ("log-probability", f"{self.log_prob:,.2f}", "nats in all"),
        ]

    def _impossible_rows(self) -> list[tuple[str, str, str]]:
        if self.num_impossible == 0:
            return []
        share = 100 * self.num_impossible / self.num_tokens
        return [("impossible tokens", f"{self.num_impossible:,}", f"{share:.2f} % of the tokens have probability zero")]

    def _length_rows(self) -> list[tuple[str, str, str]]:
        note = "; an unknown word counts as <unk>, without its spelling" if self.num_unknown else ""
        return [
            (f"bits a {unit}", f"{bits:.4f}", f"over {length:,}, with line ends{note}")
            for unit, bits, length in [
                ("character", self.bits_per_character, self.num_characters),
                ("byte", self.bits_per_byte, self.num_bytes),
            ]
            if bits is not None
        ]

    def _left_out(self) -> str:
        """Say what of the text was not read as it stands, if anything."""
        counts = [
            (self.num_empty_lines, "empty lines left out"),
            (self.num_skipped, "lines that are not UTF-8 left out"),
            (self.num_replaced, "characters replaced that were not UTF-8"),
        ]
        return "; ".join(f"{count:,} {what}" for count, what in counts if count)

    def _setting_rows(self) -> list[tuple[str, str, str]]:
        share = 100 * self.num_unknown / max(self.num_words, 1)
        if self.context == "sentence":
            context_note = "every sentence by itself"
        elif self.num_streams is None:
            context_note = "across sentences, the last words in a window"
        elif self.num_streams == 1:
            context_note = "across sentences, the whole text in one stream"
        else:
            context_note = f"across sentences, the text in {self.num_streams} streams, each begun without history"
        scores = ("exact", "sum to one") if self.normalised else ("approximate", "not normalised: sum to nearly one")
        norms = []
        if self.log_norm_mean is not None:
            note = f"mean, before normalisation; up to {self.log_norm_99:.3f} for 99 % of the tokens"
            norms = [("|log Z|", f"{self.log_norm_mean:.3f}", note)]
        return [
            ("tokens", f"{self.num_tokens:,}", "words and </s>"),
            ("sentences", f"{self.num_sentences:,}", self._left_out()),
            ("words", f"{self.num_words:,}", "tokens without </s>"),
            ("unknown words", f"{self.num_unknown:,}", f"{share:.2f} % of the words"),
            ("context", self.context, context_note),
            ("probabilities", scores[0], f"{scores[1]} over a vocabulary of {self.vocab_size:,}"),
            *norms,
        ]


class _LogNorms:
    """The distribution of |log Z|, counted in thousandths, so that memory does not grow with the text."""

    def __init__(self) -> None:
        self._counts = np.zeros(MOST_THOUSANDTHS + 1, np.int64)
        self._sum = 0.0

    def add(self, scores: NDArray[np.floating[Any]], log_probs: NDArray[np.floating[Any]]) -> None:
        with np.errstate(invalid="ignore"):  # infinity less infinity
            sizes = np.abs(scores - log_probs)
        check_no_nan(sizes)
        self._sum += float(sizes.sum(dtype=np.float64))
        thousandths = np.minimum(np.ceil(1000 * sizes), MOST_THOUSANDTHS).astype(np.int64)
        self._counts += np.bincount(thousandths, minlength=len(self._counts))

    @property
    def mean(self) -> float:
        return self._sum / int(self._counts.sum())

    def quantile(self, share: float) -> float:
        """Return what this share of the tokens does not exceed."""
        enough = np.cumsum(self._counts) >= share * self._counts.sum()
        return float(np.argmax(enough)) / 1000


def evaluate(
    model: Model,
    corpus: Corpus,
    *,
    num_streams: int = 16,
    workers: Any = None,
    progress: bool = False,
    normalised: bool = True,
    measure_norms: bool = False,
) -> Report:
    """Measure how well a model predicts a corpus.

    Parameters
    ----------
    model
        Any language model.
    corpus
        A text in ids of the model's vocabulary.
    num_streams
        How many parts of the text are read side by side; more are faster. In continuous context every part
        begins without history, which costs a little perplexity, and 1 gives the published kind of figure.
        A short text is read in fewer, and always in one by a model that adapts to it. In sentence context the
        result does not depend on it.
    workers
        Threads that share the work (`fastlm.nn.parallel.Workers`).
    progress
        Show how far it has come, on standard error.
    normalised
        False takes a model's scores as they are before normalisation, which is quick with a large vocabulary; only
        for a model that has learned to do without (`self_normalised`).
    measure_norms
        Whether to find out, for the report, how near such a model has come to that.

    Returns
    -------
    Report
        The figures; `print` it for a table.

    Raises
    ------
    ValueError
        If the corpus was made with another vocabulary than the model's, `num_streams` is no positive number, or
        `normalised` is False and the model not self-normalised.

    Examples
    --------
    >>> import fastlm
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "sat", "on", "mat"])
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    >>> report = evaluate(model, fastlm.Corpus.encode(["the cat sat on the dog", "the mat"], vocabulary))
    >>> report.num_tokens, report.num_sentences, report.num_unknown, report.perplexity > 1
    (10, 2, 1, True)
    """
    num_streams = fitting_streams(model, corpus, num_streams)
    if not normalised and not model.self_normalised:
        raise ValueError(
            "the model's scores are probabilities only when they are normalised; leave out normalised=False "
            "(--unnormalised): only models with output 'sampled' or 'nce', or trained with self_normalising, can do "
            "without"
        )
    tally = Tally(corpus)
    blocks = model.log_prob_blocks if normalised else model.score_blocks
    log_norms = _LogNorms() if normalised and measure_norms and model.self_normalised else None
    scores = repeat(None) if log_norms is None else model.score_blocks(corpus, num_streams=num_streams, workers=workers)
    with Progress(corpus.num_tokens, "tok", enabled=progress, description="evaluate") as shown:
        for (positions, block), scored in zip(
            blocks(corpus, num_streams=num_streams, workers=workers), scores, strict=False
        ):
            check_no_nan(block)
            if log_norms is not None and scored is not None:
                log_norms.add(scored[1], block)
            tally.add(positions, block)
            shown.update(len(positions))
    return tally.report(
        model,
        num_streams,
        normalised=normalised,
        log_norm_mean=None if log_norms is None else log_norms.mean,
        log_norm_99=None if log_norms is None else log_norms.quantile(0.99),
    )


class Tally:
    """Adds up the log-probabilities of a corpus, in pieces of any order, for a report.

    Parameters
    ----------
    corpus : Corpus
    """

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._log_prob = self._log_prob_without_unknown = 0.0
        self._num_ends = self._num_impossible = 0

    def add(self, positions: NDArray[np.int64], log_probs: NDArray[np.floating[Any]]) -> None:
        """Add those of the tokens at some positions."""
        ids, vocabulary = self._corpus.ids[positions], self._corpus.vocabulary
        self._log_prob += float(log_probs.sum(dtype=np.float64))
        known = ids != vocabulary.unknown_id
        self._log_prob_without_unknown += float(log_probs.sum(dtype=np.float64, where=known))
        self._num_ends += int(np.count_nonzero(ids == vocabulary.end_id))
        self._num_impossible += int(np.count_nonzero(np.isneginf(log_probs)))

    def report(self, model: Model, num_streams: int, **more: Any) -> Report:
        """Return the figures; `more` are fields of the report that have to do with normalisation."""
        corpus = self._corpus
        counts = ("num_tokens", "num_sentences", "num_unknown", "num_empty_lines", "num_skipped", "num_replaced")
        return Report(
            **{name: getattr(corpus, name) for name in (*counts, "num_characters", "num_bytes")},
            num_words=corpus.num_tokens - self._num_ends,
            log_prob=self._log_prob,
            log_prob_without_unknown=self._log_prob_without_unknown,
            vocab_size=len(corpus.vocabulary),
            context=model.context,
            num_streams=num_streams if model.carries_state else None,
            num_impossible=self._num_impossible,
            **more,
        )


def fitting_streams(model: Model, corpus: Corpus, num_streams: int) -> int:
    """Check the corpus, and return in how many streams a model reads it, at most `num_streams`."""
    check_vocabulary(corpus, model.vocabulary)
    num_streams = whole_number("num_streams", num_streams, minimum=1)
    if model.adapts:  # what it has learned from one part it must know in the next
        return 1
    most = corpus.num_sentences if model.context == "sentence" else corpus.num_tokens // SHORTEST_STREAM
    return max(1, min(num_streams, most))
