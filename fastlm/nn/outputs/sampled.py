"""Output layers that learn from a sample of the vocabulary: what a step costs does not depend on its size."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastlm import kernels
from fastlm.nn.layers import add_rows
from fastlm.nn.outputs.softmax import Softmax
from fastlm.nn.parameters import FloatArray, IntArray, Parameter, ParameterSource, Rows
from fastlm.nn.products import packed, packed_transposed, rows_worth_a_thread
from fastlm.nn.workspace import Workspace

__all__ = ["NCE", "SampledSoftmax"]


class Sampled(Softmax):
    """A softmax that learns from words drawn by frequency, the same ones for all tokens of a batch.

    Words are drawn with replacement from the noise distribution, counts to the power of `noise_power`. What was drawn
    is taken once, however often, and counts by the probability of that: the mean of what the draws would give, with
    less noise and less work.

    Parameters
    ----------
    hidden_size, vocab_size : int
        H and V.
    counts : (V,) int array
        Frequencies of the words.
    num_samples : int
        Draws in a step.
    noise_power : float
    table : Parameter, optional
        As for `Softmax`; the rows are then added to the gradient of the embeddings.
    """

    def __init__(
        self,
        name: str,
        hidden_size: int,
        vocab_size: int,
        source: ParameterSource,
        counts: NDArray[np.int64],
        *,
        num_samples: int = 256,
        noise_power: float = 0.75,
        table: Parameter | None = None,
    ) -> None:
        super().__init__(name, hidden_size, vocab_size, source, counts, table=table)
        self.self_normalised = self.estimates = True
        self.weight.sparse = self.bias.sparse = True
        self.options = {"num_samples": num_samples, "noise_power": noise_power}
        self.num_samples = num_samples
        weights = (counts + 1.0) ** noise_power
        self._noise = weights / weights.sum()

    @cached_property
    def _alias_table(self) -> tuple[NDArray[np.float64], IntArray]:
        thresholds, aliases = np.empty(self.vocab_size), np.empty(self.vocab_size, np.int32)
        kernels.alias_table(thresholds, aliases, self._noise, np.empty(self.vocab_size, np.int32))
        return thresholds, aliases

    @cached_property
    def _inclusion(self) -> NDArray[np.float64]:
        """Probability of each word that it is among the samples."""
        inclusion: NDArray[np.float64] = -np.expm1(self.num_samples * np.log1p(-self._noise))
        return inclusion

    @property
    @abstractmethod
    def _corrections(self) -> FloatArray:
        """What is added to the logits, (V,), because frequent words are drawn more often."""

    @abstractmethod
    def _learn(self, tokens: "_Tokens", samples: "_Samples", factor: float) -> None:
        """Compute the log-probabilities of some tokens, and the gradients of their logits and hidden layer."""

    def loss_and_gradient(
        self, hidden: FloatArray, targets: IntArray, factor: float, workspace: Workspace
    ) -> tuple[float, FloatArray]:
        """Estimated cross-entropy of the targets, and the gradients; see `OutputLayer.loss_and_gradient`."""
        self._check(targets)
        workspace.workers.finish()  # what was deferred may still read what is overwritten here
        ids, places, num_sampled = self._draw(targets, workspace)
        samples = self._gather(ids[:num_sampled], workspace)
        batch = _Tokens(
            workspace.array(f"{self.name}.log_probs", (len(hidden),)),
            workspace.array(f"{self.name}.dlogits", (len(hidden), num_sampled)),
            workspace.array(f"{self.name}.dtargets", (len(hidden),)),
            workspace.array(f"{self.name}.dhidden", hidden.shape),
            hidden,
            targets,
            places,
        )

        def tokens(start: int, stop: int, worker: int) -> None:
            self._learn(batch.part(start, stop), samples, factor)

        workspace.workers.share(tokens, len(hidden), rows_worth_a_thread(2 * samples.rows.size))
        self._table_gradient(ids, batch, num_sampled, workspace)
        return -float(batch.log_probs.sum(dtype=np.float64)), batch.dhidden

    def _table_gradient(self, ids: IntArray, batch: "_Tokens", num_sampled: int, workspace: Workspace) -> None:
        """Set the gradients of weight and bias; they are complete when `workspace.workers.finish()` returns."""
        hidden_size = batch.hidden.shape[1]
        dweight = workspace.array(f"{self.name}.dweight", (len(ids), hidden_size))
        dbias = workspace.array(f"{self.name}.dbias", (len(ids), 1))
        inputs = packed(batch.hidden, workspace, f"{self.name}.inputs")

        def words(start: int, stop: int, worker: int) -> None:
            kernels.sampled_backward_weight(
                dweight, dbias.reshape(-1), batch.dlogits, batch.dtargets, batch.hidden, inputs, batch.places, start,
                stop,
            )  # fmt: skip

        workspace.workers.defer(words, len(ids), rows_worth_a_thread(inputs.size))
        add_rows(self.weight, Rows(ids, dweight), workspace)
        add_rows(self.bias, Rows(ids, dbias), workspace)

    def _draw(self, targets: IntArray, workspace: Workspace) -> tuple[IntArray, IntArray, int]:
        """Return the rows of the table that a batch needs, the targets' places among them, and how many were drawn."""
        ids = workspace.array(f"{self.name}.ids", (self.num_samples + len(targets),), np.int32)
        places = workspace.array(f"{self.name}.places", (len(targets),), np.int32)
        slots = workspace.array(f"{self.name}.slots", (self.vocab_size,), np.int32, fill=-1)
        num_sampled, num_rows = kernels.draw_rows(
            ids, places, targets, *self._alias_table, slots, workspace.random_key(self.name), self.num_samples
        )
        return ids[:num_rows], places, num_sampled

    def _gather(self, ids: IntArray, workspace: Workspace) -> "_Samples":
        rows = workspace.array(f"{self.name}.samples", (len(ids), self.weight.value.shape[1]))
        kernels.embedding_forward(rows, ids, self.weight.value)
        return _Samples(
            ids,
            packed_transposed(rows, workspace, f"{self.name}.columns"),
            packed(rows, workspace, f"{self.name}.rows"),
            self.bias.value[ids] + self._corrections[ids],
        )


class SampledSoftmax(Sampled):
    """A softmax learned among the target and the samples (Bengio & Senecal 2008; Jean et al. 2015).

    The logits are corrected by the probability that a word is among the samples, so that the more of them there are,
    the nearer is the gradient to that of the full softmax.

    Parameters
    ----------
    hidden_size, vocab_size, counts, num_samples, noise_power, table
        As in `Sampled`.
    self_normalising : float
        Adds this times (log Z)^2 to the loss of a token, so that Z stays near 1 (Devlin et al. 2014).
    """

    def __init__(
        self,
        name: str,
        hidden_size: int,
        vocab_size: int,
        source: ParameterSource,
        counts: NDArray[np.int64],
        *,
        num_samples: int = 256,
        noise_power: float = 0.75,
        table: Parameter | None = None,
        self_normalising: float = 0.1,
    ) -> None:
        super().__init__(
            name, hidden_size, vocab_size, source, counts, num_samples=num_samples, noise_power=noise_power, table=table
        )
        self.self_normalising = self_normalising
        self.options["self_normalising"] = self_normalising

    @cached_property
    def _corrections(self) -> FloatArray:
        corrections: FloatArray = -np.log(self._inclusion).astype(self.weight.value.dtype)
        return corrections

    def _learn(self, tokens: "_Tokens", samples: "_Samples", factor: float) -> None:
        kernels.sampled_softmax_forward_backward(
            tokens.log_probs, tokens.dlogits, tokens.dtargets, tokens.dhidden, tokens.hidden, tokens.targets,
            tokens.places, self._rows, self.bias.value, self._corrections, samples.columns, samples.rows,
            samples.offsets, self.self_normalising, factor,
        )  # fmt: skip


class NCE(Sampled):
    """A softmax learned by telling the text from the samples (Gutmann & Hyvarinen 2010; Mnih & Teh 2012).

    The scores are taken for log-probabilities while learning, so that Z comes to lie near 1 by itself.

    Parameters
    ----------
    hidden_size, vocab_size, counts, num_samples, noise_power, table
        As in `Sampled`.
    """

    @cached_property
    def _corrections(self) -> FloatArray:
        corrections: FloatArray = -np.log(self.num_samples * self._noise).astype(self.weight.value.dtype)
        return corrections

    def _learn(self, tokens: "_Tokens", samples: "_Samples", factor: float) -> None:
        draws = self.num_samples * self._noise[samples.ids] / self._inclusion[samples.ids]
        kernels.nce_forward_backward(
            tokens.log_probs, tokens.dlogits, tokens.dtargets, tokens.dhidden, tokens.hidden, tokens.targets,
            self._rows, self.bias.value, self._corrections, samples.columns, samples.rows, samples.offsets,
            draws.astype(self.weight.value.dtype), factor,
        )  # fmt: skip


@dataclass(frozen=True)
class _Samples:
    """The words that were drawn, S of them.

    Attributes
    ----------
    ids : (S,) int32
    columns, rows : packed arrays
        Their rows of the table as right operands, (H, S) and (S, H).
    offsets : (S,)
        Their bias and correction.
    """

    ids: IntArray
    columns: FloatArray
    rows: FloatArray
    offsets: FloatArray


@dataclass(frozen=True)
class _Tokens:
    """The tokens of a batch, with room for what is learned from them; axes as in the kernels."""

    log_probs: FloatArray
    dlogits: FloatArray
    dtargets: FloatArray
    dhidden: FloatArray
    hidden: FloatArray
    targets: IntArray
    places: IntArray

    def part(self, start: int, stop: int) -> "_Tokens":
        """Return some of them."""
        return _Tokens(*(array[start:stop] for array in vars(self).values()))
