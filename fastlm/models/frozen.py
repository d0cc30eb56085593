"""A window model frozen for queries: a hidden state is a sum of stored rows, a score its product with one more."""

import copy
import os
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import ModelFileError
from fastlm.inference.arguments import check_vocabulary, whole_number
from fastlm.inference.evaluation import Report
from fastlm.kernels.frozen import ACTIVATIONS, frozen_hidden, frozen_scores
from fastlm.modelfile import ModelContents, write_model
from fastlm.models.base import LanguageModel
from fastlm.models.config import CONTEXTS, checked
from fastlm.models.freezing import DTYPES, expected_arrays, frozen_arrays
from fastlm.models.nnlm import NNLM, Window
from fastlm.nn.layers import check_ids
from fastlm.nn.outputs.softmax import Softmax
from fastlm.nn.parallel import Workers
from fastlm.nn.parameters import FloatArray, IntArray, StoredParameters
from fastlm.nn.workspace import Workspace
from fastlm.text.batches import ngram_windows
from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary

__all__ = ["FrozenNNLM"]

BLOCK_QUERIES = 1 << 12  # of a corpus, that are answered together
LARGE_BLOCK = 1 << 15  # of a text in memory; windows are made for so many
QUERIES_WORTH_A_THREAD = 1 << 10
CHOICES = {"context": CONTEXTS, "dtype": DTYPES, "activation": ACTIVATIONS}


class FrozenNNLM(LanguageModel):
    """The textbook's NNLM with its products made beforehand, for queries at the speed of an n-gram model.

    What a word adds to the hidden layer at a place of the window, the product of its vector and that place's slice of
    the hidden weights, is the same in every text, so it is stored (Devlin et al. 2014)::

        h = f(r[1, x[t-n]] + ... + r[n, x[t-1]] + b_h)
        score(w) = W_w h + b_w

    The score is taken for the log-probability: the model was trained so that the sum of exp(score) over the vocabulary,
    Z, is near 1 (`self_normalising`), and a query does not cost more with more words. So `log_prob`, `score`,
    `rescore` and whatever goes word by word is off by log Z, which `centred` brings to 0 in the mean and whose size
    `measure` tells. What looks at all words anyway is normalised: `log_probs`, and with it `predict` and generation.
    So is `evaluate`, if not told otherwise, and a frozen model in a mixture. The two kinds differ by log Z for
    the same word: `state.log_prob(word)` is not what `state.log_probs()` says of it, and `measure_tokens` finds another
    surprisal with `distribution` than without. `exact()` gives the model that always normalises: there they agree.

    Made by `FrozenNNLM.of(model)` or `fastlm freeze`.

    Parameters
    ----------
    vocabulary : Vocabulary
    arrays : dict of str to array
        `hidden.rows` (V + 1, n, H), r, the last word being `<s>`; `hidden.bias` (H,); `output.weight` (V, H);
        `output.bias` (V,). With dtype "int8" rows and weight are int8, and count `hidden.scales` (V + 1, n) and
        `output.scales` (V,) times.
    context_size, hidden_size : int
        n and H.
    activation : {"tanh", "relu", "gelu"}
        f.
    context : {"sentence", "continuous"}
    dtype : {"float32", "int8"}

    Examples
    --------
    >>> import fastlm
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "sat"])
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, self_normalising=0.1)
    >>> frozen = fastlm.FrozenNNLM.of(model)
    >>> exact = frozen.exact().score("the cat sat").log_prob
    >>> bool(abs(exact - model.score("the cat sat").log_prob) < 1e-4)
    True
    """

    architecture = "frozen"

    def __init__(
        self,
        vocabulary: Vocabulary,
        arrays: dict[str, NDArray[Any]],
        *,
        context_size: int,
        hidden_size: int,
        activation: str,
        context: str,
        dtype: str = "float32",
    ) -> None:
        self.vocabulary = vocabulary
        self.config = checked(
            {
                "context_size": context_size,
                "hidden_size": hidden_size,
                "activation": activation,
                "context": context,
                "dtype": dtype,
            },
            CHOICES,
        )
        self.context = self.config["context"]
        self.info: dict[str, Any] = {}
        self._arrays = _checked_arrays(arrays, self.config, len(vocabulary))
        self._activation = ACTIVATIONS.index(self.config["activation"])
        self._normalises = False

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.config.items())
        return f"FrozenNNLM({len(self.vocabulary)} words, {options})"

    @classmethod
    def of(cls, model: LanguageModel, *, dtype: str = "float32") -> Self:
        """Freeze a model.

        Parameters
        ----------
        model : NNLM
            The textbook's: one hidden layer, no averages, no direct connections; self-normalised.
        dtype : {"float32", "int8"}
            "int8" takes a quarter of the memory, and is a little less exact: a row is rounded to 255 steps.

        Returns
        -------
        FrozenNNLM

        Raises
        ------
        ValueError
            If the model cannot be frozen; the message says why, and what can be.
        """
        config, arrays = frozen_arrays(model, dtype)
        assert isinstance(model, NNLM)
        frozen = cls(model.vocabulary, arrays, **config)
        frozen.info = {**model.info, "frozen_from": dict(model.config)}
        return frozen

    @classmethod
    def from_contents(cls, contents: ModelContents) -> Self:
        """Build the model that a model file describes, over the file's own arrays."""
        try:
            model = cls(contents.vocabulary, contents.arrays, **contents.config)
        except (TypeError, ValueError) as error:
            raise ModelFileError(f"the model file does not describe a frozen model: {error}") from error
        model.info = dict(contents.info)
        return model

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model, with its vocabulary and tokenizer, to one file; atomically.

        Raises
        ------
        FileError
            If the file cannot be written; what stood there before is then whole.
        """
        write_model(path, ModelContents(self.architecture, self.config, self.vocabulary, self.parameters, self.info))

    def exact(self) -> Self:
        """Return the same model, over the same memory, whose every log-probability is exactly normalised."""
        return self._answering(normalised=True)

    def _answering(self, *, normalised: bool) -> Self:
        model = copy.copy(self)
        model._normalises = normalised
        return model

    def centred(self, corpus: Corpus, *, threads: int | None = None) -> Self:
        """Return the model whose log Z is 0 in the mean over a held-out text: all scores are shifted by one number.

        Exactly normalised probabilities stay what they are, and a model that is `exact()` stays exact.
        """
        both = self._answering(normalised=False), self.exact()
        with Workers(threads) as workers:
            scores, log_probs = (model.token_log_probs(corpus, workers=workers) for model in both)
        shift = float(np.mean(scores - log_probs)) if len(scores) else 0.0
        bias = self._arrays["output.bias"] - np.float32(shift)
        model = type(self)(self.vocabulary, self._arrays | {"output.bias": bias}, **self.config)
        model.info = {**self.info, "centred_by": shift}
        return model._answering(normalised=self._normalises)

    def measure(self, corpus: Corpus, *, threads: int | None = None, progress: bool = False) -> Report:
        """Measure the model on held-out text, and keep perplexity and |log Z| with it, in `info`.

        Returns
        -------
        Report
            Exactly normalised; `log_norm_mean` and `log_norm_99` say how far the scores are from that.
        """
        report = self.evaluate(corpus, threads=threads, progress=progress)
        names = ("perplexity", "log_norm_mean", "log_norm_99", "num_tokens")
        self.info |= {f"held_out_{name}": getattr(report, name) for name in names}
        return report

    @property
    def parameters(self) -> dict[str, NDArray[Any]]:
        """All arrays by name: the model's own, not copies."""
        return dict(self._arrays)

    @property
    def carries_state(self) -> bool:
        """False: a window is all that is remembered."""
        return False

    @property
    def self_normalised(self) -> bool:
        """True."""
        return True

    @property
    def context_length(self) -> int:
        """The number of words that are seen."""
        size: int = self.config["context_size"]
        return size

    @cached_property
    def embeddings(self) -> FloatArray:
        """What each word adds to the hidden layer, (V + 1, n H): alike for words that are used alike."""
        rows = _as_float(self._arrays["hidden.rows"], self._arrays.get("hidden.scales"))
        return rows.reshape(len(rows), -1)

    @cached_property
    def _output(self) -> Softmax:
        """The output layer, for all that is exact."""
        arrays = {
            "output.weight": _as_float(self._arrays["output.weight"], self._arrays.get("output.scales")),
            "output.bias": self._arrays["output.bias"],
        }
        source = StoredParameters(arrays, np.float32)
        return Softmax("output", self.config["hidden_size"], len(self.vocabulary), source)

    def start(self) -> Window:
        """Return the state at the beginning of a text: nothing but `<s>`, or nothing but `</s>`."""
        begin = self.vocabulary.start_id if self.context == "sentence" else self.vocabulary.end_id
        return Window(self, (begin,) * self.context_length)

    def _advance_one(self, state: Window, id: int) -> Window:
        if id == self.vocabulary.end_id and self.context == "sentence":
            return self.start()
        return Window(self, (*state.ids[1:], id))

    def _log_probs_one(self, state: Window) -> FloatArray:
        row: FloatArray = self._log_probs_all([state])[0]
        return row

    def _log_probs_all(self, states: list[Window]) -> FloatArray:
        return self._output.log_probs(self._hidden(self._windows(states)))

    def _log_prob_one(self, state: Window, id: int) -> float:
        return float(self._log_prob_all([state], np.array([id], np.int32))[0])

    def _log_prob_all(self, states: list[Window], ids: IntArray) -> NDArray[np.float64]:
        answer = self._exact_log_probs if self._normalises else self._scores
        return answer(self._windows(states), ids, Workers(1)).astype(np.float64)

    def score_ids(
        self, state: Window, ids: NDArray[np.integer[Any]], *, workers: Workers | None = None
    ) -> tuple[NDArray[np.float64], Window]:
        """Log-probability of each id as the text that follows `state`, and the state after them."""
        self._own(state)
        ids = self._check_ids(ids)
        log_probs, done = np.empty(len(ids)), 0
        answer = self._exact_log_probs if self._normalises else self._scores
        size = BLOCK_QUERIES if self._normalises else LARGE_BLOCK
        text = np.concatenate([np.array(state.ids, np.int32), ids])
        for _, windows, targets in self._queries(text, self.context_length, size):
            log_probs[done : done + len(targets)] = answer(windows, targets, workers or Workers(1))
            done += len(targets)
        for id in ids[-self.context_length :].tolist():
            state = self._advance_one(state, id)
        return log_probs, state

    def tree_log_probs(self, parents: IntArray, ids: IntArray) -> NDArray[np.float64]:
        """Log-probability of each edge of a prefix tree, (M,): all in one call, each behind its window."""
        windows, ids = self._tree_windows(parents, ids), self._check_ids(ids)
        if not self._normalises:
            return self._scores(windows, ids, Workers(1)).astype(np.float64)
        steps = np.column_stack([windows, ids])  # each takes all words, so equal ones are answered once
        _, first, places = np.unique(steps, axis=0, return_index=True, return_inverse=True)
        log_probs = self._exact_log_probs(windows[first], ids[first], Workers(1))
        return log_probs[places.reshape(-1)].astype(np.float64)

    def _tree_windows(self, parents: IntArray, ids: IntArray) -> IntArray:
        """Return the words on the way to each edge of a prefix tree, (M, n)."""
        windows = np.empty((len(ids), self.context_length), np.int32)
        words, before = np.append(ids, self.start().ids[-1:]), np.append(parents, -1)  # -1, the last, is the root
        edges = parents
        for place in reversed(range(self.context_length)):
            windows[:, place] = words[edges]
            edges = before[edges]
        return windows

    def log_prob_blocks(
        self, corpus: Corpus, *, num_streams: int = 1, workers: Workers | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
        """Yield positions and the exactly normalised log-probabilities there; see `LanguageModel`."""
        yield from self._blocks(corpus, num_streams, workers, exact=True)

    def score_blocks(
        self, corpus: Corpus, *, num_streams: int = 1, workers: Workers | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
        """Yield positions and the scores there; see `LanguageModel`."""
        yield from self._blocks(corpus, num_streams, workers, exact=False)

    def _token_blocks(
        self, corpus: Corpus, *, num_streams: int = 1, workers: Workers | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
        yield from self._blocks(corpus, num_streams, workers, exact=self._normalises)

    def _blocks(
        self, corpus: Corpus, num_streams: int, workers: Workers | None, *, exact: bool
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
        whole_number("num_streams", num_streams, minimum=1)
        check_vocabulary(corpus, self.vocabulary)
        answer = self._exact_log_probs if exact else self._scores
        with nullcontext(workers) if workers is not None else Workers(1) as active:
            for positions, windows, targets in self._queries(corpus.ids, 0, BLOCK_QUERIES):
                yield positions, answer(windows, targets, active)

    def _queries(
        self, ids: NDArray[Any], first: int, size: int
    ) -> Iterator[tuple[NDArray[np.int64], IntArray, IntArray]]:
        """Yield positions from the `first` on, their windows and what stands there, `size` at a time."""
        vocabulary, sentence = self.vocabulary, self.context == "sentence"
        check_ids("ids", ids[:first].astype(np.int32), 0, vocabulary.start_id + 1)
        for start in range(first, len(ids), size):
            positions = np.arange(start, min(start + size, len(ids)))
            targets = ids[start : start + size].astype(np.int32)
            check_ids("targets", targets, 0, len(vocabulary))
            windows = np.empty((len(positions), self.context_length), np.int32)
            ngram_windows(windows, ids, positions, vocabulary.start_id, vocabulary.end_id, sentence)
            yield positions, windows, targets

    def _windows(self, states: list[Window]) -> IntArray:
        windows = np.array([state.ids for state in states], np.int32)
        if windows.shape != (len(states), self.context_length):
            raise ValueError(f"the states are of another model, expected windows of {self.context_length} words")
        check_ids("ids of the states", windows, 0, self.vocabulary.start_id + 1)  # a pickled state comes from anywhere
        return windows

    def _hidden(self, windows: IntArray) -> FloatArray:
        hidden = np.empty((len(windows), self.config["hidden_size"]), np.float32)
        frozen_hidden(hidden, windows, *self._tables[:3], self._activation)
        return hidden

    def _scores(self, windows: IntArray, targets: IntArray, workers: Workers) -> FloatArray:
        """Score each target after its window, (Q,)."""
        scores = np.empty(len(targets), np.float32)

        def some(start: int, stop: int, worker: int) -> None:
            part, scratch = slice(start, stop), np.empty(self.config["hidden_size"], np.float32)
            frozen_scores(scores[part], windows[part], targets[part], *self._tables, scratch, self._activation)

        workers.share(some, len(targets), QUERIES_WORTH_A_THREAD)
        return scores

    def _exact_log_probs(self, windows: IntArray, targets: IntArray, workers: Workers) -> FloatArray:
        workspace = Workspace(np.float32, workers)
        return self._output.target_log_probs(self._hidden(windows), targets, workspace)

    @cached_property
    def _tables(self) -> tuple[Any, Any, Any, Any, Any, Any]:
        """The arrays in the order in which the kernels take them."""
        arrays = {"hidden.scales": np.empty((0, 0), np.float32), "output.scales": np.empty(0, np.float32)}
        arrays |= self._arrays
        hidden = arrays["hidden.rows"], arrays["hidden.scales"], arrays["hidden.bias"]
        return *hidden, arrays["output.weight"], arrays["output.scales"], arrays["output.bias"]


def _as_float(table: NDArray[Any], scales: FloatArray | None) -> FloatArray:
    return table if scales is None else table * scales[..., np.newaxis]


def _checked_arrays(
    arrays: dict[str, NDArray[Any]], config: dict[str, Any], vocab_size: int
) -> dict[str, NDArray[Any]]:
    """Return the arrays, all of which must be there, of the right types and shapes."""
    expected = expected_arrays(config, vocab_size)
    if arrays.keys() != expected.keys():
        missing, more = sorted(expected.keys() - arrays.keys()), sorted(arrays.keys() - expected.keys())
        raise ValueError(f"the arrays are not those of a frozen model: missing {missing}, not expected {more}")
    for name, (dtype, shape) in expected.items():
        if arrays[name].dtype != dtype or arrays[name].shape != shape:
            found = f"{arrays[name].dtype}{list(arrays[name].shape)}"
            raise ValueError(f"the array {name!r} is {found}, expected {dtype}{list(shape)} from its config")
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}
