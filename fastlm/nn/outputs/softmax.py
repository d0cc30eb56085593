"""The full softmax over the vocabulary with cross-entropy, exactly normalised."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlm import kernels
from fastlm.nn.outputs.interface import OutputLayer
from fastlm.nn.parameters import FloatArray, IntArray, Parameter, ParameterSource
from fastlm.nn.products import is_split, packed_shape, rows_worth_a_thread, uses_tiles
from fastlm.nn.workspace import Workspace

__all__ = ["Softmax"]

BLOCK = 168  # words of the vocabulary that are taken at a time: whole tiles, and their logits stay in the cache
TILES_BLOCK = 192  # where products are the matrix unit's
TILES_PANELS = 64  # for which a block of the table is split once
FEWEST_PANELS = 4  # of tokens in a block of work: each block reads the whole output table
FEWEST_ROWS = 8  # of whole distributions, for which a matrix product is quicker than so many with a vector
LARGEST = 1 << 24  # elements of the largest (rows x V) array; more rows are taken in turns


class Softmax(OutputLayer):
    """P(w | h) = exp(W_w h + b_w) / sum over v of exp(W_v h + b_v).

    Parameters
    ----------
    hidden_size, vocab_size : int
        H and V.
    counts : (V,) array, optional
        Frequencies of the words; the bias then starts at the log of their unigram probabilities, which spares the
        training from having to find them.
    table : Parameter, optional
        The first V rows of it are W, in place of a table of its own: that of the embeddings (Press & Wolf 2017), whose
        last row is that of `<s>`, which is never predicted. It remains the other layer's parameter.
    self_normalising : float
        Adds this times (log Z)^2 to the loss of a token that is learned, so that Z comes near 1 and a score needs no
        sum over the vocabulary (Devlin et al. 2014); the loss that is returned is without it.
    """

    def __init__(
        self,
        name: str,
        hidden_size: int,
        vocab_size: int,
        source: ParameterSource,
        counts: NDArray[Any] | None = None,
        *,
        table: Parameter | None = None,
        self_normalising: float = 0.0,
    ) -> None:
        smoothed = np.ones(vocab_size) if counts is None else counts + 1.0
        self.weight = table or source.uniform(f"{name}.weight", (vocab_size, hidden_size), 0.1)
        self.bias = source.filled(f"{name}.bias", (vocab_size,), np.log(smoothed / smoothed.sum()))
        # Models are stored with the options of their layer, and that of most is to have none.
        options = {"self_normalising": self_normalising} if self_normalising else {}
        parameters = [self.bias] if table else [self.weight, self.bias]
        super().__init__(name, parameters, vocab_size=vocab_size, options=options)
        self.self_normalising = self_normalising
        self.self_normalised = self_normalising > 0

    @property
    def _block_size(self) -> int:
        return TILES_BLOCK if uses_tiles(self.bias.value.dtype) else BLOCK

    @property
    def _rows(self) -> FloatArray:
        """W, (V, H)."""
        return self.weight.value[: self.vocab_size]

    def loss_and_gradient(
        self, hidden: FloatArray, targets: IntArray, factor: float, workspace: Workspace
    ) -> tuple[float, FloatArray]:
        """Cross-entropy of the targets, and the gradients of what is learned: forward and backward pass in one.

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
            The gradients of W and b are added to the parameters' when `workspace.workers.finish()` returns.
        """
        self._check(targets)
        dhidden = workspace.array(f"{self.name}.dhidden", hidden.shape)
        _, _, width = packed_shape(1, 1, hidden.dtype)
        turns = -(-len(hidden) // max(width, LARGEST // self.vocab_size))
        at_once = max(1, -(-len(hidden) // (turns * width)) * width) if turns else 1  # whole panels, all alike
        loss = 0.0
        for start in range(0, len(hidden), at_once):
            part = slice(start, start + at_once)
            workspace.workers.finish()  # the turn before still reads what this one overwrites
            loss -= self._some_rows(dhidden[part], hidden[part], targets[part], factor, workspace)
        return loss, dhidden

    def _some_rows(
        self, dhidden: FloatArray, hidden: FloatArray, targets: IntArray, factor: float, workspace: Workspace
    ) -> float:
        weight, bias = self._rows, self.bias.value
        (vocab_size, hidden_size), threads = weight.shape, workspace.workers.threads
        block = self._block_size
        split = is_split(block, hidden_size, hidden_size, workspace)
        shape = panels, _, width = packed_shape(hidden_size, len(hidden), hidden.dtype, split=split)
        log_probs = workspace.array(f"{self.name}.log_probs", (len(hidden),))
        log_norms = workspace.array(f"{self.name}.log_norms", (panels, width))
        packed = workspace.array(f"{self.name}.packed", shape)
        scratch = workspace.array(f"{self.name}.scratch", (panels, hidden_size, width))
        exps = workspace.array(f"{self.name}.exps", (panels, vocab_size, width))
        shifts = workspace.array(f"{self.name}.shifts", (panels, -(-vocab_size // block), width))
        rows_shape = packed_shape(panels * width, hidden_size, hidden.dtype, split=split)
        rows = workspace.array(f"{self.name}.rows", (threads, *rows_shape))
        scales = workspace.array(f"{self.name}.scales", (threads, 2, panels * width))
        scales[:, 0] = np.nan  # no rows have been scaled by them yet
        lanes = workspace.array(f"{self.name}.lanes", (threads, block, width // 2))

        def tokens(start: int, stop: int, worker: int) -> None:
            some, part = slice(start, stop), slice(start * width, stop * width)
            kernels.pack_transposed(packed[some], hidden[part])
            kernels.softmax_forward_backward(
                log_probs[part], log_norms[some], dhidden[part], exps[some], shifts[some], packed[some], weight, bias,
                targets[part], scratch[some], self.self_normalising, factor, block,
            )  # fmt: skip

        workspace.workers.share(tokens, panels, FEWEST_PANELS)
        dtable, accumulate = self.weight.dense_gradient()
        dweight = dtable[:vocab_size]
        if not accumulate:
            dtable[vocab_size:] = 0
        dbias, _ = self.bias.dense_gradient()
        squares = workspace.array(f"{self.name}.squares", (shifts.shape[1],), np.float64)
        self.weight.gradient_squares = squares

        def words(start: int, stop: int, worker: int) -> None:
            kernels.softmax_backward_weight(
                dweight, dbias, squares, exps, shifts, log_norms, log_probs, hidden, targets, rows[worker],
                scales[worker], lanes[worker], self.self_normalising, factor, block, start, stop, accumulate,
            )  # fmt: skip

        workspace.workers.defer(words, shifts.shape[1], 2)
        return float(log_probs.sum(dtype=np.float64))

    def target_log_probs(
        self, hidden: FloatArray, targets: IntArray, workspace: Workspace, *, defer: bool = False
    ) -> FloatArray:
        """Natural log-probability of each target (N,), 0 where it is negative, for `hidden` (N, H).

        With `defer` they are there when `workspace.workers.finish()` returns.
        """
        self._check(targets)
        weight = self._rows
        block, (num_tokens, hidden_size) = self._block_size, hidden.shape
        is_one_panel = hidden.itemsize * num_tokens <= kernels.PANEL_BYTES  # for which to split the table takes longer
        split = not is_one_panel and is_split(block, hidden_size, hidden_size, workspace)
        shape = panels, _, width = packed_shape(hidden_size, num_tokens, hidden.dtype, split=split)
        together = min(panels, TILES_PANELS) if split else 1
        log_probs = workspace.array(f"{self.name}.log_probs", (len(hidden),))
        log_norms = workspace.array(f"{self.name}.log_norms", (panels, width))
        packed = workspace.array(f"{self.name}.packed", shape)
        shifts = workspace.array(f"{self.name}.shifts", (panels, width))
        exps = workspace.array(f"{self.name}.block", (workspace.workers.threads, together, block, width))

        def tokens(start: int, stop: int, worker: int) -> None:
            some, part = slice(start, stop), slice(start * width, stop * width)
            kernels.pack_transposed(packed[some], hidden[part])
            kernels.softmax_forward(
                log_probs[part], log_norms[some], packed[some], weight, self.bias.value, targets[part],
                exps[worker], shifts[some],
            )  # fmt: skip

        (workspace.workers.defer if defer else workspace.workers.share)(tokens, panels, FEWEST_PANELS)
        return log_probs

    def pair_log_probs(self, hidden: FloatArray, rows: IntArray, targets: IntArray, workspace: Workspace) -> FloatArray:
        """Natural log-probability of each target (M,) at a row of `hidden` (N, H): a row is normalised once."""
        used, first, place = np.unique(rows, return_index=True, return_inverse=True)
        log_probs = self.target_log_probs(hidden[used], targets[first], workspace)
        norms = workspace.array(f"{self.name}.log_norms", (len(used),))  # as they are left there
        more = np.setdiff1d(np.arange(len(rows)), first)
        words = targets[more]
        logits = np.einsum("nh,nh->n", hidden[rows[more]], self._rows[words]) + self.bias.value[words]
        found: FloatArray = log_probs[place]
        found[more] = logits - norms[place[more]]
        return found

    def target_scores(self, hidden: FloatArray, targets: IntArray, workspace: Workspace) -> FloatArray:
        """Logit of each target (N,), 0 where it is negative, for `hidden` (N, H): log-probability if Z is 1."""
        if not self.self_normalised:
            return super().target_scores(hidden, targets, workspace)
        self._check(targets)
        scores = workspace.array(f"{self.name}.scores", (len(hidden),))

        def tokens(start: int, stop: int, worker: int) -> None:
            part = slice(start, stop)
            kernels.target_logits(scores[part], hidden[part], targets[part], self._rows, self.bias.value)

        workspace.workers.share(tokens, len(hidden), rows_worth_a_thread(hidden.shape[1]))
        return scores

    def score_table(self) -> tuple[FloatArray, FloatArray]:
        """W (V, H) and b (V,)."""
        return self._rows, self.bias.value

    def log_probs(self, hidden: FloatArray) -> FloatArray:
        """Whole distributions as natural logarithms, outside any workspace: (N, V) for `hidden` (N, H)."""
        output = np.empty((len(hidden), self.vocab_size), hidden.dtype)
        scratch = np.empty(self.vocab_size, hidden.dtype)
        if len(hidden) < FEWEST_ROWS:
            kernels.softmax_log_probs(output, hidden, self._rows, self.bias.value, scratch)
            return output
        packed = np.empty(packed_shape(hidden.shape[1], len(hidden), hidden.dtype), hidden.dtype)
        kernels.pack_transposed(packed, hidden)
        logits = np.empty((1, BLOCK, packed.shape[2]), hidden.dtype)
        kernels.softmax_log_probs_batch(output, packed, self._rows, self.bias.value, logits, scratch)
        return output

    def log_prob(self, hidden: FloatArray, target: int) -> float:
        """Natural log-probability of one word for one row of the hidden layer (H,): nothing is packed for so little."""
        return float(self.log_probs(hidden[np.newaxis])[0, target])
