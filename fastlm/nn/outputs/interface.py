"""What a model may ask of an output layer, whichever it is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastlm.nn.layers import Layer, check_ids
from fastlm.nn.parallel import Workers
from fastlm.nn.parameters import FloatArray, IntArray, Parameter
from fastlm.nn.workspace import Workspace

__all__ = ["OutputLayer"]


class OutputLayer(Layer, ABC):
    """From a hidden layer to the distribution of the next word.

    Rows of the hidden layer (N, H) are tokens; a target is the id of the word to be predicted, negative where there is
    no event. Every output layer gives distributions that sum to one; they differ in how they are learned, and at what
    cost.

    Parameters
    ----------
    vocab_size : int
        V.
    options : dict
        What it takes to build the layer again, as JSON has it: what the caller left to the layer is in it, chosen.

    Attributes
    ----------
    self_normalised : bool
        Whether the scores before normalisation are meant to be log-probabilities, nearly: `target_scores` gives them.
    estimates : bool
        Whether the loss in training is an estimate, from samples.
    """

    self_normalised: bool = False
    estimates: bool = False

    def __init__(
        self, name: str, parameters: Sequence[Parameter], *, vocab_size: int, options: dict[str, Any] | None = None
    ) -> None:
        super().__init__(name, parameters)
        self.vocab_size = vocab_size
        self.options = options or {}

    @abstractmethod
    def loss_and_gradient(
        self, hidden: FloatArray, targets: IntArray, factor: float, workspace: Workspace
    ) -> tuple[float, FloatArray]:
        """Forward and backward pass in one.

        Parameters
        ----------
        hidden : (N, H)
        targets : (N,) int32
        factor : float
            The gradients are those of `factor` times the summed loss.

        Returns
        -------
        loss : float
            Cross-entropy in nats, summed over the events; an estimate where the layer learns from samples.
        dhidden : (N, H)
            The gradient of the hidden layer. Those of the parameters are complete when `workspace.workers.finish()`
            returns.
        """

    @abstractmethod
    def target_log_probs(
        self, hidden: FloatArray, targets: IntArray, workspace: Workspace, *, defer: bool = False
    ) -> FloatArray:
        """Natural log-probability of each target (N,), exactly normalised; 0 where there is no event.

        With `defer` they need not be there before `workspace.workers.finish()` returns.
        """

    @abstractmethod
    def log_probs(self, hidden: FloatArray) -> FloatArray:
        """Whole distributions as natural logarithms, outside any workspace: (N, V) for `hidden` (N, H)."""

    def log_prob(self, hidden: FloatArray, target: int) -> float:
        """Natural log-probability of one word for one row of the hidden layer (H,), outside any workspace."""
        workspace, targets = Workspace(hidden.dtype, Workers(1)), np.array([target], np.int32)
        return float(self.target_log_probs(hidden[np.newaxis], targets, workspace)[0])

    def pair_log_probs(self, hidden: FloatArray, rows: IntArray, targets: IntArray, workspace: Workspace) -> FloatArray:
        """Natural log-probability of each target (M,) at a row of `hidden` (N, H), where a row may have several."""
        return self.target_log_probs(hidden[rows], targets, workspace)

    def target_scores(self, hidden: FloatArray, targets: IntArray, workspace: Workspace) -> FloatArray:
        """Logarithm of each target's probability (N,) before normalisation, at a cost that V is no part of."""
        raise TypeError(f"{type(self).__name__} has no scores that are near probabilities without normalisation")

    def score_table(self) -> tuple[FloatArray, FloatArray]:
        """Table (V, H) and bias (V,) whose product with the hidden layer the scores are."""
        raise TypeError(f"{type(self).__name__} has no table that a score is a product with")

    def _check(self, targets: IntArray) -> None:
        check_ids("targets", targets, -1, self.vocab_size)
