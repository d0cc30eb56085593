"""Optimizers, gradient clipping, and learning-rate schedules.

Row-sparse gradients are applied lazily: momentum and moments of a row are touched only in the steps that have a
gradient for it, and keep their value in between (they do not decay). Bias correction counts all steps. Weights are
decayed lazily, too: a row shrinks in the steps that touch it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastlm import kernels
from fastlm.nn.parallel import Workers, even_blocks
from fastlm.nn.parameters import FloatArray, IntArray, Parameter

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "AveragedSGD",
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


@dataclass(frozen=True)
class _Piece:
    """Some rows of a parameter in one step: its whole value and state, and gradient and ids of the rows.

    `learning_rate` is the parameter's own, and `decay` what the rows shrink by, relatively.
    """

    value: FloatArray
    state: list[FloatArray]
    gradient: FloatArray
    ids: IntArray
    learning_rate: float
    decay: float

    def shrink(self) -> None:
        if self.decay > 0.0:
            kernels.decay_update(self.value, self.ids, 1.0 - self.decay)


class Optimizer(ABC):
    """What turns gradients into a step of the parameters.

    Parameters
    ----------
    parameters : sequence of Parameter
    weight_decay : float, optional
        Each step shrinks matrices, not biases and the like, by this times the learning rate, beside what the gradient
        does (Loshchilov & Hutter 2019). None takes what is usual for the kind of optimizer.

    Attributes
    ----------
    num_steps : int
    state : dict
        By kind and parameter, e.g. `state["mean"]["hidden.weight"]`: an array like the parameter's `matrix`.
    numbers : dict
        What else it goes on from, by name, as JSON has it.
    """

    slots: tuple[str, ...] = ()
    default_learning_rate: float
    default_weight_decay = 0.0

    def __init__(self, parameters: Sequence[Parameter], *, weight_decay: float | None = None) -> None:
        self.weight_decay = self.default_weight_decay if weight_decay is None else weight_decay
        if not self.weight_decay >= 0.0:
            raise ValueError(f"weight_decay is {weight_decay}, expected a number of at least 0")
        self.parameters = list(parameters)
        self.num_steps = 0
        self.numbers: dict[str, Any] = {}
        self.state = {slot: {p.name: np.zeros_like(p.matrix) for p in self.parameters} for slot in self.slots}

    def step(self, learning_rate: float, workers: Workers, *, scale: float = 1.0) -> None:
        """Update all parameters that have a gradient; `scale` multiplies the gradients first."""
        self.num_steps += 1
        pieces = []
        for parameter in self.parameters:
            gradient = parameter.gradient_rows()
            state = [self.state[slot][parameter.name] for slot in self.slots]
            rate = learning_rate * parameter.rate_factor
            decay = self.weight_decay * rate if parameter.value.ndim > 1 else 0.0
            pieces += [
                _Piece(parameter.matrix, state, gradient.values[start:stop], gradient.ids[start:stop], rate, decay)
                for start, stop in _row_blocks(gradient.values)
            ]

        def updates(start: int, stop: int, worker: int) -> None:
            for piece in pieces[start:stop]:
                self._update(piece, scale)

        workers.run(updates, even_blocks(len(pieces), 4))

    def validated(self, loss: float) -> None:  # noqa: B027 (only some optimizers listen)
        """Hear the validation loss after an epoch."""

    @contextmanager
    def evaluated(self) -> Iterator[None]:
        """Give the parameters, as long as this is open, the values that are to be evaluated and kept."""
        yield

    @abstractmethod
    def _update(self, piece: _Piece, scale: float) -> None: ...


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Polyak 1964) if wanted.

    Parameters
    ----------
    parameters : sequence of Parameter
    momentum : float in [0, 1)
    weight_decay : float, optional
    """

    default_learning_rate = 0.5

    def __init__(
        self, parameters: Sequence[Parameter], *, momentum: float = 0.0, weight_decay: float | None = None
    ) -> None:
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum is {momentum}, expected 0 <= momentum < 1")
        self.momentum = momentum
        if momentum > 0.0:
            self.slots = ("velocity",)
        super().__init__(parameters, weight_decay=weight_decay)

    def _update(self, piece: _Piece, scale: float) -> None:
        piece.shrink()
        value, values, ids = piece.value, piece.gradient, piece.ids
        if piece.state:
            kernels.momentum_update(value, piece.state[0], values, ids, scale, piece.learning_rate, self.momentum)
        else:
            kernels.sgd_update(value, values, ids, scale, piece.learning_rate)


class AveragedSGD(Optimizer):
    """Stochastic gradient descent that is averaged once validation stalls (NT-ASGD, Merity et al. 2018).

    After the non-monotonic trigger the average of all values since (Polyak & Juditsky 1992) is what is evaluated and
    kept, while training goes on from the last ones.

    Parameters
    ----------
    parameters : sequence of Parameter
    averaging_patience : int
        The trigger: a validation loss that is worse than the best of all but the last so many.
    weight_decay : float, optional
    """

    slots = ("sums",)
    default_learning_rate = SGD.default_learning_rate

    def __init__(
        self, parameters: Sequence[Parameter], *, averaging_patience: int = 5, weight_decay: float | None = None
    ) -> None:
        if averaging_patience < 1:
            raise ValueError(f"averaging_patience is {averaging_patience}, expected at least 1")
        self.averaging_patience = averaging_patience
        super().__init__(parameters, weight_decay=weight_decay)
        self.numbers = {"losses": [], "first_step": None}

    @property
    def num_averaged(self) -> int:
        """Steps since the trigger; 0 before it."""
        first: int | None = self.numbers["first_step"]
        return 0 if first is None else self.num_steps - first

    def validated(self, loss: float) -> None:
        """Begin to average if the loss is worse than the best one of some time ago."""
        losses = self.numbers["losses"]
        if self.numbers["first_step"] is None and loss > min(losses[: -self.averaging_patience], default=math.inf):
            self.numbers["first_step"] = self.num_steps
        losses.append(loss)

    @contextmanager
    def evaluated(self) -> Iterator[None]:
        """Give the parameters their averages, as long as this is open."""
        if self.num_averaged == 0:
            yield
            return
        last = [parameter.value.copy() for parameter in self.parameters]
        for parameter in self.parameters:
            parameter.matrix[...] -= self.state["sums"][parameter.name] / self.num_averaged
        try:
            yield
        finally:
            for parameter, value in zip(self.parameters, last, strict=True):
                np.copyto(parameter.value, value)

    def _update(self, piece: _Piece, scale: float) -> None:
        value, sums, values, ids = piece.value, piece.state[0], piece.gradient, piece.ids
        weight = self.num_averaged - 1  # step() has counted this one already
        if weight > 0:
            kernels.averaged_update(value, sums, values, ids, scale, piece.learning_rate, piece.decay, weight)
        else:
            piece.shrink()
            kernels.sgd_update(value, values, ids, scale, piece.learning_rate)


class Adagrad(Optimizer):
    """Adagrad (Duchi et al. 2011)."""

    slots = ("squares",)
    default_learning_rate = 0.05
    epsilon = 1e-8

    def _update(self, piece: _Piece, scale: float) -> None:
        piece.shrink()
        squares, values, ids = piece.state[0], piece.gradient, piece.ids
        kernels.adagrad_update(piece.value, squares, values, ids, scale, piece.learning_rate, self.epsilon)


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015) with bias correction."""

    slots = ("mean", "square")
    default_learning_rate = 0.002
    beta1, beta2, epsilon = 0.9, 0.999, 1e-8

    def _update(self, piece: _Piece, scale: float) -> None:
        piece.shrink()
        mean, square = piece.state
        kernels.adam_update(
            piece.value, mean, square, piece.gradient, piece.ids, scale, piece.learning_rate, self.beta1, self.beta2,
            self.epsilon, self.num_steps,
        )  # fmt: skip


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019); 0.01 if not given."""

    default_weight_decay = 0.01


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
