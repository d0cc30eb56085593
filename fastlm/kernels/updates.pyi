from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Real = TypeVar("_Real", np.float32, np.float64)

def squared_norm(gradient: NDArray[_Real]) -> float: ...
def sgd_update(
    value: NDArray[_Real], gradient: NDArray[_Real], rows: NDArray[np.int32], scale: float, learning_rate: float
) -> None: ...
def averaged_update(
    value: NDArray[_Real],
    sums: NDArray[_Real],
    gradient: NDArray[_Real],
    rows: NDArray[np.int32],
    scale: float,
    learning_rate: float,
    decay: float,
    weight: float,
) -> None: ...
def decay_update(value: NDArray[_Real], rows: NDArray[np.int32], factor: float) -> None: ...
def momentum_update(
    value: NDArray[_Real],
    velocity: NDArray[_Real],
    gradient: NDArray[_Real],
    rows: NDArray[np.int32],
    scale: float,
    learning_rate: float,
    momentum: float,
) -> None: ...
def adagrad_update(
    value: NDArray[_Real],
    squares: NDArray[_Real],
    gradient: NDArray[_Real],
    rows: NDArray[np.int32],
    scale: float,
    learning_rate: float,
    epsilon: float,
) -> None: ...
def adam_update(
    value: NDArray[_Real],
    mean: NDArray[_Real],
    square: NDArray[_Real],
    gradient: NDArray[_Real],
    rows: NDArray[np.int32],
    scale: float,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    step: int,
) -> None: ...
