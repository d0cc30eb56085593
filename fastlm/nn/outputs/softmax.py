"""The full softmax over the vocabulary with cross-entropy, exactly normalised."""

import math

import numpy as np
from numpy.typing import NDArray

from fastlm import kernels
from fastlm.nn.layers import Layer, check_ids
from fastlm.nn.parallel import shared_blocks
from fastlm.nn.parameters import FloatArray, IntArray, ParameterSource
from fastlm.nn.workspace import Workspace

__all__ = ["Softmax"]

BLOCK = 1024  # words of the vocabulary that are taken at a time: their logits stay in the cache
MOST_ROWS = 384  # of a batch in a block of work: few rows would have BLAS pack the output table too often
FEWEST_ROWS = 32  # in a block, if that is what it takes to have two
LARGEST = 1 << 24  # elements of the largest (rows x V) array; more rows are taken in turns


class Softmax(Layer):
    """P(w | h) = exp(W_w h + b_w) / sum over v of exp(W_v h + b_v).

    Parameters
    ----------
    hidden_size, vocab_size : int
        H and V.
    counts : (V,) int array, optional
        Frequencies of the words; the bias then starts at the log of their unigram probabilities, which spares the
        training from having to find them.
    """

    def __init__(
        self,
        name: str,
        hidden_size: int,
        vocab_size: int,
        source: ParameterSource,
        counts: NDArray[np.int64] | None = None,
    ) -> None:
        smoothed = np.ones(vocab_size) if counts is None else counts + 1.0
        self.weight = source.uniform(f"{name}.weight", (vocab_size, hidden_size), 0.1)
        self.bias = source.filled(f"{name}.bias", (vocab_size,), np.log(smoothed / smoothed.sum()))
        super().__init__(name, [self.weight, self.bias])

    def loss_and_gradient(
        self, hidden: FloatArray, targets: IntArray, factor: float, workspace: Workspace
    ) -> tuple[float, FloatArray]:
        """Cross-entropy of the targets, and its gradients: forward and backward pass in one.

        Parameters
        ----------
        hidden : (N, H)
        targets : (N,) int32
            Negative where there is no event.
        factor : float
            The gradients are those of `factor` times the summed loss.

        Returns
        -------
        loss : float
            Summed over the events, in nats.
        dhidden : (N, H)
            The gradients of W and b are added to the parameters'.
        """
        check_ids("targets", targets, -1, len(self.bias.value))
        dhidden = workspace.array(f"{self.name}.dhidden", hidden.shape)
        at_once = max(1, LARGEST // len(self.bias.value))
        loss = 0.0
        for start in range(0, len(hidden), at_once):
            part = slice(start, start + at_once)
            loss -= self._some_rows(dhidden[part], hidden[part], targets[part], factor, workspace)
        return loss, dhidden

    def _some_rows(
        self, dhidden: FloatArray, hidden: FloatArray, targets: IntArray, factor: float, workspace: Workspace
    ) -> float:
        log_probs, log_norms, exps, scales = self._forward_arrays(len(hidden), len(self.bias.value), workspace)
        weight, bias = self.weight.value, self.bias.value
        dweight, dbias = self.weight.dense_gradient(), self.bias.dense_gradient()
        scratch = workspace.array(f"{self.name}.scratch", (workspace.workers.threads, *hidden.shape))

        def rows(start: int, stop: int, worker: int) -> None:
            part = slice(start, stop)
            kernels.softmax_forward(
                log_probs[part], log_norms[part], exps[part], scales[part], hidden[part], weight, bias, targets[part],
                BLOCK,
            )  # fmt: skip
            kernels.softmax_backward(
                dhidden[part], exps[part], scales[part], weight, targets[part], scratch[worker, part], factor, BLOCK
            )

        def words(start: int, stop: int, worker: int) -> None:
            for k in range(start, stop):
                kernels.softmax_backward_weight(
                    dweight, dbias, exps, scales, hidden, targets, scratch[worker], factor, BLOCK, k
                )

        workspace.workers.run(rows, shared_blocks(len(hidden), FEWEST_ROWS, MOST_ROWS))
        workspace.workers.run(words, [(k, k + 1) for k in range(scales.shape[1])])
        return float(log_probs.sum(dtype=np.float64))

    def target_log_probs(self, hidden: FloatArray, targets: IntArray, workspace: Workspace) -> FloatArray:
        """Natural log-probability of each target (N,), 0 where it is negative, for `hidden` (N, H)."""
        check_ids("targets", targets, -1, len(self.bias.value))
        log_probs, log_norms, exps, scales = self._forward_arrays(len(hidden), BLOCK, workspace)

        def rows(start: int, stop: int, worker: int) -> None:
            part = slice(start, stop)
            kernels.softmax_forward(
                log_probs[part], log_norms[part], exps[part], scales[part], hidden[part], self.weight.value,
                self.bias.value, targets[part], BLOCK,
            )  # fmt: skip

        workspace.workers.run(rows, shared_blocks(len(hidden), FEWEST_ROWS, MOST_ROWS))
        return log_probs

    def log_probs(self, hidden: FloatArray) -> FloatArray:
        """Whole distributions as natural logarithms, outside any workspace: (N, V) for `hidden` (N, H)."""
        vocab_size = len(self.bias.value)
        output = np.empty((len(hidden), vocab_size), hidden.dtype)
        scratch = np.empty(vocab_size, hidden.dtype)
        kernels.softmax_log_probs(output, hidden, self.weight.value, self.bias.value, scratch)
        return output

    def _forward_arrays(self, rows: int, width: int, workspace: Workspace) -> tuple[FloatArray, ...]:
        """Return log_probs, log_norms, exps and scales for `softmax_forward`."""
        blocks = math.ceil(len(self.bias.value) / BLOCK)
        return (
            workspace.array(f"{self.name}.log_probs", (rows,)),
            workspace.array(f"{self.name}.log_norms", (rows,)),
            workspace.array(f"{self.name}.exps", (rows, width)),
            workspace.array(f"{self.name}.scales", (rows, blocks)),
        )
