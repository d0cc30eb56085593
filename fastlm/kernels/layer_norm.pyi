from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Real = TypeVar("_Real", np.float32, np.float64)

def layer_norm_forward(
    output: NDArray[_Real],
    normalised: NDArray[_Real],
    scales: NDArray[_Real],
    inputs: NDArray[_Real],
    gain: NDArray[_Real],
    bias: NDArray[_Real],
    epsilon: float,
) -> None: ...
def layer_norm_backward(
    dinputs: NDArray[_Real],
    dgain: NDArray[_Real],
    dbias: NDArray[_Real],
    doutput: NDArray[_Real],
    normalised: NDArray[_Real],
    scales: NDArray[_Real],
    gain: NDArray[_Real],
    accumulate: bool,
) -> None: ...
