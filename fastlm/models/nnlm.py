"""The neural probabilistic language model of Bengio et al. (2003)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Unpack

import numpy as np

from fastlm.inference.interface import State
from fastlm.models.neural import EVALUATION_ROWS, Batch, NeuralModel
from fastlm.models.outputs import OutputOptions, checked_names, make_output
from fastlm.nn.feedforward import ACTIVATIONS
from fastlm.nn.layers import Dropout, Embedding, Layer, WordDropout
from fastlm.nn.parameters import FloatArray, IntArray, ParameterSource
from fastlm.nn.window_network import WindowNetwork
from fastlm.nn.workspace import Workspace
from fastlm.text.batches import Windows, ngram_windows
from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary

__all__ = ["NNLM"]

TRAINING_RUN = 64  # places of a run: its words are looked up once, those before it again
EVALUATION_RUN = 512
MAX_AVERAGES = 8


@dataclass(frozen=True, eq=False)
class Window(State):
    """The last words, oldest first: all that an NNLM knows of the text so far."""

    ids: tuple[int, ...]

    @property
    def key(self) -> tuple[int, ...]:
        """The words."""
        return self.ids


class NNLM(NeuralModel):
    """Feed-forward language model over a fixed window of words (Bengio et al. 2003).

    ::

        e = lookup(x[t-n]); ...; lookup(x[t-1])        n words from a V x D table, no bias, no activation
        h = tanh(W_h e + b_h)
        y = softmax(W_y h [+ W_d e] + b_y)             W_d: direct connections, if wanted

    Words that are used alike get alike vectors, so a sequence that was never seen gets a sensible probability.

    That is the textbook model. With several layers it is a modern one, after Sun & Iyyer (2021): layer normalisation,
    residual layers, and a view of the words beyond the window through learned averages; see
    `fastlm.nn.window_network.WindowNetwork`. It likes windows of 8 to 32 words in continuous context, and `tied`.

    Parameters
    ----------
    vocabulary : Vocabulary
    context_size : int
        n, the words that are seen: 4 makes a 5-gram model.
    embedding_dim, hidden_size : int
        D and H.
    num_layers : int
        Hidden layers. 1 is the textbook's; more are residual layers, each of two affine maps over 2 H inner units.
    activation : {"tanh", "relu", "gelu"}
        What makes a layer nonlinear; "gelu" suits several layers.
    num_averages : int
        K learned averages of the words beyond the window, of n words, of 2 n before them, of 4 n ...: n 2^K words are
        seen in all. For continuous context.
    direct : bool
        Whether the embeddings are also connected to the output directly. The output's weight is then [W_y W_d],
        (V, H + n D). For the textbook model.
    dropout : float in [0, 1)
        The common rate of the three that follow, in training.
    embedding_dropout, hidden_dropout, output_dropout : float in [0, 1), optional
        Rates on the embeddings, within the layers above the first, and on the uppermost layer's output; None: the
        common one.
    word_dropout : float in [0, 1)
        Rate at which words lose their whole embedding for a batch (Gal & Ghahramani 2016).
    context : {"sentence", "continuous"}
        Whether windows stop at the sentence's start (and are padded with `<s>`), or run on through `</s>`.
    seed : int
        What the initial parameters are drawn from.
    dtype : {"float32", "float64"}
        float64 is for checks of gradients; it is slow.
    source : ParameterSource, optional
        Parameters to take in place of random ones.
    **output_options
        `output`, `tied` and what belongs to it: see `fastlm.models.outputs.OutputOptions`.

    Examples
    --------
    >>> import fastlm
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "dog", "sat"])
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    >>> {name: array.shape for name, array in model.parameters.items()}["hidden.weight"]
    (8, 8)
    >>> bool(abs(sum(p.probability for p in model.predict("the cat", k=6, unknown=True)) - 1) < 1e-5)
    True
    >>> modern = fastlm.NNLM(vocabulary, context_size=2, num_layers=3, num_averages=2, context="continuous", tied=True)
    >>> len(modern.start().ids)
    8
    """

    architecture = "nnlm"
    default_batch_size = 256
    choices: ClassVar = NeuralModel.choices | {"activation": tuple(ACTIVATIONS)}
    added_later: ClassVar = {
        **NeuralModel.added_later,
        **{"num_layers": 1, "activation": "tanh", "num_averages": 0, "word_dropout": 0.0},
        **{"embedding_dropout": None, "hidden_dropout": None, "output_dropout": None},
    }

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        context_size: int = 4,
        embedding_dim: int = 100,
        hidden_size: int = 200,
        num_layers: int = 1,
        activation: str = "tanh",
        num_averages: int = 0,
        direct: bool = False,
        dropout: float = 0.3,
        embedding_dropout: float | None = None,
        hidden_dropout: float | None = None,
        output_dropout: float | None = None,
        word_dropout: float = 0.0,
        context: str = "sentence",
        seed: int = 1,
        dtype: str = "float32",
        source: ParameterSource | None = None,
        **output_options: Unpack[OutputOptions],
    ) -> None:
        config = {
            "context_size": context_size,
            "embedding_dim": embedding_dim,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "activation": activation,
            "num_averages": num_averages,
            "direct": direct,
            "dropout": dropout,
            "embedding_dropout": embedding_dropout,
            "hidden_dropout": hidden_dropout,
            "output_dropout": output_dropout,
            "word_dropout": word_dropout,
            "context": context,
            "seed": seed,
            "dtype": dtype,
            **checked_names(output_options),
        }
        super().__init__(vocabulary, config, source)

    def _build(self, source: ParameterSource) -> list[Layer]:
        config, vocab_size = self.config, len(self.vocabulary)
        self._check_combination()
        size, embedding_dim, hidden_size = config["context_size"], config["embedding_dim"], config["hidden_size"]
        self.embedding = Embedding("embedding", vocab_size + 1, embedding_dim, source)
        self.word_dropout = WordDropout("word_dropout", config["word_dropout"])
        self.embedding_dropout = Dropout("embedding_dropout", self._rate("embedding_dropout"))
        self.network = WindowNetwork(
            size,
            embedding_dim,
            hidden_size,
            source,
            num_layers=config["num_layers"],
            num_averages=config["num_averages"],
            activation=config["activation"],
            dropout=self._rate("hidden_dropout"),
        )
        self.output_dropout = Dropout("hidden_dropout", self._rate("output_dropout"))  # a name that keeps old masks
        features = hidden_size + (size * embedding_dim if config["direct"] else 0)
        self.output = make_output(config, features, self.vocabulary, source, self.embedding.weight)
        return [self.embedding, self.network, self.output]

    def _check_combination(self) -> None:
        config = self.config
        if config["direct"] and config.get("tied"):
            raise ValueError("tied and direct are both True, but a tied table has no room for direct connections")
        if config["direct"] and not self._is_textbook:
            raise ValueError("direct is True, but only a model of one layer, without averages, has direct connections")
        if config["num_averages"] > MAX_AVERAGES:
            raise ValueError(
                f"num_averages is {config['num_averages']}, expected at most {MAX_AVERAGES}: each is over twice as "
                "many words as the one before"
            )
        if config["num_averages"] and self.context == "sentence":
            raise ValueError(
                f"num_averages is {config['num_averages']}, but in sentence context little is beyond a window; take "
                "context 'continuous'"
            )

    @property
    def _is_textbook(self) -> bool:
        return bool(self.config["num_layers"] == 1 and self.config["num_averages"] == 0)

    @property
    def carries_state(self) -> bool:
        """False: a window is all that is remembered, and it is read from the text itself."""
        return False

    @property
    def context_length(self) -> int:
        """The number of words that are seen, those that are averaged among them."""
        return self.network.context_size

    @property
    def embeddings(self) -> FloatArray:
        """Table of word vectors, (V + 1, D); the last row is that of `<s>`."""
        return self.embedding.weight.value

    def _features(self, runs: IntArray, workspace: Workspace) -> FloatArray:
        """Return what the output layer sees at the places of `runs` (B, C + T - 1): h, or h and e beside each other."""
        ids = runs.reshape(-1)
        looked_up = self.word_dropout.forward(self.embedding.forward(ids, workspace), ids, workspace)
        dropped = self.embedding_dropout.forward(looked_up.reshape(1, -1), workspace)
        h = self.network.forward(dropped.reshape(len(runs), -1, self.config["embedding_dim"]), workspace)
        h = self.output_dropout.forward(h.reshape(1, -1), workspace).reshape(len(h), -1)
        if not self.config["direct"]:
            return h
        e = dropped.reshape(len(h), -1)
        features = workspace.array("features", (len(h), h.shape[1] + e.shape[1]))
        return np.concatenate([h, e], axis=1, out=features)

    def _backward(self, dfeatures: FloatArray, workspace: Workspace) -> None:
        hidden_size = self.config["hidden_size"]
        dh = np.ascontiguousarray(dfeatures[:, :hidden_size])
        dh = self.output_dropout.backward(dh.reshape(1, -1), workspace).reshape(dh.shape)
        de = self.network.backward(dh, workspace)
        if self.config["direct"]:
            de += dfeatures[:, hidden_size:].reshape(de.shape)
        de = self.embedding_dropout.backward(de.reshape(1, -1), workspace)
        de = de.reshape(-1, self.config["embedding_dim"])
        self.embedding.backward(self.word_dropout.backward(de, workspace), workspace)

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
        """Yield (runs, targets) of all tokens in a random order; lengths of chunks have no meaning here.

        Runs are windows (N, n), and for a modern model in continuous context pieces of text of many windows.
        """
        windows = self._windows(corpus, min(batch_size, TRAINING_RUN), seed)
        for runs, targets, _ in windows.batches(batch_size, start):
            yield runs, targets

    def num_training_batches(
        self, corpus: Corpus, *, batch_size: int, bptt_len: int | None, random_bptt_len: bool = False
    ) -> int:
        """Count the batches of an epoch."""
        return self._windows(corpus, min(batch_size, TRAINING_RUN)).num_batches(batch_size)

    def loss_and_gradients(self, batch: tuple[IntArray, IntArray], workspace: Workspace) -> tuple[float, int]:
        """Forward and backward pass of runs (B, C + T - 1) and targets (B T,)."""
        runs, targets = batch
        num_events = int(np.count_nonzero(targets >= 0))
        features = self._features(runs, workspace)
        loss, dfeatures = self.output.loss_and_gradient(features, targets, 1.0 / max(1, num_events), workspace)
        self._backward(dfeatures, workspace)
        workspace.workers.finish()
        return loss, num_events

    def _windows(self, corpus: Corpus, run_length: int, seed: Sequence[int] | None = None) -> Windows:
        run_length = run_length if self._has_runs else 1
        sentence = self.context == "sentence"
        return Windows(corpus, self.network.context_size, sentence=sentence, seed=seed, run_length=run_length)

    @property
    def _has_runs(self) -> bool:
        """Whether windows are read in runs; for the textbook model each is drawn by itself."""
        return self.context == "continuous" and not self._is_textbook

    def _features_of(self, corpus: Corpus, num_streams: int, workspaces: Iterator[Workspace]) -> Iterator[Batch]:
        batches = self._windows(corpus, EVALUATION_RUN).batches(EVALUATION_ROWS)
        for workspace, (runs, targets, positions) in zip(workspaces, batches, strict=False):
            yield Batch(positions, targets, self._features(runs, workspace), workspace)

    def start(self) -> Window:
        """Return the state at the beginning of a text: nothing but `<s>`, or nothing but `</s>`."""
        begin = self.vocabulary.start_id if self.context == "sentence" else self.vocabulary.end_id
        return Window(self, (begin,) * self.network.context_size)

    def _advance_one(self, state: Window, id: int) -> Window:
        if id == self.vocabulary.end_id and self.context == "sentence":
            return self.start()
        return Window(self, (*state.ids[1:], id))

    def feature_vector(self, state: Window) -> FloatArray:
        """Return what the output layer sees after a state, (H,)."""
        e = self.embeddings[list(state.ids)]
        h = self.network.forward_vector(e)
        return np.concatenate([h, e.reshape(-1)]) if self.config["direct"] else h

    def _features_after(self, states: list[Window], workspace: Workspace) -> FloatArray:
        return self._features(np.array([state.ids for state in states], np.int32), workspace)

    def read(self, state: Window, ids: IntArray, workspace: Workspace) -> tuple[FloatArray, Window]:
        """Return what the output layer sees before each of the ids, (N, H), and the state after them."""
        features = self._features(self._runs_after(state, ids), workspace)
        for id in ids[-len(state.ids) :].tolist():
            state = self._advance_one(state, id)
        return features, state

    def batch_after(self, state: Window, ids: IntArray, workspace: Workspace) -> tuple[IntArray, IntArray]:
        """Return (runs, targets) of the ids after the first."""
        return self._runs_after(state, ids, 1), ids[1:]

    def _runs_after(self, state: Window, ids: IntArray, start: int = 0) -> IntArray:
        """Return what is seen before each of the ids that follow `state`, from the `start`-th on."""
        size, text = self.network.context_size, np.concatenate([np.array(state.ids, np.int32), ids])
        if self._has_runs:
            return text[np.newaxis, start:-1]
        windows = np.empty((len(ids) - start, size), np.int32)
        positions, sentence = np.arange(size + start, len(text)), self.context == "sentence"
        ngram_windows(windows, text, positions, self.vocabulary.start_id, self.vocabulary.end_id, sentence)
        return windows
