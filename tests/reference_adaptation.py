"""Adaptation in float64 NumPy, from the papers: the cache's distribution, and an RNNLM under dynamic evaluation."""

import numpy as np
import reference
from numpy.typing import NDArray

Array = NDArray[np.float64]


def cache_probabilities(keys: Array, words: NDArray[np.int32], query: Array, flatness: float, vocab_size: int) -> Array:
    """Return the cache's distribution (V,): Grave et al. 2017, equation 2; zero where nothing is cached."""
    probabilities = np.zeros(vocab_size)
    scores = flatness * keys @ query
    for word, score in zip(words, scores, strict=True):
        probabilities[word] += np.exp(score - scores.max())
    return probabilities / max(probabilities.sum(), 1e-300)


class DynamicRNNLM:
    """An Elman RNNLM in continuous context, read word by word; it learns after every `segment_size` of them.

    A segment is as many inputs, each followed by the word to be predicted; backpropagation goes to its beginning.
    """

    def __init__(
        self,
        parameters: dict[str, Array],
        begin: int,
        *,
        learning_rate: float,
        decay: float,
        segment_size: int,
        sizes: dict[str, Array] | None = None,
    ) -> None:
        self.stored = {name: array.astype(np.float64) for name, array in parameters.items()}
        self.values = {name: array.copy() for name, array in self.stored.items()}
        self.decay, self.segment_size = decay, segment_size
        self.rates = dict.fromkeys(self.stored, learning_rate)
        if sizes is not None:  # of rows: those of all elements, and their mean
            full = {
                n: np.broadcast_to(s if self.stored[n].ndim == 1 else s[:, np.newaxis], self.stored[n].shape)
                for n, s in sizes.items()
            }
            mean = np.concatenate([each.reshape(-1) for each in full.values()]).mean()
            self.rates = {name: learning_rate / (1 + each / mean) for name, each in full.items()}
        self.hidden = self.base = self.step(np.zeros(len(self.values["recurrent.bias"])), begin)
        self.inputs: list[int] = []

    def step(self, hidden: Array, word: int) -> Array:
        p = self.values
        x = p["recurrent.w_xh"] @ p["embedding.weight"][word] + p["recurrent.bias"]
        return np.tanh(x + p["recurrent.w_hh"] @ hidden)

    def log_probs(self) -> Array:
        return reference.log_softmax(self.values["output.weight"] @ self.hidden + self.values["output.bias"])

    def read(self, word: int) -> None:
        if len(self.inputs) == self.segment_size:
            behind = self.hidden
            self.learn([*self.inputs[1:], word])
            self.base, self.hidden, self.inputs = behind, behind, []
        self.inputs.append(word)
        self.hidden = self.step(self.hidden, word)

    def learn(self, targets: list[int]) -> None:
        """Learn, with the mean loss, that these words follow the inputs."""
        p, resets = self.values, np.zeros((len(targets), 1))
        e = p["embedding.weight"][self.inputs]
        x = (e @ p["recurrent.w_xh"].T + p["recurrent.bias"])[:, np.newaxis]
        hidden = reference.elman_forward(x, p["recurrent.w_hh"], self.base[np.newaxis], resets)
        flat = hidden[:, 0]
        dflat, dweight, dbias = reference.softmax_loss_backward(flat, targets, p["output.weight"], p["output.bias"])
        dx, dw_hh, _ = reference.elman_backward(
            dflat[:, np.newaxis], hidden, p["recurrent.w_hh"], self.base[np.newaxis], resets
        )
        dx = dx[:, 0]
        gradients = {
            "output.weight": dweight,
            "output.bias": dbias,
            "recurrent.w_hh": dw_hh,
            "recurrent.w_xh": dx.T @ e,
            "recurrent.bias": dx.sum(0),
            "embedding.weight": reference.embedding_backward(
                dx @ p["recurrent.w_xh"], self.inputs, len(p["embedding.weight"])
            ),
        }
        for name, gradient in gradients.items():
            p[name] = p[name] - self.rates[name] * gradient / len(targets)
            p[name] = p[name] + self.decay * (self.stored[name] - p[name])
