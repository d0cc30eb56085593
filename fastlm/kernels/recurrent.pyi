from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Real = TypeVar("_Real", np.float32, np.float64)

def elman_forward(
    hidden: NDArray[_Real],
    previous: NDArray[_Real],
    inputs: NDArray[_Real],
    initial: NDArray[_Real],
    resets: NDArray[np.uint8],
    w_hh: NDArray[_Real],
) -> None: ...
def elman_backward(
    dinputs: NDArray[_Real],
    dinitial: NDArray[_Real],
    dhidden: NDArray[_Real],
    hidden: NDArray[_Real],
    resets: NDArray[np.uint8],
    w_hh: NDArray[_Real],
) -> None: ...
def elman_step(
    hidden: NDArray[_Real], inputs: NDArray[_Real], previous: NDArray[_Real], w_hh: NDArray[_Real]
) -> None: ...
