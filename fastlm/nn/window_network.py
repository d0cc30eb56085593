"""The hidden layers of window models: one, or several with residual connections and a view beyond the window."""

import numpy as np

from fastlm.nn.feedforward import ACTIVATIONS, LayerNorm, ResidualLayer
from fastlm.nn.layers import Layer, Linear
from fastlm.nn.parameters import FloatArray, ParameterSource
from fastlm.nn.window import DistantAverages, Window
from fastlm.nn.workspace import Workspace

__all__ = ["WindowNetwork"]


class WindowNetwork(Layer):
    """From the words before a place to a hidden layer h, which the next word is predicted from.

    ::

        x = W_h e [+ W_a a] + b_h                      e: the window's n words; a: averages of the words before them
        h = f(x)                                       one layer: Bengio et al. (2003)

        h_1 = norm(x)                                  several layers: after Sun & Iyyer (2021)
        h_l = norm(h_{l-1} + W_o f(W_i h_{l-1} + b_i) + b_o)

    Parameters
    ----------
    size, embedding_dim, hidden_size : int
        n, D and H.
    num_layers : int
        Of which all but the first are residual ones.
    num_averages : int
        K of `DistantAverages`; 0: nothing is seen beyond the window.
    activation : {"tanh", "relu", "gelu"}
        f.
    dropout : float in [0, 1)
        Rate within the residual layers, in training.
    """

    def __init__(
        self,
        size: int,
        embedding_dim: int,
        hidden_size: int,
        source: ParameterSource,
        *,
        num_layers: int,
        num_averages: int,
        activation: str,
        dropout: float,
    ) -> None:
        self.window = Window("hidden", size, embedding_dim, hidden_size, source)
        parts: list[Layer] = [self.window]
        self.averages: DistantAverages | None = None
        if num_averages:
            self.averages = DistantAverages("averages", num_averages, size, embedding_dim, source)
            self.distant = Linear("distant", num_averages * embedding_dim, hidden_size, source)
            parts += [self.averages, self.distant]
        self.layers: list[ResidualLayer] = []
        if num_layers == 1:
            self.activation = ACTIVATIONS[activation](activation)
        else:
            self.norm = LayerNorm("norm", hidden_size, source)
            self.layers = [
                ResidualLayer(f"layer{number}", hidden_size, source, activation=activation, dropout=dropout)
                for number in range(2, num_layers + 1)
            ]
            parts += [self.norm, *self.layers]
        super().__init__("network", [parameter for part in parts for parameter in part.parameters])

    @property
    def context_size(self) -> int:
        """How many words are seen, near and far."""
        return self.window.size + (self.averages.num_words if self.averages else 0)

    def forward(self, runs: FloatArray, workspace: Workspace) -> FloatArray:
        """Return h (B T, H) at the places of `runs` (B, C + T - 1, D), word vectors; C is the context's size."""
        num_places = runs.shape[1] - self.context_size + 1
        x = self.window.forward(runs, num_places, workspace)
        if self.averages:
            x += self.distant.forward(self.averages.forward(runs, num_places, workspace), workspace)
        if not self.layers:
            return self.activation.forward(x, workspace)
        h = self.norm.forward(x, workspace)
        for layer in self.layers:
            h = layer.forward(h, workspace)
        return h

    def backward(self, dhidden: FloatArray, workspace: Workspace) -> FloatArray:
        """Add the gradients of the parameters; return that of the runs, (B, C + T - 1, D)."""
        if self.layers:
            for layer in reversed(self.layers):
                dhidden = layer.backward(dhidden, workspace)
            dx = self.norm.backward(dhidden, workspace)
        else:
            dx = self.activation.backward(dhidden, workspace)
        druns = self.window.backward(dx, workspace)
        if self.averages:
            self.averages.backward(self.distant.backward(dx, workspace), druns, workspace)
        return druns

    def forward_vector(self, words: FloatArray) -> FloatArray:
        """Return h (H,) after word vectors (C, D), outside any workspace."""
        x = self.window.forward_vector(words[-self.window.size :])
        if self.averages:
            distant = np.ascontiguousarray(words[: -self.window.size])
            x += self.distant.forward_vector(self.averages.forward_vector(distant))
        if not self.layers:
            return self.activation.forward_vector(x)
        h = self.norm.forward_vector(x)
        for layer in self.layers:
            h = layer.forward_vector(h)
        return h
