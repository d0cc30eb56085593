"""The n-gram model: what follows the last few words, by how often it has followed them."""

import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import DataError, FastLMError, ModelFileError
from fastlm.inference.arguments import check_vocabulary, whole_number
from fastlm.inference.interface import State
from fastlm.kernels.ngram import Trie
from fastlm.modelfile import ModelContents, write_model
from fastlm.models import ngram_arpa
from fastlm.models.base import LanguageModel
from fastlm.models.ngram_estimation import Level, estimate, memory_bound, stored_levels
from fastlm.nn.parallel import Block, Workers
from fastlm.nn.parameters import FloatArray, IntArray
from fastlm.text.arpa import ArpaReader, write_arpa
from fastlm.text.corpus import Corpus
from fastlm.text.tokenizer import TokenizerChoice
from fastlm.text.vocabulary import Vocabulary

__all__ = ["SMOOTHINGS", "NGramLM"]

MAX_ORDER = 16
SMOOTHINGS = ("kneser-ney", "none")  # that can be estimated
FROM_ARPA = "arpa"  # whatever the weights of an ARPA file come from
BLOCK_TOKENS = 1 << 16  # that a thread scores at a time
ROUND_TOKENS = 1 << 20  # after which progress is told


@dataclass(frozen=True, eq=False)
class Context(State):
    """The last words that matter to what follows: those that are the beginning of an n-gram of the model."""

    ids: tuple[int, ...]

    @property
    def key(self) -> tuple[int, ...]:
        """The words."""
        return self.ids


class NGramLM(LanguageModel):
    """N-gram model: the probability of a word after the last n - 1, estimated from counts.

    With interpolated modified Kneser-Ney smoothing (Chen & Goodman 1998, as KenLM estimates it: Heafield et al. 2013)::

        p(w | h) = (a(h w) - D(a(h w))) / a(h) + gamma(h) p(w | h')       h': h without its first word

    where a(h w) is a count at the highest order, and the number of different words in front of h w below; D takes a
    little off each count, by count and order, gamma(h) gives it to the shorter context, and below the words lies 1 / V
    for each of the vocabulary. Without smoothing it is maximum likelihood, p(w | h) = c(h w) / c(h): an n-gram that was
    never seen has probability zero.

    Every sentence starts from `<s>`. `<unk>` is a word like others: its probability is estimated from the words of the
    text that are not in the vocabulary, and where there are none it is that of any word never seen.

    Parameters
    ----------
    vocabulary : Vocabulary
    order : int
        n: 5 looks at four words.
    smoothing : {"kneser-ney", "none"}
        In the `config` of a model that `read_arpa` has made stands "arpa".

    Notes
    -----
    The arrays of order n, in a model file named `order1.log10_probs` and so on: `words`, the last word of each n-gram
    (not at order 1, whose n-grams are all V words and `<s>`); `log10_probs`; `log10_backoffs`, the logarithms of gamma,
    and `first_children`, where the longer n-grams begin that go on from each, both not at the highest order and the
    former not without smoothing. N-grams stand in the order of their contexts, those of one context by their last word
    times 2654435769 modulo 2**32, which spreads them evenly: looking one up takes one guess, and no table is built.

    Examples
    --------
    >>> import fastlm
    >>> text = ["the cat sat on the mat", "the dog sat on the rug"]
    >>> vocabulary = fastlm.Vocabulary.build(text)
    >>> model = fastlm.NGramLM(vocabulary, order=2, smoothing="none").fit(fastlm.Corpus.encode(text, vocabulary))
    >>> [(word, round(probability, 3)) for word, probability in model.predict("on the", k=2)]
    [('cat', 0.25), ('dog', 0.25)]
    >>> model.score("the cat sat on the cat").log_prob
    -inf
    """

    architecture = "ngram"

    def __init__(self, vocabulary: Vocabulary, *, order: int = 5, smoothing: str = "kneser-ney") -> None:
        if not isinstance(vocabulary, Vocabulary):
            raise ValueError(f"vocabulary must be a Vocabulary, got {type(vocabulary).__name__}; see Vocabulary.build")
        if smoothing not in SMOOTHINGS:
            advice = "; NGramLM.read_arpa makes models of ARPA files" if smoothing == FROM_ARPA else ""
            raise ValueError(f"smoothing is {smoothing!r}, expected {' or '.join(map(repr, SMOOTHINGS))}{advice}")
        self.vocabulary = vocabulary
        self.context = "sentence"
        self.config = {
            "order": whole_number("order", order, minimum=1, maximum=MAX_ORDER),
            "smoothing": smoothing,
        }
        self.info: dict[str, Any] = {}
        self._levels: list[Level] = []
        self._fitted: Trie | None = None

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.config.items())
        return f"NGramLM({len(self.vocabulary)} words, {options})"

    def fit(self, corpus: Corpus) -> Self:
        """Estimate the model from a text; what it was estimated from before is forgotten.

        Parameters
        ----------
        corpus : Corpus
            Of the model's vocabulary.

        Returns
        -------
        NGramLM
            The model itself.

        Raises
        ------
        ValueError
            If the corpus has another vocabulary, or the model comes from an ARPA file.

        Examples
        --------
        >>> import fastlm
        >>> text = ["the cat sat on the mat", "the dog sat on the rug"] * 3
        >>> vocabulary = fastlm.Vocabulary.build(text)
        >>> corpus = fastlm.Corpus.encode(text, vocabulary)
        >>> fastlm.NGramLM(vocabulary, order=3, smoothing="none").fit(corpus).evaluate(corpus).perplexity < 2
        True
        """
        self._check_fit(corpus)
        levels, info = estimate(corpus, self.config["order"], self.config["smoothing"])
        self._take(levels)
        self.info = {"training": info}
        return self

    def memory_bound(self, corpus: Corpus) -> int:
        """Return how many bytes `fit` takes at most, beside the corpus; a text that repeats itself takes less.

        Parameters
        ----------
        corpus : Corpus
            Of the model's vocabulary.

        Raises
        ------
        ValueError
            As `fit`.
        """
        self._check_fit(corpus)
        return memory_bound(corpus, self.config["order"])

    def _check_fit(self, corpus: Corpus) -> None:
        if self.config["smoothing"] == FROM_ARPA:
            raise ValueError("this model comes from an ARPA file, which does not say how to fit it; make a new NGramLM")
        check_vocabulary(corpus, self.vocabulary)

    def _take(self, levels: list[Level]) -> None:
        self._fitted = Trie(levels, self.vocabulary.end_id)
        self._levels = levels

    @property
    def _trie(self) -> Trie:
        if self._fitted is None:
            raise FastLMError("this NGramLM knows no text yet; call fit(corpus) first")
        return self._fitted

    @property
    def parameters(self) -> dict[str, NDArray[Any]]:
        """All that was estimated, as named arrays: the model's own, not copies."""
        return {
            f"order{order}.{name}": array
            for order, level in enumerate(self._levels, start=1)
            for name, array in level._asdict().items()
            if array is not None
        }

    @property
    def carries_state(self) -> bool:
        """False: every sentence is read by itself."""
        return False

    @property
    def context_length(self) -> int:
        """The words before the last of an n-gram."""
        order: int = self.config["order"]
        return order - 1

    @property
    def embeddings(self) -> NoReturn:
        """There are none: an error says so."""
        raise FastLMError(
            "an n-gram model has no word vectors: it treats every word as different from every other; "
            "ask an NNLM or an RNNLM for similar words"
        )

    @classmethod
    def from_contents(cls, contents: ModelContents) -> Self:
        """Build the model that a model file describes, over the file's own arrays."""
        try:
            model = cls._described(contents.vocabulary, contents.config)
            missing = model.config.keys() - contents.config.keys()
            if missing:
                raise ValueError(f"it does not say {', '.join(sorted(missing))}")
            smoothed = model.config["smoothing"] != "none"
            model._take(stored_levels(contents.arrays, model.config["order"], smoothed=smoothed))
        except (TypeError, ValueError) as error:
            raise ModelFileError(f"the model file does not describe an n-gram model: {error}") from error
        if model._trie.vocab_size != len(contents.vocabulary):
            raise ModelFileError(
                f"the model file has 1-grams of {model._trie.vocab_size} words, expected those of the "
                f"{len(contents.vocabulary)} words of its vocabulary"
            )
        model.info = dict(contents.info)
        return model

    @classmethod
    def _described(cls, vocabulary: Vocabulary, config: dict[str, Any]) -> Self:
        """Make the model, still without its levels, that a file's config describes, one from an ARPA file included."""
        if config.get("smoothing") != FROM_ARPA:
            return cls(vocabulary, **config)
        model = cls(vocabulary, **{**config, "smoothing": "none"})
        model.config["smoothing"] = FROM_ARPA
        return model

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model, with its vocabulary and tokenizer, to one file; atomically.

        Raises
        ------
        FastLMError
            If the model knows no text, or, a FileError, if the file cannot be written; what stood there is then whole.
        """
        _ = self._trie  # raises where there is none
        write_model(path, ModelContents(self.architecture, self.config, self.vocabulary, self.parameters, self.info))

    @classmethod
    def read_arpa(cls, path: str | os.PathLike[str], *, tokenizer: TokenizerChoice = "whitespace") -> Self:
        """Read a model from an ARPA file, the format of KenLM, SRILM and others.

        Parameters
        ----------
        path : str or path-like
            Plain, .gz, .xz or .zst.
        tokenizer : str, path-like, callable or Tokenizer, default "whitespace"
            How text is split into the file's words; the file does not say.

        Returns
        -------
        NGramLM

        Raises
        ------
        DataError
            If it is not an ARPA file, or a damaged one; the message names the line.
        FileError
            If it cannot be read.

        Examples
        --------
        >>> import fastlm
        >>> text = ["the cat sat on the mat", "the dog sat on the rug"] * 3
        >>> vocabulary = fastlm.Vocabulary.build(text)
        >>> model = fastlm.NGramLM(vocabulary, order=1).fit(fastlm.Corpus.encode(text, vocabulary))
        >>> model.write_arpa("cat.arpa.gz")
        [10]
        >>> fastlm.NGramLM.read_arpa("cat.arpa.gz").score("the cat") == model.score("the cat")
        True
        """
        arpa = ArpaReader(path, tokenizer)
        if len(arpa.num_ngrams) > MAX_ORDER:
            raise DataError(f"{arpa.name}: n-grams of order 1 to {len(arpa.num_ngrams)}, expected {MAX_ORDER} at most")
        model = cls._described(arpa.vocabulary, {"order": len(arpa.num_ngrams), "smoothing": FROM_ARPA})
        levels, info = ngram_arpa.read_levels(arpa)
        model._take(levels)
        model.info = {"training": info}
        return model

    def write_arpa(self, path: str | os.PathLike[str]) -> list[int]:
        """Write the model as an ARPA file; read again, it gives the same scores.

        The tokenizer and the words' counts are not kept: the format has no place for them. Without smoothing every
        context that has been seen leaves nothing to shorter ones, a back-off weight of -99, the logarithm of zero: a
        sentence has the same probability as before, but behind a context that was never seen, where the model has none
        for any word, the file has that of the shorter context.

        Parameters
        ----------
        path : str or path-like
            Compressed if it ends in .gz.

        Returns
        -------
        list of int
            How many n-grams of each order the file has: those of the model, but for an `<unk>` without probability.

        Raises
        ------
        DataError
            If a word has a blank in it.
        FileError
            If the file cannot be written; what stood there before is then whole.
        """
        num_ngrams, sections = ngram_arpa.sections(self._trie, self._levels, self.vocabulary)
        write_arpa(path, self.vocabulary, num_ngrams, sections)
        return num_ngrams

    def start(self) -> Context:
        """Return the state at the beginning of a sentence."""
        return self._matched((self.vocabulary.start_id,))

    def _advance_one(self, state: Context, id: int) -> Context:
        if id == self.vocabulary.end_id:
            return self.start()
        return self._matched((*state.ids, id))

    def _matched(self, ids: tuple[int, ...]) -> Context:
        length = self._trie.context_length(ids)
        return Context(self, ids[len(ids) - length :])

    def _log_probs_one(self, state: Context) -> FloatArray:
        log_probs = np.empty(len(self.vocabulary))
        self._trie.next_log_probs(log_probs, state.ids)
        return log_probs

    def _log_prob_one(self, state: Context, id: int) -> float:
        return float(self._log_prob_all([state], np.array([id], np.int32))[0])

    def _log_prob_all(self, states: list[Context], ids: IntArray) -> NDArray[np.float64]:
        log_probs = np.empty(len(ids))
        for place, state in enumerate(states):
            self._trie.score(log_probs[place : place + 1], ids[place : place + 1], state.ids)
        return log_probs

    def score_ids(
        self, state: Context, ids: NDArray[np.integer[Any]], *, workers: Workers | None = None
    ) -> tuple[NDArray[np.float64], Context]:
        """Log-probability of each id as the text that follows `state`, and the state after them."""
        self._own(state)
        ids = self._check_ids(ids)
        log_probs = np.empty(len(ids))
        self._trie.score(log_probs, ids, state.ids)
        for id in ids[-self.config["order"] :].tolist():
            state = self._advance_one(state, id)
        return log_probs, state

    def tree_log_probs(self, parents: IntArray, ids: IntArray) -> NDArray[np.float64]:
        """Log-probability of each edge of a prefix tree, (M,): branch by branch, each behind its last words."""
        log_probs, before = np.empty(len(ids)), parents.tolist()
        context: tuple[int, ...]
        starts = np.flatnonzero(parents != np.arange(-1, len(ids) - 1)).tolist()  # of all branches but the first
        for start, stop in pairwise([0, *starts, len(ids)] if before else []):
            edge, context = before[start], ()
            while edge >= 0 and len(context) < self.config["order"] - 1:
                edge, context = before[edge], (int(ids[edge]), *context)
            context = context if edge >= 0 else (self.vocabulary.start_id, *context)
            self._trie.score(log_probs[start:stop], ids[start:stop], context)
        return log_probs

    def log_prob_blocks(
        self, corpus: Corpus, *, num_streams: int = 1, workers: Workers | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
        """Yield positions and the log-probabilities there, in the order of the corpus; see `LanguageModel`."""
        whole_number("num_streams", num_streams, minimum=1)
        check_vocabulary(corpus, self.vocabulary)
        trie, ids, start_ids = self._trie, corpus.ids, self.start().ids
        blocks = _whole_sentences(corpus)
        blocks_in_round = ROUND_TOKENS // BLOCK_TOKENS
        with nullcontext(workers) if workers is not None else Workers(1) as active:
            for first in range(0, len(blocks), blocks_in_round):
                round_blocks = blocks[first : first + blocks_in_round]
                begin, end = round_blocks[0][0], round_blocks[-1][1]
                log_probs = np.empty(end - begin)

                def score(start: int, stop: int, worker: int, begin: int = begin, out: FloatArray = log_probs) -> None:
                    trie.score(out[start - begin : stop - begin], ids[start:stop], start_ids)

                active.run(score, round_blocks)
                yield np.arange(begin, end), log_probs


def _whole_sentences(corpus: Corpus) -> list[Block]:
    """Cut a corpus into blocks of about BLOCK_TOKENS tokens that end where sentences do."""
    if corpus.num_tokens <= BLOCK_TOKENS:
        return [(0, corpus.num_tokens)]
    bounds = corpus.sentence_bounds()
    places = np.searchsorted(bounds, np.arange(BLOCK_TOKENS, bounds[-1], BLOCK_TOKENS))
    stops = np.unique([*bounds[places], bounds[-1]]).tolist()
    return list(zip([0, *stops[:-1]], stops, strict=True))
