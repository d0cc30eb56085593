"""Dynamic evaluation: a network takes steps of gradient descent on the text that it reads (Krause et al. 2018)."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlm.inference.arguments import check_vocabulary, whole_number
from fastlm.kernels.adaptation import learn_rows, pull_back
from fastlm.modelfile import ModelContents
from fastlm.models.base import LanguageModel
from fastlm.models.neural import NeuralModel
from fastlm.nn.parallel import Workers, even_blocks
from fastlm.nn.parameters import FloatArray, IntArray, Parameter, Rows
from fastlm.nn.workspace import Workspace
from fastlm.progress import Progress
from fastlm.text.corpus import Corpus

__all__ = ["GradientSizes", "Learning", "gradient_sizes"]

ELEMENTS = 1 << 17  # of the parameters that are changed in a piece of work
MEASURED_TOKENS = 200_000

GradientSizes = Mapping[str, NDArray[np.float64]]


def gradient_sizes(
    model: LanguageModel,
    corpus: Corpus,
    *,
    num_tokens: int = MEASURED_TOKENS,
    threads: int | None = None,
    progress: bool = False,
) -> dict[str, NDArray[np.float64]]:
    """Measure how large the gradients of a network usually are: `Adapted(model, gradient_sizes=...)` divides by that.

    Parameters
    ----------
    model : LanguageModel
        A network. It is only read.
    corpus : Corpus
        The text that it was trained on.
    num_tokens : int
        How much of it is read.
    threads : int, optional
        None takes the cores that the process may use.
    progress : bool
        Show how far it has come, on standard error.

    Returns
    -------
    dict of str to ndarray
        For each parameter the root mean square of the gradient's elements, over batches of the usual size: (V,), a
        number for each row of a matrix, or element of a vector.

    Raises
    ------
    ValueError
        If the model is no network, or the corpus of another vocabulary.

    Examples
    --------
    >>> import fastlm
    >>> text = ["the cat sat on the mat", "the dog sat on the rug"] * 10
    >>> vocabulary = fastlm.Vocabulary.build(text)
    >>> corpus = fastlm.Corpus.encode(text, vocabulary)
    >>> model = fastlm.RNNLM(vocabulary, embedding_dim=4, hidden_size=8)
    >>> sizes = gradient_sizes(model, corpus)
    >>> bool(sizes["output.bias"][vocabulary["the"]] > sizes["output.bias"][vocabulary["cat"]])  # it comes more often
    True
    """
    if not isinstance(model, NeuralModel):
        raise ValueError(f"a {type(model).__name__} has no gradients; give a network")
    check_vocabulary(corpus, model.vocabulary)
    text = Corpus.from_ids(corpus.ids[: whole_number("num_tokens", num_tokens, minimum=1)].copy(), model.vocabulary)
    network = _network_over(model, model.parameters)
    squares = {each.name: np.zeros(len(each.value)) for each in network.parameter_list}
    num_batches = 0
    with Workers(threads) as workers, Progress(text.num_tokens, "tok", enabled=progress) as shown:
        workspace = Workspace(model.dtype, workers)
        for batch in network.training_batches(text, batch_size=model.default_batch_size, bptt_len=None, seed=(0,)):
            _, num_events = _differentiate(network, batch, workspace)
            for parameter in network.parameter_list:
                ids, values = _gradient_rows(parameter)
                squares[parameter.name][ids] += np.einsum("ij,ij->i", values, values)
            workspace.step += 1
            num_batches += 1
            shown.update(num_events)
    return {
        each.name: np.sqrt(squares[each.name] / (num_batches * _as_rows(each.value).shape[1]))
        for each in network.parameter_list
    }


class _Piece(NamedTuple):
    """Some rows of a parameter, with their gradient, or without one: then they are pulled back only."""

    value: FloatArray
    stored: FloatArray
    ids: IntArray
    rates: NDArray[np.float64]
    gradient: FloatArray | None

    def change(self, decay: float) -> None:
        if self.gradient is None:
            pull_back(self.value, self.stored, self.ids, decay)
        else:
            learn_rows(self.value, self.stored, self.gradient, self.ids, self.rates, decay)


class Learning:
    """A copy of a network that learns, and is pulled back to the stored one after each step.

    Parameters
    ----------
    stored : NeuralModel
        It is only read.
    current : NeuralModel
        The network to go on from; it is copied.
    learning_rate, decay : float
    sizes : mapping of str to ndarray
        As `gradient_sizes` gives them, or nothing.
    workers : Workers

    Attributes
    ----------
    network : NeuralModel
        The copy, which each step changes.
    """

    def __init__(
        self,
        stored: NeuralModel,
        current: NeuralModel,
        *,
        learning_rate: float,
        decay: float,
        sizes: GradientSizes,
        workers: Workers,
    ) -> None:
        self.network = _network_over(current, {name: array.copy() for name, array in current.parameters.items()})
        self._stored = {name: _as_rows(array) for name, array in stored.parameters.items()}
        self._rates = _row_rates(self._stored, learning_rate, sizes)
        self._decay = decay
        self._workers = workers
        self._moved: dict[str, NDArray[np.bool_]] = {}  # rows that are not as stored, where gradients are sparse

    def step(self, batch: object, workspace: Workspace) -> float:
        """Learn from a batch; return the loss, with which nothing was done where it is not finite."""
        loss, _ = _differentiate(self.network, batch, workspace)
        if not np.isfinite(loss):
            return loss
        pieces = [piece for parameter in self.network.parameter_list for piece in self._pieces(parameter)]

        def change(start: int, stop: int, worker: int) -> None:
            for piece in pieces[start:stop]:
                piece.change(self._decay)

        self._workers.run(change, even_blocks(len(pieces), 1))
        return loss

    def _pieces(self, parameter: Parameter) -> list[_Piece]:
        """Return the work on a parameter, in pieces: rows that have a gradient, and rows that are pulled back only."""
        name, value = parameter.name, _as_rows(parameter.value)
        stored, rates = self._stored[name], self._rates[name]
        ids, values = _gradient_rows(parameter)
        size = max(1, ELEMENTS // value.shape[1])
        learned = [slice(start, start + size) for start in range(0, len(ids), size)]
        pieces = [_Piece(value, stored, ids[part], rates, values[part]) for part in learned]
        if len(ids) == len(value):
            self._moved.pop(name, None)
            return pieces
        if self._decay == 0:
            return pieces
        if name not in self._moved:
            self._moved[name] = (value != stored).any(axis=1)
        moved = self._moved[name]
        moved[ids] = False
        others = np.flatnonzero(moved).astype(np.int32)
        moved[ids] = True
        pulled = [others[start : start + size] for start in range(0, len(others), size)]
        return [*pieces, *(_Piece(value, stored, part, rates, None) for part in pulled)]

    def release_gradients(self) -> None:
        """Give the memory of the gradients back."""
        for parameter in self.network.parameter_list:
            parameter.release_gradient()


def _network_over(model: NeuralModel, arrays: dict[str, FloatArray]) -> NeuralModel:
    """Return a network like `model` whose parameters are these arrays, with gradients of its own."""
    return type(model).from_contents(
        ModelContents(model.architecture, model.config, model.vocabulary, arrays, model.info)
    )


def _differentiate(network: NeuralModel, batch: object, workspace: Workspace) -> tuple[float, int]:
    for parameter in network.parameter_list:
        parameter.clear_gradient()
    return network.loss_and_gradients(batch, workspace)


def _as_rows(value: FloatArray) -> FloatArray:
    """Return a matrix as it is, and a vector as a column."""
    return value.reshape(len(value), -1)


def _gradient_rows(parameter: Parameter) -> tuple[IntArray, FloatArray]:
    """Return which rows have a gradient, and their gradients."""
    gradient = parameter.gradient
    if gradient is None:
        return np.empty(0, np.int32), _as_rows(parameter.value)[:0]
    if isinstance(gradient, Rows):
        return gradient.ids, gradient.values.reshape(len(gradient.ids), _as_rows(parameter.value).shape[1])
    return np.arange(len(gradient), dtype=np.int32), _as_rows(gradient)


def _row_rates(
    stored: Mapping[str, FloatArray], learning_rate: float, sizes: GradientSizes
) -> dict[str, NDArray[np.float64]]:
    """Return the learning rate of each row: less where gradients are usually larger than in the mean."""
    if not sizes:
        return {name: np.full(len(value), learning_rate) for name, value in stored.items()}
    num_elements = sum(value.size for value in stored.values())
    mean = sum(float(sizes[name].sum()) * value.shape[1] for name, value in stored.items()) / num_elements
    return {name: learning_rate / (1 + sizes[name] / (mean or 1.0)) for name in stored}
