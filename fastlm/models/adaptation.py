"""Reading a text with a model that learns from it: dynamic evaluation, and the neural cache."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlm.errors import FastLMError
from fastlm.inference.interface import State
from fastlm.models.base import LanguageModel
from fastlm.models.dynamic_evaluation import GradientSizes, Learning
from fastlm.models.history import longer_history
from fastlm.models.neural import EVALUATION_ROWS, NeuralModel
from fastlm.models.neural_cache import Cache, Cached, mixed
from fastlm.nn.parallel import Workers
from fastlm.nn.parameters import FloatArray, IntArray
from fastlm.nn.workspace import Workspace

if TYPE_CHECKING:
    from fastlm.models.adapted import Adapted

__all__ = ["AdaptedState", "Reader", "Settings", "Stored"]


@dataclass(frozen=True)
class Settings:
    """How a model adapts; `Adapted` says what each of them means."""

    learning_rate: float
    decay: float
    segment_size: int
    cache_size: int
    cache_weight: float
    flatness: float


@dataclass(frozen=True)
class Stored:
    """What adapts: a model, and how large its gradients usually are, if that was measured. Both are only read."""

    model: LanguageModel
    gradient_sizes: GradientSizes


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
        if self.num_steps:
            _check_losses(-log_probs, settings)
        if settings.cache_weight == 0:
            return log_probs
        query = np.empty(0, self.cached.keys.dtype)
        if isinstance(self.adapted, NeuralModel):
            query = self.adapted.feature_vector(self.inner)
        return _with_cache(log_probs, self.cached, query, settings)


class Reader:
    """Reads a text from some state on, and changes as it goes.

    Parameters
    ----------
    stored : Stored
        To the parameters of its model those that are learned are pulled back.
    settings : Settings
    state : AdaptedState
    workers : Workers
    """

    def __init__(self, stored: Stored, settings: Settings, state: AdaptedState, workers: Workers) -> None:
        self._stored = stored
        self._settings = settings
        self._model = state.adapted
        self._history = state.history
        self._learning: Learning | None = None  # once the model is this reader's own
        self._num_steps = state.num_steps
        self._base, self._pending, self._inner = state.base, list(state.pending), state.inner
        self._workers = workers
        self._workspace = Workspace(self._model.dtype if isinstance(self._model, NeuralModel) else np.float32, workers)
        self._cache = Cache(settings.cache_size, state.cached, workers) if settings.cache_weight > 0 else None

    def state(self, model: "Adapted") -> AdaptedState:
        """Return the state of `model` that has been reached; reading on leaves it as it is."""
        if self._learning is not None:
            self._learning.release_gradients()
        self._learning = None
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
            if self._num_steps:
                _check_losses(-own, self._settings)
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

    def distributions(self, ids: IntArray) -> Iterator[NDArray[np.float64]]:
        """Read ids, and yield the log-probabilities of every word before each, (N, V), portion by portion."""
        for some in self._portions(ids):
            log_probs, features = self._distributions(some)
            if self._num_steps:
                _check_losses(-log_probs, self._settings)
            if self._cache is not None:
                for place, query in enumerate(features):
                    log_probs[place] = _with_cache(log_probs[place], self._cache.cached(), query, self._settings)
                    self._cache.add(query[np.newaxis], some[place : place + 1])
            yield log_probs
            self._learn_from(some)

    def follow(self, ids: IntArray) -> None:
        """Read ids without scoring them."""
        for some in self._portions(ids):
            features = np.empty((len(some), 0), np.float32)
            if isinstance(self._model, NeuralModel):
                features = self._read(self._model, some)
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
        features = self._read(self._model, ids)
        values = self._model.output.target_log_probs(features, ids, self._workspace)
        return values.astype(np.float64), features

    def _distributions(self, ids: IntArray) -> tuple[NDArray[np.float64], FloatArray]:
        """Return what `_score` does, but the log-probabilities of every word, (N, V)."""
        if not isinstance(self._model, NeuralModel):
            log_probs_of, self._inner = self._model.log_probs_along(self._inner, ids)
            return log_probs_of(slice(len(ids))).astype(np.float64), np.empty((len(ids), 0), np.float32)
        features = self._read(self._model, ids)
        return self._model.output.log_probs(features).astype(np.float64), features

    def _read(self, network: NeuralModel, ids: IntArray) -> FloatArray:
        """Read ids, and return what the output layer sees before each, (N, H).

        The one that completes a segment is not read yet: that is done when the segment has been learned.
        """
        now = len(ids) - self._completes_segment(ids)
        features = np.empty((0, 0), network.dtype)
        if now:
            features, self._inner = network.read(self._inner, ids[:now], self._workspace)
        if now == len(ids):
            return features
        before_last = network.feature_vector(self._inner)[np.newaxis]
        return np.concatenate([features, before_last]) if now else before_last

    def _completes_segment(self, ids: IntArray) -> bool:
        return self._settings.learning_rate > 0 and len(self._pending) + len(ids) > self._settings.segment_size

    def _learn_from(self, ids: IntArray) -> None:
        """Take a step of gradient descent where a segment is complete.

        A segment is T words that follow each other, and the one after them: with each of the T, its successor is
        learned. That one is then the first of the next segment.
        """
        self._history = longer_history(self._history, ids.tolist())
        if self._settings.learning_rate == 0:
            return
        is_complete = self._completes_segment(ids)
        self._pending += ids.tolist()
        if not is_complete:
            return
        words = np.array(self._pending, np.int32)
        learning = self._own_learning()
        network = learning.network
        behind = replace(self._inner, model=network)  # in front of the last word, which is not read yet
        self._workspace.step = self._num_steps
        loss = learning.step(network.batch_after(self._base, words, self._workspace), self._workspace)
        _check_losses(loss, self._settings)
        self._num_steps += 1
        self._base, self._pending = behind, self._pending[-1:]
        self._inner = network.advance(behind, words[-1])

    def _own_learning(self) -> Learning:
        """Return what learns: from the first step on a copy of the network, with which this goes on."""
        if self._learning is None:
            assert isinstance(self._model, NeuralModel) and isinstance(self._stored.model, NeuralModel)
            self._learning = Learning(
                self._stored.model,
                self._model,
                learning_rate=self._settings.learning_rate,
                decay=self._settings.decay,
                sizes=self._stored.gradient_sizes,
                workers=self._workers,
            )
            self._model = self._learning.network
        return self._learning


def _with_cache(
    log_probs: NDArray[np.float64], cached: Cached, query: FloatArray, settings: Settings
) -> NDArray[np.float64]:
    """Mix a model's log-probabilities of every word (V,), which its output layer gives at `query`, with the cache's."""
    if not len(cached.words):
        return log_probs
    own = cached.log_probs(query, settings.flatness, len(log_probs))
    return mixed(log_probs, own, settings.cache_weight)


def _check_losses(losses: ArrayLike, settings: Settings) -> None:
    """Raise a FastLMError where what has been learned leads to losses that are not finite."""
    wrong = np.extract(~np.isfinite(losses), losses)
    if len(wrong):
        raise FastLMError(
            f"dynamic evaluation with learning rate {settings.learning_rate:g} has led to a loss of {wrong[0]}; "
            "expected a finite number: take a smaller rate"
        )
