"""Linear mixtures of language models, with weights estimated on held-out text."""

import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlm.errors import FastLMError, ModelFileError
from fastlm.inference.arguments import check_vocabulary, whole_number
from fastlm.inference.evaluation import Report, Tally, check_no_nan, fitting_streams
from fastlm.inference.interface import State
from fastlm.inference.side_by_side import joint_blocks
from fastlm.kernels.mixing import expected_shares, mix_log_probs
from fastlm.modelfile import ModelContents, write_model
from fastlm.models.base import LanguageModel
from fastlm.models.components import check_one_vocabulary, component_arrays, described_components, read_components
from fastlm.nn.parallel import Workers
from fastlm.nn.parameters import FloatArray, IntArray
from fastlm.progress import Progress
from fastlm.text.corpus import Corpus

__all__ = ["Mixture", "estimated_weights"]

SMALLEST_GAIN = 1e-9  # nats a token: EM ends where a step gains less
MOST_STEPS = 10_000


@dataclass(frozen=True, eq=False)
class MixtureState(State):
    """The state of each of the models."""

    states: tuple[State, ...]

    @property
    def key(self) -> tuple[Hashable, ...]:
        """What decides the future for each of them."""
        return tuple(state.key for state in self.states)


class Mixture(LanguageModel):
    """Linear mixture of language models: p(w | h) = sum over k of weight_k p_k(w | h) (Jelinek & Mercer 1980).

    Models that err in different places, as counts and networks do, are together better than the best of them.

    Parameters
    ----------
    models : sequence of LanguageModel
        Of one vocabulary. They may look back differently far: each has a state of its own. A mixture among them is
        taken apart.
    weights : sequence of float, optional
        Not negative, and summing to one; all alike if not given. `tune` finds the best ones.

    Attributes
    ----------
    models : tuple of LanguageModel
    weights : tuple of float

    Examples
    --------
    >>> import fastlm
    >>> text = ["the cat sat on the mat", "the dog sat on the rug"] * 3
    >>> vocabulary = fastlm.Vocabulary.build(text)
    >>> corpus = fastlm.Corpus.encode(text, vocabulary)
    >>> models = [fastlm.NGramLM(vocabulary, order=n, smoothing="none").fit(corpus) for n in (1, 3)]
    >>> held_out = fastlm.Corpus.encode(["the dog sat on the cat"], vocabulary)  # "on the cat" was never seen
    >>> mixture = fastlm.Mixture(models).tune(held_out)
    >>> mixture.weights[1] > mixture.weights[0] > 0
    True
    >>> [round(report.perplexity, 1) for report in mixture.compare(held_out)]
    [7.0, inf, 3.6]
    """

    architecture = "mixture"

    def __init__(self, models: Sequence[LanguageModel], weights: ArrayLike | None = None) -> None:
        given = _checked_models(models)
        self.vocabulary = check_one_vocabulary(given)
        shares = _checked_weights(weights, len(given))
        self.models, parts = zip(
            *((part, share * own) for model, share in zip(given, shares, strict=True) for part, own in _parts(model)),
            strict=True,
        )
        self.context = "sentence" if all(model.context == "sentence" for model in self.models) else "continuous"
        self.info: dict[str, Any] = {}
        self._set_weights(np.array(parts))

    def _set_weights(self, weights: NDArray[np.float64]) -> None:
        self._weights = weights
        self.weights = tuple(weights.tolist())

    @property
    def config(self) -> dict[str, Any]:  # type: ignore[override]
        """The weights, and what the models are."""
        return {"weights": list(self.weights), "models": described_components(self.models)}

    def __repr__(self) -> str:
        parts = ", ".join(f"{weight:.3f} {model!r}" for weight, model in zip(self.weights, self.models, strict=True))
        return f"Mixture({parts})"

    @property
    def parameters(self) -> dict[str, NDArray[Any]]:
        """The arrays of all models, with `model0.` and so on in front of their names."""
        return component_arrays(self.models)

    @property
    def carries_state(self) -> bool:
        """Whether one of the models carries a state through the text."""
        return any(model.carries_state for model in self.models)

    @property
    def adapts(self) -> bool:
        """Whether one of the models learns from the text that it reads."""
        return any(model.adapts for model in self.models)

    @property
    def context_length(self) -> int | None:
        """The longest of the models' own; None if one of them has no limit."""
        lengths = [model.context_length for model in self.models]
        return None if None in lengths else max(length or 0 for length in lengths)

    @property
    def embeddings(self) -> FloatArray:
        """The table of word vectors of the first model that has one."""
        for model in self.models:
            try:
                table: FloatArray = model.embeddings
            except FastLMError:
                continue
            return table
        raise FastLMError(
            "none of the models in this mixture has word vectors; ask an NNLM or an RNNLM for similar words"
        )

    @classmethod
    def from_contents(cls, contents: ModelContents) -> Self:
        """Build the mixture that a model file describes, over the file's own arrays."""
        models = read_components(contents)
        try:
            model = cls(models, list(contents.config["weights"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"the model file does not describe a mixture: {error}") from error
        model.info = dict(contents.info)
        return model

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the mixture with all its models, their vocabulary and tokenizer, to one file; atomically.

        Raises
        ------
        FileError
            If the file cannot be written; what stood there before is then whole.
        """
        write_model(path, ModelContents(self.architecture, self.config, self.vocabulary, self.parameters, self.info))

    def tune(
        self, corpus: Corpus, *, num_streams: int = 16, threads: int | None = None, progress: bool = False
    ) -> Self:
        """Choose the weights that give a text the greatest probability, by EM (Dempster et al. 1977).

        There is one such maximum, and it is found wherever the weights begin. Each model reads the text once; eight
        bytes a token and model are held meanwhile.

        Parameters
        ----------
        corpus : Corpus
            Text that none of the models has learned from: on its own text a model is right by heart.
        num_streams : int
            As in `evaluate`.
        threads : int, optional
            None takes the cores that the process may use.
        progress : bool
            Show how far it has come, on standard error.

        Returns
        -------
        Mixture
            The mixture itself.

        Raises
        ------
        ValueError
            If the corpus has another vocabulary.
        """
        num_streams = fitting_streams(self, corpus, num_streams)
        log_probs = np.empty((len(self.models), corpus.num_tokens))
        with Workers(threads) as workers, Progress(corpus.num_tokens, "tok", enabled=progress) as shown:
            for positions, columns in joint_blocks(self.models, corpus, num_streams=num_streams, workers=workers):
                log_probs[:, positions] = columns
                shown.update(len(positions))
        for row in log_probs:
            check_no_nan(row)
        self._set_weights(estimated_weights(log_probs))
        self.info = {"tuning": {"num_tokens": corpus.num_tokens, "num_streams": num_streams}}
        return self

    def compare(
        self, corpus: Corpus, *, num_streams: int = 16, threads: int | None = None, progress: bool = False
    ) -> list[Report]:
        """Measure the perplexity of a text for each of the models, and for the mixture.

        Each model reads the text once. If one of them adapts to it, all read it in one stream.

        Parameters
        ----------
        corpus : Corpus
        num_streams, threads, progress
            As in `evaluate`.

        Returns
        -------
        list of Report
            Those of the models, and as the last one that of the mixture.
        """
        num_streams = fitting_streams(self, corpus, num_streams)
        tallies = [Tally(corpus) for _ in range(len(self.models) + 1)]
        with (
            Workers(threads) as workers,
            Progress(corpus.num_tokens, "tok", enabled=progress, description="evaluate") as shown,
        ):
            for positions, columns in joint_blocks(self.models, corpus, num_streams=num_streams, workers=workers):
                check_no_nan(columns)
                for tally, column in zip(tallies, [*columns, self.mixed(columns)], strict=True):
                    tally.add(positions, column)
                shown.update(len(positions))
        return [tally.report(model, num_streams) for tally, model in zip(tallies, [*self.models, self], strict=True)]

    def mixed(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mix log-probabilities of the models, (K, N): (N,)."""
        mixed = np.empty(columns.shape[1])
        mix_log_probs(mixed, columns, self._weights)
        return mixed

    def start(self) -> MixtureState:
        """Return the state at the beginning of a text, which is that of each model."""
        return MixtureState(self, tuple(model.start() for model in self.models))

    def _advance_one(self, state: MixtureState, id: int) -> MixtureState:
        return MixtureState(self, tuple(m.advance(own, id) for m, own in zip(self.models, state.states, strict=True)))

    def _advance_all(self, states: list[MixtureState], ids: IntArray) -> list[MixtureState]:
        columns = [model.advance(own, ids) for model, own in self._with_states(states)]
        return [MixtureState(self, parts) for parts in zip(*columns, strict=True)]

    def _log_probs_one(self, state: MixtureState) -> FloatArray:
        row: FloatArray = self._log_probs_all([state])[0]
        return row

    def _log_probs_all(self, states: list[MixtureState]) -> FloatArray:
        return self._mixed_rows(
            model.log_probs(own if len(own) > 1 else own[0]) for model, own in self._with_states(states)
        )

    def _mixed_rows(self, distributions: Iterable[FloatArray]) -> FloatArray:
        """Mix what each of the models says of every word, (N, V), or (V,), which is one row."""
        columns = np.array([log_probs.reshape(-1) for log_probs in distributions], np.float64)
        return self.mixed(columns).reshape(-1, len(self.vocabulary))

    def _log_prob_one(self, state: MixtureState, id: int) -> float:
        columns = [[model.log_prob(own, id)] for model, own in zip(self.models, state.states, strict=True)]
        return float(self.mixed(np.array(columns))[0])

    def _log_prob_all(self, states: list[MixtureState], ids: IntArray) -> NDArray[np.float64]:
        return self.mixed(np.array([model.log_prob(own, ids) for model, own in self._with_states(states)]))

    def _with_states(self, states: list[MixtureState]) -> Iterator[tuple[LanguageModel, list[State]]]:
        """Yield each model with its own part of some states."""
        return zip(self.models, map(list, zip(*(state.states for state in states), strict=True)), strict=True)

    def score_ids(
        self, state: MixtureState, ids: NDArray[np.integer[Any]], *, workers: Workers | None = None
    ) -> tuple[NDArray[np.float64], MixtureState]:
        """Log-probability of each id as the text that follows `state`, and the state after them."""
        self._own(state)
        ids = self._check_ids(ids)
        pairs = zip(self.models, state.states, strict=True)
        scored = [model.score_ids(own, ids, workers=workers) for model, own in pairs]
        columns = np.array([log_probs for log_probs, _ in scored])
        return self.mixed(columns), MixtureState(self, tuple(own for _, own in scored))

    def log_probs_along(
        self, state: MixtureState, ids: IntArray, *, workers: Workers | None = None
    ) -> tuple[Callable[[slice], FloatArray], MixtureState]:
        """Distributions before each of the ids that follow `state`: each model reads on in the way that it knows."""
        self._own(state)
        ids = self._check_ids(ids)
        pairs = zip(self.models, state.states, strict=True)
        functions, states = zip(
            *(model.log_probs_along(own, ids, workers=workers) for model, own in pairs), strict=True
        )
        return lambda part: self._mixed_rows(log_probs(part) for log_probs in functions), MixtureState(self, states)

    def tree_log_probs(self, parents: IntArray, ids: IntArray) -> NDArray[np.float64]:
        """Log-probability of each edge of a prefix tree, (M,): each model shares what it can."""
        return self.mixed(np.array([model.tree_log_probs(parents, ids) for model in self.models]))

    def log_prob_blocks(
        self, corpus: Corpus, *, num_streams: int = 1, workers: Workers | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
        """Yield what `token_log_probs` gives in pieces, so that memory does not grow with the corpus."""
        num_streams = whole_number("num_streams", num_streams, minimum=1)
        check_vocabulary(corpus, self.vocabulary)
        for positions, columns in joint_blocks(self.models, corpus, num_streams=num_streams, workers=workers):
            yield positions, self.mixed(columns)


def _checked_models(models: Sequence[LanguageModel]) -> list[LanguageModel]:
    """Return the models, each exactly normalised, or raise an error if one of them cannot be used."""
    if not isinstance(models, Iterable):
        raise ValueError(f"a mixture is made of a list of language models, got a {type(models).__name__}")
    given = list(models)
    for model in given:
        if not isinstance(model, LanguageModel):
            raise ValueError(f"a mixture is made of language models, got a {type(model).__name__}")
        model.start()  # raises an error if it was never fitted
    if not given:
        raise ValueError("a mixture of no models: expected one or more")
    return [model.exact() for model in given]


def _parts(model: LanguageModel) -> list[tuple[LanguageModel, float]]:
    """Return the models of which a model is a mixture, with their weights: itself, mostly."""
    return list(zip(model.models, model.weights, strict=True)) if isinstance(model, Mixture) else [(model, 1.0)]


def _checked_weights(weights: ArrayLike | None, num_models: int) -> NDArray[np.float64]:
    if weights is None:
        return np.full(num_models, 1 / num_models)
    checked = np.array(weights, dtype=np.float64)
    if checked.shape != (num_models,) or not (checked >= 0).all() or not abs(checked.sum() - 1) < 1e-6:
        raise ValueError(
            f"weights are {weights!r}, expected {num_models} numbers of at least 0 that sum to 1, one for each model"
        )
    checked /= checked.sum()
    return checked


def estimated_weights(log_probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights (K,) that make the sum of the mixed log-probabilities (K, N) greatest."""
    weights: NDArray[np.float64] = np.full(len(log_probs), 1 / len(log_probs))
    before = -np.inf
    for _ in range(MOST_STEPS):
        shares = np.empty_like(weights)
        log_prob, num_tokens = expected_shares(shares, log_probs, weights)
        if log_prob - before <= SMALLEST_GAIN * num_tokens:
            break
        weights, before = shares, log_prob
    return weights
