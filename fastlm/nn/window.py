"""What reads a fixed number of words before each place of a text.

The places of a batch are those of runs, pieces of text: a run of S words has T places, of which the last one is behind
its last word, and each sees the C = S - T + 1 words before it. The word vectors of a run are made once, (B, S, D), and
the windows of its places are views that overlap: nothing is copied.
"""

import numpy as np

from fastlm import kernels
from fastlm.nn.layers import Layer
from fastlm.nn.parameters import FloatArray, IntArray, ParameterSource
from fastlm.nn.products import (
    affine,
    input_gradient,
    packed_shape,
    packed_weight,
    packed_weight_gradient,
    rows_worth_a_thread,
    weight_gradient,
)
from fastlm.nn.workspace import Workspace

__all__ = ["DistantAverages", "Window"]

PRODUCTS_APART = 8  # multiply-adds of a matrix product that take as long as one of an average, which waits for memory


class Window(Layer):
    """Affine map of the word vectors in a window, y_t = W [x_{t-n}; ...; x_{t-1}] + b (Bengio et al. 2003).

    Parameters
    ----------
    size, embedding_dim, outputs : int
        n, D and H; W is (H, n D).
    """

    def __init__(self, name: str, size: int, embedding_dim: int, outputs: int, source: ParameterSource) -> None:
        self.size = size
        self.weight = source.uniform(f"{name}.weight", (outputs, size * embedding_dim), (size * embedding_dim) ** -0.5)
        self.bias = source.filled(f"{name}.bias", (outputs,))
        super().__init__(name, [self.weight, self.bias])

    def forward(self, runs: FloatArray, num_places: int, workspace: Workspace) -> FloatArray:
        """Map the windows before the last `num_places` places of `runs` (B, S, D): (B T, H)."""
        shape = (len(runs), num_places, len(self.bias.value))
        output = workspace.array(f"{self.name}.output", shape)
        workspace.saved[self.name] = runs, num_places
        if self._is_plain(runs, num_places):
            affine(_rows(output), runs.reshape(len(runs), -1), self.weight, self.bias, workspace)
            return _rows(output)
        panels = packed_weight(self.weight.name, self.weight.value, workspace)

        def some_runs(start: int, stop: int, worker: int) -> None:
            kernels.window_forward(output[start:stop], runs[start:stop], panels, self.bias.value, self.size)

        workspace.workers.share(some_runs, len(runs), rows_worth_a_thread(num_places * self.weight.value.size))
        return _rows(output)

    def backward(self, doutput: FloatArray, workspace: Workspace) -> FloatArray:
        """Add the gradients of W and b; return that of the runs, (B, S, D)."""
        runs, num_places = workspace.saved[self.name]
        druns = workspace.array(f"{self.name}.druns", runs.shape)
        if self._is_plain(runs, num_places):
            input_gradient(druns.reshape(len(runs), -1), doutput, self.weight, workspace)
            weight_gradient(doutput, runs.reshape(len(runs), -1), self.weight, self.bias, workspace)
            return druns
        outputs, (_, _, dim) = len(self.bias.value), runs.shape
        count, _, width = packed_shape(outputs, dim, runs.dtype)
        panels = workspace.array("packed", (self.size * count, outputs, width))
        kernels.pack_words(panels, self.weight.value, self.size)
        dplaces = doutput.reshape(len(runs), num_places, outputs)

        def some_runs(start: int, stop: int, worker: int) -> None:
            kernels.window_backward(druns[start:stop], dplaces[start:stop], panels, self.size)

        workspace.workers.share(some_runs, len(runs), rows_worth_a_thread(num_places * self.weight.value.size))
        packed_weight_gradient(
            doutput, lambda: self._packed_windows(runs, num_places, workspace), self.weight, self.bias, workspace
        )
        return druns

    def forward_vector(self, words: FloatArray) -> FloatArray:
        """Map one window (n, D) outside any workspace: a new (H,)."""
        output = np.empty_like(self.bias.value)
        kernels.linear_forward_vector(output, words.reshape(-1), self.weight.value, self.bias.value)
        return output

    def _packed_windows(self, runs: FloatArray, num_places: int, workspace: Workspace) -> FloatArray:
        shape = packed_shape(len(runs) * num_places, self.weight.value.shape[1], runs.dtype)
        panels = workspace.array(f"{self.weight.name}.inputs", shape)
        kernels.pack_windows(panels, runs, self.size)
        return panels

    def _is_plain(self, runs: FloatArray, num_places: int) -> bool:
        """Whether each run is one window and nothing else, and so a row of an ordinary product."""
        return num_places == 1 and runs.shape[1] == self.size


class DistantAverages(Layer):
    """Learned averages of the word vectors beyond the window (after Sun & Iyyer 2021).

    ::

        a_k = sum over i of w_{k,i} * x_{t-n-i}       * : element by element

    The k-th of K = 1, 2 ... is over n 2^(k-1) words, the nearer ones for a smaller k: what is farther away is seen less
    sharply. Every word of the K stretches has a weight of its own for each dimension, so that a dimension can look as
    far as is good for it. That takes n (2^K - 1) D parameters, and as many multiply-adds a word.

    Parameters
    ----------
    count, size, embedding_dim : int
        K, n and D.
    """

    def __init__(self, name: str, count: int, size: int, embedding_dim: int, source: ParameterSource) -> None:
        lengths = [size << k for k in reversed(range(count))]  # the farthest first, as the words stand in the text
        self.ends: IntArray = np.cumsum(lengths, dtype=np.int32)
        initial = np.repeat(lengths, lengths)[:, np.newaxis] ** -0.5  # sums then vary as much as one vector does
        self.weight = source.filled(f"{name}.weight", (sum(lengths), embedding_dim), initial)
        super().__init__(name, [self.weight])

    @property
    def num_words(self) -> int:
        """How many words beyond the window are seen."""
        return len(self.weight.value)

    def forward(self, runs: FloatArray, num_places: int, workspace: Workspace) -> FloatArray:
        """Average the first words of what is before each of `num_places` places of `runs` (B, S, D): (B T, K D)."""
        output = workspace.array(f"{self.name}.output", (len(runs), num_places, len(self.ends) * runs.shape[2]))

        def some_runs(start: int, stop: int, worker: int) -> None:
            kernels.average_forward(output[start:stop], runs[start:stop], self.weight.value, self.ends)

        workspace.workers.share(some_runs, len(runs), self._runs_worth_a_thread(num_places))
        workspace.saved[self.name] = runs, output.shape
        return _rows(output)

    def backward(self, doutput: FloatArray, druns: FloatArray, workspace: Workspace) -> None:
        """Add the gradient of the weights, and to `druns` (B, S, D) that of the runs."""
        runs, shape = workspace.saved[self.name]
        dplaces = doutput.reshape(shape)

        def some_runs(start: int, stop: int, worker: int) -> None:
            kernels.average_backward(druns[start:stop], dplaces[start:stop], self.weight.value, self.ends)

        workspace.workers.share(some_runs, len(runs), self._runs_worth_a_thread(shape[1]))
        dweight, accumulate = self.weight.dense_gradient()

        def some_words(start: int, stop: int, worker: int) -> None:
            kernels.average_backward_weight(dweight, dplaces, runs, self.ends, start, stop, accumulate)

        workspace.workers.defer(some_words, self.num_words, rows_worth_a_thread(PRODUCTS_APART * doutput.size))

    def forward_vector(self, words: FloatArray) -> FloatArray:
        """Average the words beyond one window (N, D), outside any workspace: a new (K D,)."""
        output = np.empty((1, 1, len(self.ends) * words.shape[1]), words.dtype)
        kernels.average_forward(output, words[np.newaxis], self.weight.value, self.ends)
        return output.reshape(-1)

    def _runs_worth_a_thread(self, num_places: int) -> int:
        return rows_worth_a_thread(PRODUCTS_APART * num_places * self.weight.value.size)


def _rows(places: FloatArray) -> FloatArray:
    return places.reshape(-1, places.shape[2])
