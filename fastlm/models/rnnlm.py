"""The recurrent language model of Mikolov et al. (2010), with any number of Elman, GRU or LSTM layers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Unpack

import numpy as np
from numpy.typing import NDArray

from fastlm.inference.interface import State
from fastlm.inference.rescoring import has_followers, tree_levels
from fastlm.models.history import longer_history
from fastlm.models.neural import Batch, NeuralModel
from fastlm.models.outputs import OutputOptions, checked_names, make_output
from fastlm.nn.layers import Dropout, Embedding, Layer, WordDropout
from fastlm.nn.parallel import Workers
from fastlm.nn.parameters import FloatArray, IntArray, ParameterSource
from fastlm.nn.penalties import add_activation_gradient, add_temporal_gradient
from fastlm.nn.recurrent import CELLS, RecurrentStack
from fastlm.nn.workspace import Workspace
from fastlm.text.batches import Chunk, Streams
from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary

__all__ = ["RNNLM"]

EVALUATION_ROWS = 1024  # tokens read together when nothing has to be learned: the gates of more leave the cache


@dataclass(frozen=True, eq=False)
class RecurrentState(State):
    """The text so far, in read-only arrays.

    Attributes
    ----------
    hidden : (H,)
        The uppermost layer's output: what the next word is predicted from.
    memory : (L, S, H)
        What each of the L layers goes on from: its hidden layer, and for an LSTM its cell.
    history : int
        A fingerprint of all words since the start (`fastlm.models.history`). States are equal if it is: the same text
        may give arrays that differ in their last bits, by the batch in which it was read.
    """

    hidden: FloatArray
    memory: FloatArray
    history: int

    @property
    def key(self) -> int:
        """The fingerprint: what the words are decides all."""
        return self.history

    def __post_init__(self) -> None:
        self.hidden.flags.writeable = self.memory.flags.writeable = False


class RNNLM(NeuralModel):
    """Recurrent language model (Mikolov et al. 2010) with a lookup table of its own.

    ::

        e_t = lookup(x_t)                              a V x D table
        h_t = tanh(W_x e_t + W_h h_{t-1} + b)
        y_t = softmax(W_y h_t + b_y)                   the distribution of x_{t+1}

    The second line is that of an Elman network; with gated cells it is that of `fastlm.nn.recurrent.GRU` or `LSTM`,
    and with several layers each reads the hidden layer of the one below. Trained with teacher forcing by truncated
    backpropagation through time: the text is read in chunks, and the state is carried from chunk to chunk. No window:
    what is seen has no fixed length.

    Parameters
    ----------
    vocabulary : Vocabulary
    cell : {"elman", "gru", "lstm"}
        Elman (1990), Cho et al. (2014), or Hochreiter & Schmidhuber (1997).
    num_layers : int
        Recurrent layers, one on another.
    embedding_dim, hidden_size : int
        D and H.
    residual : bool
        Whether what goes into a layer is added to what comes out of it, where both have one size.
    dropout : float in [0, 1)
        The common rate of the three that follow, in training; a mask holds for a whole chunk (Gal & Ghahramani 2016).
    embedding_dropout, hidden_dropout, output_dropout : float in [0, 1), optional
        Rates on the embeddings, between layers, and on the uppermost layer's output; None: the common one.
    word_dropout : float in [0, 1)
        Rate at which words lose their whole embedding for a chunk (Gal & Ghahramani 2016).
    recurrent_dropout : float in [0, 1)
        Rate at which elements of W_h are zero for a chunk: DropConnect (Merity et al. 2018).
    recurrent_rate_factor : float
        The learning rate of W_h is this times that of the rest. A step of Adam moves a sum over H units by up to H
        times the rate (Yang et al. 2021), and W_h acts again at each word: wide Elman layers want less.
    activation_penalty, temporal_penalty : float
        Weights of the mean squares of the uppermost layer's output, after dropout, and of its change from step to step,
        before: they are added to the mean loss that is learned from (Merity et al. 2017: 2 and 1).
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
    choices: ClassVar = NeuralModel.choices | {"cell": tuple(CELLS)}
    added_later: ClassVar = {
        **NeuralModel.added_later,
        **{"cell": "elman", "num_layers": 1, "residual": False, "word_dropout": 0.0},
        **{"embedding_dropout": None, "hidden_dropout": None, "output_dropout": None, "recurrent_dropout": 0.0},
        **{"activation_penalty": 0.0, "temporal_penalty": 0.0, "recurrent_rate_factor": 1.0},
    }

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        cell: str = "elman",
        num_layers: int = 1,
        embedding_dim: int = 256,
        hidden_size: int = 256,
        residual: bool = False,
        dropout: float = 0.35,
        embedding_dropout: float | None = None,
        hidden_dropout: float | None = None,
        output_dropout: float | None = None,
        word_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        recurrent_rate_factor: float = 1.0,
        activation_penalty: float = 0.0,
        temporal_penalty: float = 0.0,
        context: str = "continuous",
        seed: int = 1,
        dtype: str = "float32",
        source: ParameterSource | None = None,
        **output_options: Unpack[OutputOptions],
    ) -> None:
        config = {
            "cell": cell,
            "num_layers": num_layers,
            "embedding_dim": embedding_dim,
            "hidden_size": hidden_size,
            "residual": residual,
            "dropout": dropout,
            "embedding_dropout": embedding_dropout,
            "hidden_dropout": hidden_dropout,
            "output_dropout": output_dropout,
            "word_dropout": word_dropout,
            "recurrent_dropout": recurrent_dropout,
            "recurrent_rate_factor": recurrent_rate_factor,
            "activation_penalty": activation_penalty,
            "temporal_penalty": temporal_penalty,
            "context": context,
            "seed": seed,
            "dtype": dtype,
            **checked_names(output_options),
        }
        super().__init__(vocabulary, config, source)

    def _build(self, source: ParameterSource) -> list[Layer]:
        config, vocab_size = self.config, len(self.vocabulary)
        self.embedding = Embedding("embedding", vocab_size + 1, config["embedding_dim"], source)
        self.word_dropout = WordDropout("word_dropout", config["word_dropout"])
        self.embedding_dropout = Dropout("embedding_dropout", self._rate("embedding_dropout"))
        self.recurrent = RecurrentStack(
            "recurrent",
            config["embedding_dim"],
            config["hidden_size"],
            source,
            cell=config["cell"],
            num_layers=config["num_layers"],
            residual=config["residual"],
            dropout=self._rate("hidden_dropout"),
            recurrent_dropout=config["recurrent_dropout"],
            rate_factor=config["recurrent_rate_factor"],
        )
        self.output_dropout = Dropout("hidden_dropout", self._rate("output_dropout"))  # a name that keeps old masks
        self.output = make_output(config, config["hidden_size"], self.vocabulary, source, self.embedding.weight)
        return [self.embedding, self.recurrent, self.output]

    @property
    def carries_state(self) -> bool:
        """Whether the hidden layer runs on through the text."""
        return self.context == "continuous"

    @property
    def embeddings(self) -> FloatArray:
        """Table of word vectors, (V + 1, D); the last row is that of `<s>`."""
        return self.embedding.weight.value

    def _hidden(
        self, inputs: IntArray, resets: NDArray[np.uint8], memory: FloatArray, workspace: Workspace
    ) -> FloatArray:
        """Return the uppermost hidden layer at all steps, (T, B, H), for `inputs` (T, B).

        `memory` (L, S, B, H) is what the steps before have left, and becomes what these leave.
        """
        steps, ids = len(inputs), inputs.reshape(-1)
        looked_up = self.word_dropout.forward(self.embedding.forward(ids, workspace), ids, workspace)
        e = self.embedding_dropout.forward(looked_up.reshape(steps, -1), workspace)
        hidden = self.recurrent.forward(e.reshape(*inputs.shape, -1), memory, resets, workspace)
        self.recurrent.remember(memory, workspace)
        return hidden

    def _backward(self, dhidden: FloatArray, workspace: Workspace) -> None:
        de = self.recurrent.backward(dhidden, workspace)
        de = self.embedding_dropout.backward(de.reshape(len(de), -1), workspace)
        de = de.reshape(-1, self.config["embedding_dim"])
        self.embedding.backward(self.word_dropout.backward(de, workspace), workspace)

    def _memory_shape(self, num_streams: int) -> tuple[int, int, int, int]:
        """Return (L, S, B, H)."""
        num_layers, num_states, hidden_size = self.recurrent.memory_shape
        return num_layers, num_states, num_streams, hidden_size

    def _carried(self, num_streams: int, workspace: Workspace) -> FloatArray:
        """Return the memory that one chunk leaves to the next; the first one finds zeros."""
        return workspace.array("carried", self._memory_shape(num_streams), fill=0)

    def carried(self, batch_size: int, workspace: Workspace) -> dict[str, FloatArray]:
        """Return the memory (L, S, B, H) that a chunk leaves to the next one."""
        return {"memory": self._carried(batch_size, workspace)}

    def training_batches(
        self,
        corpus: Corpus,
        *,
        batch_size: int,
        bptt_len: int | None,
        seed: Sequence[int],
        start: int = 0,
        random_bptt_len: bool = False,
    ) -> Iterator[Chunk]:
        """Yield chunks of `bptt_len` steps of `batch_size` parallel streams.

        A continuous text keeps its order; sentences are shuffled by `seed`. With `random_bptt_len` the lengths are
        drawn (Merity et al. 2018).
        """
        streams, lengths = self._streams(corpus, batch_size, seed), seed if random_bptt_len else None
        return streams.chunks(bptt_len or self.default_bptt_len, start, seed=lengths)

    def num_training_batches(
        self, corpus: Corpus, *, batch_size: int, bptt_len: int | None, random_bptt_len: bool = False
    ) -> int:
        """Count the chunks of an epoch, up to the luck of the sentences' order and of random lengths."""
        seed = (0,) if random_bptt_len else None
        return self._streams(corpus, batch_size).num_chunks(bptt_len or self.default_bptt_len, seed=seed)

    def loss_and_gradients(self, batch: Chunk, workspace: Workspace) -> tuple[float, int]:
        """Forward and backward pass of a chunk; the state is carried on in the workspace."""
        steps, num_streams = batch.inputs.shape
        hidden = self._hidden(batch.inputs, batch.resets, self._carried(num_streams, workspace), workspace)
        h = self.output_dropout.forward(hidden.reshape(steps, -1), workspace)
        targets = batch.targets.reshape(-1)
        num_events = int(np.count_nonzero(targets >= 0))
        h = h.reshape(steps * num_streams, -1)
        factor = batch.share / max(1, num_events)  # a token of a short chunk is worth as much as any other
        loss, dh = self.output.loss_and_gradient(h, targets, factor, workspace)
        share = batch.share if workspace.training else 0.0  # penalties, like dropout, are for training alone
        add_activation_gradient(dh, h, self.config["activation_penalty"] * share, workspace)
        dh = self.output_dropout.backward(dh.reshape(steps, -1), workspace).reshape(hidden.shape)
        add_temporal_gradient(dh, hidden, batch.resets, self.config["temporal_penalty"] * share, workspace)
        self._backward(dh, workspace)
        workspace.workers.finish()
        return loss, num_events

    def _streams(self, corpus: Corpus, num_streams: int, seed: Sequence[int] | None = None) -> Streams:
        if self.context == "sentence":
            return Streams.sentences(corpus, num_streams, seed=seed)
        return Streams.continuous(corpus, num_streams)

    def _features_of(self, corpus: Corpus, num_streams: int, workspaces: Iterator[Workspace]) -> Iterator[Batch]:
        chunks = self._streams(corpus, num_streams).chunks(max(1, EVALUATION_ROWS // num_streams))
        memory = np.zeros(self._memory_shape(num_streams), self.dtype)
        for workspace, chunk in zip(workspaces, chunks, strict=False):
            hidden = self._hidden(chunk.inputs, chunk.resets, memory, workspace)
            targets = chunk.targets.reshape(-1)
            yield Batch(chunk.positions.reshape(-1), targets, hidden.reshape(len(targets), -1), workspace)

    def start(self) -> RecurrentState:
        """Return the state at the beginning of a text: after `<s>`, or after a `</s>` with nothing before it."""
        begin = self.vocabulary.start_id if self.context == "sentence" else self.vocabulary.end_id
        return self._step(np.zeros(self.recurrent.memory_shape, self.dtype), begin, history=0)

    def _advance_one(self, state: RecurrentState, id: int) -> RecurrentState:
        if id == self.vocabulary.end_id and self.context == "sentence":
            return self.start()
        return self._step(state.memory, id, longer_history(state.history, [id]))

    def _step(self, memory: FloatArray, id: int, history: int) -> RecurrentState:
        return RecurrentState(self, *self.recurrent.step(self.embeddings[id], memory), history)

    def _advance_all(self, states: list[RecurrentState], ids: IntArray) -> list[RecurrentState]:
        inputs, resets = self._inputs(ids)
        memory = np.stack([state.memory for state in states], axis=2)
        hidden = self._hidden(inputs[np.newaxis], resets[np.newaxis], memory, self._scratch())[0]
        after = []
        for row, (state, id) in enumerate(zip(states, ids.tolist(), strict=True)):
            history = 0 if resets[row] else longer_history(state.history, [id])
            after.append(RecurrentState(self, hidden[row].copy(), memory[:, :, row].copy(), history))
        return after

    def tree_log_probs(self, parents: IntArray, ids: IntArray) -> NDArray[np.float64]:
        """Log-probability of each edge of a prefix tree, (M,): each depth is a batch, each node one distribution."""
        start, workspace = self.start(), Workspace(self.dtype, Workers(1), keeps_weights=True)
        memory, features = start.memory[:, :, np.newaxis], [start.hidden[np.newaxis]]
        nodes = np.zeros(len(ids) + 1, np.int32)  # after each edge, and at the end after none, which is where -1 leads
        columns = np.zeros(len(ids) + 1, np.int32)  # of these nodes in the memory of their depth
        has_next = has_followers(parents)
        levels = [level[has_next[level]] for level in tree_levels(parents)[:-1]]  # nothing comes after the last
        inputs, resets = self._inputs(ids[np.concatenate([np.empty(0, np.intp), *levels])])
        e = self.embedding.forward(inputs, workspace)
        projected, done = self.recurrent.project(e, workspace), 0
        for inner in levels:
            part = slice(done, done := done + len(inner))
            memory = np.ascontiguousarray(memory[:, :, columns[parents[inner]]])
            of_level = e[np.newaxis, part], memory, resets[np.newaxis, part], workspace
            features.append(self.recurrent.forward(*of_level, projected=projected[part])[0].copy())
            self.recurrent.remember(memory, workspace)
            columns[inner] = np.arange(len(inner))
            nodes[inner] = 1 + part.start + columns[inner]
        hidden = np.concatenate(features)
        return self.output.pair_log_probs(hidden, nodes[parents], ids, workspace).astype(np.float64)

    def _inputs(self, ids: IntArray) -> tuple[IntArray, NDArray[np.uint8]]:
        """Return what is read for words (N,), and where that is the start of a sentence, from a state of zero."""
        if self.context == "continuous":
            return ids, np.zeros(len(ids), np.uint8)
        ends = ids == self.vocabulary.end_id
        return np.where(ends, np.int32(self.vocabulary.start_id), ids), ends.astype(np.uint8)

    def feature_vector(self, state: RecurrentState) -> FloatArray:
        """Return what the output layer sees after a state, (H,)."""
        return state.hidden

    def _features_after(self, states: list[RecurrentState], workspace: Workspace) -> FloatArray:
        return np.stack([state.hidden for state in states])

    def read(self, state: RecurrentState, ids: IntArray, workspace: Workspace) -> tuple[FloatArray, RecurrentState]:
        """Return the uppermost hidden layer before each of the ids, (N, H), and the state after them."""
        inputs, resets = self._inputs(ids)
        memory = state.memory[:, :, np.newaxis].copy()
        hidden = self._hidden(inputs[:, np.newaxis], resets[:, np.newaxis], memory, workspace)[:, 0]
        before = np.concatenate([state.hidden[np.newaxis], hidden[:-1]])
        last_reset = int(np.flatnonzero(resets)[-1]) if resets.any() else -1
        history = longer_history(0 if last_reset >= 0 else state.history, ids[last_reset + 1 :].tolist())
        return before, RecurrentState(self, hidden[-1].copy(), memory[:, :, 0].copy(), history)

    def batch_after(self, state: RecurrentState, ids: IntArray, workspace: Workspace) -> Chunk:
        """Return a chunk of one stream that goes on from `state`."""
        self._carried(1, workspace)[:] = state.memory[:, :, np.newaxis]
        inputs, resets = self._inputs(ids[:-1])
        positions = np.arange(len(inputs))[:, np.newaxis]
        return Chunk(inputs[:, np.newaxis], ids[1:, np.newaxis], resets[:, np.newaxis], positions)
