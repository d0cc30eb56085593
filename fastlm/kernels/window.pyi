from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Real = TypeVar("_Real", np.float32, np.float64)

def window_forward(
    output: NDArray[_Real], inputs: NDArray[_Real], weight: NDArray[_Real], bias: NDArray[_Real], size: int
) -> None: ...
def window_backward(dinputs: NDArray[_Real], doutput: NDArray[_Real], weight: NDArray[_Real], size: int) -> None: ...
def pack_words(panels: NDArray[_Real], weight: NDArray[_Real], size: int) -> None: ...
def pack_windows(panels: NDArray[_Real], inputs: NDArray[_Real], size: int) -> None: ...
def average_forward(
    output: NDArray[_Real], inputs: NDArray[_Real], weight: NDArray[_Real], ends: NDArray[np.int32]
) -> None: ...
def average_backward(
    dinputs: NDArray[_Real], doutput: NDArray[_Real], weight: NDArray[_Real], ends: NDArray[np.int32]
) -> None: ...
def average_backward_weight(
    dweight: NDArray[_Real],
    doutput: NDArray[_Real],
    inputs: NDArray[_Real],
    ends: NDArray[np.int32],
    start: int,
    stop: int,
    accumulate: bool,
) -> None: ...
