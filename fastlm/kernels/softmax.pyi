from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Real = TypeVar("_Real", np.float32, np.float64)

def softmax_forward(
    log_probs: NDArray[_Real],
    log_norms: NDArray[_Real],
    hidden: NDArray[_Real],
    weight: NDArray[_Real],
    bias: NDArray[_Real],
    targets: NDArray[np.int32],
    exps: NDArray[_Real],
    shifts: NDArray[_Real],
) -> None: ...
def softmax_forward_backward(
    log_probs: NDArray[_Real],
    log_norms: NDArray[_Real],
    dhidden: NDArray[_Real],
    exps: NDArray[_Real],
    shifts: NDArray[_Real],
    hidden: NDArray[_Real],
    weight: NDArray[_Real],
    bias: NDArray[_Real],
    targets: NDArray[np.int32],
    scratch: NDArray[_Real],
    penalty: float,
    factor: float,
    block: int,
) -> None: ...
def softmax_backward_weight(
    dweight: NDArray[_Real],
    dbias: NDArray[_Real],
    squares: NDArray[np.float64],
    exps: NDArray[_Real],
    shifts: NDArray[_Real],
    log_norms: NDArray[_Real],
    log_probs: NDArray[_Real],
    hidden: NDArray[_Real],
    targets: NDArray[np.int32],
    rows: NDArray[_Real],
    scales: NDArray[_Real],
    lanes: NDArray[_Real],
    penalty: float,
    factor: float,
    block: int,
    start: int,
    stop: int,
    accumulate: bool,
) -> None: ...
