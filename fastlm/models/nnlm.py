"""The neural probabilistic language model of Bengio et al. (2003)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np

from fastlm.models.neural import EVALUATION_ROWS, Batch, NeuralModel
from fastlm.models.outputs import OutputOptions, checked_names, make_output
from fastlm.nn.layers import Dropout, Embedding, Layer, Linear, Tanh
from fastlm.nn.parameters import FloatArray, IntArray, ParameterSource
from fastlm.nn.workspace import Workspace
from fastlm.text.batches import Windows, ngram_windows
from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary

__all__ = ["NNLM"]


@dataclass(frozen=True)
class Window:
    """The last words, oldest first: all that an NNLM knows of the text so far."""

    ids: tuple[int, ...]


class NNLM(NeuralModel):
    """Feed-forward language model over a fixed window of words (Bengio et al. 2003).

    ::

        e = lookup(x[t-n]); ...; lookup(x[t-1])        n words from a V x D table, no bias, no activation
        h = tanh(W_h e + b_h)
        y = softmax(W_y h [+ W_d e] + b_y)             W_d: direct connections, if wanted

    Words that are used alike get alike vectors, so a sequence that was never seen gets a sensible probability.

    Parameters
    ----------
    vocabulary : Vocabulary
    context_size : int
        n, the words that are seen: 4 makes a 5-gram model.
    embedding_dim, hidden_size : int
        D and H.
    direct : bool
        Whether the embeddings are also connected to the output directly. The output's weight is then [W_y W_d],
        (V, H + n D).
    dropout : float in [0, 1)
        Rate on the embeddings and on the hidden layer, in training.
    context : {"sentence", "continuous"}
        Whether windows stop at the sentence's start (and are padded with `<s>`), or run on through `</s>`.
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
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    >>> {name: array.shape for name, array in model.parameters.items()}["hidden.weight"]
    (8, 8)
    >>> bool(abs(sum(p.probability for p in model.predict("the cat", k=6, unknown=True)) - 1) < 1e-5)
    True
    """

    architecture = "nnlm"
    default_batch_size = 256

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        context_size: int = 4,
        embedding_dim: int = 100,
        hidden_size: int = 200,
        direct: bool = False,
        dropout: float = 0.3,
        context: str = "sentence",
        seed: int = 1,
        dtype: str = "float32",
        source: ParameterSource | None = None,
        **output_options: Unpack[OutputOptions],
    ) -> None:
        if direct is True and output_options.get("tied") is True:
            raise ValueError("tied and direct are both True, but a tied table has no room for direct connections")
        config = {
            "context_size": context_size,
            "embedding_dim": embedding_dim,
            "hidden_size": hidden_size,
            "direct": direct,
            "dropout": dropout,
            "context": context,
            "seed": seed,
            "dtype": dtype,
            **checked_names(output_options),
        }
        super().__init__(vocabulary, config, source)

    def _build(self, source: ParameterSource) -> list[Layer]:
        config, vocab_size = self.config, len(self.vocabulary)
        window = config["context_size"] * config["embedding_dim"]
        features = config["hidden_size"] + (window if config["direct"] else 0)
        self.embedding = Embedding("embedding", vocab_size + 1, config["embedding_dim"], source)
        self.embedding_dropout = Dropout("embedding_dropout", config["dropout"])
        self.hidden = Linear("hidden", window, config["hidden_size"], source)
        self.tanh = Tanh("tanh")
        self.hidden_dropout = Dropout("hidden_dropout", config["dropout"])
        self.output = make_output(config, features, self.vocabulary, source, self.embedding.weight)
        return [self.embedding, self.embedding_dropout, self.hidden, self.tanh, self.hidden_dropout, self.output]

    @property
    def carries_state(self) -> bool:
        """False: a window is all that is remembered, and it is read from the text itself."""
        return False

    @property
    def context_length(self) -> int:
        """The number of words in a window."""
        size: int = self.config["context_size"]
        return size

    @property
    def embeddings(self) -> FloatArray:
        """Table of word vectors, (V + 1, D); the last row is that of `<s>`."""
        return self.embedding.weight.value

    def _features(self, windows: IntArray, workspace: Workspace) -> FloatArray:
        """Return what the output layer sees of `windows` (N, n): h, or h and e beside each other."""
        num_windows = len(windows)
        looked_up = self.embedding.forward(windows.reshape(-1), workspace)
        e = self.embedding_dropout.forward(looked_up.reshape(1, -1), workspace).reshape(num_windows, -1)
        h = self.tanh.forward(self.hidden.forward(e, workspace), workspace)
        h = self.hidden_dropout.forward(h.reshape(1, -1), workspace).reshape(num_windows, -1)
        if not self.config["direct"]:
            return h
        features = workspace.array("features", (num_windows, h.shape[1] + e.shape[1]))
        return np.concatenate([h, e], axis=1, out=features)

    def _backward(self, dfeatures: FloatArray, workspace: Workspace) -> None:
        hidden_size = self.config["hidden_size"]
        dh = np.ascontiguousarray(dfeatures[:, :hidden_size])
        dh = self.hidden_dropout.backward(dh.reshape(1, -1), workspace).reshape(dh.shape)
        de = self.hidden.backward(self.tanh.backward(dh, workspace), workspace)
        if self.config["direct"]:
            de += dfeatures[:, hidden_size:]
        de = self.embedding_dropout.backward(de.reshape(1, -1), workspace)
        self.embedding.backward(de.reshape(-1, self.config["embedding_dim"]), workspace)

    def training_batches(
        self,
        corpus: Corpus,
        *,
        batch_size: int,
        bptt_len: int | None,
        seed: Sequence[int],
        start: int = 0,
        random_bptt_len: bool = False,
    ) -> Iterator[tuple[IntArray, IntArray]]:
        """Yield (windows, targets) of all tokens in a random order; lengths of chunks have no meaning here."""
        for windows, targets, _ in self._windows(corpus, seed).batches(batch_size, start):
            yield windows, targets

    def num_training_batches(
        self, corpus: Corpus, *, batch_size: int, bptt_len: int | None, random_bptt_len: bool = False
    ) -> int:
        """Count the batches of an epoch."""
        return -(-corpus.num_tokens // batch_size)

    def loss_and_gradients(self, batch: tuple[IntArray, IntArray], workspace: Workspace) -> tuple[float, int]:
        """Forward and backward pass of windows (N, n) and targets (N,)."""
        windows, targets = batch
        features = self._features(windows, workspace)
        loss, dfeatures = self.output.loss_and_gradient(features, targets, 1.0 / len(targets), workspace)
        self._backward(dfeatures, workspace)
        workspace.workers.finish()
        return loss, len(targets)

    def _windows(self, corpus: Corpus, seed: Sequence[int] | None = None) -> Windows:
        return Windows(corpus, self.config["context_size"], sentence=self.context == "sentence", seed=seed)

    def _features_of(self, corpus: Corpus, num_streams: int, workspaces: Iterator[Workspace]) -> Iterator[Batch]:
        batches = self._windows(corpus).batches(EVALUATION_ROWS)
        for workspace, (windows, targets, positions) in zip(workspaces, batches, strict=False):
            yield Batch(positions, targets, self._features(windows, workspace), workspace)

    def start(self) -> Window:
        """Return the state at the beginning of a text: nothing but `<s>`, or nothing but `</s>`."""
        begin = self.vocabulary.start_id if self.context == "sentence" else self.vocabulary.end_id
        return Window((begin,) * self.config["context_size"])

    def advance(self, state: Window, id: int) -> Window:
        """Return the state after one more word."""
        if self._check_id(id) == self.vocabulary.end_id and self.context == "sentence":
            return self.start()
        return Window((*state.ids[1:], int(id)))

    def log_probs(self, state: Window) -> FloatArray:
        """Natural log-probability of every next word, (V,)."""
        e = self.embeddings[list(state.ids)].reshape(-1)
        h = self.tanh.forward_vector(self.hidden.forward_vector(e))
        features = np.concatenate([h, e]) if self.config["direct"] else h
        row: FloatArray = self.output.log_probs(features[np.newaxis])[0]
        return row

    def read(self, state: Window, ids: IntArray, workspace: Workspace) -> tuple[FloatArray, Window]:
        """Return what the output layer sees before each of the ids, (N, H), and the state after them."""
        features = self._features(self._windows_after(state, ids), workspace)
        for id in ids[-self.config["context_size"] :].tolist():
            state = self.advance(state, id)
        return features, state

    def batch_after(self, state: Window, ids: IntArray, workspace: Workspace) -> tuple[IntArray, IntArray]:
        """Return (windows, targets) of the ids after the first."""
        return self._windows_after(state, ids)[1:], ids[1:]

    def _windows_after(self, state: Window, ids: IntArray) -> IntArray:
        """Return the windows before each of the ids that follow `state`: (N, n)."""
        size, vocabulary = self.config["context_size"], self.vocabulary
        windows = np.empty((len(ids), size), np.int32)
        text, positions = np.concatenate([np.array(state.ids, np.int32), ids]), np.arange(size, size + len(ids))
        ngram_windows(windows, text, positions, vocabulary.start_id, vocabulary.end_id, self.context == "sentence")
        return windows
