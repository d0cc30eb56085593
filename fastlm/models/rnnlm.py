"""The recurrent language model of Mikolov et al. (2010)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from fastlm.models.neural import EVALUATION_ROWS, Batch, NeuralModel
from fastlm.models.outputs import OutputOptions, checked_names, make_output
from fastlm.nn.layers import Dropout, Elman, Embedding, Layer
from fastlm.nn.parameters import FloatArray, IntArray, ParameterSource
from fastlm.nn.workspace import Workspace
from fastlm.text.batches import Chunk, Streams
from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary

__all__ = ["RNNLM"]


@dataclass(frozen=True, eq=False)
class RecurrentState:
    """The hidden layer after the text so far, (H,); read-only."""

    hidden: FloatArray


class RNNLM(NeuralModel):
    """Recurrent language model (Mikolov et al. 2010) with a lookup table of its own.

    ::

        e_t = lookup(x_t)                              a V x D table
        h_t = tanh(W_x e_t + W_h h_{t-1} + b)
        y_t = softmax(W_y h_t + b_y)                   the distribution of x_{t+1}

    Trained with teacher forcing by truncated backpropagation through time: the text is read in chunks, and the
    state is carried from chunk to chunk. No window: what is seen has no fixed length.

    Parameters
    ----------
    vocabulary : Vocabulary
    embedding_dim, hidden_size : int
        D and H.
    dropout : float in [0, 1)
        Rate on the embeddings and on the hidden layer's output, in training; a mask holds for a whole chunk
        (Gal & Ghahramani 2016).
    context : {"continuous", "sentence"}
        Whether the state runs on through `</s>`, or each sentence starts from `<s>` and a state of zero.
    seed : int
        What the initial parameters are drawn from.
    dtype : {"float32", "float64"}
        float64 is for checks of gradients; it is slow.
    source : ParameterSource, optional
        Parameters to take in place of random ones.
    **output_options
        `output` and what belongs to it: see `fastlm.models.outputs.OutputOptions`.

    Examples
    --------
    >>> import fastlm
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "dog", "sat"])
    >>> model = fastlm.RNNLM(vocabulary, embedding_dim=4, hidden_size=8, seed=1)
    >>> {name: array.shape for name, array in model.parameters.items()}["recurrent.w_hh"]
    (8, 8)
    >>> bool(abs(sum(p.probability for p in model.predict("the cat", k=6, unknown=True)) - 1) < 1e-5)
    True
    """

    architecture = "rnnlm"
    default_batch_size = 20
    default_bptt_len = 35

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        embedding_dim: int = 256,
        hidden_size: int = 256,
        dropout: float = 0.35,
        context: str = "continuous",
        seed: int = 1,
        dtype: str = "float32",
        source: ParameterSource | None = None,
        **output_options: Unpack[OutputOptions],
    ) -> None:
        config = {
            "embedding_dim": embedding_dim,
            "hidden_size": hidden_size,
            "dropout": dropout,
            "context": context,
            "seed": seed,
            "dtype": dtype,
            **checked_names(output_options),
        }
        super().__init__(vocabulary, config, source)

    def _build(self, source: ParameterSource) -> list[Layer]:
        config, vocab_size = self.config, len(self.vocabulary)
        self.embedding = Embedding("embedding", vocab_size + 1, config["embedding_dim"], source)
        self.embedding_dropout = Dropout("embedding_dropout", config["dropout"])
        self.recurrent = Elman("recurrent", config["embedding_dim"], config["hidden_size"], source)
        self.hidden_dropout = Dropout("hidden_dropout", config["dropout"])
        self.output = make_output(config, config["hidden_size"], self.vocabulary, source)
        return [self.embedding, self.embedding_dropout, self.recurrent, self.hidden_dropout, self.output]

    @property
    def carries_state(self) -> bool:
        """Whether the hidden layer runs on through the text."""
        return self.context == "continuous"

    @property
    def embeddings(self) -> FloatArray:
        """Table of word vectors, (V + 1, D); the last row is that of `<s>`."""
        return self.embedding.weight.value

    def _hidden(
        self, inputs: IntArray, resets: NDArray[np.uint8], initial: FloatArray, workspace: Workspace
    ) -> FloatArray:
        """Hidden layer at all steps, (T, B, H), for `inputs` (T, B) from `initial` (B, H)."""
        steps = len(inputs)
        looked_up = self.embedding.forward(inputs.reshape(-1), workspace)
        e = self.embedding_dropout.forward(looked_up.reshape(steps, -1), workspace)
        return self.recurrent.forward(e.reshape(*inputs.shape, -1), initial, resets, workspace)

    def _backward(self, dhidden: FloatArray, workspace: Workspace) -> None:
        de = self.recurrent.backward(dhidden, workspace)
        de = self.embedding_dropout.backward(de.reshape(len(de), -1), workspace)
        self.embedding.backward(de.reshape(-1, self.config["embedding_dim"]), workspace)

    def _carried(self, num_streams: int, workspace: Workspace) -> FloatArray:
        """Return the state (B, H) that one chunk leaves to the next; the first one finds zeros."""
        return workspace.array("carried", (num_streams, self.config["hidden_size"]), fill=0)

    def carried(self, batch_size: int, workspace: Workspace) -> dict[str, FloatArray]:
        """Return the state (B, H) that a chunk leaves to the next one."""
        return {"hidden": self._carried(batch_size, workspace)}

    def training_batches(
        self, corpus: Corpus, *, batch_size: int, bptt_len: int | None, seed: Sequence[int], start: int = 0
    ) -> Iterator[Chunk]:
        """Yield chunks of `bptt_len` steps of `batch_size` parallel streams.

        A continuous text keeps its order; sentences are shuffled by `seed`.
        """
        return self._streams(corpus, batch_size, seed).chunks(bptt_len or self.default_bptt_len, start)

    def num_training_batches(self, corpus: Corpus, *, batch_size: int, bptt_len: int | None) -> int:
        """Count the chunks of an epoch, up to the luck of the sentences' order."""
        return self._streams(corpus, batch_size).num_chunks(bptt_len or self.default_bptt_len)

    def loss_and_gradients(self, batch: Chunk, workspace: Workspace) -> tuple[float, int]:
        """Forward and backward pass of a chunk; the state is carried on in the workspace."""
        steps, num_streams = batch.inputs.shape
        carried = self._carried(num_streams, workspace)
        hidden = self._hidden(batch.inputs, batch.resets, carried, workspace)
        carried[:] = hidden[-1]
        h = self.hidden_dropout.forward(hidden.reshape(steps, -1), workspace)
        targets = batch.targets.reshape(-1)
        num_events = int(np.count_nonzero(targets >= 0))
        h = h.reshape(steps * num_streams, -1)
        loss, dh = self.output.loss_and_gradient(h, targets, 1.0 / max(1, num_events), workspace)
        dh = self.hidden_dropout.backward(dh.reshape(steps, -1), workspace)
        self._backward(dh.reshape(hidden.shape), workspace)
        workspace.workers.finish()
        return loss, num_events

    def _streams(self, corpus: Corpus, num_streams: int, seed: Sequence[int] | None = None) -> Streams:
        if self.context == "sentence":
            return Streams.sentences(corpus, num_streams, seed=seed)
        return Streams.continuous(corpus, num_streams)

    def _features_of(self, corpus: Corpus, num_streams: int, workspaces: Iterator[Workspace]) -> Iterator[Batch]:
        chunks = self._streams(corpus, num_streams).chunks(max(1, EVALUATION_ROWS // num_streams))
        hidden = np.zeros((1, num_streams, self.config["hidden_size"]), self.dtype)
        for workspace, chunk in zip(workspaces, chunks, strict=False):
            hidden = self._hidden(chunk.inputs, chunk.resets, hidden[-1, : chunk.inputs.shape[1]], workspace)
            targets = chunk.targets.reshape(-1)
            yield Batch(chunk.positions.reshape(-1), targets, hidden.reshape(len(targets), -1), workspace)

    def start(self) -> RecurrentState:
        """Return the state at the beginning of a text: after `<s>`, or after a `</s>` with nothing before it."""
        begin = self.vocabulary.start_id if self.context == "sentence" else self.vocabulary.end_id
        return self._step(np.zeros(self.config["hidden_size"], self.dtype), begin)

    def advance(self, state: RecurrentState, id: int) -> RecurrentState:
        """Return the state after one more word."""
        if self._check_id(id) == self.vocabulary.end_id and self.context == "sentence":
            return self.start()
        return self._step(state.hidden, id)

    def _step(self, previous: FloatArray, id: int) -> RecurrentState:
        hidden = self.recurrent.step(self.embeddings[id], previous)
        hidden.flags.writeable = False
        return RecurrentState(hidden)

    def log_probs(self, state: RecurrentState) -> FloatArray:
        """Natural log-probability of every next word, (V,)."""
        row: FloatArray = self.output.log_probs(state.hidden[np.newaxis])[0]
        return row

    def read(self, state: RecurrentState, ids: IntArray, workspace: Workspace) -> tuple[FloatArray, RecurrentState]:
        """Return the hidden layer before each of the ids, (N, H), and the state after them."""
        hidden = self._hidden(*self._inputs(ids), state.hidden[np.newaxis], workspace)[:, 0]
        last = hidden[-1].copy()
        last.flags.writeable = False
        return np.concatenate([state.hidden[np.newaxis], hidden[:-1]]), RecurrentState(last)

    def batch_after(self, state: RecurrentState, ids: IntArray, workspace: Workspace) -> Chunk:
        """Return a chunk of one stream that goes on from `state`."""
        self._carried(1, workspace)[:] = state.hidden
        inputs, resets = self._inputs(ids[:-1])
        return Chunk(inputs, ids[1:, np.newaxis], resets, np.arange(len(inputs))[:, np.newaxis])

    def _inputs(self, ids: IntArray) -> tuple[IntArray, NDArray[np.uint8]]:
        """Return what is read as the ids of one stream come, and where the state is zero before it: both (N, 1)."""
        inputs, resets = ids[:, np.newaxis].copy(), np.zeros((len(ids), 1), np.uint8)
        if self.context == "sentence":
            resets[:, 0] = ids == self.vocabulary.end_id
            inputs[resets == 1] = self.vocabulary.start_id
        return inputs, resets
