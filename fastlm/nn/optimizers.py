"""Optimizers, gradient clipping, and learning-rate schedules.

Row-sparse gradients are applied lazily: momentum and moments of a row are touched only in the steps that have a
gradient for it, and keep their value in between (they do not decay). Bias correction counts all steps.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastlm import kernels
from fastlm.nn.parallel import Workers, even_blocks
from fastlm.nn.parameters import FloatArray, Parameter, Rows

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "Constant",
    "Cosine",
    "Halving",
    "Optimizer",
    "Schedule",
    "gradient_norm",
]

ELEMENTS = 1 << 17  # of a gradient in a block of work
WARMUP_TIME = 0.1  # of a limited time: what the warm-up takes of it at most
HALVINGS = 6  # of the rate in the second half of a limited time


def gradient_norm(parameters: Sequence[Parameter], workers: Workers) -> float:
    """Global L2 norm of all gradients together (Pascanu et al. 2013)."""
    pieces: list[FloatArray] = []
    known: list[float] = []
    for parameter in parameters:
        if parameter.gradient_squares is not None:
            known.extend(parameter.gradient_squares)
            continue
        values = parameter.gradient_rows().values
        pieces += [values[start:stop] for start, stop in _row_blocks(values)]
    squares = np.zeros(len(pieces))

    def norms(start: int, stop: int, worker: int) -> None:
        for i in range(start, stop):
            squares[i] = kernels.squared_norm(pieces[i])

    workers.run(norms, even_blocks(len(pieces), 4))
    return math.sqrt(math.fsum([*known, *squares]))


class Optimizer(ABC):
    """What turns gradients into a step of the parameters.

    Parameters
    ----------
    parameters : sequence of Parameter

    Attributes
    ----------
    num_steps : int
    state : dict
        By kind and parameter, e.g. `state["mean"]["hidden.weight"]`: an array like the parameter's `matrix`.
    """

    slots: tuple[str, ...] = ()
    default_learning_rate: float

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.parameters = list(parameters)
        self.num_steps = 0
        self.state = {slot: {p.name: np.zeros_like(p.matrix) for p in self.parameters} for slot in self.slots}

    def step(self, learning_rate: float, workers: Workers, *, scale: float = 1.0) -> None:
        """Update all parameters that have a gradient; `scale` multiplies the gradients first."""
        self.num_steps += 1
        pieces = []
        for parameter in self.parameters:
            gradient = parameter.gradient_rows()
            state = [self.state[slot][parameter.name] for slot in self.slots]
            pieces += [
                (parameter.matrix, state, Rows(gradient.ids[start:stop], gradient.values[start:stop]))
                for start, stop in _row_blocks(gradient.values)
            ]

        def updates(start: int, stop: int, worker: int) -> None:
            for value, state, gradient in pieces[start:stop]:
                self._update(value, state, gradient, scale, learning_rate)

        workers.run(updates, even_blocks(len(pieces), 4))

    @abstractmethod
    def _update(
        self, value: FloatArray, state: list[FloatArray], gradient: Rows, scale: float, learning_rate: float
    ) -> None: ...


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Polyak 1964) if wanted.

    Parameters
    ----------
    parameters : sequence of Parameter
    momentum : float in [0, 1)
    """

    default_learning_rate = 0.5

    def __init__(self, parameters: Sequence[Parameter], *, momentum: float = 0.0) -> None:
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum is {momentum}, expected 0 <= momentum < 1")
        self.momentum = momentum
        if momentum > 0.0:
            self.slots = ("velocity",)
        super().__init__(parameters)

    def _update(
        self, value: FloatArray, state: list[FloatArray], gradient: Rows, scale: float, learning_rate: float
    ) -> None:
        values, ids = gradient.values, gradient.ids
        if state:
            kernels.momentum_update(value, state[0], values, ids, scale, learning_rate, self.momentum)
        else:
            kernels.sgd_update(value, values, ids, scale, learning_rate)


class Adagrad(Optimizer):
    """Adagrad (Duchi et al. 2011)."""

    slots = ("squares",)
    default_learning_rate = 0.05
    epsilon = 1e-8

    def _update(
        self, value: FloatArray, state: list[FloatArray], gradient: Rows, scale: float, learning_rate: float
    ) -> None:
        values, ids = gradient.values, gradient.ids
        kernels.adagrad_update(value, state[0], values, ids, scale, learning_rate, self.epsilon)


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015) with bias correction."""

    slots = ("mean", "square")
    default_learning_rate = 0.002
    beta1, beta2, epsilon = 0.9, 0.999, 1e-8

    def _update(
        self, value: FloatArray, state: list[FloatArray], gradient: Rows, scale: float, learning_rate: float
    ) -> None:
        mean, square = state
        kernels.adam_update(
            value, mean, square, gradient.values, gradient.ids, scale, learning_rate, self.beta1, self.beta2,
            self.epsilon, self.num_steps,
        )  # fmt: skip


class Schedule(ABC):
    """The learning rate as a function of the step, of how validation goes, and of the time where that is limited.

    Parameters
    ----------
    learning_rate : float
        The highest rate.
    warmup : int
        Steps over which the rate rises linearly to it.

    Attributes
    ----------
    state : dict
        What it has learned from validation, by name, as JSON has it; empty where it does not listen.
    """

    def __init__(self, learning_rate: float, warmup: int = 0) -> None:
        self.learning_rate = learning_rate
        self.warmup = warmup
        self.state: dict[str, Any] = {}

    def rate(self, step: int, time: float = 0.0) -> float:
        """Learning rate of step 0, 1, 2 …; `time` is the share of a limited time that is gone."""
        if step < self.warmup and time < WARMUP_TIME:
            return max(self.learning_rate * (step + 1) / self.warmup, self.learning_rate * time / WARMUP_TIME)
        return self._after_warmup(step, time)

    def validated(self, improved: bool) -> None:  # noqa: B027 (only some schedules listen)
        """Hear whether the last epoch improved the validation loss."""

    @abstractmethod
    def _after_warmup(self, step: int, time: float) -> float: ...


class Constant(Schedule):
    """Always the same rate."""

    def _after_warmup(self, step: int, time: float) -> float:
        return self.learning_rate


class Halving(Schedule):
    """The same rate until validation stalls, then half of it after each epoch (as in rnnlm; Mikolov et al. 2010).

    A limited time may end before that: over its second half the rate is halved six times, whatever validation says.
    """

    def __init__(self, learning_rate: float, warmup: int = 0) -> None:
        super().__init__(learning_rate, warmup)
        self.state = {"stalled": False, "factor": 1.0}

    def validated(self, improved: bool) -> None:
        """Begin halving at the first epoch that does not improve."""
        self.state["stalled"] = self.state["stalled"] or not improved
        if self.state["stalled"]:
            self.state["factor"] /= 2

    def _after_warmup(self, step: int, time: float) -> float:
        in_time = 2.0 ** -max(0, math.floor(2 * HALVINGS * (time - 0.5)))
        factor: float = min(self.state["factor"], in_time)
        return self.learning_rate * factor


class Cosine(Schedule):
    """From the highest rate to zero along half a cosine (Loshchilov & Hutter 2017, without restarts).

    Parameters
    ----------
    total : int
        All steps of the run, the warm-up included. A limited time that ends before them takes their place.
    """

    def __init__(self, learning_rate: float, warmup: int = 0, *, total: int) -> None:
        super().__init__(learning_rate, warmup)
        self.total = total

    def _after_warmup(self, step: int, time: float) -> float:
        progress = max(time, (step - self.warmup) / max(1, self.total - self.warmup))
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def _row_blocks(values: FloatArray) -> list[tuple[int, int]]:
    return even_blocks(len(values), max(1, ELEMENTS // max(1, values.shape[1])))
