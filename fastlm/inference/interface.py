"""What a language model must offer so that everything in this package can use it."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary

__all__ = ["CountTokens", "Model", "State"]

State: TypeAlias = Any
"""All of the text so far that a model remembers. Its kind is the model's own; it is never changed in place."""

CountTokens: TypeAlias = Callable[[int], object]
"""Called now and then with the number of tokens done since the last call."""


class Model(Protocol):
    """A word-level language model, V words wide.

    Ids are those of `vocabulary`; probabilities are natural logarithms. A model is only read while it is in
    use, so one object may serve many threads.
    """

    @property
    def vocabulary(self) -> Vocabulary:
        """The V words that can be predicted, `<unk>` and `</s>` among them."""

    @property
    def context(self) -> str:
        """How far the model looks back.

        "sentence": to the beginning of the sentence, where `<s>` stands. "continuous": into the sentences
        before it, with `</s>` as a word like others; a fresh start is what follows a `</s>`.
        """

    @property
    def carries_state(self) -> bool:
        """Whether the model remembers all of a continuous text, so that cutting it into streams costs memory."""

    @property
    def adapts(self) -> bool:
        """Whether the model learns from the text that it reads, so that a text is read from its beginning, in order."""

    @property
    def context_length(self) -> int | None:
        """How many tokens before a word its probability depends on, at most; None if there is no limit."""

    @property
    def self_normalised(self) -> bool:
        """Whether the model's scores are nearly log-probabilities before they are normalised; see `score_blocks`."""

    @property
    def embeddings(self) -> NDArray[np.floating[Any]]:
        """The table of word vectors, shape (V + 1, D); the last row is `<s>`."""

    def start(self) -> State:
        """Return the state at the beginning of a text."""

    def advance(self, state: State, id: int, /) -> State:
        """Return the state after one more token."""

    def log_probs(self, state: State, /) -> NDArray[np.floating[Any]]:
        """Return the log-probability of every next token, shape (V,)."""

    def score_ids(self, state: State, ids: NDArray[np.integer[Any]], /) -> tuple[NDArray[np.float64], State]:
        """Score ids as the text that follows `state`.

        The same as calling `log_probs` and `advance` in turn, one id after the other, but in one go.

        Returns
        -------
        tuple
            The log-probability of each id, shape (N,), and the state after the last of them.
        """

    def token_log_probs(
        self, corpus: Corpus, /, *, num_streams: int = 1, workers: Any = None, progress: CountTokens | None = None
    ) -> NDArray[np.float64]:
        """Score every token of a corpus, in its order.

        Parameters
        ----------
        corpus
            Ids of `vocabulary`; `</s>` closes the sentences.
        num_streams
            So many parts of the corpus are read side by side. In continuous context each part but the first
            begins with only the token before it as its history.
        workers
            Threads to share the work (`fastlm.nn.parallel.Workers`). The result does not depend on them.
        progress
            Called with numbers of tokens that add up to those of the corpus.

        Returns
        -------
        NDArray
            The log-probability of each token, shape (corpus.num_tokens,).
        """

    def log_prob_blocks(
        self, corpus: Corpus, /, *, num_streams: int = 1, workers: Any = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
        """Score every token of a corpus, in pieces of any size and order, each token once.

        Yields
        ------
        tuple
            Positions of tokens in the corpus, and their log-probabilities as `token_log_probs` gives them.
        """

    def score_blocks(
        self, corpus: Corpus, /, *, num_streams: int = 1, workers: Any = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
        """Yield what `log_prob_blocks` does, but before it is normalised: quick with many words, and not exact.

        The same pieces in the same order. Only a model that is `self_normalised` has such scores.
        """
