"""What every language model offers, and what all neural ones share."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import cycle
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import ModelFileError
from fastlm.inference import evaluation, generation, similarity, tokens
from fastlm.inference.arguments import check_vocabulary, whole_number
from fastlm.modelfile import ModelContents, write_model
from fastlm.models.config import CONTEXTS, DTYPES, checked
from fastlm.nn.layers import Embedding, Layer
from fastlm.nn.outputs import Softmax, TiedSoftmax
from fastlm.nn.parallel import Workers
from fastlm.nn.parameters import FloatArray, IntArray, Parameter, ParameterSource, RandomParameters, StoredParameters
from fastlm.nn.workspace import Workspace
from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary

__all__ = ["EVALUATION_ROWS", "LanguageModel", "NeuralModel"]

State: TypeAlias = Any
EVALUATION_ROWS = 2048  # tokens that go through a network together when nothing has to be learned


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
    >>> state = model.advance(model.start(), model.vocabulary["the"])
    >>> model.log_probs(state).shape
    (4,)
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
    @abstractmethod
    def embeddings(self) -> FloatArray:
        """Table of word vectors, (V + 1, D); the last row is that of `<s>`."""

    @abstractmethod
    def start(self) -> State:
        """Return the state at the beginning of a text: after `<s>`, or after a `</s>` with nothing before it."""

    @abstractmethod
    def advance(self, state: State, id: int) -> State:
        """Return the state after one more word; `state` stays as it is."""

    @abstractmethod
    def log_probs(self, state: State) -> FloatArray:
        """Natural log-probability of every next word, (V,)."""

    @abstractmethod
    def score_ids(self, state: State, ids: NDArray[np.integer[Any]]) -> tuple[NDArray[np.float64], State]:
        """Log-probability of each id as the text that follows `state`, and the state after them."""

    @abstractmethod
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

    def log_prob_blocks(
        self, corpus: Corpus, *, num_streams: int = 1, workers: Workers | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
        """Yield what `token_log_probs` gives in pieces: positions in the corpus, and the log-probabilities there."""
        yield np.arange(corpus.num_tokens), self.token_log_probs(corpus, num_streams=num_streams, workers=workers)

    @abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model, with its vocabulary and tokenizer, to one file; atomically."""

    def evaluate(
        self, corpus: Corpus, *, num_streams: int = 16, threads: int | None = None, progress: bool = False
    ) -> evaluation.Report:
        """Measure the perplexity of a text; see `fastlm.inference.evaluation.evaluate`."""
        with Workers(threads) as workers:
            return evaluation.evaluate(self, corpus, num_streams=num_streams, workers=workers, progress=progress)

    def score(self, text: str) -> tokens.Score:
        """Log-probability of a line of text, in total and word by word; see `fastlm.inference.tokens.score`."""
        return tokens.score(self, text)

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
        )

    def similar(self, word: str, k: int = 10) -> list[similarity.Neighbour]:
        """Return the k nearest words by cosine; see `fastlm.inference.similarity.similar`."""
        return similarity.similar(self, word, k)

    def _check_id(self, id: int) -> int:
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


@dataclass(frozen=True, eq=False)
class Batch:
    """What the output layer sees of some tokens of a corpus.

    Attributes
    ----------
    positions : (N,) int64
        Of the tokens in the corpus.
    targets : (N,) int32
        The tokens; negative where there is none.
    features : (N, H)
    workspace : Workspace
        Where the features lie.
    """

    positions: NDArray[np.int64]
    targets: IntArray
    features: FloatArray
    workspace: Workspace


class NeuralModel(LanguageModel):
    """A language model of layers, trained by gradients.

    A subclass builds its layers in `_build` from a `ParameterSource`, and says how a batch goes through them.

    Parameters
    ----------
    vocabulary : Vocabulary
    config : dict
        The constructor's arguments, as the model file keeps them; "context", "dtype" and "seed" among them.
    source : ParameterSource, optional
        None draws new parameters from the seed.
    """

    embedding: Embedding
    output: Softmax
    default_batch_size: ClassVar[int]
    default_bptt_len: ClassVar[int | None] = None  # None: there is no recurrence
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"context": CONTEXTS, "dtype": DTYPES}
    added_later: ClassVar[dict[str, Any]] = {}  # arguments that older files do not have, with what they mean there

    def __init__(self, vocabulary: Vocabulary, config: dict[str, Any], source: ParameterSource | None = None) -> None:
        if not isinstance(vocabulary, Vocabulary):
            raise ValueError(f"vocabulary must be a Vocabulary, got {type(vocabulary).__name__}; see Vocabulary.build")
        self.vocabulary = vocabulary
        self.config = checked(config, self.choices)
        self.context = self.config["context"]
        self.dtype = np.dtype(self.config["dtype"])
        self.info: dict[str, Any] = {}
        self.layers = self._build(source or RandomParameters(self.config["seed"], self.dtype))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.config.items())
        return f"{type(self).__name__}({len(self.vocabulary)} words, {options})"

    @classmethod
    def from_contents(cls, contents: ModelContents) -> Self:
        """Build the model that a model file describes, over the file's own arrays."""
        config = cls.added_later | contents.config
        try:
            source = StoredParameters(contents.arrays, config["dtype"])
            model = cls(contents.vocabulary, **config, source=source)
        except ModelFileError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"the model file's config does not describe a {cls.__name__}: {error}") from error
        if missing := model.config.keys() - config.keys():
            raise ModelFileError(
                f"the model file's config does not say {', '.join(sorted(missing))}, which a {cls.__name__} needs; "
                "it was not written by fastlm, or is damaged"
            )
        source.check_all_taken()
        model.info = dict(contents.info)
        return model

    @abstractmethod
    def _build(self, source: ParameterSource) -> list[Layer]: ...

    def _rate(self, name: str) -> float:
        """Return a rate of dropout by its name; None stands for the common rate."""
        value: float | None = self.config[name]
        rate: float = self.config["dropout"] if value is None else value
        return rate

    def _make_output(self, hidden_size: int, source: ParameterSource) -> Softmax:
        """Return the output layer that the config asks for, over a hidden layer of this size."""
        size, counts = len(self.vocabulary), self.vocabulary.counts
        if self.config["tied"]:
            return TiedSoftmax("output", hidden_size, size, source, counts, table=self.embedding.weight)
        return Softmax("output", hidden_size, size, source, counts)

    @property
    def parameter_list(self) -> list[Parameter]:
        """All parameters, in the order of the layers."""
        return [parameter for layer in self.layers for parameter in layer.parameters]

    @property
    def parameters(self) -> dict[str, FloatArray]:
        """All parameters as named arrays: the model's own, not copies."""
        return {parameter.name: parameter.value for parameter in self.parameter_list}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model, with its vocabulary and tokenizer, to one file; atomically.

        Raises
        ------
        FileError
            If the file cannot be written; what stood there before is then whole.
        """
        write_model(path, ModelContents(self.architecture, self.config, self.vocabulary, self.parameters, self.info))

    @abstractmethod
    def training_batches(
        self,
        corpus: Corpus,
        *,
        batch_size: int,
        bptt_len: int | None,
        seed: Sequence[int],
        start: int = 0,
        random_bptt_len: bool = False,
    ) -> Iterator[Any]:
        """Yield the batches of an epoch from the `start`-th on, in an order that depends on `seed` alone.

        Those before it are not read, but for the state that a recurrent model carries on, which is the caller's. With
        `random_bptt_len` a recurrent model reads chunks of random length, which depend on `seed`, too.
        """

    @abstractmethod
    def num_training_batches(
        self, corpus: Corpus, *, batch_size: int, bptt_len: int | None, random_bptt_len: bool = False
    ) -> int:
        """Count the batches of an epoch."""

    @abstractmethod
    def loss_and_gradients(self, batch: Any, workspace: Workspace) -> tuple[float, int]:
        """Forward and backward pass of one batch.

        Sets the gradients of the mean loss in the parameters.

        Returns
        -------
        loss : float
            Cross-entropy in nats, summed over the events.
        num_events : int
        """

    def carried(self, batch_size: int, workspace: Workspace) -> dict[str, FloatArray]:
        """Return what a training batch leaves to the next one, as named arrays of the workspace; here nothing."""
        return {}

    def token_log_probs(
        self,
        corpus: Corpus,
        *,
        num_streams: int = 1,
        workers: Workers | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> NDArray[np.float64]:
        """Natural log-probability of every token of a corpus; see `LanguageModel.token_log_probs`."""
        check_vocabulary(corpus, self.vocabulary)
        log_probs = np.empty(corpus.num_tokens)
        for positions, values in self.log_prob_blocks(corpus, num_streams=num_streams, workers=workers):
            log_probs[positions] = values
            if progress is not None:
                progress(len(positions))
        return log_probs

    def log_prob_blocks(
        self, corpus: Corpus, *, num_streams: int = 1, workers: Workers | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
        """Yield what `token_log_probs` gives in pieces, so that memory does not grow with the corpus."""
        num_streams = whole_number("num_streams", num_streams, minimum=1)
        check_vocabulary(corpus, self.vocabulary)
        with nullcontext(workers) if workers is not None else Workers(1) as active:
            workspaces = cycle([Workspace(self.dtype, active), Workspace(self.dtype, active)])
            yield from self._scored(self._features_of(corpus, num_streams, workspaces))

    @abstractmethod
    def _features_of(self, corpus: Corpus, num_streams: int, workspaces: Iterator[Workspace]) -> Iterator[Batch]:
        """Yield, for a batch of tokens after the other, what the output layer sees of them."""

    def _scored(self, batches: Iterator[Batch]) -> Iterator[tuple[NDArray[np.int64], FloatArray]]:
        """Yield positions in the corpus and the log-probabilities there.

        The output layer works one batch behind, so that the threads have it to do while the next one's features are
        made: that is why batches take turns between two workspaces.
        """
        waiting: tuple[Batch, FloatArray] | None = None
        for batch in batches:
            batch.workspace.workers.finish()
            if waiting is not None:
                yield _events(*waiting)
            waiting = batch, self.output.target_log_probs(batch.features, batch.targets, batch.workspace, defer=True)
        if waiting is not None:
            waiting[0].workspace.workers.finish()
            yield _events(*waiting)


def _events(batch: Batch, log_probs: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    events = batch.targets >= 0
    return batch.positions[events], log_probs[events]
