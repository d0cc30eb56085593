"""What all neural language models share."""

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import cycle, repeat
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import ModelFileError
from fastlm.inference.arguments import check_vocabulary, whole_number
from fastlm.inference.tokens import NUM_STREAMS
from fastlm.modelfile import ModelContents, write_model
from fastlm.models.base import LanguageModel
from fastlm.models.config import CONTEXTS, DTYPES, checked
from fastlm.nn.layers import Embedding, Layer
from fastlm.nn.outputs import OutputLayer
from fastlm.nn.parallel import Workers
from fastlm.nn.parameters import FloatArray, IntArray, Parameter, ParameterSource, RandomParameters, StoredParameters
from fastlm.nn.workspace import Workspace
from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary
from fastlm.text.word2vec import match

__all__ = ["EVALUATION_ROWS", "Batch", "NeuralModel"]

EVALUATION_ROWS = 2048  # tokens that go through a network together when nothing has to be learned


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
    output: OutputLayer
    default_batch_size: ClassVar[int]
    default_bptt_len: ClassVar[int | None] = None  # None: there is no recurrence
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"context": CONTEXTS, "dtype": DTYPES}
    # Arguments that older model files do not name, with what held then.
    added_later: ClassVar[dict[str, Any]] = {"output": "softmax", "tied": False}

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

    @property
    def parameter_list(self) -> list[Parameter]:
        """All parameters, in the order of the layers."""
        return [parameter for layer in self.layers for parameter in layer.parameters]

    @property
    def parameters(self) -> dict[str, FloatArray]:
        """All parameters as named arrays: the model's own, not copies."""
        return {parameter.name: parameter.value for parameter in self.parameter_list}

    def init_embeddings(self, words: Sequence[str], vectors: NDArray[np.floating[Any]]) -> int:
        """Begin with word vectors that were learned elsewhere, in place of random ones.

        Parameters
        ----------
        words : sequence of str
            N of them; those that the model does not have do no harm, of one that is there twice the first counts.
        vectors : (N, D) array
            D is the model's embedding_dim. They are taken as they are: scaled down to random ones they would be
            forgotten sooner.

        Returns
        -------
        int
            How many words of the vocabulary were found. The others keep their vectors, by a factor that gives these the
            standard deviation of those.

        Raises
        ------
        ValueError
            If no word is found, or the vectors are of another shape, not finite, or all zeros.

        Examples
        --------
        >>> import fastlm
        >>> from fastlm.text.word2vec import read_word2vec
        >>> vocabulary = fastlm.Vocabulary(["the", "cat", "sat"])
        >>> fastlm.NNLM(vocabulary, embedding_dim=3).write_word2vec("vectors.txt")
        >>> table = read_word2vec("vectors.txt", vocabulary)
        >>> fastlm.RNNLM(vocabulary, embedding_dim=table.vectors.shape[1]).init_embeddings(*table)
        5
        """
        vectors = np.asarray(vectors)
        embedding_dim = self.embeddings.shape[1]
        if vectors.shape != (len(words), embedding_dim):
            raise ValueError(
                f"got {len(words):,} words and vectors of shape {vectors.shape}, expected ({len(words)}, "
                f"{embedding_dim}), as the model's embedding_dim is {embedding_dim}"
            )
        ids, rows = match(words, self.vocabulary)
        if not len(ids):
            raise ValueError(
                f"none of the table's {len(words):,} words is in the model's vocabulary; are both of one language, and "
                "of one spelling?"
            )
        deviation = float(vectors[rows].std(dtype=np.float64))
        if not 0 < deviation < np.inf:
            raise ValueError(f"the standard deviation of the vectors is {deviation}, expected a finite number above 0")
        weight = self.embedding.weight
        weight.make_writable()
        weight.value *= deviation / weight.value.std(dtype=np.float64)
        weight.value[ids] = vectors[rows]
        return len(ids)

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

    @abstractmethod
    def read(self, state: Any, ids: IntArray, workspace: Workspace) -> tuple[FloatArray, Any]:
        """Read ids (N,) as the text that follows `state`.

        Returns
        -------
        features : (N, H)
            What the output layer sees when each of them is to be predicted.
        state
            After the last of them.
        """

    @abstractmethod
    def batch_after(self, state: Any, ids: IntArray, workspace: Workspace) -> Any:
        """Return the batch from which `loss_and_gradients` learns text that follows `state`.

        The first of the ids (N,) is read only; the other N - 1 are to be predicted.
        """

    def score_ids(
        self, state: Any, ids: NDArray[np.integer[Any]], *, workers: Workers | None = None
    ) -> tuple[NDArray[np.float64], Any]:
        """Log-probability of each id as the text that follows `state`, and the state after them."""
        state, ids = self._own(state), self._check_ids(ids)
        log_probs = np.empty(len(ids))
        workspace = self._reader(workers, len(ids))
        for start in range(0, len(ids), EVALUATION_ROWS):
            targets = ids[start : start + EVALUATION_ROWS]
            features, state = self.read(state, targets, workspace)
            values = self.output.target_log_probs(features, targets, workspace)
            log_probs[start : start + len(targets)] = values
        return log_probs, state

    def log_probs_along(
        self, state: Any, ids: IntArray, *, workers: Workers | None = None
    ) -> tuple[Callable[[slice], FloatArray], Any]:
        """Distributions before each of the ids that follow `state`; see `fastlm.inference.interface.Model`."""
        features, state = self._features_along(self._own(state), self._check_ids(ids), self._reader(workers, len(ids)))
        return lambda part: self.output.log_probs(features[part]), state

    def _features_along(self, state: Any, ids: IntArray, workspace: Workspace) -> tuple[FloatArray, Any]:
        """Return what the output layer sees before each of the ids that follow `state`, (N, H), and the state after."""
        if self.context == "sentence" and len(ids) and ids[-1] == self.vocabulary.end_id and state == self.start():
            corpus = Corpus.from_ids(ids, self.vocabulary)
            pieces = [
                (batch.positions[events], batch.features[events])
                for batch in self._features_of(corpus, min(NUM_STREAMS, corpus.num_sentences), repeat(workspace))
                for events in [batch.targets >= 0]
            ]
            positions, features = map(np.concatenate, zip(*pieces, strict=True))
            return features[np.argsort(positions)], state
        parts = [self.feature_vector(state)[np.newaxis][:0]]  # for no ids, too
        for start in range(0, len(ids), EVALUATION_ROWS):
            features, state = self.read(state, ids[start : start + EVALUATION_ROWS], workspace)
            parts.append(features.copy())
        return np.concatenate(parts), state

    def log_prob_blocks(
        self, corpus: Corpus, *, num_streams: int = 1, workers: Workers | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
        """Yield what `token_log_probs` gives in pieces, so that memory does not grow with the corpus."""
        num_streams = whole_number("num_streams", num_streams, minimum=1)
        check_vocabulary(corpus, self.vocabulary)
        with nullcontext(workers) if workers is not None else Workers(1) as active:
            workspaces = cycle([self._reader(active, corpus.num_tokens) for _ in range(2)])
            yield from self._normalised(self._features_of(corpus, num_streams, workspaces))

    @property
    def self_normalised(self) -> bool:
        """Whether the output layer has learned to do without normalisation."""
        return self.output.self_normalised

    def score_blocks(
        self, corpus: Corpus, *, num_streams: int = 1, workers: Workers | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
        """Yield what `log_prob_blocks` does, but before it is normalised; see `LanguageModel.score_blocks`."""
        if not self.self_normalised:
            super().score_blocks(corpus)
        num_streams = whole_number("num_streams", num_streams, minimum=1)
        check_vocabulary(corpus, self.vocabulary)
        with nullcontext(workers) if workers is not None else Workers(1) as active:
            for batch in self._features_of(corpus, num_streams, repeat(self._reader(active, corpus.num_tokens))):
                yield _events(batch, self.output.target_scores(batch.features, batch.targets, batch.workspace))

    @abstractmethod
    def _features_after(self, states: list[Any], workspace: Workspace) -> FloatArray:
        """Return what the output layer sees after each of N states, (N, H)."""

    @abstractmethod
    def feature_vector(self, state: Any) -> FloatArray:
        """Return what the output layer sees after one state, (H,), packing nothing: a decoder's way, step by step."""

    def _log_probs_one(self, state: Any) -> FloatArray:
        row: FloatArray = self.output.log_probs(self.feature_vector(state)[np.newaxis])[0]
        return row

    def _log_prob_one(self, state: Any, id: int) -> float:
        return self.output.log_prob(self.feature_vector(state), id)

    def _log_probs_all(self, states: list[Any]) -> FloatArray:
        return self.output.log_probs(self._features_after(states, self._scratch()))

    def _log_prob_all(self, states: list[Any], ids: IntArray) -> NDArray[np.float64]:
        workspace = self._scratch()
        features = self._features_after(states, workspace)
        return self.output.target_log_probs(features, ids, workspace).astype(np.float64)

    def _reader(self, workers: Workers | None, num_tokens: int) -> Workspace:
        """Return a workspace for a text of which nothing is learned; of a long one many batches are made."""
        return Workspace(self.dtype, workers or Workers(1), keeps_weights=num_tokens > EVALUATION_ROWS)

    def _scratch(self) -> Workspace:
        """Return a workspace for one call, on the caller's thread."""
        return Workspace(self.dtype, Workers(1), splits=False)

    @abstractmethod
    def _features_of(self, corpus: Corpus, num_streams: int, workspaces: Iterator[Workspace]) -> Iterator[Batch]:
        """Yield, for a batch of tokens after the other, what the output layer sees of them."""

    def _normalised(self, batches: Iterator[Batch]) -> Iterator[tuple[NDArray[np.int64], FloatArray]]:
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
