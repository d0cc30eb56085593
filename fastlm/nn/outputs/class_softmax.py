"""The softmax in two steps, class and word within the class (Goodman 2001), exactly normalised."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastlm import kernels
from fastlm.nn.layers import add_rows
from fastlm.nn.outputs.frequency import Ranking, choose_classes
from fastlm.nn.outputs.interface import OutputLayer
from fastlm.nn.outputs.softmax import Softmax
from fastlm.nn.parallel import tapering_blocks
from fastlm.nn.parameters import FloatArray, IntArray, ParameterSource, Rows
from fastlm.nn.workspace import Workspace

__all__ = ["ClassSoftmax"]


class ClassSoftmax(OutputLayer):
    """P(w | h) = P(c(w) | h) P(w | c(w), h), both softmaxes of h.

    Words are put into classes by frequency, so that a class of frequent words is small and one of rare words large; all
    tokens of a class go through one matrix product with its words. The gradient is row-sparse: words of classes
    that a batch does not have are not touched.

    Parameters
    ----------
    hidden_size, vocab_size : int
        H and V.
    counts : (V,) int array
        Frequencies of the words.
    num_classes : int, optional
        At most so many classes; None takes the square root of V, which costs about as little as any number.
    cutoffs : sequence of int, optional
        Where the second, third ... class begins in the list of words by frequency; in place of `num_classes`.
    """

    def __init__(
        self,
        name: str,
        hidden_size: int,
        vocab_size: int,
        source: ParameterSource,
        counts: NDArray[np.int64],
        *,
        num_classes: int | None = None,
        cutoffs: Sequence[int] | None = None,
    ) -> None:
        self._ranking = Ranking(counts)
        if cutoffs is None:
            cutoffs = choose_classes(self._ranking.counts, num_classes)
        self._bounds = np.array([0, *cutoffs, vocab_size], np.int32)
        smoothed = self._ranking.counts + 1.0
        shares = np.add.reduceat(smoothed, self._bounds[:-1])
        self._classes = np.repeat(np.arange(len(shares), dtype=np.int32), np.diff(self._bounds))  # of ranks
        self.classes = Softmax(f"{name}.classes", hidden_size, len(shares), source, shares - 1)
        self.weight = source.uniform(f"{name}.weight", (vocab_size, hidden_size), 0.1)
        self.bias = source.filled(f"{name}.bias", (vocab_size,), np.log(smoothed / shares[self._classes]))
        self.weight.sparse = self.bias.sparse = True
        parameters = [*self.classes.parameters, self.weight, self.bias]
        super().__init__(name, parameters, vocab_size=vocab_size, options={"cutoffs": [int(c) for c in cutoffs]})

    def loss_and_gradient(
        self, hidden: FloatArray, targets: IntArray, factor: float, workspace: Workspace
    ) -> tuple[float, FloatArray]:
        """Cross-entropy of the targets, and its gradients; see `OutputLayer.loss_and_gradient`."""
        groups = self._groups(targets)
        loss, dhidden = self.classes.loss_and_gradient(hidden, groups.classes, factor, workspace)
        inputs, log_probs = self._sorted(hidden, groups, workspace)
        dinputs = workspace.array(f"{self.name}.dinputs", inputs.shape)
        dweight = workspace.array(f"{self.name}.dweight", (groups.num_rows, hidden.shape[1]))
        dbias = workspace.array(f"{self.name}.dbias", (groups.num_rows,))
        squares = workspace.array(f"{self.name}.squares", (len(groups.firsts),), np.float64)
        scratch = self._scratch(groups, workspace)

        def words(start: int, stop: int, worker: int) -> None:
            kernels.class_forward_backward(
                log_probs, dinputs, dweight, dbias, squares, inputs, self.weight.value, self.bias.value,
                groups.targets, groups.token_bounds, groups.row_bounds, groups.firsts, scratch[worker], factor, start,
                stop,
            )  # fmt: skip

        workspace.workers.run(words, tapering_blocks(len(groups.firsts), 1, workspace.workers.threads))
        kernels.add_rows(dhidden, groups.tokens, dinputs)
        ids = groups.rows()
        self.weight.gradient_squares = squares
        add_rows(self.weight, Rows(ids, dweight), workspace)
        add_rows(self.bias, Rows(ids, dbias[:, np.newaxis]), workspace)
        return loss - float(log_probs.sum(dtype=np.float64)), dhidden

    def target_log_probs(
        self, hidden: FloatArray, targets: IntArray, workspace: Workspace, *, defer: bool = False
    ) -> FloatArray:
        """Natural log-probability of each target (N,), 0 where it is negative, for `hidden` (N, H)."""
        groups = self._groups(targets)
        result = self.classes.target_log_probs(hidden, groups.classes, workspace)
        inputs, log_probs = self._sorted(hidden, groups, workspace)
        scratch = self._scratch(groups, workspace)

        def words(start: int, stop: int, worker: int) -> None:
            kernels.class_forward(
                log_probs, inputs, self.weight.value, self.bias.value, groups.targets, groups.token_bounds,
                groups.row_bounds, groups.firsts, scratch[worker], start, stop,
            )  # fmt: skip

        workspace.workers.run(words, tapering_blocks(len(groups.firsts), 1, workspace.workers.threads))
        result[groups.tokens] += log_probs
        return result

    def log_probs(self, hidden: FloatArray) -> FloatArray:
        """Whole distributions as natural logarithms, outside any workspace: (N, V) for `hidden` (N, H)."""
        ranked = np.empty((len(hidden), self.vocab_size), hidden.dtype)
        kernels.class_log_probs(
            ranked, self.classes.log_probs(hidden), hidden, self.weight.value, self.bias.value, self._bounds,
            np.empty(self.vocab_size, hidden.dtype),
        )  # fmt: skip
        return self._ranking.by_id(ranked)

    def _groups(self, targets: IntArray) -> "_Groups":
        """Sort the tokens by class."""
        self._check(targets)
        ranks = self._ranking.ranks(targets)
        classes = np.where(ranks >= 0, self._classes[ranks], np.int32(-1))
        order = np.argsort(classes, kind="stable").astype(np.int32)
        tokens = order[np.searchsorted(classes[order], 0) :]
        active, first_tokens = np.unique(classes[tokens], return_index=True)
        firsts = self._bounds[active]
        return _Groups(
            classes=classes,
            tokens=tokens,
            targets=ranks[tokens] - self._bounds[classes[tokens]],
            token_bounds=np.append(first_tokens, len(tokens)).astype(np.int32),
            row_bounds=np.concatenate([[0], np.cumsum(self._bounds[active + 1] - firsts)]).astype(np.int32),
            firsts=firsts,
        )

    def _sorted(self, hidden: FloatArray, groups: "_Groups", workspace: Workspace) -> tuple[FloatArray, FloatArray]:
        """Return the hidden layer sorted by class, and room for the log-probabilities of these tokens."""
        inputs = workspace.array(f"{self.name}.inputs", (len(groups.tokens), hidden.shape[1]))
        kernels.embedding_forward(inputs, groups.tokens, hidden)
        return inputs, workspace.array(f"{self.name}.log_probs", (len(groups.tokens),))

    def _scratch(self, groups: "_Groups", workspace: Workspace) -> FloatArray:
        itemsize, hidden_size = self.weight.value.itemsize, self.weight.value.shape[1]
        size = kernels.class_scratch_size(groups.token_bounds, groups.row_bounds, hidden_size, itemsize)
        return workspace.array(f"{self.name}.scratch", (workspace.workers.threads, size))


@dataclass(frozen=True)
class _Groups:
    """The tokens of a batch by class; G of the classes occur.

    Attributes
    ----------
    classes : (N,) int32
        Of each token; -1 where there is no event.
    tokens : (E,) int32
        The events, sorted by class.
    targets : (E,) int32
        Their words, counted from the first of the class.
    token_bounds, row_bounds : (G + 1,) int32
        Where in `tokens`, and in the rows of the gradient, each class begins.
    firsts : (G,) int32
        The rank of the first word of each.
    """

    classes: IntArray
    tokens: IntArray
    targets: IntArray
    token_bounds: IntArray
    row_bounds: IntArray
    firsts: IntArray

    @property
    def num_rows(self) -> int:
        """Words of all classes that occur."""
        return int(self.row_bounds[-1])

    def rows(self) -> IntArray:
        """Return the ranks of these words."""
        sizes = np.diff(self.row_bounds)
        return np.arange(self.num_rows, dtype=np.int32) + np.repeat(self.firsts - self.row_bounds[:-1], sizes)
