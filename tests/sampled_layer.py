"""Arrays for the kernels that learn from samples, and what the oracles say of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import reference

from fastlm import kernels

Kernel = Callable[..., Any]


class SampledLayer:
    """Random tokens, a table, and samples drawn from it; what a kernel leaves is an attribute of its name."""

    def __init__(
        self, N: int, V: int, H: int, samples: list[int], dtype: type = np.float64, *, no_event: slice = slice(0)
    ) -> None:
        rng = np.random.default_rng(N + V + H)
        self.hidden, self.weight = rng.normal(size=(N, H)).astype(dtype), rng.normal(size=(V, H)).astype(dtype)
        self.bias, self.targets = rng.normal(size=V).astype(dtype), rng.integers(V, size=N).astype(np.int32)
        self.targets[no_event] = -1
        self.samples, self.dtype, self.factor, self.penalty = samples, dtype, 0.25, 0.3
        self.inclusion = rng.uniform(0.1, 1.0, V)
        self.expected, self.draws = rng.uniform(0.1, 3.0, V), rng.uniform(0.5, 2.0, len(samples))

    @property
    def ids(self) -> list[int]:
        """Return the rows of the table that are needed: those of the samples, then those of the other targets."""
        return list(dict.fromkeys([*self.samples, *self.targets[self.targets >= 0].tolist()]))

    @property
    def places(self) -> np.ndarray:
        return np.array([self.ids.index(t) if t >= 0 else -1 for t in self.targets], np.int32)

    def logits(self) -> np.ndarray:
        """Return the targets' logits (N,), 0 where there is no event."""
        wide = [array.astype(np.float64) for array in (self.hidden, self.weight, self.bias)]
        logits = reference.linear_forward(*wide)[np.arange(len(self.targets)), self.targets]
        return np.where(self.targets >= 0, logits, 0)

    def poison(self, *shape: int) -> np.ndarray:
        return np.full(shape, np.nan, self.dtype)

    def softmax(self, kernel: Kernel = kernels.sampled_softmax_forward_backward) -> "SampledLayer":
        corrections = -np.log(self.inclusion).astype(self.dtype)
        self._run(kernel, corrections, [self.places], [self.penalty])
        return self

    def nce(self, kernel: Kernel = kernels.nce_forward_backward) -> "SampledLayer":
        self._run(kernel, -np.log(self.expected).astype(self.dtype), [], [], self.draws.astype(self.dtype))
        return self

    def _run(
        self, kernel: Kernel, corrections: np.ndarray, places: list[Any], penalty: list[float], *noise: np.ndarray
    ) -> None:
        (N, H), S, rows = self.hidden.shape, len(self.samples), self.weight[self.samples]
        self.log_probs, self.dlogits = self.poison(N), self.poison(N, S)
        self.dtargets, self.dhidden = self.poison(N), self.poison(N, H)
        kernel(
            self.log_probs, self.dlogits, self.dtargets, self.dhidden, self.hidden, self.targets, *places,
            self.weight, self.bias, corrections, reference.pack(rows.T), reference.pack(rows),
            self.bias[self.samples] + corrections[self.samples], *noise, *penalty, self.factor,
        )  # fmt: skip

    def backward_weight(
        self, kernel: Kernel = kernels.sampled_backward_weight, parts: list[tuple[int, int]] | None = None
    ) -> "SampledLayer":
        """Run after `softmax` or `nce`; leaves dweight and dbias of the rows `ids`."""
        R = len(self.ids)
        self.dweight, self.dbias = self.poison(R, self.hidden.shape[1]), self.poison(R)
        for start, stop in parts or [(0, R)]:
            kernel(
                self.dweight, self.dbias, self.dlogits, self.dtargets, self.hidden, reference.pack(self.hidden),
                self.places, start, stop,
            )  # fmt: skip
        return self

    def dense(self, rows: np.ndarray) -> np.ndarray:
        """Return the gradient of the whole table or bias whose rows `ids` are these."""
        dense = np.zeros((len(self.weight), *rows.shape[1:]))
        dense[self.ids] = rows
        return dense

    def softmax_loss(self) -> float:
        """Return what the kernel's gradients are those of."""
        return self.factor * reference.sampled_softmax_loss(
            self.hidden, self.targets, self.weight, self.bias, self.samples, self.inclusion, self.penalty
        )

    def nce_loss(self) -> float:
        return self.factor * reference.nce_loss(
            self.hidden, self.targets, self.weight, self.bias, self.samples, self.draws, self.expected
        )
