from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Entry = TypeVar("_Entry", np.float32, np.int8)
_Float = NDArray[np.float32]

ACTIVATIONS: tuple[str, ...]

def frozen_hidden(
    hidden: _Float, windows: NDArray[np.int32], rows: NDArray[_Entry], scales: _Float, bias: _Float, activation: int
) -> None: ...
def frozen_scores(
    scores: _Float,
    windows: NDArray[np.int32],
    targets: NDArray[np.int32],
    rows: NDArray[_Entry],
    scales: _Float,
    bias: _Float,
    output: NDArray[_Entry],
    output_scales: _Float,
    output_bias: _Float,
    scratch: _Float,
    activation: int,
) -> None: ...
