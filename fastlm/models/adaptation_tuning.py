"""The settings under which a model adapts best, found on held-out text."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import FastLMError
from fastlm.inference.evaluation import check_no_nan, perplexity
from fastlm.models.adaptation import AdaptedState, Reader, Settings, Stored
from fastlm.models.mixture import estimated_weights
from fastlm.models.neural import EVALUATION_ROWS, NeuralModel
from fastlm.models.neural_cache import mixed
from fastlm.nn.parallel import Workers
from fastlm.progress import announce
from fastlm.text.corpus import Corpus

__all__ = ["best_settings"]

FLATNESSES = [0.0, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.8, 1.5]
FACTORS = {"learning_rate": 2.0, "decay": 3.0}  # of a step to another value
MOST_STEPS = 10
SMALLEST_GAIN = 1e-4  # nats a token: what is less is not worth reading the text again


def best_settings(
    stored: Stored,
    settings: Settings,
    text: Corpus | Sequence[Corpus],
    *,
    fixed: Collection[str],
    workers: Workers,
    progress: bool,
) -> tuple[Settings, float]:
    """Return the settings under which a text gets the greatest probability, and its perplexity under them.

    It may be one of many documents, each of which is then read from a fresh start.
    """
    documents = [text] if isinstance(text, Corpus) else list(text)
    if not documents:
        raise ValueError("no document to find settings on: expected one or more")
    known: dict[Settings, float] = {}

    def log_prob(trial: Settings) -> float:
        """Mean of a token, without the cache; a rate that is too large for a finite loss is no candidate."""
        if trial in known:
            return known[trial]
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                mean = float(_columns(stored, replace(trial, cache_weight=0.0), documents, [], workers)[0].mean())
        except FastLMError:
            mean = -math.inf
        if progress:
            found = perplexity(-mean)
            announce(f"learning rate {trial.learning_rate:.4g}, decay {trial.decay:.4g}: perplexity {found:,.2f}")
        known[trial] = mean
        return mean

    if settings.learning_rate > 0:
        for name, factor in FACTORS.items():
            if name not in fixed and getattr(settings, name) > 0:
                settings = _climb(settings, name, factor, log_prob)
    if settings.cache_weight == 0:
        return settings, perplexity(-log_prob(settings))
    return _with_cache(stored, settings, documents, fixed=fixed, workers=workers, progress=progress)


def _climb(settings: Settings, name: str, factor: float, log_prob: Callable[[Settings], float]) -> Settings:
    """Multiply a setting by a factor, or divide it, for as long as that helps."""
    best, highest = settings, log_prob(settings)
    for direction in (1 / factor, factor):
        before = best
        for _ in range(MOST_STEPS):
            trial = replace(best, **{name: getattr(best, name) * direction})
            if name == "decay" and trial.decay > 1:
                break
            reached = log_prob(trial)
            if not reached > highest + SMALLEST_GAIN:
                break
            best, highest = trial, reached
        if best is not before:  # what helps in one direction does not in the other
            break
    return best


def _with_cache(
    stored: Stored,
    settings: Settings,
    documents: list[Corpus],
    *,
    fixed: Collection[str],
    workers: Workers,
    progress: bool,
) -> tuple[Settings, float]:
    """Choose flatness and weight of the cache; the text is read once for all of them."""
    has_keys = isinstance(stored.model, NeuralModel) and "flatness" not in fixed
    flatnesses = FLATNESSES if has_keys else [settings.flatness]
    own, *cached = _columns(stored, settings, documents, flatnesses, workers)
    best, lowest = settings, math.inf
    for flatness, column in zip(flatnesses, cached, strict=True):
        weight = settings.cache_weight
        if "cache_weight" not in fixed:
            weight = float(estimated_weights(np.array([own, column]))[1])
        found = perplexity(-float(mixed(own, column, weight).mean()))
        if progress:
            announce(f"flatness {flatness:.4g}, weight of the cache {weight:.4f}: perplexity {found:,.2f}")
        if found < lowest:
            best, lowest = replace(settings, flatness=flatness, cache_weight=weight), found
    return best, lowest


def _columns(
    stored: Stored, settings: Settings, documents: list[Corpus], flatnesses: list[float], workers: Workers
) -> NDArray[np.float64]:
    """Return log-probabilities of all tokens by the model that learns, and by the cache for each flatness."""
    columns = np.empty((1 + len(flatnesses), sum(document.num_tokens for document in documents)))
    done = 0
    for document in documents:
        reader = Reader(stored, settings, AdaptedState.fresh(stored.model), workers)
        for start in range(0, document.num_tokens, EVALUATION_ROWS):
            ids = document.ids[start : start + EVALUATION_ROWS].astype(np.int32)
            for own, cached in reader.columns(ids, flatnesses):
                columns[0, done : done + len(own)] = own
                if cached is not None:
                    columns[1:, done : done + len(own)] = cached
                done += len(own)
    check_no_nan(columns)
    return columns
