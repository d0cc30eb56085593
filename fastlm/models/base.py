"""What every language model offers."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, overload

import numpy as np
from numpy.typing import NDArray

from fastlm.inference import beam, evaluation, generation, measures, rescoring, similarity, tokens, word_map
from fastlm.inference.arguments import check_vocabulary, token_id
from fastlm.inference.interface import State, Word, Words
from fastlm.inference.map_picture import draw_map
from fastlm.modelfile import ModelContents
from fastlm.nn.parallel import Workers
from fastlm.nn.parameters import FloatArray, IntArray
from fastlm.text.corpus import Corpus
from fastlm.text.source import TextSource
from fastlm.text.vocabulary import Vocabulary
from fastlm.text.word2vec import write_word2vec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LanguageModel"]


class LanguageModel(ABC):
    """A model of the probability of the next word, whatever is inside it.

    Attributes
    ----------
    architecture : str
        The model's kind, as the model file names it.
    vocabulary : Vocabulary
    context : {"sentence", "continuous"}
        Whether each sentence starts afresh from `<s>`, or the text runs on through its `</s>`.
    config : dict
        The constructor's arguments.
    info : dict
        How it was trained; free for more, as JSON has it.

    Examples
    --------
    >>> import fastlm
    >>> model = fastlm.NNLM(fastlm.Vocabulary(["the", "cat"]), context_size=2, embedding_dim=4, hidden_size=8)
    >>> isinstance(model, fastlm.LanguageModel)
    True
    >>> state = model.start().advance("the")
    >>> state.log_probs().shape
    (4,)
    >>> the_cat, the_the = model.advance([state, state], ["cat", "the"])
    >>> model.log_probs([the_cat, the_the]).shape
    (2, 4)
    """

    architecture: ClassVar[str]
    vocabulary: Vocabulary
    context: str
    config: dict[str, Any]
    info: dict[str, Any]

    @classmethod
    @abstractmethod
    def from_contents(cls, contents: ModelContents) -> Self:
        """Build the model that a model file describes, over the file's own arrays."""

    @property
    @abstractmethod
    def parameters(self) -> dict[str, NDArray[Any]]:
        """All that was learned, as named arrays: the model's own, not copies."""

    @property
    @abstractmethod
    def carries_state(self) -> bool:
        """Whether the model remembers all of a continuous text, so that cutting it into streams costs memory."""

    @property
    def adapts(self) -> bool:
        """Whether the model learns from the text that it reads, so that a text is read from its beginning, in order."""
        return False

    @property
    def context_length(self) -> int | None:
        """How many tokens before a word its probability depends on, at most; None if there is no limit."""
        return None

    @property
    @abstractmethod
    def embeddings(self) -> FloatArray:
        """Table of word vectors, (V + 1, D); the last row is that of `<s>`."""

    @abstractmethod
    def start(self) -> Any:
        """Return the state at the beginning of a text: after `<s>`, or after a `</s>` with nothing before it."""

    @overload
    def advance(self, state: State, word: Word) -> Any: ...
    @overload
    def advance(self, state: Sequence[State], word: Words) -> list[Any]: ...
    def advance(self, state: State | Sequence[State], word: Any) -> Any:
        """Return the state after one more word; of several states and as many words, a list, in one batch.

        Parameters
        ----------
        state : State or sequence of State
            Of this model; it stays as it is.
        word : str or int, or a sequence of them
            A word as the tokenizer makes them, where one that is not known is `<unk>`, or an id. After `</s>`, in
            sentence context, comes the start of the next sentence.

        Raises
        ------
        ValueError
            If an id is not of the vocabulary, the word is `<s>`, a state is another model's, or there are not as many
            words as states.

        Examples
        --------
        >>> import fastlm
        >>> vocabulary = fastlm.Vocabulary(["the", "cat"])
        >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8)
        >>> states = model.advance([model.start()] * 2, ["the", "cat"])
        >>> states[1] == model.advance(model.start(), vocabulary["cat"])
        True
        """
        if isinstance(state, State):
            return self._advance_one(self._own(state), self._word_id(word))
        states, ids = self._pairs(state, word)
        return self._advance_all(states, ids) if states else []

    def log_probs(self, state: State | Sequence[State]) -> FloatArray:
        """Natural log-probability of every next word, (V,); of N states, in one batch, (N, V)."""
        if isinstance(state, State):
            return self._log_probs_one(self._own(state))
        states = [self._own(one) for one in state]
        return self._log_probs_all(states) if states else np.empty((0, len(self.vocabulary)))

    @overload
    def log_prob(self, state: State, word: Word) -> float: ...
    @overload
    def log_prob(self, state: Sequence[State], word: Words) -> NDArray[np.float64]: ...
    def log_prob(self, state: State | Sequence[State], word: Any) -> float | NDArray[np.float64]:
        """Natural log-probability of one next word; of N states and as many words, in one batch, (N,).

        Arguments and errors are those of `advance`.
        """
        if isinstance(state, State):
            return self._log_prob_one(self._own(state), self._word_id(word))
        states, ids = self._pairs(state, word)
        return self._log_prob_all(states, ids) if states else np.empty(0)

    @abstractmethod
    def _advance_one(self, state: Any, id: int) -> State: ...

    @abstractmethod
    def _log_probs_one(self, state: Any) -> FloatArray: ...

    def _log_prob_one(self, state: Any, id: int) -> float:
        return float(self._log_probs_one(state)[id])

    def _advance_all(self, states: list[Any], ids: IntArray) -> list[Any]:
        return [self._advance_one(state, id) for state, id in zip(states, ids.tolist(), strict=True)]

    def _log_probs_all(self, states: list[Any]) -> FloatArray:
        return np.stack([self._log_probs_one(state) for state in states])

    def _log_prob_all(self, states: list[Any], ids: IntArray) -> NDArray[np.float64]:
        return np.array([self._log_prob_one(state, id) for state, id in zip(states, ids.tolist(), strict=True)])

    @abstractmethod
    def score_ids(
        self, state: Any, ids: NDArray[np.integer[Any]], *, workers: Workers | None = None
    ) -> tuple[NDArray[np.float64], Any]:
        """Log-probability of each id as the text that follows `state`, and the state after them."""

    def log_probs_along(
        self, state: Any, ids: IntArray, *, workers: Workers | None = None
    ) -> tuple[Callable[[slice], FloatArray], Any]:
        """Distributions before each of the ids that follow `state`; see `fastlm.inference.interface.Model`."""
        return measures.log_probs_along(self, self._own(state), self._check_ids(ids))

    def tree_log_probs(self, parents: IntArray, ids: IntArray) -> NDArray[np.float64]:
        """Log-probability of each edge of a prefix tree, (M,); see `fastlm.inference.interface.Model`."""
        return rescoring.tree_log_probs(self, parents, ids)

    def token_log_probs(
        self,
        corpus: Corpus,
        *,
        num_streams: int = 1,
        workers: Workers | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> NDArray[np.float64]:
        """Natural log-probability of every token of a corpus, in its order.

        Parameters
        ----------
        corpus : Corpus
        num_streams : int
            Parts of the corpus that are read side by side. In a continuous context each part starts from an empty
            state, so 1 is exact; with a sentence context the result is the same for any number.
        workers : Workers, optional
        progress : callable, optional
            Called with the number of tokens done since the last call.
        """
        check_vocabulary(corpus, self.vocabulary)
        log_probs = np.empty(corpus.num_tokens)
        for positions, values in self._token_blocks(corpus, num_streams=num_streams, workers=workers):
            log_probs[positions] = values
            if progress is not None:
                progress(len(positions))
        return log_probs

    def _token_blocks(
        self, corpus: Corpus, *, num_streams: int, workers: Workers | None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
        return self.log_prob_blocks(corpus, num_streams=num_streams, workers=workers)

    @abstractmethod
    def log_prob_blocks(
        self, corpus: Corpus, *, num_streams: int = 1, workers: Workers | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
        """Yield what `token_log_probs` gives in pieces: positions in the corpus, and the log-probabilities there.

        So memory does not grow with the corpus.
        """

    def exact(self) -> Self:
        """Return the model whose every log-probability is exactly normalised: itself, but for a `FrozenNNLM`."""
        return self

    @property
    def self_normalised(self) -> bool:
        """Whether scores are nearly log-probabilities before they are normalised, so that `score_blocks` has a use."""
        return False

    def score_blocks(
        self, corpus: Corpus, *, num_streams: int = 1, workers: Workers | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
        """Yield what `log_prob_blocks` does, but before it is normalised: quick with many words, and not exact.

        Only a model that is `self_normalised` has such scores.
        """
        raise ValueError(f"{self!r} has no scores that are near probabilities; take log_prob_blocks, which are exact")

    @abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model, with its vocabulary and tokenizer, to one file; atomically."""

    def evaluate(
        self,
        corpus: Corpus,
        *,
        num_streams: int = 16,
        threads: int | None = None,
        progress: bool = False,
        normalised: bool = True,
    ) -> evaluation.Report:
        """Measure the perplexity of a text; see `fastlm.inference.evaluation.evaluate`."""
        with Workers(threads) as workers:
            return evaluation.evaluate(
                self,
                corpus,
                num_streams=num_streams,
                workers=workers,
                progress=progress,
                normalised=normalised,
                measure_norms=True,
            )

    def score(self, text: str) -> tokens.Score:
        """Log-probability of a line of text, in total and word by word; see `fastlm.inference.tokens.score`."""
        return tokens.score(self, text)

    def text_log_probs(
        self, source: TextSource, *, errors: str = "strict", threads: int | None = 1
    ) -> Iterator[NDArray[np.float64]]:
        """Yield the log-probabilities of a text's tokens; see `fastlm.inference.tokens.text_log_probs`."""
        return tokens.text_log_probs(self, source, errors=errors, threads=threads)

    def measure_tokens(
        self,
        source: TextSource,
        *,
        distribution: bool = True,
        errors: str = "strict",
        threads: int | None = None,
        documents: bool = False,
    ) -> NDArray[np.void]:
        """Surprisal, entropy and rank of every token of a text; see `fastlm.inference.measures.measure_tokens`."""
        return measures.measure_tokens(
            self, source, distribution=distribution, errors=errors, threads=threads, documents=documents
        )

    def score_nbest(self, hypotheses: Sequence[str]) -> NDArray[np.float64]:
        """Log-probability of each of many like sentences, (N,); see `fastlm.inference.rescoring.score_nbest`."""
        return rescoring.score_nbest(self, hypotheses)

    def predict(self, text: str, k: int = 10, unknown: bool = False) -> list[generation.Prediction]:
        """Return the k most likely next words; see `fastlm.inference.generation.predict`."""
        return generation.predict(self, text, k, unknown)

    def next_log_probs(self, text: str) -> FloatArray:
        """Return the log-probability of every next word, (V,); see `fastlm.inference.generation.next_log_probs`."""
        return generation.next_log_probs(self, text)

    def generate(
        self,
        prompt: str = "",
        *,
        max_tokens: int = 100,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        unknown: bool = False,
        stop: Sequence[str] = (),
        stop_at_end: bool = True,
    ) -> str:
        """Continue a text; see `fastlm.inference.generation.generate`."""
        return generation.generate(
            self,
            prompt,
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            unknown=unknown,
            stop=stop,
            stop_at_end=stop_at_end,
        )

    def sample(self, prompt: str = "", num_samples: int = 1, **options: Any) -> list[generation.Generated]:
        """Continue a text many times in one batch; see `fastlm.inference.generation.sample`."""
        return generation.sample(self, prompt, num_samples, **options)

    def beam_search(self, prompt: str = "", num_results: int = 1, **options: Any) -> list[generation.Generated]:
        """Find the most probable continuations of a text; see `fastlm.inference.beam.beam_search`."""
        return beam.beam_search(self, prompt, num_results, **options)

    def similar(self, word: str, k: int = 10) -> list[similarity.Neighbour]:
        """Return the k nearest words by cosine; see `fastlm.inference.similarity.similar`."""
        return similarity.similar(self, word, k)

    def analogy(self, word: str, like: str, other: str, k: int = 10) -> list[similarity.Neighbour]:
        """Return what is to `other` as `like` is to `word`; see `fastlm.inference.similarity.analogy`."""
        return similarity.analogy(self, word, like, other, k)

    def plot_words(self, words: Sequence[str] | None = None) -> "Figure":
        """Draw a map of words, the 200 most frequent if none are given, by matplotlib; for `savefig`.

        See `fastlm.inference.word_map.map_words` and `fastlm.inference.map_picture.draw_map`.
        """
        chosen = word_map.frequent_words(self) if words is None else words
        return draw_map(word_map.map_words(self, chosen))

    def write_word2vec(self, path: str | os.PathLike[str], *, binary: bool = False) -> None:
        """Write the table of word vectors, without `<s>`; see `fastlm.text.word2vec.write_word2vec`."""
        write_word2vec(path, self.vocabulary.words, self.embeddings[: len(self.vocabulary)], binary=binary)

    def _own(self, state: Any) -> State:
        if not isinstance(state, State) or (state.model is not self and state.model is not None):
            raise ValueError(f"expected a state of this model, which begins with its start(), got {state!r:.80}")
        return state

    def _word_id(self, word: Word) -> int:
        if not isinstance(word, str):
            return self._check_id(word)
        id = token_id(self.vocabulary, word)
        if id == self.vocabulary.start_id:
            raise ValueError(f"the word is {word!r}, which no word comes before; begin a sentence with start()")
        return id

    def _pairs(self, states: Sequence[State], words: Words) -> tuple[list[State], IntArray]:
        """Return several states, and the ids of as many words."""
        if isinstance(words, str):
            raise ValueError(f"the words are the string {words!r}, expected a list, of one word for each state")
        if len(states) != len(words):
            raise ValueError(f"got {len(states)} states and {len(words)} words, expected as many of these as of those")
        own = [self._own(state) for state in states]
        if isinstance(words, np.ndarray):
            return own, self._check_ids(words)
        return own, np.array([self._word_id(word) for word in words], np.int32)

    def _check_id(self, id: Any) -> int:
        if not isinstance(id, int | np.integer) or isinstance(id, bool) or not 0 <= id < len(self.vocabulary):
            raise ValueError(f"id is {id}, expected 0 to {len(self.vocabulary) - 1}, an id of the model's vocabulary")
        return int(id)

    def _check_ids(self, ids: NDArray[np.integer[Any]]) -> IntArray:
        ids = np.asarray(ids)
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            raise ValueError(f"ids are {ids.dtype}{list(ids.shape)}, expected a one-dimensional array of integers")
        if len(ids):
            self._check_id(int(ids.min()))
            self._check_id(int(ids.max()))
        return ids.astype(np.int32)
