"""An output layer behind a linear map, for a table of another width than the hidden layer."""

import numpy as np

from fastlm.nn.layers import Linear
from fastlm.nn.outputs.interface import OutputLayer
from fastlm.nn.outputs.softmax import FEWEST_ROWS
from fastlm.nn.parallel import Workers
from fastlm.nn.parameters import FloatArray, IntArray, ParameterSource
from fastlm.nn.workspace import Workspace

__all__ = ["Projected"]


class Projected(OutputLayer):
    """P(w | h) of another output layer, which sees W_p h + b_p in place of h (Press & Wolf 2017).

    Parameters
    ----------
    layer : OutputLayer
        What comes after the map.
    hidden_size, width : int
        What comes in, and what `layer` takes.
    """

    def __init__(self, layer: OutputLayer, hidden_size: int, width: int, source: ParameterSource) -> None:
        self.layer = layer
        self.projection = Linear(f"{layer.name}.projection", hidden_size, width, source)
        self.self_normalised, self.estimates = layer.self_normalised, layer.estimates
        parameters = [*self.projection.parameters, *layer.parameters]
        super().__init__(layer.name, parameters, vocab_size=layer.vocab_size, options=layer.options)

    def loss_and_gradient(
        self, hidden: FloatArray, targets: IntArray, factor: float, workspace: Workspace
    ) -> tuple[float, FloatArray]:
        """Cross-entropy of the targets, and the gradients; see `OutputLayer.loss_and_gradient`."""
        projected = self.projection.forward(hidden, workspace)
        loss, dprojected = self.layer.loss_and_gradient(projected, targets, factor, workspace)
        return loss, self.projection.backward(dprojected, workspace)

    def target_log_probs(
        self, hidden: FloatArray, targets: IntArray, workspace: Workspace, *, defer: bool = False
    ) -> FloatArray:
        """Natural log-probability of each target (N,), 0 where it is negative, for `hidden` (N, H)."""
        projected = self.projection.forward(hidden, workspace)
        return self.layer.target_log_probs(projected, targets, workspace, defer=defer)

    def pair_log_probs(self, hidden: FloatArray, rows: IntArray, targets: IntArray, workspace: Workspace) -> FloatArray:
        """Natural log-probability of each target (M,) at a row of `hidden` (N, H), where a row may have several."""
        return self.layer.pair_log_probs(self.projection.forward(hidden, workspace), rows, targets, workspace)

    def log_probs(self, hidden: FloatArray) -> FloatArray:
        """Whole distributions as natural logarithms, outside any workspace: (N, V) for `hidden` (N, H)."""
        if len(hidden) >= FEWEST_ROWS:
            workspace = Workspace(hidden.dtype, Workers(1), splits=False)
            return self.layer.log_probs(self.projection.forward(hidden, workspace))
        projected = np.empty((len(hidden), len(self.projection.bias.value)), hidden.dtype)
        for row, inputs in zip(projected, hidden, strict=True):
            row[:] = self.projection.forward_vector(inputs)
        return self.layer.log_probs(projected)

    def target_scores(self, hidden: FloatArray, targets: IntArray, workspace: Workspace) -> FloatArray:
        """Logit of each target (N,); see `OutputLayer.target_scores`."""
        return self.layer.target_scores(self.projection.forward(hidden, workspace), targets, workspace)

    def score_table(self) -> tuple[FloatArray, FloatArray]:
        """W W_p and W b_p + b of the layer's W and b."""
        weight, bias = (array.astype(np.float64) for array in self.layer.score_table())
        return weight @ self.projection.weight.value, weight @ self.projection.bias.value + bias
