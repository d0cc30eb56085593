"""The full softmax over the table of the embeddings."""

import numpy as np
from numpy.typing import NDArray

from fastlm.nn.layers import Linear
from fastlm.nn.outputs.softmax import Softmax
from fastlm.nn.parameters import FloatArray, IntArray, Parameter, ParameterSource
from fastlm.nn.workspace import Workspace

__all__ = ["TiedSoftmax"]


class TiedSoftmax(Softmax):
    """A softmax whose table is that of the embeddings (Press & Wolf 2017).

    Where the hidden layer has another size than the embeddings, a linear map W_p h + b_p comes between.

    Parameters
    ----------
    hidden_size, vocab_size : int
        H and V.
    table : Parameter
        (V + 1, D), the last row being that of `<s>`, which is never predicted. It remains the embedding's parameter.
    counts : (V,) int array, optional
        As for `Softmax`.
    """

    def __init__(
        self,
        name: str,
        hidden_size: int,
        vocab_size: int,
        source: ParameterSource,
        counts: NDArray[np.int64] | None = None,
        *,
        table: Parameter,
    ) -> None:
        dim = table.value.shape[1]
        self.projection = None if dim == hidden_size else Linear(f"{name}.projection", hidden_size, dim, source)
        super().__init__(name, dim, vocab_size, source, counts, weight=table)
        if self.projection is not None:
            self.parameters += self.projection.parameters

    def loss_and_gradient(
        self, hidden: FloatArray, targets: IntArray, factor: float, workspace: Workspace
    ) -> tuple[float, FloatArray]:
        """Cross-entropy of the targets, and its gradients; see `Softmax.loss_and_gradient`."""
        if self.projection is None:
            return super().loss_and_gradient(hidden, targets, factor, workspace)
        projected = self.projection.forward(hidden, workspace)
        loss, dprojected = super().loss_and_gradient(projected, targets, factor, workspace)
        return loss, self.projection.backward(dprojected, workspace)

    def target_log_probs(
        self, hidden: FloatArray, targets: IntArray, workspace: Workspace, *, defer: bool = False
    ) -> FloatArray:
        """Natural log-probability of each target (N,), 0 where it is negative; see `Softmax.target_log_probs`."""
        projected = hidden if self.projection is None else self.projection.forward(hidden, workspace)
        return super().target_log_probs(projected, targets, workspace, defer=defer)

    def log_probs(self, hidden: FloatArray) -> FloatArray:
        """Whole distributions as natural logarithms, outside any workspace: (N, V) for `hidden` (N, H)."""
        if self.projection is None:
            return super().log_probs(hidden)
        return super().log_probs(np.stack([self.projection.forward_vector(row) for row in hidden]))
