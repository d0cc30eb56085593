"""A language model that adapts to the text it reads."""

import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import ModelFileError
from fastlm.inference.arguments import check_vocabulary, real_number, whole_number
from fastlm.modelfile import ModelContents, write_model
from fastlm.models.adaptation import AdaptedState, Reader, Settings, Stored
from fastlm.models.adaptation_tuning import best_settings
from fastlm.models.base import LanguageModel
from fastlm.models.components import component_arrays, described_components, read_components
from fastlm.models.dynamic_evaluation import GradientSizes
from fastlm.models.mixture import Mixture
from fastlm.models.neural import EVALUATION_ROWS, NeuralModel
from fastlm.nn.parallel import Workers
from fastlm.nn.parameters import FloatArray, IntArray
from fastlm.text.corpus import Corpus

__all__ = ["Adapted", "adapt_networks"]

MAX_SIZE = 1_000_000  # of a cache, and of a segment
USUAL_RATES = {False: 0.03, True: 0.5}  # of dynamic evaluation: without gradient sizes, and with them
SIZE_PREFIX = "gradient_sizes."  # of their names in a model file


class Adapted(LanguageModel):
    """A model that adapts to the text it reads, word by word: `Adapted(model)` reads what `model` reads, but learns.

    *Dynamic evaluation* (Mikolov et al. 2010; Krause et al. 2018): after each segment of T words the network takes a
    step of gradient descent on it, and a step back to the parameters that are stored::

        theta <- theta - learning_rate dL/dtheta;   theta <- theta + decay (theta_stored - theta)

    With `gradient_sizes`, which are measured once on the text that the network was trained on, each row of a matrix has
    a rate of its own, lower where gradients are usually large, as Krause et al. divide each element by its root mean
    square: learning_rate / (1 + size / mean size). What is rarely moved then learns quickly, and that helps much more.

    *The neural cache* (Grave et al. 2017): words that came where the network was in a state like the present one are
    likely to come again. With h_i what its output layer saw when x_i was to be predicted, over the last words::

        p_cache(w) ~ sum over i with x_i = w of exp(flatness h_t . h_i)
        p(w) = (1 - cache_weight) p_network(w) + cache_weight p_cache(w)

    The model that is given is never changed, nor its file. What the text has changed is in the state alone: `start()`
    begins anew, with the stored model, as at the beginning of a document; any other state is a snapshot, to which one
    can go back. A state holds the parameters that it has changed, so it may be as large as the model.

    Parameters
    ----------
    model : LanguageModel
        A network; or any other model, which has a cache in which all words count alike (Kuhn & De Mori 1990), and
        no dynamic evaluation. In a mixture the networks adapt by themselves: `Mixture([Adapted(network), ngram])`.
    learning_rate : float, optional
        Of dynamic evaluation; 0: none. If not given, 0.03 for a network, 0.5 if gradient sizes are, and 0 for others.
    decay : float
        How far the parameters go back to the stored ones after each segment, from 0 to 1.
    segment_size : int
        T, the words from which a step is taken.
    cache_size : int
        How many words the cache goes back.
    cache_weight : float
        The share of the cache, from 0 (no cache) to below 1.
    flatness : float
        At 0 all cached words count alike.
    gradient_sizes : mapping of str to ndarray, optional
        As `fastlm.gradient_sizes` measures them.

    Attributes
    ----------
    model : LanguageModel
    settings : Settings
        The values of the other parameters.
    gradient_sizes : dict of str to ndarray
        Empty if they were not measured.

    Examples
    --------
    >>> import fastlm
    >>> text = ["the cat sat on the mat", "the dog sat on the rug"] * 10
    >>> vocabulary = fastlm.Vocabulary.build(text)
    >>> corpus = fastlm.Corpus.encode(text, vocabulary)
    >>> model = fastlm.RNNLM(vocabulary, embedding_dim=4, hidden_size=8)
    >>> adapted = fastlm.Adapted(model, learning_rate=0.5, segment_size=5)
    >>> adapted.evaluate(corpus).perplexity < model.evaluate(corpus).perplexity
    True
    """

    architecture = "adapted"

    def __init__(
        self,
        model: LanguageModel,
        *,
        learning_rate: float | None = None,
        decay: float = 0.005,
        segment_size: int = 10,
        cache_size: int = 2000,
        cache_weight: float = 0.1,
        flatness: float = 0.2,
        gradient_sizes: GradientSizes | None = None,
    ) -> None:
        if not isinstance(model, LanguageModel) or model.adapts:
            raise ValueError(f"model must be a language model that does not adapt yet, got {type(model).__name__}")
        is_network = isinstance(model, NeuralModel)
        self.gradient_sizes = {} if gradient_sizes is None else _checked_sizes(gradient_sizes, model)
        usual_rate = USUAL_RATES[bool(self.gradient_sizes)] if is_network else 0.0
        rate = usual_rate if learning_rate is None else learning_rate
        if rate != 0 and not is_network:
            raise ValueError(
                f"learning_rate is {rate}, but a {type(model).__name__} is not learned by gradients; leave it out, or "
                "give a network (in a mixture: adapt the networks, then mix)"
            )
        model.start()  # raises an error if it was never fitted
        self.model = model.exact()
        self.vocabulary = model.vocabulary
        self.context = "continuous"
        self.info: dict[str, Any] = {}
        self.settings = Settings(
            _number("learning_rate", rate, np.inf),
            _number("decay", decay, 1.0),
            whole_number("segment_size", segment_size, minimum=1, maximum=MAX_SIZE),
            whole_number("cache_size", cache_size, minimum=1, maximum=MAX_SIZE),
            _number("cache_weight", cache_weight, np.nextafter(1.0, 0.0)),
            _number("flatness", flatness, np.inf),
        )

    @property
    def config(self) -> dict[str, Any]:  # type: ignore[override]
        """The settings, and what the stored model is."""
        return {**asdict(self.settings), "models": described_components([self.model])}

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in asdict(self.settings).items())
        return f"Adapted({self.model!r}, {options})"

    @property
    def parameters(self) -> dict[str, NDArray[Any]]:
        """The arrays of the stored model, with `model0.` in front of their names, and the gradient sizes."""
        sizes = {SIZE_PREFIX + name: sizes for name, sizes in self.gradient_sizes.items()}
        return component_arrays([self.model]) | sizes

    @property
    def _stored(self) -> Stored:
        return Stored(self.model, self.gradient_sizes)

    @property
    def carries_state(self) -> bool:
        """True: it remembers what it has learned, also over the end of a sentence."""
        return True

    @property
    def adapts(self) -> bool:
        """True."""
        return True

    @property
    def embeddings(self) -> FloatArray:
        """The table of word vectors of the stored model."""
        return self.model.embeddings

    @classmethod
    def from_contents(cls, contents: ModelContents) -> Self:
        """Build the model that a model file describes, over the file's own arrays."""
        sizes = {name: array for name, array in contents.arrays.items() if name.startswith(SIZE_PREFIX)}
        arrays = {name: array for name, array in contents.arrays.items() if name not in sizes}
        models = read_components(replace(contents, arrays=arrays))
        options = {name: value for name, value in contents.config.items() if name != "models"}
        if len(models) != 1 or options.keys() != {field.name for field in fields(Settings)}:
            raise ModelFileError("the model file does not describe one model and how it adapts; it is damaged")
        try:
            own_sizes = {name.removeprefix(SIZE_PREFIX): array for name, array in sizes.items()}
            model = cls(models[0], **options, gradient_sizes=own_sizes or None)
        except (TypeError, ValueError) as error:
            raise ModelFileError(f"the model file does not describe a model that adapts: {error}") from error
        model.info = dict(contents.info)
        return model

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model as it is stored, and how it adapts, to one file; atomically. What was read is not in it.

        Raises
        ------
        FileError
            If the file cannot be written; what stood there before is then whole.
        """
        write_model(path, ModelContents(self.architecture, self.config, self.vocabulary, self.parameters, self.info))

    def tune(
        self,
        corpus: Corpus | Sequence[Corpus],
        *,
        fixed: Collection[str] = (),
        threads: int | None = None,
        progress: bool = False,
    ) -> Self:
        """Choose the settings under which a text gets the greatest probability.

        First learning rate and decay, each by steps in the direction that helps, without the cache, if there is
        dynamic evaluation; then flatness out of a list with the weight that EM finds for each. The text is read
        about ten times; some bytes a token are held meanwhile.

        Parameters
        ----------
        corpus : Corpus, or sequence of Corpus
            One document that the model has not learned from; or several, each of which is read from a fresh start.
        fixed : collection of str
            Names of settings that stay as they are; `segment_size` and `cache_size` always do.
        threads : int, optional
            None takes the cores that the process may use.
        progress : bool
            Tell of each trial, on standard error.

        Returns
        -------
        Adapted
            The model itself.

        Raises
        ------
        ValueError
            If the corpus has another vocabulary, or what is fixed is no setting.
        """
        documents = [corpus] if isinstance(corpus, Corpus) else list(corpus)
        for document in documents:
            check_vocabulary(document, self.vocabulary)
        _check_names(fixed)
        with Workers(threads) as workers:
            self.settings, perplexity = best_settings(
                self._stored, self.settings, documents, fixed=fixed, workers=workers, progress=progress
            )
        reached = perplexity if math.isfinite(perplexity) else None  # which a model file could not hold
        num_tokens = sum(document.num_tokens for document in documents)
        self.info = {"tuning": {"num_tokens": num_tokens, "perplexity": reached}}
        return self

    def reader(self, state: AdaptedState, workers: Workers) -> Reader:
        """Return what reads a text from `state` on."""
        return Reader(self._stored, self.settings, state, workers)

    def start(self) -> AdaptedState:
        """Return the state at the beginning of a text: the stored model, an empty cache."""
        return AdaptedState.fresh(self.model, self)

    def _advance_one(self, state: AdaptedState, id: int) -> AdaptedState:
        with Workers(1) as workers:
            reader = self.reader(state, workers)
            reader.follow(np.array([id], np.int32))
            return reader.state(self)

    def _log_probs_one(self, state: AdaptedState) -> FloatArray:
        return state.next_log_probs(self.settings)

    def score_ids(
        self, state: AdaptedState, ids: NDArray[np.integer[Any]], *, workers: Workers | None = None
    ) -> tuple[NDArray[np.float64], AdaptedState]:
        """Log-probability of each id as the text that follows `state`, and the state after them."""
        self._own(state)
        with Workers(1) as alone:
            reader = self.reader(state, workers or alone)
            return reader.read(self._check_ids(ids)), reader.state(self)

    def log_probs_along(
        self, state: AdaptedState, ids: IntArray, *, workers: Workers | None = None
    ) -> tuple[Callable[[slice], FloatArray], AdaptedState]:
        """Distributions before each of the ids that follow `state`.

        All are made here, (N, V): a state before each id, from which to make them later, may hold a network.
        """
        self._own(state)
        with Workers(1) as alone:
            reader = self.reader(state, workers or alone)
            rows = np.concatenate([np.empty((0, len(self.vocabulary))), *reader.distributions(self._check_ids(ids))])
            return lambda part: rows[part], reader.state(self)

    def tree_log_probs(self, parents: IntArray, ids: IntArray) -> NDArray[np.float64]:
        """Log-probability of each edge of a prefix tree, (M,): branch by branch.

        So there are states only at the forks on the way to where it reads, since each may hold a network.
        """
        log_probs = np.empty(len(ids))
        following: dict[int, list[int]] = {}
        for edge, parent in enumerate(parents.tolist()):
            following.setdefault(parent, []).append(edge)
        waiting = [(self.start(), edge) for edge in following.get(-1, [])]
        while waiting:
            state, edge = waiting.pop()
            branch = [edge]
            while len(following.get(branch[-1], [])) == 1:
                branch += following[branch[-1]]
            log_probs[branch], state = self.score_ids(state, ids[branch])
            waiting += [(state, edge) for edge in following.get(branch[-1], [])]
        return log_probs

    def log_prob_blocks(
        self, corpus: Corpus, *, num_streams: int = 1, workers: Workers | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
        """Yield what `token_log_probs` gives in pieces, one stream after the other."""
        num_streams = whole_number("num_streams", num_streams, minimum=1)
        check_vocabulary(corpus, self.vocabulary)
        num_streams = min(num_streams, corpus.num_tokens)
        bounds = (np.arange(num_streams + 1) * corpus.num_tokens // num_streams).tolist()
        for begin, end in pairwise(bounds):
            yield from self._read_stream(corpus, begin, end, workers)

    def _read_stream(
        self, corpus: Corpus, begin: int, end: int, workers: Workers | None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        with Workers(1) as alone:
            reader = self.reader(self.start(), workers or alone)
            reader.follow(corpus.ids[max(0, begin - 1) : begin].astype(np.int32))
            for start in range(begin, end, EVALUATION_ROWS):
                ids = corpus.ids[start : min(start + EVALUATION_ROWS, end)].astype(np.int32)
                yield np.arange(start, start + len(ids)), reader.read(ids)


def adapt_networks(model: LanguageModel) -> LanguageModel:
    """Return the model with all networks in it adapting, in the usual settings; what has none stays as it is."""
    if isinstance(model, Mixture):
        return Mixture([adapt_networks(part) for part in model.models], model.weights)
    return Adapted(model) if isinstance(model, NeuralModel) else model


def _check_names(fixed: Collection[str]) -> None:
    names = [field.name for field in fields(Settings)]
    if isinstance(fixed, str) or not isinstance(fixed, Collection) or not all(name in names for name in fixed):
        raise ValueError(f"fixed is {fixed!r}, expected a list of settings, out of {', '.join(names)}")


def _checked_sizes(sizes: GradientSizes, model: LanguageModel) -> dict[str, NDArray[np.float64]]:
    if not isinstance(sizes, Mapping):
        raise ValueError(
            f"gradient_sizes is {sizes!r:.80}, expected an array for the name of each parameter; measure them with "
            "gradient_sizes(model, corpus)"
        )
    expected = {name: (len(array),) for name, array in model.parameters.items()}
    checked = {name: np.asarray(array, np.float64) for name, array in sizes.items()}
    if not isinstance(model, NeuralModel) or {name: array.shape for name, array in checked.items()} != expected:
        raise ValueError("gradient_sizes are not those of this model; measure them with gradient_sizes(model, corpus)")
    if not all(np.isfinite(array).all() and (array >= 0).all() for array in checked.values()):
        raise ValueError("gradient_sizes are not all finite and at least 0; the parameters of the model are not finite")
    return checked


def _number(name: str, value: float, most: float) -> float:
    number = real_number(name, value)
    if not 0 <= number <= most:
        limit = "at least 0" if most == np.inf else "from 0 to 1" if most == 1 else "at least 0 and below 1"
        raise ValueError(f"{name} is {value}, expected {limit}")
    return number
