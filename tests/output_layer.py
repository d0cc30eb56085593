"""An output layer of the softmax kernels: all the arrays that they take, between guards, and poisoned if not read."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import reference
from guards import Guards

from fastlm import kernels

Kernel = Callable[..., Any]


class OutputLayer:
    """Random hidden states, weights, biases and targets; what each kernel leaves is an attribute of its name."""

    pack = staticmethod(reference.pack)
    height = staticmethod(lambda depth: depth)  # of what `pack` packs
    has_targets = True  # whether probabilities of targets stay in exps
    together = 1  # panels in the forward pass

    def __init__(
        self, N: int, V: int, H: int, block: int, dtype: type = np.float64, *, no_event: slice = slice(0)
    ) -> None:
        rng = np.random.default_rng(N + V + H)
        self.guards = Guards()
        around = self.guards.around
        self.hidden, self.weight, self.bias = (
            around(rng.normal(size=shape).astype(dtype)) for shape in [(N, H), (V, H), (V,)]
        )
        self.targets = rng.integers(V, size=N).astype(np.int32)
        self.targets[no_event] = -1
        self.block, self.penalty, self.factor, self.dtype = block, 0.0, 0.25, dtype
        self.dweight, self.dbias = around(np.ones((V, H), dtype)), around(np.ones(V, dtype))

    @classmethod
    def of_logits(cls, logits: np.ndarray, targets: list[int] | np.ndarray, block: int) -> "OutputLayer":
        """Make a layer that has exactly these logits (N, V): hidden states are rows of the identity, biases zero."""
        N, V = logits.shape
        layer = cls(N, V, N, block, logits.dtype.type)
        layer.hidden, layer.weight = np.eye(N, dtype=logits.dtype), logits.T.copy()
        layer.bias[:], layer.targets[:] = 0, targets
        return layer

    @property
    def num_blocks(self) -> int:
        return -(-len(self.weight) // self.block)

    @property
    def norms(self) -> np.ndarray:
        """Return log Z of the tokens, (N,)."""
        return self.log_norms.reshape(-1)[: len(self.hidden)]

    @property
    def probabilities(self) -> np.ndarray:
        """Return what exps, shifts and log_norms stand for: (N, V)."""
        shifts = np.repeat(self.shifts, self.block, axis=1)[:, : len(self.weight)]
        panels = self.exps.astype(np.float64) * np.exp(shifts.astype(np.float64) - self.log_norms[:, None])
        return panels.transpose(0, 2, 1).reshape(-1, len(self.weight))[: len(self.hidden)]

    @property
    def squares_of_blocks(self) -> np.ndarray:
        """Return the sums of the squares of each block's rows of dweight, (K,)."""
        starts = range(0, len(self.weight), self.block)
        return np.array([(self.dweight[i : i + self.block].astype(np.float64) ** 2).sum() for i in starts])

    def poison(self, *shape: int) -> np.ndarray:
        return self.guards.array(self.dtype, *shape)

    def forward(self) -> "OutputLayer":
        panels = self.guards.around(self.pack(self.hidden.T))
        P, _, W = panels.shape
        self.log_probs, self.log_norms = self.poison(len(self.hidden)), self.poison(P, W)
        kernels.softmax_forward(
            self.log_probs, self.log_norms, panels, self.weight, self.bias, self.targets,
            self.poison(self.together, self.block, W), self.poison(P, W),
        )  # fmt: skip
        return self

    def forward_backward(self, kernel: Kernel = kernels.softmax_forward_backward) -> "OutputLayer":
        panels, V = self.guards.around(self.pack(self.hidden.T)), len(self.weight)
        P, _, W = panels.shape
        self.log_probs, self.log_norms = self.poison(len(self.hidden)), self.poison(P, W)
        self.dhidden = self.poison(*self.hidden.shape)
        self.exps, self.shifts = self.poison(P, V, W), self.poison(P, self.num_blocks, W)
        kernel(
            self.log_probs, self.log_norms, self.dhidden, self.exps, self.shifts, panels, self.weight, self.bias,
            self.targets, self.poison(P, self.hidden.shape[1], W), self.penalty, self.factor, self.block,
        )  # fmt: skip
        return self

    def backward_weight(
        self,
        parts: Iterable[tuple[int, int]] | None = None,
        *,
        accumulate: bool = True,
        kernel: Kernel = kernels.softmax_backward_weight,
    ) -> "OutputLayer":
        """Run after `forward_backward`, for parts of the blocks, by default for all of them at once."""
        P, _, W = self.exps.shape
        H = self.hidden.shape[1]
        rows, scales = self.poison(-(-H // W), self.height(P * W), W), self.poison(2, P * W)
        self.squares = self.guards.array(np.float64, self.num_blocks)
        for start, stop in [(0, self.num_blocks)] if parts is None else parts:
            kernel(
                self.dweight, self.dbias, self.squares, self.exps, self.shifts, self.log_norms, self.log_probs,
                self.hidden, self.targets, rows, scales, self.poison(self.block, W // 2), self.penalty, self.factor,
                self.block, start, stop, accumulate,
            )  # fmt: skip
        return self

    def distributions(self) -> np.ndarray:
        log_probs = self.poison(len(self.hidden), len(self.weight))
        kernels.softmax_log_probs(log_probs, self.hidden, self.weight, self.bias, np.empty_like(self.bias))
        return log_probs

    def wide(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the arguments of the oracles."""
        hidden, weight, bias = (array.astype(np.float64) for array in (self.hidden, self.weight, self.bias))
        return hidden, self.targets, weight, bias

    def check(self, tolerance: float) -> "OutputLayer":
        """Assert that all that was computed equals the oracles; run all kernels first."""
        hidden, targets, weight, bias = self.wide()
        log_probs = reference.log_softmax(reference.linear_forward(hidden, weight, bias))
        events = targets >= 0
        chosen = np.where(events, log_probs[np.arange(len(targets)), targets], 0)
        dhidden, dweight, dbias = reference.softmax_loss_backward(*self.wide())
        probabilities = np.exp(log_probs)
        if not self.has_targets:
            probabilities[np.flatnonzero(events), targets[events]] = 0
        expected = {
            "log_probs": chosen,
            "probabilities": probabilities,
            "dhidden": self.factor * dhidden,
            "dweight": 1 + self.factor * dweight,
            "dbias": 1 + self.factor * dbias,
            "squares": self.squares_of_blocks,
        }
        for name, wanted in expected.items():
            np.testing.assert_allclose(getattr(self, name), wanted, tolerance, tolerance, err_msg=name)
        self.guards.check()
        return self
