"""What a language model must offer so that everything in this package can use it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, Self, TypeAlias, cast, overload

import numpy as np
from numpy.typing import NDArray

from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary

__all__ = ["CountTokens", "Model", "State", "Word", "Words"]

Word: TypeAlias = str | int | np.integer[Any]
"""A token as the model's tokenizer makes them, `</s>` among them, or its id; a str that is not known is `<unk>`."""

Words: TypeAlias = Sequence[Word] | NDArray[np.integer[Any]]

CountTokens: TypeAlias = Callable[[int], object]
"""Called now and then with the number of tokens done since the last call."""


@dataclass(frozen=True, eq=False)
class State(ABC):
    """All of the text so far that a model remembers: what a decoder keeps with each of its hypotheses.

    A state never changes, so a copy is the state itself, and any number of hypotheses and threads may share one. Two
    states of a model are equal, and have one hash, when what decides their future is equal. Each model has a kind of
    its own; all begin with `model.start()`.

    Attributes
    ----------
    model
        None in a state that was pickled: it leaves the model behind, and goes on by `model.advance(state, word)` where
        it arrives.

    Examples
    --------
    >>> import fastlm
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "sat", "on", "mat"])
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    >>> state = model.start().advance("the").advance("cat")
    >>> bool(state.log_prob("sat") == state.log_probs()[vocabulary["sat"]])
    True
    >>> state == model.start().advance("on").advance("the").advance("cat")  # two words are all that it sees
    True
    """

    model: "Model | None" = field(repr=False)

    @property
    @abstractmethod
    def key(self) -> Hashable:
        """What decides the future, for a model."""

    def advance(self, word: Word) -> Self:
        """Return the state after one more word; `</s>` in sentence context leads back to the start."""
        return cast(Self, self._model.advance(self, word))

    def log_probs(self) -> NDArray[np.floating[Any]]:
        """Return the log-probability of every next word, shape (V,)."""
        return self._model.log_probs(self)

    def log_prob(self, word: Word) -> float:
        """Return the log-probability of one next word."""
        return self._model.log_prob(self, word)

    @property
    def _model(self) -> "Model":
        if self.model is None:
            raise ValueError("this state was pickled without its model; call model.advance(state, word) and the like")
        return self.model

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.key == other.key and (self.model is other.model or self.model is None or other.model is None)

    def __hash__(self) -> int:
        return hash(self.key)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (None, *(getattr(self, member.name) for member in fields(self)[1:]))


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

    @overload
    def advance(self, state: State, word: Word, /) -> State: ...
    @overload
    def advance(self, states: list[State], words: Words, /) -> list[State]: ...
    def advance(self, state: Any, word: Any, /) -> Any:
        """Return the state after one more token; of a list of states and as many tokens, a list."""

    def log_probs(self, state: State | list[State], /) -> NDArray[np.floating[Any]]:
        """Return the log-probability of every next token, shape (V,); of a list of N states, shape (N, V)."""

    @overload
    def log_prob(self, state: State, word: Word, /) -> float: ...
    @overload
    def log_prob(self, states: list[State], words: Words, /) -> NDArray[np.float64]: ...
    def log_prob(self, state: Any, word: Any, /) -> Any:
        """Return the log-probability of one next token; of a list of N states and as many tokens, shape (N,)."""

    def score_ids(
        self, state: Any, ids: NDArray[np.integer[Any]], /, *, workers: Any = None
    ) -> tuple[NDArray[np.float64], State]:
        """Score ids as the text that follows `state`.

        The same as calling `log_probs` and `advance` in turn, one id after the other, but in one go that workers share.

        Returns
        -------
        tuple
            The log-probability of each id, shape (N,), and the state after the last of them.
        """

    def log_probs_along(
        self, state: Any, ids: NDArray[np.int32], /, *, workers: Any = None
    ) -> tuple[Callable[[slice], NDArray[np.floating[Any]]], State]:
        """Read ids as the text that follows `state`, for the whole distributions on the way.

        A model that adapts makes all of them at once, (N, V), so that it is given no more ids than are looked at.

        Returns
        -------
        tuple
            A function that gives the log-probability of every next token before some of the ids, shape (N, V) for a
            slice of N of them, and that any number of threads may call; and the state after the last of them.
        """

    def tree_log_probs(self, parents: NDArray[np.int32], ids: NDArray[np.int32], /) -> NDArray[np.float64]:
        """Score sentences that share their beginnings.

        Parameters
        ----------
        parents : (M,) int32
            Of the edges of a prefix tree, each of which is a word: the edge before, which comes before it in the
            array; -1 at the root, which is a fresh start.
        ids : (M,) int32
            The words. Nothing comes after a `</s>`.

        Returns
        -------
        NDArray
            The log-probability of each, after all words on the way from the root, shape (M,).
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
