from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Real = TypeVar("_Real", np.float32, np.float64)

def lstm_forward(
    hidden: NDArray[_Real],
    cell: NDArray[_Real],
    gates: NDArray[_Real],
    previous: NDArray[_Real],
    previous_cell: NDArray[_Real],
    initial: NDArray[_Real],
    initial_cell: NDArray[_Real],
    resets: NDArray[np.uint8],
    w_hh: NDArray[_Real],
) -> None: ...
def lstm_backward(
    dgates: NDArray[_Real],
    dinitial: NDArray[_Real],
    dinitial_cell: NDArray[_Real],
    dhidden: NDArray[_Real],
    gates: NDArray[_Real],
    cell: NDArray[_Real],
    previous_cell: NDArray[_Real],
    resets: NDArray[np.uint8],
    w_hh: NDArray[_Real],
) -> None: ...
def lstm_step(
    hidden: NDArray[_Real],
    cell: NDArray[_Real],
    gates: NDArray[_Real],
    previous: NDArray[_Real],
    previous_cell: NDArray[_Real],
    w_hh: NDArray[_Real],
) -> None: ...
