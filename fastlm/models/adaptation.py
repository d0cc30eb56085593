"""Reading a text with a model that learns from it: dynamic evaluation, and the neural cache."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import FastLMError
from fastlm.inference.interface import State
from fastlm.kernels.adaptation import pull_back
from fastlm.modelfile import ModelContents
from fastlm.models.base import LanguageModel
from fastlm.models.history import longer_history
from fastlm.models.neural import EVALUATION_ROWS, NeuralModel
from fastlm.models.neural_cache import Cache, Cached, mixed
from fastlm.nn.optimizers import SGD
from fastlm.nn.parallel import Workers, even_blocks
from fastlm.nn.parameters import FloatArray, IntArray
from fastlm.nn.workspace import Workspace

if TYPE_CHECKING:
    from fastlm.models.adapted import Adapted

__all__ = ["AdaptedState", "Reader", "Settings"]

ELEMENTS = 1 << 17  # of the parameters that are pulled back in a block of work


@dataclass(frozen=True)
class Settings:
    """How a model adapts; `Adapted` says what each of them means."""

    learning_rate: float
    decay: float
    segment_size: int
    cache_size: int
    cache_weight: float
    flatness: float


@dataclass(frozen=True, eq=False)
class AdaptedState(State):
    """All that a text has changed since its beginning. It is never changed itself: keep it, and go back to it.

    Attributes
    ----------
    model : Adapted
    adapted : LanguageModel
        With the parameters that the text has led to: the stored model itself until something has been learned.
    num_steps : int
        How often that was.
    base : state of `adapted`
        Behind the words that have been learned from.
    pending : tuple of int
        The words after these.
    inner : state of `adapted`
        Behind all words.
    cached : Cached
    history : int
        A fingerprint of all words since the start (`fastlm.models.history`), which have led to all this.
    """

    adapted: LanguageModel
    num_steps: int
    base: Any
    pending: tuple[int, ...]
    inner: Any
    cached: Cached
    history: int

    @property
    def key(self) -> int:
        """The fingerprint: what the words are decides all."""
        return self.history

    @classmethod
    def fresh(cls, stored: LanguageModel, model: "Adapted | None" = None) -> "AdaptedState":
        """Return the state of `model` at the beginning of a text."""
        start = stored.start()
        return cls(model, stored, 0, start, (), start, Cached.nothing(), 0)

    def next_log_probs(self, settings: Settings) -> NDArray[np.float64]:
        """Natural log-probability of every next word, (V,)."""
        log_probs = self.adapted.log_probs(self.inner).astype(np.float64)
        if settings.cache_weight == 0 or not len(self.cached.words):
            return log_probs
        query = np.empty(0, self.cached.keys.dtype)
        if isinstance(self.adapted, NeuralModel):
            with Workers(1) as workers:
                any_word = np.zeros(1, np.int32)
                query = self.adapted.read(self.inner, any_word, Workspace(self.adapted.dtype, workers))[0][0]
        cached = self.cached.log_probs(query, settings.flatness, len(log_probs))
        return mixed(log_probs, cached, settings.cache_weight)


class Reader:
    """Reads a text from some state on, and changes as it goes.

    Parameters
    ----------
    stored : LanguageModel
        To whose parameters those that are learned are pulled back. It is only read.
    settings : Settings
    state : AdaptedState
    workers : Workers
    """

    def __init__(self, stored: LanguageModel, settings: Settings, state: AdaptedState, workers: Workers) -> None:
        self._stored = stored
        self._settings = settings
        self._model = state.adapted
        self._history = state.history
        self._optimizer: SGD | None = None  # of the model's parameters, once it is this reader's own
        self._num_steps = state.num_steps
        self._base, self._pending, self._inner = state.base, list(state.pending), state.inner
        self._workers = workers
        self._workspace = Workspace(stored.dtype if isinstance(stored, NeuralModel) else np.float32, workers)
        self._cache = Cache(settings.cache_size, state.cached, workers) if settings.cache_weight > 0 else None

    def state(self, model: "Adapted") -> AdaptedState:
        """Return the state of `model` that has been reached; reading on leaves it as it is."""
        if self._optimizer is not None:
            for parameter in self._optimizer.parameters:
                parameter.release_gradient()
        self._optimizer = None
        cached = Cached.nothing() if self._cache is None else self._cache.cached()
        pending = tuple(self._pending)
        return AdaptedState(
            model, self._model, self._num_steps, self._base, pending, self._inner, cached, self._history
        )

    def read(self, ids: IntArray) -> NDArray[np.float64]:
        """Score ids (N,), each after all before it, and learn from them."""
        weight = self._settings.cache_weight
        scores = [
            own if cached is None else mixed(own, cached, weight)
            for own, cached in self.columns(ids, [self._settings.flatness])
        ]
        return np.concatenate([np.empty(0), *scores])

    def columns(
        self, ids: IntArray, flatnesses: list[float]
    ) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64] | None]]:
        """Read ids, and yield what `read` mixes, portion by portion.

        Yields
        ------
        own : (N,)
            Log-probabilities by the model.
        cached : (N,), or (K, N) for K flatnesses, or None
            By the cache, for each flatness, if there is one. Where nothing is cached yet, those of the model.
        """
        for some in self._portions(ids):
            own, features = self._score(some)
            cached = None
            if self._cache is not None:
                was_empty = len(self._cache) == 0
                self._cache.add(features, some)
                rows = [self._cache.last_log_probs(len(some), flatness) for flatness in flatnesses]
                cached = np.array(rows) if len(rows) > 1 else rows[0]
                if was_empty:
                    cached[..., 0] = own[0]
            yield own, cached
            self._learn_from(some)

    def follow(self, ids: IntArray) -> None:
        """Read ids without scoring them."""
        for some in self._portions(ids):
            features = np.empty((len(some), 0), np.float32)
            if isinstance(self._model, NeuralModel):
                features, self._inner = self._model.read(self._inner, some, self._workspace)
            else:
                for id in some.tolist():
                    self._inner = self._model.advance(self._inner, id)
            if self._cache is not None:
                self._cache.add(features, some)
            self._learn_from(some)

    def _portions(self, ids: IntArray) -> Iterator[IntArray]:
        """Yield ids up to the next place where something is learned; each time that has happened meanwhile."""
        done = 0
        while done < len(ids):
            segment = self._settings.segment_size + 1 - len(self._pending)
            some = ids[done : done + (segment if self._settings.learning_rate > 0 else EVALUATION_ROWS)]
            done += len(some)
            yield some

    def _score(self, ids: IntArray) -> tuple[NDArray[np.float64], FloatArray]:
        """Return the model's log-probabilities (N,), and what its output layer saw, (N, H); H is 0 if it has none."""
        if not isinstance(self._model, NeuralModel):
            log_probs, self._inner = self._model.score_ids(self._inner, ids)
            return log_probs, np.empty((len(ids), 0), np.float32)
        features, self._inner = self._model.read(self._inner, ids, self._workspace)
        values = self._model.output.target_log_probs(features, ids, self._workspace)
        return values.astype(np.float64), features

    def _learn_from(self, ids: IntArray) -> None:
        """Take a step of gradient descent where a segment is complete.

        A segment is T words that follow each other, and the one after them: with each of the T, its successor is
        learned. That one is then the first of the next segment.
        """
        self._history = longer_history(self._history, ids.tolist())
        if self._settings.learning_rate == 0:
            return
        self._pending += ids.tolist()
        if len(self._pending) <= self._settings.segment_size:
            return
        words = np.array(self._pending, np.int32)
        model, optimizer = self._own_model()
        _, behind = model.read(self._base, words[:-1], self._workspace)  # by the parameters that have read them so far
        for parameter in optimizer.parameters:
            parameter.clear_gradient()
        self._workspace.step = self._num_steps
        loss, _ = model.loss_and_gradients(model.batch_after(self._base, words, self._workspace), self._workspace)
        if not np.isfinite(loss):
            raise FastLMError(
                f"dynamic evaluation with learning rate {self._settings.learning_rate:g} has led to a loss of {loss}; "
                "expected a finite number: take a smaller rate"
            )
        optimizer.step(self._settings.learning_rate, self._workers)
        self._pull_back(model)
        self._num_steps += 1
        self._base, self._pending = behind, self._pending[-1:]
        _, self._inner = model.read(behind, words[-1:], self._workspace)

    def _own_model(self) -> tuple[NeuralModel, SGD]:
        """Return the model, which is a copy from the first step on that changes it, and its optimizer."""
        assert isinstance(self._model, NeuralModel)
        if self._optimizer is None:
            arrays = {name: array.copy() for name, array in self._model.parameters.items()}
            model = self._model
            self._model = type(model).from_contents(
                ModelContents(model.architecture, model.config, model.vocabulary, arrays, model.info)
            )
            self._optimizer = SGD(self._model.parameter_list)
        return self._model, self._optimizer

    def _pull_back(self, model: NeuralModel) -> None:
        """Move all parameters a part of the way back to the stored ones."""
        assert isinstance(self._stored, NeuralModel)
        if self._settings.decay == 0:
            return
        for parameter, stored in zip(model.parameter_list, self._stored.parameter_list, strict=True):
            value, target = parameter.matrix, stored.matrix

            def pull(
                start: int, stop: int, worker: int, value: FloatArray = value, target: FloatArray = target
            ) -> None:
                pull_back(value[start:stop], target[start:stop], self._settings.decay)

            self._workers.run(pull, even_blocks(len(value), max(1, ELEMENTS // value.shape[1])))
