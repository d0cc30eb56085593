"""The adaptive softmax (Grave et al. 2017): frequent words at full width, rare ones in narrower tails."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlm import kernels
from fastlm.nn.outputs.frequency import Ranking, choose_cutoffs, tail_widths
from fastlm.nn.outputs.interface import OutputLayer
from fastlm.nn.outputs.softmax import Softmax
from fastlm.nn.parameters import FloatArray, IntArray, ParameterSource
from fastlm.nn.products import affine, input_gradient, weight_gradient
from fastlm.nn.workspace import Workspace

__all__ = ["AdaptiveSoftmax"]


class AdaptiveSoftmax(OutputLayer):
    """Softmax over the most frequent words and the tails; within a tail, over its words, from a projection of h.

    ::

        P(w | h) = softmax(W_0 h + b_0)[w]                                        w among the frequent words
        P(w | h) = softmax(W_0 h + b_0)[tail i] softmax(W_i U_i h + b_i)[w]       w in tail i

    U_i has a quarter of the width of the one before, and the first of them a quarter of H. Only tokens of a tail go
    through it, so that the cost lies far below V.

    Parameters
    ----------
    hidden_size, vocab_size : int
        H and V.
    counts : (V,) int array
        Frequencies of the words.
    cutoffs : sequence of int, optional
        Where each tail begins in the list of words by frequency; None takes those that cost least.
    """

    def __init__(
        self,
        name: str,
        hidden_size: int,
        vocab_size: int,
        source: ParameterSource,
        counts: NDArray[np.int64],
        *,
        cutoffs: Sequence[int] | None = None,
    ) -> None:
        self._ranking = Ranking(counts)
        if cutoffs is None:
            cutoffs = choose_cutoffs(self._ranking.counts, hidden_size)
        self._bounds = [*map(int, cutoffs), vocab_size]
        head, counts = self._bounds[0], self._ranking.counts
        parts = [counts[start:stop] for start, stop in pairwise(self._bounds)]
        head_counts = np.append(counts[:head], [(part + 1).sum() - 1 for part in parts])
        self.head = Softmax(f"{name}.head", hidden_size, len(head_counts), source, head_counts)
        self.tails = [
            _Tail(f"{name}.tails.{i}", hidden_size, width, source, part)
            for i, (part, width) in enumerate(zip(parts, tail_widths(hidden_size, len(parts)), strict=True))
        ]
        parameters = [parameter for layer in (self.head, *self.tails) for parameter in layer.parameters]
        super().__init__(name, parameters, vocab_size=vocab_size, options={"cutoffs": self._bounds[:-1]})

    def loss_and_gradient(
        self, hidden: FloatArray, targets: IntArray, factor: float, workspace: Workspace
    ) -> tuple[float, FloatArray]:
        """Cross-entropy of the targets, and its gradients; see `OutputLayer.loss_and_gradient`."""
        ranks, heads = self._places(targets)
        loss, dhidden = self.head.loss_and_gradient(hidden, heads, factor, workspace)
        for tail, tokens, places in self._in_tails(ranks):
            inputs = _gathered(hidden, tokens, workspace, tail.name)
            tail_loss, dinputs = tail.loss_and_gradient(inputs, places, factor, workspace)
            kernels.add_rows(dhidden, tokens, dinputs)
            loss += tail_loss
        return loss, dhidden

    def target_log_probs(
        self, hidden: FloatArray, targets: IntArray, workspace: Workspace, *, defer: bool = False
    ) -> FloatArray:
        """Natural log-probability of each target (N,), 0 where it is negative, for `hidden` (N, H)."""
        ranks, heads = self._places(targets)
        log_probs = self.head.target_log_probs(hidden, heads, workspace)
        for tail, tokens, places in self._in_tails(ranks):
            inputs = _gathered(hidden, tokens, workspace, tail.name)
            log_probs[tokens] += tail.target_log_probs(inputs, places, workspace)
        return log_probs

    def log_probs(self, hidden: FloatArray) -> FloatArray:
        """Whole distributions as natural logarithms, outside any workspace: (N, V) for `hidden` (N, H)."""
        head = self.head.log_probs(hidden)
        first = self._bounds[0]
        tails = [tail.log_probs(hidden) + head[:, first + i, np.newaxis] for i, tail in enumerate(self.tails)]
        return self._ranking.by_id(np.concatenate([head[:, :first], *tails], axis=1))

    def _places(self, targets: IntArray) -> tuple[IntArray, IntArray]:
        """Return the targets' ranks, and their places in the head: words of a tail have the tail's."""
        self._check(targets)
        ranks = self._ranking.ranks(targets)
        tails = np.searchsorted(self._bounds, ranks, side="right").astype(np.int32)
        return ranks, np.where(tails == 0, ranks, self._bounds[0] + tails - 1)

    def _in_tails(self, ranks: IntArray) -> list[tuple["_Tail", IntArray, IntArray]]:
        """Return each tail that has tokens, these tokens, and their targets within it."""
        found = []
        for tail, (start, stop) in zip(self.tails, pairwise(self._bounds), strict=True):
            tokens = np.flatnonzero((ranks >= start) & (ranks < stop)).astype(np.int32)
            if len(tokens):
                found.append((tail, tokens, ranks[tokens] - np.int32(start)))
        return found


class _Tail(OutputLayer):
    """softmax(W U h + b) over the words of a tail."""

    def __init__(self, name: str, hidden_size: int, width: int, source: ParameterSource, counts: NDArray[Any]) -> None:
        self.projection = source.uniform(f"{name}.projection", (width, hidden_size), hidden_size**-0.5)
        self.words = Softmax(name, width, len(counts), source, counts)
        super().__init__(name, [self.projection, *self.words.parameters], vocab_size=len(counts))

    def loss_and_gradient(
        self, hidden: FloatArray, targets: IntArray, factor: float, workspace: Workspace
    ) -> tuple[float, FloatArray]:
        projected = self._project(hidden, workspace)
        loss, dprojected = self.words.loss_and_gradient(projected, targets, factor, workspace)
        dhidden = workspace.array(f"{self.name}.dinputs", hidden.shape)
        input_gradient(dhidden, dprojected, self.projection, workspace)
        weight_gradient(dprojected, hidden, self.projection, None, workspace)
        return loss, dhidden

    def target_log_probs(
        self, hidden: FloatArray, targets: IntArray, workspace: Workspace, *, defer: bool = False
    ) -> FloatArray:
        return self.words.target_log_probs(self._project(hidden, workspace), targets, workspace)

    def log_probs(self, hidden: FloatArray) -> FloatArray:
        weight = self.projection.value
        projected, bias = np.empty((len(hidden), len(weight)), weight.dtype), np.zeros(len(weight), weight.dtype)
        for output, inputs in zip(projected, hidden, strict=True):
            kernels.linear_forward_vector(output, inputs, weight, bias)
        return self.words.log_probs(projected)

    def _project(self, hidden: FloatArray, workspace: Workspace) -> FloatArray:
        projected = workspace.array(f"{self.name}.projected", (len(hidden), len(self.projection.value)))
        affine(projected, hidden, self.projection, None, workspace)
        return projected


def _gathered(hidden: FloatArray, tokens: IntArray, workspace: Workspace, name: str) -> FloatArray:
    """Return the rows of the hidden layer that go through a tail."""
    inputs = workspace.array(f"{name}.inputs", (len(tokens), hidden.shape[1]))
    kernels.embedding_forward(inputs, tokens, hidden)
    return inputs
