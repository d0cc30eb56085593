from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Real = TypeVar("_Real", np.float32, np.float64)

def class_forward(
    log_probs: NDArray[_Real],
    hidden: NDArray[_Real],
    weight: NDArray[_Real],
    bias: NDArray[_Real],
    targets: NDArray[np.int32],
    token_bounds: NDArray[np.int32],
    row_bounds: NDArray[np.int32],
    firsts: NDArray[np.int32],
    scratch: NDArray[_Real],
    start: int,
    stop: int,
) -> None: ...
def class_forward_backward(
    log_probs: NDArray[_Real],
    dhidden: NDArray[_Real],
    dweight: NDArray[_Real],
    dbias: NDArray[_Real],
    squares: NDArray[np.float64],
    hidden: NDArray[_Real],
    weight: NDArray[_Real],
    bias: NDArray[_Real],
    targets: NDArray[np.int32],
    token_bounds: NDArray[np.int32],
    row_bounds: NDArray[np.int32],
    firsts: NDArray[np.int32],
    scratch: NDArray[_Real],
    factor: float,
    start: int,
    stop: int,
) -> None: ...
def class_scratch_size(
    token_bounds: NDArray[np.int32], row_bounds: NDArray[np.int32], H: int, itemsize: int
) -> int: ...
def class_log_probs(
    log_probs: NDArray[_Real],
    classes: NDArray[_Real],
    hidden: NDArray[_Real],
    weight: NDArray[_Real],
    bias: NDArray[_Real],
    bounds: NDArray[np.int32],
    scratch: NDArray[_Real],
) -> None: ...
